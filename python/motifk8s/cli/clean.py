"""The command line of clean."""

from __future__ import annotations

import argparse
from collections import Counter

from motifk8s.cli.arguments import Commands, add, add_study


def register(commands: Commands) -> None:
    """Add the command ``clean`` to those of the program."""
    text = "delete what a study no longer needs: checkpoints of finished cells, superseded runs"
    sub = add(commands, "clean", _clean, text)
    add_study(sub)
    sub.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    sub.add_argument(
        "--all-checkpoints",
        action="store_true",
        help="those of unfinished cells too, which then begin again",
    )


def _clean(args: argparse.Namespace) -> int:
    from rich.filesize import decimal

    from motifk8s.cells.clean import find, remove
    from motifk8s.store.open import open_store
    from motifk8s.study.study import load

    study, store = load(args.study), open_store(args.store)
    found = find(study, store, all_checkpoints=args.all_checkpoints)
    freed: Counter[str] = Counter()
    size = changed = 0
    for leftover in found.leftovers:
        if not (args.dry_run or remove(store, leftover)):
            changed += 1
            continue
        print(f"{leftover.path}  {decimal(leftover.size)}")
        freed[leftover.kind] += 1
        size += leftover.size
    what = ", ".join(_counted(n, kind) for kind, n in freed.items()) or "nothing to delete"
    print(f"{'would free' if args.dry_run else 'freed'} {decimal(size)}: {what}")
    if found.young:
        print(f"left {_counted(len(found.young), 'run')} younger than an hour: maybe an upload")
    if changed:
        print(f"left {_counted(changed, 'leftover')}: the cell was finished meanwhile")
    for text in found.damaged:
        print(text)
    return 0


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
