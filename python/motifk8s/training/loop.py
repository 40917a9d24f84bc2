"""Train one model, with early stopping, best weights, and checkpoints that resume exactly."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from motifk8s import signals
from motifk8s.errors import InputError, Interrupted, Problem, one_line
from motifk8s.provenance import code_version
from motifk8s.store.base import DamagedError
from motifk8s.study.specs import Plateau, TrainingSettings
from motifk8s.training.devices import Device
from motifk8s.training.scores import auroc, cross_entropies

if TYPE_CHECKING:
    import keras

# Rows in one dispatch to the device: about a second on one core. A signal to stop waits as long.
ROWS_PER_DISPATCH = 5_000
CHECKPOINT_SECONDS = 60.0
END_OF_ZIP = b"PK\5\6"  # begins the last record of a zip, of 22 bytes and a comment

log = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """The place that stores the state of a training between attempts."""

    key: str  # identifies the training; a checkpoint with another key is ignored
    load: Callable[[], bytes | None]  # returns the last saved bytes, or None
    save: Callable[[bytes], None]  # must be atomic; called in another thread during training
    # Seconds of work that a kill may lose. If an epoch takes longer, a kill may lose one epoch.
    every: float = CHECKPOINT_SECONDS


class Trained(NamedTuple):
    """The result of a training; the device has the best weights."""

    # One row per epoch, from 1: epoch, loss, val_loss (both with the L2 term), val_cross_entropy
    # (nats), val_auroc, seconds.
    history: pd.DataFrame
    best_epoch: int  # the epoch whose weights are kept
    resumed_at: list[int]  # number of finished epochs at each resume from a checkpoint
    trained_by: str  # the code version that trained the last epoch


def optimizer(settings: TrainingSettings) -> keras.optimizers.Optimizer:
    """Make the optimizer of a training: Adam."""
    import keras

    return keras.optimizers.Adam(
        settings.learning_rate,
        beta_1=settings.beta_1,
        beta_2=settings.beta_2,
        epsilon=settings.epsilon,
    )


class Snapshot(NamedTuple):
    """The complete state of a training at the end of an epoch."""

    state: list[np.ndarray]  # of the device
    best: list[np.ndarray]  # the state after the best epoch
    rows: list[dict[str, float]]  # of the history
    resumed_at: list[int]  # as in `Trained`
    trained_by: str  # as in `Trained`

    def dumps(self, key: str) -> bytes:
        """Return the content of a checkpoint."""
        small = {k: getattr(self, k) for k in ("rows", "resumed_at", "trained_by")}
        meta = {"format": 1, "key": key, **small}
        arrays = {f"state{i}": a for i, a in enumerate(self.state)}
        arrays |= {f"best{i}": a for i, a in enumerate(self.best)}
        buffer = io.BytesIO()
        np.savez(buffer, meta=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]
        # A zip ends with the length of its comment, in two bytes, and the comment: the hash of all
        # that is before it. Earlier versions can read it, too.
        content = buffer.getvalue()[:-2] + (64).to_bytes(2, "little")
        return content + hashlib.sha256(content).hexdigest().encode()

    @classmethod
    def loads(cls, data: bytes | None, key: str) -> Snapshot | None:
        """Read a checkpoint; return None if it is missing, or of another key or format.

        Raises
        ------
        DamagedError
            If its content is not what was written, as its hash says. Earlier versions wrote no
            hash: then it is read as far as zip finds no damage, and may not fit the model.
        """
        if data is None:
            return None
        end = data.rfind(END_OF_ZIP) + 22
        comment = data[end:]
        if end < 22 or len(comment) != int.from_bytes(data[end - 2 : end], "little"):
            raise DamagedError("it is not a checkpoint, or truncated")
        if comment and hashlib.sha256(data[:end]).hexdigest().encode() != comment:
            raise DamagedError("its content does not match its hash")
        try:
            with np.load(io.BytesIO(data)) as arrays:
                meta = json.loads(str(arrays["meta"]))
                if meta["format"] != 1 or meta["key"] != key:
                    return None
                state, best = (
                    [arrays[f"{kind}{i}"] for i in range(sum(n.startswith(kind) for n in arrays))]
                    for kind in ("state", "best")
                )
                return cls(state, best, meta["rows"], meta["resumed_at"], meta["trained_by"])
        # Without a hash, a flipped bit can raise any error: zipfile alone raises eight types.
        except Exception as error:
            raise DamagedError(one_line(error)) from None

    def fits(self, state: list[np.ndarray]) -> bool:
        """Return whether its arrays have the types and shapes of a device's state."""
        kinds = [(array.dtype, array.shape) for array in state]
        return all(kinds == [(a.dtype, a.shape) for a in mine] for mine in (self.state, self.best))


class _Writer:
    """A writer of snapshots in another thread, one after the other."""

    def __init__(self, thread: Executor, checkpoint: Checkpoint | None, saved: int) -> None:
        self.thread, self.checkpoint = thread, checkpoint
        self.saved, self.saved_at = saved, time.monotonic()  # number of epochs, and time of saving
        self.writing: Future[None] | None = None

    def save(self, snapshot: Snapshot) -> None:
        """Start to write a snapshot, unless its epoch is already saved."""
        self.wait()
        if self.checkpoint and self.saved < len(snapshot.rows):
            self.writing = self.thread.submit(self._write, self.checkpoint, snapshot)
            self.saved_at = time.monotonic()

    def save_in_time(self, snapshot: Snapshot) -> None:
        """Save if another epoch as long as the last one would put too much work at risk."""
        if self.checkpoint:
            at_risk = time.monotonic() - self.saved_at + snapshot.rows[-1]["seconds"]
            if at_risk > self.checkpoint.every:
                self.save(snapshot)

    def wait(self) -> None:
        """Wait for the last write; raise its error."""
        writing, self.writing = self.writing, None
        if writing:
            writing.result()

    def stopped(self, last: Snapshot) -> Interrupted:
        """Save the last finished epoch, and return what to raise."""
        failed = ""
        try:
            self.wait()
        except Interrupted as error:  # the store does not answer
            failed = f" ({error})"
        except Problem:  # a while ago; the store may answer now
            pass
        try:
            if not failed:
                self.save(last)
                self.wait()
        except Problem as error:
            failed = f" ({error})"
        epoch = len(last.rows) + 1
        return Interrupted(f"stopped in epoch {epoch}; {self.saved} epochs are saved{failed}")

    def is_losing(self, last: Snapshot) -> bool:
        """Return whether the end of this process would lose finished epochs."""
        return self.checkpoint is not None and self.saved < len(last.rows)

    def _write(self, checkpoint: Checkpoint, snapshot: Snapshot) -> None:
        checkpoint.save(snapshot.dumps(checkpoint.key))
        self.saved = len(snapshot.rows)


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

    The row order of an epoch depends only on the seed and the epoch, and a checkpoint has all other
    state. So an interrupted training ends with the same weights as one without interruption.

    Parameters
    ----------
    device : Device
        With model and optimizer, newly built from the same seed.
    train_part, valid_part : tuple
        Codes (N, L) uint8 and labels (N, C) int8.
    checkpoint : Checkpoint, optional
        Saved at the end of training, and at the end of an epoch if too much work is at risk.
    progress : callable
        Called after each epoch with its number, the largest possible number, and its history row.
    stop : callable
        Called about once a second; True saves the last finished epoch and stops.

    Raises
    ------
    Problem
        If the loss is not a number.
    InputError
        If the monitored AUROC is not defined, because no class has both labels.
    Interrupted
        If `stop` returned True, or after a signal.
    """
    last = _start(device, checkpoint)
    data = device.put(*train_part)
    valid, _ = device.put(*valid_part)
    n = len(train_part[0])
    with ThreadPoolExecutor(1) as thread:
        writer = _Writer(thread, checkpoint, len(last.rows))
        with signals.deferred(lambda: writer.is_losing(last)):
            while not _finished(last.rows, settings):
                epoch, start, total = len(last.rows) + 1, time.monotonic(), 0.0
                rate = _set_learning_rate(device, last.rows, settings)
                try:
                    for order in _orders(seed, epoch, n, settings.batch_size):
                        if stop():
                            raise KeyboardInterrupt
                        total += device.train(data, order, settings.batch_size)
                    scores = _validate(device, valid, valid_part[1])
                except KeyboardInterrupt:
                    raise writer.stopped(last) from None
                row = {"epoch": epoch, "loss": total / n} | scores | rate
                row["seconds"] = time.monotonic() - start
                last = _next(last, row, device.state(), settings)
                writer.save_in_time(last)
                progress(epoch, settings.epochs, row)
            writer.save(last)
            writer.wait()
    device.restore(last.best)
    best_epoch = _best_epoch(last.rows, settings)
    return Trained(pd.DataFrame(last.rows), best_epoch, last.resumed_at, last.trained_by)


def _start(device: Device, checkpoint: Checkpoint | None) -> Snapshot:
    """Resume from a checkpoint; without a whole one, start with the state of the device."""
    initial = device.state()
    try:
        last = Snapshot.loads(checkpoint.load(), checkpoint.key) if checkpoint else None
        if last and not last.fits(initial):
            raise DamagedError("it does not fit the model")
    except DamagedError as error:
        log.warning("the checkpoint is damaged (%s); starting again at epoch 1", error)
        last = None
    if last is None:
        return Snapshot(initial, initial, [], [], code_version())
    device.restore(last.state)
    return last._replace(resumed_at=[*last.resumed_at, len(last.rows)])


def _monitored(rows: list[dict[str, float]], settings: TrainingSettings) -> np.ndarray:
    """Return the monitored value of each epoch; a smaller one is better."""
    if settings.monitor == "auroc":
        return np.array([-row["val_auroc"] for row in rows])
    measure = "val_loss" if settings.monitor == "loss" else "val_cross_entropy"
    return np.array([row[measure] for row in rows])


def _best_epoch(rows: list[dict[str, float]], settings: TrainingSettings) -> int:
    """Return the number, from 1, of the first epoch with the best monitored value."""
    return 1 + int(np.argmin(_monitored(rows, settings)))


def _set_learning_rate(
    device: Device, rows: list[dict[str, float]], settings: TrainingSettings
) -> dict[str, float]:
    """Set the rate of the epoch after `rows`; return its column of the history.

    It depends on the history only, so a resumed training has the same rates.
    """
    if settings.plateau is None:
        return {}
    rate = learning_rate(_monitored(rows, settings), settings.learning_rate, settings.plateau)
    device.set_learning_rate(rate)
    return {"learning_rate": rate}


def learning_rate(values: Sequence[float] | np.ndarray, rate: float, plateau: Plateau) -> float:
    """Compute the learning rate after epochs with these monitored values; a smaller one is better.

    `rate` is the first learning rate. The rule is that of ``keras.callbacks.ReduceLROnPlateau``.
    """
    best, waited = np.inf, 0
    for value in values:
        waited += 1
        if value < best - plateau.min_delta:
            best, waited = value, 0
        elif waited >= plateau.patience:
            rate = min(rate, max(rate * plateau.factor, plateau.minimum))
            waited = 0
    return rate


def _finished(rows: list[dict[str, float]], settings: TrainingSettings) -> bool:
    if not rows:
        return False
    waited = len(rows) - _best_epoch(rows, settings)
    out_of_patience = settings.patience is not None and waited >= settings.patience
    return out_of_patience or len(rows) >= settings.epochs


def _orders(seed: int, epoch: int, n: int, batch_size: int) -> Iterator[np.ndarray]:
    """Yield an epoch's order of n rows in parts: one dispatch each, of complete batches."""
    order = np.random.default_rng([seed, epoch]).permutation(n).astype(np.int32)
    rows = max(1, ROWS_PER_DISPATCH // batch_size) * batch_size
    for start in range(0, n, rows):
        yield order[start : start + rows]


def _validate(device: Device, codes: Any, labels: np.ndarray) -> dict[str, float]:
    p = device.predict(codes)
    cross_entropy = float(cross_entropies(labels, p)[labels >= 0].mean())
    scores = auroc(labels, p)
    return {
        "val_loss": cross_entropy + device.l2(),
        "val_cross_entropy": cross_entropy,
        "val_auroc": float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan"),
    }


def _next(
    last: Snapshot, row: dict[str, float], state: list[np.ndarray], settings: TrainingSettings
) -> Snapshot:
    """Add an epoch to a training; keep its weights if they are the best so far."""
    if not (np.isfinite(row["loss"]) and np.isfinite(row["val_loss"])):
        raise Problem(
            f"the loss is not a number at epoch {row['epoch']} (training {row['loss']}, "
            f"validation {row['val_loss']}): lower training.learning_rate"
        )
    if settings.monitor == "auroc" and np.isnan(row["val_auroc"]):
        raise InputError(
            "training.monitor: auroc needs a class with both labels in the validation part; "
            "use loss or cross-entropy"
        )
    rows = [*last.rows, row]
    best = state if _best_epoch(rows, settings) == len(rows) else last.best
    return Snapshot(state, best, rows, last.resumed_at, code_version())
