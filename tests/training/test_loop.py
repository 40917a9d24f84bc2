"""Training: its end, its best weights, and that an interruption changes nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import toy
from sklearn.metrics import average_precision_score, roc_auc_score

from motifk8s.errors import InputError, Interrupted, Problem
from motifk8s.store.base import DamagedError
from motifk8s.study.specs import Plateau, TrainingSettings
from motifk8s.training import loop, scores
from motifk8s.training.devices import Device

NAN = float("nan")
PART = (np.zeros((12, 5), np.uint8), np.ones((12, 2), np.int8))


class Scripted(Device):
    """A device with given validation losses; its only weight is the number of epochs."""

    def __init__(
        self,
        cross_entropy: Sequence[float],
        l2: Sequence[float] | None = None,
        loss: Callable[[int], float] = lambda epoch: 1.0,
        clock: Clock | None = None,
    ) -> None:
        self.cross_entropy, self.l2_terms, self.loss = cross_entropy, l2, loss
        self.clock = clock
        self.epoch = 0

    def state(self) -> list[np.ndarray]:
        return [np.array(self.epoch)]

    def restore(self, state: list[np.ndarray]) -> None:
        self.epoch = int(state[0])

    def put(self, codes: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
        return codes, labels

    def train(self, data: tuple[Any, Any], order: np.ndarray, batch_size: int) -> float:
        assert sorted(order) == list(range(12))
        self.epoch += 1
        if self.clock:
            self.clock.now += self.clock.epoch_seconds
        return 12 * self.loss(self.epoch)

    def predict(self, codes: np.ndarray, batch_size: int = 200) -> np.ndarray:
        return np.full((12, 2), np.exp(-self.cross_entropy[self.epoch - 1]))

    def l2(self) -> float:
        return self.l2_terms[self.epoch - 1] if self.l2_terms else 0.0

    def compile_map(self, reduce: Any) -> Any:
        raise AssertionError("the predictions are given")


class Clock(SimpleNamespace):
    """A replacement of the module `time`; an epoch takes `epoch_seconds`."""

    now = 1000.0
    epoch_seconds = 25.0

    def monotonic(self) -> float:
        return self.now


def scripted_train(device: Device, kept: toy.Kept | None = None, **changes: Any) -> Any:
    stop = changes.pop("stop", lambda: False)
    progress = changes.pop("progress", lambda epoch, epochs, row: None)
    return loop.train(
        device,
        TrainingSettings(batch_size=5, **changes),
        PART,
        PART,
        3,
        kept.checkpoint if kept else None,
        progress,
        stop,
    )


# --- the end of training, and the weights it keeps


def test_it_trains_all_epochs_and_keeps_the_best() -> None:
    device = Scripted([0.5, 0.3, 0.4, 0.2, 0.25, 0.6])
    calls: list[tuple[int, int]] = []
    trained = scripted_train(
        device,
        epochs=6,
        patience=None,
        progress=lambda epoch, epochs, row: calls.append((epoch, epochs)),
    )
    assert (trained.best_epoch, device.epoch) == (4, 4)
    assert list(trained.history["epoch"]) == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(
        trained.history["val_cross_entropy"], [0.5, 0.3, 0.4, 0.2, 0.25, 0.6]
    )
    assert calls == [(epoch, 6) for epoch in range(1, 7)]
    assert trained.resumed_at == []
    columns = ["epoch", "loss", "val_loss", "val_cross_entropy", "val_auroc", "seconds"]
    assert list(trained.history.columns) == columns


@pytest.mark.parametrize("patience", [1, 3])
def test_it_stops_after_patience_epochs_without_a_better_one(patience: int) -> None:
    device = Scripted([0.5, 0.4, 0.45, 0.39, *[0.39] * 20])  # the same is not better
    trained = scripted_train(device, epochs=20, patience=patience)
    best = 2 if patience == 1 else 4
    assert (trained.best_epoch, device.epoch) == (best, best)
    assert len(trained.history) == best + patience


def test_patience_may_reach_the_last_epoch() -> None:
    trained = scripted_train(Scripted([0.5, 0.4, 0.6, 0.6]), epochs=4, patience=20)
    assert (trained.best_epoch, len(trained.history)) == (2, 4)


def test_loss_or_cross_entropy_is_monitored() -> None:
    cross_entropy, l2 = [0.5, 0.4, 0.3], [0.1, 0.1, 0.3]
    for monitor, best in (("loss", 2), ("cross-entropy", 3)):
        device = Scripted(cross_entropy, l2)
        trained = scripted_train(device, epochs=3, monitor=monitor)
        assert (trained.best_epoch, device.epoch) == (best, best)
        np.testing.assert_allclose(trained.history["val_loss"], [0.6, 0.5, 0.6])


class Ranked(Scripted):
    """A device with given validation AUROCs; it notes the learning rate of each epoch."""

    def __init__(self, auroc: Sequence[float]) -> None:
        super().__init__([])
        self.auroc, self.rates = auroc, list[float]()

    def predict(self, codes: np.ndarray, batch_size: int = 200) -> np.ndarray:
        wanted = round(36 * self.auroc[self.epoch - 1])  # six positives and six negatives
        p = np.repeat([[0.5], [0.4]], 6, axis=0)
        full, rest = divmod(wanted, 6)
        p[:6] = np.where(np.arange(6) < full, 0.9, 0.1)[:, None]
        p[6:] = np.linspace(0.2, 0.7, 6)[:, None]
        if full < 6:
            p[full] = 0.15 + 0.1 * rest  # above `rest` negatives
        return p

    def set_learning_rate(self, rate: float) -> None:
        self.rates.append(rate)


def ranked_train(device: Device, kept: toy.Kept | None = None, **changes: Any) -> Any:
    labels = np.repeat(np.array([[1], [0]], np.int8), 6, axis=0)
    part = PART[0], labels
    stop = changes.pop("stop", lambda: False)
    settings = TrainingSettings(batch_size=5, monitor="auroc", **changes)
    checkpoint = kept.checkpoint if kept else None
    return loop.train(device, settings, part, part, 3, checkpoint, stop=stop)


def test_auroc_is_monitored() -> None:
    values = [0.5, 0.75, 0.75, 1.0, 0.75, 0.5, 1.0, 0.5]
    device = Ranked(values)
    trained = ranked_train(device, epochs=8, patience=3)
    np.testing.assert_allclose(trained.history["val_auroc"], values[:7])
    assert (trained.best_epoch, device.epoch) == (4, 4)


def test_auroc_of_labels_that_are_all_equal_is_a_mistake_of_the_study() -> None:
    with pytest.raises(InputError, match="training.monitor: auroc needs a class with both labels"):
        scripted_train(Scripted([0.5, 0.4]), epochs=2, monitor="auroc")


PLATEAU = {"factor": 0.2, "patience": 2, "minimum": 1e-5}


def test_the_learning_rate_falls_on_a_plateau_and_a_resumed_training_has_the_same() -> None:
    values = [0.5, 0.75, 0.75, 0.75, 1.0, 0.75, 0.5, 0.5, 0.5, 0.5, 0.5]
    rates = [1e-3] * 4 + [2e-4] * 3 + [4e-5] * 2 + [1e-5] * 2
    device = Ranked(values)
    trained = ranked_train(device, epochs=11, patience=None, plateau=PLATEAU)
    np.testing.assert_allclose(device.rates, rates, rtol=1e-12)
    np.testing.assert_allclose(trained.history["learning_rate"], rates, rtol=1e-12)
    for epoch in range(1, 11):
        kept, calls = toy.Kept(), iter(range(100))
        with pytest.raises(Interrupted):
            ranked_train(
                Ranked(values),
                kept,
                epochs=11,
                patience=None,
                plateau=PLATEAU,
                stop=lambda: next(calls) == epoch,  # noqa: B023
            )
        device = Ranked(values)
        resumed = ranked_train(device, kept, epochs=11, patience=None, plateau=PLATEAU)
        np.testing.assert_allclose(device.rates, rates[epoch:], rtol=1e-12)
        pd.testing.assert_series_equal(
            resumed.history["learning_rate"], trained.history["learning_rate"], check_exact=True
        )


@pytest.mark.parametrize("changes", [{}, {"min_delta": 0.02}, {"patience": 1}, {"minimum": 0.1}])
def test_the_learning_rate_is_that_of_keras(changes: dict[str, Any], keras: ModuleType) -> None:
    values = np.cumsum(np.random.default_rng(1).normal(-0.005, 0.02, 60)) + 1
    plateau = Plateau(**({"factor": 0.5, "patience": 3, "minimum": 1e-6} | changes))
    optimizer = keras.optimizers.SGD(0.05)
    callback = keras.callbacks.ReduceLROnPlateau(
        "v",
        mode="min",
        factor=plateau.factor,
        patience=plateau.patience,
        min_delta=plateau.min_delta,
        min_lr=plateau.minimum,
    )
    callback.set_model(SimpleNamespace(optimizer=optimizer))
    callback.on_train_begin()
    fell = 0
    for n in range(1, len(values) + 1):
        callback.on_epoch_end(n - 1, {"v": values[n - 1]})
        ours = loop.learning_rate(values[:n], 0.05, plateau)
        assert ours == pytest.approx(float(optimizer.learning_rate), rel=1e-5)
        fell += ours < 0.05
    assert (fell > 0) == (plateau.minimum < 0.05)


@pytest.mark.parametrize("where", ["training", "validation"])
def test_a_loss_that_is_no_number_is_a_failure_that_names_the_epoch(where: str) -> None:
    cross_entropy = [0.5, 0.4, NAN if where == "validation" else 0.4]
    loss = (lambda epoch: NAN if epoch == 3 else 1.0) if where == "training" else (lambda epoch: 1)
    kept = toy.Kept()
    with pytest.raises(Problem, match="not a number at epoch 3 .*learning_rate") as info:
        scripted_train(Scripted(cross_entropy, loss=loss), kept, epochs=5)
    assert info.value.exit_code == 1
    assert "\n" not in str(info.value)


# --- checkpoints


def rows(data: bytes) -> list[dict[str, float]]:
    with np.load(io.BytesIO(data)) as file:
        return json.loads(str(file["meta"]))["rows"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    yield clock


@pytest.mark.parametrize(
    ("seconds", "saves"),
    [(10.0, [6, 8]), (20.0, [3, 6, 8]), (25.0, [2, 4, 6, 8]), (45.0, [*range(1, 9)]),
     (90.0, [*range(1, 9)])],
)  # fmt: skip
def test_no_more_than_a_minute_or_an_epoch_is_at_risk(
    clock: Clock, seconds: float, saves: list[int]
) -> None:
    clock.epoch_seconds = seconds
    kept = toy.Kept()
    trained = scripted_train(Scripted([0.5] * 8, clock=clock), kept, epochs=8)
    assert [len(rows(data)) for data in kept.saves] == saves
    assert list(trained.history["seconds"]) == [seconds] * 8
    assert np.diff([0, *saves]).max() * seconds <= max(60, seconds)


def test_without_a_checkpoint_it_trains_as_well() -> None:
    assert scripted_train(Scripted([0.5, 0.4]), epochs=2).best_epoch == 2


def test_a_stop_saves_the_last_epoch_and_is_resumable(clock: Clock) -> None:
    kept = toy.Kept()
    calls = iter(range(100))
    with pytest.raises(Interrupted, match="epoch 3; 2 epochs are saved") as info:
        scripted_train(
            Scripted([0.5, 0.4, 0.3, 0.6]), kept, epochs=4, stop=lambda: next(calls) == 2
        )
    assert info.value.exit_code == 75
    assert [len(rows(data)) for data in kept.saves] == [2]

    device = Scripted([0.5, 0.4, 0.3, 0.6])
    trained = scripted_train(device, kept, epochs=4)
    assert (trained.best_epoch, trained.resumed_at, device.epoch) == (3, [2], 3)
    # A finished training does not train again, but counts as resumed.
    saves = len(kept.saves)
    trained = scripted_train(Scripted([]), kept, epochs=4)
    assert (trained.best_epoch, trained.resumed_at) == (3, [2, 4])
    assert len(kept.saves) == saves


def test_a_stop_before_the_first_epoch_saves_nothing() -> None:
    kept = toy.Kept()
    with pytest.raises(Interrupted, match="epoch 1; 0 epochs are saved"):
        scripted_train(Scripted([0.5]), kept, stop=lambda: True)
    assert kept.saves == []


def finished_checkpoint() -> bytes:
    kept = toy.Kept()
    scripted_train(Scripted([0.5, 0.4]), kept, epochs=2)
    return kept.saves[-1]


def changed_meta(data: bytes, **changes: Any) -> bytes:
    with np.load(io.BytesIO(data)) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays["meta"])) | changes
    buffer = io.BytesIO()
    np.savez(buffer, **{**arrays, "meta": np.array(json.dumps(meta))})  # type: ignore[arg-type]
    return buffer.getvalue()


def flipped(data: bytes) -> bytes:
    at = data.index("key".encode("utf-32-le"))
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"not a checkpoint",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[:-30],
        lambda data: data[100:],
        flipped,
        lambda data: changed_meta(data, key="another"),
        lambda data: changed_meta(data, format=2),
    ],
    ids=["empty", "text", "half", "cut", "cut-more", "head", "bit", "key", "format"],
)
def test_a_damaged_or_foreign_checkpoint_is_ignored(damage: Callable[[bytes], bytes]) -> None:
    good = finished_checkpoint()
    trained = scripted_train(Scripted([]), toy.Kept(data=good), epochs=2)
    assert trained.resumed_at == [2]
    kept = toy.Kept(data=damage(good))
    trained = scripted_train(Scripted([0.5, 0.4]), kept, epochs=2)
    assert trained.resumed_at == []
    assert len(rows(kept.saves[-1])) == 2


# --- scores


def mann_whitney(labels: np.ndarray, p: np.ndarray) -> float:
    """Compute the chance that a positive scores above a negative; a tie counts half."""
    difference = p[labels == 1][:, None] - p[labels == 0][None, :]
    return float((np.sign(difference) / 2 + 0.5).mean())


def test_auroc_and_aupr_are_over_known_labels_class_by_class() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 2, (200, 5)).astype(np.int8)
    labels[:, 3] = np.where(labels[:, 3] == 0, 1, labels[:, 3])  # positives only
    labels[:, 4] = -1
    p = np.round(rng.uniform(size=(200, 5)) + 0.2 * labels, 2)  # with ties
    auroc, aupr = scores.auroc(labels, p), scores.aupr(labels, p)
    for c in range(3):
        known = labels[:, c] >= 0
        y, q = labels[known, c], p[known, c]
        assert auroc[c] == pytest.approx(roc_auc_score(y, q))
        assert auroc[c] == pytest.approx(mann_whitney(y, q))
        assert aupr[c] == pytest.approx(average_precision_score(y, q))
    assert np.isnan(auroc[3:]).all()
    assert np.isnan(aupr[3:]).all()


def test_auroc_of_a_case_worked_by_hand() -> None:
    labels = np.array([[1, 1], [0, 0], [1, -1], [0, 1]], np.int8)
    p = np.array([[0.9, 0.2], [0.1, 0.3], [0.4, 0.9], [0.6, 0.5]])
    np.testing.assert_allclose(scores.auroc(labels, p), [3 / 4, 1 / 2])


# --- with a real model

HARD = TrainingSettings(
    output_bias=0.05,
    batch_size=8,
    epochs=8,
    patience=2,
    l2=1e-3,
    learning_rate=0.05,
    batch_norm_momentum=0.5,
)
EXACT = ["epoch", "loss", "val_loss", "val_cross_entropy", "val_auroc"]


class Run:
    """Training runs of one small model, with dropout, Adam and early stopping."""

    def __init__(self) -> None:
        self.device = toy.device(settings=HARD)
        self.initial = self.device.state()
        self.other = toy.device(settings=HARD, seed=2)  # resumes from checkpoints of the first
        self.train_part, self.valid_part = toy.data(60), toy.data(40, 1)
        self.history, self.final = self(seed=9)

    def __call__(
        self, seed: int = 9, device: Device | None = None, **more: Any
    ) -> tuple[pd.DataFrame, list[np.ndarray]]:
        if device is None:
            device = self.device
            device.restore(self.initial)
        trained = loop.train(device, HARD, self.train_part, self.valid_part, seed, **more)
        self.trained = trained
        return trained.history, device.state()


@pytest.fixture(scope="module")
def run(keras: ModuleType) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "ROWS_PER_DISPATCH", 20)  # four dispatches an epoch
        yield Run()


def test_the_same_seed_gives_the_same_weights_and_another_does_not(run: Run) -> None:
    history, final = run(device=toy.device(settings=HARD))
    assert toy.same(final, run.final)
    pd.testing.assert_frame_equal(history[EXACT], run.history[EXACT], check_exact=True)
    _, other = run(seed=10)
    assert not toy.same(other, run.final)


def test_the_run_under_test_stops_early_and_not_at_once(run: Run) -> None:
    best = 1 + int(run.history["val_loss"].argmin())
    assert best >= 2
    assert len(run.history) == best + 2 < HARD.epochs
    assert run.history["loss"].iloc[best - 1] < run.history["loss"].iloc[0]


def test_validation_is_that_of_keras_plus_the_l2_term(run: Run, keras: ModuleType) -> None:
    history, _ = run()
    best = history.iloc[history["val_loss"].argmin()]
    codes, labels = run.valid_part
    p = run.device.predict(codes)
    cross_entropy = float(keras.losses.BinaryCrossentropy()(labels, p))
    assert best["val_cross_entropy"] == pytest.approx(cross_entropy, rel=1e-5)
    kernels = [v for v in run.device.model.trainable_variables if v.name == "kernel"]
    assert len(kernels) == 4
    l2 = HARD.l2 * sum((np.asarray(v, np.float64) ** 2).sum() for v in kernels)
    assert best["val_loss"] == pytest.approx(best["val_cross_entropy"] + l2, rel=1e-6)
    assert l2 > 1e-3
    assert best["val_auroc"] == pytest.approx(np.mean(scores.auroc(labels, p)))


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_an_interrupted_run_ends_as_one_that_was_not(run: Run, how: str) -> None:
    last = len(run.history) - 1
    for epoch in range(1, last + 1) if how == "stop" else (1, last):
        kept = toy.Kept()
        checkpoint = kept.checkpoint._replace(every=0.0 if how == "kill" else 60.0)
        calls = iter(range(1000))
        # A stop comes within the next epoch, a kill right after the epoch is saved.
        stop = (lambda: next(calls) == 4 * epoch + 2) if how == "stop" else (lambda: False)  # noqa: B023

        def progress(now: int, epochs: int, row: dict[str, float]) -> None:
            if how == "kill" and now == epoch:  # noqa: B023
                raise KeyboardInterrupt

        with pytest.raises((Interrupted, KeyboardInterrupt)):
            run(checkpoint=checkpoint, stop=stop, progress=progress)
        history, final = run(device=run.other, checkpoint=kept.checkpoint)
        assert run.trained.resumed_at == [epoch]
        assert toy.same(final, run.final)
        pd.testing.assert_frame_equal(history[EXACT], run.history[EXACT], check_exact=True)


def test_it_may_be_interrupted_again_and_again(run: Run) -> None:
    kept = toy.Kept()
    stops = 0
    while True:
        calls = iter(range(1000))
        try:
            history, final = run(checkpoint=kept.checkpoint, stop=lambda: next(calls) == 5)  # noqa: B023
            break
        except Interrupted:
            stops += 1
    assert run.trained.resumed_at == list(range(1, stops + 1))
    assert stops == len(run.history) - 1
    assert toy.same(final, run.final)
    pd.testing.assert_frame_equal(history[EXACT], run.history[EXACT], check_exact=True)


def test_a_training_with_a_falling_learning_rate_is_resumed_exactly(run: Run) -> None:
    plateau = {"factor": 0.1, "patience": 1, "min_delta": 0.5}  # falls after each later epoch
    settings = TrainingSettings(**(HARD.model_dump() | {"plateau": plateau, "monitor": "auroc"}))
    parts = run.train_part, run.valid_part, 9
    run.device.restore(run.initial)
    whole = loop.train(run.device, settings, *parts)
    final = run.device.state()
    assert whole.history["learning_rate"].nunique() > 2
    [rate] = [v for v in run.device.optimizer.variables if v.name == "learning_rate"]
    best = whole.history["learning_rate"].iloc[whole.best_epoch - 1]
    assert float(np.asarray(rate)) == pytest.approx(best)  # the device has the best epoch's state
    kept, calls = toy.Kept(), iter(range(1000))
    run.device.restore(run.initial)
    with pytest.raises(Interrupted):
        stop = lambda: next(calls) == 4 * 2 + 2  # noqa: E731
        loop.train(run.device, settings, *parts, kept.checkpoint, stop=stop)
    resumed = loop.train(run.other, settings, *parts, kept.checkpoint)
    assert resumed.resumed_at == [2]
    assert toy.same(run.other.state(), final)
    run.device.restore(run.initial)
    fixed = loop.train(run.device, settings.model_copy(update={"plateau": None}), *parts)
    n = min(len(fixed.history), len(whole.history))
    assert list(fixed.history["loss"][:n]) != list(whole.history["loss"][:n])  # it has an effect


def snapshot(state: list[np.ndarray]) -> loop.Snapshot:
    row = {"epoch": 1, "loss": 0.5, "val_loss": 0.4, "seconds": 1.0}
    return loop.Snapshot(state, [a + 1 for a in state], [row], [], "0.1.0")


STATE = [np.arange(6, dtype=np.float32).reshape(2, 3), np.uint32([1, 2])]


def test_a_flipped_bit_anywhere_is_damage() -> None:
    whole = snapshot(STATE).dumps("key")
    assert loop.Snapshot.loads(whole, "other key") is None
    loaded = loop.Snapshot.loads(whole, "key")
    assert loaded and toy.same(loaded.state, STATE)
    assert toy.same(loaded.best, [array + 1 for array in STATE])
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(DamagedError):
            loop.Snapshot.loads(bytes(damaged), "key")
    for short in (b"", whole[:10], whole[: len(whole) // 2], whole[:-200], whole[:-1]):
        with pytest.raises(DamagedError):
            loop.Snapshot.loads(short, "key")


def without_hash(data: bytes) -> bytes:
    """Return a checkpoint as earlier versions wrote it."""
    return data[: -64 - 2] + bytes(2)


def test_a_checkpoint_without_a_hash_is_read_and_its_damage_is_not_believed() -> None:
    old = without_hash(snapshot(STATE).dumps("key"))
    loaded = loop.Snapshot.loads(old, "key")
    assert loaded and loaded.fits(STATE) and loaded.rows == snapshot(STATE).rows
    for place in range(len(old)):
        for bit in range(0, 8, 3):
            damaged = bytearray(old)
            damaged[place] ^= 1 << (place + bit) % 8
            try:
                read = loop.Snapshot.loads(bytes(damaged), "key")
            except DamagedError:
                continue
            if read is not None and read.fits(STATE):
                assert toy.same(read.state, STATE) and read.rows == loaded.rows
                assert toy.same(read.best, loaded.best)


@pytest.mark.parametrize("how", ["flipped", "truncated", "other model", "old and truncated"])
def test_training_starts_again_from_a_damaged_checkpoint(
    run: Run, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept = toy.Kept()
    run(checkpoint=kept.checkpoint)
    data = kept.saves[-1]
    if how == "flipped":
        data = data[:5000] + bytes([data[5000] ^ 16]) + data[5001:]
    elif how == "other model":
        data = snapshot(STATE).dumps("key")
    else:
        data = (without_hash(data) if "old" in how else data)[:-200]
    caplog.clear()
    history, final = run(checkpoint=toy.Kept(data=data).checkpoint)
    assert run.trained.resumed_at == [] and toy.same(final, run.final)
    assert "the checkpoint is damaged (" in caplog.text
    assert "; starting again at epoch 1" in caplog.text


def test_training_resumes_from_a_checkpoint_without_a_hash(run: Run) -> None:
    kept = toy.Kept()
    run(checkpoint=kept.checkpoint)
    _, final = run(checkpoint=toy.Kept(data=without_hash(kept.saves[-1])).checkpoint)
    assert run.trained.resumed_at == [len(run.history)] and toy.same(final, run.final)


def test_a_learning_rate_that_is_too_large_is_an_error(run: Run) -> None:
    run.device.restore(run.initial)
    run.device.optimizer.learning_rate = 1e30
    with pytest.raises(Problem, match="the loss is not a number at epoch 1"):
        loop.train(run.device, HARD, run.train_part, run.valid_part, 1)
