"""What the commands of the command line share: how one is added, and its usual arguments."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

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
(the same command goes on where it was)
"""


def add(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    epilog: str = EPILOG,
) -> argparse.ArgumentParser:
    """Add a command; `text` says in a line what it does, `run` does it and gives an exit code."""
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


def optional(kind: Callable[[str], T]) -> Callable[[str], T | None]:
    """Read as `kind` does, and nothing as None: a workflow passes every option, set or not."""
    return lambda text: kind(text) if text else None


def count(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def positive(text: str) -> float:
    """Read a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value
