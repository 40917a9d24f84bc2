"""A data set from peaks (BED, narrowPeak, ...) and a genome, cut into bins as DeepSEA did.

Each chromosome is cut into bins on a fixed grid from its first base. A bin is positive for a class
if more than half of it lies in peaks of that class: in their union, so overlapping and adjacent
peaks count as one. A sequence is such a bin with its flanks (Zhou & Troyanskaya 2015, Methods).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from motifk8s.data import assemble
from motifk8s.data.assemble import TEST, TRAIN, VALID
from motifk8s.data.datasets import Dataset
from motifk8s.data.fasta import read_lines
from motifk8s.data.genome import Genome, open_genome
from motifk8s.data.sequences import UNKNOWN
from motifk8s.errors import InputError

LARGEST = 32 * 2**30  # bytes of sequence; a data set is in memory as a whole
HINT = (
    "give more peaks or other chromosomes, or negatives: --negatives bins takes them from "
    "elsewhere in the genome, --negatives dinucleotide makes them"
)
COMPLEMENT = np.array([3, 2, 1, 0, UNKNOWN], np.uint8)


def read_bed(path: Path) -> pd.DataFrame:
    """Read the intervals of a BED file (or narrowPeak, broadPeak), plain or gzip.

    Empty lines, comments (#) and the lines ``track`` and ``browser`` are skipped. Starts count
    from 0 and ends are exclusive; a file that counts from 1 cannot be told from one that does not.

    Returns
    -------
    DataFrame
        chrom, start, end (bp) and the `line` of each interval.

    Raises
    ------
    InputError
        With file and line: too few columns, a start or end that is no whole number or lies below
        0, an end not above its start, no intervals at all, or what `fasta.read_lines` refuses.
    """
    rows: list[tuple[str, int, int, int]] = []
    for number, line in read_lines(path):
        text = line.decode("utf-8", "replace").strip()
        words = text.split("\t") if "\t" in text else text.split()
        if not words or text.startswith("#") or text.split()[0] in ("track", "browser"):
            continue
        where = f"{path}, line {number}"
        if len(words) < 3:
            raise InputError(
                f"{where}: {len(words)} column{'s' * (len(words) > 1)}; BED has at least three: "
                "chromosome, start, end"
            )
        for what, word in zip(("start", "end"), words[1:3], strict=True):
            if not re.fullmatch("-?[0-9]{1,15}", word.strip(), re.ASCII):
                hint = "; begin header lines with #" if not rows else ""
                raise InputError(f"{where}: the {what} {word!r} is not a whole number{hint}")
        start, end = int(words[1]), int(words[2])
        if start < 0:
            raise InputError(f"{where}: the start {start} lies before the chromosome, which is 0")
        if end <= start:
            raise InputError(f"{where}: the end {end} is not above the start {start}")
        rows.append((words[0].strip(), start, end, number))
    if not rows:
        raise InputError(f"{path}: holds no intervals")
    return pd.DataFrame(rows, columns=["chrom", "start", "end", "line"])


def import_bed(
    peaks: Mapping[str, Path],
    genome: Path,
    *,
    bin_size: int = 200,
    length: int = 1000,
    rule: Literal["bin", "merged"] = "bin",
    test: Sequence[str] = ("chr8", "chr9"),
    valid: Sequence[str] | float = ("chr7",),
    chromosomes: Sequence[str] | None = None,
    negatives: Literal["bins", "all", "dinucleotide"] | None = None,
    both_strands: bool = False,
    seed: int = 2019,
    progress: Callable[[str], object] = lambda text: None,
) -> tuple[Dataset, dict[str, int], pd.DataFrame]:
    """Make a data set from peaks and a genome.

    Parameters
    ----------
    peaks : mapping of class name to path
        BED, narrowPeak or similar, plain or gzip.
    genome : path
        FASTA, plain or bgzip. Its index (.fai) is written beside it if there is none.
    bin_size, length : int
        Of bins and sequences, in bp.
    rule : "bin" or "merged"
        "bin": the labels of a sequence are those of the bin in its centre, with flanks around it,
        as in DeepSEA's data; if the flanks cannot be equal, the right one is longer by 1 bp.
        "merged", which is how the paper's text reads (Koo & Eddy 2019, Methods): sequences are
        adjacent bins put together, do not overlap, and have every label of their bins.
    test, valid : sequence of str
        Chromosomes held out. `valid` may be a share of what is not for the test instead; then
        sequences that overlap each other stay together. Names are as in the genome, but "chr8"
        stands for "8" where the genome says so.
    chromosomes : sequence of str, optional
        To use, those held out among them. By default the autosomes that the genome has (1, 2, ...
        with or without chr), or all its sequences if it has none of that name.
    negatives : "bins", "all" or "dinucleotide", optional
        Beside the bins that are positive for some class: "bins", for each of them one bin of the
        same chromosome drawn at random, positive for none and without unknown bases (fewer if
        there are not enough); "all" bins; "dinucleotide", a shuffle of each sequence, negative
        for its classes alone and of unknown label for others.
    both_strands : bool
        In each part, add the reverse complement of all sequences after them, as DeepSEA did.
    seed : int
        Of what is drawn, at least 0.
    progress : callable
        Told in words what is being done.

    Returns
    -------
    dataset : Dataset
        By part, then strand, then chromosome and start.
    notes : dict
        What was dropped and why.
    bins : DataFrame
        Of each row of the data set chrom, start, end of the bin (rule "merged": of the sequence),
        the start of the sequence (0-based), strand and part (0, 1, 2); "shuffled" for shuffles.

    Raises
    ------
    InputError
        See `read_bed` and `genome.open_genome`. Also for peaks off the end of a chromosome, or on
        one that the genome does not have; a class without positives or negatives.
    """
    grid = _Grid(bin_size, length, rule)
    _check_options(peaks, grid, valid, negatives)
    notes: dict[str, int] = {}
    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(3)]
    draws = np.random.PCG64(seeds[0])
    with open_genome(Path(genome)) as source:
        parts = _choose(source, chromosomes, test, [] if isinstance(valid, float) else valid)
        progress("reading peaks")
        tables = [_load(Path(p), source, parts, chromosomes, notes) for p in peaks.values()]
        progress("cutting the genome into bins")
        bins, labels = _label(tables, bin_size)
        found = []
        for name, number in parts.items():
            mine = (bins["chrom"] == name).to_numpy()
            index, label = _cut(
                bins["cut"].to_numpy()[mine], labels[mine], source.sizes[name], grid,
                negatives, draws, notes,
            )  # fmt: skip
            found.append((grid.table(name, index).assign(part=number), label))
        bins = pd.concat([table for table, _ in found], ignore_index=True)
        labels = np.concatenate([label for _, label in found])
        if bins.empty:
            raise InputError("no bin that can be used lies in peaks by more than half; see --bin")
        if (size := len(bins) * length * (2 if both_strands else 1)) > LARGEST:
            raise InputError(
                f"{len(bins):,} sequences of {length} bp take {size / 2**30:.0f} GiB; choose fewer "
                "--chromosomes, or --negatives bins"
            )
        codes = np.empty((len(bins), length), np.uint8)
        for chrom, table in bins.groupby("chrom", sort=False):
            progress(f"reading sequences of {chrom}")
            starts = table["sequence_start"].to_numpy()
            codes[table.index] = source.windows(str(chrom), starts, length)

    if negatives == "bins":
        keep = (codes != UNKNOWN).all(axis=1) | (labels == 1).any(axis=1)
        if not keep.all():
            notes["negative bins dropped: with N"] = int((~keep).sum())
            bins, labels, codes = bins[keep].reset_index(drop=True), labels[keep], codes[keep]
    if isinstance(valid, float):
        bins["part"] = _draw_valid(bins, length, valid, seeds[1])
    if negatives == "dinucleotide":
        rows = np.arange(len(codes))
        codes, labels, parent = assemble.add_shuffles(codes, labels, rows, seeds[2], notes)
        shuffled = np.arange(len(parent)) >= len(bins)
        bins = bins.iloc[parent].assign(shuffled=shuffled)
    bins["strand"] = "+"
    if both_strands:
        bins = pd.concat([bins, bins.assign(strand="-")])
        codes = np.concatenate([codes, COMPLEMENT[codes[:, ::-1]]])
        labels = np.concatenate([labels, labels])
    part = bins["part"].to_numpy(np.uint8)
    order = np.argsort(part, kind="stable")
    dataset = Dataset(codes[order], labels[order], part[order], tuple(peaks))
    assemble.check(dataset, "BED", HINT)
    return dataset, notes, bins.iloc[order].reset_index(drop=True)


class _Grid(NamedTuple):
    """How a chromosome is cut: into bins, or into sequences of several bins ("merged")."""

    bin_size: int
    length: int
    rule: str

    @property
    def step(self) -> int:
        return self.length if self.rule == "merged" else self.bin_size

    def begin(self, index: np.ndarray) -> np.ndarray:
        """Where the sequences of some cuts begin."""
        return index * self.step - (self.length - self.step) // 2

    def inside(self, index: np.ndarray, size: int) -> np.ndarray:
        """Whether the sequences of some cuts lie on a chromosome of `size` bp."""
        return (self.begin(index) >= 0) & (self.begin(index) + self.length <= size)

    def table(self, chrom: str, index: np.ndarray) -> pd.DataFrame:
        start = index * self.step
        return pd.DataFrame(
            {
                "chrom": chrom,
                "start": start,
                "end": start + self.step,
                "sequence_start": self.begin(index),
            }
        )


def _check_options(
    peaks: Mapping[str, Path], grid: _Grid, valid: Sequence[str] | float, negatives: str | None
) -> None:
    if not peaks:
        raise InputError("no peak files are given")
    if grid.bin_size < 1 or grid.length < grid.bin_size:
        raise InputError(
            f"bins of {grid.bin_size} bp in sequences of {grid.length}: a bin must be at least 1 "
            "bp, and the sequence as long as a bin"
        )
    if grid.rule == "merged" and grid.length % grid.bin_size:
        raise InputError(
            f"merged bins of {grid.bin_size} bp cannot make a sequence of {grid.length}; give a "
            "--length that is a multiple of --bin"
        )
    if isinstance(valid, float) and not 0 < valid < 1:
        raise InputError(f"valid share {valid:g}: must be between 0 and 1")
    if isinstance(valid, float) and negatives == "all":
        raise InputError(
            "with --negatives all, --valid must name chromosomes: sequences of a share would "
            "overlap those of the training set"
        )


def _choose(
    genome: Genome, chromosomes: Sequence[str] | None, test: Sequence[str], valid: Sequence[str]
) -> dict[str, int]:
    """The chromosomes to use, in the genome's order, and the part of each."""

    def known(name: str, option: str) -> str:
        if (found := genome.named(name)) is None:
            raise InputError(
                f"chromosome {name} is not in {genome.path}, which has {genome.examples()}; "
                f"choose others with {option}"
            )
        return found

    if chromosomes is None:
        used = {name for name in genome.sizes if re.fullmatch("(chr)?[1-9][0-9]*[A-Z]?", name)}
        used = used or set(genome.sizes)
    else:
        used = {known(name, "--chromosomes") for name in chromosomes}
    parts = {name: TRAIN for name in genome.sizes if name in used}
    for names, number, option in ((test, TEST, "--test"), (valid, VALID, "--valid")):
        for name in names:
            found = known(name, option)
            if found not in parts:
                raise InputError(f"{option} {name}: it is not among the --chromosomes to use")
            if parts[found] != TRAIN:
                raise InputError(f"{option} {name}: it is held out before")
            parts[found] = number
    return parts


def _load(
    path: Path,
    genome: Genome,
    used: Mapping[str, int],
    chromosomes: Sequence[str] | None,
    notes: dict[str, int],
) -> pd.DataFrame:
    """Read the peaks of one class, checked against the genome."""
    peaks = read_bed(path)
    for name, first in peaks.drop_duplicates("chrom")[["chrom", "line"]].itertuples(index=False):
        other = genome.named(name)
        # Where chromosomes are chosen, the genome may lack the others.
        if other != name and (other or chromosomes is None):
            hint = (
                f"there it is {other}; make the names the same"
                if other
                else "use the genome of the peaks' assembly, or choose --chromosomes"
            )
            raise InputError(
                f"{path}, line {first}: chromosome {name} is not in {genome.path}, which has "
                f"{genome.examples()}; {hint}"
            )
    size = peaks["chrom"].map(genome.sizes)
    if (off := peaks[peaks["end"] > size]).size:
        row = off.iloc[0]
        raise InputError(
            f"{path}, line {row['line']}: the end {row['end']} is off the end of {row['chrom']}, "
            f"which has {genome.sizes[row['chrom']]} bp; use the genome of the peaks' assembly"
        )
    here = peaks["chrom"].isin(list(used))
    if not here.all():
        note = "peaks dropped: on chromosomes that are not used"
        notes[note] = notes.get(note, 0) + int((~here).sum())
    if not here.any():
        raise InputError(
            f"{path}: no peak is on the chromosomes used, {', '.join(used)}; see --chromosomes"
        )
    return peaks[here]


def _cut(
    touched: np.ndarray,
    labels: np.ndarray,
    size: int,
    grid: _Grid,
    negatives: str | None,
    draws: np.random.PCG64,
    notes: dict[str, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Choose bins (or merged bins) of one chromosome, given those that peaks touch; and labels."""
    if grid.rule == "merged":
        index, place = np.unique(touched // (grid.length // grid.bin_size), return_inverse=True)
        merged = np.zeros((len(index), labels.shape[1]), np.int8)
        np.maximum.at(merged, place, labels)
        touched, labels = index, merged
    positive, inside = labels.any(axis=1), grid.inside(touched, size)
    if lost := int((positive & ~inside).sum()):
        note = "positive bins dropped: their sequence runs off the chromosome"
        notes[note] = notes.get(note, 0) + lost
    keep = positive & inside
    index, labels = touched[keep], labels[keep]
    if negatives in ("bins", "all"):
        others = np.arange(-(-size // grid.step))
        # A bin of which a peak covers half or less makes a poor example.
        others = np.setdiff1d(others, touched if negatives == "bins" else touched[positive])
        others = others[grid.inside(others, size)]
        if negatives == "bins":
            drawn = np.argsort(draws.random_raw(len(others)), kind="stable")[: len(index)]
            others = others[drawn]
        index = np.concatenate([index, others])
        labels = np.concatenate([labels, np.zeros((len(others), labels.shape[1]), np.int8)])
        order = np.argsort(index)
        index, labels = index[order], labels[order]
    return index, labels


def _label(peaks: Sequence[pd.DataFrame], bin_size: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Bins that some peak touches (chrom, cut, start, end), and their labels (n, C)."""
    import bioframe

    touched = []
    for table in peaks:
        first = table["start"].to_numpy() // bin_size
        count = (table["end"].to_numpy() - 1) // bin_size - first + 1
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        index = np.repeat(first, count) + within
        touched.append(pd.DataFrame({"chrom": table["chrom"].repeat(count), "cut": index}))
    bins = pd.concat(touched).drop_duplicates().sort_values(["chrom", "cut"], ignore_index=True)
    bins["start"] = bins["cut"] * bin_size
    bins["end"] = bins["start"] + bin_size
    labels = np.zeros((len(bins), len(peaks)), np.int8)
    for column, table in enumerate(peaks):
        covered = bioframe.coverage(bins, table[["chrom", "start", "end"]])["coverage"]
        labels[:, column] = 2 * covered.to_numpy(int) > bin_size
    return bins, labels


def _draw_valid(bins: pd.DataFrame, length: int, share: float, seed: int) -> np.ndarray:
    """Parts (N,) with a share of what is not for the test drawn for validation.

    Sequences that overlap are drawn together, so that none is in training and validation.
    """
    start = bins["sequence_start"].to_numpy()
    chrom = bins["chrom"].to_numpy()
    apart = (chrom[1:] != chrom[:-1]) | (start[1:] >= start[:-1] + length)
    stretch = np.concatenate([[0], np.cumsum(apart)])
    part = bins["part"].to_numpy().copy()
    free, place = np.unique(stretch[part == TRAIN], return_inverse=True)
    part[part == TRAIN] = assemble.draw_parts(np.zeros(len(free), int), share, 0, seed)[place]
    return part
