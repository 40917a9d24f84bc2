"""Make a data set from peaks (BED, narrowPeak, ...) and a genome, with bins as in DeepSEA.

Bins divide each chromosome on a fixed grid from its first base. A bin is positive for a class if
the union of that class's peaks covers more than half of it. A sequence is such a bin with its
flanks (Zhou & Troyanskaya 2015, Methods).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import bioframe
import numpy as np
import pandas as pd

from motifk8s.data import assemble
from motifk8s.data.assemble import TEST, TRAIN, VALID, Notes, Rows
from motifk8s.data.datasets import Dataset
from motifk8s.data.files import check_budget, read_lines
from motifk8s.data.genome import Genome, open_genome
from motifk8s.data.places import rows_at
from motifk8s.data.sequences import UNKNOWN
from motifk8s.errors import InputError

HINT = (
    "give more peaks, other chromosomes or negatives: --negatives bins takes bins without peaks, "
    "--negatives dinucleotide shuffles the positive sequences"
)
MACS_HEADER = ["chr", "start", "end", "length"]
COMPLEMENT = np.array([3, 2, 1, 0, UNKNOWN], np.uint8)


def read_bed(path: Path) -> pd.DataFrame:
    """Read the intervals of a BED file (or narrowPeak, broadPeak, MACS's peaks.xls), plain or gzip.

    Empty lines, comments (#) and the lines ``track`` and ``browser`` are skipped. Starts are
    0-based and ends exclusive; this function cannot detect a BED file that counts from 1. A
    peaks.xls, which its header identifies, counts from 1 and is converted.

    Raise InputError if a line has too few columns or no numbers, or the file has no intervals.
    `files.read_lines` raises it too. Intervals may be empty or negative.

    Returns
    -------
    DataFrame
        chrom, start, end (bp) and the `line` of each interval.
    """
    rows: list[tuple[str, int, int, int]] = []
    first = 0  # position of a chromosome's first base
    for number, line in read_lines(path):
        text = line.decode("utf-8", "replace").strip()
        words = text.split("\t") if "\t" in text else text.split()
        if not words or text.startswith("#") or text.split()[0] in ("track", "browser"):
            continue
        if not rows and words[:4] == MACS_HEADER:
            first = 1
            continue
        where = f"{path}, line {number}"
        if len(words) < 3:
            raise InputError(
                f"{where}: {len(words)} column{'s' * (len(words) > 1)}; BED needs at least three: "
                "chromosome, start, end"
            )
        for what, word in zip(("start", "end"), words[1:3], strict=True):
            if not re.fullmatch("-?[0-9]{1,15}", word.strip(), re.ASCII):
                hint = "; begin header lines with #" if not rows else ""
                raise InputError(f"{where}: the {what} {word!r} is not a whole number{hint}")
        rows.append((words[0].strip(), int(words[1]) - first, int(words[2]), number))
    if not rows:
        raise InputError(f"{path}: has no intervals")
    return pd.DataFrame(rows, columns=["chrom", "start", "end", "line"])


@dataclass(frozen=True, kw_only=True)
class BedOptions(assemble.Options):
    """Options of an import from peaks and a genome.

    Chromosome names match the genome's with or without chr.
    """

    bin_size: int = 200  # bp
    length: int = 1000  # bp
    rule: Literal["bin", "merged"] = "bin"
    """
    "bin": a sequence has the labels of the bin in its centre, with flanks around it, as in
    DeepSEA's data; if the flanks cannot be equal, the right one is longer by 1 bp.
    "merged" (Koo & Eddy 2019, Methods): a sequence is several adjacent bins and has all their
    labels; sequences do not overlap.
    """
    test: Sequence[str] = ("chr8", "chr9")
    valid: Sequence[str] | float = ("chr7",)
    """Chromosomes, or a share of the non-test sequences; overlapping ones stay in one part."""
    chromosomes: Sequence[str] | None = None
    """All chromosomes to use. Default: autosomes (1, chr2, ...), or all if no name is like that."""
    negatives: Literal["bins", "all", "dinucleotide"] | None = None
    """
    Sequences to add. "bins": for each positive bin, one random bin of the same chromosome without
    peaks and unknown bases, as far as there are enough. "all": all other bins. "dinucleotide": a
    shuffle of each sequence, negative for its classes, with unknown labels for the others.
    """
    both_strands: bool = False
    """Add the reverse complements after the sequences of each part, as in DeepSEA's data."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bin_size < 1 or self.length < self.bin_size:
            raise InputError(
                f"--bin {self.bin_size} and --length {self.length}: a bin must have at least 1 bp, "
                "and a sequence be at least as long as a bin"
            )
        if self.rule == "merged" and self.length % self.bin_size:
            raise InputError(
                f"merged bins of {self.bin_size} bp cannot make a sequence of {self.length} bp; "
                "give a --length that is a multiple of --bin"
            )
        if isinstance(self.valid, float) and self.negatives == "all":
            raise InputError(
                "with --negatives all, --valid must name chromosomes: the sequences of a share "
                "would overlap the training set"
            )

    @property
    def step(self) -> int:
        """Distance of two bins, or with "merged" of two sequences, in bp."""
        return self.length if self.rule == "merged" else self.bin_size

    def begin(self, number: np.ndarray) -> np.ndarray:
        """Return the sequence starts of bins (or merged bins), given by number."""
        return number * self.step - (self.length - self.step) // 2

    def inside(self, number: np.ndarray, size: int) -> np.ndarray:
        """Return which of their sequences lie within a chromosome of `size` bp."""
        return (self.begin(number) >= 0) & (self.begin(number) + self.length <= size)


def import_bed(
    peaks: Mapping[str, Path],
    genome: Path,
    options: BedOptions,
    progress: Callable[[str], object] = lambda text: None,
) -> tuple[Dataset, Notes, pd.DataFrame]:
    """Make a data set from peaks and a genome.

    Peaks on other chromosomes, and what is beyond the end of a chromosome, are dropped and counted.
    Raise InputError if no peak of a class is left, or a class lacks positives or negatives.
    `read_bed` and `genome.open_genome` raise it too.

    Parameters
    ----------
    peaks : mapping of class name to path
        BED, narrowPeak or similar, plain or gzip.
    genome : path
        FASTA, plain, gzip or bgzip.
    progress : callable
        Called with the name of each step.

    Returns
    -------
    dataset : Dataset
        Rows sorted by part, strand, chromosome and start.
    notes : dict
        What was dropped and why.
    bins : DataFrame
        A row for each sequence: chrom, start and end of its bin (rule "merged": of the sequence),
        sequence_start (0-based), strand, part (0, 1, 2); with shuffles also "shuffled".
    """
    if not peaks:
        raise InputError("no peak files; give CLASS=FILE for each class")
    notes: Notes = {}
    bin_seed, valid_seed, shuffle_seed = options.seeds(3)
    progress("reading the genome")
    with open_genome(genome) as source:
        parts = _choose_parts(source, options)
        progress("reading peaks")
        tables = [_load(path, source, parts, notes) for path in peaks.values()]
        progress("cutting the genome into bins")
        touched, labels = _label(tables, options.bin_size)
        bins, labels = _cut_all(touched, labels, source, parts, options, bin_seed, notes)
        codes = _read_sequences(source, bins, options, progress)
    rows = Rows(codes, labels, bins.pop("part").to_numpy(), _places(bins, parts))
    if options.negatives == "bins":
        rows, bins = _drop_unknown_negatives(rows, bins, notes)
    if isinstance(options.valid, float):
        rows = rows._replace(part=_draw_valid(bins, rows.part, options, valid_seed))
    bins["part"] = rows.part
    if options.negatives == "dinucleotide":
        n = len(bins)
        rows, parent = assemble.add_shuffles(rows, np.arange(n), shuffle_seed, notes)
        bins = bins.iloc[parent].assign(shuffled=np.arange(len(parent)) >= n)
    bins["strand"] = "+"
    if options.both_strands:
        rows = _add_reverse_strands(rows)
        bins = pd.concat([bins, bins.assign(strand="-")])
    dataset, order = assemble.finish(rows, tuple(peaks), parts, "BED", HINT)
    return dataset, notes, bins.iloc[order].reset_index(drop=True)


def _choose_parts(genome: Genome, options: BedOptions) -> dict[str, int]:
    """Return the part of each chromosome to use, in the genome's order."""

    def known(name: str, option: str) -> str:
        if (chrom := genome.named(name)) is None:
            raise InputError(
                f"chromosome {name} is not in {genome.path}, which has {genome.examples()}; "
                f"choose others with {option}"
            )
        return chrom

    if options.chromosomes is None:
        used = {name for name in genome.sizes if re.fullmatch("(chr)?[1-9][0-9]*[A-Z]?", name)}
        used = used or set(genome.sizes)
    else:
        used = {known(name, "--chromosomes") for name in options.chromosomes}
    parts = {name: TRAIN for name in genome.sizes if name in used}
    if twice := genome.repeated & used:
        raise InputError(
            f"{genome.path}: has more than one sequence {min(twice)}; leave only one, or choose "
            "others with --chromosomes"
        )
    valid = [] if isinstance(options.valid, float) else options.valid
    for names, number, option in ((options.test, TEST, "--test"), (valid, VALID, "--valid")):
        for name in names:
            chrom = known(name, option)
            if chrom not in parts:
                raise InputError(f"{option} {name}: it is not among the --chromosomes to use")
            if parts[chrom] != TRAIN:
                raise InputError(f"{option} {name}: it is already held out; give it once")
            parts[chrom] = number
    if options.negatives == "all":  # Check it before the bins are made.
        _check_size(sum(genome.sizes[name] // options.step for name in parts), options)
    return parts


def _load(path: Path, genome: Genome, used: Mapping[str, int], notes: Notes) -> pd.DataFrame:
    """Read the peaks of one class: those on the chromosomes used, within their chromosome.

    `chrom` is the genome's name. What is dropped or clipped is counted in the notes. Raise
    InputError if nothing is left; the message says why the first peak is not.
    """
    peaks = read_bed(path)
    named = {name: genome.named(name) for name in peaks["chrom"].unique()}
    chrom = peaks["chrom"].map(named)
    size = chrom.map(genome.sizes).fillna(0).astype(int)
    start, end = peaks["start"].clip(lower=0), peaks["end"].clip(upper=size)
    absent, unused = chrom.isna(), ~chrom.isin(list(used))
    backwards, outside = peaks["end"] <= peaks["start"], end <= start
    row = peaks.iloc[0]
    length = f"{row['chrom']} ({size.iloc[0]} bp)"
    left = pd.Series(True, peaks.index)
    reasons = (
        (
            absent,
            "the genome lacks their chromosome",
            f"chromosome {row['chrom']} is not in {genome.path}, which has {genome.examples()}; "
            "use the genome of the peaks' assembly",
        ),
        (
            unused,
            "on chromosomes that are not used",
            f"{row['chrom']} is not among the chromosomes used ({', '.join(used)}); see "
            "--chromosomes",
        ),
        (
            backwards,
            "empty or backwards",
            f"the end {row['end']} is not above the start {row['start']}",
        ),
        (
            outside,
            "outside their chromosome",
            f"{row['start']} to {row['end']} is outside {length}; use the genome of the peaks' "
            "assembly",
        ),
    )
    why = ""
    for dropped, note, reason in reasons:
        _count(notes, f"peaks dropped: {note}", (dropped & left).to_numpy())
        why = why or (reason if dropped.iloc[0] else "")
        left &= ~dropped
    if not left.any():
        raise InputError(f"{path}, line {row['line']}: {why}; no peak in the file can be used")
    clipped = left & ((start != peaks["start"]) | (end != peaks["end"]))
    _count(notes, "peaks clipped to their chromosome", clipped.to_numpy())
    return peaks.assign(chrom=chrom, start=start, end=end)[left]


def _count(notes: Notes, note: str, rows: np.ndarray) -> None:
    """Add the number of true rows to a note, if there are any."""
    if n := int(rows.sum()):
        notes[note] = notes.get(note, 0) + n


def _cut_all(
    touched: pd.DataFrame,
    labels: np.ndarray,
    genome: Genome,
    parts: Mapping[str, int],
    options: BedOptions,
    seed: int,
    notes: Notes,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the bins (or merged bins) of all chromosomes and their labels (n, C)."""
    draws = np.random.PCG64(seed)
    tables, chosen = [], []
    for chrom, part in parts.items():
        on_chrom = (touched["chrom"] == chrom).to_numpy()
        number, its_labels = touched["number"].to_numpy()[on_chrom], labels[on_chrom]
        if options.rule == "merged":
            number, its_labels = _merge_bins(number, its_labels, options)
        size = genome.sizes[chrom]
        number, its_labels = _choose_bins(number, its_labels, size, options, draws, notes)
        table = {
            "chrom": chrom,
            "start": number * options.step,
            "end": number * options.step + options.step,
            "sequence_start": options.begin(number),
            "part": part,
        }
        tables.append(pd.DataFrame(table))
        chosen.append(its_labels)
    bins = pd.concat(tables, ignore_index=True)
    if bins.empty:
        raise InputError("peaks cover no usable bin by more than half; see --bin and --length")
    return bins, np.concatenate(chosen)


def _merge_bins(
    number: np.ndarray, labels: np.ndarray, options: BedOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Merge adjacent bins into sequences, which get all labels of their bins."""
    bins_each = options.length // options.bin_size
    sequences, place = np.unique(number // bins_each, return_inverse=True)
    merged = np.zeros((len(sequences), labels.shape[1]), np.int8)
    np.maximum.at(merged, place, labels)
    return sequences, merged


def _choose_bins(
    touched: np.ndarray,
    labels: np.ndarray,
    size: int,
    options: BedOptions,
    draws: np.random.PCG64,
    notes: Notes,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positive and negative bins of one chromosome; peaks touch the given ones."""
    positive, inside = labels.any(axis=1), options.inside(touched, size)
    note = "positive bins dropped: their sequence runs off the chromosome"
    _count(notes, note, positive & ~inside)
    keep = positive & inside
    number, labels = touched[keep], labels[keep]
    if options.negatives not in ("bins", "all"):
        return number, labels
    others = np.arange(-(-size // options.step))
    # A bin that a peak covers by half or less is a poor negative example.
    others = np.setdiff1d(others, touched if options.negatives == "bins" else touched[positive])
    others = others[options.inside(others, size)]
    if options.negatives == "bins":
        drawn = np.argsort(draws.random_raw(len(others)), kind="stable")[: len(number)]
        others = others[drawn]
    number = np.concatenate([number, others])
    labels = np.concatenate([labels, np.zeros((len(others), labels.shape[1]), np.int8)])
    order = np.argsort(number)
    return number[order], labels[order]


def _label(peaks: Sequence[pd.DataFrame], bin_size: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the bins that peaks touch (chrom, number, start, end) and their labels (n, C)."""
    touched = []
    for table in peaks:
        first = table["start"].to_numpy() // bin_size
        count = (table["end"].to_numpy() - 1) // bin_size - first + 1
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        index = np.repeat(first, count) + within
        touched.append(pd.DataFrame({"chrom": table["chrom"].repeat(count), "number": index}))
    bins = pd.concat(touched).drop_duplicates().sort_values(["chrom", "number"], ignore_index=True)
    bins["start"] = bins["number"] * bin_size
    bins["end"] = bins["start"] + bin_size
    labels = np.zeros((len(bins), len(peaks)), np.int8)
    for column, table in enumerate(peaks):
        covered = bioframe.coverage(bins, table[["chrom", "start", "end"]])["coverage"]
        labels[:, column] = 2 * covered.to_numpy(int) > bin_size
    return bins, labels


def _read_sequences(
    genome: Genome, bins: pd.DataFrame, options: BedOptions, progress: Callable[[str], object]
) -> np.ndarray:
    """Read the base codes (n, length) of the sequences of all bins."""
    n, length = len(bins), options.length
    _check_size(n, options)
    codes = np.empty((n, length), np.uint8)
    for chrom, table in bins.groupby("chrom", sort=False):
        progress(f"reading sequences of {chrom}")
        starts = table["sequence_start"].to_numpy()
        codes[table.index] = genome.windows(str(chrom), starts, length)
    return codes


def _places(bins: pd.DataFrame, chromosomes: Iterable[str]) -> np.ndarray:
    """Return the places (n,) of PLACE of the sequences of all bins."""
    number = {name: i for i, name in enumerate(chromosomes)}
    return rows_at(bins["chrom"].map(number).to_numpy(), bins["sequence_start"].to_numpy())


def _check_size(n: int, options: BedOptions) -> None:
    """Raise InputError if n sequences exceed the budget of memory."""
    size = n * options.length * (2 if options.both_strands else 1)
    check_budget(f"{n:,} sequences of {options.length} bp need", size)


def _drop_unknown_negatives(
    rows: Rows, bins: pd.DataFrame, notes: Notes
) -> tuple[Rows, pd.DataFrame]:
    """Drop negative bins whose sequence has unknown bases."""
    keep = (rows.codes != UNKNOWN).all(axis=1) | (rows.labels == 1).any(axis=1)
    _count(notes, "negative bins dropped: with N", ~keep)
    return Rows(*(array[keep] for array in rows)), bins[keep].reset_index(drop=True)


def _add_reverse_strands(rows: Rows) -> Rows:
    """Add the reverse complement of every sequence, with the same labels and part."""
    codes = np.concatenate([rows.codes, COMPLEMENT[rows.codes[:, ::-1]]])
    place = np.tile(rows.place, 2)
    place["strand"][len(rows.place) :] = -1
    return Rows(codes, np.tile(rows.labels, (2, 1)), np.tile(rows.part, 2), place)


def _draw_valid(bins: pd.DataFrame, part: np.ndarray, options: BedOptions, seed: int) -> np.ndarray:
    """Return parts (N,) in which a share of the training sequences is drawn for validation.

    Overlapping sequences are drawn together, so that none is in training and validation.
    """
    assert isinstance(options.valid, float)
    start = bins["sequence_start"].to_numpy()
    chrom = bins["chrom"].to_numpy()
    apart = (chrom[1:] != chrom[:-1]) | (start[1:] >= start[:-1] + options.length)
    stretch = np.concatenate([[0], np.cumsum(apart)])
    part = part.copy()
    free, place = np.unique(stretch[part == TRAIN], return_inverse=True)
    kind = np.zeros(len(free), int)
    part[part == TRAIN] = assemble.draw_parts(kind, options.valid, 0, seed)[place]
    return part
