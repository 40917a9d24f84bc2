"""Sensitivity: each row is compared with the matches of a study with that setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.tiny import TINY, run_folder

from motifk8s.data.stored import load_dataset
from motifk8s.errors import InputError
from motifk8s.filters import analysis, sensitivity
from motifk8s.filters.extract import Filters
from motifk8s.filters.layer_motifs import extract_layers, match_layers, read_filters
from motifk8s.filters.layers import numbered_layers
from motifk8s.motifs import matches
from motifk8s.motifs.database import read_database
from motifk8s.motifs.jaspar import jaspar, jaspar_motif
from motifk8s.motifs.tomtom import COLUMNS, tomtom
from motifk8s.store.folder import FolderStore
from motifk8s.study.study import Study, load

ROWS = {"a": ["conv1"], "b": ["conv1", "conv2"]}


def study(**changes: Any) -> Study:
    return Study.model_validate({**TINY, **changes})


@pytest.fixture(scope="module")
def tables(finished: Path) -> dict[str, pd.DataFrame]:
    """The sensitivity of both cells, by model, from the store."""
    return {
        model: analysis.read(
            (run_folder(finished, f"small/{model}/1") / "sensitivity.csv").read_bytes(),
            "sensitivity",
        )
        for model in ROWS
    }


# Values ---------------------------------------------------------------------------------------


def test_the_studys_own_value_is_among_the_values_and_they_ascend() -> None:
    assert sensitivity.values(study(analysis="full")) == {
        "threshold": [0.3, 0.5, 0.7, 0.9],
        "trim_bits": [None, 0.25, 0.5, 1.0],
        "evalue": [0.001, 0.01, 0.1, 1.0],
        "database": ["JASPAR2016", "JASPAR2020", "JASPAR2026"],
    }
    other = study(
        analysis={"thresholds": [0.9, 0.2, 0.9], "evalues": [5]},
        motifs={"preset": "as-written", "threshold": 0.25},
        matches={"database": "JASPAR2018"},
    )
    assert sensitivity.values(other) == {
        "threshold": [0.2, 0.25, 0.9],
        "trim_bits": [None, 0.25, 0.5, 1.0],
        "evalue": [0.1, 5],
        "database": ["JASPAR2016", "JASPAR2018", "JASPAR2020", "JASPAR2026"],
    }
    assert analysis.own_values(other) == {
        "threshold": "0.25", "trim_bits": "none", "evalue": "0.1", "database": "JASPAR2018",
    }  # fmt: skip


def test_a_file_of_motifs_is_not_compared_with_releases() -> None:
    own = study(matches={"database": "/my/motifs.meme"}, analysis="full")
    assert sensitivity.values(own)["database"] == ["/my/motifs.meme"]
    nothing = study(matches={"database": "/my/motifs.meme"}, analysis={"databases": []})
    assert sensitivity.values(nothing)["database"] == []


def test_the_preset_none_varies_nothing() -> None:
    assert sensitivity.values(study(analysis="none")) == dict.fromkeys(sensitivity.SETTINGS, [])
    some = study(analysis={"preset": "none", "evalues": [1]})
    assert sensitivity.values(some)["evalue"] == [0.1, 1]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.3, "0.3"), (None, "none"), (1.0, "1"), (0.001, "0.001"), (1e-7, "1e-07"), ("X", "X")],
)
def test_values_as_text(value: Any, text: str) -> None:
    assert sensitivity.text(value) == text


def test_invalid_values(tmp_path: Path) -> None:
    for wrong, reason in (
        ({"thresholds": [1]}, r"analysis\.thresholds\[0\]: should be less than 1"),
        ({"trim_bits": [0.5, 2]}, r"analysis\.trim_bits\[1\]: should be less than 2"),
        ({"evalues": [0]}, r"analysis\.evalues\[0\]: should be greater than 0"),
        ({"databases": ["mine.meme"]}, r'analysis\.databases\[0\]: should match .*"mine.meme"'),
        ("nune", r'analysis: no preset "nune"; did you mean "none"\?'),
    ):
        path = tmp_path / "s.yaml"
        path.write_text(json.dumps({**TINY, "analysis": wrong}))
        with pytest.raises(InputError, match=reason):
            load(str(path))


# Rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ROWS)
def test_the_row_of_the_studys_own_value_is_the_tables(
    finished: Path, tables: dict[str, pd.DataFrame], model: str
) -> None:
    table, own = tables[model], analysis.own_values(study())
    metrics = json.loads((run_folder(finished, f"small/{model}/1") / "metrics.json").read_text())
    assert tuple(table.columns) == sensitivity.COLUMNS
    assert list(table.layer.unique()) == ROWS[model]
    for layer, rows in table.groupby("layer"):
        assert list(zip(rows.setting, rows.value, strict=True)) == [
            ("threshold", "0.3"), ("threshold", "0.5"),
            ("trim_bits", "none"), ("trim_bits", "0.5"),
            ("evalue", "0.01"), ("evalue", "0.1"), ("evalue", "200"),
            ("database", "JASPAR2016"),
        ]  # fmt: skip
        for setting in sensitivity.SETTINGS:
            [row] = rows[(rows.setting == setting) & (rows.value == own[setting])].to_dict(
                "records"
            )
            for column in ("n_filters", *sensitivity.FRACTIONS, "dead"):
                assert row[column] == metrics["layers"][layer][column]


def test_every_other_row_is_what_a_study_of_that_value_counts(
    finished: Path, tables: dict[str, pd.DataFrame], tmp_path: Path, keras: Any
) -> None:
    of = study()
    codes, _ = load_dataset(of, "small", FolderStore(finished)).part("test")
    truth = of.datasets["small"].motif_ids
    folder = run_folder(finished, "small/b/1")
    model = keras.models.load_model(folder / "model.keras", compile=False)
    found = read_filters(folder / "filters.h5")
    different = 0
    for setting, value, rule, evalue in (
        ("threshold", "0.3", {"threshold": 0.3}, 0.1),
        ("trim_bits", "none", {"trim": None}, 0.1),
        ("evalue", "0.01", {}, 0.01),
        ("evalue", "200", {}, 200.0),
    ):
        changed = of.motifs.model_copy(update=rule)
        again = setting == "threshold"
        read = extract_layers(numbered_layers(model), codes, changed) if again else found
        layers = match_layers(read, changed, "JASPAR2016", evalue, truth, tmp_path)
        for layer, counted in layers.items():
            table = tables["b"]
            [row] = table[
                (table.layer == layer) & (table.setting == setting) & (table.value == value)
            ].to_dict("records")
            for column in ("n_filters", *sensitivity.FRACTIONS, "dead"):
                assert row[column] == counted[column], (setting, value, layer, column)
            different += (
                row["match_any"]
                != json.loads((folder / "metrics.json").read_text())["layers"][layer]["match_any"]
            )
    assert different > 0


def test_rows_of_a_study_with_a_q_value(finished: Path, tmp_path: Path, keras: Any) -> None:
    of = study(matches={"qvalue": 0.3, "distance": "pearson"})
    codes, _ = load_dataset(of, "small", FolderStore(finished)).part("test")
    truth = of.datasets["small"].motif_ids
    folder = run_folder(finished, "small/b/1")
    model = keras.models.load_model(folder / "model.keras", compile=False)
    found = read_filters(folder / "filters.h5")
    table = sensitivity.measure(model, codes, found, of, truth)
    assert set(table.setting) == {"threshold", "trim_bits", "database"}
    untrimmed = of.motifs.model_copy(update={"trim": None})
    for rule, setting, value in (
        (of.motifs, "threshold", "0.5"),
        (of.motifs, "database", "JASPAR2016"),
        (untrimmed, "trim_bits", "none"),
    ):
        layers = match_layers(
            found, rule, "JASPAR2016", 0.1, truth, tmp_path, distance="pearson", qvalue=0.3
        )
        for layer, counted in layers.items():
            chosen = (table.layer == layer) & (table.setting == setting) & (table.value == value)
            [row] = table[chosen].to_dict("records")
            for column in ("n_filters", *sensitivity.FRACTIONS, "dead"):
                assert row[column] == counted[column], (setting, layer, column)
    assert table.match_any.nunique() > 1


def perfect(names: list[str], release: str) -> Filters:
    """Make filters that are motifs of a release, 19 columns wide, and a dead one."""
    ppm = np.full((len(names) + 1, 19, 4), 0.25, np.float32)
    for i, name in enumerate(names):
        one = jaspar_motif(name, release).ppm[:19]
        ppm[i, : len(one)] = one
    dead = np.arange(len(ppm)) == len(names)
    return Filters(ppm, np.where(dead, 0, 50), np.ones(len(ppm)), "observed", dead)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes the table of given filters; it needs no model."""
    monkeypatch.setattr(sensitivity, "numbered_layers", lambda model: {"conv1": None})

    def count(found: Filters, of: Study, truth: dict[str, list[str]]) -> pd.DataFrame:
        table = sensitivity.measure(None, np.zeros((1, 1)), {"conv1": found}, of, truth)  # type: ignore[arg-type]
        return table.set_index(["setting", "value"])

    return count


def test_in_another_release_any_version_of_an_id_counts(counted: Any) -> None:
    names = {motif.name for motif in jaspar("JASPAR2026")}
    truth = {"SP1": ["MA0079.3"], "SRF": ["MA0083.3"], "none": []}
    assert "MA0079.3" not in names and any(name.startswith("MA0079.") for name in names)
    asked = {"preset": "none", "databases": ["JASPAR2026"]}
    table = counted(
        perfect(["MA0079.3", "MA0083.3", "MA0058.3"], "JASPAR2016"), study(analysis=asked), truth
    )
    assert list(table.index) == [("database", "JASPAR2016"), ("database", "JASPAR2026")]
    assert (table.n_filters == 4).all() and (table.dead == 1).all()
    assert (table.match_any == 0.75).all() and (table.match_truth == 0.5).all()


def test_in_the_studys_own_release_only_its_ids_count(counted: Any) -> None:
    asked = {"preset": "none", "databases": ["JASPAR2016"]}
    found = perfect(["MA0079.3"], "JASPAR2016")
    table = counted(found, study(analysis=asked), {"SP1": ["MA0079.4"]})
    assert table.match_any.tolist() == [0.5] and table.match_truth.tolist() == [0]


def test_a_flat_motif_matches_what_nothing_matches(counted: Any) -> None:
    flat = Filters(
        np.full((1, 19, 4), 0.25, np.float32), np.array([9]), np.ones(1), "observed",
        np.array([False]),
    )  # fmt: skip
    of = study(analysis={"preset": "none", "evalues": [0.001, 0.1]})
    table = counted(flat, of, {})
    assert table.match_any.tolist() == table.match_null.tolist() == [0, 1]


def test_hits_are_the_same_without_their_q_values() -> None:
    targets = read_database("JASPAR2016")
    queries = [targets[3], targets[200], matches.flat(19)]
    whole = tomtom(queries, targets, 1)
    quick = tomtom(queries, targets, 1, q_values=False)
    assert len(whole) > 3 and quick["q-value"].isna().all() and whole["q-value"].notna().all()
    columns = [column for column in COLUMNS if column != "q-value"]
    pd.testing.assert_frame_equal(whole[columns], quick[columns], check_exact=True)
