"""Read a genome in FASTA by position with pyfaidx and an index (.fai)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyfaidx
from numpy.lib.stride_tricks import sliding_window_view

from motifk8s.data.fasta import LETTERS
from motifk8s.data.files import GZIP, readable
from motifk8s.data.sequences import encode
from motifk8s.errors import InputError, one_line

STRETCH = 2**24  # bp read at a time
ONLY_GZIP = (
    "is compressed by gzip, which does not allow reading by position; decompress it (gunzip), or "
    "compress it with bgzip"
)


class Genome:
    """An open genome; `sizes` has the length in bp of each sequence, in file order."""

    def __init__(self, path: Path, fasta: Any):
        self.path = path
        self._fasta = fasta
        self.sizes: dict[str, int] = {name: len(fasta[name]) for name in fasta.keys()}  # noqa: SIM118

    def codes(self, name: str, start: int, end: int) -> np.ndarray:
        """Read the base codes (end - start,) of an interval, which must lie within the sequence.

        Raise InputError if the file is damaged, does not match its index, or has a letter that is
        not DNA.
        """
        where = f"{self.path}, {name}:{start}-{end}"
        try:
            text = str(self._fasta[name][start:end])
        except Exception as error:  # pyfaidx and its readers raise errors of many types.
            raise InputError(f"{where}: cannot read it ({one_line(error)})") from None
        if len(text) != end - start:
            raise InputError(
                f"{where}: has only {len(text)} bp; the file is truncated, or its index is of "
                f"another file: copy the genome again and delete {self.path}.fai"
            )
        strange = text.encode("utf-8", "replace").translate(None, LETTERS).decode("utf-8")
        if strange:
            hint = "this is RNA" if strange[0] in "Uu" else "is this a genome?"
            at = start + text.index(strange[0])
            raise InputError(f"{self.path}, {name}:{at}: {strange[0]!r} is not a base; {hint}")
        return encode(text)[0]

    def windows(self, name: str, starts: np.ndarray, length: int) -> np.ndarray:
        """Read the base codes (N, length) of the windows at `starts` (N,), in ascending order.

        Memory holds the result and one stretch of the sequence. See `codes` for errors.
        """
        result = np.empty((len(starts), length), np.uint8)
        done = 0
        while done < len(starts):
            end = int(np.searchsorted(starts, starts[done] + STRETCH))
            first, last = int(starts[done]), int(starts[end - 1])
            stretch = self.codes(name, first, last + length)
            result[done:end] = sliding_window_view(stretch, length)[starts[done:end] - first]
            done = end
        return result

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
    """Open a genome; write a missing index to the same folder, or to a temporary one.

    Raise InputError if it cannot be read, is not FASTA, or is compressed by anything but bgzip.
    The lines of a sequence must have equal lengths, names must be unique, and the index intact.
    """
    _check_beginning(path)
    with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder:
        index = Path(f"{path}.fai")
        fresh = index.exists() and index.stat().st_mtime >= path.stat().st_mtime
        if not fresh and not os.access(index if index.exists() else path.parent, os.W_OK):
            index = Path(folder) / index.name
        blocks = Path(f"{path}.gzi")
        if not blocks.exists() and not os.access(path.parent, os.W_OK):
            blocks = Path(folder) / blocks.name
        with closing(_open_fasta(path, index, blocks, fresh)) as fasta:
            genome = Genome(path, fasta)
            if not genome.sizes:
                raise InputError(f"{path}: the index {index} is empty; delete it")
            yield genome


def _open_fasta(path: Path, index: Path, blocks: Path, fresh: bool) -> Any:
    """Open a genome with pyfaidx, which writes the index unless it is fresh."""
    try:
        return pyfaidx.Fasta(
            str(path), indexname=str(index), gzi_indexname=str(blocks), as_raw=True
        )
    except pyfaidx.UnsupportedCompressionFormat:
        raise InputError(f"{path}: {ONLY_GZIP}") from None
    except Exception as error:  # pyfaidx and its readers raise errors of many types.
        hint = f"; if the file is intact, delete its index {index}" if fresh else ""
        if not fresh:  # pyfaidx has just made the index from a damaged file.
            with suppress(OSError):
                index.unlink(missing_ok=True)
        raise InputError(
            f"{path}: not a genome in FASTA, or truncated or damaged ({one_line(error)}){hint}"
        ) from None


def _check_beginning(path: Path) -> None:
    """Raise InputError if the first bytes are not those of a genome."""
    with readable(path), path.open("rb") as file:
        begin = file.read(4)
    if not begin:
        raise InputError(f"{path}: is empty")
    named_zipped = path.suffix.lower() in (".gz", ".bgz")
    zipped = begin.startswith(GZIP)
    if named_zipped != zipped:
        fact = "is compressed" if zipped else "is not compressed"
        raise InputError(f"{path}: {fact}, contrary to its name; rename it")
    if zipped and begin[3] & 4 == 0:  # Only bgzip uses gzip's extra field.
        raise InputError(f"{path}: {ONLY_GZIP}")
    if not zipped and begin[:1] not in b">;\r\n":
        raise InputError(f"{path}: not FASTA, which begins with >NAME")
