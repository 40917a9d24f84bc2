"""The command hits: where the filters of a study fire, as BED."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from motifk8s.cli.arguments import (
    DEFAULT,
    Commands,
    add,
    add_study,
    count,
    local_path,
    open_study,
    study_inputs,
)
from motifk8s.cli.streams import write_data
from motifk8s.errors import IncompleteError

if TYPE_CHECKING:
    from motifk8s.cells.hits import Found


def register(commands: Commands) -> None:
    """Add the command hits."""
    sub = add(commands, "hits", _hits, "write where filters that match a motif fire, as BED")
    add_study(sub)
    sub.add_argument(
        "--cells",
        metavar="PATTERN",
        nargs="+",
        default=["*"],
        help="cells of one data set, e.g. 'synthetic/cnn-25/*' (default: all)",
    )
    sub.add_argument(
        "--part",
        choices=["test", "valid", "train", "all"],
        default="test",
        help=f"sequences to scan {DEFAULT}",
    )
    sub.add_argument(
        "--by",
        choices=["motif", "filter"],
        default="motif",
        help=f"a row for each place of a motif, or of each filter {DEFAULT}",
    )
    sub.add_argument(
        "--min-cells",
        metavar="N",
        type=count,
        default=1,
        help=f"only places that at least N cells find {DEFAULT}",
    )
    sub.add_argument(
        "--out",
        metavar="FILE",
        type=local_path,
        help="write to this file instead of stdout; as bgzip if it ends in .gz",
    )


def _hits(args: argparse.Namespace) -> int:
    from motifk8s.cells.finished import list_by_reason
    from motifk8s.cells.hits import find_hits
    from motifk8s.cli import terminal
    from motifk8s.filters.hits import bed_lines
    from motifk8s.store.files import refuse_inputs

    study, store = open_study(args)
    refuse_inputs([args.out], study_inputs(args.study, study))
    options = {"part": args.part, "by": args.by, "min_cells": args.min_cells}
    with terminal.new_console(stderr=True).status("reading the study") as status:
        found = find_hits(study, store, args.cells, progress=status.update, **options)
    _write(args.out, bed_lines(found.hits, found.labels, found.names))
    for note in _notes(found):
        print(f"motifk8s: {note}", file=sys.stderr)
    if args.out:
        motifs = len({found.labels[i].name for i in set(found.hits["label"].tolist())})
        what = "filters" if args.by == "filter" else "motifs"
        print(f"{len(found.hits)} places of {motifs} {what}: {args.out}")
    if found.missing:
        sys.stdout.flush()
        n, total = len(found.missing), found.cells + len(found.missing)
        raise IncompleteError(
            f"study {study.name}: {n} of {total} cells {'is' if n == 1 else 'are'} not finished, "
            f"and the hits are those of the others: {list_by_reason(found.missing)}"
        )
    return 0


def _notes(found: Found) -> Iterator[str]:
    if not found.placed:
        yield (
            "the data set does not say where its sequences are from; their names are their part "
            "and number, from 0"
        )
    if found.shuffled:
        yield f"left out {found.shuffled:,} shuffled sequences, which have no place"


def _write(path: Path | None, lines: Iterator[str]) -> None:
    """Write lines to a file, as bgzip if its name ends in .gz, or to stdout."""
    from motifk8s.store.bgzip import compress
    from motifk8s.store.files import replacing

    if path is None:
        while text := "".join(islice(lines, 10_000)):
            write_data(text)
        return
    packed = path.suffix == ".gz"
    with replacing(path) as file:
        file.writelines(compress(lines) if packed else (line.encode() for line in lines))
