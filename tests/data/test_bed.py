"""Bins and labels equal those of a count base by base; errors name the line."""

from __future__ import annotations

import gzip
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from motifk8s.data import bed, datasets, files, genome
from motifk8s.data.bed import BedOptions, read_bed
from motifk8s.data.sequences import decode, encode
from motifk8s.errors import InputError

Intervals = dict[str, list[tuple[str, int, int]]]  # by class


def write_genome(path: Path, sequences: Mapping[str, str], width: int = 7) -> Path:
    lines = []
    for name, text in sequences.items():
        lines += [f">{name} more", *(text[i : i + width] for i in range(0, len(text), width))]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_bed(path: Path, intervals: list[tuple[str, int, int]]) -> Path:
    path.write_text("".join(f"{c}\t{s}\t{e}\tx\n" for c, s, e in intervals))
    return path


def import_bed(peaks: Mapping[str, Path], path: Path, **options: Any) -> Any:
    return bed.import_bed(peaks, path, BedOptions(**options))


def random_genome(sizes: Mapping[str, int], seed: int = 0) -> dict[str, str]:
    rng = np.random.default_rng(seed)
    return {name: "".join(rng.choice(list("ACGTacgtN"), size)) for name, size in sizes.items()}


def brute_force(
    sequences: Mapping[str, str], peaks: Intervals, bin_size: int, length: int, rule: str
) -> set[tuple[Any, ...]]:
    """Return (chrom, start, sequence, labels) of each sequence with a label, base by base."""
    found = set()
    for chrom, text in sequences.items():
        covered = {
            name: {x for c, s, e in intervals if c == chrom for x in range(s, e)}
            for name, intervals in peaks.items()
        }

        def bin_labels(start: int, covered: dict[str, set[int]] = covered) -> list[int]:
            return [
                int(sum(x in bases for x in range(start, start + bin_size)) > bin_size / 2)
                for bases in covered.values()
            ]

        step = bin_size if rule == "bin" else length
        for start in range(0, len(text), step):
            if rule == "bin":
                labels = bin_labels(start)
                begin = start - (length - bin_size) // 2
            else:
                all_bins = [bin_labels(s) for s in range(start, start + length, bin_size)]
                labels = [max(column) for column in zip(*all_bins, strict=True)]
                begin = start
            if any(labels) and begin >= 0 and begin + length <= len(text):
                sequence = "".join(
                    base if base in "ACGT" else "N" for base in text[begin : begin + length].upper()
                )
                found.add((chrom, start, sequence, tuple(labels)))
    return found


SIZES = {"chr1": 83, "chr2": 40, "chr7": 60, "chr8": 61}


@st.composite
def cases(draw: st.DrawFn) -> tuple[Intervals, int, int, str]:
    def interval(chrom: str) -> st.SearchStrategy[tuple[str, int, int]]:
        ends = st.lists(st.integers(0, SIZES[chrom]), min_size=2, max_size=2, unique=True)
        return ends.map(lambda pair: (chrom, min(pair), max(pair)))

    some = st.lists(st.sampled_from(list(SIZES)).flatmap(interval), min_size=1, max_size=8)
    peaks = {name: draw(some) for name in ("a", "b")}
    rule = draw(st.sampled_from(["bin", "merged"]))
    bin_size = draw(st.integers(1, 9))
    length = bin_size * draw(st.integers(1, 4))
    if rule == "bin":
        length += draw(st.integers(0, 3))
    return peaks, bin_size, length, rule


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cases())
def test_bins_and_labels_are_those_of_brute_force(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: tuple[Intervals, int, int, str]
) -> None:
    peaks, bin_size, length, rule = case
    # Small random genomes may lack positives or negatives of a class in a part.
    monkeypatch.setattr("motifk8s.data.datasets.check_parts", lambda *_: None)
    monkeypatch.setattr(genome, "STRETCH", 20)
    sequences = random_genome(SIZES)
    path = tmp_path / "genome.fa"
    if not path.exists():
        write_genome(path, sequences)
    files = {name: write_bed(tmp_path / f"{name}.bed", rows) for name, rows in peaks.items()}
    expected = brute_force(sequences, peaks, bin_size, length, rule)
    options: dict[str, Any] = {"bin_size": bin_size, "length": length, "rule": rule}
    if not expected:
        with pytest.raises(InputError, match="peaks cover no usable bin"):
            import_bed(files, path, test=["8"], **options)
        return
    dataset, notes, bins = import_bed(files, path, test=["8"], **options)
    rows = zip(
        bins["chrom"], bins["start"], decode(dataset.codes), map(tuple, dataset.labels), strict=True
    )
    assert len(bins) == len(expected)
    assert set(rows) == expected
    part = {"chr1": 0, "chr2": 0, "chr7": 1, "chr8": 2}
    assert dataset.split.tolist() == [part[c] for c in bins["chrom"]] == sorted(dataset.split)


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cases())
def test_both_strands_and_all_bins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: tuple[Intervals, int, int, str]
) -> None:
    peaks, bin_size, length, rule = case
    monkeypatch.setattr("motifk8s.data.datasets.check_parts", lambda *_: None)
    sequences = random_genome(SIZES)
    path = tmp_path / "genome.fa"
    if not path.exists():
        write_genome(path, sequences)
    files = {name: write_bed(tmp_path / f"{name}.bed", rows) for name, rows in peaks.items()}
    options: dict[str, Any] = {"bin_size": bin_size, "length": length, "rule": rule}
    assume(brute_force(sequences, peaks, bin_size, length, rule))
    dataset, *_ = import_bed(files, path, test=["8"], **options)
    both, *_ = import_bed(files, path, test=["8"], both_strands=True, **options)
    for name in datasets.PARTS:
        codes, labels = both.part(name)
        forward, its_labels = dataset.part(name)
        n = len(forward)
        assert (codes[:n] == forward).all() and (labels == np.tile(its_labels, (2, 1))).all()
        complement = [t[::-1].translate(str.maketrans("ACGT", "TGCA")) for t in decode(forward)]
        assert decode(codes[n:]) == complement
    every, _, every_bins = import_bed(files, path, test=["8"], negatives="all", **options)
    step = bin_size if rule == "bin" else length
    left = 0 if rule == "merged" else (length - bin_size) // 2
    inside = {
        (c, s)
        for c, n in SIZES.items()
        for s in range(0, n, step)
        if s >= left and s - left + length <= n
    }
    assert set(zip(every_bins["chrom"], every_bins["start"], strict=True)) == inside
    assert len(every_bins) == len(inside)
    marked = (every.labels == 1).any(axis=1)
    assert sorted(decode(every.codes[marked])) == sorted(decode(dataset.codes))


def test_a_peak_of_exactly_half_a_bin_gives_no_label(tmp_path: Path) -> None:
    path = write_genome(tmp_path / "g.fa", random_genome({"chr1": 2000}))
    half = [("chr1", 400, 500), ("chr1", 600, 701), ("chr1", 800, 850), ("chr1", 850, 901)]
    file = write_bed(tmp_path / "a.bed", [*half, ("chr1", 1000, 1060), ("chr1", 1040, 1100)])
    with pytest.raises(InputError, match="train part has no sequences; .*--negatives bins"):
        import_bed({"a": file}, path, test=["chr1"], valid=0.5)
    # Peaks cover half of bins 2 and 5, one base more of bin 3, and bin 4 by two adjacent peaks.
    bins, labels = bed._label([read_bed(file)], 200)
    assert bins["number"].tolist() == [2, 3, 4, 5]
    assert labels[:, 0].tolist() == [0, 1, 1, 0]


@pytest.fixture
def small(tmp_path: Path) -> tuple[dict[str, Path], Path]:
    """Two classes on five chromosomes, with two bins of each class on each chromosome."""
    sizes = {f"chr{n}": 4000 for n in (1, 2, 7, 8, "X")}
    text = {n: t.replace("N", "A") for n, t in random_genome(sizes, 1).items()}
    path = write_genome(tmp_path / "g.fa", text, 60)
    a = [(c, s, s + 150) for c in sizes for s in (600, 1800)]
    b = [(c, s, s + 190) for c in sizes for s in (1200, 2600)]
    return {"a": write_bed(tmp_path / "a.bed", a), "b": write_bed(tmp_path / "b.bed", b)}, path


def test_chromosomes_and_parts(small: tuple[dict[str, Path], Path], tmp_path: Path) -> None:
    peaks, path = small
    dataset, notes, bins = import_bed(peaks, path, test=["8"], length=400)
    assert list(bins["chrom"].unique()) == ["chr1", "chr2", "chr7", "chr8"]
    assert notes == {"peaks dropped: on chromosomes that are not used": 4}
    assert dict(bins.groupby("chrom")["part"].first()) == dict(chr1=0, chr2=0, chr7=1, chr8=2)
    assert list(bins) == ["chrom", "start", "end", "sequence_start", "part", "strand"]
    assert ((bins["end"] - bins["start"]) == 200).all()
    assert (bins["start"] - bins["sequence_start"] == 100).all()
    file = tmp_path / "x.h5"
    datasets.write(dataset, file, None)
    assert datasets.read(file).data_hash == dataset.data_hash
    only, *_ = import_bed(
        peaks, path, test=["chrX"], valid=["2"], chromosomes=["1", "2", "X"], length=400
    )
    assert np.bincount(only.split).tolist() == [4, 4, 4]
    with pytest.raises(InputError, match="--test chr8: it is not among the --chromosomes"):
        import_bed(peaks, path, test=["chr8"], chromosomes=["chr1", "chr2"])
    with pytest.raises(InputError, match="--valid chr8: it is already held out"):
        import_bed(peaks, path, test=["chr8"], valid=["chr8"])
    with pytest.raises(InputError, match="chromosome chr9 is not in .*g.fa, which has chr1"):
        import_bed(peaks, path)


def test_a_share_for_validation_overlaps_nothing(small: tuple[dict[str, Path], Path]) -> None:
    peaks, path = small
    options: dict[str, Any] = {"test": ["chr8"], "length": 1000, "negatives": "bins"}
    dataset, _, bins = import_bed(peaks, path, valid=0.4, **options)
    assert 0 < (dataset.split == 1).sum() < (dataset.split == 0).sum()
    assert (bins["part"] == dataset.split).all()
    places = {
        part: {
            (chrom, x)
            for chrom, start in table[["chrom", "sequence_start"]].itertuples(index=False)
            for x in range(start, start + 1000)
        }
        for part, table in bins.groupby("part")
    }
    assert not places[0] & places[1] and not places[0] & places[2]
    again, *_ = import_bed(peaks, path, valid=0.4, **options)
    other, *_ = import_bed(peaks, path, valid=0.4, seed=1, **options)
    assert again.data_hash == dataset.data_hash != other.data_hash
    with pytest.raises(InputError, match="--valid must name chromosomes"):
        import_bed(peaks, path, valid=0.4, test=["chr8"], negatives="all")


def test_content_is_pinned(small: tuple[dict[str, Path], Path]) -> None:
    options: dict[str, Any] = {"test": ["8"], "valid": 0.4, "length": 400, "seed": 3}
    dataset, *_ = import_bed(*small, negatives="bins", both_strands=True, **options)
    expected = "a1b6a425679b2165cb73ba252e364c74c9755c387ad1b16ca7f79574405b281a"
    assert dataset.data_hash == expected


def test_negatives(small: tuple[dict[str, Path], Path]) -> None:
    peaks, path = small
    one = {"a": peaks["a"]}
    with pytest.raises(InputError, match="a has no negative sequence in the train part; .*bins"):
        import_bed(one, path, test=["8"])
    dataset, _, bins = import_bed(one, path, test=["8"], negatives="bins")
    for chrom, rows in bins.groupby("chrom"):
        labels = dataset.labels[rows.index, 0]
        assert labels.sum() == 2 and len(labels) == 4, chrom
        for start in rows["start"][labels == 0]:  # No peak touches a negative bin.
            assert not any(s < start + 200 and start < s + 150 for s in (600, 1800))
    dataset, notes, bins = import_bed(peaks, path, test=["8"], negatives="dinucleotide")
    shuffled = bins["shuffled"].to_numpy()
    assert notes["dinucleotide shuffles made"] == shuffled.sum() == len(bins) / 2
    places = list(zip(bins["chrom"], bins["start"], strict=True))
    real = {place: i for i, place in enumerate(places) if not shuffled[i]}
    for i in np.flatnonzero(shuffled):
        parent = real[places[i]]
        assert dataset.split[i] == dataset.split[parent]
        assert (dataset.labels[i] == np.where(dataset.labels[parent] == 1, 0, -1)).all()
        pairs = [sorted(itertools.pairwise(row)) for row in dataset.codes[[i, parent]].tolist()]
        assert pairs[0] == pairs[1]


def test_negative_bins_with_unknown_bases_are_dropped(tmp_path: Path) -> None:
    text = {f"chr{n}": ("ACGT" * 300)[:1000] + "N" * 1000 for n in (1, 7, 8)}
    path = write_genome(tmp_path / "g.fa", text)
    file = write_bed(
        tmp_path / "a.bed", [(c, s, e) for c in text for s, e in ((0, 450), (990, 1011))]
    )
    dataset, notes, _ = import_bed(
        {"a": file}, path, test=["8"], bin_size=20, length=20, negatives="bins"
    )
    assert notes["negative bins dropped: with N"] > 10
    negative = dataset.labels[:, 0] == 0
    assert (dataset.codes[negative] < 4).all() and (dataset.codes[~negative] == 4).any()


def test_columns_comments_and_compression(tmp_path: Path) -> None:
    text = (
        "track name=x\r\nbrowser position chr1\r\n# comment\r\n\r\n"
        "chr1\t5\t9\tpeak 1\t0\t.\t1.5\t-1\t-1\t2\r\nchr2 7 8\r\n"
    )
    (tmp_path / "a.narrowPeak.gz").write_bytes(gzip.compress(text.encode()))
    table = read_bed(tmp_path / "a.narrowPeak.gz")
    assert table.to_numpy().tolist() == [["chr1", 5, 9, 5], ["chr2", 7, 8, 6]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# only\ntrack x\n", "has no intervals"),
        ("chr1\t5\n", "line 1: 2 columns"),
        ("chr1\t5\t5\n", "line 1: the end 5 is not above the start 5; no peak"),
        ("chr1\t9\t7\nchrX\t5\t6\n", "line 1: the end 7 is not above the start 9; no peak"),
        ("chr1\t-5\t0\n", "line 1: -5 to 0 is outside chr1 .4000 bp.; use the genome"),
        ("chrom\tstart\tend\n", "line 1: the start 'start' is not a whole number; begin header"),
        ("chr1\t1.5\t4\n", "'1.5' is not a whole number"),
        ("chr1\t1\t1e3\n", "'1e3' is not a whole number"),
        ("chr1\t1\t٣\n", "is not a whole number"),
        ("chr1\t4000\t4001\n", "line 1: 4000 to 4001 is outside chr1 .4000 bp"),
        ("chrM\t1\t40\n", "line 1: chromosome chrM is not in .*; use the genome"),
        ("chrX\t1\t40\n", "line 1: chrX is not among the chromosomes used .chr1, chr2"),
        ("chr1\t1\t4\rchr1\t7\t8\r", "line 1: a carriage return within the line"),
        ("\0\0", "line 1: is not text"),
    ],
)
def test_bad_peaks_are_rejected(
    small: tuple[dict[str, Path], Path], tmp_path: Path, text: str, message: str
) -> None:
    peaks, path = small
    bad = tmp_path / "bad.bed"
    bad.write_bytes(text.encode())
    with pytest.raises(InputError, match=message) as error:
        import_bed({**peaks, "bad": bad}, path, test=["8"])
    assert "\n" not in str(error.value) and "bad.bed" in str(error.value)


def test_bad_files_are_rejected(small: tuple[dict[str, Path], Path], tmp_path: Path) -> None:
    peaks, path = small
    cut = tmp_path / "cut.bed.gz"
    cut.write_bytes(gzip.compress(b"chr1\t1\t2\n" + b"#" + os.urandom(2000).hex().encode())[:-500])
    with pytest.raises(InputError, match="cut.bed.gz, after line .*: the gzip data are truncated"):
        read_bed(cut)
    for file, message in ((tmp_path / "none.bed", "no such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=message):
            read_bed(file)
    with pytest.raises(InputError, match="no peak files"):
        import_bed({}, path)
    bad: list[tuple[dict[str, Any], str]] = [
        ({"bin_size": 0}, "at least 1 bp"),
        ({"bin_size": 300, "length": 200}, "as long as a bin"),
        ({"length": 500, "rule": "merged"}, "multiple of --bin"),
        ({"valid": 1.5}, "between 0 and 1"),
    ]
    for options, message in bad:
        with pytest.raises(InputError, match=message):
            import_bed(peaks, path, test=["8"], **options)


def test_bad_genomes_are_rejected(small: tuple[dict[str, Path], Path], tmp_path: Path) -> None:
    peaks, path = small
    text = path.read_text()
    for name, data, message in (
        ("empty.fa", b"", "is empty"),
        ("zip.fa.gz", gzip.compress(text.encode())[:-9], "the gzip data are truncated"),
        ("words.fa", b"hello\n", "not FASTA"),
        ("zeros.fa", b">chr1\nACGT\n" + bytes(1000), "is not text"),
        ("mac.fa", text.replace("\n", "\r").encode(), "a carriage return within a line"),
        ("twice.fa", (text + text).encode(), "more than one sequence chr1"),
        ("ragged.fa", b">chr1\nACGT\nAC\nACGT\n>chr8\nAC\n", "lines of chr1 differ in length"),
        ("longer.fa", b">chr1\nACGT\n>chr8\nAC\nACG\n", "lines of chr8 differ in length"),
        ("rna.fa", text.replace("T", "U").encode(), "'U' is not a base; this is RNA"),
        ("protein.fa", text.replace("T", "E").encode(), "'E' is not a base"),
    ):
        bad = tmp_path / name
        bad.write_bytes(data)
        with pytest.raises(InputError, match=message) as error:
            import_bed(peaks, bad, test=["8"], length=400)
        assert "\n" not in str(error.value) and name in str(error.value)
    with pytest.raises(InputError, match="no such file"):
        import_bed(peaks, tmp_path / "none.fa")


@pytest.mark.parametrize("change", ["unwrapped", "shifted", "another width", "a line less"])
def test_an_index_older_than_its_genome_is_not_used(
    small: tuple[dict[str, Path], Path], change: str
) -> None:
    peaks, path = small
    sequences, index, offset = {}, "", 0
    for record in path.read_text().split(">")[1:]:
        header, *lines = record.splitlines()
        name, offset = header.split()[0], offset + len(header) + 2
        sequences[name] = "".join(lines)
        index += f"{name}\t{len(sequences[name])}\t{offset}\t60\t61\n"
        offset += len(record) - len(header) - 1
    Path(f"{path}.fai").write_text(index)
    width = {"unwrapped": 4000, "another width": 50}.get(change, 60)
    if change == "shifted":
        sequences = {"chr1": sequences["chr1"][600:], **sequences, "chrY": sequences["chr1"]}
    elif change == "a line less":
        sequences["chr2"] = sequences["chr2"][60:]
    write_genome(path, sequences, width)
    os.utime(path, (1e9, 1e9))  # dates kept by rsync or tar
    dataset, _, bins = import_bed(peaks, path, test=["8"], length=400)
    for row, start, chrom in zip(
        decode(dataset.codes), *bins[["sequence_start", "chrom"]].to_numpy().T, strict=True
    ):  # noqa: E501
        assert row == sequences[chrom][start : start + 400].upper()
    assert Path(f"{path}.fai").read_text() == index


def test_layouts_of_a_genome_make_no_difference(
    small: tuple[dict[str, Path], Path], tmp_path: Path
) -> None:
    peaks, path = small
    text = path.read_text()
    options: dict[str, Any] = {"test": ["8"], "length": 400}
    expected = import_bed(peaks, path, **options)[0].data_hash
    body = text.replace("\n>", "\n\n\n>")  # blank lines between sequences
    for number, data in enumerate(
        (
            text.rstrip("\n"),
            text + "\n\n",
            text.replace("\n", "\r\n") + "\r\n\r\n",
            body + "\n",
            "; a comment\n;another\n\n" + text,
            text + ">chrEBV\nACGT\n>chrEBV\nACGT\n>\nAC\n>empty\n",
            gzip.compress(text.encode()),
            gzip.compress(text[:5000].encode()) + gzip.compress(text[5000:].encode()),
        )
    ):
        genome_file = tmp_path / f"{number}.fa"
        genome_file.write_bytes(data if isinstance(data, bytes) else data.encode())
        assert import_bed(peaks, genome_file, **options)[0].data_hash == expected, number


def test_bad_intervals_are_dropped_or_clipped(
    small: tuple[dict[str, Path], Path], tmp_path: Path
) -> None:
    peaks, path = small
    options: dict[str, Any] = {"test": ["8"], "length": 400, "negatives": "bins"}
    clipped = [("chr1", 3650, 4000), ("chr2", 0, 190)]
    good = [line.split("\t") for line in peaks["a"].read_text().splitlines()]
    rows = [(c, int(s), int(e)) for c, s, e, _ in good]
    expected, _, _ = import_bed(
        {"a": write_bed(tmp_path / "w.bed", rows + clipped)}, path, **options
    )
    bad = [
        ("chr1", 3650, 4001), ("chr2", -7, 190),  # clipped
        ("chr1", 4000, 4100), ("chr7", -9, 0), ("chr8", 10**13, 10**14),  # outside
        ("chr1", 5, 5), ("chr2", 9, 5),  # empty or backwards
        ("chrEBV", 1, 90), ("HLA-A*01:01", -5, 2),  # the genome lacks them
        ("chrX", 9, 5), ("chrX", -4, 9),  # not used
    ]  # fmt: skip
    file = write_bed(tmp_path / "bad.bed", [*bad[3:], *rows, *bad[:3]])
    dataset, notes, _ = import_bed({"a": file}, path, **options)
    assert dataset.data_hash == expected.data_hash
    assert {k: n for k, n in notes.items() if k.startswith("peaks")} == {
        "peaks dropped: the genome lacks their chromosome": 2,
        "peaks dropped: on chromosomes that are not used": 4,  # two of the good ones
        "peaks dropped: empty or backwards": 2,
        "peaks dropped: outside their chromosome": 3,
        "peaks clipped to their chromosome": 2,
    }


def test_names_with_and_without_chr(small: tuple[dict[str, Path], Path], tmp_path: Path) -> None:
    peaks, path = small
    expected = import_bed(peaks, path, test=["8"], length=400)[0].data_hash
    for file in peaks.values():
        file.write_text(file.read_text().replace("chr", "", 3))
    assert import_bed(peaks, path, test=["8"], length=400)[0].data_hash == expected


@pytest.mark.parametrize("more", ["abs_summit\tpileup", "pileup", "summit\ttags"])
def test_the_table_of_macs_counts_from_1(tmp_path: Path, more: str) -> None:
    text = f"# This file is generated by MACS\n# name = x\n\nchr\tstart\tend\tlength\t{more}\n"
    file = tmp_path / "x_peaks.xls"
    file.write_text(text + "chr1\t6\t9\t4\t7\t3.0\nchr2\t8\t8\t1\t8\t2.0\n")
    table = read_bed(file)
    assert table.to_numpy().tolist() == [["chr1", 5, 9, 5], ["chr2", 7, 8, 6]]


def test_a_genome_in_bgzip(small: tuple[dict[str, Path], Path], tmp_path: Path) -> None:
    from Bio import bgzf

    peaks, path = small
    with bgzf.open(str(tmp_path / "z.fa.gz"), "w") as file:
        file.write(path.read_text())
    plain, *_ = import_bed(peaks, path, test=["8"], length=400)
    zipped, *_ = import_bed(peaks, tmp_path / "z.fa.gz", test=["8"], length=400)
    assert plain.data_hash == zipped.data_hash


def test_windows_are_read_in_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = random_genome({"chr1": 1000})
    path = write_genome(tmp_path / "g.fa", text)
    starts = np.array([0, 3, 3, 500, 990])
    monkeypatch.setattr(genome, "STRETCH", 10)
    with genome.open_genome(path) as source:
        codes = source.windows("chr1", starts, 10)
    assert (codes == encode([text["chr1"][s : s + 10] for s in starts])).all()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(st.text("ACGTN", max_size=40), min_size=1, max_size=4),
    width=st.integers(1, 20),
    end=st.sampled_from(["\n", "\r\n"]),
    blank=st.integers(0, 2),
    stretch=st.integers(1, 40),
    zipped=st.booleans(),
    draw=st.data(),
)
def test_any_window_of_any_genome(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    texts: list[str],
    width: int,
    end: str,
    blank: int,
    stretch: int,
    zipped: bool,
    draw: st.DataObject,
) -> None:
    lines = []
    for number, text in enumerate(texts):
        lines += [f">chr{number} a>b", *(text[i : i + width] for i in range(0, len(text), width))]
        lines += [""] * blank
    data = (end.join(lines) + end * blank).encode()
    (tmp_path / "g.fa").write_bytes(gzip.compress(data) if zipped else data)
    monkeypatch.setattr(genome, "STRETCH", stretch)
    with genome.open_genome(tmp_path / "g.fa") as source:
        assert list(source.sizes.values()) == [len(text) for text in texts]
        for number, text in enumerate(texts):
            length = draw.draw(st.integers(1, max(1, len(text))))
            most = len(text) - length
            starts = draw.draw(st.lists(st.integers(0, most))) if most >= 0 else []
            codes = source.windows(f"chr{number}", np.array(sorted(starts), int), length)
            assert decode(codes) == [text[s : s + length] for s in sorted(starts)] or not starts


def test_a_genome_or_sequences_that_do_not_fit_into_memory(
    small: tuple[dict[str, Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks, path = small
    long = tmp_path / "long.fa.gz"
    long.write_bytes(gzip.compress(b">chr1\n" + b"A" * 90_000))
    monkeypatch.setattr(genome, "STRETCH", 100)
    monkeypatch.setattr(files, "PIECE", 64)
    for module in (files, genome):
        monkeypatch.setattr(module, "budget", lambda: 6000)
    with pytest.raises(
        InputError, match="long.fa.gz: a line has more than 6,0.. bytes; the budget"
    ):
        import_bed(peaks, long)
    with pytest.raises(InputError, match="16 sequences of 400 bp need 6,400 bytes; the budget is"):
        import_bed(peaks, path, test=["8"], length=400)
    with pytest.raises(InputError, match="16,000 sequences of 400 bp need"):
        import_bed(peaks, path, test=["8"], length=400, bin_size=1, negatives="all")
