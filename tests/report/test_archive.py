"""Archives of a finished study: what a reader of RO-Crates finds, and when there is none."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from helpers.stores import aws, moto_url, s3  # noqa: F401 (fixtures)
from helpers.studies import cell_files
from helpers.studies import study as made_up
from helpers.tiny import ORCID, one_line, run_folder
from hypothesis import given
from hypothesis import strategies as st

from motifk8s.cells.finished import read_finished
from motifk8s.data.stored import Found
from motifk8s.errors import InputError
from motifk8s.report import crate
from motifk8s.report.archive import _run, archive
from motifk8s.store.folder import FolderStore
from motifk8s.study.study import load


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """A copy of that folder, with other times of its files; without the archive."""
    shutil.copytree(whole, tmp_path, copy_function=shutil.copyfile, dirs_exist_ok=True)
    (tmp_path / "tiny.zip").unlink()
    return tmp_path


def entities(file: Path) -> dict[str, dict[str, Any]]:
    with zipfile.ZipFile(file) as archived:
        graph = json.loads(archived.read(crate.METADATA))["@graph"]
    found = {entity["@id"]: entity for entity in graph}
    assert len(found) == len(graph)
    return found


def references(value: Any) -> list[str]:
    """Every id that an entity refers to."""
    if isinstance(value, dict):
        return [value["@id"]]
    return [i for item in value for i in references(item)] if isinstance(value, list) else []


def test_a_reader_of_crates_finds_the_study(whole: Path) -> None:
    from rocrate.rocrate import ROCrate

    read = ROCrate(whole / "tiny.zip")
    root = read.root_dataset
    assert root["name"] == "tiny" and "2 trainings of 2 networks" in root["description"]
    assert root["license"].id == "https://spdx.org/licenses/CC-BY-4.0"
    assert (root["author"].type, root["author"]["name"]) == ("Person", "Ada")
    assert root["author"].id == f"https://orcid.org/{ORCID}"
    assert root["conformsTo"].id == "https://w3id.org/ro/wfrun/process/0.5"
    for action, cell in zip(root["mentions"], ["small/a/1", "small/b/1"], strict=True):
        of = json.loads((run_folder(whole / "store", cell) / "provenance.json").read_text())
        assert action.type == "CreateAction"
        assert (action["startTime"], action["endTime"]) == (of["started"], of["ended"])
        assert of["started"] <= of["ended"] and of["ended"].endswith("+00:00")
        software = action["instrument"]
        assert (software["name"], software["softwareVersion"]) == ("motifk8s", of["code_version"])
        libraries = {e["name"]: e["softwareVersion"] for e in software["softwareRequirements"]}
        assert libraries == {"Python": of["python"], **of["libraries"]}
        study, data, database = action["object"]
        assert study.id == "study.yaml" and database["version"] == "JASPAR2016"
        assert data["identifier"] == f"sha256:{of['data_hash']}"
        results, model = action["result"]
        assert results.id == f"cells/{cell}/"
        file = run_folder(whole / "store", cell) / "model.keras"
        assert model["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    day = max(action["endTime"] for action in root["mentions"])[:10]
    assert root["datePublished"] == day


def test_every_file_is_described(whole: Path) -> None:
    found = entities(whole / "tiny.zip")
    with zipfile.ZipFile(whole / "tiny.zip") as archived:
        names = archived.namelist()
        contents = {name: archived.read(name) for name in names if not name.endswith("/")}
    assert names[-1] == crate.METADATA and len(set(names)) == len(names)
    described = {i for i, entity in found.items() if entity["@type"] == "File"}
    assert described == contents.keys() - {crate.METADATA}
    for name in described:
        assert found[name]["contentSize"] == str(len(contents[name]))
        assert found[name]["sha256"] == hashlib.sha256(contents[name]).hexdigest()
        assert found[name]["encodingFormat"] != "application/octet-stream"
    for entity in found.values():  # no reference leads nowhere, but to the specification
        ids = [i for key, value in entity.items() if key[0] != "@" for i in references(value)]
        assert set(ids) <= {*found, "https://w3id.org/ro/crate/1.1"}
    parts = set(references(found["./"]["hasPart"]))
    folders = {i for i in parts if i.endswith("/")}
    assert folders == {name for name in names if name.endswith("/")}
    below = {i for folder in folders for i in references(found[folder]["hasPart"])}
    assert below | parts == described | folders
    undescribed = {i for i in described if "description" not in found[i]}
    assert all(i.startswith("figures/") for i in undescribed)


def test_what_is_in_it(whole: Path, tmp_path: Path) -> None:
    store = whole / "store"
    shutil.unpack_archive(whole / "tiny.zip", tmp_path)
    for name in ("report.html", "motifs.meme", "tables/results.csv"):
        assert (tmp_path / name).read_bytes() == (store / "tiny" / name).read_bytes()
    own = run_folder(store, "small/b/1")
    kept = {path.name for path in (tmp_path / "cells/small/b/1").iterdir()}
    assert kept == {path.name for path in own.iterdir()} - {"model.keras"}
    assert load(str(tmp_path / "study.yaml")) == load(str(whole / "tiny.yaml"))


def test_the_same_store_gives_the_same_bytes(whole: Path, copied: Path, here: Any) -> None:
    line = "archive", copied / "tiny.yaml", "--store", copied / "store", "--out", copied / "a.zip"
    code, out, _ = here(*line, "--license", "CC-BY-4.0", "--author", f"Ada <{ORCID}>")
    assert (code, out.split(": ")[0]) == (0, str(copied / "a.zip"))
    assert (copied / "a.zip").read_bytes() == (whole / "tiny.zip").read_bytes()


def test_a_bucket_gives_the_same_bytes(whole: Path, s3: Any, tmp_path: Path) -> None:  # noqa: F811
    for path in (whole / "store").rglob("*"):
        if path.is_file():
            s3.upload(path, path.relative_to(whole / "store").as_posix())
    study = load(str(whole / "tiny.yaml"))
    archive(study, s3, tmp_path / "x.zip", license="CC-BY-4.0", authors=[f"Ada <{ORCID}>"])
    assert (tmp_path / "x.zip").read_bytes() == (whole / "tiny.zip").read_bytes()


def test_models_are_included_on_request(whole: Path, tmp_path: Path) -> None:
    study, store = load(str(whole / "tiny.yaml")), FolderStore(whole / "store")
    archive(study, store, tmp_path / "x.zip", models=True)
    found = entities(tmp_path / "x.zip")
    file = run_folder(whole / "store", "small/a/1") / "model.keras"
    model = found["cells/small/a/1/model.keras"]
    assert model["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not any(i.startswith("#model/") for i in found)
    assert found["./"]["license"] == crate.NO_LICENSE and "author" not in found["./"]


def test_pictures_are_left_out_on_request(whole: Path, tmp_path: Path, here: Any) -> None:
    line = "archive", whole / "tiny.yaml", "--store", whole / "store", "--out", tmp_path / "x.zip"
    assert here(*line, "--no-pictures")[0] == 0
    with zipfile.ZipFile(whole / "tiny.zip") as every, zipfile.ZipFile(tmp_path / "x.zip") as some:
        left = set(every.namelist()) - set(some.namelist())
    assert {"report.html", "figures/", "cells/small/a/1/logos-conv1.png"} < left
    assert {Path(name).suffix for name in left} == {".html", ".png", ".svg", ""}
    assert "tables/table1.html" not in left
    assert (tmp_path / "x.zip").stat().st_size < (whole / "tiny.zip").stat().st_size / 3


def fails(copied: Path, here: Any, *more: object) -> tuple[int, str]:
    """Run the command, which must fail with one line and write nothing."""
    before = sorted(path for path in copied.rglob("*"))
    line = ["archive", copied / "tiny.yaml", "--store", copied / "store"]
    code, out, err = here(*line, "--out", copied / "a.zip", *more)
    assert not out and sorted(path for path in copied.rglob("*")) == before
    return code, one_line(err)


def test_an_incomplete_study(copied: Path, here: Any) -> None:
    for cell, state in (("b", "1 of 2 cells are missing: small/b/1 (missing)"), ("a", "")):
        (copied / f"store/tiny/cells/small/{cell}/1/done.json").unlink()
        code, text = fails(copied, here)
        if state:
            assert code == 3 and state in text and "motifk8s run STUDY.yaml --store" in text
        else:
            assert code == 2 and "has no finished cell of study tiny" in text
    (copied / "store").rename(copied / "my store")
    code, _, err = here(
        "archive", copied / "tiny.yaml", "--store", copied / "my store", "--out", copied / "a.zip"
    )
    assert code == 2 and f"(motifk8s run STUDY.yaml --store '{copied}/my store')" in one_line(err)


def test_a_damaged_cell(copied: Path, here: Any) -> None:
    with (run_folder(copied / "store", "small/a/1") / "hits-conv1.tsv").open("a") as file:
        file.write("x")
    code, text = fails(copied, here)
    assert code == 3 and "small/a/1 (damaged: " in text


def test_tables_of_other_cells(copied: Path, here: Any) -> None:
    table = copied / "store/tiny/tables/results.csv"
    table.write_text(table.read_text().replace("small,a", "small,c"))
    code, text = fails(copied, here)
    assert code == 1 and "the tables of study tiny are not those of its cells" in text
    assert "motifk8s aggregate STUDY.yaml --store" in text
    table.unlink()
    code, text = fails(copied, here)
    assert code == 1 and "study tiny has no tables or no report yet" in text


def test_a_report_of_another_title(copied: Path, here: Any) -> None:
    study = json.loads((copied / "tiny.yaml").read_text())
    (copied / "tiny.yaml").write_text(json.dumps({**study, "title": "Another <title>"}))
    code, text = fails(copied, here)
    assert code == 1 and "the report of study tiny is of other settings, titles or labels" in text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "{}/store/tiny/tables/x.zip"], "it is inside the store"),
        (["--out", "{}/link/x.zip"], "it is inside the store"),
        (["--out", "{}/tiny.yaml"], "it is an input"),
        (["--out", "{}/tiny.yaml/x.zip"], "expected a folder and found a file"),
        (["--license", "CC BY"], "expected an SPDX id such as CC-BY-4.0, or a URL"),
        (["--author", "Ada <0000-0002-1825-0098>"], "is not an ORCID"),
        (["--author", f"<{ORCID}>"], 'expected "Name" or "Name <ORCID>"'),
    ],
)
def test_wrong_arguments(more: list[str], message: str, copied: Path, here: Any) -> None:
    (copied / "link").symlink_to("store")
    code, text = fails(copied, here, *(word.format(copied) for word in more))
    assert code == 2 and message in text


def test_a_full_disk(copied: Path, here: Any) -> None:
    code, text = fails(copied, here, "--out", "/dev/full")
    assert code == 1 and "no space left" in text


def test_times_of_earlier_versions_are_in_the_log(whole: Path) -> None:
    study, store = load(str(whole / "tiny.yaml")), FolderStore(whole / "store")
    [cell, _] = study.cells()
    [(_, files), _] = read_finished(study, store)[0].items()
    facts = {k: v for k, v in files.provenance.items() if k not in ("started", "ended")}
    old = {cell.id: files._replace(provenance=facts)}
    run = _run(study, store, old, cell)
    lines = (run_folder(whole / "store", cell.id) / "log.txt").read_text().splitlines()
    assert [run.started, run.ended] == [lines[i][:19].replace(" ", "T") for i in (0, -1)]


def described(facts: dict[str, Any], **source: Any) -> dict[str, dict[str, Any]]:
    """The entities of a made-up run of one cell."""
    study = made_up()
    cell = study.cells()[0]
    provenance = cell_files(cell.model, 1, 0.5).provenance | facts
    run = crate.Run(cell, provenance, "2026-01-01T10:00:00", "2026-01-01T11:00:00", "ab" * 32)
    files = {"study.yaml": crate.File(1, "cd" * 32)}
    found = Found("datasets/x-1", "ab" * 32, **source)
    content = crate.Content(study, [run], {"synthetic": found}, files, [], "", "2026-01-01")
    return {entity["@id"]: entity for entity in crate.metadata(content)["@graph"]}


def test_a_training_by_an_earlier_version() -> None:
    found = described({"trained_by": "0.0.9+gfed.dirty", "libraries": {"numpy": "2.0"}})
    before, after = references(found["#cell/synthetic/cnn-1/1"]["instrument"])
    assert found[before]["softwareVersion"] == "0.0.9+gfed.dirty"
    text = "Git commit fed, with uncommitted changes, which trained the network"
    assert found[before]["description"] == text
    assert found[after]["description"] == "Git commit abc"
    assert before == "pkg:generic/motifk8s@0.0.9%2Bgfed.dirty"
    assert found[after]["softwareRequirements"] == {"@id": "pkg:pypi/numpy@2.0"}


def test_the_file_that_data_are_from() -> None:
    found = described({}, sha256="ef" * 32, source="own.h5", sequences={"train": 1000})
    data = found["#data/synthetic"]
    assert data["identifier"] == f"sha256:{'ab' * 32}"
    assert "sequences: 1,000 train" in data["description"]
    file = found[data["isBasedOn"]["@id"]]
    assert (file["name"], file["sha256"]) == ("own.h5", "ef" * 32)


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("motifk8s", ("docker.io", "motifk8s", None, None)),
        ("lab/motifk8s:0.1", ("docker.io", "lab/motifk8s", "0.1", None)),
        ("localhost/motifk8s", ("localhost", "motifk8s", None, None)),
        ("r.example.org:5000/a/b:1@sha256:12ab", ("r.example.org:5000", "a/b", "1", "12ab")),
    ],
)
def test_images(image: str, parts: tuple[str | None, ...]) -> None:
    found = described({"deployment": {"image": image}})
    entity = found[found["#cell/synthetic/cnn-1/1"]["containerImage"]["@id"]]
    assert tuple(entity.get(key) for key in ("registry", "name", "tag", "sha256")) == parts


def test_authors_and_licences() -> None:
    assert crate.parse_author(" Ada L. <https://orcid.org/0000-0001-5109-3700> ") == (
        "Ada L.", "0000-0001-5109-3700",
    )  # fmt: skip
    assert crate.parse_author("The motifk8s authors") == ("The motifk8s authors", "")
    assert crate.parse_author("X <0000-0002-1694-233X>").orcid == "0000-0002-1694-233X"
    assert crate.license_url("MIT") == "https://spdx.org/licenses/MIT"
    assert crate.license_url("https://x.org/l") == "https://x.org/l"


@given(st.integers(0, 15), st.sampled_from("0123456789X"))
def test_one_wrong_digit_is_found(place: int, digit: str) -> None:
    digits = list(ORCID.replace("-", ""))
    digits[place] = digit
    text = "".join(digits)
    orcid = "-".join(text[i : i + 4] for i in range(0, 16, 4))
    if orcid == ORCID:
        assert crate.parse_author(f"A <{orcid}>").orcid == ORCID
    else:
        with pytest.raises(InputError):
            crate.parse_author(f"A <{orcid}>")
