"""The command line: ``motifk8s COMMAND``. Each command parses, calls the library, and prints."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from motifk8s import signals
from motifk8s.cli import archive, clean, cluster, completion, hits, importing, motifs, studies
from motifk8s.cli.arguments import EPILOG, PARSER, print_error
from motifk8s.cli.streams import plain_output
from motifk8s.errors import Interrupted, Problem, one_line

# Each function adds one or a few commands, in the order of the help. A command imports its modules
# only when it runs, so that --help is fast.
COMMANDS = (
    studies.add_run,
    studies.add_plan,
    studies.add_dataset,
    importing.register,
    studies.add_cell,
    studies.add_reports,
    studies.add_compare,
    studies.add_paper,
    hits.register,
    archive.register,
    cluster.register,
    clean.register,
    studies.add_check,
    motifs.register,
    studies.add_schema,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    try:
        # SIGTERM, which ends a pod, is handled like Ctrl-C.
        with plain_output(), signals.handled(_stopped):
            return _main(argv)
    except KeyboardInterrupt:  # between the block of a command and the end of `handled`
        return _stopped()


def _main(argv: Sequence[str] | None) -> int:
    """Run one command and print its error, if any; return its exit code."""
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except Problem as error:
        return print_error(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _stopped()
    except BrokenPipeError:  # the reader of our output, such as head, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError as error:
        return print_error(
            f"not enough memory ({one_line(error)}); use more memory or less data", 1
        )
    except UnicodeEncodeError as error:  # most often of a path, in a C locale
        text = ascii(error.object)[:200]
        return print_error(f"{text} is not {error.encoding}; set LC_ALL=C.UTF-8", 2)
    except OSError as error:  # one that no module handles, such as a full disk
        where = f"{error.filename}: " if error.filename else ""
        return print_error(f"{where}{error.strerror or error}", 1)


def _stopped() -> int:
    return print_error("stopped; run the same command again to resume", Interrupted.exit_code)


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.version:
        from motifk8s.provenance import code_version

        print(code_version())
        return 0
    if args.run is None:
        parser.print_help()
        return 2
    return int(args.run(args))


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="motifk8s",
        description="Which architectures make the filters of a CNN learn whole motifs?",
        epilog=EPILOG,
        **PARSER,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add_command in COMMANDS:
        add_command(commands)
    completion.register(commands, parser)
    return parser
