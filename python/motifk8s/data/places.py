"""Where the sequences of a data set are from: chromosome or FASTA record, position and strand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

PLACE = np.dtype([("name", "<i4"), ("start", "<i8"), ("strand", "i1")])
"""
The place of a sequence: number of its name, first base (0-based), and strand: -1 if the sequence is
the reverse complement of what is there. The number of a sequence without a place, such as a
shuffled one, is -1.
"""
NOWHERE = np.array((-1, 0, 1), PLACE)


@dataclass(frozen=True, eq=False)
class Places:
    """The places of N sequences."""

    rows: np.ndarray  # (N,) of PLACE
    text: bytes
    """The different names, UTF-8, one a line. As text they take a fifth of the memory of a list."""

    @property
    def names(self) -> list[str]:
        """The names, by their numbers."""
        return self.text.decode().split("\n")


def make_places(rows: np.ndarray, names: Iterable[str]) -> Places:
    """Return the places (N,) of PLACE of sequences, with names that have no line breaks."""
    return Places(rows, "\n".join(names).encode())


def rows_at(name: np.ndarray, start: np.ndarray | int = 0) -> np.ndarray:
    """Return places (N,) of PLACE on the forward strand."""
    rows = np.empty(len(name), PLACE)
    rows["name"], rows["start"], rows["strand"] = name, start, 1
    return rows
