"""Run one cell of a study: train, read filters, match motifs."""

import sys

from motifk8s.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["cell", *sys.argv[1:]]))
