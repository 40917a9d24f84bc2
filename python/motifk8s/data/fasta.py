"""Make a data set from FASTA files: one file per class, or one file with labels in its headers.

The labels of a sequence for other classes are unknown (-1), and training and scores leave them
out. The user gives negatives or has them made: a dinucleotide shuffle of a sequence is negative
for the classes of that sequence only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from motifk8s.data import assemble
from motifk8s.data.assemble import TEST, UNASSIGNED, VALID, Notes, Rows
from motifk8s.data.datasets import PARTS, Dataset
from motifk8s.data.files import read_lines
from motifk8s.data.places import rows_at
from motifk8s.data.reference import PART_NAMES
from motifk8s.data.sequences import LETTERS, bad_letter, encode
from motifk8s.errors import InputError

BASES_AND_N = b"ACGTNacgtn"
NAMELESS = "(no name)"
HINT = (
    "give more sequences or negatives: --negatives dinucleotide shuffles the sequences, "
    "--test-negatives reads a file, --negatives-from-others uses the other classes"
)

Files = Path | Mapping[str, Path]
"""One file, or a file by class."""


class Record(NamedTuple):
    """A sequence of a FASTA file."""

    name: str
    description: str  # the header after the name
    line: int  # of the header
    sequence: bytes


def read_fasta(path: Path) -> list[Record]:
    """Read a FASTA file of DNA, plain or gzip.

    Lower case counts as upper case. Empty lines and lines that begin with ; are skipped.

    Raise InputError if the file is not FASTA or has a letter that is not DNA. Each record must have
    a sequence. Names need not be unique. `read_lines` raises it too.
    """
    records: list[tuple[str, str, int, list[bytes]]] = []  # the fields, the sequence in pieces
    for number, raw in read_lines(path):
        line = raw.strip()
        if line.startswith(b">"):
            name, *more = line[1:].decode("utf-8", "replace").split(None, 1) or [NAMELESS]
            records.append((name, "".join(more), number, []))
        elif line and not line.startswith(b";"):
            if not records:
                hint = "; it looks like FASTQ" if line.startswith(b"@") else ""
                raise InputError(f"{path}, line {number}: not FASTA, which begins with >NAME{hint}")
            if strange := line.translate(None, LETTERS):
                raise bad_letter(strange, line, f"{path}, line {number}")
            records[-1][-1].append(line)
    if not records:
        raise InputError(f"{path}: has no sequences")
    for name, _, number, pieces in records:
        if not pieces:
            raise InputError(f"{path}, line {number}: {name} has no sequence")
    return [Record(name, more, number, b"".join(pieces)) for name, more, number, pieces in records]


@dataclass(frozen=True, kw_only=True)
class FastaOptions(assemble.Options):
    """Options of an import from FASTA files."""

    valid: Files | float | None = None
    test: Files | float | None = None
    """
    Files, or a share drawn at random within each class: the test set's of all sequences, the
    validation set's of the rest. Default: 0.1 and 0.2, or the ``split=`` of the headers.
    """
    negatives: Files | Literal["dinucleotide"] | None = None
    """
    Negatives for all classes (one file) or for their class (a mapping), split like the positives.
    "dinucleotide": one shuffle of each positive sequence, in the same part, negative for its
    classes only; parts with negatives from a file get none.
    """
    valid_negatives: Files | None = None  # for the validation set only
    test_negatives: Files | None = None  # for the test set only
    others_negative: bool = False  # make unknown labels negative
    length: int | None = None  # crop to these central bp; None: all lengths must be equal


def import_fasta(train: Files, options: FastaOptions) -> tuple[Dataset, Notes]:
    """Make a data set from FASTA files.

    Copies of a sequence become one row with all their labels, held out if any copy is. A sequence
    and its reverse complement are not copies.

    Raise InputError if lengths differ, a class is unknown or lacks positives or negatives, or a
    part is empty. `read_fasta` raises it too.

    Parameters
    ----------
    train : path or mapping of class name to path
        One file per class, whose sequences are positive for it. Or one labelled file:
        ``>name labels=SRF,-YY1`` is positive for SRF and negative for YY1, ``labels=`` negative
        for all; ``split=test`` (or valid, train) in a header chooses the part.

    Returns
    -------
    dataset : Dataset
        Rows by part, then in the order of the files.
    notes : dict
        What was done to how many sequences.
    """
    draw_seed, shuffle_seed = options.seeds(2)
    tables = _read(train, options)
    classes = tuple(train) if isinstance(train, Mapping) else _labels_in(tables[0])
    notes = {"sequences read": sum(len(table.records) for table in tables)}
    codes, begin = _encode(tables, options.length, notes)
    place = rows_at(np.arange(len(codes)), begin)
    rows = assemble.merge(Rows(codes, *_label(tables, classes), place), notes)
    rows = rows._replace(part=_draw_parts(rows, options, draw_seed))
    if options.negatives == "dinucleotide":
        parents = _without_negatives(rows, options)
        rows, _ = assemble.add_shuffles(rows, parents, shuffle_seed, notes)
    if options.others_negative:
        rows.labels[rows.labels == -1] = 0
    dataset, _ = assemble.finish(rows, classes, _names(tables), "FASTA", HINT)
    return dataset, notes


def _draw_parts(rows: Rows, options: FastaOptions, seed: int) -> np.ndarray:
    """Return parts (N,), with rows that have none drawn within each class."""
    part = rows.part.copy()
    free = np.flatnonzero(part == UNASSIGNED)
    labels = rows.labels[free]
    # The positives of a class are one kind, its negatives another; a row has the first that fits.
    kind = np.hstack([labels == 1, labels == 0]).argmax(axis=1)
    valid_share, test_share = (
        given if isinstance(given, float) else 0.0 if number in part else default
        for given, number, default in ((options.valid, VALID, 0.1), (options.test, TEST, 0.2))
    )
    part[free] = assemble.draw_parts(kind, valid_share, test_share, seed)
    return part


def _without_negatives(rows: Rows, options: FastaOptions) -> np.ndarray:
    """Return the numbers of the positive rows in parts without negatives from a file."""
    given = ((VALID, options.valid_negatives), (TEST, options.test_negatives))
    with_negatives = [part for part, files in given if files]
    return np.flatnonzero((rows.labels == 1).any(axis=1) & ~np.isin(rows.part, with_negatives))


class _Table(NamedTuple):
    """The content of a file."""

    path: Path
    records: list[Record]
    name: str | None  # class; None: labels in the headers, or negative for all
    part: int
    label: int


def _read(train: Files, options: FastaOptions) -> list[_Table]:
    """Read all files of an import."""
    sources = (
        (train, UNASSIGNED, 1),
        (options.valid, VALID, 1),
        (options.test, TEST, 1),
        (options.negatives, UNASSIGNED, 0),
        (options.valid_negatives, VALID, 0),
        (options.test_negatives, TEST, 0),
    )
    tables = []
    for files, part, label in sources:
        # The other values are a share, "dinucleotide" or None.
        if isinstance(files, Path):
            tables.append(_Table(files, read_fasta(files), None, part, label))
        elif isinstance(files, Mapping):
            for name, path in files.items():
                tables.append(_Table(path, read_fasta(path), name, part, label))
    if not tables:
        raise InputError("no FASTA files; give CLASS=FILE for each class")
    return tables


def _tags(table: _Table, record: Record) -> tuple[list[str], int]:
    """Read labels and part from the header of a record."""
    tags = dict(tag.partition("=")[::2] for tag in record.description.split())
    where = f"{table.path}, line {record.line}"
    if "labels" not in tags:
        raise InputError(
            f"{where}: {record.name} has no labels=CLASS,... in its header; add it, or give one "
            "file per class: CLASS=FILE"
        )
    split = tags.get("split", "")
    part = next((part for part, names in PART_NAMES.items() if split in names), None)
    if split and not part:
        raise InputError(f"{where}: split={split}: expected one of {', '.join(PARTS)}")
    labels = tags["labels"].split(",") if tags["labels"] else []
    if not all(label.removeprefix("-") for label in labels):
        raise InputError(f"{where}: labels={tags['labels']}: an empty class name")
    return labels, PARTS.index(part) if part else table.part


def _labels_in(table: _Table) -> tuple[str, ...]:
    labels = [label for record in table.records for label in _tags(table, record)[0]]
    if not labels:
        raise InputError(f"{table.path}: no header names a class; write labels=CLASS,...")
    return tuple(dict.fromkeys(label.removeprefix("-") for label in labels))


def _label(tables: list[_Table], classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (N, C) and parts (N,) of all records."""
    labels, parts = [], []
    for table in tables:
        n = len(table.records)
        values = np.full((n, len(classes)), 0 if table.name is None else -1, np.int8)
        part = np.full(n, table.part, np.int8)
        if table.name is not None:
            values[:, _column(table.name, classes, str(table.path))] = table.label
        elif table.label:
            for i, record in enumerate(table.records):
                values[i], part[i] = _header_labels(table, record, classes)
        labels.append(values)
        parts.append(part)
    return np.concatenate(labels), np.concatenate(parts)


def _header_labels(
    table: _Table, record: Record, classes: tuple[str, ...]
) -> tuple[np.ndarray, int]:
    """Return labels (C,) and part of a record in a labelled file."""
    names, part = _tags(table, record)
    labels = np.full(len(classes), -1 if names else 0, np.int8)
    for name in names:
        where = f"{table.path}, line {record.line}"
        column = _column(name.removeprefix("-"), classes, where)
        labels[column] = 0 if name.startswith("-") else 1
    return labels, part


def _column(name: str, classes: tuple[str, ...], where: str) -> int:
    if name not in classes:
        raise InputError(
            f"{where}: class {name} is not in the training set, which has {', '.join(classes)}"
        )
    return classes.index(name)


def _names(tables: list[_Table]) -> list[str]:
    """Return a name for each record, different for different records.

    If a name occurs more than once, its class or else the name of its file is put before it, and if
    that occurs more than once too, the number of the record is put after it.
    """
    records = [(table, record) for table in tables for record in table.records]
    names = ["_".join(record.name.split()) for _, record in records]
    sources = ["_".join((table.name or table.path.name).split()) for table, _ in records]
    names = _distinct(names, [f"{s}/{name}" for s, name in zip(sources, names, strict=True)])
    return _distinct(names, [f"{name}_{number}" for number, name in enumerate(names, 1)])


def _distinct(names: list[str], others: list[str]) -> list[str]:
    """Replace each name that occurs more than once by the other one."""
    count = Counter(names)
    return [b if count[a] > 1 else a for a, b in zip(names, others, strict=True)]


def _encode(
    tables: list[_Table], length: int | None, notes: Notes
) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes (N, L) of all records, cropped to their centre if a length is given.

    Also return the first base (N,) of each in its record.
    """
    wanted = length or len(tables[0].records[0].sequence)
    begins = []
    texts, cropped, odd = [], 0, 0
    for table in tables:
        for record in table.records:
            sequence, begin = record.sequence, 0
            if len(sequence) != wanted:
                if length is None or len(sequence) < length:
                    raise InputError(_wrong_length(table, record, tables, length))
                begin = (len(sequence) - wanted) // 2
                sequence = sequence[begin : begin + wanted]
                cropped += 1
            begins.append(begin)
            odd += bool(sequence.translate(None, BASES_AND_N))
            texts.append(sequence.decode())
    if cropped:
        notes[f"longer sequences, cropped to the {wanted} bp in their centre"] = cropped
    if odd:
        notes["sequences with IUPAC letters, read as N"] = odd
    return encode(texts), np.array(begins)


def _wrong_length(table: _Table, record: Record, tables: list[_Table], length: int | None) -> str:
    """Return the message about the length of a record, with a length that fits all."""
    shortest = min(len(other.sequence) for table in tables for other in table.records)
    where = f"{table.path}, line {record.line}: {record.name} has {len(record.sequence)} bp, "
    if length is not None:
        return f"{where}fewer than --length {length}; leave it out, or give --length {shortest}"
    first = tables[0].records[0]
    return (
        f"{where}but {first.name}, the first of {tables[0].path}, has {len(first.sequence)}; all "
        f"lengths must be equal: --length {shortest} crops longer sequences to their centre"
    )
