"""Each sequence of an import lies where its place says; files keep places, and may lack them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from motifk8s.data import datasets
from motifk8s.data.bed import COMPLEMENT, BedOptions, import_bed
from motifk8s.data.datasets import Dataset
from motifk8s.data.fasta import FastaOptions, import_fasta
from motifk8s.data.places import PLACE, make_places, rows_at
from motifk8s.data.sequences import decode, encode
from motifk8s.errors import InputError

SIZES = {"chr1": 900, "chr2": 700, "chr7": 800, "chr8": 600}


@pytest.fixture(scope="module")
def genome() -> dict[str, str]:
    rng = np.random.default_rng(5)
    return {name: "".join(rng.choice(list("ACGTacgt"), size)) for name, size in SIZES.items()}


@pytest.fixture
def source(genome: dict[str, str], tmp_path: Path) -> tuple[dict[str, Path], Path]:
    """Peaks, with chromosomes without chr and some beyond their ends; and the genome."""
    fasta = tmp_path / "genome.fa"
    fasta.write_text("".join(f">{name}\n{text}\n" for name, text in genome.items()))
    peaks = {}
    for number, name in enumerate("ab"):
        spans = [(-20, 60), (150 + 90 * number, 260 + 90 * number), (540, 2000)]
        lines = [f"{c[3:]}\t{s}\t{e}\n" for c, (s, e) in itertools.product(genome, spans)]
        peaks[name] = tmp_path / f"{name}.bed"
        peaks[name].write_text("".join(lines))
    return peaks, fasta


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"both_strands": True, "negatives": "bins"},
        {"both_strands": True, "negatives": "dinucleotide"},
        {"negatives": "all"},
        {"rule": "merged", "length": 120, "valid": 0.3},
    ],
)
def test_bed(
    genome: dict[str, str], source: tuple[dict[str, Path], Path], more: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"bin_size": 40, "length": 67, "test": ["8"], **more}
    dataset, _, bins = import_bed(*source, BedOptions(**options))
    assert dataset.places is not None
    names, length = dataset.places.names, dataset.codes.shape[1]
    shuffled = bins.get("shuffled", np.zeros(len(bins), bool))
    assert (dataset.places.rows["name"] == -1).tolist() == list(shuffled)
    strands = set()
    for codes, (name, start, strand) in zip(dataset.codes, dataset.places.rows, strict=True):
        if name < 0:
            continue
        strands.add(int(strand))
        there = encode([genome[names[name]][start : start + length]])[0]
        assert np.array_equal(codes, COMPLEMENT[there[::-1]] if strand < 0 else there)
    assert strands == ({1, -1} if "both_strands" in more else {1})


def write(path: Path, records: dict[str, str]) -> Path:
    path.write_text("".join(f">{name} more\n{text}\n" for name, text in records.items()))
    return path


def test_fasta(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    texts = ["".join(rng.choice(list("ACGT"), 31 + i % 3)) for i in range(40)]
    first = write(tmp_path / "first.fa", {f"peak_{i}": text for i, text in enumerate(texts[:20])})
    second = write(
        tmp_path / "second.fa", {f"peak_{i}": text for i, text in enumerate(texts[20:], 15)}
    )
    given = {f"peak_{i}": i for i in range(15)}
    given |= {f"A/peak_{i}": i for i in range(15, 20)}
    given |= {f"B_b/peak_{i}": i + 5 for i in range(15, 20)}
    given |= {f"peak_{i}": i + 5 for i in range(20, 35)}
    options = FastaOptions(length=30, negatives="dinucleotide")
    dataset, notes = import_fasta({"A": first, "B b": second}, options)
    assert dataset.places is not None
    names = dataset.places.names
    found = set()
    for text, (name, start, strand) in zip(decode(dataset.codes), dataset.places.rows, strict=True):
        if name >= 0:
            found.add(names[name])
            assert strand == 1 and texts[given[names[name]]][start : start + 30] == text
    assert found == set(given)
    nowhere = dataset.places.rows["name"] == -1
    assert nowhere.sum() == notes["dinucleotide shuffles made"]


def test_names_in_fasta_are_different(tmp_path: Path) -> None:
    """In one file the number of the record decides; a name is never two words."""
    texts = ["".join(np.random.default_rng(i).choice(list("ACGT"), 20)) for i in range(30)]
    path = tmp_path / "peaks of x.fa"
    heads = ["x labels=A", " ", "x labels=", "y labels=A", "z labels="] * 6
    heads = [head if head.strip() else "w labels=A" for head in heads]
    path.write_text("".join(f">{h}\n{t}\n" for h, t in zip(heads, texts, strict=True)))
    dataset, _ = import_fasta(path, FastaOptions())
    assert dataset.places is not None
    names = dataset.places.names
    assert names[:3] == ["peaks_of_x.fa/x_1", "peaks_of_x.fa/w_2", "peaks_of_x.fa/x_3"]
    assert len(set(names)) == 30
    text = dict(zip(names, texts, strict=True))
    rows = zip(decode(dataset.codes), dataset.places.rows["name"], strict=True)
    assert all(text[names[name]] == sequence for sequence, name in rows)


def test_of_copies_the_first_place_stays(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    texts = ["".join(rng.choice(list("ACGT"), 20)) for _ in range(20)]
    first = write(tmp_path / "a.fa", {f"a{i}": text for i, text in enumerate(texts)})
    copies = write(tmp_path / "b.fa", {f"b{i}": text for i, text in enumerate(texts)})
    dataset, _ = import_fasta({"a": first, "b": copies}, FastaOptions(negatives="dinucleotide"))
    assert dataset.places is not None
    numbers = dataset.places.rows["name"]
    assert {dataset.places.names[i] for i in numbers[numbers >= 0]} == {f"a{i}" for i in range(20)}


# --- Files -----------------------------------------------------------------------------------


@pytest.fixture
def placed() -> Dataset:
    codes = np.random.default_rng(1).integers(0, 5, (12, 9)).astype(np.uint8)
    labels = np.tile(np.array([[0], [1]], np.int8), (6, 1))
    split = np.repeat(np.arange(3, dtype=np.uint8), 4)
    rows = rows_at(np.arange(12) % 3 - 1, np.arange(12) + 2**33)
    rows["strand"][::2] = -1
    return Dataset(codes, labels, split, ("c",), places=make_places(rows, ["chrÄ", "chr2"]))


def test_a_file_keeps_places_and_the_hash_is_without(placed: Dataset, tmp_path: Path) -> None:
    assert placed.places is not None
    datasets.write(placed, tmp_path / "a.h5", None)
    again = datasets.read(tmp_path / "a.h5")
    assert again.places is not None
    assert np.array_equal(again.places.rows, placed.places.rows)
    assert again.places.names == ["chrÄ", "chr2"]
    without = replace(placed, places=None)
    assert again.data_hash == placed.data_hash == without.data_hash
    datasets.write(without, tmp_path / "b.h5", None)
    assert datasets.read(tmp_path / "b.h5").places is None
    with h5py.File(tmp_path / "b.h5") as file:  # as earlier versions wrote it
        assert set(file) == {"codes", "labels", "split", "classes"}


def set_row(field: str, value: int) -> Any:
    def change(file: h5py.File) -> None:
        rows = file["places"][...]
        rows[field][5] = value
        file["places"][...] = rows

    return change


def replaced(name: str, data: Any) -> Any:
    def change(file: h5py.File) -> None:
        del file[name]
        if data is not None:
            file[name] = data

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_row("name", 2), "the number of a place's name must be -1 to 1"),
        (set_row("name", -2), "the number of a place's name must be -1 to 1"),
        (set_row("start", -1), "a place must start at 0 or more, on strand -1 or 1"),
        (set_row("strand", 0), "a place must start at 0 or more, on strand -1 or 1"),
        (replaced("places", np.zeros(5, PLACE)), "has 12 sequences, but places of 5"),
        (replaced("places", np.zeros(12)), "places is float64 of shape"),
        (replaced("names", None), "has no dataset names"),
        (replaced("names", np.frombuffer(b"a\xff\nb", np.uint8)), "names of places are not UTF-8"),
    ],
)
def test_bad_places_are_refused(placed: Dataset, tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "a.h5"
    datasets.write(placed, path, None)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(InputError, match=message):
        datasets.read(path)
