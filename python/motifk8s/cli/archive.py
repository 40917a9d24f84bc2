"""The command archive: a finished study in one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from motifk8s.cli.arguments import Commands, add, add_study, open_study, output_path, study_inputs


def register(commands: Commands) -> None:
    """Add the command archive."""
    text = "write a finished study to one ZIP file, an RO-Crate, to keep, publish and cite"
    sub = add(commands, "archive", _archive, text)
    add_study(sub)
    sub.add_argument(
        "--out",
        metavar="FILE",
        type=output_path,
        help="ZIP file to write (default: the study's name and .zip)",
    )
    sub.add_argument(
        "--models",
        action="store_true",
        help="include the trained networks (default: their hashes alone)",
    )
    sub.add_argument(
        "--license",
        metavar="LICENSE",
        default="",
        help="licence of the archive: an SPDX id such as CC-BY-4.0, or a URL",
    )
    sub.add_argument(
        "--author",
        metavar="AUTHOR",
        action="append",
        default=[],
        help='"Name" or "Name <ORCID>"; repeat the option for more authors',
    )


def _archive(args: argparse.Namespace) -> int:
    from motifk8s.cli import terminal
    from motifk8s.report.archive import archive

    study, store = open_study(args)
    out = args.out or Path(f"{study.name}.zip")
    with terminal.new_console(stderr=True).status("reading the study"):
        made = archive(
            study,
            store,
            out,
            models=args.models,
            license=args.license,
            authors=args.author,
            inputs=study_inputs(args.study, study),
        )
    print(f"{out}: {made.files} files of {made.cells} cells")
    return 0
