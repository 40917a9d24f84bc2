"""A cell: its files, what it reuses, and that interruptions and failures do not change results."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.tiny import FILES, command, one_line, provenance, results, run_folder, study_file

from motifk8s.cells import cell, marker
from motifk8s.cells.events import Epoch, Event, Note
from motifk8s.cells.keys import STAGES, stage_keys
from motifk8s.cells.plan import plan
from motifk8s.data import datasets
from motifk8s.errors import RESUME, InputError, Interrupted, Problem
from motifk8s.filters import analysis, layer_motifs
from motifk8s.filters.layer_motifs import read_filters
from motifk8s.motifs.jaspar import jaspar_motif
from motifk8s.motifs.meme import read_meme, write_meme
from motifk8s.store.base import DamagedError
from motifk8s.store.folder import FolderStore
from motifk8s.study.specs import MotifSettings
from motifk8s.study.study import load, parse_cell
from motifk8s.training import loop

A, B = parse_cell("small/a/1"), parse_cell("small/b/1")


def place(store: Path, which=A) -> Path:
    return store / "tiny" / "cells" / which.id


# Files ---------------------------------------------------------------------------------------


def test_all_files_exist_and_match_the_marker(finished):
    for which, more in ((A, set()), (B, {f"{n}-conv2{s}" for n, s in LAYER_FILES})):
        done = json.loads((place(finished, which) / "done.json").read_text())
        assert done["format"] == 1 and set(done["keys"]) == set(STAGES)
        folder = place(finished, which) / done["run"]
        assert set(done["files"]) == {path.name for path in folder.iterdir()} == FILES | more
        for name, digest in done["files"].items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        # The checkpoint and unfinished files are deleted.
        assert {p.name for p in place(finished, which).iterdir()} == {"done.json", "runs"}
        assert len(list((place(finished, which) / "runs").iterdir())) == 1


LAYER_FILES = [("hits", ".tsv"), ("logos", ".png"), ("motifs", ".meme")]


def test_metrics_agree_with_the_files(finished):
    folder = run_folder(finished, B.id)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["format"] == 1 and metrics["cell"] == B.id and metrics["epochs"] == 5
    assert set(metrics["auroc_by_class"]) == {"SRF", "MAX"}
    assert metrics["best_epoch"] == 5  # what is compared below has trained to the end
    assert metrics["auroc"] == pytest.approx(sum(metrics["auroc_by_class"].values()) / 2)
    found = read_filters(folder / "filters.h5")
    assert list(found) == list(metrics["layers"]) == ["conv1", "conv2"]
    for name, layer in metrics["layers"].items():
        assert layer["n_filters"] == len(found[name].dead) == 4
        assert layer["dead"] == found[name].dead.sum()
        alive = read_meme(folder / f"motifs-{name}.meme")
        assert len(alive) == 4 - layer["dead"]
        hits = (folder / f"hits-{name}.tsv").read_text().splitlines()[1:]
        matched = {line.split("\t")[0] for line in hits if line.startswith("filter")}
        assert matched == set(layer["labels"]) and layer["match_any"] == len(matched) / 4


def test_a_cell_with_a_plateau_and_matches_by_q_value(finished, tmp_path):
    """Also where the earlier run of the cell matched by E-value."""
    changes = {
        "training": {"monitor": "auroc", "plateau": {"patience": 1, "min_delta": 0.5}},
        "matches": {"distance": "pearson", "qvalue": 0.5},
        "best": 1,
    }
    study = load(str(study_file(tmp_path / "tiny.yaml", changes)))
    store = FolderStore(shutil.copytree(finished, tmp_path / "store"))
    metrics = cell.run(study, B, store, threads=1)
    folder = run_folder(tmp_path / "store", B.id)
    history = pd.read_csv(folder / "history.csv")
    np.testing.assert_allclose(
        history["learning_rate"], 3e-3 * 10.0 ** -np.maximum(0, range(-1, 4))
    )
    assert metrics["best_epoch"] == 1 + history["val_auroc"].argmax()
    layer = metrics["layers"]["conv1"]
    hits = pd.read_csv(folder / "hits-conv1.tsv", sep="\t")
    assert set(hits["Query_ID"]) == set(layer["labels"]) and (hits["q-value"] <= 0.5).all()
    assert "evalue" not in (folder / "sensitivity.csv").read_text()
    earlier = pd.read_csv(run_folder(finished, B.id) / "history.csv")
    assert "learning_rate" not in earlier  # without a plateau


def test_provenance_is_complete(finished):
    study = load(str(finished.parent / "tiny.yaml"))
    of = provenance(finished, A.id)
    assert of["format"] == 1 and of["cell"] == A.id and of["study"] == study.resolved()
    assert of["keys"] == stage_keys(study, A, of["data_hash"])
    data = next((finished / "datasets").glob("*/data.h5"))
    assert of["data_hash"] == datasets.read(data).data_hash
    assert re.fullmatch(r"0\.1\.0(\+g[0-9a-f]{12}(\.dirty)?)?", of["code_version"])
    assert of["trained_by"] == of["code_version"] and of["resumed_at_epochs"] == []
    assert {"keras", "numpy", "h5py", "pyjaspar"} <= set(of["libraries"])
    assert of["libraries"].keys() & {"tensorflow", "tensorflow-cpu"}
    assert of["device"] and of["threads"] == 1 and of["gpu"] is None
    assert set(of["deployment"].values()) == {None}  # no cluster
    assert of["peak_memory_bytes"] > 100 * 2**20
    stages = of["stages"]
    assert set(stages) == {"start", "data", "setup", "logos", *STAGES}
    metrics = json.loads((run_folder(finished, A.id) / "metrics.json").read_text())
    assert metrics["seconds"] == pytest.approx(sum(stages.values()))


def test_unlike_its_neighbour(finished):
    assert provenance(finished, A.id)["keys"] != provenance(finished, B.id)["keys"]


# What is reused ------------------------------------------------------------------------------


@pytest.fixture
def again(tiny, tmp_path, monkeypatch, one_thread):
    """Run cell A again with a changed study; return the notes and the number of trained epochs."""

    def run(*changes) -> tuple[list[str], int]:
        study = load(str(study_file(tmp_path / "changed.yaml", *changes)))
        seen: list[Event] = []
        cell.run(study, A, FolderStore(tmp_path / "store"), threads=1, watch=seen.append)
        assert {event.cell for event in seen} <= {A.id}
        epochs = [event.number for event in seen if isinstance(event, Epoch)]
        assert epochs == list(range(1, len(epochs) + 1))
        return [event.text for event in seen if isinstance(event, Note)], len(epochs)

    return run


def untrained(monkeypatch):
    monkeypatch.setattr(loop, "train", lambda *_, **__: pytest.fail("it trained"))


def test_a_finished_cell_is_skipped(again, tmp_path):
    before = run_folder(tmp_path / "store", A.id)
    (place(tmp_path / "store") / "checkpoint").write_bytes(b"left by a kill after the marker")
    assert again() == ([], 0)
    assert run_folder(tmp_path / "store", A.id) == before
    assert not (place(tmp_path / "store") / "checkpoint").exists()


@pytest.mark.parametrize("change", ["database", "evalue", "truth"])
def test_matching_again_trains_nothing_again(again, finished, tmp_path, monkeypatch, change):
    untrained(monkeypatch)
    monkeypatch.setattr(cell, "extract_layers", lambda *_: pytest.fail("it read the filters"))
    database = tmp_path / "mine.meme"
    write_meme([jaspar_motif("MA0083.3", "JASPAR2016")], database)
    changes = {
        "database": {"matches": {"database": str(database)}},
        "evalue": {"matches": {"evalue": 400}},
        "truth": {"datasets": {"small": {"classes": {"SRF": ["MA0083.3", "MA0052.3"]}}}},
    }
    assert again(changes[change]) == ([], 0)
    store = tmp_path / "store"
    old, new = run_folder(finished, A.id), run_folder(store, A.id)
    assert old.name != new.name
    for name in ("model.keras", "history.csv", "filters.h5"):
        assert (old / name).read_bytes() == (new / name).read_bytes()
    was, now = provenance(finished, A.id), provenance(store, A.id)
    assert was["keys"]["filters"] == now["keys"]["filters"]
    assert was["keys"]["matches"] != now["keys"]["matches"]
    for stage in ("training", "filters"):
        assert was["stages"][stage] == now["stages"][stage]
    assert was["trained_by"] == now["trained_by"] and was["device"] == now["device"]
    layer = results(store, A.id)["metrics"]["layers"]["conv1"]
    if change == "database":
        assert {hit["target"] for hit in layer["labels"].values()} <= {"MA0083.3"}
    if change == "evalue":
        assert layer["match_any"] == 1
    # Now the cell is finished: nothing is left to do.
    assert again(changes[change]) == ([], 0)
    assert run_folder(store, A.id) == new


def test_a_changed_filter_rule_trains_nothing_again(again, finished, tmp_path, monkeypatch):
    untrained(monkeypatch)
    again({"motifs": {"preset": "as-written"}})
    store = tmp_path / "store"
    old, new = run_folder(finished, A.id), run_folder(store, A.id)
    assert (old / "model.keras").read_bytes() == (new / "model.keras").read_bytes()
    was, now = provenance(finished, A.id), provenance(store, A.id)
    assert was["keys"]["training"] == now["keys"]["training"]
    assert was["keys"]["filters"] != now["keys"]["filters"]
    found = read_filters(new / "filters.h5")["conv1"]
    assert found.maximum_kind == "achievable" and found.ppm.shape[1] == 9


def without_analysis(store: Path) -> None:
    """Change cell A into one of a version without an analysis."""
    path = place(store) / "done.json"
    done = json.loads(path.read_text())
    del done["keys"]["analysis"]
    for table in analysis.TABLES:
        del done["files"][f"{table}.csv"]
        (place(store) / done["run"] / f"{table}.csv").unlink()
    path.write_text(json.dumps(done))


@pytest.mark.parametrize("how", ["earlier version", "other settings"])
def test_analysing_again_repeats_nothing_else(again, finished, tmp_path, monkeypatch, how):
    untrained(monkeypatch)
    for name in ("extract_layers", "write_filters", "match_layers", "draw_layers"):
        monkeypatch.setattr(cell, name, lambda *_: pytest.fail("it did more than the analysis"))
    store, change = tmp_path / "store", {}
    if how == "earlier version":
        without_analysis(store)
    else:
        change = {"analysis": {"thresholds": [0.3, 0.9]}}
    study = load(str(study_file(tmp_path / "changed.yaml", change)))
    [state] = [s for s in plan(study, FolderStore(store)) if s.cell == A]
    why = (
        "is not computed yet" if how == "earlier version" else "settings, data or code have changed"
    )
    assert (state.state, state.reason) == ("outdated", f"its analysis {why}")
    assert again(change) == ([], 0)
    old, new = run_folder(finished, A.id), run_folder(store, A.id)
    assert old.name != new.name and {path.name for path in new.iterdir()} == FILES
    for name in FILES - {"log.txt", "metrics.json", "provenance.json", "sensitivity.csv"}:
        assert (old / name).read_bytes() == (new / name).read_bytes(), name
    same = (old / "sensitivity.csv").read_bytes() == (new / "sensitivity.csv").read_bytes()
    assert same == (how == "earlier version")
    assert results(finished, A.id)["metrics"] == results(store, A.id)["metrics"]
    was, now = provenance(finished, A.id), provenance(store, A.id)
    for key in ("trained_by", "device", "threads", "resumed_at_epochs"):
        assert was[key] == now[key]
    for stage in ("training", "filters", "matches", "logos"):
        assert was["stages"][stage] == now["stages"][stage]
    assert was["stages"]["analysis"] != now["stages"]["analysis"]
    assert again(change) == ([], 0) and run_folder(store, A.id) == new


def test_stopped_before_its_analysis(tiny, tmp_path, one_thread):
    store = tmp_path / "store"
    without_analysis(store)
    before = run_folder(store, A.id)
    with pytest.raises(Interrupted, match="stopped before the analysis"):
        cell.run(load(str(tiny)), A, FolderStore(store), threads=1, stop=lambda: True)
    assert run_folder(store, A.id) == before


def test_an_unknown_release_is_refused_before_training(again, here, tmp_path, monkeypatch):
    untrained(monkeypatch)
    change = {"analysis": {"databases": ["JASPAR1999"]}, "training": {"epochs": 3}}
    with pytest.raises(
        InputError, match=r"JASPAR1999: neither .* nor a JASPAR release \(JASPAR2014"
    ):
        again(change)
    study = study_file(tmp_path / "s.yaml", change)
    assert here("plan", study, "--store", tmp_path / "store")[0] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"epochs": 1}},
        {"training": {"epochs": 1}, "models": {"a": {"dense_dropout": 0.25}}},
        {"training": {"epochs": 1}, "seed": 4},
    ],
    ids=["training", "model", "seed"],
)
def test_changed_settings_train_again(again, finished, tmp_path, change):
    if "seed" in change:  # the data's seed too, so the data set is another
        from motifk8s.data import stored

        changed = load(str(study_file(tmp_path / "s.yaml", change)))
        stored.prepare(changed, "small", FolderStore(tmp_path / "store"))
    assert again(change)[1] == 1
    old, new = results(finished, A.id), results(tmp_path / "store", A.id)
    assert old["weights"] != new["weights"]


def test_a_new_label_or_title_repeats_nothing(again):
    label = {"title": "New", "models": {"a": {"label": "Model A"}}, "description": "x", "trials": 2}
    assert again(label) == ([], 0)


# What is damaged ------------------------------------------------------------------------------


@pytest.mark.parametrize("name, how", [("model.keras", "changed"), ("log.txt", "missing")])
def test_a_damaged_cell_is_computed_again_with_a_note(again, finished, tmp_path, name, how):
    path = run_folder(tmp_path / "store", A.id) / name
    path.unlink() if how == "missing" else path.write_bytes(path.read_bytes() + b" ")
    said, epochs = again()
    assert len(said) == 1 and name in said[0] and how in said[0] and "again" in said[0]
    assert epochs == 5
    assert results(tmp_path / "store", A.id) == results(finished, A.id)
    assert (
        "computing the cell again" in (run_folder(tmp_path / "store", A.id) / "log.txt").read_text()
    )


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "{}", '{"format": 1}', '{"format": 1, "keys": 3}',
             '{"format": 1, "keys": {}, "run": 7, "files": {}}'],
)  # fmt: skip
def test_a_damaged_marker(tiny, tmp_path, text):
    store = FolderStore(tmp_path / "store")
    (place(tmp_path / "store") / "done.json").write_text(text)
    with pytest.raises(DamagedError, match=r"done\.json is damaged"):
        marker.read_done(store, f"tiny/cells/{A.id}")


def test_a_marker_that_leads_out_of_the_store(tiny, tmp_path):
    path = place(tmp_path / "store") / "done.json"
    done = json.loads(path.read_text())
    path.write_text(json.dumps({**done, "run": "../../../../.."}))
    store = FolderStore(tmp_path / "store")
    where = f"tiny/cells/{A.id}"
    with pytest.raises(Problem):
        marker.check(store, where, marker.read_done(store, where))


def test_a_marker_of_a_future_format_is_refused(tiny, again, tmp_path):
    path = place(tmp_path / "store") / "done.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(Problem, match="format 2, this version reads 1: use the version that wrote"):
        again()
    assert '"format": 2' in path.read_text()


def test_filters_of_a_future_format_are_refused(finished, tmp_path):
    import h5py

    shutil.copy(run_folder(finished, A.id) / "filters.h5", tmp_path)
    with h5py.File(tmp_path / "filters.h5", "a") as file:
        file.attrs["format"] = 2
    with pytest.raises(Problem, match="format 2, this version reads 1"):
        read_filters(tmp_path / "filters.h5")


def test_a_broken_checkpoint_is_not_used(again, finished, tmp_path):
    (place(tmp_path / "store") / "done.json").unlink()
    (place(tmp_path / "store") / "checkpoint").write_bytes(b"PK\x03\x04 not really")
    assert again() == ([], 5)
    assert results(tmp_path / "store", A.id) == results(finished, A.id)


# Interruptions -------------------------------------------------------------------------------

KILL = """
import os, signal, sys
from motifk8s.cli.main import main
from motifk8s.store.files import replacing
from motifk8s.store.folder import FolderStore

os.environ["MOTIFK8S_CHECKPOINT_SECONDS"] = "0"
moment, *argv = sys.argv[1:]
write, upload = FolderStore.write, FolderStore.upload
checkpoints = 0

def half(self, path, data):
    with replacing(self.folder / path) as file:
        file.write(data[:len(data) // 2])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

def killing_write(self, path, data):
    global checkpoints
    if path.endswith("/checkpoint"):
        if moment == f"checkpoint {checkpoints}":
            half(self, path, data)
        checkpoints += 1
    if moment == "marker" and path.endswith("done.json"):
        half(self, path, data)
    write(self, path, data)

def killing_upload(self, file, path):
    if moment == "upload" and path.endswith("metrics.json"):
        half(self, path, file.read_bytes())
    upload(self, file, path)

FolderStore.write, FolderStore.upload = killing_write, killing_upload
sys.exit(main(argv))
"""


def start(finished, tmp_path) -> tuple[Path, Path]:
    """Make a store that has only the data set; return it and the study."""
    store = tmp_path / "store"
    shutil.copytree(finished / "datasets", store / "datasets")
    return store, finished.parent / "tiny.yaml"


@pytest.mark.parametrize(
    "moment, epochs",
    [("checkpoint 0", 0), ("checkpoint 2", 2), ("upload", 5), ("marker", 5)],
)
def test_killed_at_any_moment_the_same_command_gives_the_same_results(
    finished, tmp_path, here, moment, epochs
):
    store, study = start(finished, tmp_path)
    args = ["cell", study, A.id, "--threads", "1", "--store", store]
    killed = command(moment, *args, code=KILL, env={"TMPDIR": str(tmp_path)})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (place(store) / "done.json").exists()
    assert (place(store) / "checkpoint").exists() == (epochs > 0)
    started = here("plan", study, "--store", store)[1]
    assert ("started" in started) == (epochs > 0)

    code, _, _ = here(*args)
    assert code == 0
    assert results(store, A.id) == results(finished, A.id)
    assert provenance(store, A.id)["resumed_at_epochs"] == ([epochs] if epochs else [])
    log = (run_folder(store, A.id) / "log.txt").read_text()
    assert (f"resumed at epoch {epochs}" in log) == (epochs > 0)
    assert not (place(store) / "checkpoint").exists()
    # Files of the killed run do not count, and the store does not list them.
    assert not [path for path in FolderStore(store).list() if path.endswith(".tmp")]


TERMINATE = """
import os, signal, sys
from motifk8s.cli import terminal
from motifk8s.cli.main import main

show = terminal.Progress.__call__
terminal.SECONDS_BETWEEN_LINES = float("inf")

def terminating(self, event):
    show(self, event)
    if getattr(event, "number", None) == 2:
        os.kill(os.getpid(), signal.SIGTERM)

terminal.Progress.__call__ = terminating
sys.exit(main(sys.argv[1:]))
"""


def test_sigterm_saves_a_checkpoint_and_prints_one_line(finished, tmp_path, here):
    store, study = start(finished, tmp_path)
    args = ["cell", study, A.id, "--threads", "1", "--store", store]
    stopped = command(*args, code=TERMINATE)
    assert stopped.returncode == 75
    assert stopped.stdout == ""
    assert stopped.stderr.startswith(f"motifk8s: {A.id}: stopped in epoch 3; ")
    assert stopped.stderr.endswith(f"; {RESUME}\n") and stopped.stderr.count("\n") == 1
    assert sorted(p.name for p in place(store).iterdir()) == ["checkpoint", "progress.json"]
    assert json.loads((place(store) / "progress.json").read_text())["epochs"] == 5
    code, _, err = here(*args)
    assert code == 0
    assert re.fullmatch(r"small/a/1  AUROC 0\.\d{3}, .*, best epoch \d of 5, \d+ s\n", err)
    assert results(store, A.id) == results(finished, A.id)
    assert provenance(store, A.id)["resumed_at_epochs"] == [2]
    assert sorted(p.name for p in place(store).iterdir()) == ["done.json", "runs"]


# Failures -------------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_number(finished, tmp_path, here):
    store, _ = start(finished, tmp_path)
    hot = study_file(tmp_path / "hot.yaml", {"training": {"learning_rate": 1e30}})
    args = ["--store", store]
    code, _, err = here("cell", hot, A.id, *args)
    assert code == 1 and "not a number at epoch 1" in one_line(err)
    assert "lower training.learning_rate" in err
    failed = json.loads((place(store) / "failed.json").read_text())
    assert failed["format"] == 1 and "not a number" in failed["reason"]
    assert f"cell {A.id} of study tiny" in failed["log"][0] and len(failed["log"]) <= 20
    assert [p.name for p in place(store).iterdir()] == ["failed.json"]
    # With the cause fixed, the cell succeeds and failed.json is deleted.
    assert here("cell", finished.parent / "tiny.yaml", A.id, *args)[0] == 0
    assert not (place(store) / "failed.json").exists()
    assert results(store, A.id) == results(finished, A.id)


def test_an_unreadable_database_is_refused_before_training(again, tmp_path, monkeypatch):
    untrained(monkeypatch)
    (tmp_path / "bad.meme").write_text("this is not MEME\n")
    with pytest.raises(InputError, match=r"bad\.meme"):
        again({"matches": {"database": str(tmp_path / "bad.meme")}, "training": {"epochs": 3}})


def test_disk_full_while_publishing(tiny, again, tmp_path, monkeypatch):
    import errno
    import os

    before = (place(tmp_path / "store") / "done.json").read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Problem, match="no space left on its disk; free some and run the same"):
        again({"matches": {"evalue": 1}})
    assert (place(tmp_path / "store") / "done.json").read_bytes() == before
    assert not list((tmp_path / "store").rglob("*.tmp"))


def test_disk_full_in_the_temporary_folder(again, monkeypatch):
    import errno

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cell, "write_filters", full)
    with pytest.raises(Problem, match="no space left on its disk"):
        again({"motifs": {"preset": "as-written"}})


# Pieces ---------------------------------------------------------------------------------------


def test_layer_motifs_are_of_living_filters_and_trimmed_as_the_rule_says(finished):
    import numpy as np

    from motifk8s.filters.extract import Filters

    sharp, flat = np.eye(4)[[0, 1, 2]], np.full((8, 4), 0.25)
    ppm = np.concatenate([flat, sharp, flat])[None].repeat(2, axis=0).astype(np.float32)
    found = Filters(ppm, np.array([7, 0]), np.array([1.0, 0]), "observed", np.array([False, True]))
    [run] = layer_motifs.layer_motifs(found, MotifSettings.model_validate({"preset": "as-run"}))
    assert run.name == "filter0" and len(run.ppm) == 3 + 3 + 3 and run.nsites == 9
    [written] = layer_motifs.layer_motifs(
        found, MotifSettings.model_validate({"preset": "as-written"})
    )
    assert len(written.ppm) == 19 and written.nsites == 7


def test_keys_depend_on_the_stage_and_those_before_it(finished, tmp_path):
    def keys(change):
        return stage_keys(load(str(study_file(tmp_path / "k.yaml", change))), A, "hash")

    base = keys({})
    for change, first in [
        ({"analysis": {"sequences": 9}}, "analysis"),
        ({"matches": {"evalue": 1}}, "matches"),
        ({"motifs": {"threshold": 0.6}}, "filters"),
        ({"training": {"l2": 1e-5}}, "training"),
    ]:
        changed = [stage for stage in base if keys(change)[stage] != base[stage]]
        assert changed == list(base)[list(base).index(first) :]
    assert keys({"title": "x", "trials": 3, "expected": []}) == base
