"""A small model and small data for tests, and results that must not depend on the Keras backend.

``python toy.py WEIGHTS.npz RESULTS.npz`` computes `results` and `resumed` with the backend of
KERAS_BACKEND.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from motifk8s.data import datasets
from motifk8s.errors import Interrupted
from motifk8s.filters import firing, importance
from motifk8s.filters.extract import extract_layer, readable_layers
from motifk8s.study.specs import Conv, Model, MotifSettings, Plateau, TrainingSettings
from motifk8s.training import devices, loop, models

LENGTH, CLASSES = 25, 3  # an odd length, so that every "same" pooling pads
SPEC = Model(
    conv=[
        Conv(filters=3, width=5),
        Conv(filters=4, width=4, pool=5, stride=3, activation="exponential"),
    ],
    dense=[6],
)
SETTINGS = TrainingSettings(batch_size=8, epochs=4, l2=1e-3, output_bias=0.05)


def without_dropout(spec: Model) -> Model:
    conv = [layer.model_copy(update={"dropout": 0.0}) for layer in spec.conv]
    return spec.model_copy(update={"conv": conv, "dense_dropout": 0.0})


def codes(n: int, seed: int = 0, length: int = LENGTH) -> np.ndarray:
    """Return random base codes; one of twenty is unknown."""
    bases = [0.24, 0.24, 0.24, 0.23, 0.05]
    return np.random.default_rng(seed).choice(5, (n, length), p=bases).astype(np.uint8)


def data(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return codes, and labels that a model can learn: base c is frequent in the first half."""
    x = codes(n, seed)
    counts = np.stack([(x[:, : LENGTH // 2] == c).sum(axis=1) for c in range(CLASSES)], axis=1)
    return x, (counts > np.median(counts, axis=0)).astype(np.int8)


def model(spec: Model = SPEC, settings: TrainingSettings = SETTINGS, seed: int = 1) -> Any:
    return models.build(spec, settings, LENGTH, CLASSES, seed)


def optimizer(settings: TrainingSettings = SETTINGS) -> Any:
    import keras

    return keras.optimizers.Adam(
        settings.learning_rate, settings.beta_1, settings.beta_2, settings.epsilon
    )


def device(
    spec: Model = SPEC, settings: TrainingSettings = SETTINGS, seed: int = 1
) -> devices.Device:
    return devices.open_device(model(spec, settings, seed), optimizer(settings))


class Kept:
    """A place in memory for checkpoints; `saves` lists all of them."""

    def __init__(self, key: str = "key", data: bytes | None = None) -> None:
        self.saves = [] if data is None else [data]
        self.checkpoint = loop.Checkpoint(key, self.load, self.saves.append)

    def load(self) -> bytes | None:
        return self.saves[-1] if self.saves else None


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    """Return whether two states are equal in every bit."""
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def shake_norms(model: Any, seed: int = 0) -> None:
    """Set random constants in batch norms: every third scale is negative, the first filter dead."""
    import keras

    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape[0]
            gamma = rng.uniform(0.5, 2, n) * np.resize([-1, 1, 1], n)
            beta = rng.normal(0.5, 0.3, n)
            gamma[0], beta[0] = 0, -1
            layer.set_weights([gamma, beta, rng.normal(0, 0.3, n), rng.uniform(0.5, 2, n)])


def results(weights: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Train an epoch without dropout from given weights, predict, extract and analyse filters."""
    out: dict[str, np.ndarray] = {}
    trained = device(without_dropout(SPEC))
    trained.model.set_weights(weights)
    codes, labels = data(60)
    order = np.arange(60, dtype=np.int32)  # seven batches of 8 and one of 4
    out["loss"] = np.array(trained.train(trained.put(codes, labels), order, 8))
    out |= {f"weight{i}": w for i, w in enumerate(trained.model.get_weights())}
    out["probabilities"] = trained.predict(codes, batch_size=16)

    before = [np.array(v) for v in trained.model.trainable_variables]
    trained.set_learning_rate(0.0)
    trained.train(trained.put(codes, labels), order, 8)
    out["unmoved_at_rate_0"] = np.array(
        same(before, [np.array(v) for v in trained.model.trainable_variables])
    )

    model = trained.model
    shake_norms(model)
    layers = readable_layers(model)
    for name, preset in (("conv1", "as-written"), ("conv2", "as-run")):
        filters = extract_layer(layers[name], codes, MotifSettings.model_validate(preset))
        out |= {f"{name}/{field}": np.asarray(value) for field, value in filters._asdict().items()}
        table = importance.ablate(model, name, codes, labels, {}, "abc")
        out[f"importance/{name}"] = table[["loss_increase", "auroc_drop"]].to_numpy()
    # Firings of the last layer, with motifs of 6 bp at the start of each sequence.
    places = np.zeros(60, datasets.EMBEDDED)
    places["sequence"], places["strand"] = np.arange(60), 1
    labels_of = {f"filter{i}": {"target": "", "class": "a"} for i in range(4)}
    rule = MotifSettings.model_validate("as-run")
    motifs = firing.Embedded(places, "abc", {"a": 6})
    table = firing.measure(model, "conv2", codes, motifs, filters, rule, labels_of)
    out["firing"] = table[["firings", "on_motif", "found", "expected"]].to_numpy(float)
    return out


def resumed() -> dict[str, np.ndarray]:
    """Check that a resumed training ends like one without interruption, with dropout."""
    parts = data(56), data(30, 1)  # batches of one size only, to compile less
    falling = Plateau(factor=0.5, patience=1, min_delta=1.0)  # halved after every later epoch
    settings = SETTINGS.model_copy(update={"plateau": falling})
    trained = device()
    initial = trained.state()
    kept, calls = Kept(), iter(range(100))
    try:
        loop.train(
            trained, settings, *parts, 7, kept.checkpoint, stop=lambda: next(calls) == 2
        )  # fmt: skip
        raise AssertionError("not interrupted")
    except Interrupted:
        pass
    trained.restore([np.zeros_like(a) for a in initial])  # only the checkpoint has the state
    again = loop.train(trained, settings, *parts, 7, kept.checkpoint)
    final = trained.state()
    trained.restore(initial)
    history = loop.train(trained, settings, *parts, 7).history
    columns = ["loss", "val_loss", "val_cross_entropy", "val_auroc", "learning_rate"]
    exact = history[columns].equals(again.history[columns]) and same(trained.state(), final)
    return {"resumed_at": np.array(again.resumed_at), "resume_is_exact": np.array(exact)}


if __name__ == "__main__":
    devices.setup()
    with np.load(Path(sys.argv[1])) as file:
        weights = [file[f"arr_{i}"] for i in range(len(file.files))]
    np.savez(Path(sys.argv[2]), **results(weights), **resumed())  # type: ignore[arg-type]
