"""Places of motifs, compared with plain loops over sequences, positions and filters."""

from __future__ import annotations

import os
import subprocess
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from motifk8s.data.places import rows_at
from motifk8s.filters import extract, hits
from motifk8s.filters.extract import Filters, extract_layer, readable_layers
from motifk8s.filters.hits import HIT, Label, Match
from motifk8s.motifs.motif import Motif, reverse_complement
from motifk8s.motifs.tomtom import tomtom
from motifk8s.study.specs import Conv, Model, MotifSettings, TrainingSettings
from motifk8s.training import models

LENGTH, WIDTH, FILTERS = 40, 6, 5
SPEC = Model(
    conv=[Conv(filters=FILTERS, width=WIDTH), Conv(filters=4, width=4, pool=4)],
    dense=[],
)
MATCHES = [
    Match(1, "a", 0, 6, 1),
    Match(2, "b", -2, 10, -1),
    Match(3, "c", 3, 3, 1),
    Match(4, "a", -5, 6, -1),
]


@pytest.fixture(scope="module")
def shaken(keras: ModuleType) -> tuple[Any, np.ndarray]:
    """A model, and sequences with N; the first filter is dead."""
    model = models.build(SPEC, TrainingSettings(), LENGTH, 2, 4)
    toy.shake_norms(model, 3)
    return model, toy.codes(30, 5, LENGTH)


def first_layer(keras: ModuleType, model: Any, codes: np.ndarray) -> np.ndarray:
    """Compute the activations (N, L, F) of the first layer with numpy, from its weights."""
    conv, norm = (
        next(each for each in model.layers if isinstance(each, kind))
        for kind in (keras.layers.Conv1D, keras.layers.BatchNormalization)
    )
    kernel = np.asarray(conv.kernel, np.float64)
    gamma, beta, mean, variance = (np.asarray(w, np.float64) for w in norm.get_weights())
    left = (WIDTH - 1) // 2
    padded = np.pad(np.eye(5, 4)[codes], ((0, 0), (left, WIDTH - 1 - left), (0, 0)))
    y = sum(padded[:, i : i + LENGTH] @ kernel[i] for i in range(WIDTH))
    y = (y - mean) / np.sqrt(variance + norm.epsilon) * gamma + beta
    return np.maximum(y, 0)


def plain(
    y: np.ndarray, maximum: np.ndarray, rule: MotifSettings, window: int, offset: int
) -> dict[tuple[int, int, int], float]:
    """Find sequence, start and match of all places by their definition, with the exact score."""
    found = {}
    for number, match in enumerate(MATCHES):
        for s in range(len(y)):
            track = y[s, :, match.filter]
            for position in range(LENGTH):
                begin = position - offset
                if not (maximum[match.filter] > 0):
                    continue
                if track[position] <= rule.threshold * maximum[match.filter]:
                    continue
                if rule.windows == "best" and position != np.argmax(track):
                    continue
                if rule.ends == "drop" and not 0 <= begin <= LENGTH - window:
                    continue
                bases = [begin + match.start + i for i in range(match.width)]
                if all(0 <= base < LENGTH for base in bases):
                    share = track[position] / maximum[match.filter]
                    found[s, bases[0], number] = min(1000.0, 1000 * share)
    return found


RULES = [
    {"preset": "as-run", "threshold": 0.4},
    {"preset": "as-written", "threshold": 0.3},
    {"window": 3, "ends": "drop", "threshold": 0.6},
]


@pytest.mark.parametrize("change", RULES)
def test_places_are_those_of_a_plain_loop(
    keras: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    shaken: tuple[Any, np.ndarray],
    change: dict[str, Any],
) -> None:
    monkeypatch.setattr(extract, "BASES_PER_BATCH", 9 * LENGTH)  # of 9, 9, 9 and 3
    model, codes = shaken
    rule = MotifSettings.model_validate(change)
    layer = readable_layers(model)["conv1"]
    filters = extract_layer(layer, codes[:12], rule)  # others may exceed the maximum
    y = first_layer(keras, model, codes)
    window = rule.window or WIDTH
    offset = (WIDTH - 1) // 2 + (window - 1) // 2 - (WIDTH - 1) // 2
    near = np.abs(y / np.where(filters.maximum > 0, filters.maximum, 1) - rule.threshold)
    assert near[:, :, 1:].min() > 1e-6  # no difference by rounding
    expected = plain(y, filters.maximum, rule, window, offset)
    batches = [*hits.scan(layer, codes, filters, rule, MATCHES)]
    assert len(batches) == 4
    rows = np.concatenate([np.stack(batch, axis=1) for batch in batches]).tolist()
    found = {tuple(row[:3]): row[3] for row in rows}
    assert len(found) == len(rows) > 20 and found.keys() == expected.keys()
    assert all(abs(found[key] - expected[key]) <= 0.501 for key in found)
    assert max(found.values()) == 1000


def test_a_deeper_layer(keras: ModuleType, shaken: tuple[Any, np.ndarray]) -> None:
    model, codes = shaken
    layer, rule = readable_layers(model)["conv2"], MotifSettings(window=None, threshold=0.7)
    filters = extract_layer(layer, codes, rule)
    inner = keras.Model(model.inputs[0], layer.output)
    y = np.asarray(inner(np.eye(5, 4, dtype="float32")[codes]))
    match = Match(2, "x", 1, 4, 1)
    [found] = hits.scan(layer, codes, filters, rule, [match])
    # The receptive field of 9 bp begins 2 + 1 before the position; the motif 1 after that.
    expected = {
        (s, p - 2)
        for s, p in zip(*np.nonzero(y[:, :, 2] > np.float32(0.7) * filters.maximum[2]), strict=True)
        if 0 <= p - 2 <= LENGTH - 4
    }
    assert set(zip(*found[:2], strict=True)) == expected != set()


# --- From the sequence to the genome ---------------------------------------------------------


def test_the_motif_of_the_database_is_at_the_place(keras: ModuleType) -> None:
    """Both orientations of filter and sequence, with a filter that has a part of the motif."""
    rng = np.random.default_rng(3)
    ppm = np.full((9, 4), 0.02)
    ppm[np.arange(9), [0, 0, 2, 3, 1, 1, 0, 2, 2]] = 0.94  # AAGTCCAGG
    targets = {"m": Motif("m", ppm)}
    others = [Motif(f"o{i}", rng.dirichlet([0.4] * 4, 9)) for i in range(60)]
    for own in (ppm, reverse_complement(ppm)):
        # The filter's window of 12 has columns 2 to 7 of the motif at 4, and noise around them.
        window = np.full((1, 12, 4), 0.25, np.float32)
        window[0, 4:10] = own[2:8]
        filters = Filters(window, np.ones(1, int), np.ones(1), "observed", np.zeros(1, bool))
        rule = MotifSettings.model_validate({"trim": {"bits": 0.5, "pad": 1}, "window": 12})
        found = tomtom([Motif("filter0", window[0, 3:11].astype(float))], [targets["m"], *others])
        labels = {"filter0": {"target": "m"}}
        [match] = hits.find_matches(filters, labels, found, targets, rule)
        strand = 1 if own is ppm else -1
        assert match == Match(0, "m", 2, 9, strand)
        assert not hits.find_matches(filters, labels, found, targets, rule, lambda width: {"m"})
        # The same hit at base 5 of a sequence of 30, from each strand of the genome at 1000.
        places = rows_at(np.array([7, 7]), 1000)
        places["strand"][1] = -1
        places_in_sequence = tuple(np.array(v) for v in ([0, 1], [5, 5], [0, 0], [600, 700]))
        both = hits.locate(places_in_sequence, [match], [4], places, 30, 2)
        assert both.tolist() == [
            (7, 1005, strand, 4, 600, 2),
            (7, 1000 + 30 - 5 - 9, -strand, 4, 700, 2),
        ]


def test_a_match_is_of_the_label() -> None:
    columns = ["Query_ID", "Target_ID", "Optimal_offset", "Orientation"]
    found = pd.DataFrame([("filter2", "x", 0, "+"), ("filter2", "y", -3, "-")], columns=columns)
    ppm = np.full((3, 8, 4), 0.25, np.float32)
    filters = Filters(ppm, np.ones(3, int), np.ones(3), "observed", np.zeros(3, bool))
    targets = {name: Motif(name, np.full((width, 4), 0.25)) for name, width in (("x", 5), ("y", 7))}
    rule = MotifSettings(trim=None)
    assert hits.find_matches(filters, {"filter2": {"target": "y"}}, found, targets, rule) == [
        Match(2, "y", 3, 7, -1)
    ]


# --- Merging ---------------------------------------------------------------------------------

LABELS = [Label("one", 1), Label("even", 6), Label("odd", 7)]


def merged(rows: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Merge by the definition: the strongest takes what it overlaps by more than half."""
    left = sorted(rows, key=lambda r: (-r[4], r[0], r[3], r[2], r[1], rows.index(r)))
    result = []
    while left:
        best = left[0]
        width = LABELS[best[3]].width
        taken = [
            r
            for r in left
            if (r[0], r[2], r[3]) == (best[0], best[2], best[3])
            and width - abs(r[1] - best[1]) > width / 2
        ]
        result.append((*best[:5], len({r[5] for r in taken})))
        left = [r for r in left if r not in taken]
    return sorted(result, key=lambda r: (r[0], r[3], r[2], r[1]))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.integers(0, 25),
            st.sampled_from([-1, 1]),
            st.integers(0, 2),
            st.integers(500, 503),
            st.integers(0, 2),
        ),
        max_size=60,
    )
)
def test_merging_is_that_of_the_definition(rows: list[tuple[int, ...]]) -> None:
    result = hits.merge(np.array(rows, HIT), LABELS)
    assert result.dtype == HIT
    assert result.tolist() == merged(rows)


def test_far_apart_is_not_near() -> None:
    """Starts of more than 32 bits, and groups whose positions are alike."""
    rows = [(i, start, 1, 1, 700, 0) for i in (0, 1) for start in (0, 2**40, 2**40 + 3)]
    assert hits.merge(np.array(rows, HIT), LABELS).tolist() == [(*row[:5], 1) for row in rows]


# --- BED -------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from([0, 1, 9, 10, 95, 99, 100, 2**35]),
            st.sampled_from([-1, 1]),
            st.integers(0, 2),
            st.sampled_from([500, 1000]),
            st.just(1),
        ),
        max_size=30,
    )
)
def test_the_order_is_that_of_sort(rows: list[tuple[int, ...]]) -> None:
    names = ["chr1", "chr10", "chr2", "chrÄ", "chr1_x"]
    lines = [*hits.bed_lines(np.array(rows, HIT), LABELS, names)]
    done = subprocess.run(
        ["sort", "-k1,1", "-k2,2n"],
        input="".join(lines).encode(),
        capture_output=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.stdout.decode() == "".join(lines)
    expected = {
        (names[n], str(s), str(s + LABELS[i].width), LABELS[i].name, str(score), " -+"[strand])
        for n, s, strand, i, score, _ in rows
    }
    assert {tuple(line.rstrip("\n").split("\t")) for line in lines} == {
        (*row[:5], "+" if row[5] == "-" else "-") for row in expected
    }
