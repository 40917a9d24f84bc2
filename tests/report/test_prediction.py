"""The rule that predicts whole motifs: what it reads, and how it is scored."""

import pytest
from helpers.studies import frame, study
from helpers.tiny import ROOT

from motifk8s.report import tables
from motifk8s.report.prediction import COLUMNS, Reading, predict, score
from motifk8s.study.specs import Conv, Model
from motifk8s.study.study import Study, load


def test_the_rule_reads_the_papers_architectures_as_the_paper_found_them() -> None:
    # Koo & Eddy 2019, Results: which layers match the ground truth with most of their filters.
    whole = {
        (name, reading.layer)
        for name, spec in load("koo2019").models.items()
        for reading in predict(spec)
        if reading.whole
    }
    first = "cnn-10 cnn-25 cnn-50 cnn-100 cnn-25-f60 cnn-25-f90 cnn-25-f120 cnn9-25"
    others = "cnn-50-s2 cnn-50-s2-64 cnn19-1-2"
    expected = {(name, "conv1") for name in f"{first} {others}".split()}
    assert whole == expected | {("cnn-1", "conv2"), ("cnn-1-1-100", "conv3")}


def test_the_rule_adds_up_what_poolings_blur() -> None:
    def first(*layers: tuple[int, int, int]) -> Reading:
        conv = [Conv(filters=2, width=w, pool=p, stride=s) for w, p, s in layers]
        return predict(Model(conv=conv))[0]

    # Position of a base known to within 4; then 5 of these, which begin 4 apart: 1 + 3 + 4 * 4.
    assert first((19, 4, 4), (1, 5, 5), (5, 5, 5)) == ("conv1", 19, 20, True)
    assert first((19, 4, 4), (5, 5, 5)) == ("conv1", 19, 4, False)
    assert first((19, 50, 2), (5, 50, 50)) == ("conv1", 19, 50, True)
    assert first((19, 2, 2), (2, 50, 50)) == ("conv1", 19, None, True)
    assert first((5, 25, 25), (5, 4, 4)) == ("conv1", 5, 25, False)
    assert first((6, 6, 6), (3, 4, 4)).whole and not first((6, 5, 5), (3, 4, 4)).whole


def test_an_exponential_layer_learns_whole_motifs_if_it_can() -> None:
    def first(width: int) -> bool:
        conv = Conv(filters=2, width=width, pool=2, activation="exponential")
        return predict(Model(conv=[conv, Conv(filters=2, width=5)]))[0].whole

    assert first(6) and not first(5)


def test_the_rule_reads_what_the_first_one_got_wrong() -> None:
    for name in ("cnn-6", "cnn-8", "cnn7-25", "cnn-4-5-5"):
        assert predict(load(str(ROOT / "examples/five-others.yaml")).models[name])[0].whole, name


# ------------------------------------------------------------------------------------- score


def scored(shares, of=None):
    of = of or study(labels={"cnn-25": "CNN-25"})
    return score(of, tables.table1(frame(of, shares), of))


def test_scored_by_hand():
    # In the mean over trials half of the filters is enough.
    table = scored({"cnn-1": [0.0, 0.1], "cnn-4": [0.4, 0.6], "cnn-25": [0.4, 0.5]})
    assert list(table.columns) == COLUMNS
    rows = {(row["model"], row["layer"]): row for row in table.to_dict("records")}
    assert list(rows) == [
        ("cnn-1", "conv1"), ("cnn-1", "conv2"), ("cnn-4", "conv1"), ("cnn-25", "conv1")
    ]  # fmt: skip
    row = rows["cnn-25", "conv1"]
    assert row["match_truth_mean"] == pytest.approx(0.45)
    assert row | {"match_truth_mean": 0} == {
        "dataset": "synthetic", "model": "cnn-25", "label": "CNN-25", "layer": "conv1",
        "receptive_field": 19, "uncertainty": 25, "predicted": "whole", "trials": 2,
        "match_truth_mean": 0, "learned": "parts", "right": "no", "baseline": "whole",
        "baseline_right": "no",
    }  # fmt: skip
    rights = [
        (r["uncertainty"], r["predicted"], r["learned"], r["right"])
        for r in (rows["cnn-1", "conv1"], rows["cnn-4", "conv1"])
    ]
    assert rights == [(1, "parts", "parts", "yes"), (4, "parts", "whole", "no")]


def test_without_a_result_or_a_known_motif_nothing_is_judged():
    table = scored({"cnn-25": [0.9]})
    rows = table[table.model != "cnn-25"]
    assert len(rows) == 3 and set(rows.predicted) == {"parts", "whole"}
    assert set(rows.learned) == set(rows.right) == set(rows.baseline_right) == {""}
    assert rows.match_truth_mean.isna().all()
    text = study().model_dump(mode="json")
    own = {"kind": "file", "path": "x.h5", "length": 200, "classes": {"a": []}}
    table = scored({"cnn-25": [0.0]}, Study.model_validate(text | {"datasets": {"synthetic": own}}))
    assert table.trials.max() == 1 and set(table.learned) == {""}


def test_uncertainty_is_whole_or_blank_in_csv():
    table = scored({"cnn-1": [0.0]})
    assert str(table.uncertainty.dtype) == "Int64"
    lines = table.to_csv(index=False).splitlines()
    assert lines[1].startswith("synthetic,cnn-1,cnn-1,conv1,19,1,parts,1,0.0,parts,yes")
    assert lines[2].startswith("synthetic,cnn-1,cnn-1,conv2,23,,whole,0,,,")
    nothing = scored({}).iloc[:0]
    assert list(score(study(), tables.table1(frame(study(), {}), study(), "x"))) == list(nothing)


def test_layers_after_a_pooling_are_not_read():
    of = study()
    table = tables.table1(frame(of, {"cnn-4": [0.2]}), of)
    table.loc[table.model == "cnn-4", "layer"] = "conv2"
    assert "cnn-4" not in set(score(of, table).model)
