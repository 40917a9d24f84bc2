"""A data set from FASTA files: one file per class, or one file with labels in its headers.

A sequence of one class says nothing about the others, so its labels there are unknown (-1), and
training and scores leave them out. What is known to be negative must be given, or made: the
dinucleotide shuffle of a sequence is negative for the classes of that sequence, and for no other.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from motifk8s.data import assemble
from motifk8s.data.assemble import TEST, UNASSIGNED, VALID
from motifk8s.data.datasets import PARTS, Dataset
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


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    r"""Lines of a text file, plain or gzip, with their numbers from 1 and without line ends.

    Raises
    ------
    InputError
        If the file cannot be read, is empty, is not text, or its gzip data are damaged or cut.
    """
    number = 0
    try:
        with path.open("rb") as raw:
            zipped = raw.peek(2)[:2] == b"\x1f\x8b"
            with closing(gzip.GzipFile(fileobj=raw)) if zipped else raw as file:
                for number, line in enumerate(file, 1):
                    line = line.rstrip(b"\r\n")
                    if number == 1:
                        line = line.removeprefix(b"\xef\xbb\xbf")
                    if b"\0" in line or line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                        raise InputError(f"{path}, line {number}: is not text (ASCII or UTF-8)")
                    if b"\r" in line:
                        raise InputError(
                            f"{path}, line {number}: a carriage return within the line; convert "
                            "the line ends to LF (mac2unix)"
                        )
                    yield number, line
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except EOFError:
        raise InputError(
            f"{path}, after line {number}: the gzip data are cut short; copy or download it again"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path}, after line {number}: the gzip data are damaged ({error}); copy or download "
            "it again"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if number == 0:
        raise InputError(f"{path}: is empty")


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


def import_fasta(
    train: Files,
    *,
    valid: Files | float | None = None,
    test: Files | float | None = None,
    negatives: Files | Literal["dinucleotide"] | None = None,
    valid_negatives: Files | None = None,
    test_negatives: Files | None = None,
    others_negative: bool = False,
    length: int | None = None,
    seed: int = 2019,
) -> tuple[Dataset, dict[str, int]]:
    """Make a data set from FASTA files.

    A sequence that occurs several times becomes one row with all its labels; it stays out of
    training if any of its files is held out. Only equal strands are compared, not complements.

    Parameters
    ----------
    train : path or mapping of class name to path
        One file per class, all of whose sequences are positive for it. Or one labelled file:
        ``>name labels=SRF,-YY1`` is positive for SRF, negative for YY1, and ``labels=`` negative
        for all; ``split=test`` (or valid, train) in a header puts it there.
    valid, test : path, mapping or float, optional
        Files like `train`; or a share, drawn at random within each class. The test set takes its
        share of all, the validation set of what remains. By default 0.1 and 0.2, or nothing if
        headers say ``split=valid`` or ``split=test``.
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
    seed : int
        Of shares and shuffles, at least 0.

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
    for name, given in (("valid", valid), ("test", test)):
        if isinstance(given, float) and not 0 < given < 1:
            raise InputError(f"{name} share {given:g}: must be between 0 and 1")
    # By part and label; a labelled file has labels of its own.
    sources: list[tuple[Files, int, int]] = [(train, UNASSIGNED, 1)]
    for held_out, number in ((valid, VALID), (test, TEST)):
        if held_out is not None and not isinstance(held_out, float):
            sources.append((held_out, number, 1))
    if negatives is not None and not isinstance(negatives, str):
        sources.append((negatives, UNASSIGNED, 0))
    sources += [(f, n, 0) for f, n in ((valid_negatives, VALID), (test_negatives, TEST)) if f]

    tables = _read(sources)
    classes = tuple(train) if isinstance(train, Mapping) else _labels_in(tables[0])
    notes = {"sequences read": sum(len(table.records) for table in tables)}
    codes = _encode(tables, length, notes)
    codes, labels, part = assemble.merge(codes, *_label(tables, classes), notes)

    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(2)]
    free = np.flatnonzero(part == UNASSIGNED)
    # A kind for the positives of each class and one for its negatives; the first of several.
    kind = np.hstack([labels[free] == 1, labels[free] == 0]).argmax(axis=1)
    valid_share, test_share = (
        given if isinstance(given, float) else 0.0 if number in part else default
        for given, number, default in ((valid, VALID, 0.1), (test, TEST, 0.2))
    )
    part[free] = assemble.draw_parts(kind, valid_share, test_share, seeds[0])

    if negatives == "dinucleotide":
        own = [p for p, f in ((VALID, valid_negatives), (TEST, test_negatives)) if f]
        parents = np.flatnonzero((labels == 1).any(axis=1) & ~np.isin(part, own))
        codes, labels, parent = assemble.add_shuffles(codes, labels, parents, seeds[1], notes)
        part = part[parent]
    if others_negative:
        labels[labels == -1] = 0
    order = np.argsort(part, kind="stable")
    dataset = Dataset(codes[order], labels[order], part[order].astype(np.uint8), classes)
    assemble.check(dataset, "FASTA", HINT)
    return dataset, notes


class _Table(NamedTuple):
    """What a file holds: its class (None: all, or as labelled), part, and label."""

    path: Path
    records: list[Record]
    name: str | None
    part: int
    label: int


def _read(sources: Iterable[tuple[Files, int, int]]) -> list[_Table]:
    tables = []
    for files, part, label in sources:
        named = files if isinstance(files, Mapping) else {None: files}
        for name, path in named.items():
            tables.append(_Table(Path(path), read_fasta(Path(path)), name, part, label))
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
    n = sum(len(table.records) for table in tables)
    labels = np.full((n, len(classes)), -1, np.int8)
    part = np.empty(n, np.int8)
    column = {name: i for i, name in enumerate(classes)}
    row = 0
    for table in tables:
        rows = slice(row, row + len(table.records))
        part[rows] = table.part
        if table.name is not None and table.name not in column:
            raise InputError(
                f"{table.path}: its class {table.name} is none of the training set, "
                f"{', '.join(classes)}"
            )
        if table.name is not None:
            labels[rows, column[table.name]] = table.label
        elif table.label == 0:
            labels[rows] = 0
        else:
            for i, record in enumerate(table.records, row):
                names, part[i] = _tags(table, record)
                if not names:
                    labels[i] = 0
                for name in names:
                    if (bare := name.removeprefix("-")) not in column:
                        raise InputError(
                            f"{table.path}, line {record.line}: class {bare} is none of the "
                            f"training set, {', '.join(classes)}"
                        )
                    labels[i, column[bare]] = 0 if name.startswith("-") else 1
        row = rows.stop
    return labels, part


def _encode(tables: list[_Table], length: int | None, notes: dict[str, int]) -> np.ndarray:
    """Codes (N, L) of all records, cropped to their centre if a length is given."""
    shortest = min(len(record.sequence) for table in tables for record in table.records)
    first, wanted = tables[0].records[0], length
    if wanted is None:
        wanted = len(first.sequence)
    texts, cropped, odd = [], 0, 0
    for table in tables:
        for record in table.records:
            if (n := len(record.sequence)) != wanted:
                where = f"{table.path}, line {record.line}: {record.name} has {n} bp, "
                if length is None:
                    raise InputError(
                        f"{where}but {first.name}, the first of {tables[0].path}, has {wanted}; "
                        f"all must have one length: --length {shortest} crops longer ones to "
                        "their centre"
                    )
                if n < length:
                    raise InputError(
                        f"{where}fewer than --length {length}; leave it out, or give --length "
                        f"{shortest}"
                    )
                cropped += 1
            begin = (n - wanted) // 2
            sequence = record.sequence[begin : begin + wanted]
            odd += bool(sequence.translate(None, BASES_AND_N))
            texts.append(sequence.decode())
    if cropped:
        notes[f"longer sequences, cropped to the {wanted} bp in their centre"] = cropped
    if odd:
        notes["sequences with IUPAC letters, read as N"] = odd
    return encode(texts)
