"""Make api.txt, the public names and their signatures.

``python tests/golden/make_api.py [--force]``

A test compares the file with the package, so that the API changes only on purpose: docs/api.md says
how it may change.
"""

import inspect
import sys
from pathlib import Path

import motifk8s

API = Path(__file__).with_name("api.txt")


def signatures() -> str:
    lines = []
    for name in sorted(motifk8s.__all__):
        thing = getattr(motifk8s, name)
        if inspect.isfunction(thing):
            lines.append(f"{name}{inspect.signature(thing)}")
        elif isinstance(thing, type) and issubclass(thing, Exception):
            lines.append(f"{name}({', '.join(base.__name__ for base in thing.__bases__)})")
        elif isinstance(thing, type):
            fields = getattr(thing, "_fields", ()) or getattr(thing, "__dataclass_fields__", ())
            lines.append(" ".join([name, *fields]))
        else:
            lines.append(name)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if API.exists() and "--force" not in sys.argv[1:]:
        sys.exit(f"{API}: file exists; --force overwrites it")
    API.write_text(signatures(), encoding="utf-8")
