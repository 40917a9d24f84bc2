"""The commands archive and restore: a finished study in one file, and back in a store."""

from __future__ import annotations

import argparse
from pathlib import Path

from motifk8s.cli.arguments import (
    Commands,
    add,
    add_store,
    add_study,
    local_path,
    open_study,
    study_inputs,
)


def register(commands: Commands) -> None:
    """Add the commands archive and restore."""
    text = "write a finished study to one ZIP file, an RO-Crate, to keep, publish and cite"
    sub = add(commands, "archive", _archive, text)
    add_study(sub)
    sub.add_argument(
        "--out",
        metavar="FILE",
        type=local_path,
        help="ZIP file to write (default: the study's name and .zip)",
    )
    sub.add_argument(
        "--models",
        action="store_true",
        help="include the trained networks (default: their hashes alone)",
    )
    sub.add_argument(
        "--no-pictures",
        action="store_true",
        help="leave out logos, figures and the report, most of the size; aggregate draws figures "
        "and report again, from the restored archive",
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
    text = "put the cells of an archive into a store, to continue or compare its study"
    sub = add(commands, "restore", _restore, text)
    sub.add_argument(
        "archive", metavar="ARCHIVE.zip", type=local_path, help="file that archive wrote"
    )
    add_store(sub)


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
            pictures=not args.no_pictures,
            license=args.license,
            authors=args.author,
            inputs=study_inputs(args.study, study),
        )
    print(f"{out}: {made.files} files of {made.cells} cells")
    return 0


def _restore(args: argparse.Namespace) -> int:
    from motifk8s.cli import terminal
    from motifk8s.report.restore import restore
    from motifk8s.store.open import open_store

    with terminal.new_console(stderr=True).status("reading the archive"):
        done = restore(args.archive, open_store(args.store))
    kept = f"; the store has {done.kept} already" if done.kept else ""
    print(f"{args.store}: {done.cells} cells of study {done.study.name} restored{kept}")
    return 0
