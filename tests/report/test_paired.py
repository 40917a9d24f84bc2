"""Tests of differences: by hand, against scipy, and against every flip of sign written out."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from helpers.studies import frame, metrics, study
from hypothesis import given
from hypothesis import strategies as st

from motifk8s.report import tables
from motifk8s.report.paired import COLUMNS, MOST_FLIPPED, flip_test, holm, paired, t_test
from motifk8s.study.study import Study

# Numbers of matching filters, of 30, in up to nine trials.
counts = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=3, max_size=9
).map(lambda pairs: np.array(pairs).T / 30)  # fmt: skip


def truth(shares, **keywords):
    """The rows of match_truth, by pair, from values by model and trial."""
    made = study(**keywords)
    rows = paired(frame(made, shares), made)
    return rows[rows.measure == "match_truth"].set_index(["a", "b"])


# ----------------------------------------------------------------------------------- by hand


def test_by_hand():
    row = truth({"cnn-1": [0.4, 0.4, 0.4], "cnn-25": [0.3, 0.2, 0.1]}).iloc[0]
    assert (row.dataset, row.layer, row.trials) == ("synthetic", "conv1", 3)
    assert (row.mean_a, row.mean_b) == (pytest.approx(0.4), pytest.approx(0.2))
    # 0.1, 0.2, 0.3 have mean 0.2, population sd sqrt(0.02 / 3), sample sd 0.1.
    assert row.difference == pytest.approx(0.2)
    assert row.sd_difference == pytest.approx(math.sqrt(0.02 / 3))
    assert row.t == pytest.approx(2 * math.sqrt(3))
    # With two degrees of freedom p is 1 - t / sqrt(t^2 + 2), here 1 - sqrt(12 / 14).
    assert row.p == row.p_holm == pytest.approx(1 - math.sqrt(12 / 14))
    assert row.p_permutation == 2 / 8  # as they are, and all of them flipped


def test_flips_by_hand():
    # Of 0.3 +- 0.1 +- 0.1 three of four are 0.3 or more, two of them exactly.
    assert flip_test(np.array([0.3, 0.1, -0.1])) == 0.75
    assert flip_test(np.array([0.1, -0.1, 0.0])) == 1
    assert flip_test(np.full(5, 0.2)) == 2 / 2**5


def test_holm_by_hand():
    # In order: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04, which must not fall below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []
    # What has no p counts: 3 x 0.01, 2 x 0.02.
    found = holm([0.02, math.nan, 0.01])
    assert found[::2] == pytest.approx([0.04, 0.03]) and math.isnan(found[1])


def test_differences_without_variance():
    rows = truth({"cnn-1": [0.3, 0.2, 0.1], "cnn-4": [0.3, 0.2, 0.1], "cnn-25": [0.9, 0.8, 0.7]})
    same, other = rows.loc["cnn-1", "cnn-4"], rows.loc["cnn-1", "cnn-25"]
    assert (same.difference, same.sd_difference, same.p, same.p_permutation) == (0, 0, 1, 1)
    assert same.p_holm == 1 and math.isnan(same.t)
    # 0.3 - 0.9 and 0.2 - 0.8 differ in the last bit, which is no variance.
    assert other.difference == pytest.approx(-0.6) and other.p_permutation == 2 / 8
    assert all(map(math.isnan, (other.t, other.p, other.p_holm)))


def test_holm_is_over_the_pairs_of_one_data_set_and_measure():
    shares = {"cnn-1": [0.0, 0.1, 0.0], "cnn-4": [0.1, 0.3, 0.2], "cnn-25": [0.9, 0.8, 0.9]}
    rows = truth(shares)
    assert list(rows.index) == [("cnn-1", "cnn-4"), ("cnn-1", "cnn-25"), ("cnn-4", "cnn-25")]
    p = rows.p.to_numpy()
    first, second, third = np.argsort(p)
    expected = {first: 3 * p[first]}
    expected[second] = max(expected[first], 2 * p[second])
    expected[third] = max(expected[second], p[third])
    assert rows.p_holm.tolist() == pytest.approx([expected[i] for i in range(3)])


# --------------------------------------------------------------------------- against others


@given(counts)
def test_t_as_scipy_has_it(pair):
    a, b = pair
    t, p = t_test(a - b)
    if np.ptp(np.round(30 * (a - b))) == 0:
        assert math.isnan(t) and (p == 1 if np.array_equal(a, b) else math.isnan(p))
        return
    expected = scipy.stats.ttest_rel(a, b)
    assert t == pytest.approx(expected.statistic, rel=1e-9, abs=1e-12)
    assert p == pytest.approx(expected.pvalue, rel=1e-9)


@given(counts)
def test_flips_as_all_of_them_written_out(pair):
    whole = np.round(30 * (pair[0] - pair[1])).astype(int)  # exact
    flips = list(itertools.product([-1, 1], repeat=len(whole)))
    as_large = sum(abs(np.dot(flip, whole)) >= abs(whole.sum()) for flip in flips)
    assert flip_test(pair[0] - pair[1]) == as_large / len(flips)


def test_flips_as_scipy_has_them():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 8))
    expected = scipy.stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert flip_test(a - b) == expected.pvalue


def test_flips_of_many_trials_are_not_counted():
    difference = np.random.default_rng(0).normal(size=MOST_FLIPPED + 1)
    assert 0 < flip_test(difference[1:]) <= 1
    assert math.isnan(flip_test(difference))


# ----------------------------------------------------------------------------- which are tested


def test_trials_are_paired_by_number():
    made = study(trials=6)
    cells = [metrics("cnn-1", t, auroc=0.9 + t / 100) for t in (5, 1, 2, 3)]
    cells += [metrics("cnn-4", t, auroc=0.9) for t in (2, 3, 5, 6)]
    cells += [metrics("cnn-25", t, auroc=0.9) for t in (1, 2, 4, 6)]
    rows = paired(tables.results(cells, made), made)
    assert list(rows.columns) == COLUMNS
    # Of the pairs with cnn-25 only that with cnn-4 has two trials in common; three are needed.
    assert set(zip(rows.a, rows.b, strict=True)) == {("cnn-1", "cnn-4")}
    assert rows.measure.tolist() == ["auroc", "match_any", "match_truth"]
    assert rows.trials.tolist() == [3, 3, 3]
    assert rows.difference[0] == pytest.approx((0.02 + 0.03 + 0.05) / 3)


def test_the_first_layer_of_each_data_set():
    text = study(trials=3).model_dump(mode="json")
    text["datasets"] = {
        "known": text["datasets"]["synthetic"],
        "own": {"kind": "file", "path": "x.h5", "length": 200, "classes": {"a": [], "b": []}},
    }
    made = Study.model_validate(text)
    cells = []
    for dataset, model, trial in itertools.product(["own", "known"], ["cnn-25", "cnn-1"], range(3)):
        cell = metrics(model, trial + 1, auroc=0.9 + trial / 100 * (model == "cnn-1"))
        cell["layers"]["conv2"] = {**cell["layers"]["conv1"], "match_any": 0.9 + trial / 100}
        cells.append({**cell, "dataset": dataset})
    rows = paired(tables.results(cells, made), made)
    assert list(zip(rows.dataset, rows.measure, strict=True)) == [
        ("known", "auroc"), ("known", "match_any"), ("known", "match_truth"),
        ("own", "auroc"), ("own", "match_any"),  # no motif of its classes is known
    ]  # fmt: skip
    assert set(rows.layer) == {"conv1"}
    assert set(zip(rows.a, rows.b, strict=True)) == {("cnn-1", "cnn-25")}
    assert rows[rows.measure == "match_any"].mean_a.tolist() == [0.5, 0.5]


def test_nothing_to_test():
    made = study()
    for shares in ({}, {"cnn-1": [0.1, 0.2, 0.3]}, {"cnn-1": [0.1, 0.2], "cnn-4": [0.3, 0.4]}):
        rows = paired(frame(made, shares), made)
        assert rows.empty and list(rows.columns) == COLUMNS


def test_trials_without_a_value_are_missing():
    made = study()
    cells = [
        metrics(model, trial, auroc=None, match_any=trial / 10, match_truth=share)
        for model, share in (("cnn-1", 0.1), ("cnn-4", 0.2))
        for trial in range(1, 5)
    ]
    cells[0]["auroc"] = 0.9
    rows = paired(tables.results(cells, made), made)
    assert rows.measure.tolist() == ["match_any", "match_truth"]


def test_as_csv():
    made = study()
    shares = {"cnn-1": [0.3, 0.2, 0.1], "cnn-25": [0.9, 0.8, 0.7]}
    lines = paired(frame(made, shares), made).to_csv(index=False).splitlines()
    assert lines[0] == ",".join(COLUMNS)
    [line] = [line for line in lines if ",match_truth," in line]
    assert line.endswith(",,,0.25,")  # no t, p and p_holm
    assert pd.isna(paired(frame(made, shares), made).p.iloc[-1])
