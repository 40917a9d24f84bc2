"""Compute when koo2019-synthetic ends, by the order of its cells and how many run at a time.

    python bench/order.py

A cell takes its arithmetic; a unit is the arithmetic of the first trial of all architectures. Each
entry is the end of the last first trial, and of the study.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from motifk8s.cells.estimate import count_work, longest_first
from motifk8s.data.sizes import count_sequences
from motifk8s.store.folder import FolderStore
from motifk8s.study.study import Cell, load

AT_A_TIME = (2, 4, 8, 16)


def ends(cells: Sequence[Cell], work: dict[Cell, float], lanes: int) -> str:
    """Run cells in their order, each on the first lane that is free."""
    free = [0.0] * lanes
    first = 0.0
    for cell in cells:
        end = heapq.heappop(free) + work[cell]
        heapq.heappush(free, end)
        if cell.trial == 1:
            first = max(first, end)
    return f"{first:.2f}, {max(free):.2f}"


def bound(work: Sequence[float], lanes: int) -> float:
    """Return the least time in which any order can end."""
    return max(max(work), sum(work) / lanes)


def main() -> None:
    """Print the table."""
    study, store = load("koo2019-synthetic"), FolderStore("store")
    cells = study.cells()
    sizes = count_sequences(study, "synthetic", store)
    work = {cell: count_work(study, cell, sizes) for cell in cells}
    firsts = [cell for cell in cells if cell.trial == 1]
    unit = sum(work[cell] for cell in firsts)
    work = {cell: value / unit for cell, value in work.items()}
    orders = [cells, sorted(cells, key=lambda cell: cell.trial), longest_first(study, store, cells)]
    print("| at a time | as named | by trial | most work first | least possible |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for lanes in AT_A_TIME:
        least = [bound([work[c] for c in some], lanes) for some in (firsts, cells)]
        row = [*(ends(order, work, lanes) for order in orders), "{:.2f}, {:.2f}".format(*least)]
        print(f"| {lanes} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
