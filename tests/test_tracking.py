"""examples/tracking: what trackers get of a study, and that no cell is logged twice.

The programs run against stand-ins, and against MLflow and Weights & Biases if these are installed.
They are no dependency: `docs/tracking.md` has the versions that were tried.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from helpers import trackers
from helpers.tiny import ROOT, place_of, provenance, run_folder

FOLDER = ROOT / "examples" / "tracking"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the examples are not part of an image")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import a file of the examples as it is when it is run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("cells", "to_mlflow", "to_wandb")
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def reported(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny study with a report and a table, in the current folder."""
    monkeypatch.chdir(tiny.parent)
    (tiny.parent / "store/tiny/tables").mkdir()
    (tiny.parent / "store/tiny/tables/results.csv").write_text("dataset\n")
    (tiny.parent / "store/tiny/report.html").write_text("<title>tiny</title>")
    return tiny.parent


@pytest.fixture(params=["stand-in", "installed"])
def mlflow(request: Any, program: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The program, and a URI."""
    if request.param == "installed":
        pytest.importorskip("mlflow", reason="mlflow is not installed; the stand-in was used")
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # mlflow-skinny has no other
        return program("to_mlflow"), (tmp_path / "runs").as_uri()
    for name, module in trackers.mlflow().items():
        monkeypatch.setitem(sys.modules, name, module)
    return program("to_mlflow"), str(tmp_path)


def call(module: ModuleType, *more: str) -> int:
    sys.argv = ["program", "tiny.yaml", "--store", "store", *more]
    return module.exit_code(module.main)


@pytest.fixture(autouse=True)
def arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [])


def test_a_cell_as_a_run(reported: Path, program: Any) -> None:
    study, _, runs = program("cells").read("tiny.yaml", "store")
    assert [run.cell.id for run in runs] == ["small/a/1", "small/b/1"]
    run, facts = runs[0], provenance(reported / "store", "small/a/1")
    folder = run_folder(reported / "store", "small/a/1")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert run.key == facts["keys"]["analysis"] and run.tags["data_hash"] == facts["data_hash"]
    assert run.tags["code"] == facts["code_version"]
    expected = {"dataset": "small", "model": "a", "trial": 1, "training.epochs": 5}
    assert run.params.items() >= expected.items()
    assert json.loads(run.params["model.conv"])[0]["width"] == 9
    assert run.metrics["auroc"] == metrics["auroc"]
    assert run.metrics["best.val_loss"] == metrics["val_loss"]
    assert run.metrics["conv1.match_any"] == metrics["layers"]["conv1"]["match_any"]
    history = pd.read_csv(folder / "history.csv")
    assert [row["val_loss"] for row in run.history] == pytest.approx(history["val_loss"].tolist())
    assert not run.metrics.keys() & run.history[0].keys()  # a tracker keeps one series for a name
    assert run.started <= run.ended


def test_what_a_tracker_refuses_is_left_out(program: Any) -> None:
    cells = program("cells")
    assert cells.numbers({"a": 1, "b": float("nan"), "c": None, "d": "x"}) == {"a": 1.0}
    assert cells.flat("p", {"a": "x" * 999, "b": [1], "c": None}) == {
        "p.a": "x" * 500, "p.b": "[1]", "p.c": None,
    }  # fmt: skip


def runs_of(client: Any) -> dict[str, Any]:
    """The runs of the experiment by name; each name once."""
    found: dict[str, Any] = {}
    for tag in ("motifk8s.cells-of", "motifk8s.study"):
        token = None
        while True:
            page = client.search_runs(["1"] if isinstance(client, trackers.MlflowClient) else [
                client.get_experiment_by_name("exp").experiment_id
            ], f"tags.`{tag}` = 'tiny'", page_token=token)  # fmt: skip
            for run in page:
                assert run.info.run_name not in found
                found[run.info.run_name] = run
            if not (token := page.token):
                break
    return found


def test_mlflow_gets_each_cell_once(mlflow: Any, reported: Path, capsys: Any) -> None:
    module, uri = mlflow
    line = "--experiment", "exp", "--tracking-uri", uri
    marker = place_of(reported / "store", "small/b/1") / "done.json"
    shutil.move(marker, "done.json")
    for added, there in ((1, 0), (0, 1), (1, 1), (0, 2)):
        assert call(module, *line) == 0
        out = capsys.readouterr().out.splitlines()[-1]
        assert out == f"experiment exp: {added} cells added, {there} were there"
        if (added, there) == (0, 1):
            shutil.move("done.json", marker)
    client = module.MlflowClient(uri)
    runs = runs_of(client)
    assert runs.keys() == {"tiny", "small/a/1", "small/b/1"}
    cell = runs["small/b/1"]
    assert cell.data.tags["mlflow.parentRunId"] == runs["tiny"].info.run_id
    assert cell.data.params["training.epochs"] == "5"
    history = pd.read_csv(run_folder(reported / "store", "small/b/1") / "history.csv")
    logged = client.get_metric_history(cell.info.run_id, "val_loss")
    assert [m.step for m in logged] == [1, 2, 3, 4, 5]
    assert [m.value for m in logged] == pytest.approx(history["val_loss"].tolist())
    if isinstance(client, trackers.MlflowClient):
        assert runs["tiny"].artifacts == {"report.html", "tables/results.csv"}
    else:
        names = [f.path for f in client.list_artifacts(runs["tiny"].info.run_id, "tables")]
        assert names == ["tables/results.csv"]


def test_mlflow_starts_a_cell_again_that_was_half_logged(
    mlflow: Any, reported: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, uri = mlflow
    line = "--experiment", "exp", "--tracking-uri", uri

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.MlflowClient, "log_batch", stopped)
        with pytest.raises(KeyboardInterrupt):
            call(module, *line)
    assert call(module, *line) == 0
    assert "2 cells added" in capsys.readouterr().out
    assert {run.info.status for run in runs_of(module.MlflowClient(uri)).values()} == {"FINISHED"}


def test_wandb_gets_each_cell_once(
    program: Any, reported: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    runs: list[trackers.WandbRun] = []
    monkeypatch.setitem(sys.modules, "wandb", trackers.wandb(runs))
    module = program("to_wandb")
    assert call(module, "--project", "exp") == 0
    assert [run.options["name"] for run in runs] == ["small/a/1", "small/b/1", "tiny report"]
    assert {run.options["group"] for run in runs} == {"tiny"}
    cell, _, report = runs
    assert cell.options["config"]["key"] == provenance(reported / "store", "small/a/1")["keys"][
        "analysis"
    ]  # fmt: skip
    assert [row["_step"] for row in cell.rows] == [1, 2, 3, 4, 5]
    assert "auroc" in cell.summary and "val_loss" in cell.rows[0]
    assert report.artifact.names == ["report.html", "tables/results.csv"]

    assert call(module, "--project", "exp") == 0 and len(runs) == 3  # nothing is logged again
    Path(cell.dir).parent.joinpath(module.COMPLETE).unlink()  # it was stopped
    (reported / "store/tiny/report.html").write_text("<title>new</title>")
    assert call(module, "--project", "exp") == 0
    assert [run.options["name"] for run in runs[3:]] == ["small/a/1", "tiny report"]
    assert len({run.options["id"] for run in runs}) == 4
    assert "1 cells added, 1 were there" in capsys.readouterr().out


def test_wandb_that_is_installed(
    program: Any, reported: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed; the stand-in was used")
    monkeypatch.setenv("WANDB_MODE", "offline")
    module = program("to_wandb")
    for _ in range(2):
        assert call(module, "--project", "exp") == 0
        folders = list(Path("wandb").glob("offline-run-*/run-*.wandb"))
        assert len(folders) == 3  # two cells and the report
    assert "0 cells added, 2 were there" in capsys.readouterr().out


def test_what_is_missing(
    program: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tiny.parent)
    monkeypatch.setitem(sys.modules, "wandb", trackers.wandb([]))
    module = program("to_wandb")
    assert call(module) == 1
    assert "study tiny has no report yet; run motifk8s aggregate" in capsys.readouterr().err
    shutil.rmtree("store/tiny/cells")
    assert call(module) == 2
    assert "store has no finished cell of study tiny" in capsys.readouterr().err
