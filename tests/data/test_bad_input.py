"""``motifk8s import`` rejects bad files: exit code 2, a message of one line, no output file."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from Bio import bgzf
from helpers.broken_bundles import BROKEN, CLASSES
from helpers.bundles import LENGTH, make, pack, write
from helpers.tiny import one_line

from motifk8s.data import datasets

CHROMOSOMES = ["chr1", "chr2", "chr7", "chr8", "chr9"]
SIZE = 4200  # bp of each chromosome


def random_text(rng, n):
    return "".join(rng.choice(list("ACGT"), n))


def fasta(seed):
    rng = np.random.default_rng(seed)
    return "".join(f">s{i}\n{random_text(rng, 40)}\n" for i in range(40))


def genome():
    rng = np.random.default_rng(2)
    lines = {name: [random_text(rng, 60) for _ in range(SIZE // 60)] for name in CHROMOSOMES}
    return "".join(f">{name}\n" + "\n".join(text) + "\n" for name, text in lines.items())


def peaks(*starts):
    return "".join(f"{c}\t{start}\t{start + 150}\n" for c in CHROMOSOMES for start in starts)


A, B, GENOME = fasta(0), fasta(1), genome()
P, Q = peaks(600, 1800), peaks(1200, 2600)


def blocked(text):
    """Compress like bgzip, in blocks and with a marker at the end."""
    with tempfile.TemporaryDirectory() as folder:
        with bgzf.open(f"{folder}/x.gz", "w") as file:
            file.write(text)
        return Path(folder, "x.gz").read_bytes()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Make good files in the working directory, and the directory ``out`` for outputs."""
    for name, text in (("a.fa", A), ("b.fa", B), ("a.bed", P), ("b.bed", Q), ("g.fa", GENOME)):
        (tmp_path / name).write_text(text)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


OUT = ("--out", "out/x.h5", "--study-out", "out/x.yaml")
FASTA = ("fasta", "a=a.fa", "b=b.fa", "--negatives", "dinucleotide", *OUT)
BED = ("bed", "a=a.bed", "b=b.bed", "--length", 400, "--bins-out", "out/bins.tsv", *OUT)
HDF5 = ("hdf5", "x.h5", "--classes", "SRF,YY1", *OUT)


def refused(here, message, *words):
    """Run an import that must fail with this message and write nothing."""
    code, _, err = here("import", *words)
    assert code == 2, err
    assert err == one_line(err) + "\n"
    assert re.search(message, err), err
    assert not list(Path("out").iterdir())
    assert not Path("store").exists()


def test_the_good_files_are_good(here, place):
    assert here("import", *FASTA)[0] == here("import", *BED, "--genome", "g.fa")[0] == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["bins.tsv", "x.h5", "x.yaml"]


# --------------------------------------------------------------------------------------- FASTA

ZIPPED = gzip.compress(B.encode())
TEXTS = {
    "empty": ("", "bad: is empty"),
    "empty in gzip": (gzip.compress(b""), "bad: is empty"),
    "carriage returns": (B.replace("\n", "\r"), "bad, line 1: a carriage return within the line"),
    "UTF-16": (B.encode("utf-16"), "bad, line 1: is not text"),
    "gzip cut short": (ZIPPED[:-200], r"bad, after line \d+: the gzip data are truncated"),
    "gzip cut in its end": (ZIPPED[:-4], "bad, after line 80: the gzip data are truncated"),
    "gzip cut at once": (ZIPPED[:6], "bad, after line 0: the gzip data are truncated"),
    "gzip damaged": (ZIPPED[:-8] + b"damaged!", "bad, after line 80: the gzip data are damaged"),
}
BAD_FASTA = TEXTS | {
    "protein": (B + ">p\nMKVL\n", "bad, line 82, column 4: 'L' is not a base; sequences are DNA"),
    "RNA": (B + ">p\nACGU\n", "bad, line 82, column 4: 'U' is not a base; this is RNA"),
    "aligned": (B + ">p\nAC-T\n", "bad, line 82, column 3: '-' is not a base; a gap"),
    "a letter, CRLF": ((B + ">p\nACXT\n").replace("\n", "\r\n"), "bad, line 82, column 3: 'X'"),
    "no sequence": (B + ">z\n", "bad, line 81: z has no sequence"),
    "another length": (B + ">z\nACGT\n", "bad, line 81: z has 4 bp, but s0, .* has 40"),
    "FASTQ": ("@r\nACGT\n+\nIIII\n", "bad, line 1: not FASTA.*FASTQ"),
    "a page": ("<html>\n404\n", "bad, line 1: not FASTA"),
}  # fmt: skip


def written(path, content):
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("what", BAD_FASTA)
def test_fasta(here, place, what):
    content, message = BAD_FASTA[what]
    written("bad", content)
    refused(here, message, *FASTA[:2], "b=bad", *FASTA[3:])


@pytest.mark.parametrize(
    "option", ["--valid", "--test", "--negatives", "--valid-negatives", "--test-negatives"]
)
def test_fasta_in_every_place(here, place, option):
    written("bad", BAD_FASTA["protein"][0])
    for files in (["bad"], ["a=a.fa", "b=bad"]):
        refused(here, "bad, line 82, column 4", *FASTA[:3], *OUT, option, *files)


# ----------------------------------------------------------------------------------------- BED

BAD_BED = {
    **{what: (c, m) for what, (c, m) in TEXTS.items() if not what.startswith("gzip")},
    "gzip cut short": (gzip.compress(Q.encode())[:-12], "bad, after line .* data are truncated"),
    "off the end": ("chr1\t4200\t4201\n", "bad, line 1: 4200 to 4201 is outside chr1 .4200 bp"),
    "off the end, CRLF": ("chr1\t4200\t4201\r\n", "bad, line 1: 4200 to 4201 is outside chr1"),
    "no such chromosome": (
        "chr77\t3\t9\n", "bad, line 1: chromosome chr77 is not in g.fa, which has chr1, chr2"
    ),
    "before the beginning": ("chr1\t-1\t0\n", "bad, line 1: -1 to 0 is outside chr1"),
    "backwards": ("chr1\t9\t5\n", "bad, line 1: the end 5 is not above the start 9"),
    "no number": (f"{Q}chr1\tx\t5\n", "bad, line 11: the start 'x' is not a whole number"),
    "two columns": (f"{Q}chr1\t5\n", "bad, line 11: 2 columns"),
    "FASTA": (B, "bad, line 1: 1 column; BED"),
    "only comments": ("# none\n", "bad: has no intervals"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_BED)
def test_bed(here, place, what):
    content, message = BAD_BED[what]
    written("bad", content)
    refused(here, message, *BED[:2], "b=bad", *BED[3:], "--genome", "g.fa")


BLOCKED = blocked(GENOME)
BAD_GENOMES = {
    "bad.fa": {
        "empty": ("", "is empty"),
        "a name twice": (GENOME + ">chr1\nACGT\n", "bad.fa: has more than one sequence chr1"),
        "ragged lines": (
            GENOME.replace("\n>chr2", "\nAC\nACG\n>chr2"), "the lines of chr1 differ in length"
        ),
        "a chromosome missing": (
            GENOME[: GENOME.index(">chr9")], "chromosome chr9 is not in bad.fa.*--test"
        ),
        "RNA": (GENOME.replace("T", "U"), r"bad.fa, chr1:\d+: 'U' is not a base; this is RNA"),
        "protein": (GENOME.replace("T", "E"), r"bad.fa, chr1:\d+: 'E' is not a base"),
        "BED": (P, "bad.fa: not FASTA"),
    },
    "bad.fa.gz": {
        "gzip": (gzip.compress(GENOME.encode())[:-20], "bad.fa.gz: the gzip data are truncated"),
        "cut short": (BLOCKED[:-2000], "bad.fa.gz: is truncated"),
        "without its end": (BLOCKED[:-28], "bad.fa.gz: is truncated"),
        "damaged": (BLOCKED[:5000] + b"damaged!" + BLOCKED[5008:], "the gzip data are damaged"),
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "what"), [(name, what) for name, cases in BAD_GENOMES.items() for what in cases]
)
def test_genomes(here, place, name, what):
    content, message = BAD_GENOMES[name][what]
    written(name, content)
    refused(here, message, *BED, "--genome", name)


@pytest.mark.parametrize("what", [("bad.fa", "a name twice"), ("bad.fa.gz", "without its end")])
def test_a_genome_is_measured_at_each_opening(here, place, what):
    name = what[0]
    written(name, BAD_GENOMES[name][what[1]][0])
    refused(here, name, *BED, "--genome", name)
    # A good genome replaces it, with an older date like a copy.
    written(name, blocked(GENOME) if name.endswith("gz") else GENOME)
    os.utime(name, (1e9, 1e9))
    code, _, err = here("import", *BED, "--genome", name)
    assert code == 0, err


# ------------------------------------------------------------------------- valid variants of input


@pytest.mark.parametrize("zipped", [False, True])
def test_line_ends_of_windows_make_no_difference(here, place, zipped):
    hashes = []
    for end in ("\n", "\r\n"):
        for name, text in (("b.fa", B), ("b.bed", Q)):
            data = text.replace("\n", end).encode()
            written(name, gzip.compress(data) if zipped else data)
        written("w.fa", GENOME.replace("\n", end))
        for words in (FASTA, (*BED, "--genome", "w.fa")):
            code, _, err = here("import", *words)
            assert code == 0, err
            hashes.append(datasets.read("out/x.h5").data_hash)
    assert hashes[:2] == hashes[2:] and hashes[0] != hashes[1]


def test_peaks_of_one_name_or_given_twice_count_once(here, place):
    assert here("import", *BED, "--genome", "g.fa")[0] == 0
    once = datasets.read("out/x.h5").data_hash
    written("b.bed", "".join(f"{line}\tpeak\n" for line in [*Q.splitlines(), *Q.splitlines()]))
    assert here("import", *BED, "--genome", "g.fa")[0] == 0
    assert datasets.read("out/x.h5").data_hash == once


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--motifs", "b=X1.1"), "has no motif 'X1.1'"),
        (("--motifs", "c=MA0083.3"), "no class c"),
        (("--release", "J"), "unknown JASPAR release"),
    ],
)
def test_errors_at_the_end_leave_no_output(here, place, words, message):
    refused(here, message, *FASTA, *words)
    refused(here, message, *BED, "--genome", "g.fa", *words)


def test_a_failed_import_keeps_earlier_outputs(here, place):
    written("bad", "")
    for name in ("x.h5", "x.yaml", "bins.tsv"):
        written(f"out/{name}", name)
    for words in ((*FASTA[:2], "b=bad", *FASTA[3:]), (*BED, "--genome", "bad")):
        assert here("import", *words)[0] == 2
    assert {path.name: path.read_text() for path in Path("out").iterdir()} == {
        name: name for name in ("x.h5", "x.yaml", "bins.tsv")
    }


# ---------------------------------------------------------------------------------------- HDF5


def reference(**changes):
    """Write the reference layout; replace some arrays, or leave them out for None."""
    rng = np.random.default_rng(0)
    with h5py.File("x.h5", "w") as file:
        for part, n in (("train", 20), ("valid", 4), ("test", 10)):
            arrays = {
                f"X_{part}": np.eye(4, dtype="f4")[rng.integers(0, 4, (n, 30))].transpose(0, 2, 1),
                f"Y_{part}": np.tile([[1, 0], [0, 1]], (n // 2, 1)),
            }
            for name, array in (arrays | changes).items():
                if name in arrays and array is not None:
                    file[name] = array


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Y_valid": None}, "x.h5: has no dataset Y_valid"),
        ({"X_test": np.ones((10, 4, 30))}, "X_test: sequence 0, position 0 is not one-hot"),
        ({"X_train": np.full((20, 30), "A", "S1")}, r"X_train is \|S1 of shape \(20, 30\)"),
        ({"Y_test": np.full((10, 2), 2)}, "Y_test row 0, class 0 is 2; labels are 1, 0 or -1"),
        ({"X_test": np.zeros((10, 2))}, r"X_test is float64 of shape \(10, 2\)"),  # like Y_test
        ({"Y_test": np.zeros((8, 2))}, r"X_test \(10, 4, 30\) and Y_test \(8, 2\) do not fit"),
        (
            {"X_train": np.zeros((0, 4, 30)), "Y_train": np.zeros((0, 2))},
            "x.h5: the train part has no sequences",
        ),
        ({"Y_test": np.tile([[1, 0]], (10, 1))}, "class YY1 has no positive sequence in the test"),
    ],
)
def test_hdf5(here, place, changes, message):
    reference(**changes)
    refused(here, message, *HDF5)


def test_not_hdf5(here, place):
    reference()
    assert here("import", *HDF5)[0] == 0
    for path in Path("out").iterdir():
        path.unlink()
    good = Path("x.h5").read_bytes()
    for content in (b"", good[: len(good) // 2], good[:-1], gzip.compress(good), A.encode()):
        written("x.h5", content)
        refused(here, "x.h5: not an HDF5 file, or truncated or damaged", *HDF5)
    Path("x.h5").unlink()
    refused(here, "x.h5: no such data set file", *HDF5)
    with h5py.File("x.h5", "w") as file:
        file["other"] = [1, 2]
    refused(here, "x.h5: has no dataset X_train; a data set has", *HDF5)


@pytest.mark.parametrize(
    ("classes", "message"),
    [("SRF", "x.h5: has 2 classes"), ("A,A", "A is given more than once"), ("A,", "name is empty")],
)
def test_class_names_of_hdf5(here, place, classes, message):
    reference()
    refused(here, message, "hdf5", "x.h5", "--classes", classes, *OUT)


# ------------------------------------------------------------------------------------- DeepSEA


@pytest.fixture(scope="module")
def arrays():
    return make()


@pytest.fixture
def bundle(place, arrays):
    """Write a good bundle to the folder ``mats``, and a study with its data set."""
    classes = {name: {"column": n, "motifs": ["MA0083.3"]} for name, n in CLASSES.items()}
    study = {
        "name": "mine",
        "datasets": {"invivo": {"kind": "deepsea", "length": LENGTH, "classes": classes}},
        "models": {"one": {"conv": [{"filters": 2, "width": 3}]}},
    }
    written("mine.yaml", json.dumps(study))
    return write(place / "mats", arrays)


def deepsea(source):
    return ("deepsea", source, "--study", "./mine.yaml", "--store", "store")


@pytest.mark.parametrize(
    "what",
    [
        "918 labels", "label 2", "length", "channels last", "value 2 in 5", "two bases",
        "rows differ", "no rows", "others", "train as valid", "valid as test", "cut 7.3", "cut 5",
        "damaged 7.3", "damaged 5", "empty", "a page", "missing", "twice", "no positives",
    ],
)  # fmt: skip
def test_deepsea(here, bundle, arrays, what):
    breaks, message = BROKEN[what]
    breaks(bundle, arrays)
    refused(here, message, *deepsea("mats"))


def test_archives_of_deepsea(here, bundle):
    good = pack(bundle, bundle.parent / "b.tar.gz").read_bytes()
    damaged = good[:-8] + b"damaged!"
    for content in (
        b"",
        good[: len(good) // 2],
        good[:-4],
        damaged,
        gzip.compress(b"x"),
        A.encode(),
    ):
        written("b.tar.gz", content)
        refused(here, "b.tar.gz: not a .tar.*truncated or damaged", *deepsea("b.tar.gz"))
    shutil.copytree(bundle, "other")
    for path in Path("other").iterdir():
        path.rename(path.with_suffix(".npz"))
    pack(Path("other"), Path("b.tar.gz"))
    refused(here, "b.tar.gz: has no train.mat and no valid.mat", *deepsea("b.tar.gz"))
    for path in ("none", "/none/b.tar.gz"):
        refused(here, f": {path}: found neither on this machine nor in", *deepsea(path))
    assert here("import", *deepsea("mats"))[0] == 0  # The study and the store are good.
