"""The command import: its arguments, the files it writes, and its output."""

from __future__ import annotations

import argparse
import gzip
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motifk8s.cli import importing
from motifk8s.cli.importing import parse_files
from motifk8s.cli.main import main
from motifk8s.data import datasets, stored
from motifk8s.data.starter_study import (
    RELEASE,
    class_motifs,
    lookup_motifs,
    near_motifs,
    starter_study,
)
from motifk8s.errors import InputError
from motifk8s.store.open import open_store
from motifk8s.study.study import load, loads


def run(*words: str | Path) -> int:
    """Run motifk8s import with these arguments."""
    parser = argparse.ArgumentParser()
    importing.register(parser.add_subparsers())
    args = parser.parse_args(["import", *map(str, words)])
    return int(args.run(args))


def fasta(path: Path, n: int, seed: int, length: int = 40) -> Path:
    rng = np.random.default_rng(seed)
    texts = ["".join(rng.choice(list("ACGT"), length)) for _ in range(n)]
    path.write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(texts)))
    return path


# --- Commands --------------------------------------------------------------------------------


def test_fasta_to_a_study_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, name in enumerate(["SRF", "Yy1", "Strange"]):
        fasta(tmp_path / f"{name}.peaks.fa", 40, seed)
        fasta(tmp_path / f"{name}.test.fa", 10, seed + 10)
        fasta(tmp_path / f"{name}.none.fa", 10, seed + 20)
    (tmp_path / "studies").mkdir()
    out, study_file = tmp_path / "own.h5", tmp_path / "studies" / "My study.yaml"
    code = run(
        "fasta", tmp_path / "{}.peaks.fa", "--valid", "0.1", "--test", tmp_path / "{}.test.fa",
        "--negatives", "dinucleotide", "--test-negatives", tmp_path / "{}.none.fa",
        "--motifs", "Strange=MA0058.3,MA0079.3", "--out", out, "--study-out", study_file,
    )  # fmt: skip
    assert code == 0
    said = capsys.readouterr().out
    for text in ("216 training, 24 validation, 60 test sequences of 40 bp", "shuffles made",
                 "MA0083.3", "MA0095.2", "MA0058.3, MA0079.3", "My study.yaml"):  # fmt: skip
        assert text in said
    study = load(str(study_file))
    assert study.name == "my-study" and len(study.cells()) == 9
    assert study.datasets["my-study"].motif_ids == {
        "SRF": ["MA0083.3"],
        "Strange": ["MA0058.3", "MA0079.3"],
        "Yy1": ["MA0095.2"],
    }
    store = open_store(tmp_path / "store")
    facts = stored.prepare(study, "my-study", store)
    assert facts["sequences"] == {"train": 216, "valid": 24, "test": 60}
    assert facts["data_hash"] == datasets.read(out).data_hash
    with h5py.File(out) as file:
        spec = json.loads(file.attrs["spec"])
    assert (
        spec["import"] == "fasta" and spec["negatives"] == "dinucleotide" and spec["seed"] == 2019
    )
    assert (
        spec["train"]["SRF"]["file"] == "SRF.peaks.fa" and len(spec["train"]["SRF"]["sha256"]) == 64
    )
    assert str(tmp_path) not in json.dumps(spec)


def test_a_study_in_a_folder_that_is_a_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its path leads to the data, from the link and from the folder; the command can be pasted."""
    (tmp_path / "disk/deep/my studies").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/studies").symlink_to("../disk/deep/my studies")
    monkeypatch.chdir(tmp_path / "work")
    fasta(Path("SRF.fa"), 40, 1)
    run(
        "fasta", "SRF=SRF.fa", "--negatives", "dinucleotide", "--out", "own.h5",
        "--study-out", "studies/my own.yaml",
    )  # fmt: skip
    line = capsys.readouterr().out.splitlines()[-1].partition("run it: ")[2]
    assert shlex.split(line) == ["motifk8s", "run", "./studies/my own.yaml"]
    for file in ("studies/my own.yaml", "../disk/deep/my studies/my own.yaml"):
        [spec] = load(file).datasets.values()
        assert Path(spec.path).samefile("own.h5")  # type: ignore[union-attr]


def test_bed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    chromosomes = [f"chr{n}" for n in (1, 7, 8, 9)]
    (tmp_path / "g.fa").write_text(
        "".join(f">{c}\n{''.join(rng.choice(list('ACGT'), 3000))}\n" for c in chromosomes)
    )
    for name, start in (("SRF", 600), ("YY1", 1400)):
        lines = "".join(f"{c}\t{start}\t{start + 200}\n" for c in chromosomes)
        (tmp_path / f"{name}.bed.gz").write_bytes(gzip.compress(lines.encode()))
    out, bins = tmp_path / "own.h5", tmp_path / "bins.tsv"
    words: list[str | Path] = [
        "bed", f"SRF={tmp_path}/SRF.bed.gz", f"YY1={tmp_path}/YY1.bed.gz", "--bins-out", bins,
        "--genome", tmp_path / "g.fa", "--out", out, "--length", "300", "--both-strands",
    ]  # fmt: skip
    assert run(*words) == 0
    dataset = datasets.read(out, ["SRF", "YY1"])
    table = pd.read_csv(bins, sep="\t")
    assert len(table) == len(dataset.codes) == 4 * 2 * 2
    assert (table[["SRF", "YY1"]].to_numpy() == dataset.labels).all()
    assert table["part"].tolist() == [datasets.PARTS[p] for p in dataset.split]
    assert table["strand"].value_counts().to_dict() == {"+": 8, "-": 8}
    with pytest.raises(InputError, match="give CLASS=FILE|name its class"):
        run("bed", tmp_path / "SRF.bed.gz", *words[3:])
    with pytest.raises(InputError, match="given more than once"):
        run(*words, "--test", "chr8,chr8")
    assert run(*words, "--valid", "0.2", "--test", "8", "--negatives", "bins") == 0


def test_hdf5(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "reference.h5", "w") as file:
        for part, n in (("train", 20), ("valid", 4), ("test", 10)):
            file[f"X_{part}"] = np.eye(4)[rng.integers(0, 4, (n, 30))].transpose(0, 2, 1)
            file[f"Y_{part}"] = np.tile([[1, 0], [0, 1]], (n // 2, 1))
    out = tmp_path / "own.h5"
    assert run("hdf5", tmp_path / "reference.h5", "--classes", "SRF,YY1", "--out", out) == 0
    dataset = datasets.read(out)
    assert dataset.classes == ("SRF", "YY1") and np.bincount(dataset.split).tolist() == [20, 4, 10]
    with pytest.raises(InputError, match="has 2 classes .* not 1"):
        run("hdf5", tmp_path / "reference.h5", "--classes", "SRF", "--out", out)
    # A file of motifk8s can be imported again, with the same class names.
    assert run("hdf5", out, "--classes", "SRF,YY1", "--out", tmp_path / "again.h5") == 0
    assert datasets.read(tmp_path / "again.h5").data_hash == dataset.data_hash


def test_deepsea(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from motifk8s.data import deepsea

    given: list[Any] = []

    def prepare(study: Any, name: str, store: Any, source: str | None, progress: Any) -> Any:
        given.append((study.name, name, store.url, source))
        progress("train.mat", 5, 10)
        counts = {"train": 5, "valid": 6, "test": 7}
        return {
            "sequences": counts,
            "length": 1000,
            "sequences_with_n": 0,
            "positives": {"A": counts},
        }

    monkeypatch.setattr(deepsea, "prepare", prepare)
    row = {"what": "training sequences", "here": 5, "paper": 270_382, "difference": None}
    monkeypatch.setattr(deepsea, "compare", lambda facts: [row])
    assert run("deepsea", "bundle.tar.gz", "--store", tmp_path) == 0
    assert given == [("koo2019", "invivo", str(tmp_path), "bundle.tar.gz")]
    said = capsys.readouterr().out
    assert "270,382" in said and "invivo" in said
    with pytest.raises(InputError, match="has no data set of kind deepsea; try --study koo2019"):
        run("deepsea", "--study", "smoke", "--store", tmp_path)
    with pytest.raises(InputError, match="--dataset: invivo"):
        run("deepsea", "--dataset", "synthetic", "--store", tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{}/a.fa", "--out", "none/x.h5"], "there is no folder none"),
        (["{}/a.fa", "--out", "{}"], "is a folder"),
        (["{}/a.fa", "--study-out", "x.txt"], "must end in .yaml"),
        (["{}/a.fa"], "a.fa, line 1: s0 has no labels="),
        (["a={}/a.fa", "a={}/a.fa"], "class a is given twice"),
        (["a={}/a.fa", "{}/a.fa"], "give CLASS=FILE for each class"),
        (["{}/*{}.fa", "x"], "give CLASS=FILE for each class"),
        (["a={}/a.fa", "--negatives", "0.5"], "--negatives: give files, not a share"),
        (["a={}/a.fa", "--test", "1.5"], "test share 1.5: must be between 0 and 1"),
        (["a={}/a.fa", "--length", "0"], "--length 0: must be at least 1"),
        (["a={}/a.fa", "--seed", "-1"], "--seed -1: must be at least 0"),
        (["a={}/a.fa"], "class a has no negative sequence"),
        (["a={}/a.fa", "--negatives", "dinucleotide", "--motifs", "b=MA0083.3"], "no class b"),
        (["a={}/a.fa", "--negatives", "dinucleotide", "--motifs", "a=X1.1"], "no motif 'X1.1'"),
        (["a={}/a.fa", "--negatives", "dinucleotide", "--release", "J"], "unknown JASPAR release"),
    ],
)
def test_mistakes_are_reported_and_leave_no_files(
    tmp_path: Path, words: list[str], message: str
) -> None:
    fasta(tmp_path / "a.fa", 40, 1)
    words = [word.replace("{}/", f"{tmp_path}/").replace("{}", str(tmp_path)) for word in words]
    if "--out" not in words:
        words += ["--out", str(tmp_path / "x.h5")]
    with pytest.raises(InputError, match=message) as error:
        run("fasta", *words)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.fa"]


def test_commands_have_help_and_import_little(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("deepsea", "fasta", "bed", "hdf5"):
        with pytest.raises(SystemExit) as error:
            run(kind, "--help")
        assert error.value.code == 0 and len(capsys.readouterr().out) > 300
    assert run() == 2
    code = (
        "import sys, argparse; from motifk8s.cli import importing as imports;"
        "imports.register(argparse.ArgumentParser().add_subparsers());"
        "print([m for m in ('numpy', 'pandas', 'rich', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- Arguments -------------------------------------------------------------------------------


def test_files(tmp_path: Path) -> None:
    for name in ("b.x.fa", "a.x.fa", "[1].x.fa", ".x.fa", "c.fa"):
        (tmp_path / name).touch()
    assert parse_files(["x.fa"]) == Path("x.fa")
    assert parse_files(["a=x=1.fa", "b=y"]) == {"a": Path("x=1.fa"), "b": Path("y")}
    pattern = str(tmp_path / "{}.x.fa")
    assert list(parse_files([pattern])) == ["[1]", "a", "b"]  # type: ignore[arg-type]
    assert parse_files([pattern], ["q"]) == {"q": tmp_path / "q.x.fa"}
    with pytest.raises(InputError, match="no file matches this pattern"):
        parse_files([str(tmp_path / "{}.y")])
    with pytest.raises(InputError, match="once"):
        parse_files(["{}/{}.fa"])


# --- Motifs and the study --------------------------------------------------------------------


def test_motifs_by_name() -> None:
    assert lookup_motifs("arid3A") == ["MA0151.1"]
    assert lookup_motifs("GABPA") == ["MA0062.2"]
    assert lookup_motifs("GABPA", "JASPAR2024") == ["MA0062.4"]
    assert lookup_motifs("JUN") == ["MA0488.1", "MA0489.1"]  # JUN and JUN(var.2), no dimer
    assert lookup_motifs("FOS") and "MA0099.2" not in lookup_motifs("FOS")  # FOS::JUN
    assert lookup_motifs("nothing") == []
    assert near_motifs("Arnt")[0] == "MA0004.1 Arnt"
    assert "MA0006.1 Ahr::Arnt" in near_motifs("AHR")
    assert any("SRF" in text for text in near_motifs("SRFX"))
    assert near_motifs("qqqqqq") == []


def test_motifs_of_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    motifs, remarks = class_motifs(["SRF", "Sp1", "ZNF148"], {"Sp1": ["MA0079.3"]})
    assert motifs == {"SRF": ["MA0083.3"], "Sp1": ["MA0079.3"], "ZNF148": []}
    assert list(remarks) == ["ZNF148"]
    assert "--motifs ZNF148=ID,ID" in remarks["ZNF148"]
    assert "--release JASPAR2026 has MA" in remarks["ZNF148"]
    with pytest.raises(InputError, match="name is empty"):
        importing.names_in("MA0079.3,")


@settings(max_examples=25, deadline=None)
@given(
    length=st.integers(1, 1500),
    name=st.text(max_size=60),
    label=st.text(min_size=1, max_size=10),
)
def test_a_study_for_any_length(length: int, name: str, label: str) -> None:
    if not all(c.isprintable() for c in name + label):
        return  # invalid in file names or in YAML
    study = loads(starter_study(name, "x/y z #1.h5", length, {label: ["MA0083.3"]}), "test")
    [dataset] = study.datasets.values()
    assert list(dataset.motif_ids) == [label] and dataset.length == length
    assert dataset.path.endswith("x/y z #1.h5")  # type: ignore[union-attr]
    if length in (101, 200, 400, 1000):
        sizes = {model.n_parameters(length, 5) for model in study.models.values()}
        assert len(sizes) == 1 and len(study.models) == 3


@pytest.mark.parametrize("length", [101, 200, 1000])
def test_models_of_a_study_are_as_large_as_each_other(length: int) -> None:
    study = loads(starter_study("datasets", "x.h5", length, {"SRF": []}), "test")
    assert study.name == "own" and list(study.models) == ["cnn-2", "cnn-4", "cnn-25"]
    assert len({model.n_parameters(length, 5) for model in study.models.values()}) == 1
    assert study.matches.database == RELEASE


# --- Memory and labels -----------------------------------------------------------------------


def test_too_little_memory_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_memory(*_: Any) -> None:
        raise MemoryError("Unable to allocate 12 GiB")

    monkeypatch.setattr(datasets, "describe", no_memory)
    path = fasta(tmp_path / "a.fa", 40, 0)
    words = ["fasta", f"a={path}", "--negatives", "dinucleotide", "--out", tmp_path / "x.h5"]
    assert main(["import", *map(str, words)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "not enough memory (Unable to allocate 12 GiB)" in err


@pytest.mark.parametrize("masked", [[-1, -1], [0, -1]])
@pytest.mark.parametrize("place", ["file", "store"])
def test_plan_refuses_data_without_a_known_label_in_the_valid_part(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    masked: list[int],
    place: str,
) -> None:
    rng = np.random.default_rng(0)
    labels = np.tile(np.array([[1, 0], [0, 1]], np.int8), (15, 1))
    split = np.repeat(np.arange(3, dtype=np.uint8), 10)
    labels[split == 1] = masked
    codes = rng.integers(0, 4, (30, 40)).astype(np.uint8)
    datasets.write(datasets.Dataset(codes, labels, split, ("a", "b")), tmp_path / "own.h5", None)
    study_file, url = tmp_path / "own.yaml", str(tmp_path / "store")
    study_file.write_text(
        "{name: own, datasets: {own: {kind: file, path: own.h5, length: 40, classes: "
        "{a: [MA0083.3], b: [MA0095.2]}}}, models: {m: {conv: [{filters: 2, width: 3}]}}}"
    )
    if place == "store":  # by an earlier version, which did not check it
        with monkeypatch.context() as patch:
            patch.setattr(datasets, "check_validation", lambda *_: None)
            assert main(["dataset", str(study_file), "--store", url]) == 0
        (tmp_path / "own.h5").unlink()
    capsys.readouterr()
    for command in ("plan", "dataset"):
        assert main([command, str(study_file), "--store", url]) in (1, 2)
        err = capsys.readouterr().err
        name = "a" if masked[0] == -1 else "b"
        assert f"class {name} has no known label in the valid part" in err
