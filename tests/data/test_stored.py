"""Data sets in the store: made once, shared, checked at each reading."""

from __future__ import annotations

# ruff: noqa: F811 (fixtures are imported)
import errno
import hashlib
import json
import os
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.stores import aws, moto_url, s3  # noqa: F401
from helpers.tiny import command, one_line, study_file

from motifk8s.cells import clean as cleaning
from motifk8s.cells.events import Begun, Note
from motifk8s.cells.keys import cell_folder, stage_keys
from motifk8s.cells.plan import keep_study, plan
from motifk8s.cells.run import run_study
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
    with pytest.raises(
        Problem, match=r"make it again: motifk8s dataset STUDY\.yaml small --again --store /"
    ):
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
    for name in ("plan", "run", "aggregate", "dataset"):
        code, _, err = here(name, tmp_path / "tiny.yaml", "--store", store.url)
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


@pytest.mark.parametrize("place", ["none.h5", "s3://bucket/none.h5"])
def test_the_plan_says_that_a_file_cannot_be_read(tmp_path, here, request, place):
    if place.startswith("s3://"):
        request.getfixturevalue("s3")
    path, store = from_file(tmp_path, place), tmp_path / "store"
    file = place if place.startswith("s3://") else tmp_path / place
    code, out, _ = here("plan", path, "--store", store)
    reason = (
        f"data set own is not in the store, and {file} cannot be read; correct path in the study, "
        f"or give the file: motifk8s dataset STUDY.yaml own --from FILE.h5 --store {store}"
    )
    assert code == 0 and f"missing: own/a/1 and 1 more: {reason}" in out
    # The printed command gives the file.
    reference_layout(tmp_path / "FILE.h5")
    assert here("dataset", path, "own", "--from", tmp_path / "FILE.h5", "--store", store)[0] == 0
    code, out, _ = here("plan", path, "--store", store)
    assert code == 0 and "cannot be read; correct" not in out


# Identity by content --------------------------------------------------------------------------


def mark_done(study, store) -> None:
    """Write a marker of every cell, as if each had run on the present data."""
    for cell in study.cells():
        content = stored.data_hash(study, cell.dataset, store)
        marker = {"keys": stage_keys(study, cell, content), "run": "runs/a", "files": {}}
        store.write_json(f"{cell_folder(study, cell)}/done.json", {"format": 1, **marker})


def states(path, store) -> set[tuple[str, str]]:
    return {(state.state, state.reason) for state in plan(load(str(path)), store)}


@pytest.fixture
def own(tmp_path, here):
    """The path of a study whose data are a file, own.h5, and its store, where all is done."""
    path = from_file(tmp_path, reference_layout(tmp_path / "own.h5"))
    store = FolderStore(tmp_path / "store")
    assert here("dataset", path, "--store", store.url)[0] == 0
    mark_done(load(str(path)), store)
    assert states(path, store) == {("done", "")}
    return path, store


def flip(path: Path) -> None:
    """Change one label of a file, and neither its size nor its date."""
    before = path.stat()
    with h5py.File(path, "a") as file:
        file["Y_train"][0, 0] = 1 - file["Y_train"][0, 0]
    with open(path, "r+b") as file:
        file.truncate(before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_run_says_that_a_file_has_changed(own, tmp_path, monkeypatch):
    path, store = own
    reference_layout(tmp_path / "own.h5", n=30)
    events, ran = [], []
    monkeypatch.setattr("motifk8s.cells.run.run_in_parallel", lambda *args: ran.append(args))
    run_study(load(str(path)), store, events.append, jobs=1)
    text = f"{tmp_path / 'own.h5'} has changed since data set own was made; importing it"
    assert events == [Note("own", text), Begun(2)]
    [(study, cells, *_)] = ran
    assert len(cells) == 2 and len(stored.load_dataset(study, "own", store).codes) == 90
    (tmp_path / "own.h5").unlink()  # The workers know what they run.
    assert len(stored.load_dataset(study, "own", store).codes) == 90


@pytest.mark.parametrize("how", [lambda path: reference_layout(path, n=200), flip])
def test_a_file_that_changes_makes_its_cells_outdated(own, tmp_path, here, how):
    path, store = own
    file = tmp_path / "own.h5"
    old = file.read_bytes()
    how(file)
    changed = f"{file} has changed since data set own was made"
    assert states(path, store) == {("outdated", changed)}
    code, out, _ = here("plan", path, "--store", store.url)
    assert code == 0 and changed in out
    code, out, _ = here("dataset", path, "--store", store.url)
    assert code == 0 and f"{changed}; importing it" in out
    assert states(path, store) == {("outdated", "its training settings, data or code have changed")}
    loaded = stored.load_dataset(load(str(path)), "own", store)
    assert loaded.data_hash == datasets.read(file, ["A", "B"]).data_hash
    file.write_bytes(old)
    assert states(path, store) == {("done", "")}


def test_the_marker_has_size_and_hash_of_the_file(own, tmp_path):
    path, store = own
    place = stored.place(load(str(path)), "own")
    marker = json.loads(store.read(f"{place}/done.json"))
    content = (tmp_path / "own.h5").read_bytes()
    assert marker["source"] == {
        "path": str(tmp_path / "own.h5"),
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_a_moved_study_finds_its_data(own, tmp_path, monkeypatch):
    path, store = own
    (tmp_path / "moved").mkdir()
    for name in ("own.h5", path.name):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    text = path.parent.joinpath("moved", path.name).read_text()
    (tmp_path / "moved" / path.name).write_text(text.replace(str(tmp_path / "own.h5"), "own.h5"))
    assert states(tmp_path / "moved" / path.name, store) == {("done", "")}


def test_two_users_of_one_path_do_not_share_data(own, tmp_path, here):
    path, store = own
    first = stored.load_dataset(load(str(path)), "own", store).data_hash
    theirs = from_file(tmp_path, tmp_path / "own.h5").rename(tmp_path / "theirs.yaml")
    theirs.write_text(theirs.read_text().replace('"tiny"', '"theirs"'))
    from_file(tmp_path, tmp_path / "own.h5")
    mine = (tmp_path / "own.h5").read_bytes()
    reference_layout(tmp_path / "own.h5", n=30)
    pinned = stored.pinned(load(str(theirs)), store)
    assert here("dataset", theirs, "--store", store.url)[0] == 0
    assert len(stored.load_dataset(pinned, "own", store).codes) == 90
    (tmp_path / "own.h5").write_bytes(mine)
    assert stored.load_dataset(load(str(path)), "own", store).data_hash == first
    assert len(stored.load_dataset(pinned, "own", store).codes) == 90
    (tmp_path / "own.h5").unlink()  # Nothing says which of the two it was.
    code, _, err = here("plan", path, "--store", store.url)
    assert code == 2 and "several data sets from this path" in one_line(err)
    assert pinned.datasets["own"].sha256 in err and "give one as sha256" in err


def test_a_file_that_is_gone_leaves_its_data(own, tmp_path, caplog):
    path, store = own
    (tmp_path / "own.h5").unlink()
    assert states(path, store) == {("done", "")}
    assert "own.h5 cannot be read; using datasets/own-" in caplog.text


def test_a_file_is_hashed_once_in_a_process(own, tmp_path, monkeypatch):
    path, store = own
    reference_layout(tmp_path / "own.h5", n=30)
    hashed = []
    whole = stored.sha256_of
    monkeypatch.setattr(stored, "sha256_of", lambda file: (hashed.append(file), whole(file))[1])
    for _ in range(3):
        states(path, store)
    assert hashed == [tmp_path / "own.h5"]


@pytest.mark.parametrize("given", ["path", "--from"])
def test_a_file_that_is_not_the_one_that_the_study_means(tmp_path, here, given):
    reference_layout(tmp_path / "own.h5")
    reference_layout(tmp_path / "other.h5", n=30)
    if given == "path":
        path, more = from_file(tmp_path, tmp_path / "own.h5", sha256="0" * 64), []
    else:
        path, more = from_file(tmp_path, tmp_path / "own.h5"), ["own", "--from", "other.h5"]
        more[2] = str(tmp_path / "other.h5")
    code, _, err = here("dataset", path, *more, "--store", tmp_path / "store")
    assert code == 2 and "is not the file of data set own" in one_line(err)
    assert empty(tmp_path / "store")


def test_a_pinned_study_needs_no_file(own, tmp_path):
    path, store = own
    text = keep_study(load(str(path)), store)
    (tmp_path / "own.h5").unlink()
    kept = load(text)
    assert {state.state for state in plan(kept, store)} == {"done"}
    assert len(stored.load_dataset(kept, "own", store).codes) == 60


def file_as_before(study, store, name="own") -> None:
    """Move a data set to the place where earlier versions kept it, with their marker."""
    found = stored.find(study, name, store)
    old = stored._old_place(study, name)
    store.write(f"{old}/data.h5", store.read(found.path))
    marker = json.loads(store.read(f"{found.place}/done.json"))
    kept = {key: marker[key] for key in ("format", "data_hash", "sequences")}
    store.write_json(f"{old}/done.json", kept)
    store.delete(found.place)


def test_an_old_store_of_a_file_is_matched_by_content(own, tmp_path, here):
    path, store = own
    study = load(str(path))
    file_as_before(study, store)
    assert states(path, store) == {("done", "")}
    assert not stored.is_ready(study, "own", store)  # Pods without the file do not find it yet.
    assert here("dataset", path, "--store", store.url)[0] == 0
    assert stored.is_ready(study, "own", store) and states(path, store) == {("done", "")}
    for folder in ("datasets/" + p.name for p in (tmp_path / "store/datasets").glob("own-*")):
        if folder != stored._old_place(study, "own"):
            store.delete(folder)
    reference_layout(tmp_path / "own.h5", n=30)
    [(state, reason)] = states(path, store)
    assert state == "outdated" and "own.h5 has changed" in reason


def test_the_order_of_classes_is_part_of_the_content(study, store, tmp_path):
    swapped = {name: [ids] for name, ids in (("MAX", "MA0058.3"), ("SRF", "MA0083.3"))}
    text = json.loads((tmp_path / "tiny.yaml").read_text())
    text["datasets"]["small"]["classes"] = swapped
    (tmp_path / "swapped.yaml").write_text(json.dumps(text))
    other = load(str(tmp_path / "swapped.yaml"))
    for each in (study, other):
        file_as_before(study, store, "small") if each is study else None
        assert stored.is_ready(each, "small", store) == (each is study)
    stored.prepare(other, "small", store)
    assert stored.load_dataset(other, "small", store).classes == ("MAX", "SRF")
    assert stored.load_dataset(study, "small", store).classes == ("SRF", "MAX")


def test_a_file_in_a_bucket_that_changes(s3, tmp_path):
    url = f"{s3.url}/own.h5"
    path = from_file(tmp_path, url)
    study = load(str(path))
    for n, upload in ((20, s3.upload), (30, s3.upload), (40, upload_as_others_do(s3))):
        upload(reference_layout(tmp_path / "own.h5", n=n), "own.h5")
        assert not stored.is_ready(study, "own", s3)
        assert bool(stored.change(study, "own", s3)) == (n > 20)
        stored.prepare(study, "own", s3)
        assert len(stored.load_dataset(study, "own", s3).codes) == 3 * n


def upload_as_others_do(s3):  # noqa: F811
    """Return a function that uploads a file without its SHA-256."""

    def upload(file: Path, path: str) -> None:
        s3._client.put_object(Bucket=s3.bucket, Key=s3._key(path), Body=file.read_bytes())

    return upload


# Killed in between ----------------------------------------------------------------------------

KILL = """
import os, signal, sys
from motifk8s.cli.main import main
from motifk8s.store import files, folder

moment, *argv = sys.argv[1:]
replace, count = os.replace, 0

def killing(source, target):
    global count
    when, _, number = moment.partition(" ")
    if "/datasets/" in str(target):
        if when == "before" and count == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if when == "after" and count == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
    else:
        replace(source, target)

os.replace = killing
sys.exit(main(argv))
"""


@pytest.mark.parametrize("moment", ["before 0", "after 0", "before 1", "after 1"])
@pytest.mark.parametrize("other", [False, True], ids=["again", "from"])
def test_killed_while_data_are_replaced_they_are_whole(study, store, tmp_path, moment, other, here):
    mark_done(study, store)
    old = stored.load_dataset(study, "small", store)
    codes = old.codes[:, ::-1].copy()
    new = datasets.Dataset(codes, old.labels, old.split, old.classes)
    datasets.write(new, tmp_path / "new.h5", None)
    args = ["dataset", tmp_path / "tiny.yaml", "small", "--store", store.url]
    args += ["--from", tmp_path / "new.h5"] if other else ["--again"]
    killed = command(moment, *args, code=KILL)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    expected = new.data_hash if other and moment == "after 1" else old.data_hash
    assert stored.load_dataset(study, "small", store).data_hash == expected
    done = (
        {("done", "")}
        if expected == old.data_hash
        else {("outdated", "its training settings, data or code have changed")}
    )
    assert states(tmp_path / "tiny.yaml", store) == done
    assert here(*args)[0] == 0
    wanted = new.data_hash if other else old.data_hash
    assert stored.load_dataset(study, "small", store).data_hash == wanted
    found = cleaning.find(study, store, now=time.time() + 2 * cleaning.YOUNG)
    kinds = [leftover.kind for leftover in found.leftovers]
    assert kinds.count("unfinished file") == moment.startswith("before")
    assert kinds.count("data file") == other
    assert all(cleaning.remove(store, leftover) for leftover in found.leftovers)
    left = [path.name for path in Path(store.url, "datasets").rglob("*") if path.is_file()]
    assert len(left) == 2 and "done.json" in left
    assert stored.load_dataset(study, "small", store).data_hash == wanted


# Data that only the user can bring ------------------------------------------------------------


def imports(store: Path) -> str:
    """The commands that import DeepSEA's data into a store."""
    return (
        f"import it: motifk8s import deepsea --study koo2019 --store '{store}', or "
        f"motifk8s dataset koo2019 invivo --from FILE.h5 --store '{store}'"
    )


def test_data_that_cannot_be_made_must_be_imported(tmp_path, here):
    store = tmp_path / "my store"
    code, _, err = here("dataset", "koo2019", "invivo", "--store", store)
    assert code == 2
    assert imports(store) in one_line(err)
    assert empty(store)
    code, _, err = here("dataset", "koo2019", "--from", "x.h5", "--store", store)
    assert code == 2 and "say which data set x.h5 is: synthetic, invivo" in one_line(err)
    code, _, err = here("dataset", "koo2019", "invivo", "--from", "x.h5", "--store", store)
    assert code == 2 and "x.h5: no such data set file" in one_line(err)


def test_without_a_bundle_the_error_names_the_command_that_imports_it(tmp_path, here, monkeypatch):
    monkeypatch.setenv("MOTIFK8S_DEEPSEA", str(tmp_path / "bundle.tar.gz"))
    store = tmp_path / "my store"
    code, _, err = here("dataset", "koo2019", "invivo", "--store", store)
    assert code == 2 and empty(store)
    assert "bundle.tar.gz" in one_line(err) and imports(store) in err


def test_the_plan_names_the_command(tmp_path, here):
    store = tmp_path / "my store"
    code, out, _ = here("plan", "koo2019", "--store", store)
    assert code == 0
    assert out.count(imports(store)) == 1
    assert "invivo/cnn-1/1 and 89 more" in out and "synthetic/" not in out
