"""Train one model: epochs, early stopping, best weights, and checkpoints that resume exactly."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from motifk8s.errors import Interrupted, Problem
from motifk8s.provenance import code_version
from motifk8s.study.specs import TrainingSettings
from motifk8s.training.devices import Device
from motifk8s.training.scores import auroc

# Rows in one dispatch to the device: about a second on one core, so that a signal is heard soon.
ROWS_PER_DISPATCH = 5_000
CHECKPOINT_SECONDS = 60.0


class Checkpoint(NamedTuple):
    """Where a training run is kept between attempts.

    Attributes
    ----------
    key : str
        What the run is; a checkpoint of another key is not used.
    load : callable
        Returns the bytes last saved, or None.
    save : callable
        Keeps bytes; must be atomic. Called in another thread, so that training goes on meanwhile.
    every : float
        Seconds of work that may be lost; of an epoch that is longer, all of it.
    """

    key: str
    load: Callable[[], bytes | None]
    save: Callable[[bytes], None]
    every: float = CHECKPOINT_SECONDS


class Trained(NamedTuple):
    """The end of training; the device holds the best weights.

    Attributes
    ----------
    history : pandas.DataFrame
        One row per epoch, from 1: epoch, loss, val_loss (both with the L2 term),
        val_cross_entropy (nats), val_auroc, seconds.
    best_epoch : int
        The epoch whose weights are kept.
    resumed_at : list of int
        Epochs that were already finished each time training went on from a checkpoint.
    trained_by : str
        The code version that trained the last epoch.
    """

    history: pd.DataFrame
    best_epoch: int
    resumed_at: list[int]
    trained_by: str


class _Snapshot(NamedTuple):
    """All that the rest of a training run depends on, at the end of an epoch."""

    state: list[np.ndarray]
    best: list[np.ndarray]
    rows: list[dict[str, float]]
    resumed_at: list[int]
    trained_by: str

    def dumps(self, key: str) -> bytes:
        small = {k: getattr(self, k) for k in ("rows", "resumed_at", "trained_by")}
        meta = {"format": 1, "key": key, **small}
        arrays = {f"state{i}": a for i, a in enumerate(self.state)}
        arrays |= {f"best{i}": a for i, a in enumerate(self.best)}
        buffer = io.BytesIO()
        np.savez(buffer, meta=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()


def _loads(data: bytes | None, key: str) -> _Snapshot | None:
    """Read a snapshot; None where there is none, a damaged one, or one of another key or format."""
    if data is None:
        return None
    try:
        with np.load(io.BytesIO(data)) as arrays:
            meta = json.loads(str(arrays["meta"]))
            if meta["format"] != 1 or meta["key"] != key:
                return None
            state, best = (
                [arrays[f"{name}{i}"] for i in range(sum(k.startswith(name) for k in arrays.files))]
                for name in ("state", "best")
            )
            return _Snapshot(state, best, meta["rows"], meta["resumed_at"], meta["trained_by"])
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
        return None


def _save(checkpoint: Checkpoint, snapshot: _Snapshot) -> None:
    checkpoint.save(snapshot.dumps(checkpoint.key))


def _validate(device: Device, codes: Any, labels: np.ndarray) -> dict[str, float]:
    p = device.predict(codes)
    known = labels >= 0
    # The clipping of Keras' binary cross-entropy, so that this is the loss that training sees.
    q = np.clip(np.where(labels == 1, p, 1 - p).astype(np.float64), 1e-7, 1 - 1e-7)
    cross_entropy = float(-np.log(q[known]).mean())
    scores = auroc(labels, p)
    return {
        "val_loss": cross_entropy + device.l2(),
        "val_cross_entropy": cross_entropy,
        "val_auroc": float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan"),
    }


def train(
    device: Device,
    settings: TrainingSettings,
    train_part: tuple[np.ndarray, np.ndarray],
    valid_part: tuple[np.ndarray, np.ndarray],
    seed: int,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, int, dict[str, float]], None] = lambda epoch, epochs, row: None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train until the last epoch or until patience ends; leave the best weights on the device.

    The order of each epoch depends on the seed and the epoch alone, and a checkpoint holds all
    other state, so a run that was interrupted ends with the weights of one that was not.

    Parameters
    ----------
    device : Device
        With model and optimizer, freshly built from the same seed.
    settings : TrainingSettings
    train_part, valid_part : tuple
        Codes (N, L) uint8 and labels (N, C) int8.
    seed : int
    checkpoint : Checkpoint, optional
        Saved at the end of an epoch, before too much work is at risk, and at the end of training.
    progress : callable
        Called after each epoch with its number, the most there can be, and its history row.
    stop : callable
        Asked about once a second; True saves the last epoch's state and raises.

    Raises
    ------
    Problem
        If the loss is not a number.
    Interrupted
        If `stop` said so.
    """
    begun = _loads(checkpoint.load(), checkpoint.key) if checkpoint else None
    if begun:
        device.restore(begun.state)
        last = begun._replace(resumed_at=[*begun.resumed_at, len(begun.rows)])
    else:
        initial = device.state()
        last = _Snapshot(initial, initial, [], [], code_version())
    measure = "val_loss" if settings.monitor == "loss" else "val_cross_entropy"
    data = device.put(*train_part)
    valid, _ = device.put(*valid_part)
    n, saved, saved_at = len(train_part[0]), len(last.rows), time.monotonic()
    writing: Future[None] | None = None

    def save(wait: bool) -> None:
        nonlocal saved, saved_at, writing
        if writing:  # one after the other; and what went wrong in it is raised here
            writing.result()
            writing = None
        if checkpoint and saved < len(last.rows):
            writing = writer.submit(_save, checkpoint, last)
            saved, saved_at = len(last.rows), time.monotonic()
        if wait and writing:
            writing.result()

    def best_epoch() -> int:
        return 1 + int(np.argmin([row[measure] for row in last.rows]))

    def finished() -> bool:
        epoch = len(last.rows)
        if epoch == 0:
            return False
        waited = settings.patience is not None and epoch - best_epoch() >= settings.patience
        return epoch >= settings.epochs or waited

    rows_per_dispatch = max(1, ROWS_PER_DISPATCH // settings.batch_size) * settings.batch_size
    with ThreadPoolExecutor(1) as writer:
        while not finished():
            epoch = len(last.rows) + 1
            start = time.monotonic()
            order = np.random.default_rng([seed, epoch]).permutation(n).astype(np.int32)
            total = 0.0
            for i in range(0, n, rows_per_dispatch):
                if stop():
                    save(wait=True)
                    raise Interrupted(f"stopped in epoch {epoch}; {saved} epochs are saved")
                total += device.train(data, order[i : i + rows_per_dispatch], settings.batch_size)
            row = {"epoch": epoch, "loss": total / n} | _validate(device, valid, valid_part[1])
            row["seconds"] = time.monotonic() - start
            if not (np.isfinite(row["loss"]) and np.isfinite(row["val_loss"])):
                raise Problem(
                    f"the loss is not a number at epoch {epoch} (training {row['loss']}, "
                    f"validation {row['val_loss']}): lower training.learning_rate"
                )
            state, rows = device.state(), [*last.rows, row]
            improved = row[measure] < min((r[measure] for r in last.rows), default=np.inf)
            best = state if improved else last.best
            last = _Snapshot(state, best, rows, last.resumed_at, code_version())
            # In time: one more epoch like this one would put more than `every` seconds at risk.
            if checkpoint and time.monotonic() - saved_at + row["seconds"] > checkpoint.every:
                save(wait=False)
            progress(epoch, settings.epochs, row)
        save(wait=True)
    device.restore(last.best)
    return Trained(pd.DataFrame(last.rows), best_epoch(), last.resumed_at, last.trained_by)
