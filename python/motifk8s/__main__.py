"""``python -m motifk8s`` is the command ``motifk8s``."""

from motifk8s.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
