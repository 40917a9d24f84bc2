"""Tables: arithmetic by hand, verdicts, bounds, partial studies, escaping."""

import math

import numpy as np
import pandas as pd
import pytest
from helpers.studies import HOSTILE, LAYER, Balanced, frame, metrics, study
from hypothesis import given
from hypothesis import strategies as st

from motifk8s.errors import InputError
from motifk8s.report import comparison, tables
from motifk8s.study.study import Study


def compare(expected, shares, **keywords):
    made = study([expected], **keywords)
    return comparison.comparisons(frame(made, shares), made).iloc[0]


# ------------------------------------------------------------------------------------ results


def test_results_in_the_order_of_the_study():
    made = study(trials=2)
    both = metrics("cnn-1", 1)
    both["layers"] = {"conv10": LAYER, "conv2": LAYER, "conv1": LAYER}
    rows = tables.results([metrics("cnn-25", 2), metrics("cnn-25", 1), both], made)
    assert " ".join(rows.columns) == (
        "dataset model trial layer n_filters auroc aupr match_any match_truth match_null dead "
        "coverage val_loss epochs seconds"
    )
    assert list(zip(rows.model, rows.trial, rows.layer, strict=True)) == [
        ("cnn-1", 1, "conv1"), ("cnn-1", 1, "conv2"), ("cnn-1", 1, "conv10"),
        ("cnn-25", 1, "conv1"), ("cnn-25", 2, "conv1"),
    ]  # fmt: skip


def test_results_keep_full_precision(tmp_path):
    made = study()
    rows = tables.results([metrics("cnn-1", 1, match_any=1 / 3, auroc=0.1 + 0.2)], made)
    rows.to_csv(tmp_path / "results.csv", index=False)
    again = pd.read_csv(tmp_path / "results.csv", float_precision="round_trip")
    assert (again.match_any[0], again.auroc[0]) == (1 / 3, 0.1 + 0.2)


def test_no_results_still_have_columns():
    assert list(tables.results([], study()).columns) == tables.RESULTS


@pytest.mark.parametrize(
    ("change", "words"),
    [({"format": 2}, "format 2"), ({"layers": {"conv1": {}}}, "has no n_filters")],
)
def test_metrics_that_cannot_be_read_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        tables.results([{**metrics("cnn-1", 1), **change}], study())


# ---------------------------------------------------------------------------------- mean, sd


def test_sd_is_the_population_s():
    mean, sd = comparison.mean_sd([0.2, 0.4, 0.9])
    assert mean == pytest.approx(0.5)
    assert sd == pytest.approx(math.sqrt((0.09 + 0.01 + 0.16) / 3))


def test_one_trial_has_no_sd_and_none_has_no_mean():
    mean, sd = comparison.mean_sd([0.3])
    assert mean == 0.3 and math.isnan(sd)
    assert all(map(math.isnan, comparison.mean_sd([])))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_mean_sd_agree_with_numpy(values):
    assert comparison.mean_sd(values) == pytest.approx((np.mean(values), np.std(values)))


# ---------------------------------------------------------------------------------- verdicts

EXACT = {"models": ["cnn-25"], "kind": "exact", "mean": 0.98, "sd": 0.027}


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.98, "yes"), (0.926, "yes"), (0.925, "no"), (1.0, "yes"), (0.5, "no")]
)
def test_exact_within_two_published_sd(share, verdict):
    found = compare(EXACT, {"cnn-25": [share] * 5})
    assert found.verdict == verdict
    assert found.difference == pytest.approx(share - 0.98)


def test_exact_compares_the_mean():
    assert compare(EXACT, {"cnn-25": [0.90, 1.0, 1.0]}).verdict == "yes"  # 0.9667


def test_no_verdict_for_a_value_nor_for_an_sd_over_classes():
    value = {"models": ["cnn-25"], "kind": "value", "mean": 0.93}
    classes = {**EXACT, "over": "classes"}
    for expected in (value, classes):
        found = compare(expected, {"cnn-25": [0.1, 0.1]})
        assert found.verdict == ""
        assert found.difference == pytest.approx(0.1 - expected["mean"])


GROUP = ["cnn-1", "cnn-4", "cnn-25"]


@pytest.mark.parametrize(
    ("kind", "shares", "ours", "verdict"),
    [
        ("at-most", {"cnn-1": 0.1, "cnn-4": 0.4, "cnn-25": 0.3}, "cnn-4", "held"),
        # 0.453 + 2 x 0.131 = 0.715
        ("at-most", {"cnn-1": 0.1, "cnn-4": 0.715, "cnn-25": 0.3}, "cnn-4", "held"),
        ("at-most", {"cnn-1": 0.1, "cnn-4": 0.716, "cnn-25": 0.3}, "cnn-4", "not held"),
        ("at-least", {"cnn-1": 0.5, "cnn-4": 0.6, "cnn-25": 0.9}, "cnn-1", "held"),
        ("at-least", {"cnn-1": 0.5, "cnn-4": 0.191, "cnn-25": 0.9}, "cnn-4", "held"),
        ("at-least", {"cnn-1": 0.5, "cnn-4": 0.190, "cnn-25": 0.9}, "cnn-4", "not held"),
        ("at-most", {"cnn-1": 0.1}, "cnn-1", "held so far"),
        ("at-most", {"cnn-1": 0.9}, "cnn-1", "not held so far"),
    ],
)
def test_bounds_compare_the_extreme_of_the_group(kind, shares, ours, verdict):
    expected = {"models": GROUP, "kind": kind, "mean": 0.453, "sd": 0.131}
    found = compare(expected, {m: [s] * 2 for m, s in shares.items()}, trials=2)
    assert (found.ours_model, found.verdict) == (ours, verdict)
    assert found.difference == pytest.approx(shares[ours] - 0.453)
    assert found.footnote == "a"


def test_a_bound_without_an_sd_is_judged_to_the_last_printed_decimal():
    expected = {"models": ["cnn-1"], "kind": "at-most", "mean": 0.453}
    assert compare(expected, {"cnn-1": [68 / 150]}, trials=1).verdict == "held"
    assert compare(expected, {"cnn-1": [0.454]}, trials=1).verdict == "not held"


def test_a_missing_trial_makes_a_bound_provisional():
    expected = {"models": ["cnn-1"], "kind": "at-most", "mean": 0.4}
    assert compare(expected, {"cnn-1": [0.1]}, trials=2).verdict == "held so far"


def test_nothing_finished_gives_no_verdict():
    found = compare(EXACT, {})
    assert (found.verdict, found.trials, found.planned) == ("", 0, 5)
    assert math.isnan(found.ours_mean)


def test_published_numbers_of_models_not_in_the_study_are_left_out():
    made = Study.model_validate(
        {**study([EXACT]).resolved(), "grid": {"synthetic": ["cnn-1", "cnn-4"]}}
    )
    assert comparison.comparisons(frame(made, {}), made).empty


# ----------------------------------------------------------------------------------- table 1


def test_table1_by_hand():
    made = study([EXACT], labels={"cnn-25": "CNN-25"})
    table = tables.table1(frame(made, {"cnn-25": [0.9, 1.0], "cnn-4": [0.1]}), made)
    assert list(zip(table.model, table.layer, strict=True)) == [
        ("cnn-1", "conv1"), ("cnn-1", "conv2"), ("cnn-4", "conv1"), ("cnn-25", "conv1"),
    ]  # fmt: skip
    row = table.iloc[3]
    assert (row.label, row.trials, row.planned) == ("CNN-25", 2, 5)
    assert row.match_truth_mean == pytest.approx(0.95)
    assert row.match_truth_sd == pytest.approx(0.05)
    assert row.published_match_truth_kind == "exact"
    assert row.published_match_truth_difference == pytest.approx(-0.03)
    assert row.published_match_truth_verdict == "yes"
    assert row.published_auroc_kind == ""
    single = table.iloc[2]
    assert (single.label, single.match_truth_mean) == ("cnn-4", 0.1)
    assert math.isnan(single.match_truth_sd)
    assert table.iloc[0].trials == 0 and math.isnan(table.iloc[0].auroc_mean)


def test_an_exact_number_goes_before_the_bound_and_keeps_its_footnote():
    bound = {"models": ["cnn-4", "cnn-25"], "kind": "at-least", "mean": 0.88, "sd": 0.034}
    made = study([bound, EXACT])
    table = tables.table1(frame(made, {"cnn-25": [1.0]}), made).set_index("model")
    assert table.published_match_truth_kind["cnn-25"] == "exact"
    assert table.published_match_truth_kind["cnn-4"] == "at-least"
    assert table.published_match_truth_footnotes["cnn-25"] == "a"
    assert table.published_match_truth_footnotes["cnn-4"] == "a"
    note = comparison.footnotes(comparison.comparisons(frame(made, {"cnn-25": [1.0]}), made), made)
    assert list(note) == ["a"]
    assert "0.880 ± 0.034 as the smallest of cnn-4 and cnn-25" in note["a"]
    assert "over 1 of 2" in note["a"] and note["a"].endswith("+0.120: results are missing.")


BEST = [
    {"measure": "match_false", "models": ["cnn-25"], "kind": "value", "mean": 0.0},
    {"measure": "aupr", "models": ["cnn-25"], "kind": "exact", "mean": 0.9, "sd": 0.01},
]


def best_of(best):
    """Return a study of five trials, and results of four whose AUPR falls, is equal, rises."""
    made = study(BEST).model_copy(update={"best": best})
    aupr, any_match, truth = (0.9, 0.8, 0.9, 0.7), (0.9, 0.8, 0.7, 0.6), (0.9, 0.5, 0.5, 0.1)
    cells = [
        metrics("cnn-25", i + 1, match_any=any_match[i], match_truth=truth[i]) | {"aupr": aupr[i]}
        for i in range(4)
    ]
    return made, tables.results(cells, made)


@pytest.mark.parametrize(
    ("best", "aupr", "truth", "false"),
    [(None, 0.825, 0.5, 0.25), (1, 0.9, 0.9, 0.0), (2, 0.9, 0.7, 0.1),
     (3, 2.6 / 3, 1.9 / 3, 0.5 / 3), (9, 0.825, 0.5, 0.25)],
)  # fmt: skip
def test_the_best_trials_by_aupr_are_averaged(best, aupr, truth, false):
    made, results = best_of(best)
    assert len(results) == 4
    row = tables.table1(results, made).set_index("model").loc["cnn-25"]
    assert row.aupr_mean == pytest.approx(aupr)
    assert row.match_truth_mean == pytest.approx(truth)
    assert row.match_false_mean == pytest.approx(false)
    assert (row.trials, row.planned) == (4, 5)  # all of them
    compared = comparison.comparisons(results, made).set_index("measure")
    assert compared.ours_mean["match_false"] == pytest.approx(false)
    assert compared.ours_mean["aupr"] == pytest.approx(aupr)
    assert compared.verdict["aupr"] == ("yes" if best in (1, 2) else "no")
    assert list(compared.trials) == [4, 4]
    said = f"highest AUPR, at most {best} of"
    for text in (tables.to_markdown(tables.table1(results, made), {}, made),
                 tables.to_html(tables.table1(results, made), {}, made)):  # fmt: skip
        assert (said in text) == (best is not None)
        assert "False match, paper" in text and "AUPR, paper" in text


def test_false_matches_are_printed_if_published():
    assert "False match" not in "".join(rendered([EXACT]))


# ---------------------------------------------------------------------------------- renderers


def rendered(expected=(), shares=None, **keywords):
    made = study(expected, **keywords)
    results = frame(made, shares or {"cnn-25": [0.9, 1.0], "cnn-4": [0.1]})
    table = tables.table1(results, made)
    notes = comparison.footnotes(comparison.comparisons(results, made), made)
    return tables.to_markdown(table, notes, made), tables.to_html(table, notes, made)


def test_markdown_rounds_to_three_decimals_and_tells_partial():
    value = {"models": ["cnn-4"], "kind": "value", "mean": 0.9}
    text, _ = rendered([EXACT, value])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    row = next(line for line in lines if line.startswith("| cnn-25 "))
    assert "| 2 of 5 |" in row
    assert "| 0.950 ± 0.050 | 0.980 ± 0.027 (−0.030, yes) |" in row
    row = next(line for line in lines if line.startswith("| cnn-4 "))
    assert "| 1 of 5 |" in row and "| 0.100 | 0.90 (−0.800) |" in row
    row = next(line for line in lines if line.startswith("| cnn-1 "))
    assert "| 0 of 5 |" in row and "nan" not in text.lower()


def test_complete_trials_are_a_plain_number():
    text, _ = rendered(shares={"cnn-4": [0.1, 0.2]}, trials=2)
    assert "| cnn-4 | conv1 | 2 | 0.950 ± 0.000 |" in text


def test_bound_is_shown_on_each_row_of_its_group():
    bound = {"models": ["cnn-1", "cnn-4"], "kind": "at-most", "mean": 0.127, "sd": 0.08}
    text, page = rendered([bound])
    assert text.count("≤ 0.127 ± 0.080 <sup>a</sup> |") == 2 and "held so far" not in text
    assert page.count("≤ 0.127 ± 0.080<sup>a</sup></td>") == 2 and "good" not in page
    assert text.count("<sup>a</sup> synthetic, conv1") == 1


@pytest.mark.parametrize(("share", "verdict", "style"), [
    (0.1, "held", "good"), (0.9, "not held", "bad"),
])  # fmt: skip
def test_a_bound_of_a_complete_group_has_its_verdict(share, verdict, style):
    bound = {"models": ["cnn-1", "cnn-4"], "kind": "at-most", "mean": 0.127, "sd": 0.08}
    text, page = rendered([bound], {"cnn-1": [0.0], "cnn-4": [share]}, trials=1)
    assert text.count(f"<sup>a</sup> ({verdict})") == 2
    assert page.count(f'<td class="paper {style}">') == 2


def test_labels_are_escaped():
    text, page = rendered(labels={"cnn-25": HOSTILE})
    assert "A\\|B\\<script\\>\\*\\_\\[x\\](y)\\`\\&amp;" in text
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    assert "script" not in {tag for tag, _ in parser.seen}
    assert HOSTILE in parser.text


def test_relevant_is_the_word_in_vivo():
    made = study()
    resolved = made.resolved()
    resolved["datasets"]["invivo"] = {
        "kind": "deepsea", "classes": {"SRF": {"column": 361, "motifs": ["MA0083.3"]}},
    }  # fmt: skip
    both = Study.model_validate(resolved)
    table = tables.table1(frame(both, {"cnn-25": [0.9]}), both)
    text = tables.to_markdown(table, {}, both)
    assert text.count("## Data set") == 2
    assert "Relevant match" in text and "Ground-truth match" in text
    assert tables.table1(frame(both, {}), both, "invivo").dataset.unique().tolist() == ["invivo"]
