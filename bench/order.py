"""Compute when koo2019-synthetic ends, by the order of its cells and how many run at a time.

    python bench/order.py [--epochs 6]

By default a cell takes its arithmetic, and a unit is the arithmetic of the first trial of all
architectures. With --epochs, the script trains each architecture for that many epochs, one cell on
each core, and prints the hours of a whole training instead. Less than six epochs are not compiled
(`motifk8s.training.devices`). Each entry is the end of the last first trial, and of the study.
"""

from __future__ import annotations

import argparse
import heapq
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import machine

from motifk8s.cells.estimate import count_work, longest_first, read_cell
from motifk8s.cells.keys import cell_folder
from motifk8s.data.sizes import count_sequences
from motifk8s.provenance import cores
from motifk8s.store.folder import FolderStore
from motifk8s.study.study import Cell, Study, load

STUDY, DATA = "koo2019-synthetic", "synthetic"
AT_A_TIME = (2, 4, 8, 16)


def arithmetic(study: Study) -> dict[str, float]:
    """Return the work of a cell of each architecture; that of all is 1."""
    sizes = count_sequences(study, DATA, FolderStore("store"))
    work = {c.model: count_work(study, c, sizes) for c in study.cells() if c.trial == 1}
    return {model: value / sum(work.values()) for model, value in work.items()}


def measure(study: Study, epochs: int) -> dict[str, float]:
    """Train each architecture a little; print and return the hours of a whole cell."""
    short = {"name": "order", "extends": STUDY, "trials": 1, "training": {"epochs": epochs}}
    all_epochs = study.training_for(DATA).epochs
    hours = {}
    print("| architecture | s an epoch | s outside epochs | h a cell |")
    print("| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="motifk8s-bench-") as folder:
        file, store = Path(folder) / "order.yaml", FolderStore(Path(folder) / "store")
        file.write_text(json.dumps(short))
        command = [sys.executable, "-m", "motifk8s", "run", file, "--store", store.url]
        subprocess.run([*command, "--jobs", str(cores())], check=True, stdout=subprocess.DEVNULL)
        trained = load(str(file))
        for cell in trained.cells():
            took = read_cell(store, cell_folder(trained, cell), {})
            assert took is not None
            total = hours[cell.model] = (all_epochs * took.seconds + took.outside) / 3600
            label = study.models[cell.model].label or cell.model
            print(f"| {label} | {took.seconds:.2f} | {took.outside:.1f} | {total:.2f} |")
    print(f"| all | | | {sum(hours.values()):.2f} |\n")
    return hours


def ends(cells: Sequence[Cell], costs: dict[str, float], lanes: int) -> str:
    """Run cells in their order, each on the first lane that is free."""
    free = [0.0] * lanes
    first = 0.0
    for cell in cells:
        end = heapq.heappop(free) + costs[cell.model]
        heapq.heappush(free, end)
        if cell.trial == 1:
            first = max(first, end)
    return f"{first:.2f}, {max(free):.2f}"


def bound(costs: Sequence[float], lanes: int) -> float:
    """Return the least time in which any order can end."""
    return max(max(costs), sum(costs) / lanes)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--epochs", type=int, default=0, help="epochs to train (none)")
    args = parser.parse_args()
    facts = machine.describe("order.py", sys.argv[1:], 1)
    study, store = load(STUDY), FolderStore("store")
    costs = measure(study, args.epochs) if args.epochs else arithmetic(study)
    cells = study.cells()
    firsts = [cell for cell in cells if cell.trial == 1]
    orders = [cells, sorted(cells, key=lambda cell: cell.trial), longest_first(study, store, cells)]
    print("| at a time | as named | by trial | most work first | least possible |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for lanes in AT_A_TIME:
        least = [bound([costs[c.model] for c in some], lanes) for some in (firsts, cells)]
        row = [*(ends(order, costs, lanes) for order in orders), "{:.2f}, {:.2f}".format(*least)]
        print(f"| {lanes} | {' | '.join(row)} |")
    if args.epochs:
        print(f"\n{machine.markdown(facts)}")


if __name__ == "__main__":
    machine.run_main(main)
