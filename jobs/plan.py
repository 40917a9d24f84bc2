"""Tell where the cells of a study stand; with --outputs, what a workflow has to do."""

import sys

from motifk8s.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["plan", *sys.argv[1:]]))
