"""A data set from FASTA files: one file per class, or one file with labels in its headers.

A sequence of one class says nothing about the others, so its labels there are unknown (-1), and
training and scores leave them out. What is known to be negative must be given, or made: the
dinucleotide shuffle of a sequence is negative for the classes of that sequence, and for no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from motifk8s.data import assemble
from motifk8s.data.assemble import TEST, UNASSIGNED, VALID, Notes, Rows
from motifk8s.data.datasets import PARTS, Dataset
from motifk8s.data.files import read_lines
from motifk8s.data.sequences import encode
from motifk8s.errors import InputError

#: Bases and IUPAC's letters for more than one of them, in either case.
LETTERS = b"ACGTNRYSWKMBDHVacgtnryswkmbdhv"
BASES_AND_N = b"ACGTNacgtn"
HINT = (
    "give more sequences, or negatives: --negatives dinucleotide makes them, --test-negatives "
    "takes them from a file, --negatives-from-others from the other classes"
)

Files = Path | Mapping[str, Path]
"""One file, or a file by class."""


class Record(NamedTuple):
    """A sequence of a FASTA file: its name, the rest of its header, the line of its header."""

    name: str
    description: str
    line: int
    sequence: bytes


def read_fasta(path: Path) -> list[Record]:
    """Read a FASTA file of DNA, plain or gzip.

    Lower case is the same base. Lines that begin with ; are comments, empty lines are skipped.

    Raises
    ------
    InputError
        With file and line: not FASTA, a letter that is not DNA, a name given twice or missing, a
        record without sequence, or what `read_lines` refuses.
    """
    records: list[Record] = []
    seen: dict[str, int] = {}
    header: tuple[str, str, int] | None = None
    pieces: list[bytes] = []

    def end_record() -> None:
        if header is None:
            return
        if not pieces:
            raise InputError(f"{path}, line {header[2]}: {header[0]} has no sequence")
        records.append(Record(*header, b"".join(pieces)))
        pieces.clear()

    for number, raw in read_lines(path):
        line = raw.strip()
        if line.startswith(b">"):
            end_record()
            words = line[1:].decode("utf-8", "replace").split(None, 1)
            if not words:
                raise InputError(f"{path}, line {number}: a header without a name; give >NAME")
            name, description = words[0], "".join(words[1:])
            if name in seen:
                raise InputError(
                    f"{path}, line {number}: the name {name} is given before, in line "
                    f"{seen[name]}; names must be unique within a file"
                )
            seen[name] = number
            header = (name, description, number)
        elif line and not line.startswith(b";"):
            if header is None:
                hint = "; it looks like FASTQ" if line.startswith(b"@") else ""
                raise InputError(f"{path}, line {number}: not FASTA, which begins with >NAME{hint}")
            if strange := line.translate(None, LETTERS):
                _refuse(strange, line, f"{path}, line {number}")
            pieces.append(line)
    end_record()
    if not records:
        raise InputError(f"{path}: holds no sequences")
    return records


def _refuse(strange: bytes, line: bytes, where: str) -> None:
    letter = line.decode("utf-8", "replace")[line.index(strange[:1])]
    if letter in "Uu":
        hint = "this is RNA; write T for U"
    elif letter in "-.":
        hint = "a gap; give sequences that are not aligned"
    else:
        hint = "sequences are DNA: A C G T, N or IUPAC's other letters"
    column = line.index(strange[:1]) + 1
    raise InputError(f"{where}, column {column}: {letter!r} is not a base; {hint}")


@dataclass(frozen=True, kw_only=True)
class FastaOptions(assemble.Options):
    """How a data set is made from FASTA files.

    Attributes
    ----------
    valid, test : path, mapping or float, optional
        Files like those for training; or a share, drawn at random within each class. The test set
        takes its share of all, the validation set of what remains. By default 0.1 and 0.2, or
        nothing if headers say ``split=valid`` or ``split=test``.
    negatives : "dinucleotide", path or mapping, optional
        Sequences that are negative for all classes (one file) or for their class (a mapping),
        which shares are drawn from as well. "dinucleotide": one shuffle of each positive
        sequence, in its part, negative for the classes of that sequence alone; except in parts
        that have negatives of their own.
    valid_negatives, test_negatives : path or mapping, optional
        Negatives that are in the validation or test set.
    others_negative : bool
        Take every label that is not known as negative.
    length : int, optional
        In bp: longer sequences are cropped to their centre. By default all must have one length.
    """

    valid: Files | float | None = None
    test: Files | float | None = None
    negatives: Files | Literal["dinucleotide"] | None = None
    valid_negatives: Files | None = None
    test_negatives: Files | None = None
    others_negative: bool = False
    length: int | None = None


def import_fasta(train: Files, options: FastaOptions) -> tuple[Dataset, Notes]:
    """Make a data set from FASTA files.

    A sequence that occurs several times becomes one row with all its labels; it stays out of
    training if any of its files is held out. Only equal strands are compared, not complements.

    Parameters
    ----------
    train : path or mapping of class name to path
        One file per class, all of whose sequences are positive for it. Or one labelled file:
        ``>name labels=SRF,-YY1`` is positive for SRF, negative for YY1, and ``labels=`` negative
        for all; ``split=test`` (or valid, train) in a header puts it there.
    options : FastaOptions

    Returns
    -------
    dataset : Dataset
        Rows by part, then in the order of the files.
    notes : dict
        What was done to how many sequences.

    Raises
    ------
    InputError
        Names file and line; see `read_fasta`. Also for sequences of different lengths, unknown
        classes, shares that leave nothing, a class without positives or negatives.
    """
    draw_seed, shuffle_seed = options.seeds(2)
    tables = _read(_sources(train, options))
    classes = tuple(train) if isinstance(train, Mapping) else _labels_in(tables[0])
    notes = {"sequences read": sum(len(table.records) for table in tables)}
    codes = _encode(tables, options.length, notes)
    rows = assemble.merge(Rows(codes, *_label(tables, classes)), notes)
    rows = rows._replace(part=_draw_parts(rows, options, draw_seed))
    if options.negatives == "dinucleotide":
        parents = _without_negatives(rows, options)
        rows, _ = assemble.add_shuffles(rows, parents, shuffle_seed, notes)
    if options.others_negative:
        rows.labels[rows.labels == -1] = 0
    dataset, _ = assemble.finish(rows, classes, "FASTA", HINT)
    return dataset, notes


class _Source(NamedTuple):
    """Files, the part that they are for, and their label; a labelled file has its own."""

    files: Files
    part: int
    label: int


def _sources(train: Files, options: FastaOptions) -> list[_Source]:
    given = [
        (train, UNASSIGNED, 1),
        (options.valid, VALID, 1),
        (options.test, TEST, 1),
        (options.negatives, UNASSIGNED, 0),
        (options.valid_negatives, VALID, 0),
        (options.test_negatives, TEST, 0),
    ]
    # What is not files is a share, a way to make negatives, or None.
    return [
        _Source(files, part, label)
        for files, part, label in given
        if isinstance(files, Path | Mapping)
    ]


def _draw_parts(rows: Rows, options: FastaOptions, seed: int) -> np.ndarray:
    """Parts (N,) in which rows without one are drawn within each class."""
    part = rows.part.copy()
    free = np.flatnonzero(part == UNASSIGNED)
    labels = rows.labels[free]
    # A kind for the positives of each class and one for its negatives; the first of several.
    kind = np.hstack([labels == 1, labels == 0]).argmax(axis=1)
    valid_share, test_share = (
        given if isinstance(given, float) else 0.0 if number in part else default
        for given, number, default in ((options.valid, VALID, 0.1), (options.test, TEST, 0.2))
    )
    part[free] = assemble.draw_parts(kind, valid_share, test_share, seed)
    return part


def _without_negatives(rows: Rows, options: FastaOptions) -> np.ndarray:
    """Numbers of the positive rows of the parts that have no negatives of their own."""
    given = ((VALID, options.valid_negatives), (TEST, options.test_negatives))
    own = [part for part, files in given if files]
    return np.flatnonzero((rows.labels == 1).any(axis=1) & ~np.isin(rows.part, own))


class _Table(NamedTuple):
    """The content of a file: its class (None: all, or as labelled), part, and label."""

    path: Path
    records: list[Record]
    name: str | None
    part: int
    label: int


def _read(sources: Iterable[_Source]) -> list[_Table]:
    tables = []
    for files, part, label in sources:
        named = files if isinstance(files, Mapping) else {None: files}
        for name, path in named.items():
            tables.append(_Table(path, read_fasta(path), name, part, label))
    if not tables:
        raise InputError("no FASTA files are given")
    return tables


def _tags(table: _Table, record: Record) -> tuple[list[str], int]:
    """Labels and part of a record in a labelled file."""
    tags = dict(tag.partition("=")[::2] for tag in record.description.split())
    where = f"{table.path}, line {record.line}"
    if "labels" not in tags:
        raise InputError(
            f"{where}: {record.name} has no labels=NAME,... in its header; add it, or give one "
            "file per class: NAME=FILE"
        )
    if (split := tags.get("split", "")) not in ("", *PARTS):
        raise InputError(f"{where}: split={split}; it must be {', '.join(PARTS)}")
    labels = tags["labels"].split(",") if tags["labels"] else []
    if not all(label.removeprefix("-") for label in labels):
        raise InputError(f"{where}: labels={tags['labels']}: an empty class name")
    return labels, PARTS.index(split) if split else table.part


def _labels_in(table: _Table) -> tuple[str, ...]:
    found = [label for record in table.records for label in _tags(table, record)[0]]
    if not found:
        raise InputError(f"{table.path}: no header names a class; give labels=NAME,...")
    return tuple(dict.fromkeys(label.removeprefix("-") for label in found))


def _label(tables: list[_Table], classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, C) and parts (N,) of all records."""
    labels, parts = [], []
    for table in tables:
        n = len(table.records)
        values = np.full((n, len(classes)), -1, np.int8)
        part = np.full(n, table.part, np.int8)
        if table.name is not None:
            if table.name not in classes:
                raise InputError(
                    f"{table.path}: its class {table.name} is none of the training set, "
                    f"{', '.join(classes)}"
                )
            values[:, classes.index(table.name)] = table.label
        elif table.label == 0:
            values[:] = 0
        else:
            for i, record in enumerate(table.records):
                values[i], part[i] = _header_labels(table, record, classes)
        labels.append(values)
        parts.append(part)
    return np.concatenate(labels), np.concatenate(parts)


def _header_labels(
    table: _Table, record: Record, classes: tuple[str, ...]
) -> tuple[np.ndarray, int]:
    """Labels (C,) and part of a record in a labelled file."""
    names, part = _tags(table, record)
    labels = np.full(len(classes), -1 if names else 0, np.int8)
    for name in names:
        if (bare := name.removeprefix("-")) not in classes:
            raise InputError(
                f"{table.path}, line {record.line}: class {bare} is none of the training set, "
                f"{', '.join(classes)}"
            )
        labels[classes.index(bare)] = 0 if name.startswith("-") else 1
    return labels, part


def _encode(tables: list[_Table], length: int | None, notes: Notes) -> np.ndarray:
    """Codes (N, L) of all records, cropped to their centre if a length is given."""
    wanted = length or len(tables[0].records[0].sequence)
    texts, cropped, odd = [], 0, 0
    for table in tables:
        for record in table.records:
            sequence = record.sequence
            if len(sequence) != wanted:
                if length is None or len(sequence) < length:
                    raise InputError(_wrong_length(table, record, tables, length))
                begin = (len(sequence) - wanted) // 2
                sequence = sequence[begin : begin + wanted]
                cropped += 1
            odd += bool(sequence.translate(None, BASES_AND_N))
            texts.append(sequence.decode())
    if cropped:
        notes[f"longer sequences, cropped to the {wanted} bp in their centre"] = cropped
    if odd:
        notes["sequences with IUPAC letters, read as N"] = odd
    return encode(texts)


def _wrong_length(table: _Table, record: Record, tables: list[_Table], length: int | None) -> str:
    """Say what is wrong with the length of a record, and which length would fit all."""
    shortest = min(len(other.sequence) for table in tables for other in table.records)
    where = f"{table.path}, line {record.line}: {record.name} has {len(record.sequence)} bp, "
    if length is not None:
        return f"{where}fewer than --length {length}; leave it out, or give --length {shortest}"
    first = tables[0].records[0]
    return (
        f"{where}but {first.name}, the first of {tables[0].path}, has {len(first.sequence)}; all "
        f"must have one length: --length {shortest} crops longer ones to their centre"
    )
