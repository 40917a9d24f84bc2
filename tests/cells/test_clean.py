"""What clean deletes, and what it keeps."""

# ruff: noqa: F811 (fixtures are imported)

from __future__ import annotations

import argparse
import json
import os
import time

import pytest
from helpers.stores import aws, leave_unfinished, moto_url, s3, store  # noqa: F401
from helpers.tiny import study_file
from hypothesis import given, settings
from hypothesis import strategies as st

from motifk8s.cells import clean as cleaning
from motifk8s.cells.keys import cell_folder, stage_keys
from motifk8s.cli.clean import register
from motifk8s.data import stored
from motifk8s.errors import Problem
from motifk8s.store.folder import FolderStore
from motifk8s.study.study import load

LATER = 2 * cleaning.YOUNG  # seconds after which no run is young


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return load(str(study_file(tmp_path_factory.mktemp("study") / "tiny.yaml", {"trials": 2})))


@pytest.fixture
def ready(store, study):
    """Make a store with the marker of the study's data set; nothing else of it is read."""
    return with_data(store, study)


def with_data(store, study):  # noqa: F811
    marker = {"format": 1, "data_hash": "0" * 64}
    store.write(f"{stored.place(study, 'small')}/done.json", json.dumps(marker).encode())
    return store


def finish(store, study, n, run="runs/last", changes=None):  # noqa: F811
    """Write the marker of a cell and the run that it names."""
    cell = study.cells()[n]
    place = cell_folder(study, cell)
    store.write(f"{place}/{run}/metrics.json", b"{}")
    keys = stage_keys(study, cell, "0" * 64)
    marker = {"format": 1, "keys": keys, "run": run, "files": {"metrics.json": "f" * 64}}
    store.write(f"{place}/done.json", json.dumps({**marker, **(changes or {})}).encode())
    return place


def leave(store, place, *names):  # noqa: F811
    for name in names:
        store.write(f"{place}/{name}", b"12345")


def clean(store, study, **options):
    """Find and remove leftovers; return the deleted paths."""
    found = cleaning.find(study, store, now=time.time() + LATER, **options)
    assert all(cleaning.remove(store, leftover) for leftover in found.leftovers)
    return [leftover.path for leftover in found.leftovers]


def test_leftovers_of_a_finished_cell(ready, study):
    place = finish(ready, study, 0)
    leave(ready, place, "checkpoint", "progress.json", "runs/old/metrics.json", "runs/old/log.txt")
    before = set(ready.list())
    found = cleaning.find(study, ready, now=time.time() + LATER)
    assert {(o.kind, o.path, o.size) for o in found.leftovers} == {
        ("checkpoint", f"{place}/checkpoint", 5),
        ("progress file", f"{place}/progress.json", 5),
        ("run", f"{place}/runs/old", 10),
    }
    assert found.young == found.damaged == []
    assert set(ready.list()) == before, "finding deletes nothing"
    clean(ready, study)
    kept = {f"{place}/done.json", f"{place}/runs/last/metrics.json"}
    assert set(ready.list(place)) == kept
    assert clean(ready, study) == []


def test_names_with_the_same_prefix(ready, study):
    place = finish(ready, study, 0, run="runs/a1")
    leave(ready, place, "runs/a/log.txt", "runs/a12/log.txt", "checkpoint.txt", "failed.json")
    assert sorted(clean(ready, study)) == [f"{place}/runs/a", f"{place}/runs/a12"]


def test_an_unfinished_cell_keeps_its_checkpoint_by_default(ready, study):
    place = cell_folder(study, study.cells()[0])
    leave(ready, place, "checkpoint", "progress.json", "failed.json")
    assert clean(ready, study) == []
    assert len(clean(ready, study, all_checkpoints=True)) == 2
    assert ready.list(place) == [f"{place}/failed.json"]


def test_a_checkpoint_next_to_an_outdated_marker_is_kept(ready, study):
    place = finish(ready, study, 0, changes={"keys": {"training": "of other settings"}})
    leave(ready, place, "checkpoint", "runs/old/log.txt")
    assert clean(ready, study) == [f"{place}/runs/old"]
    assert clean(ready, study, all_checkpoints=True) == [f"{place}/checkpoint"]


def test_cells_that_the_study_no_longer_has(ready, study):
    there = f"{study.name}/cells/small/gone/1"
    leave(ready, there, "checkpoint", "runs/a/log.txt")
    assert clean(ready, study) == [f"{there}/runs/a"]


def test_other_files_stay(ready, study):
    others = ["tiny/studies/0a1b.json", "tiny/tables/results.csv", "tiny/report.html"]
    others += ["other/cells/small/a/1/checkpoint", "other/cells/small/a/1/runs/a/log.txt"]
    for path in others:
        ready.write(path, b"")
    assert clean(ready, study, all_checkpoints=True) == []


def test_a_run_that_may_still_upload_is_kept(ready, study):
    place = cell_folder(study, study.cells()[0])
    leave(ready, place, "runs/new/metrics.json")
    now = ready.infos(place)[f"{place}/runs/new/metrics.json"].modified
    for seconds, young in ((0, True), (3599, True), (3601, False)):
        found = cleaning.find(study, ready, now=now + seconds)
        assert found.young == [f"{place}/runs/new"] * young
        assert len(found.leftovers) == (not young)


DAMAGES = [
    ({"run": "runs"}, "its run is 'runs'"),
    ({"run": "runs/last/.."}, "damaged"),
    ({"run": "runs/.."}, "its run is 'runs/..'"),
    ({"run": ""}, "its run is ''"),
    ({"run": 3}, "damaged"),
    ({"files": {"metrics.json": "f", "model.keras": "f"}}, "model.keras is missing"),
]


@pytest.mark.parametrize(("changes", "says"), [*DAMAGES, (None, "damaged")])
def test_a_cell_with_a_damaged_marker_is_skipped(ready, study, changes, says):
    place = finish(ready, study, 0, changes=changes)
    if changes is None:
        ready.write(f"{place}/done.json", b"{")
    leave(ready, place, "checkpoint", "runs/old/log.txt")
    other = finish(ready, study, 1)
    leave(ready, other, "checkpoint")
    found = cleaning.find(study, ready, all_checkpoints=True, now=time.time() + LATER)
    assert [o.path for o in found.leftovers] == [f"{other}/checkpoint"]
    [text] = found.damaged
    assert place in text and says in text and "\n" not in text


@pytest.mark.parametrize("to", ["runs/old", "nonsense", "nothing"])
def test_a_marker_that_changes_after_it_was_read(ready, study, to):
    place = finish(ready, study, 0)
    leave(ready, place, "checkpoint", "runs/old/log.txt")
    found = cleaning.find(study, ready, now=time.time() + LATER)
    if to == "nothing":
        ready.delete(f"{place}/done.json")
    elif to == "nonsense":
        ready.write(f"{place}/done.json", b"{")
    else:
        finish(ready, study, 0, run=to)
    before = ready.list()
    assert len(found.leftovers) == 2
    assert not any(cleaning.remove(ready, leftover) for leftover in found.leftovers)
    assert ready.list() == before


def test_a_first_marker_that_is_written_after_the_search(ready, study):
    place = cell_folder(study, study.cells()[0])
    leave(ready, place, "runs/last/metrics.json")
    found = cleaning.find(study, ready, now=time.time() + LATER)
    finish(ready, study, 0)
    assert [cleaning.remove(ready, leftover) for leftover in found.leftovers] == [False]
    assert ready.exists(f"{place}/runs/last/metrics.json")


def test_a_marker_that_is_written_between_listing_and_reading(ready, study, monkeypatch):
    place = cell_folder(study, study.cells()[0])
    leave(ready, place, "checkpoint")
    infos = ready.infos

    def then_finish(path=""):
        found = infos(path)
        finish(ready, study, 0)
        return found

    monkeypatch.setattr(ready, "infos", then_finish)
    found = cleaning.find(study, ready, now=time.time() + LATER)
    assert found.damaged == []
    assert [o.path for o in found.leftovers] == [f"{place}/checkpoint"]


def test_what_killed_processes_left(ready, study):
    place = finish(ready, study, 0)
    folders = [place, f"{place}/runs/last", stored.place(study, "small"), f"{study.name}/tables"]
    for folder in [*folders, "other/cells/small/a/1"]:
        ready.write(f"{folder}/x", b"")
        leave_unfinished(ready, f"{folder}/big")
    before = ready.list()
    now = cleaning.find(study, ready)
    assert now.leftovers == [] and len(now.young) == len(folders)
    found = cleaning.find(study, ready, now=time.time() + LATER)
    assert {o.kind for o in found.leftovers} == {"unfinished file"}
    assert len(clean(ready, study)) == len(folders) and clean(ready, study) == []
    assert ready.list() == before
    assert len(list(ready.unfinished("other"))) == 1, "that of another study stays"


def test_data_that_no_marker_names(ready, study):
    mine = stored.place(study, "small")
    marker = {"format": 1, "data_hash": "0" * 64, "file": "data-0123456789ab.h5"}
    ready.write(f"{mine}/done.json", json.dumps(marker).encode())
    for name in ("data.h5", "data-0123456789ab.h5", "data-ba9876543210.h5", "notes.h5"):
        ready.write(f"{mine}/{name}", b"1")
    ready.write("datasets/killed-0123456789ab/data.h5", b"1")  # before its first marker
    ready.write("datasets/broken-0123456789ab/data.h5", b"1")
    ready.write("datasets/broken-0123456789ab/done.json", b"{")
    young = cleaning.find(study, ready).young
    deleted = clean(ready, study)
    assert sorted(deleted) == sorted(young)
    assert set(deleted) == {
        f"{mine}/data.h5", f"{mine}/data-ba9876543210.h5", "datasets/killed-0123456789ab/data.h5",
    }  # fmt: skip
    found = cleaning.find(study, ready)
    assert found.leftovers == found.young == []
    assert "broken-0123456789ab/done.json is damaged" in found.damaged[0]


@pytest.mark.parametrize("what", ["marker", "file"])
def test_data_that_are_replaced_after_the_search(ready, study, what):
    place = stored.place(study, "small")
    ready.write(f"{place}/data.h5", b"1")
    ready.write(f"{place}/data-ba9876543210.h5", b"1")
    found = cleaning.find(study, ready, now=time.time() + LATER)
    if what == "marker":
        marker = {"format": 1, "data_hash": "1" * 64, "file": "data-ba9876543210.h5"}
        ready.write(f"{place}/done.json", json.dumps(marker).encode())
    else:
        ready.write(f"{place}/data-ba9876543210.h5", b"12")
    assert [cleaning.remove(ready, leftover) for leftover in found.leftovers] == [False]
    assert ready.exists(f"{place}/data-ba9876543210.h5")


def test_foreign_files_do_not_stop_it(ready, study, tmp_path):
    place = finish(ready, study, 0)
    leave(ready, place, "checkpoint", "runs/old/log.txt")
    if isinstance(ready, FolderStore):
        folder = tmp_path / "store" / place
        for name in ("Icon\r", "a\\b", os.fsdecode(b"\xff\xfe"), "runs/old/x\ny"):
            (folder / name).write_bytes(b"")
        for link, target in {"up": "../..", "loop": "loop", "runs/self": "."}.items():
            (folder / link).symlink_to(target)
        (folder.parent / "2" / "done.json").parent.mkdir()
        (folder.parent / "2" / "done.json").symlink_to("done.json")
    else:
        for key in ("a\tb", "a\\b", "runs//x", "runs/old/x\ty"):
            ready._client.put_object(Bucket=ready.bucket, Key=f"{ready.prefix}{place}/{key}")
    assert clean(ready, study) == [f"{place}/checkpoint", f"{place}/runs/old"]
    assert ready.exists(f"{place}/done.json") and clean(ready, study) == []


def test_a_marker_of_a_future_format_is_skipped(ready, study):
    place = finish(ready, study, 0, changes={"format": 9})
    leave(ready, place, "checkpoint", "runs/old/log.txt")
    found = cleaning.find(study, ready, all_checkpoints=True, now=time.time() + LATER)
    assert found.leftovers == [] and "has format 9" in found.damaged[0]


def test_unfinished_uploads_that_may_not_be_listed(s3, study, monkeypatch):
    with_data(s3, study)
    place = finish(s3, study, 0)
    leave(s3, place, "checkpoint")

    def denied(self, path):
        raise Problem("cannot list: permission denied")

    monkeypatch.setattr(type(s3), "unfinished", denied)
    found = cleaning.find(study, s3, now=time.time() + LATER)
    assert [o.path for o in found.leftovers] == [f"{place}/checkpoint"]
    assert "permission denied; its unfinished files are skipped" in found.damaged[0]


def test_infos(store):  # noqa: F811
    store.write("a/b", b"123")
    store.write("a/c/d", b"")
    found = store.infos("a")
    assert list(found) == store.list("a") == ["a/b", "a/c/d"]
    assert [info.size for info in found.values()] == [3, 0]
    assert all(abs(info.modified - time.time()) < 60 for info in found.values())
    assert store.infos("nothing") == {}


RUNS = st.dictionaries(st.sampled_from(["a", "b", "ab", "c"]), st.booleans(), max_size=4)
CELL = st.tuples(RUNS, st.sampled_from(["a", "b", "x", None]), st.booleans(), st.booleans())


@settings(max_examples=15, deadline=None)
@given(cells=st.lists(CELL, min_size=4, max_size=4), all_checkpoints=st.booleans())
def test_files_that_markers_name_are_kept(study, tmp_path_factory, cells, all_checkpoints):
    """Runs, which of them have a second file, the run that counts, a checkpoint, a present key."""
    store = with_data(FolderStore(tmp_path_factory.mktemp("store")), study)  # noqa: F811
    for n, (runs, counts, checkpoint, present) in enumerate(cells):
        place = cell_folder(study, study.cells()[n])
        for run, more in runs.items():
            leave(store, place, f"runs/{run}/metrics.json", *[f"runs/{run}/more"] * more)
        if checkpoint:
            leave(store, place, "checkpoint")
        if counts:
            finish(store, study, n, f"runs/{counts}", None if present else {"keys": {}})
    clean(store, study, all_checkpoints=all_checkpoints)
    left = set(store.list())
    for n, (_, counts, checkpoint, present) in enumerate(cells):
        place = cell_folder(study, study.cells()[n])
        names = {path for path in left if path.startswith(f"{place}/runs/")}
        assert (f"{place}/done.json" in left) == bool(counts)
        assert all(path.startswith(f"{place}/runs/{counts}/") for path in names)
        assert not counts or f"{place}/runs/{counts}/metrics.json" in names
        kept = checkpoint and not all_checkpoints and not (counts and present)
        assert (f"{place}/checkpoint" in left) == kept
    assert clean(store, study, all_checkpoints=all_checkpoints) == []


def command(*args):
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    parsed = parser.parse_args([str(arg) for arg in args])
    return parsed.run(parsed)


def test_command(study, tmp_path, capsys, monkeypatch):
    path = study_file(tmp_path / "tiny.yaml", {"trials": 2})
    store = with_data(FolderStore(tmp_path / "store"), study)  # noqa: F811
    place = finish(store, study, 0)
    leave(store, place, "checkpoint", "runs/old/log.txt")
    broken = finish(store, study, 1, changes={"run": "runs"})
    here = ["clean", path, "--store", tmp_path / "store"]
    assert command(*here, "--dry-run") == 0
    said = capsys.readouterr().out
    assert f"{place}/checkpoint  5 bytes\n" in said
    assert "would free 5 bytes: 1 checkpoint\n" in said
    assert "left 1 run younger than an hour" in said
    assert f"{broken}/done.json is damaged" in said
    monkeypatch.setattr(cleaning, "YOUNG", -1.0)
    before = store.list()
    assert command(*here, "--dry-run") == 0
    planned = capsys.readouterr().out
    assert store.list() == before
    assert command(*here) == 0
    assert capsys.readouterr().out == planned.replace("would free", "freed")
    assert "freed" not in planned and "10 bytes: 1 checkpoint, 1 run" in planned
    assert set(before) - set(store.list()) == {f"{place}/checkpoint", f"{place}/runs/old/log.txt"}
    assert command(*here) == 0
    assert "freed 0 bytes: nothing to delete" in capsys.readouterr().out
