"""Restored archives: their study can be continued, and damaged files are refused."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.stores import aws, moto_url, s3  # noqa: F401 (fixtures)
from helpers.tiny import ORCID, ROOT, one_line, place_of, run_folder, study_file, weights

from motifk8s.cells.finished import read_finished
from motifk8s.data import stored
from motifk8s.report import claims, comparison, crate, tables
from motifk8s.report.archive import archive
from motifk8s.report.figures import motif_database
from motifk8s.report.restore import restore
from motifk8s.store.folder import FolderStore
from motifk8s.study.study import load

PUBLISHED = ROOT / "docs" / "results"
Edit = Callable[[dict[str, bytes]], object]


@pytest.fixture
def restored(whole: Path, tmp_path: Path, here: Any) -> Path:
    """A store with the cells of the archive, which has no networks."""
    code, out, err = here("restore", whole / "tiny.zip", "--store", tmp_path / "store")
    assert (code, err) == (0, "")
    assert out == f"{tmp_path}/store: 2 cells of study tiny restored\n"
    return tmp_path / "store"


def test_the_study_can_be_continued(whole: Path, restored: Path, tmp_path: Path, here: Any) -> None:
    cells = "small/a/1", "small/b/1"
    runs = [run_folder(restored, cell) for cell in cells]
    line = whole / "tiny.yaml", "--store", restored
    assert "data set small is not in the store" in here("plan", *line)[1]
    code, out, _ = here("run", *line)
    assert code == 0 and "epoch" not in out
    assert [run_folder(restored, cell) for cell in cells] == runs  # nothing is computed again
    for name in ("results.csv", "table1.csv", "motifs.csv"):
        own = (restored / "tiny/tables" / name).read_bytes()
        assert own == (whole / "store/tiny/tables" / name).read_bytes()
    options = "--license", "CC-BY-4.0", "--author", f"Ada <{ORCID}>"
    assert here("archive", *line, *options, "--out", tmp_path / "again.zip")[0] == 0
    assert (tmp_path / "again.zip").read_bytes() == (whole / "tiny.zip").read_bytes()


def test_in_a_cluster_restored_cells_need_no_pods(
    whole: Path, restored: Path, tmp_path: Path, here: Any
) -> None:
    """The step that makes the data lists the unfinished cells. Before, a cap counts all cells."""
    line = whole / "tiny.yaml", "--store", restored
    cap = "plan", *line, "--max-gpu-hours", "1e-9"
    assert here(*cap)[0] == 2
    assert here("dataset", *line[:1], "small", *line[1:], "--outputs", tmp_path / "out")[0] == 0
    assert (tmp_path / "out/cells").read_text() == "[]"
    assert here(*cap)[0] == 0


def other_matches(store: Path, here: Any) -> tuple[int, str]:
    """Run a cell of the study with another E-value; the exit code and the cell's log."""
    changed = study_file(store.parent / "other.yaml", {"matches": {"evalue": 5}})
    code, *_ = here("cell", changed, "small/a/1", "--store", store)
    return code, (run_folder(store, "small/a/1") / "log.txt").read_text()


def prepared(whole: Path, store: Path, here: Any) -> Path:
    assert here("dataset", whole / "tiny.yaml", "small", "--store", store)[0] == 0
    return store


def test_without_the_network_other_settings_train_again(
    whole: Path, restored: Path, here: Any
) -> None:
    code, log = other_matches(prepared(whole, restored, here), here)
    assert code == 0 and "the network is not in the store; training it again" in log
    first, again = (weights(run_folder(s, "small/a/1") / "model.keras") for s in (
        whole / "store", restored,
    ))  # fmt: skip
    assert all((first[name] == again[name]).all() for name in first)


def test_with_the_network_they_do_not(whole: Path, tmp_path: Path, here: Any) -> None:
    study, store = load(str(whole / "tiny.yaml")), FolderStore(whole / "store")
    archive(study, store, tmp_path / "x.zip", models=True)
    assert here("restore", tmp_path / "x.zip", "--store", tmp_path / "store")[0] == 0
    code, log = other_matches(prepared(whole, tmp_path / "store", here), here)
    assert code == 0 and "training reused from runs/" in log


def test_a_command_that_needs_the_network(whole: Path, restored: Path, here: Any) -> None:
    prepared(whole, restored, here)
    code, _, err = here(
        "hits", whole / "tiny.yaml", "--store", restored, "--out", restored.parent / "x.bed"
    )
    assert code == 1 and "the cell is from an archive without this file" in one_line(err)
    line = whole / "tiny.yaml", "--store", restored
    assert here("aggregate", *line)[0] == 0
    code, _, err = here("archive", *line, "--models", "--out", restored.parent / "x.zip")
    assert code == 1 and "model.keras does not exist" in one_line(err)
    assert not (restored.parent / "x.zip").exists()


def test_into_a_bucket(whole: Path, s3: Any) -> None:  # noqa: F811
    done = restore(whole / "tiny.zip", s3)
    assert (done.cells, done.kept) == (2, 0)
    stored.prepare(done.study, "small", s3)
    cells, missing = read_finished(done.study, s3)
    assert list(cells) == ["small/a/1", "small/b/1"] and not missing
    assert restore(whole / "tiny.zip", s3).kept == 2


def test_what_the_store_has_is_kept(whole: Path, restored: Path, here: Any) -> None:
    marker = place_of(restored, "small/a/1") / "done.json"
    kept = marker.read_text()
    (run_folder(restored, "small/b/1") / "metrics.json").unlink()  # damaged, so restored again
    code, out, _ = here("restore", whole / "tiny.zip", "--store", restored)
    assert (code, out) == (
        0, f"{restored}: 1 cells of study tiny restored; the store has 1 already\n",
    )  # fmt: skip
    assert marker.read_text() == kept
    assert (run_folder(restored, "small/b/1") / "metrics.json").exists()


def edited(source: Path, target: Path, edit: Edit) -> Path:
    """Copy an archive with a change of its files."""
    with zipfile.ZipFile(source) as archived:
        files = {name: archived.read(name) for name in archived.namelist() if name[-1] != "/"}
    edit(files)
    with zipfile.ZipFile(target, "w") as out:
        for name, data in files.items():
            out.writestr(name, data)
    return target


def change(name: str, data: bytes) -> Edit:
    return lambda files: files.update({name: data})


def rename(files: dict[str, bytes]) -> None:
    """Let the metadata name a file that a store cannot have."""
    old, new = "cells/small/a/1/log.txt", "cells/small/a/1/.."
    files[new] = files.pop(old)
    files[crate.METADATA] = files[crate.METADATA].replace(old.encode(), new.encode())


def no_keys(files: dict[str, bytes]) -> None:
    """Give a cell a provenance without keys, which the metadata describe."""
    name = "cells/small/a/1/provenance.json"
    old, new = (hashlib.sha256(data).hexdigest() for data in (files[name], b"{}"))
    files[name] = b"{}"
    files[crate.METADATA] = files[crate.METADATA].replace(old.encode(), new.encode())


@pytest.mark.parametrize(
    ("edit", "code", "message"),
    [
        (lambda files: files.pop(crate.METADATA), 2, "is not an archive of motifk8s"),
        (lambda files: files.pop("study.yaml"), 2, "is not an archive of motifk8s"),
        (change(crate.METADATA, b"[1]"), 2, "is not an archive of motifk8s"),
        (change(crate.METADATA, b'{"@graph": [{"sha256": 1}]}'), 2, "is not an archive"),
        (change("study.yaml", b"name: x"), 1, "is damaged: study.yaml is missing, or not"),
        (change("cells/small/a/1/history.csv", b"x"), 1, "is damaged: cells/small/a/1/history.csv"),
        (lambda files: files.pop("cells/small/a/1/filters.h5"), 1, "cells/small/a/1/filters.h5"),
        (rename, 2, "cannot name a file in a store"),
        (no_keys, 1, "is damaged: cells/small/a/1/provenance.json"),
    ],
)
def test_a_damaged_archive(
    edit: Edit, code: int, message: str, whole: Path, tmp_path: Path, here: Any
) -> None:
    file = edited(whole / "tiny.zip", tmp_path / "x.zip", edit)
    found, out, err = here("restore", file, "--store", tmp_path / "store")
    assert (found, out) == (code, "") and message in one_line(err)
    assert not list((tmp_path / "store").rglob("done.json"))


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"name: tiny\n"])
def test_another_file(content: bytes, tmp_path: Path, here: Any) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    code, _, err = here("restore", tmp_path / "x.zip", "--store", tmp_path / "store")
    assert code == 2 and "it is not a complete ZIP file" in one_line(err)
    code, _, err = here("restore", tmp_path, "--store", tmp_path / "store")
    assert code == 2 and "expected a folder and found a file, or the reverse" in one_line(err)
    with pytest.raises(SystemExit):
        here("restore", "s3://bucket/x.zip")


@pytest.mark.parametrize(
    ("place", "value"), [(6, 158), (46, 0xFF)], ids=["a version of ZIP", "a name that is not UTF-8"]
)
def test_a_damaged_directory(
    place: int, value: int, whole: Path, tmp_path: Path, here: Any
) -> None:
    """Change a byte, at this place, of the entry of a file in the central directory of the ZIP."""
    data = bytearray((whole / "tiny.zip").read_bytes())
    entry = data.index(b"PK\1\2")
    data[entry + 9] |= 8  # the name is UTF-8
    data[entry + place] = value
    (tmp_path / "x.zip").write_bytes(data)
    code, _, err = here("restore", tmp_path / "x.zip", "--store", tmp_path / "store")
    assert code == 2 and "it is not a complete ZIP file" in one_line(err)


def test_half_an_archive(whole: Path, tmp_path: Path, here: Any) -> None:
    data = (whole / "tiny.zip").read_bytes()
    for size in (len(data) // 2, len(data) - 10):
        (tmp_path / "x.zip").write_bytes(data[:size])
        code, _, err = here("restore", tmp_path / "x.zip", "--store", tmp_path / "store")
        assert code == 2 and "it is not a complete ZIP file" in one_line(err)


def test_one_changed_byte_is_found(whole: Path, tmp_path: Path, here: Any) -> None:
    """The cell with the byte is refused; the cell before it is whole."""
    data = bytearray((whole / "tiny.zip").read_bytes())
    with zipfile.ZipFile(whole / "tiny.zip") as archived:
        infos = [i for i in archived.infolist() if i.filename.startswith("cells/small/b")]
    place = next(i.header_offset for i in infos if i.filename.endswith("metrics.json"))
    data[place + 100] ^= 0xFF
    (tmp_path / "x.zip").write_bytes(data)
    code, _, err = here("restore", tmp_path / "x.zip", "--store", tmp_path / "store")
    assert code == 1 and "is damaged: cells/small/b/1/metrics.json" in one_line(err)
    done = [path.parent.parent.name for path in (tmp_path / "store").rglob("done.json")]
    assert done == ["a"]  # the cell before it, whole


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the pages are not part of an image")
@pytest.mark.parametrize("name", ["as-run", "as-written", "ghotra2021"])
def test_the_published_tables_are_those_of_the_published_cells(name: str, tmp_path: Path) -> None:
    """If this fails because cells are outdated, the published results need a new run."""
    store = FolderStore(tmp_path)
    study = restore(PUBLISHED / f"{name}.zip", store).study
    stored.prepare(study, "synthetic", store)
    cells, missing = read_finished(study, store)
    assert not missing
    results = tables.results((files.metrics for files in cells.values()), study)
    made = {"results": results, "comparison": comparison.comparisons(results, study)}
    if study.claims:
        made["claims"] = claims.claims(study, cells, motif_database(study.matches.database))
    for table, content in made.items():
        published = (PUBLISHED / name / f"{table}.csv").read_text()
        assert tables.csv_text(content) == published, table
