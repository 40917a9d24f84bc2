"""The tables of a cell beyond the paper: their selection, their content, and reading them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.tiny import TINY, run_folder

from motifk8s.data.datasets import Dataset
from motifk8s.data.stored import load_dataset
from motifk8s.filters import analysis, importance
from motifk8s.filters.layer_motifs import read_filters
from motifk8s.store.folder import FolderStore
from motifk8s.study.study import Study

HIT = {"target": "MA0083.3", "evalue": 0.01, "class": "SRF"}
LABELS = {"conv1": {"filter1": HIT}, "conv2": {"filter3": {**HIT, "class": ""}}}


def study(**asked: Any) -> Study:
    return Study.model_validate({**TINY, "analysis": {"preset": "none", **asked}})


@pytest.fixture
def parts(finished: Path, keras: Any) -> tuple[Dataset, Any, Any]:
    """Data set, model and filters of cell b."""
    folder = run_folder(finished, "small/b/1")
    return (
        load_dataset(study(), "small", FolderStore(finished)),
        keras.models.load_model(folder / "model.keras", compile=False),
        read_filters(folder / "filters.h5"),
    )


def test_a_table_is_read_as_it_was_written() -> None:
    table = pd.DataFrame(
        {
            "layer": ["conv1", "conv1"],
            "filter": ["filter0", "1"],
            "target": ["none", "0.30"],
            "class": ["NA", ""],
            "loss_increase": [0.1 + 0.2, np.nan],
            "auroc_drop": [3.0, 0],
            "worst_class": ["", "NA"],
            "worst_class_loss_increase": [0.5, 1],
            "class_loss_increase": [1.5, np.nan],
        }
    )
    read = analysis.read(table.to_csv(index=False).encode(), "importance")
    pd.testing.assert_frame_equal(read, table, check_exact=True, check_dtype=False)
    # An earlier version did not write the last column.
    earlier = table.drop(columns="class_loss_increase").to_csv(index=False).encode()
    expected = table.assign(class_loss_increase=np.nan)
    pd.testing.assert_frame_equal(analysis.read(earlier, "importance"), expected)
    for name, columns in analysis.TABLES.items():
        empty = pd.DataFrame(columns=list(columns)).to_csv(index=False)
        assert empty == ",".join(columns) + "\n", name
        assert tuple(analysis.read(empty.encode(), name).columns) == columns


def test_tables_that_are_not_selected_have_no_rows(parts: Any) -> None:
    made = analysis.run(study(), "small", *parts, LABELS)
    assert list(made) == list(analysis.TABLES)
    for name, table in made.items():
        assert tuple(table.columns) == analysis.TABLES[name] and not len(table)


def test_importance_is_of_every_filter_on_sequences_of_the_whole_test_set(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, *_ = parts
    codes, labels = dataset.part("test")
    given: list[Any] = []
    ablate = importance.ablate

    def watched(*args: Any) -> pd.DataFrame:
        given.append(args)
        return ablate(*args)

    monkeypatch.setattr(importance, "ablate", watched)
    for sequences, rows in ((5, [0, 12, 24, 36, 49]), (2000, range(50))):
        made = analysis.run(study(importance=True, sequences=sequences), "small", *parts, LABELS)[
            "importance"
        ]
        for _, layer, got, known, of, classes in given:
            np.testing.assert_array_equal(got, codes[rows])
            np.testing.assert_array_equal(known, labels[rows])
            assert of == LABELS[layer] and classes == dataset.classes
        given.clear()
    assert tuple(made.columns) == analysis.TABLES["importance"]
    assert list(zip(made.layer, made["filter"], strict=True)) == [
        (layer, f"filter{i}") for layer in ("conv1", "conv2") for i in range(4)
    ]
    assert made.target.tolist() == ["", "MA0083.3", "", "", "", "", "", "MA0083.3"]


def test_firing_is_of_the_filters_that_match_a_class_at_the_motifs_of_the_test_set(
    parts: Any,
) -> None:
    dataset, *others = parts
    of = study(firing=True)
    [row] = analysis.run(of, "small", dataset, *others, LABELS)["firing"].to_dict("records")
    assert (row["layer"], row["filter"], row["class"]) == ("conv1", "filter1", "SRF")
    test = np.flatnonzero(dataset.split == 2)
    own = dataset.embedded[dataset.embedded["class"] == dataset.classes.index("SRF")]
    assert row["instances"] == np.isin(own["sequence"], test).sum() > 0
    assert row["firings"] >= row["on_motif"] >= row["found"]
    # Without matches with a class, embedded motifs, or known motifs, there is only a header.
    unmatched = {"conv1": {}, "conv2": LABELS["conv2"]}
    elsewhere = dataclasses.replace(dataset, embedded=None)
    file = {
        "kind": "file",
        "path": "x.h5",
        "length": 40,
        "classes": TINY["datasets"]["small"]["classes"],
    }
    mine = Study.model_validate({**of.resolved(), "datasets": {"small": file}})
    for empty in (
        analysis.run(of, "small", dataset, *others, unmatched)["firing"],
        analysis.run(of, "small", elsewhere, *others, LABELS)["firing"],
        analysis.run(mine, "small", dataset, *others, LABELS)["firing"],
    ):
        assert tuple(empty.columns) == analysis.TABLES["firing"] and not len(empty)


def test_cells_hold_the_tables(finished: Path) -> None:
    for model, layers in (("a", 6), ("b", 8)):
        folder = run_folder(finished, f"small/{model}/1")
        metrics = json.loads((folder / "metrics.json").read_text())
        made = {
            name: analysis.read((folder / f"{name}.csv").read_bytes(), name)
            for name in analysis.TABLES
        }
        assert {n: tuple(table.columns) for n, table in made.items()} == analysis.TABLES
        assert len(made["importance"]) == layers
        matched = [
            (layer, name)
            for layer, values in metrics["layers"].items()
            for name, hit in values["labels"].items()
            if hit["class"]
        ]
        assert list(zip(made["firing"].layer, made["firing"]["filter"], strict=True)) == matched
