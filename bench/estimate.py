"""How well `motifk8s plan` estimates: run one cell, estimate others, run them, compare.

    python bench/estimate.py STUDY CELL CELL...

The first cell is what the estimate of the others rests on. Each runs in a process of its own, one
after the other, with one thread; seconds are of the whole cell.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile

from motifk8s.cells import estimate, marker
from motifk8s.cells.keys import cell_folder
from motifk8s.cells.plan import plan
from motifk8s.data import stored
from motifk8s.store.open import open_store
from motifk8s.study.study import load


def main() -> None:
    """Print what was estimated for each cell, and what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("cells", nargs="+", help="two or more")
    args = parser.parse_args()
    study = load(args.study)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        for name in dict.fromkeys(study.cell(id).dataset for id in args.cells):
            stored.prepare(study, name, store)

        def run(id: str) -> float:
            command = ["motifk8s", "cell", args.study, id, "--threads", "1", "--store", folder]
            subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
            place = cell_folder(study, study.cell(id))
            done = marker.read_done(store, place)
            assert done is not None
            return float(json.loads(marker.fetch(store, place, done, "metrics.json"))["seconds"])

        first, *others = args.cells
        print(f"{first}: took {run(first):.1f} s")
        costs = estimate.estimate(study, store, plan(study, store)).costs
        expected = {cost.cell.id: cost for cost in costs}
        for id in others:
            said, took = expected[id].total, run(id)
            print(f"{id}: estimated {said:.1f} s ({expected[id].basis}), took {took:.1f} s, "
                  f"{said / took - 1:+.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
