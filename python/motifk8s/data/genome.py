"""Read a genome in FASTA by position, plain or gzip.

The file itself is measured at each opening. An index (.fai, .gzi) is not used: one that is older
than its genome, with a newer date, would give wrong sequences.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from motifk8s.data.fasta import LETTERS
from motifk8s.data.files import budget, check_budget, open_text, read_line
from motifk8s.data.sequences import encode
from motifk8s.errors import InputError

STRETCH = 2**24  # bytes read at a time
BGZIP = b"BC\x02\x00"  # bytes 12 to 16 of a file of bgzip
BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


class Genome:
    """An open genome; `sizes` has the length in bp of each sequence, in file order.

    Of sequences with the same name, `sizes` has the first; `repeated` has their names.
    """

    def __init__(self, path: Path, file: BinaryIO):
        self.path = path
        self._file = file
        self.sizes: dict[str, int] = {}
        self.repeated: set[str] = set()
        self._offsets: dict[str, int] = {}  # of the first line after the header
        for record in _measured(file, path):
            if record.name in self.sizes:
                self.repeated.add(record.name)
            else:
                self.sizes[record.name] = record.size
                self._offsets[record.name] = record.offset

    def windows(self, name: str, starts: np.ndarray, length: int) -> np.ndarray:
        """Read the base codes (N, length) of the windows at `starts` (N,), in ascending order.

        The windows must lie within the sequence. Memory holds the result and one stretch of the
        sequence. Raise InputError if the stretch has a letter that is not DNA.
        """
        result = np.empty((len(starts), length), np.uint8)
        if not len(starts):
            return result
        done, first = 0, 0  # windows read, and the position of the first base in `stretch`
        stretch = np.empty(0, np.uint8)
        for text in self._pieces(name):
            wanted = max(0, int(starts[done]) - first)  # bases before it are in no window
            kept, skipped = stretch[wanted:], max(0, wanted - len(stretch))
            first += min(wanted, len(stretch) + len(text))
            at = first + len(kept)
            stretch = np.concatenate([kept, self._codes(text[skipped:], name, at)])
            end = int(np.searchsorted(starts, first + len(stretch) - length, side="right"))
            if end > done:
                views = sliding_window_view(stretch, length)
                result[done:end] = views[starts[done:end] - first]
                done = end
            if done == len(starts):
                break
        return result

    def _pieces(self, name: str) -> Iterator[bytes]:
        """Read the bases of a sequence in pieces."""
        left = self.sizes[name]
        self._file.seek(self._offsets[name])
        while left:
            lines = self._file.read(STRETCH)
            if not lines:
                raise InputError(f"{self.path}: {name} changed while it was read; try again")
            text = lines.translate(None, b"\r\n")[:left]
            left -= len(text)
            yield text

    def _codes(self, text: bytes, name: str, at: int) -> np.ndarray:
        """Return the base codes of a piece that begins at position `at`."""
        if strange := text.translate(None, LETTERS):
            at += text.index(strange[:1])
            letter = strange[:1].decode("ascii", "replace")
            hint = "this is RNA" if letter in "Uu" else "is this a genome?"
            raise InputError(f"{self.path}, {name}:{at}: {letter!r} is not a base; {hint}")
        return encode(text.decode())[0]

    def named(self, name: str) -> str | None:
        """Return the genome's name of a sequence, with or without chr; None if it has neither."""
        other = name[3:] if name.startswith("chr") else f"chr{name}"
        return next((known for known in (name, other) if known in self.sizes), None)

    def examples(self) -> str:
        """Return a few sequence names for a message."""
        names = list(self.sizes)
        return ", ".join(names[:3]) + (f", ... ({len(names)} in all)" if len(names) > 3 else "")


@contextmanager
def open_genome(path: Path) -> Iterator[Genome]:
    """Open and measure a genome, plain or compressed with gzip or bgzip.

    Raise InputError if it cannot be read, is not FASTA, or is truncated or damaged. The lines of a
    sequence must have equal lengths, except the last; blank lines may follow it.
    """
    with open_text(path) as file:
        _check_bgzip_end(path)
        genome = Genome(path, file)
        if not genome.sizes:
            raise InputError(f"{path}: is empty, or has no sequences")
        yield genome


def _check_bgzip_end(path: Path) -> None:
    """Raise InputError if a file of bgzip lacks its last block, which gzip does not need."""
    with path.open("rb") as file:
        if file.read(16)[12:] == BGZIP:
            file.seek(-min(len(BGZIP_END), path.stat().st_size), 2)
            if file.read() != BGZIP_END:
                raise InputError(f"{path}: is truncated; copy or download it again")


@dataclass
class _Record:
    """A sequence of a genome, as far as it is measured."""

    name: str
    offset: int  # of the first line after the header
    size: int = 0  # bp
    width: int = 0  # bp of its first line
    last: int = 0  # bp of the line before

    def add(self, lines: np.ndarray) -> bool:
        """Add the lengths (n,) of the next lines; return whether they fit those before."""
        if not self.width:  # Skip blank lines before the first base.
            lines = np.trim_zeros(lines, "f")
            self.width = self.last = int(lines[0]) if len(lines) else 0
        before = np.concatenate([[self.last], lines[:-1]])
        self.size += int(lines.sum())
        self.last = int(lines[-1]) if len(lines) else self.last
        return bool(((lines == 0) | (lines <= self.width) & (before == self.width)).all())


def _measured(file: BinaryIO, path: Path) -> Iterator[_Record]:
    """Measure the sequences of a genome in file order."""
    record = None
    for offset, text in _whole_lines(file, path):
        done = 0
        while done < len(text):
            if text.startswith(b">", done):
                if record:
                    yield record
                end = text.index(b"\n", done) + 1
                words = text[done + 1 : end].decode("utf-8", "replace").split(None, 1)
                record = _Record(words[0] if words else "", offset + end)
            else:
                end = _next_header(text, done)
                lines = _line_lengths(text[done:end])
                if record and not record.add(lines):
                    raise InputError(
                        f"{path}: the lines of {record.name} differ in length; only the last may "
                        "be shorter: the file is damaged, or was edited"
                    )
                if not record and any(map(_is_sequence, text[done:end].splitlines())):
                    raise InputError(f"{path}: not FASTA, which begins with >NAME")
            done = end
    if record:
        yield record


def _next_header(text: bytes, done: int) -> int:
    """Return the position of the next header, or of the end of the text."""
    # Searching one byte takes a fraction of the time of two.
    while (end := text.find(b">", done)) >= 0 and text[end - 1] != ord("\n"):
        done = end + 1
    return end if end >= 0 else len(text)


def _is_sequence(line: bytes) -> bool:
    """Return whether a line is neither blank nor a comment."""
    return line.strip()[:1] not in (b"", b";")


def _line_lengths(text: bytes) -> np.ndarray:
    """Return the length (n,) in bp of each line, without LF or CR LF."""
    letters = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    return ends - starts - ((letters[ends - 1] == ord("\r")) & (ends > starts))


def _whole_lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the content of a text in pieces of whole lines, with their offsets."""
    offset = 0
    while text := file.read(STRETCH):
        most = budget()
        if not text.endswith(b"\n"):
            if len(line := read_line(file, most)) > most:
                check_budget(f"{path}: a line has more than", len(line))
            text += line
        if b"\0" in text:
            raise InputError(f"{path}: is not text (ASCII or UTF-8)")
        if not text.endswith(b"\n"):
            text += b"\n"  # the last line
        if b"\r" in text and text.count(b"\r") != text.count(b"\r\n"):
            raise InputError(
                f"{path}: a carriage return within a line; convert the line ends to LF (mac2unix)"
            )
        yield offset, text
        offset += len(text)
