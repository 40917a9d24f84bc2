"""Run an in vivo study from end to end: make a bundle like DeepSEA's, import it, train models.

    python bench/invivo.py [--train 20000] [--folder FOLDER] [--store URL] [--keep]

The bundle is an archive of three files in DeepSEA's formats: 919 labels and 1,000 bp for each
sequence, forward strands first, then the reverse complements. So many training sequences have one
or more of the paper's 12 labels, at about the frequencies of the real bundle. A quarter as many
more have none, and the import must leave them out. For each positive label, the sequence contains
one to three copies of its motif, in a background with human dinucleotide frequencies. The study
is invivo.yaml.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers import bundles

STUDY = Path(__file__).with_name("invivo.yaml")
LENGTH = 1000
UNKEPT = 0.25  # sequences without one of the labels, for each sequence with one
OTHERS = 0.02  # frequency of positives of each other label
SLOT, FIRST, SLOTS = 20, 400, 10  # size (bp), start (bp) and number of slots for motifs
# Probabilities of A C G T after each of A C G T, about as in the human genome: CG is rare.
STEPS = [
    [0.33, 0.17, 0.24, 0.26],
    [0.355, 0.255, 0.048, 0.342],
    [0.29, 0.209, 0.255, 0.246],
    [0.222, 0.201, 0.246, 0.331],
]


def make(folder: Path, train: int) -> None:
    """Write ``bundle.tar.gz``."""
    files = folder / "files"
    arrays = {}
    for seed, (part, kept) in enumerate(
        {"train": train, "valid": train // 20, "test": train // 10}.items()
    ):
        codes, labels = strand(kept // 2, seed)
        both = np.concatenate([codes, np.where(codes == 4, 4, 3 - codes)[:, ::-1]])
        channels = np.array([0, 2, 1, 3, 4])[both]  # A C G T to A G C T
        arrays[part] = {
            f"{part}data": np.concatenate([labels, labels]),
            f"{part}xdata": bundles.one_hot(channels),
        }
    bundles.write(files, arrays, chunks=(LENGTH, 4, 500))
    bundles.pack(files, folder / "bundle.tar.gz")
    shutil.rmtree(files)


def strand(kept: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Make base codes (N, L) and labels (N, 919) of the forward strands."""
    from motifk8s.data.deepsea import KEPT, POSITIVES
    from motifk8s.motifs.jaspar import jaspar_motif
    from motifk8s.study.study import load

    rng = np.random.default_rng(seed)
    [spec] = load(str(STUDY)).datasets.values()
    columns = [label.column for label in spec.classes.values()]
    share = np.array([POSITIVES[column] / KEPT["train"] for column in columns])
    positive = np.zeros((kept, len(columns)), bool)
    while (none := ~positive.any(axis=1)).any():
        positive[none] = rng.random((none.sum(), len(columns))) < share
    n = round(kept * (1 + UNKEPT))
    rows = np.sort(rng.choice(n, kept, replace=False))
    labels = (rng.random((n, bundles.LABELS), np.float32) < OTHERS).astype(np.uint8)
    labels[:, columns] = 0
    labels[rows[:, None], columns] = positive

    codes = np.empty((n, LENGTH), np.uint8)
    codes[:, 0] = rng.integers(0, 4, n)
    for i in range(1, LENGTH):
        edges = np.cumsum(STEPS, axis=1)[codes[:, i - 1], :3]
        codes[:, i] = (rng.random((n, 1)) > edges).sum(axis=1)
    order = rng.permuted(np.tile(np.arange(SLOTS), (n, 1)), axis=1)
    used = np.zeros(n, int)
    for label, column in zip(spec.classes.values(), columns, strict=True):
        ppm = jaspar_motif(label.motifs[0]).ppm
        times = rng.integers(1, 4, n) * labels[:, column]
        for copy in range(3):
            into = np.flatnonzero((times > copy) & (used < SLOTS))
            bases = (rng.random((len(into), len(ppm), 1)) > np.cumsum(ppm, axis=1)[:, :3]).sum(2)
            reverse = rng.random(len(into)) < 0.5
            bases[reverse] = 3 - bases[reverse, ::-1]
            start = FIRST + SLOT * order[into, used[into]]
            start += rng.integers(0, SLOT - len(ppm) + 1, len(into))
            codes[into[:, None], start[:, None] + np.arange(len(ppm))] = bases
            used[into] += 1
    codes[rng.random(n) < 0.001, :100] = 4  # like sequences next to a gap of the assembly
    return codes, labels


def step(*command: object) -> tuple[float, float, float]:
    """Run a command; return seconds, CPU seconds and peak memory (MB) of one process."""
    began = time.perf_counter()
    running = subprocess.Popen([sys.executable, *map(str, command)])
    _, status, used = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise SystemExit(running.returncode)
    cpu = used.ru_utime + used.ru_stime
    return time.perf_counter() - began, cpu, used.ru_maxrss * 1024 / 1e6


def main() -> None:
    """Make, import and run; print the time and memory of each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--train", type=int, default=20_000, help="sequences kept (%(default)s)")
    parser.add_argument("--folder", type=Path, help="folder of the bundle (default: temporary)")
    parser.add_argument("--store", help="folder or s3:// URL (default: FOLDER/store)")
    parser.add_argument(
        "--keep", action="store_true", help="keep the folder, and use an existing bundle"
    )
    parser.add_argument("--make", action="store_true", help="only make the bundle")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="motifk8s-bench-"))
    folder.mkdir(exist_ok=True)
    bundle = folder / "bundle.tar.gz"
    if args.make:
        return make(folder, args.train)
    store = args.store or folder / "store"
    costs = {}
    try:
        if not (args.keep and bundle.exists()):
            costs["make"] = step(__file__, "--make", "--folder", folder, "--train", args.train)
        options = ("--study", STUDY, "--store", store)
        costs["import"] = step("-m", "motifk8s", "import", "deepsea", bundle, *options)
        costs["run"] = step("-m", "motifk8s", "run", STUDY, "--store", store, "--jobs", 1)
        print(f"\n{bundle}: {bundle.stat().st_size / 1e6:.0f} MB")
        for name, (seconds, cpu, peak) in costs.items():
            print(f"{name:8}{seconds:7.1f} s,{cpu:7.1f} s of CPU,{peak:7.0f} MB at most")
    finally:
        if not args.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
