"""Compare the estimates of `motifk8s plan` with the measured seconds of cells.

    python bench/estimate.py STUDY CELL CELL...

The script runs the first cell, estimates the others from it, and then runs them. Each cell runs in
a new process, one after the other, with one thread. The script also prints the upper bound without
any finished cell, and the work of an epoch in a second. These determine the constants in
motifk8s/cells/estimate.py.
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
    """Print the estimated and the measured seconds of each cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("study", help="study file, or name of a built-in study")
    parser.add_argument("cells", nargs="+", help="two or more cell ids")
    args = parser.parse_args()
    study = load(args.study)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        for name in dict.fromkeys(study.cell(id).dataset for id in args.cells):
            stored.prepare(study, name, store)

        def costs() -> dict[str, estimate.Cost]:
            return {c.cell.id: c for c in estimate.estimate(study, store, plan(study, store)).costs}

        def run(id: str) -> float:
            command = ["motifk8s", "cell", args.study, id, "--threads", "1", "--store", folder]
            subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
            place = cell_folder(study, study.cell(id))
            done, finished = marker.read_done(store, place), estimate.read_cell(store, place, {})
            assert done is not None and finished is not None
            took = json.loads(marker.fetch(store, place, done, "metrics.json"))["seconds"]
            rate = finished.work / finished.seconds
            print(f"{id}: took {took:.1f} s, of which {finished.outside:.1f} s outside epochs; "
                  f"upper bound {bounds[id].total:.0f} s, work {rate:.3g} per second")  # fmt: skip
            return float(took)

        bounds = costs()
        first, *others = args.cells
        run(first)
        expected = costs()
        for id in others:
            total, took = expected[id].total, run(id)
            print(f"{id}: estimated {total:.1f} s ({expected[id].basis}), {total / took - 1:+.0%}")


if __name__ == "__main__":
    main()
