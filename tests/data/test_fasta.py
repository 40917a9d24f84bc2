"""FASTA files become the expected data set; errors name file, line and cause."""

from __future__ import annotations

import gzip
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motifk8s.data import assemble, datasets, fasta, files
from motifk8s.data.datasets import Dataset
from motifk8s.data.fasta import FastaOptions, read_fasta
from motifk8s.data.sequences import decode
from motifk8s.errors import InputError

ENCODE = Path(__file__).parents[3] / "shared" / "data" / "encode"


def random_texts(n: int, length: int = 50, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACGT"), length)) for _ in range(n)]


def write(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(texts)))
    return path


def rows(dataset: Dataset, part: str) -> dict[str, list[int]]:
    codes, labels = dataset.part(part)
    return dict(zip(decode(codes), labels.tolist(), strict=True))


def import_fasta(train: fasta.Files, **options: Any) -> tuple[Dataset, dict[str, int]]:
    return fasta.import_fasta(train, FastaOptions(**options))


@pytest.fixture
def two(tmp_path: Path) -> dict[str, Path]:
    """Two classes of 50 sequences each."""
    texts = random_texts(100)
    return {"a": write(tmp_path / "a.fa", texts[:50]), "b": write(tmp_path / "b.fa", texts[50:])}


# --- Reading ---------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    texts=st.lists(st.text("ACGTacgtNnRYk", min_size=1, max_size=30), min_size=1, max_size=5),
    width=st.integers(1, 40),
    end=st.sampled_from(["\n", "\r\n"]),
    zipped=st.booleans(),
    last=st.booleans(),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    width: int,
    end: str,
    zipped: bool,
    last: bool,
) -> None:
    path = tmp_path_factory.mktemp("fasta") / "x.fa"
    lines = ["; a comment", ""]
    expected = []
    for i, text in enumerate(texts):
        expected.append((f"s{i}", "labels=a more", len(lines) + 1, text.encode()))
        lines += [
            f">s{i} labels=a more",
            *(text[j : j + width] for j in range(0, len(text), width)),
        ]
        lines += [""] * (i % 2)
    data = (end.join(lines) + end * last).encode()
    path.write_bytes(gzip.compress(data) if zipped else data)
    assert [tuple(record) for record in read_fasta(path)] == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"\n\n", "has no sequences"),
        (b"; comment\n", "has no sequences"),
        (b"ACGT\n", "line 1: not FASTA, which begins with >NAME"),
        (b"\n@read1\nACGT\n+\nIIII\n", "line 2: not FASTA.*it looks like FASTQ"),
        (b">a\nACGT\n>b\nAC GT\n", "line 4, column 3: ' ' is not a base"),
        (b">a\nACGT\nACGU\n", "line 3, column 4: 'U' is not a base; this is RNA; write T for U"),
        (b">a\nMKVL\n", "line 2, column 4: 'L' is not a base; sequences are DNA"),
        (b">a\nAC-T\n", "line 2, column 3: '-' is not a base; a gap"),
        ("> a\nACé\n".encode(), "line 2, column 3: 'é' is not a base"),
        (b">a\n\xc3\n", "line 2, column 1: '.' is not a base"),
        (b">a\n>b\nACGT\n", "line 1: a has no sequence"),
        (b">a\nACGT\n>b\n", "line 3: b has no sequence"),
        (b">\n>b\nACGT\n", "line 1: .no name. has no sequence"),
        (b">a\rACGT\r>b\rACGT\r", "line 1: a carriage return within the line"),
        (">a\nACGT\n".encode("utf-16"), "line 1: is not text"),
        (b"\x89HDF\r\n\x1a\n\0\0\0", "is not text|not FASTA"),
        (gzip.compress(b">a\n" + os.urandom(500).hex().encode())[:-9], "gzip data are truncated"),
        (gzip.compress(b">a\nACGT\n", mtime=0)[:-6] + b"abcdef", "the gzip data are damaged"),
        (gzip.compress(b">a\nACGT\n", mtime=0) + b"rubbish", "the gzip data are damaged"),
    ],
)  # fmt: skip
def test_bad_files_are_rejected(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.fa"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"bad.fa.*({message})") as error:
        read_fasta(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("names", [".", "", "chr1:5-9", "{} {}"])
def test_names_need_not_be_unique(tmp_path: Path, two: dict[str, Path], names: str) -> None:
    expected = import_fasta(two, negatives="dinucleotide")[0].data_hash
    for path in two.values():
        lines = path.read_text().split("\n")
        lines = [f">{names}".format(i, "x") if x[:1] == ">" else x for i, x in enumerate(lines)]
        path.write_text("\n".join(lines))
    assert import_fasta(two, negatives="dinucleotide")[0].data_hash == expected


@pytest.mark.parametrize("text", [b">a\nACGT\n" * 2000, b">" + b"A" * 20000])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_text_that_does_not_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, zipped: bool
) -> None:
    path = tmp_path / "long.fa"
    path.write_bytes(gzip.compress(text) if zipped else text)
    monkeypatch.setattr(files, "budget", lambda: 10_000)
    monkeypatch.setattr(files, "PIECE", 64)
    with pytest.raises(InputError, match="the text has more than 10,0.* the budget is 10,000"):
        read_fasta(path)


def test_a_large_file_of_zeros_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "zeros.fa"
    with path.open("wb") as file:
        file.write(b">a\nACGT\n")
        file.truncate(10**12)  # sparse: no such space on the disk
    with pytest.raises(InputError, match="line 3: is not text"):
        read_fasta(path)


def test_long_lines_are_read_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = random_texts(7, 23)
    path = write(tmp_path / "long.fa", texts)
    for size in (1, 2, 5, 23, 24, 25):
        monkeypatch.setattr(files, "PIECE", size)
        assert [record.sequence.decode() for record in read_fasta(path)] == texts


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.fa", "no such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=message):
            read_fasta(path)
    (tmp_path / "bom.fa").write_bytes(b"\xef\xbb\xbf>a\nACGT\n")
    assert read_fasta(tmp_path / "bom.fa")[0].name == "a"


# --- One file per class ----------------------------------------------------------------------


def test_other_classes_are_unknown_or_negative(two: dict[str, Path]) -> None:
    dataset, notes = import_fasta(two, negatives="dinucleotide")
    assert notes == {"sequences read": 100, "dinucleotide shuffles made": 100}
    assert np.bincount(dataset.split).tolist() == [2 * 72, 2 * 8, 2 * 20]
    for name in datasets.PARTS:
        kinds, counts = np.unique(dataset.part(name)[1], axis=0, return_counts=True)
        assert kinds.tolist() == [[-1, 0], [-1, 1], [0, -1], [1, -1]]
        assert len(set(counts)) == 1  # Parts are drawn within each class.
        part = rows(dataset, name)
        positive = {t: labels for t, labels in part.items() if 1 in labels}
        pairs = {
            tuple(sorted(itertools.pairwise(t))): labels
            for t, labels in part.items()
            if t not in positive
        }
        for text, labels in positive.items():  # The shuffle is in the same part.
            assert pairs[tuple(sorted(itertools.pairwise(text)))] == [
                -1 if x < 0 else 0 for x in labels
            ]
    closed, _ = import_fasta(two, others_negative=True)
    assert set(map(tuple, closed.labels.tolist())) == {(1, 0), (0, 1)}
    with pytest.raises(
        InputError, match="class a has no negative sequence in the train part; .*--neg"
    ):
        import_fasta(two)


def test_the_seed_decides(two: dict[str, Path], tmp_path: Path) -> None:
    first, second, third = (
        import_fasta(two, negatives="dinucleotide", seed=seed)[0] for seed in (1, 1, 2)
    )
    assert first.data_hash == second.data_hash != third.data_hash
    assert (first.split == third.split).all()  # Parts have the same sizes.
    datasets.write(first, tmp_path / "x.h5", None)
    assert datasets.read(tmp_path / "x.h5", ["a", "b"]).data_hash == first.data_hash


def test_content_is_pinned(two: dict[str, Path]) -> None:
    dataset, _ = import_fasta(two, negatives="dinucleotide", seed=3)
    expected = "a3fd30e8ea4057554f545cd86b1f0c3d10dd5f0905095fdd06e887fa1c996b48"
    assert dataset.data_hash == expected


def test_held_out_files_and_given_negatives(two: dict[str, Path], tmp_path: Path) -> None:
    texts = random_texts(60, seed=1)
    held = {
        name: write(tmp_path / f"{name}.fa", texts[10 * i : 10 * i + 10])
        for i, name in enumerate(["va", "vb", "ta", "tb", "na", "all"])
    }
    dataset, notes = import_fasta(
        two,
        valid={"a": held["va"], "b": held["vb"]},
        test={"b": held["tb"], "a": held["ta"]},
        negatives="dinucleotide",
        test_negatives=held["all"],
    )
    assert notes["dinucleotide shuffles made"] == 120  # training and validation sequences
    test = rows(dataset, "test")
    assert test == (
        {t: [1, -1] for t in texts[20:30]}
        | {t: [-1, 1] for t in texts[30:40]}
        | {t: [0, 0] for t in texts[50:]}
    )
    assert {t for t, labels in rows(dataset, "valid").items() if 1 in labels} == set(texts[:20])
    assert len(dataset.part("train")[0]) == 200
    # Negatives in files take their share of the parts.
    dataset, _ = import_fasta(
        two, valid=0.2, test=0.5, negatives={"a": held["na"], "b": held["all"]}
    )
    assert [sum(0 in x for x in rows(dataset, p).values()) for p in datasets.PARTS] == [8, 2, 10]
    with pytest.raises(
        InputError, match="vb.fa: class c is not in the training set, which has a, b"
    ):
        import_fasta(two, valid={"c": held["vb"]})


def test_copies_become_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        datasets, "check_parts", lambda *_: None
    )  # so small a test set has no negatives
    texts = random_texts(12, seed=2)
    files = {
        "a": write(tmp_path / "a.fa", [*texts[:6], texts[0].lower()]),
        "b": write(tmp_path / "b.fa", [*texts[3:9], texts[11]]),
    }
    negatives = write(tmp_path / "n.fa", [*texts[8:11], texts[9]])
    test = {"a": write(tmp_path / "t.fa", [*texts[5:7], texts[9]])}
    dataset, notes = import_fasta(files, valid=0.1, test=test, negatives=negatives)
    every = {k: v for part in datasets.PARTS for k, v in rows(dataset, part).items()}
    assert len(every) == len(dataset.codes) == 12
    expected = [[1, -1]] * 3 + [[1, 1]] * 4 + [[-1, 1], [0, 1], [1, 0], [0, 0], [-1, 1]]
    assert every == dict(zip(texts, expected, strict=True))
    assert set(rows(dataset, "test")) == {texts[5], texts[6], texts[9]}
    assert notes == {
        "sequences read": 21,
        "copies of another sequence, merged with it": 9,
        "of them given as positive and as negative, kept as positive": 2,
        "of them also held out, kept out of training": 3,
    }


def test_a_shuffle_that_is_a_sequence_of_the_set_is_dropped(tmp_path: Path) -> None:
    texts = [*random_texts(30, 12), "A" * 12, "C" * 12]
    path = write(tmp_path / "a.fa", texts)
    dataset, notes = import_fasta({"a": path}, negatives="dinucleotide")
    assert notes["shuffles dropped: they equal another sequence"] >= 2
    found = decode(dataset.codes)
    assert len(set(found)) == len(found)
    assert (dataset.labels[[found.index("A" * 12), found.index("C" * 12)]] == 1).all()


# --- Labels in headers -----------------------------------------------------------------------


def test_labels_in_headers(tmp_path: Path) -> None:
    texts = random_texts(8)
    tags = [
        "labels=SRF,YY1",
        "x=1 labels=SRF,-YY1 split=train",
        "labels=-YY1 split=test",
        "labels= split=test",
        "labels=YY1 split=test more",
        "labels=SRF,-YY1 split=validation",
        "labels=",
        "labels=SRF split=test",
    ]
    path = tmp_path / "all.fa"
    path.write_text(
        "".join(f">s{i}\t{t}\n{x}\n" for i, (t, x) in enumerate(zip(tags, texts, strict=True)))
    )
    dataset, _ = import_fasta(path)
    assert dataset.classes == ("SRF", "YY1")
    labels = [[1, 1], [1, 0], [-1, 0], [0, 0], [-1, 1], [1, 0], [0, 0], [1, -1]]
    parts = ["train", "train", "test", "test", "test", "valid", "train", "test"]
    for part in datasets.PARTS:
        expected = {t: x for t, x, p in zip(texts, labels, parts, strict=True) if p == part}
        assert rows(dataset, part) == expected


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("s", "line 3: s has no labels=CLASS,... in its header"),
        ("s labels=a,", "line 3: labels=a,: an empty class name"),
        ("s labels=a,-", "an empty class name"),
        ("s labels=a split=dev", "line 3: split=dev: expected one of train, valid, test"),
    ],
)
def test_bad_headers(tmp_path: Path, header: str, message: str) -> None:
    path = tmp_path / "x.fa"
    path.write_text(f">r labels=a\nACGT\n>{header}\nACGA\n")
    with pytest.raises(InputError, match=message):
        import_fasta(path)
    path.write_text(">r labels=\nACGT\n")
    with pytest.raises(InputError, match="no header names a class"):
        import_fasta(path)
    path.write_text(">r labels=a\nACGT\n")
    test = tmp_path / "t.fa"
    test.write_text(">r labels=c\nACGT\n")
    with pytest.raises(
        InputError, match="t.fa, line 1: class c is not in the training set, which has a"
    ):
        import_fasta(path, test=test)


# --- Lengths, letters, shares ----------------------------------------------------------------


def test_lengths(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">p\nACGTA\n>q\nGGACCTAGG\n>r\nACGTAC\n>s\nCCCCC\n>t\nTTACC\n")
    with pytest.raises(
        InputError, match="x.fa, line 3: q has 9 bp, but p, .*, has 5; .*--length 5"
    ):
        import_fasta({"a": path})
    with pytest.raises(
        InputError, match="line 1: p has 5 bp, fewer than --length 6; .* --length 5"
    ):
        import_fasta({"a": path}, length=6)
    odd = write(tmp_path / "y.fa", ["TTTTR", "TTTTN", "GGGGA", "GGGGC", "GGGGT", "GGCCT"])
    options: dict[str, Any] = {"valid": 0.3, "test": 0.3, "negatives": odd}
    dataset, notes = import_fasta({"a": path}, length=5, **options)
    assert notes["longer sequences, cropped to the 5 bp in their centre"] == 2
    assert notes["sequences with IUPAC letters, read as N"] == 1
    # p and the crop of r are the same sequence; so are those that end in R and N.
    assert notes["copies of another sequence, merged with it"] == 2
    positive = decode(dataset.codes[dataset.labels[:, 0] == 1])
    assert sorted(positive) == ["ACCTA", "ACGTA", "CCCCC", "TTACC"]
    assert "TTTTN" in decode(dataset.codes)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 3), max_size=60),
    st.floats(0, 0.99),
    st.floats(0, 0.99),
    st.integers(0, 2**40),
)
def test_shares_are_drawn_within_each_kind(
    kinds: list[int], valid: float, test: float, seed: int
) -> None:
    kind = np.array(kinds, int)
    part = assemble.draw_parts(kind, valid, test, seed)
    for k in set(kinds):
        n = kinds.count(k)
        n_test = int(np.floor(test * n + 0.5))
        n_valid = int(np.floor(valid * (n - n_test) + 0.5))
        found = np.bincount(part[kind == k], minlength=3).tolist()
        assert found == [n - n_test - n_valid, n_valid, n_test]


def test_invalid_shares(two: dict[str, Path]) -> None:
    for share in (0.0, 1.0, -0.5, 7.0):
        with pytest.raises(InputError, match="test share .*: must be between 0 and 1"):
            import_fasta(two, test=share)
    with pytest.raises(InputError, match="valid part has no sequences"):
        import_fasta(two, valid=0.001, others_negative=True)


# --- Real data -------------------------------------------------------------------------------


@pytest.mark.skipif(not ENCODE.is_dir(), reason=f"the ENCODE peaks are not at {ENCODE}")
def test_five_encode_factors() -> None:
    names = ["ARID3A", "GABPA", "SP1", "SRF", "YY1"]

    def files(kind: str) -> dict[str, Path]:
        return {name: ENCODE / f"{name}.{kind}.fa.gz" for name in names}

    dataset, notes = import_fasta(
        files("train"),
        valid=0.1,
        test=files("test"),
        negatives="dinucleotide",
        test_negatives=files("shuffled"),
    )
    facts = datasets.describe(dataset)
    assert facts["length"] == 101 and facts["sequences_with_n"] == 0
    peaks = {name: len(read_fasta(path)) for name, path in files("train").items()}
    assert peaks == {"ARID3A": 8526, "GABPA": 6066, "SP1": 17748, "SRF": 4605, "YY1": 17828}
    for i, name in enumerate(names):
        positives = facts["positives"][name]
        # A few are peaks of two factors, and then of the part of either.
        assert abs(positives["train"] + positives["valid"] - peaks[name]) < 20
        assert abs(positives["valid"] - 0.1 * peaks[name]) < 12
        assert 500 <= positives["test"] < 520
        for part in ("train", "valid"):
            labels = dataset.part(part)[1][:, i]
            assert abs((labels == 0).sum() - positives[part]) < 3
        assert (dataset.part("test")[1][:, i] == 0).sum() == 500
    texts = decode(dataset.codes)
    assert len(set(texts)) == len(texts)  # so nothing of the test set is in training
