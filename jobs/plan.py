"""Tell where the cells of a study stand; with --json, the unfinished ones to fan out over."""

import sys

from motifk8s.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["plan", *sys.argv[1:]]))
