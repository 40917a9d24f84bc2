"""What the commands share: how one is added, its usual arguments, and how errors are printed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from motifk8s.store.base import Store
    from motifk8s.study.study import Study

T = TypeVar("T")
Commands = argparse._SubParsersAction
STUDIES = sorted(
    path.stem for path in (Path(__file__).parents[1] / "study" / "builtin").glob("*.yaml")
)
EPILOG = f"""\
STUDY is the path of a .yaml file, its s3:// address, its text, or the name of a built-in study:
{", ".join(STUDIES)}.
The store is a folder or s3://bucket/prefix: --store, or MOTIFK8S_STORE, or ./store.

exit codes: 0 done, 1 failed, 2 usage or bad input, 3 incomplete study, 75 stopped by a signal
(the same command resumes)
"""


def add(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    epilog: str = EPILOG,
) -> argparse.ArgumentParser:
    """Add a command; `text` says in one line what it does, `run` returns its exit code."""
    sub: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.set_defaults(run=run)
    return sub


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the arguments STUDY and --store."""
    parser.add_argument(
        "study", metavar="STUDY", help="name of a built-in study, or a .yaml file or s3:// address"
    )
    add_store(parser)


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the argument --store."""
    parser.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get("MOTIFK8S_STORE", "./store"),
        help="folder or s3://bucket/prefix (default: %(default)s)",
    )


def open_study(args: argparse.Namespace) -> tuple[Study, Store]:
    """Load the study and open the store that the arguments of `add_study` name."""
    from motifk8s.store.open import open_store
    from motifk8s.study.study import load

    return load(args.study), open_store(args.store)


def optional(kind: Callable[[str], T]) -> Callable[[str], T | None]:
    """Read an empty text as None, others with `kind`: a workflow passes options it has not set."""
    return lambda text: kind(text) if text else None


def count(text: str) -> int:
    """Parse a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def positive(text: str) -> float:
    """Parse a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def print_error(text: str, code: int) -> int:
    """Print an error to stderr; return its exit code.

    It takes one line, and an indented line for each further mistake of a study file. In a pod it
    is also the termination message, which Kubernetes and Argo show.
    """
    parts = (" ".join(part.splitlines()) for part in text.split("\n  "))
    line = "motifk8s: " + "\n  ".join(parts)
    print(line, file=sys.stderr)
    if "MOTIFK8S_POD" in os.environ:
        with suppress(OSError):
            Path("/dev/termination-log").write_text(line)
    return code
