"""The command clean."""

from __future__ import annotations

import argparse
from collections import Counter

from motifk8s.cli.arguments import Commands, add, add_study, open_study


def register(commands: Commands) -> None:
    """Add the command clean."""
    text = "delete what is not needed: old checkpoints, superseded runs and data, unfinished files"
    sub = add(commands, "clean", _clean, text)
    add_study(sub)
    sub.add_argument("--dry-run", action="store_true", help="only print what would be deleted")
    sub.add_argument(
        "--all-checkpoints",
        action="store_true",
        help="delete checkpoints of unfinished cells too; these cells start again at epoch 1",
    )


def _clean(args: argparse.Namespace) -> int:
    from rich.filesize import decimal

    from motifk8s.cells.clean import find, remove

    study, store = open_study(args)
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
    runs = sum("/runs/" in path for path in found.young)
    for n, kind in ((runs, "run"), (len(found.young) - runs, "file")):
        if n:
            print(f"left {_counted(n, kind)} younger than an hour: may be uploading")
    if changed:
        print(f"left {_counted(changed, 'leftover')}: its cell or data changed in the meantime")
    for text in found.damaged:
        print(text)
    return 0


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
