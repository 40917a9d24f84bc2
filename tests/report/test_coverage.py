"""Coverage and redundancy: counted by hand."""

import math

import pytest
from helpers.studies import metrics, study

from motifk8s.report.coverage import COLUMNS, coverage
from motifk8s.study.study import Study


def three_classes(**more):
    """The study of the tables' tests with three classes, one of them without a known motif."""
    text = study(trials=3, **more).model_dump(mode="json")
    text["datasets"] = {
        "synthetic": {
            "kind": "file",
            "path": "x.h5",
            "length": 200,
            "classes": {"SRF": ["MA0083.3"], "none": [], "MAX": ["MA0058.3"]},
        }
    }
    return Study.model_validate(text)


def labels(*classes):
    """Labels of filters 0, 1, ...; None: a filter without a hit, "": one with another motif."""
    return {
        f"filter{i}": {"target": "x", "evalue": 0.01, "class": name}
        for i, name in enumerate(classes)
        if name is not None
    }


def test_by_hand():
    cells = [
        metrics("cnn-25", 1, labels=labels("SRF", "", "SRF", "MAX", None)),
        metrics("cnn-25", 2, labels=labels("SRF", "", None)),
        metrics("cnn-25", 3, labels=labels("", "SRF", "SRF", "SRF")),
    ]
    table = coverage(cells, three_classes())
    assert list(table.columns) == COLUMNS
    srf, most = table.to_dict("records")
    assert [srf[k] for k in COLUMNS[:6]] == ["synthetic", "cnn-25", "conv1", "SRF", 3, 1]
    assert srf["filters_mean"] == 2 and srf["filters_sd"] == pytest.approx(math.sqrt(2 / 3))
    assert most["class"] == "MAX" and most["found"] == pytest.approx(1 / 3)
    assert most["filters_mean"] == pytest.approx(1 / 3)
    assert most["filters_sd"] == pytest.approx(math.sqrt(2) / 3)


def test_one_trial_has_no_sd_and_no_filter_is_0():
    [srf, most] = coverage([metrics("cnn-1", 2)], three_classes()).to_dict("records")
    assert (srf["trials"], srf["found"], srf["filters_mean"]) == (1, 0, 0)
    assert math.isnan(srf["filters_sd"]) and most["filters_mean"] == 0


def test_in_the_order_of_the_study():
    both = metrics("cnn-1", 1, labels=labels("MAX"))
    both["layers"]["conv2"] = {**both["layers"]["conv1"], "labels": labels("SRF", "SRF")}
    cells = [metrics("cnn-25", 2), metrics("cnn-25", 1), both]
    table = coverage(cells, three_classes())
    assert table[["model", "layer", "class", "trials", "filters_mean"]].values.tolist() == [
        ["cnn-1", "conv1", "SRF", 1, 0], ["cnn-1", "conv1", "MAX", 1, 1],
        ["cnn-1", "conv2", "SRF", 1, 2], ["cnn-1", "conv2", "MAX", 1, 0],
        ["cnn-25", "conv1", "SRF", 2, 0], ["cnn-25", "conv1", "MAX", 2, 0],
    ]  # fmt: skip


def test_nothing_finished():
    table = coverage([], study())
    assert table.empty and list(table.columns) == COLUMNS
