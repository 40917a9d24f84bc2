"""Firings, compared with a plain loop over filters, sequences, positions and embedded motifs."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers import toy

from motifk8s.data.datasets import EMBEDDED, Dataset, synthesize
from motifk8s.filters import extract, firing
from motifk8s.filters.extract import Layer, extract_layer, readable_layers
from motifk8s.motifs.jaspar import jaspar_motif
from motifk8s.study.specs import Conv, Model, MotifSettings, Synthetic, TrainingSettings
from motifk8s.training import models

LENGTH = 40
CLASSES = ("short", "even", "unused", "long")
WIDTHS = {"short": 3, "even": 8, "unused": 5, "long": 30}
SPEC = Model(
    conv=[
        Conv(filters=7, width=5),
        Conv(filters=6, width=4, pool=4),
    ],
    dense=[],
)


def embedded(n: int) -> np.ndarray:
    """Place random motifs, also at the ends, and so close that a field covers several."""
    rng = np.random.default_rng(8)
    rows = []
    for sequence in range(n):
        at = int(rng.integers(0, 4))
        while rng.random() < 0.85:
            c = int(rng.choice([0, 0, 0, 1, 1, 3]))
            width = WIDTHS[CLASSES[c]]
            if at + width > LENGTH:
                break
            rows.append((sequence, c, at, int(rng.choice([-1, 1]))))
            at += width + int(rng.integers(0, 3))
    return np.array(rows, EMBEDDED)


def plain(
    y: np.ndarray, i: int, c: int, at: np.ndarray, layer: Layer, threshold: np.float32
) -> dict[str, Any]:
    """Compute the numbers of filter `i` for class `c` by their definition."""
    firings = on_motif = on_any = 0
    found: set[int] = set()
    offsets = []
    own = [k for k in range(len(at)) if at["class"][k] == c]
    width, field = WIDTHS[CLASSES[c]], layer.receptive_field
    for s in range(len(y)):
        for position in range(LENGTH):
            bases = range(position - layer.offset, position - layer.offset + field)
            covered = []
            for k in own:
                start = int(at["start"][k])
                both = sum(start <= base < start + width for base in bases)
                if at["sequence"][k] == s and both > width / 2:
                    distance = np.mean(bases) - (start + (width - 1) / 2)
                    covered.append((k, float(distance) * int(at["strand"][k])))
            on_any += bool(covered)
            if not y[s, position, i] > threshold:
                continue
            firings += 1
            on_motif += bool(covered)
            found |= {k for k, _ in covered}
            if covered:
                offsets.append(min(covered, key=lambda pair: abs(pair[1]))[1])
    nan = float("nan")
    return {
        "firings": firings,
        "on_motif": on_motif,
        "precision": on_motif / firings if firings else nan,
        "expected": on_any / (len(y) * LENGTH),
        "instances": len(own),
        "found": len(found),
        "recall": len(found) / len(own) if own else nan,
        "offset_mean": np.mean(offsets) if offsets else nan,
        "offset_sd": np.std(offsets) if offsets else nan,
    }


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_the_numbers_are_what_a_plain_loop_gives(
    keras: ModuleType, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    monkeypatch.setattr(extract, "BASES_PER_BATCH", 9 * LENGTH)  # of 9, 9 and 7
    model = models.build(SPEC, TrainingSettings(), LENGTH, 2, 4)
    toy.shake_norms(model, 3)
    codes, at = toy.codes(25, 5, LENGTH), embedded(25)
    motifs = firing.Embedded(at, CLASSES, WIDTHS)
    rule = MotifSettings.model_validate({"preset": "as-run", "threshold": 0.3})
    place = readable_layers(model)[layer]
    found = extract_layer(place, codes, rule)
    # The first filter is dead; one filter matches no class, and one has no match.
    of = dict(enumerate(["even", "short", "even", "", "long", "unused"]))
    labels = {f"filter{i}": {"target": f"M{i}", "class": name} for i, name in of.items()}
    table = firing.measure(model, layer, codes, motifs, found, rule, labels)
    assert tuple(table.columns) == firing.COLUMNS
    assert list(table["filter"]) == [f"filter{i}" for i in (0, 1, 2, 4, 5)]
    assert list(table["target"]) == [f"M{i}" for i in (0, 1, 2, 4, 5)]
    assert list(table["class"]) == ["even", "short", "even", "long", "unused"]
    assert set(table["layer"]) == {layer}
    inner = keras.Model(model.inputs[0], place.output)
    y = np.asarray(inner(np.eye(5, 4, dtype="float32")[codes]))
    for i, row in zip((0, 1, 2, 4, 5), table.to_dict("records"), strict=True):
        maximum = found.maximum[i]
        threshold = np.float32(0.3 * maximum if maximum > 0 else np.inf)
        expected = plain(y, i, CLASSES.index(of[i]), at, place, threshold)
        actual = {name: row[name] for name in expected}
        assert actual == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True), (i, of[i])
    by_class = table.set_index("class")
    assert by_class.loc["short", "on_motif"] > 10
    assert by_class.loc["long", "instances"] > 0  # and the field is too short for any
    assert by_class.loc["long", ["on_motif", "expected", "recall"]].eq(0).all()


def test_without_a_match_there_is_no_row(keras: ModuleType) -> None:
    model = models.build(SPEC, TrainingSettings(), LENGTH, 2, 4)
    codes = toy.codes(3, 5, LENGTH)
    motifs = firing.Embedded(embedded(3), CLASSES, WIDTHS)
    rule = MotifSettings()
    found = extract_layer(readable_layers(model)["conv1"], codes, rule)
    labels = {"filter0": {"target": "MA0615.1", "class": ""}}
    table = firing.measure(model, "conv1", codes, motifs, found, rule, labels)
    assert table.empty
    assert tuple(table.columns) == firing.COLUMNS


def test_a_filter_that_is_a_motif_fires_on_it_and_on_one_strand(keras: ModuleType) -> None:
    spec = Synthetic(
        kind="synthetic",
        n_sequences=600,
        length=60,
        motifs_per_sequence=[1],
        split=[0.2, 0.2, 0.6],
        classes={"SRF": ["MA0083.3"], "YY1": ["MA0095.2"]},
    )
    dataset = synthesize(spec, 1)
    widths = firing.motif_widths(spec)
    assert widths == {"SRF": 16, "YY1": 12}
    ppm = jaspar_motif("MA0095.2").ppm
    kinds = keras.layers
    model = keras.Sequential(
        [
            keras.Input((60, 4)),
            kinds.Conv1D(2, 12, padding="same", use_bias=False, name="conv1"),
            kinds.ReLU(),
        ]
    )
    kernel = np.log2((ppm + 0.01) / 0.26)
    # The second kernel is the first one, moved by 2 columns to the right and cut.
    moved = np.vstack([np.zeros((2, 4)), kernel[:-2]])
    model.get_layer("conv1").set_weights([np.stack([kernel, moved], axis=2).astype("float32")])
    codes, _ = dataset.part("test")
    at = firing.in_part(dataset, "test")
    motifs = firing.Embedded(at, dataset.classes, widths)
    rule = MotifSettings(threshold=0.6)
    found = extract_layer(readable_layers(model)["conv1"], codes, rule)
    labels = {f"filter{i}": {"target": "MA0095.2", "class": "YY1"} for i in (0, 1)}
    table = firing.measure(model, "conv1", codes, motifs, found, rule, labels)
    first, second = table.to_dict("records")
    assert first["instances"] == (at["class"] == 1).sum()
    assert first["precision"] > 0.9
    assert first["expected"] < 0.1
    assert 0.35 < first["recall"] < 0.65
    assert first["offset_mean"] == pytest.approx(0, abs=0.2)
    assert second["offset_mean"] == pytest.approx(-2, abs=0.2)


def test_motifs_of_a_part_are_numbered_by_its_rows() -> None:
    split = np.array([2, 0, 2, 1, 2], np.uint8)
    at = np.array(
        [(0, 1, 5, 1), (1, 0, 2, 1), (2, 0, 0, -1), (2, 1, 9, 1), (4, 1, 3, -1)], EMBEDDED
    )
    dataset = Dataset(
        np.zeros((5, 20), np.uint8), np.zeros((5, 2), np.int8), split, ("a", "b"), at.copy()
    )
    test = firing.in_part(dataset, "test")
    assert test.tolist() == [(0, 1, 5, 1), (1, 0, 0, -1), (1, 1, 9, 1), (2, 1, 3, -1)]
    assert firing.in_part(dataset, "train").tolist() == [(0, 0, 2, 1)]
    assert firing.in_part(dataset, "valid").tolist() == []
    np.testing.assert_array_equal(dataset.embedded, at)  # untouched
    with pytest.raises(ValueError, match="no embedded motifs"):
        firing.in_part(Dataset(dataset.codes, dataset.labels, split, ("a", "b")), "test")
