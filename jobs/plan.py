"""Plan a study: list the state of its cells; with --outputs, write the work of the next steps."""

import sys

from motifk8s.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["plan", *sys.argv[1:]]))
