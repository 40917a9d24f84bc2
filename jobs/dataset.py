"""Make or import data sets of a study, unless they are in the store; list unfinished cells."""

import sys

from motifk8s.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["dataset", *sys.argv[1:]]))
