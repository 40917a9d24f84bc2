"""Run one cell of a study: training, filters, matches, analysis."""

import sys

from motifk8s.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["cell", *sys.argv[1:]]))
