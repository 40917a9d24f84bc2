"""A store that an earlier version wrote is read: nothing runs again, and the tables are the same.

``tests/golden/store-760640a.zip`` holds the tiny study (`helpers.tiny.TINY`) and its store without
figures and report, as ``motifk8s run tiny.yaml --store store --jobs 1`` left it at commit 760640a.
The preset as-run then had an output bias of 0.05, which the study now gives itself.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers.tiny import ROOT, TINY

from motifk8s.data import stored
from motifk8s.study.study import load

ARCHIVE = ROOT / "tests" / "golden" / "store-760640a.zip"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.unpack_archive(ARCHIVE, tmp_path)
    study = json.loads((tmp_path / "tiny.yaml").read_text())
    study["training"]["output_bias"] = 0.05
    (tmp_path / "tiny.yaml").write_text(json.dumps(study))
    return tmp_path


def test_plan_finds_every_cell_done(old: Path, here) -> None:
    code, out, _ = here("plan", old / "tiny.yaml", "--store", old / "store", "--json")
    assert (code, json.loads(out)) == (0, [])


def test_classes_in_another_order_are_other_data(old: Path, here) -> None:
    study = json.loads((old / "tiny.yaml").read_text())
    classes = study["datasets"]["small"]["classes"]
    study["datasets"]["small"]["classes"] = dict(reversed(classes.items()))
    assert len(classes) == 2
    (old / "swapped.yaml").write_text(json.dumps(study))
    code, out, _ = here("plan", old / "swapped.yaml", "--store", old / "store", "--json")
    assert (code, json.loads(out)) == (0, ["small/b/1", "small/a/1"])


def test_where_earlier_versions_kept_data() -> None:
    own = {"kind": "file", "path": "/data/own.h5", "length": 40, "classes": {"B": [], "A": ["x"]}}
    study = load(json.dumps({**TINY, "datasets": {**TINY["datasets"], "own": own}}))
    places = [stored._old_place(study, name) for name in study.datasets]
    assert places == ["datasets/small-b7eefece17d6", "datasets/own-cd510506faeb"]
    assert stored._old_place(load("koo2019"), "invivo") == "datasets/invivo-ceff982a0595"


def test_report_makes_the_same_tables(old: Path, here) -> None:
    code, _, _ = here(
        "report", old / "tiny.yaml", "--store", old / "store", "--out", old / "report"
    )
    assert code == 0
    before = {path.name: path for path in (old / "store/tiny/tables").glob("*.csv")}
    del before["prediction.csv"]  # The rule that predicts is another one.
    assert len(before) == 8
    for name, path in before.items():
        table = pd.read_csv(path, dtype=str)
        after = pd.read_csv(old / "report/tables" / name, dtype=str)
        # That version did not write some columns.
        pd.testing.assert_frame_equal(after[table.columns], table)


def test_hits_of_its_cells(old: Path, here) -> None:
    """Its data have no places, so sequences are named by their part and number."""
    code, out, _ = here("hits", old / "tiny.yaml", "--store", old / "store")
    assert code == 0 and out.startswith("test_0\t0\t10\tNeurog1_MA0623.1\t")
