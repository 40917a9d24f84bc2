"""Data sets in the store: made once, shared, checked at each reading."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.tiny import one_line, study_file

from motifk8s.data import datasets, stored
from motifk8s.errors import InputError, Problem
from motifk8s.store.folder import FolderStore
from motifk8s.study.study import load


@pytest.fixture
def study(tmp_path):
    return load(str(study_file(tmp_path / "tiny.yaml")))


@pytest.fixture
def store(study, tmp_path):
    """A store with the data set."""
    store = FolderStore(tmp_path / "store")
    stored.prepare(study, "small", store)
    return store


def reference_layout(path: Path, n: int = 20, classes: int = 2, length: int = 40, **labels) -> Path:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for part in ("train", "valid", "test"):
            codes = rng.integers(0, 4, (n, length))
            file[f"X_{part}"] = np.eye(4, dtype=np.float32)[codes].transpose(0, 2, 1)
            y = np.arange(n * classes).reshape(n, classes) % 3 == 0
            file[f"Y_{part}"] = labels.get(part, y.astype(np.float32))
    return path


def from_file(tmp_path, path, **more) -> Path:
    spec = {"kind": "file", "path": str(path), "length": 40, "classes": {"A": [], "B": []}, **more}
    change = {"datasets": {"small": None, "own": spec}}
    return study_file(tmp_path / "own.yaml", change)


def empty(store: Path) -> bool:
    return not store.exists() or not [p for p in store.rglob("*") if p.is_file()]


# Making ---------------------------------------------------------------------------------------


def test_made_once_and_described(study, store, monkeypatch):
    [marker, file] = sorted(Path(store.url).rglob("*.*"), key=lambda p: p.suffix, reverse=True)[:2]
    assert {marker.name, file.name} == {"done.json", "data.h5"}
    assert json.loads((file.parent / "done.json").read_text())["format"] == 1
    monkeypatch.setattr(datasets, "synthesize", lambda *_: pytest.fail("made it again"))
    facts = stored.prepare(study, "small", store)
    assert facts["sequences"] == {"train": 100, "valid": 50, "test": 50}
    assert facts["length"] == 40 and set(facts["positives"]) == {"SRF", "MAX"}


def test_same_seed_same_bytes(study, store, tmp_path):
    other = FolderStore(tmp_path / "other")
    stored.prepare(study, "small", other)
    assert store.list() == other.list()
    for path in store.list():
        assert store.read(path) == other.read(path)


def test_the_description_of_the_data_decides_the_place(study, tmp_path):
    def place(*changes):
        return stored.place(load(str(study_file(tmp_path / "x.yaml", *changes))), "small")

    def changed(**spec):
        return {"datasets": {"small": spec}}

    same = [
        {"name": "another", "trials": 7, "training": {"epochs": 9}},
        changed(training={"epochs": 3}),
        changed(classes={"SRF": ["MA0083.3", "MA0052.3"]}),  # The second id is only for matching.
    ]
    for change in same:
        assert place(change) == stored.place(study, "small")
    others = [
        {"seed": 4},
        changed(length=41),
        changed(n_sequences=201),
        changed(classes={"SRF": ["MA0052.3"]}),
    ]
    places = {place(change) for change in others}
    assert len(places) == 4 and stored.place(study, "small") not in places


def test_no_such_data_set(study, store, tmp_path, here):
    code, _, err = here("dataset", tmp_path / "tiny.yaml", "smal", "--store", tmp_path / "s")
    assert code == 2 and "no data set 'smal'; it has small" in one_line(err)


def test_disk_full(tmp_path, study, here, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = here("dataset", tmp_path / "tiny.yaml", "--store", tmp_path / "store")
    assert code == 1 and "no space left" in one_line(err).lower()
    assert empty(tmp_path / "store")


# Reading --------------------------------------------------------------------------------------


def spoil(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "garbage":
        path.write_bytes(b"not HDF5 at all")
    else:  # A good file that is not the marker's.
        whole = datasets.read(path)
        codes = whole.codes.copy()
        codes[0, 0] = (codes[0, 0] + 1) % 4
        datasets.write(
            datasets.Dataset(codes, whole.labels, whole.split, whole.classes, whole.embedded),
            path,
            None,
        )


@pytest.mark.parametrize("how", ["gone", "truncated", "garbage", "another"])
def test_a_damaged_data_set_is_rejected_until_made_again(study, store, tmp_path, here, how):
    good = stored.load_dataset(study, "small", store)
    file = Path(store.url) / stored.place(study, "small") / "data.h5"
    spoil(file, how)
    with pytest.raises(Problem, match=r"make it again: motifk8s dataset STUDY\.yaml small --again"):
        stored.load_dataset(study, "small", store)
    args = [tmp_path / "tiny.yaml", "--store", store.url]
    code, _, err = here("dataset", *args)
    assert code == 1 and "--again" in one_line(err)
    code, _, err = here("run", *args)  # One message for all cells, and none starts.
    assert code == 3 and err.count("--again") == 1 and "Traceback" not in err
    assert not store.list("tiny/cells")
    assert here("dataset", *args, "--again")[0] == 0
    assert stored.load_dataset(study, "small", store).data_hash == good.data_hash


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "damaged"),
        ("[]", "damaged"),
        ('{"format": 1}', "damaged"),
        ('{"format": 2, "data_hash": "0"}', "has format 2, this version reads 1: use the version"),
    ],
)
def test_a_marker_that_cannot_be_read(study, store, tmp_path, here, text, reason):
    marker = Path(store.url) / stored.place(study, "small") / "done.json"
    marker.write_text(text)
    for command in ("plan", "run", "aggregate", "dataset"):
        code, _, err = here(command, tmp_path / "tiny.yaml", "--store", store.url)
        assert code == 1 and reason in one_line(err)
    assert marker.read_text() == text
    with pytest.raises(Problem, match=reason.split(":")[0]):
        stored.data_hash(study, "small", store)


def test_absent(study, tmp_path):
    nothing = FolderStore(tmp_path / "nothing")
    assert stored.data_hash(study, "small", nothing) is None
    with pytest.raises(InputError, match=r"not in the store; make it: motifk8s dataset STUDY"):
        stored.load_dataset(study, "small", nothing)


# Files of the user ----------------------------------------------------------------------------


def test_a_file_of_the_reference_layout(tmp_path, here):
    study = from_file(tmp_path, reference_layout(tmp_path / "own.h5"))
    code, out, _ = here("dataset", study, "--store", tmp_path / "store")
    assert code == 0 and "20 training, 20 validation, 20 test sequences of 40 bp" in out
    loaded = stored.load_dataset(load(str(study)), "own", FolderStore(tmp_path / "store"))
    assert loaded.classes == ("A", "B") and len(loaded.codes) == 60


def test_unknown_bases_are_counted(tmp_path, here):
    path = reference_layout(tmp_path / "own.h5")
    with h5py.File(path, "a") as file:
        file["X_test"][3, :, 5] = 0
    code, out, _ = here("dataset", from_file(tmp_path, path), "--store", tmp_path / "store")
    assert code == 0 and "1 with N" in out


def missing(path):
    path.unlink()


def truncated(path):
    path.write_bytes(path.read_bytes()[:3000])


def without_positives(path):
    labels = np.zeros((20, 2), np.float32)
    labels[::2, 0] = 1
    reference_layout(path, train=labels)


@pytest.mark.parametrize(
    "how, reason",
    [
        (missing, "no such data set file"),
        (truncated, "not an HDF5 file, or truncated or damaged"),
        (without_positives, "class B has no positive sequence in the train part"),
        (lambda path: reference_layout(path, classes=3), "has 3 classes"),
        (lambda path: reference_layout(path, length=30), "30 bp, but data set own"),
    ],
    ids=["missing", "truncated", "without positives", "classes", "length"],
)
def test_a_bad_file_leaves_nothing(tmp_path, here, how, reason):
    path = reference_layout(tmp_path / "own.h5")
    how(path)
    study, store = from_file(tmp_path, path), tmp_path / "store"
    code, _, err = here("dataset", study, "--store", store)
    assert code == 2
    assert "own.h5" in one_line(err) and reason in err
    assert empty(store)
    code, _, err = here("run", study, "--store", store)  # Nothing is trained.
    assert code == 3 and reason in err and "Traceback" not in err
    assert not (store / "tiny/cells").exists()


# Data that only the user can bring ------------------------------------------------------------

IMPORT = (
    "import it: motifk8s import deepsea --study koo2019, or "
    "motifk8s dataset koo2019 invivo --from FILE"
)


def test_data_that_cannot_be_made_must_be_imported(tmp_path, here):
    store = tmp_path / "store"
    code, _, err = here("dataset", "koo2019", "invivo", "--store", store)
    assert code == 2
    assert IMPORT in one_line(err)
    assert empty(store)
    code, _, err = here("dataset", "koo2019", "--from", "x.h5", "--store", store)
    assert code == 2 and "say which data set x.h5 is: synthetic, invivo" in one_line(err)
    code, _, err = here("dataset", "koo2019", "invivo", "--from", "x.h5", "--store", store)
    assert code == 2 and "x.h5: no such data set file" in one_line(err)


def test_without_a_bundle_the_error_names_the_command_that_imports_it(tmp_path, here, monkeypatch):
    monkeypatch.setenv("MOTIFK8S_DEEPSEA", str(tmp_path / "bundle.tar.gz"))
    code, _, err = here("dataset", "koo2019", "invivo", "--store", tmp_path / "store")
    assert code == 2 and empty(tmp_path / "store")
    assert "bundle.tar.gz" in one_line(err) and IMPORT in err


def test_the_plan_names_the_command(tmp_path, here):
    code, out, _ = here("plan", "koo2019", "--store", tmp_path / "store")
    assert code == 0
    assert out.count(IMPORT) == 1
    assert "invivo/cnn-1/1 and 84 more" in out and "synthetic/" not in out
