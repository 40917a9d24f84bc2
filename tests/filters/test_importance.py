"""Ablation, compared with a network that runs layer by layer, with each filter set to zero."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import toy

from motifk8s.filters import importance
from motifk8s.study.specs import Conv, Model
from motifk8s.training.scores import auroc, macro_auroc

CLASSES = ("A", "C", "G")
LABELS = {
    "filter0": {"target": "MA2", "evalue": 0.01, "class": ""},
    "filter1": {"target": "MA1", "evalue": 0.01, "class": "C"},
    "filter2": {"target": "MA1", "evalue": 0.02, "class": "C"},
}
DEEP = Model(
    conv=[
        Conv(filters=4, width=5),
        Conv(filters=5, width=4, activation="softplus"),
        Conv(filters=6, width=3, pool=10, activation="elu"),
        Conv(filters=7, width=3, pool=2, activation="elu"),
    ],
    dense=[9],
)
SHALLOW = Model(conv=[Conv(filters=4, width=5, pool=6, activation="tanh")], dense=[])


def forward(model: Any, codes: np.ndarray, layer: str, *silent: int) -> np.ndarray:
    """Compute the probabilities with the output of some filters of a layer set to zero."""
    x = np.eye(5, 4, dtype="float32")[codes]
    for step in model.layers[1:]:
        x = np.array(step(x))
        if step.name == layer.replace("conv", "act"):
            x[:, :, list(silent)] = 0
    return x


def loss(labels: np.ndarray, p: np.ndarray) -> float:
    """Compute the mean cross-entropy of the known labels, one by one."""
    terms = [
        -np.log(q if y else 1 - q)
        for y, q in zip(labels.ravel(), p.ravel().astype(float), strict=True)
        if y >= 0
    ]
    return float(np.mean(terms)) if terms else np.nan


def shaken(spec: Model, seed: int = 3) -> Any:
    """Make a model whose first filters are dead, and whose others are important."""
    model = toy.model(spec, seed=seed)
    toy.shake_norms(model, seed)
    output = model.get_layer("output")
    output.set_weights([output.get_weights()[0], np.zeros(3)])
    return model


def data() -> tuple[np.ndarray, np.ndarray]:
    """Return data with a third of the labels unknown, and a last class without negatives."""
    codes, labels = toy.data(43)
    labels[::3, 0] = labels[1::3, 1] = labels[::2, 2] = -1
    labels[labels[:, 2] == 0, 2] = 1
    return codes, labels


@pytest.mark.parametrize(
    ("spec", "layer"),
    [
        (toy.SPEC, "conv1"),  # read by a convolution
        (toy.SPEC, "conv2"),  # pooled with overlap, then read by a dense layer
        (DEEP, "conv1"),
        (DEEP, "conv2"),
        (DEEP, "conv3"),  # pooled, then read by a convolution
        (SHALLOW, "conv1"),  # read by the output itself
    ],
)
def test_each_filter_is_as_if_silenced_by_hand(
    keras: ModuleType, monkeypatch: pytest.MonkeyPatch, spec: Model, layer: str
) -> None:
    monkeypatch.setattr(importance, "BASES_PER_BATCH", 20 * toy.LENGTH + 7)  # of 20, 20 and 3
    model = shaken(spec)
    codes, labels = data()
    table = importance.ablate(model, layer, codes, labels, LABELS, CLASSES)
    assert tuple(table.columns) == importance.COLUMNS
    n_filters = spec.conv[int(layer[-1]) - 1].filters
    assert list(table["filter"]) == [f"filter{i}" for i in range(n_filters)]
    assert set(table["layer"]) == {layer}
    assert list(table["target"])[:5] == ["MA2", "MA1", "MA1", "", ""][:n_filters]
    assert list(table["class"])[:5] == ["", "C", "C", "", ""][:n_filters]
    whole = forward(model, codes, layer)
    together = loss(labels, forward(model, codes, layer, 1, 2)) - loss(labels, whole)
    assert table["class_loss_increase"][[1, 2]].tolist() == pytest.approx(
        [together] * 2, rel=1e-3, abs=2e-6
    )
    assert table["class_loss_increase"].drop([1, 2]).isna().all()
    for i, row in table.iterrows():
        p = forward(model, codes, layer, int(str(i)))
        close = {"rel": 1e-3, "abs": 2e-6}
        rise = loss(labels, p) - loss(labels, whole)
        assert row["loss_increase"] == pytest.approx(rise, **close)
        drop = np.nanmean(auroc(labels, whole)) - np.nanmean(auroc(labels, p))
        assert row["auroc_drop"] == pytest.approx(drop, abs=1e-6)
        rises = [loss(labels[:, c], p[:, c]) - loss(labels[:, c], whole[:, c]) for c in range(3)]
        assert row["worst_class_loss_increase"] == pytest.approx(max(rises), **close)
        if max(rises) > 1e-4:
            assert row["worst_class"] == CLASSES[int(np.argmax(rises))]
    assert (table["loss_increase"].abs() > 1e-3).any()


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_a_network_that_is_no_chain_gives_the_same(
    keras: ModuleType, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    """The general way, which runs the whole network for each filter, against the fast one."""
    codes, labels = data()
    fast = importance.ablate(shaken(DEEP), layer, codes, labels, LABELS, CLASSES)
    monkeypatch.setattr(importance, "_is_plain", lambda model: False)
    general = importance.ablate(model := shaken(DEEP), layer, codes, labels, LABELS, CLASSES)
    pd.testing.assert_frame_equal(fast, general, rtol=1e-3, atol=1e-6)
    again = importance.ablate(model, layer, codes, labels, LABELS, CLASSES)
    pd.testing.assert_frame_equal(general, again)  # the layer is as it was


def test_without_a_dead_filter_nothing_changes(keras: ModuleType) -> None:
    codes, labels = data()
    table = importance.ablate(shaken(toy.SPEC), "conv1", codes, labels, {}, CLASSES)
    dead = table.iloc[0]
    assert dead["loss_increase"] == dead["auroc_drop"] == dead["worst_class_loss_increase"] == 0
    assert dead["worst_class"] == ""
    assert (table["loss_increase"][1:] != 0).all()


def test_a_class_without_known_labels_is_left_out(keras: ModuleType) -> None:
    codes, labels = toy.data(30)
    labels[:, 0] = -1
    model = shaken(SHALLOW)
    table = importance.ablate(model, "conv1", codes, labels, {}, CLASSES)
    others = importance.ablate(model, "conv1", codes, labels, {}, ("", "C", "G"))
    assert set(table["worst_class"]) <= {"", "C", "G"}
    assert table.equals(others)
    labels[:] = -1
    nothing = importance.ablate(model, "conv1", codes, labels, {}, CLASSES)
    numbers = ["loss_increase", "auroc_drop", "worst_class_loss_increase"]
    assert nothing[numbers].isna().all(axis=None)
    assert set(nothing["worst_class"]) == {""}


def test_the_auroc_by_ranks_is_that_of_the_tables() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 2, (60, 5)).astype(np.int8)
    labels[:, 3] = np.minimum(labels[:, 3], 0)
    p = rng.integers(0, 8, (60, 5)).astype("float32") / 8  # many ties
    expected = np.nanmean(auroc(labels, p))
    assert macro_auroc(labels, p) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(macro_auroc(np.zeros_like(labels), p))
