"""What a CPU core takes over the work of training: the rates in motifk8s/rates.py.

    python bench/rates.py [--rows 2000]

Every architecture trains on random sequences with one thread, then cells of the built-in smoke
study and of a small one run from start to end. CPU time is measured, so other processes disturb
little. The rates are fitted by non-negative least squares of relative errors, and printed with the
error of each architecture. Takes five minutes on free cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from motifk8s.cells import measured, rates
from motifk8s.store.open import open_store
from motifk8s.study.specs import Conv, Model, TrainingSettings
from motifk8s.study.study import load

CLASSES = 12
VALID = 7  # sequences to train on for each to validate on, as in the paper
SMALL = """\
name: small
extends: koo2019-synthetic
trials: 1
datasets: {synthetic: {n_sequences: 4000, split: [0.2, 0.1, 0.7]}}
training: {preset: as-run, epochs: 2}
grid: {synthetic: [cnn-25, cnn-1, cnn-1-1-100]}
"""


def architectures() -> dict[str, tuple[Model, int, int]]:
    """Architecture, length (bp) and size of a batch, by name."""
    paper = load("koo2019").models
    chosen = {name: (model, 200, 100) for name, model in paper.items()}
    for name in ("cnn-1", "cnn-4", "cnn-25"):
        chosen[f"{name}, 1000 bp"] = paper[name], 1000, 32
    chosen["cnn-25, batches of 20"] = paper["cnn-25"], 200, 20

    def conv(filters: int, width: int, pool: int = 1) -> Conv:
        return Conv(filters=filters, width=width, pool=pool)

    deep = [conv(32, 11, 2), conv(64, 7, 2), conv(128, 5, 5), conv(256, 3, 10)]
    own = {
        "deep": Model(conv=deep, dense=[256]),
        "wide": Model(conv=[conv(128, 15, 4), conv(256, 5, 25)], dense=[1024]),
        "one layer": Model(conv=[conv(30, 19, 4)], dense=[512, 512]),
        "wide filters": Model(conv=[conv(64, 31), conv(32, 1, 50)], dense=[64]),
    }
    tiny = Model(conv=[conv(8, 19, 2), conv(16, 5, 15)], dense=[32])
    return (
        chosen
        | {name: (model, 200, 100) for name, model in own.items()}
        | {"tiny, 60 bp": (tiny, 60, 20)}
    )


def measure(model: Model, length: int, batch_size: int, rows: int) -> tuple[float, float]:
    """CPU seconds of an epoch, once compiled; and of forward passes, as a share of training's."""
    import keras

    from motifk8s.training import devices, loop, models

    source = np.random.default_rng(0)
    codes = source.integers(0, 4, (rows, length), dtype=np.uint8)
    labels = source.integers(0, 2, (rows, CLASSES), dtype=np.int8)
    built = models.build(model, TrainingSettings(), length, CLASSES)
    device = devices.open_device(built, keras.optimizers.Adam(1e-3))
    data, order = device.put(codes, labels), np.arange(rows, dtype=np.int32)
    predict = device.compile_map(None)

    def forward() -> None:
        for i in range(0, rows, 500):
            predict(codes[i : i + 500])

    def seconds(run: Callable[[], object]) -> float:
        run()  # compiles
        took = []
        for _ in range(3):
            start = time.process_time()
            run()
            took.append(time.process_time() - start)
        return min(took)

    trained = seconds(lambda: device.train(data, order, batch_size))
    valid = rows // VALID
    validated = seconds(lambda: loop._validate(device, codes[:valid], labels[:valid]))
    return trained + validated, seconds(forward) / trained


def run_cells(fitted: rates.Work) -> list[tuple[str, rates.Outside, float]]:
    """Run whole cells; what each does outside of its epochs, and the CPU seconds of that."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "small.yaml").write_text(SMALL)
        for name in ("smoke", f"{folder}/small.yaml"):
            study = load(name)
            command(folder, "dataset", name)
            for cell in study.cells():
                took = command(folder, "cell", name, cell.id, "--threads", "1")
                sizes = measured.sizes_of(study, cell.dataset, open_store(folder))
                assert sizes is not None  # of synthetic data
                epoch, outside = rates.amounts(study, cell.dataset, cell.model, sizes, fitted)
                epochs = study.training_for(cell.dataset).epochs  # these never stop early
                found.append((cell.id, outside, took - epochs * rates.seconds(epoch, fitted)))
    return found


def command(store: str, *args: str) -> float:
    """Run motifk8s; return its CPU seconds."""
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "motifk8s", *args, "--store", f"{store}/store"],
        check=True,
        capture_output=True,
    )
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def fit(kind: Any, names: Sequence[str], amounts: Sequence[Any], took: Sequence[float]) -> Any:
    """Fit non-negative rates to what was measured, and print how well that works."""
    a, y = np.array(amounts), np.array(took)
    found, _ = nnls(a / y[:, None], np.ones(len(y)))
    for name, seconds, said in zip(names, y, a @ found, strict=True):
        print(
            f"{name:24} {seconds:8.2f} s, fitted {said:8.2f} s, {said / seconds - 1:+.0%}",
            flush=True,
        )
    error = a @ found / y - 1
    print(f"{'relative error':24} {np.sqrt((error**2).mean()):.0%}, largest {abs(error).max():.0%}")
    return kind(*(float(f"{rate:.3g}") for rate in found))


def main() -> None:
    """Measure, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000, help="of 200 bp (%(default)s)")
    args = parser.parse_args()

    from motifk8s.training import devices

    devices.setup(1)
    names, amounts, took, forward = [], [], [], []
    for name, (model, length, batch_size) in architectures().items():
        rows = args.rows * 200 // length // batch_size * batch_size
        epoch, share = measure(model, length, batch_size, rows)
        names.append(name)
        amounts.append(rates.work(model, length, CLASSES, batch_size, rows, rows // VALID))
        took.append(epoch)
        forward.append(share)
    fitted = fit(rates.Work, names, amounts, took)
    ids, outside, rest = zip(*run_cells(fitted), strict=True)
    fitted_outside = fit(rates.Outside, ids, outside, rest)
    print(f"RATES = {fitted}\nRATES_OUTSIDE = {fitted_outside}\nFORWARD = {np.median(forward):.2f}")


if __name__ == "__main__":
    main()
