"""Measure time and memory of the import of DeepSEA's bundle.

    python bench/deepsea.py [--gigabytes 6.4] [--chunk 1000,4,1000] [--folder FOLDER] [--keep]

Make a bundle whose trainxdata has that size before compression (17.6 GB in the real one). Its
test.mat is as large as the real one. Import it in a process limited to 4 GiB, and check each base
and label. For comparison, also read train.mat chunk by chunk.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

LENGTH, LABELS, LIMIT = 1000, 919, 4 * 2**30
KINDS = 16  # different columns of chunks; the others are copies, so that writing is fast
SHARE = 0.06  # of sequences with one of the labels, as in the real bundle


def kept_sequences(n: int) -> np.ndarray:
    """Draw which sequences (N,) have a label; they form clusters, like peaks."""
    rng = np.random.default_rng(1)
    kept = np.zeros(n, bool)
    starts = rng.integers(0, n, round(n * SHARE / 5))
    for shift in range(5):
        kept[(starts + shift) % n] = True
    return kept


def bases_of(kind: int, wide: int) -> np.ndarray:
    """Return base codes (L, rows) of one kind of chunk, 4 for N."""
    rng = np.random.default_rng(100 + kind)
    bases = rng.integers(0, 4, (LENGTH, wide), np.uint8)
    bases[:, rng.random(wide) < 0.001] = 4
    return bases


def columns() -> dict[str, int]:
    """Return the column of each of the paper's labels."""
    from motifk8s.study.study import load

    return {name: c.column for name, c in load("koo2019").datasets["invivo"].classes.items()}


def make(folder: Path, n: int, chunk: tuple[int, int, int]) -> None:
    """Write the three files; compress chunks of trainxdata only once per kind."""
    import zlib

    import scipy.io

    kept = kept_sequences(n)
    with h5py.File(folder / "train.mat", "w", userblock_size=512) as file:
        y = file.create_dataset(
            "traindata", (LABELS, n), "u1", chunks=(LABELS, 1000), compression=3
        )
        for start in range(0, n, 100_000):
            y[:, start : start + 100_000] = label_block(kept, start)
        x = file.create_dataset("trainxdata", (LENGTH, 4, n), "u1", chunks=chunk, compression=3)
        high, deep, wide = chunk
        for kind in range(KINDS):
            bases = bases_of(kind, wide)
            # The channels of the file are A G C T.
            one_hot = (bases[:, None, :] == np.array([0, 2, 1, 3])[None, :, None]).astype(np.uint8)
            for p in range(0, LENGTH, high):
                for c in range(0, 4, deep):
                    part = np.zeros(chunk, np.uint8)
                    piece = one_hot[p : p + high, c : c + deep]
                    part[: piece.shape[0], : piece.shape[1]] = piece
                    packed = zlib.compress(part, 3)
                    for start in range(kind * wide, n, KINDS * wide):
                        x.id.write_direct_chunk((p, c, start), packed)
    for part, rows in (("valid", 8_000), ("test", 455_024)):  # as in the real bundle
        few = np.zeros((rows, LABELS), np.uint8)
        kept = np.arange(0, rows, 17)
        few[kept, np.array(list(columns().values()))[kept % 12]] = 1
        one = np.zeros((rows, 4, LENGTH), np.uint8)
        one[:, 0] = 1
        scipy.io.savemat(
            folder / f"{part}.mat", {f"{part}data": few, f"{part}xdata": one}, do_compression=True
        )


def label_block(kept: np.ndarray, start: int) -> np.ndarray:
    """Return the labels (919, up to 100,000) of the sequences from `start`."""
    kept = kept[start : start + 100_000]
    rng = np.random.default_rng(start)
    block = (rng.random((LABELS, len(kept)), np.float32) < 0.02).view(np.uint8)
    wanted = list(columns().values())
    block[wanted] = 0
    rows = np.flatnonzero(kept)
    block[np.array(wanted)[(start + rows) % 12], rows] = 1
    return block


def run_import(folder: Path, out: Path) -> None:
    """Import with limited memory; print seconds and peak memory as JSON."""
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    from motifk8s.data.deepsea import import_bundle
    from motifk8s.study.study import load

    began = time.perf_counter()
    facts = import_bundle(str(folder), load("koo2019").datasets["invivo"], out)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak": peak, "sequences": facts["sequences"]}))


def run_read(path: Path) -> None:
    """Read trainxdata chunk by chunk; print seconds as JSON."""
    began = time.perf_counter()
    with h5py.File(path) as file:
        x = file["trainxdata"]
        high, _, wide = x.chunks
        for start in range(0, x.shape[2], wide):
            for p in range(0, LENGTH, high):
                x[p : p + high, :, start : start + wide]
    print(json.dumps({"seconds": time.perf_counter() - began}))


def check(out: Path, n: int, wide: int) -> None:
    """Check each base and label of the training part."""
    kept = np.flatnonzero(kept_sequences(n))
    with h5py.File(out) as file:
        codes, split = file["codes"], file["split"][...]
        assert (split[: len(kept)] == 0).all() and (split[len(kept) :] > 0).all()
        kinds = [bases_of(kind, wide).T for kind in range(KINDS)]
        for start in range(0, len(kept), 20_000):
            rows = kept[start : start + 20_000]
            expected = np.empty((len(rows), LENGTH), np.uint8)
            for kind in range(KINDS):
                of_kind = rows // wide % KINDS == kind
                expected[of_kind] = kinds[kind][rows[of_kind] % wide]
            assert (codes[start : start + len(rows)] == expected).all(), "wrong bases"
        labels = file["labels"][: len(kept)]
        block = kept // 100_000 * 100_000
        assert (labels.sum(axis=1) == 1).all()
        assert (labels.argmax(axis=1) == (block + kept % 100_000) % 12).all(), "wrong labels"


def main() -> None:
    """Make, import and check a bundle, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--gigabytes", type=float, default=6.4, help="(%(default)s)")
    parser.add_argument(
        "--chunk", default="1000,4,1000", help="positions, channels, sequences (%(default)s)"
    )
    parser.add_argument("--folder", help="folder of the files (default: a temporary one)")
    parser.add_argument(
        "--keep", action="store_true", help="keep the files, and use an existing bundle"
    )
    parser.add_argument("--step", choices=["make", "import", "read"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    n = round(args.gigabytes * 1e9 / LENGTH / 4 / 1000) * 1000
    chunk = tuple(int(size) for size in args.chunk.split(","))
    folder = Path(args.folder or tempfile.mkdtemp(prefix="motifk8s-bench-"))
    if args.step == "make":
        return make(folder, n, chunk)
    if args.step == "import":
        return run_import(folder, folder / "data.h5")
    if args.step == "read":
        return run_read(folder / "train.mat")

    def step(name: str) -> str:
        # Each step is a process, so that its peak memory is measured separately.
        options = ["--gigabytes", str(args.gigabytes), "--chunk", args.chunk]
        command = [sys.executable, __file__, *options, "--folder", str(folder), "--step", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    try:
        folder.mkdir(exist_ok=True)
        if not (args.keep and (folder / "train.mat").exists()):
            step("make")
        size = (folder / "train.mat").stat().st_size
        plain = json.loads(step("read"))["seconds"]
        facts = json.loads(step("import"))
        check(folder / "data.h5", n, chunk[2])
        whole = n * LENGTH * 4
        print(f"train.mat: {n:,} x {LENGTH} bp, {whole / 1e9:.1f} GB in {size / 1e9:.2f} GB")
        print(f"plain read of trainxdata: {plain:.1f} s, {whole / plain / 1e6:.0f} MB/s")
        rate = whole / facts["seconds"] / 1e6
        print(f"import of the bundle: {facts['seconds']:.1f} s, {rate:.0f} MB/s")
        print(f"peak memory: {facts['peak'] / 1e6:.0f} MB, data limited to {LIMIT / 1e6:.0f} MB")
        print(f"sequences, with all bases and labels correct: {facts['sequences']}")
    finally:
        if not args.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
