"""What all commands share: adding a command, its common arguments, and printing errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from motifk8s.cli.streams import plain
from motifk8s.store.open import default_url

if TYPE_CHECKING:
    from motifk8s.store.base import Store
    from motifk8s.study.study import Study

T = TypeVar("T")
DEFAULT = "(default: %(default)s)"  # at the end of the help of an option
Commands = argparse._SubParsersAction
# Of every parser. With abbreviations, --all means --all-checkpoints, until there is another --all.
PARSER: dict[str, Any] = {
    "allow_abbrev": False,
    "formatter_class": argparse.RawDescriptionHelpFormatter,
}
STUDIES = sorted(
    path.stem for path in (Path(__file__).parents[1] / "study" / "builtin").glob("*.yaml")
)
EPILOG = f"""\
STUDY is the path of a .yaml file, its s3:// address or its text, the name of a study that was
submitted to the store, or the name of a built-in study:
{", ".join(STUDIES)}.
The store is a folder or s3://bucket/prefix, set by --store or MOTIFK8S_STORE (default: ./store).

exit codes: 0 done, 1 failed, 2 usage or bad input, 3 incomplete study, 75 stopped by a signal
or a store that does not answer (run the same command again to resume)
"""


def add(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    epilog: str = EPILOG,
) -> argparse.ArgumentParser:
    """Add a command. `text` describes it in one line; `run` returns its exit code."""
    sub: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=epilog,
        **PARSER,
    )
    sub.set_defaults(run=run)
    return sub


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the arguments STUDY and --store."""
    parser.add_argument(
        "study", metavar="STUDY", help="name of a study, .yaml file, or s3:// address"
    )
    add_store(parser)


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the argument --store."""
    parser.add_argument(
        "--store",
        metavar="URL",
        default=default_url(),
        help=f"folder or s3://bucket/prefix {DEFAULT}",
    )


def open_study(args: argparse.Namespace) -> tuple[Study, Store]:
    """Load the study and open the store that the arguments of `add_study` name."""
    from motifk8s.study import find
    from motifk8s.study.study import refuse_braces

    study, store = find.open_study(args.study, args.store)
    refuse_braces(study, args.study)
    return study, store


def optional(kind: Callable[[str], T]) -> Callable[[str], T | None]:
    """Return a parser that reads an empty text as None: workflows pass unset options as empty."""
    return lambda text: kind(text) if text else None


def count(text: str) -> int:
    """Parse an integer of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of 1 or more, got {text!r}")
    return int(text)


def positive(text: str) -> float:
    """Parse a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def utf8(argument: str) -> str:
    """Return the text of an argument, which Python escapes in a locale without its characters."""
    try:
        argument.encode()
        return argument
    except UnicodeEncodeError:
        return os.fsencode(argument).decode("utf-8", "backslashreplace")


def local_path(text: str) -> Path:
    """Parse a local path; refuse an address."""
    from motifk8s.store.files import is_address

    if is_address(text):
        raise argparse.ArgumentTypeError(f"expected a local path, not an address: {text}")
    return Path(text)


def study_inputs(argument: str, study: Study) -> list[str]:
    """Return the files that a study is read from, and other names; no output may overwrite them."""
    paths = (getattr(spec, "path", "") for spec in study.datasets.values())
    return [argument, study.matches.database, *paths]


def print_error(text: str, code: int) -> int:
    """Print an error to stderr; return its exit code.

    An error is one line. A study file with several mistakes adds an indented line for each.
    In a pod, the text is also written as termination message, which Kubernetes and Argo show.
    """
    parts = (" ".join(part.splitlines()) for part in text.split("\n  "))
    line = plain("motifk8s: " + "\n  ".join(parts))
    print(line, file=sys.stderr)
    if "MOTIFK8S_POD" in os.environ:
        with suppress(OSError):
            Path("/dev/termination-log").write_text(line, encoding="utf-8", errors="replace")
    return code
