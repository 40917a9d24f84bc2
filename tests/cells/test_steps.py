"""What only the steps of a workflow need, tested without a cluster."""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path

import pytest
from helpers.tiny import TINY, one_line, place_of, provenance, results, run_folder, study_file

from motifk8s.cells import cell, progress
from motifk8s.cells.events import Epoch
from motifk8s.cells.plan import keep_study
from motifk8s.errors import InputError, Problem
from motifk8s.provenance import gpu
from motifk8s.store.folder import FolderStore
from motifk8s.store.open import open_store, try_out
from motifk8s.study.study import load

# The study ------------------------------------------------------------------------------------


def test_a_study_may_be_given_as_text(tmp_path):
    text = study_file(tmp_path / "tiny.yaml").read_text()
    assert load(text) == load(f"\n{text}") == load(str(tmp_path / "tiny.yaml"))
    assert load("name: mine\nextends: smoke\n").models == load("smoke").models
    with pytest.raises(InputError, match=r"the study's text: trialz: .*trials"):
        load("name: mine\nextends: smoke\ntrialz: 3\n")


def test_a_study_is_kept_once_even_if_its_file_changes(tmp_path):
    path = study_file(tmp_path / "tiny.yaml")
    store = FolderStore(tmp_path / "store")
    study = load(str(path))
    where = keep_study(study, store)
    path.write_text("")
    assert load(where) == study
    assert keep_study(study, store) == where
    other = load(str(study_file(path, {"trials": 2})))
    assert keep_study(other, store) != where
    assert load(where) == study and len(store.list("tiny/studies")) == 2


def test_a_study_that_differs_in_the_order_of_classes_is_kept(tmp_path):
    def study(*names):
        spec = {"classes": {name: [{"SRF": "MA0083.3", "MAX": "MA0058.3"}[name]] for name in names}}
        base = json.loads(json.dumps(TINY))
        base["datasets"]["small"] |= spec
        return load(json.dumps(base))

    store = FolderStore(tmp_path / "store")
    kept = [keep_study(study(*names), store) for names in (("SRF", "MAX"), ("MAX", "SRF"))]
    assert kept[0] != kept[1]
    assert [list(load(where).datasets["small"].classes) for where in kept] == [
        ["SRF", "MAX"],
        ["MAX", "SRF"],
    ]


def test_the_newest_of_the_kept_studies_is_the_last_submitted(tmp_path, here):
    store = FolderStore(tmp_path / "store")
    first, second = (load(str(study_file(tmp_path / "t.yaml", {"trials": n}))) for n in (1, 2))
    for study in (first, second):
        path = Path(keep_study(study, store))
        os.utime(path, (0, 0))
    Path(keep_study(first, store))
    code, out, _ = here("plan", "tiny", "--store", store.url, "--json")
    assert code == 0 and json.loads(out) == ["small/b/1", "small/a/1"]


def test_a_kept_study_that_was_damaged_is_written_again(tmp_path):
    store = FolderStore(tmp_path / "store")
    study = load(str(study_file(tmp_path / "tiny.yaml")))
    Path(keep_study(study, store)).write_text("half")
    assert load(keep_study(study, store)) == study


# Outputs of steps -----------------------------------------------------------------------------


def test_plan_and_dataset_list_what_is_unfinished(tmp_path, tiny, here):
    store, out = tiny.parent / "store", tmp_path / "out"
    two = {"two": {**TINY["datasets"]["small"], "n_sequences": 300}}
    study_file(tiny, {"datasets": two, "trials": 2})
    plan = ["plan", tiny, "--store", store, "--outputs", out, "--max-gpu-hours="]
    assert here(*plan)[0] == 0
    assert json.loads((out / "datasets").read_text()) == ["small", "two"]
    assert (out / "name").read_text() == "tiny"
    kept = (out / "study").read_text()
    assert load(kept) == load(str(tiny))
    more = ["--store", store, "--outputs", out]
    assert here("dataset", kept, "small", *more)[0] == here("dataset", kept, "two", *more)[0] == 0
    assert json.loads((out / "cells").read_text()) == ["two/b/1", "two/a/1", "two/b/2", "two/a/2"]
    assert here("dataset", kept, "small", *more)[0] == 0
    assert json.loads((out / "cells").read_text()) == ["small/b/2", "small/a/2"]
    code, _, err = here("dataset", kept, *more)
    assert code == 2 and "say which data set to make: small, two" in one_line(err)


def test_a_finished_study_leaves_nothing_to_do(tmp_path, tiny, here):
    out = tmp_path / "out"
    assert here("plan", tiny, "--store", tiny.parent / "store", "--outputs", out)[0] == 0
    assert (out / "datasets").read_text() == "[]"


def test_outputs_that_cannot_be_written(tmp_path, tiny, here):
    (tmp_path / "out").write_text("")
    code, _, err = here(
        "plan", tiny, "--store", tiny.parent / "store", "--outputs", tmp_path / "out"
    )
    assert code == 2 and f"cannot write {tmp_path / 'out'}" in one_line(err)


# Progress and logs of a cell -----------------------------------------------------------------

ROW = {"epoch": 1, "loss": 0.5, "val_loss": 0.4, "val_auroc": 0.9, "seconds": 2.0}


def test_progress_is_written_to_the_store_and_for_argo(tmp_path, monkeypatch):
    store = FolderStore(tmp_path / "store")
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(tmp_path / "argo"))
    monkeypatch.setenv("MOTIFK8S_NODE", "spot-7")
    monkeypatch.setenv("MOTIFK8S_ATTEMPT", "1")
    told = progress.Progress(store, "s/cells/a")
    told.write(Epoch("a", 3, 40, {**ROW, "val_auroc": float("nan")}))
    told.write(Epoch("a", 4, 40, ROW))  # too soon for the store
    assert (tmp_path / "argo").read_text() == "4/40\n"
    read = progress.read(store, "s/cells/a")
    assert read is not None and (read["epoch"], read["epochs"]) == (3, 40)
    assert read["seconds_per_epoch"] == 2.0 and read["val_loss"] == 0.4 and "val_auroc" not in read
    assert (read["node"], read["attempt"], read["pod"]) == ("spot-7", 2, None)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_WRITES", 0)
    told.write(Epoch("a", 5, 40, {**ROW, "seconds": 4.0}))
    read = progress.read(store, "s/cells/a")
    assert read is not None and read["epoch"] == 5
    assert read["seconds_per_epoch"] == pytest.approx(8 / 3)
    told.clear()
    assert progress.read(store, "s/cells/a") is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "{}", '{"format": 2}', '{"format": 1}', '{"format": 1, "at": "soon"}',
     "[" * 100_000],
)  # fmt: skip
def test_progress_that_cannot_be_read_is_none(tmp_path, text):
    store = FolderStore(tmp_path / "store")
    store.write("a/progress.json", text.encode())
    assert progress.read(store, "a") is None


NORMAL = {"format": 1, "epoch": 3, "epochs": 9, "seconds_per_epoch": 2.5, "node": None,
          "at": "2026-11-24T12:00:00+00:00"}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in ("epoch", "epochs", "seconds_per_epoch")
          for value in (float("inf"), float("nan"), -1, 10**400, 1e300, "3", True, None, [])),
        *(("at", value) for value in ("2026-11-24T12:00:00", "soon", 7, None, [], {})),
        ("attempt", []), ("attempt", "2"), ("node", ["n"]), ("node", 7), ("workflow", {}),
    ],
)  # fmt: skip
def test_odd_values_of_progress(tmp_path, key, value):
    store = FolderStore(tmp_path / "store")
    store.write("a/progress.json", json.dumps(NORMAL).encode())
    assert progress.read(store, "a") == NORMAL
    store.write("a/progress.json", json.dumps({**NORMAL, key: value}).encode())
    assert progress.read(store, "a") is None


def test_a_store_that_rejects_progress_does_not_stop_training(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store/a").write_text("a file where a folder must be")
    progress.Progress(FolderStore(tmp_path / "store"), "a").write(Epoch("a", 1, 2, ROW))


def test_provenance_has_where_a_cell_ran(finished, tmp_path, here, monkeypatch):
    image = "registry.example/motifk8s:1@sha256:0123"
    told = {
        "IMAGE": image,
        "NODE": "n",
        "POD": "p",
        "WORKFLOW": "w",
        "ATTEMPT": "0",
        "SPOT": "true",
    }
    for name, value in told.items():
        monkeypatch.setenv(f"MOTIFK8S_{name}", value)
    store, study = tmp_path / "store", finished.parent / "tiny.yaml"
    assert here("dataset", study, "--store", store)[0] == 0
    assert here("cell", study, "small/a/1", "--threads", "1", "--store", store)[0] == 0
    assert provenance(store, "small/a/1")["deployment"] == {
        "image": image, "node": "n", "pod": "p", "workflow": "w", "attempt": 1, "spot": True,
    }  # fmt: skip
    assert results(store, "small/a/1") == results(finished, "small/a/1")


def test_a_gpu_is_described_by_nvidia_smi(tmp_path, monkeypatch):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'Tesla T4, 550.54.15, 15360 MiB'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    gpu.cache_clear()
    wanted = {"name": "Tesla T4", "driver_version": "550.54.15", "memory.total": "15360 MiB"}
    assert gpu() == wanted
    smi.write_text("#!/bin/sh\nexit 9\n")
    gpu.cache_clear()
    assert gpu() is None
    gpu.cache_clear()


def test_the_last_lines_of_the_log_are_kept(finished, tmp_path, here, monkeypatch):
    def fail(job, *_):
        job.watch(Epoch("small/a/1", 1, 5, ROW))
        for number in range(30):
            logging.getLogger("motifk8s.cells.cell").info("line %d", number)
        raise Problem("no more")

    monkeypatch.setattr(cell, "_train", fail)
    store, study = tmp_path / "store", finished.parent / "tiny.yaml"
    assert here("dataset", study, "--store", store)[0] == 0
    assert here("cell", study, "small/a/1", "--store", store)[0] == 1
    failed = json.loads((place_of(store, "small/a/1") / "failed.json").read_text())
    assert failed["reason"] == "no more"
    assert not (place_of(store, "small/a/1") / "progress.json").exists()
    assert [line.split("line ")[1] for line in failed["log"]] == [str(n) for n in range(10, 30)]


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_seconds_between_checkpoints_must_be_seconds(finished, tmp_path, here, monkeypatch, text):
    monkeypatch.setenv("MOTIFK8S_CHECKPOINT_SECONDS", text)
    store, study = tmp_path / "store", finished.parent / "tiny.yaml"
    assert here("dataset", study, "--store", store)[0] == 0
    code, _, err = here("cell", study, "small/a/1", "--store", store)
    assert code == 2 and f"got {text!r}" in one_line(err)


# GPUs -----------------------------------------------------------------------------------------


def test_a_cell_that_finds_no_gpu_fails_at_once(finished, tmp_path, here, monkeypatch):
    from motifk8s.training import devices

    monkeypatch.setattr(cell, "load_dataset", lambda *_: pytest.fail("it read the data first"))
    store, study = tmp_path / "store", finished.parent / "tiny.yaml"
    monkeypatch.setenv("MOTIFK8S_GPUS", "2")
    monkeypatch.setattr(devices, "_count_gpus", lambda backend: 1)
    code, _, err = here("cell", study, "small/a/1", "--store", store)
    assert code == 1
    assert "finds 1 of the 2 GPUs that this job requests" in one_line(err)
    assert "gpu.required" in err
    assert "finds 1 of the 2" in (place_of(store, "small/a/1") / "failed.json").read_text()
    for text in ("-1", "one", "1.5"):
        monkeypatch.setenv("MOTIFK8S_GPUS", text)
        code, _, err = here("cell", study, "small/a/1", "--store", store)
        assert code == 2 and f"MOTIFK8S_GPUS: expected a number of GPUs, got {text!r}" in err


@pytest.mark.parametrize("text", ["", "0", "2"])
def test_enough_gpus(keras, monkeypatch, text):
    from motifk8s.training import devices

    monkeypatch.setenv("MOTIFK8S_GPUS", text)
    monkeypatch.setattr(devices, "_count_gpus", lambda backend: 2)
    devices.require_gpus()


def test_gpus_are_counted_on_this_machine(keras):
    from motifk8s.training import devices

    assert devices._count_gpus("tensorflow") == len(list(Path("/dev").glob("nvidia[0-9]*")))


def test_the_log_names_the_device(finished):
    log = (run_folder(finished, "small/a/1") / "log.txt").read_text()
    assert re.search(r"device: (CPU, threads: 1|.*(NVIDIA|Tesla).*)\n", log)


# The store ------------------------------------------------------------------------------------


def test_check_tests_a_store_and_leaves_no_file(tmp_path, here):
    code, out, _ = here("check", "--store", tmp_path / "store")
    assert code == 0 and out.startswith(str(tmp_path / "store"))
    assert open_store(tmp_path / "store").list() == []


@pytest.mark.parametrize("method", ["list", "write", "read", "delete"])
def test_check_names_the_missing_permission(tmp_path, monkeypatch, method):
    def denied(*args):
        raise Problem(f"cannot {method}")

    monkeypatch.setattr(FolderStore, method, denied)
    with pytest.raises(Problem, match=f"cannot {method}"):
        try_out(FolderStore(tmp_path / "store"))


def test_a_store_that_deletes_nothing_does_not_undo_a_finished_cell(
    finished, tmp_path, here, monkeypatch
):
    store, study = tmp_path / "store", finished.parent / "tiny.yaml"
    assert here("dataset", study, "--store", store)[0] == 0

    def denied(self, path):
        raise Problem("permission denied; these credentials need s3:DeleteObject")

    monkeypatch.setattr(FolderStore, "delete", denied)
    assert here("cell", study, "small/a/1", "--threads", "1", "--store", store)[0] == 0
    left = {path.name for path in place_of(store, "small/a/1").iterdir()}
    assert left == {"done.json", "runs", "checkpoint", "progress.json"}
    monkeypatch.undo()
    assert here("clean", study, "--store", store)[0] == 0
    assert {path.name for path in place_of(store, "small/a/1").iterdir()} == {"done.json", "runs"}
