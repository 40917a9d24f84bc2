"""Functions that the imports of FASTA and BED share: options, copies, parts, shuffles."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from motifk8s.data import datasets
from motifk8s.data.datasets import Dataset
from motifk8s.data.places import NOWHERE, make_places
from motifk8s.data.shuffle import dinucleotide_shuffle
from motifk8s.errors import InputError

UNASSIGNED = -1  # the part of a row until shares are drawn
TRAIN, VALID, TEST = range(3)
Notes = dict[str, int]
"""The steps of an import, with the number of sequences of each."""


class Rows(NamedTuple):
    """Sequences before they become a data set."""

    codes: np.ndarray  # (N, L)
    labels: np.ndarray  # (N, C)
    part: np.ndarray  # (N,)
    place: np.ndarray  # (N,) of PLACE


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options that FASTA and BED share."""

    valid: Any = None  # a share between 0 and 1, or of a type that only one import has
    test: Any = None
    length: int | None = None  # bp
    seed: int = 2019

    def __post_init__(self) -> None:
        if self.length is not None and self.length < 1:
            raise InputError(f"--length {self.length}: must be at least 1")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: must be at least 0")
        for name, share in (("valid", self.valid), ("test", self.test)):
            if isinstance(share, float) and not 0 < share < 1:
                raise InputError(f"{name} share {share:g}: must be between 0 and 1")

    def seeds(self, n: int) -> list[int]:
        """Return n independent seeds."""
        return [int(seed) for seed in np.random.SeedSequence(self.seed).generate_state(n)]


def _digests(codes: np.ndarray) -> list[bytes]:
    return [hashlib.blake2b(row, digest_size=16).digest() for row in np.ascontiguousarray(codes)]


def merge(rows: Rows, notes: Notes) -> Rows:
    """Merge all copies of a sequence into one row, held out if any copy is.

    Where their labels differ, 1 overrides 0, and 0 overrides unknown. The place is the first one's.
    """
    index: dict[bytes, int] = {}
    target = np.array([index.setdefault(digest, len(index)) for digest in _digests(rows.codes)])
    if (n := len(index)) == len(rows.codes):
        return rows
    notes["copies of another sequence, merged with it"] = len(rows.codes) - n
    labels = np.full((n, rows.labels.shape[1]), -1, np.int8)
    np.maximum.at(labels, target, rows.labels)
    negative = np.zeros(labels.shape, bool)
    np.logical_or.at(negative, target, rows.labels == 0)
    if both := int((negative & (labels == 1)).any(axis=1).sum()):
        notes["of them given as positive and as negative, kept as positive"] = both
    latest, earliest = np.full(n, UNASSIGNED, np.int8), np.full(n, TEST, np.int8)
    np.maximum.at(latest, target, rows.part)
    np.minimum.at(earliest, target, rows.part)
    if moved := int(((latest > TRAIN) & (earliest < latest)).sum()):
        notes["of them also held out, kept out of training"] = moved
    first = np.unique(target, return_index=True)[1]
    return Rows(rows.codes[first], labels, latest, rows.place[first])


def draw_parts(kind: np.ndarray, valid: float, test: float, seed: int) -> np.ndarray:
    """Draw the part (N,) of each row at random within each kind (N,): 0 train, 1 valid, 2 test.

    `test` is a share of all rows of a kind, `valid` a share of the rest; counts are rounded.
    """
    _, kind, n = np.unique(kind, return_inverse=True, return_counts=True)
    order = np.lexsort((np.random.PCG64(seed).random_raw(len(kind)), kind))
    rank = np.empty(len(kind), int)
    rank[order] = np.arange(len(kind)) - np.repeat(np.cumsum(n) - n, n)
    n_test = np.floor(test * n + 0.5)
    n_valid = np.floor(valid * (n - n_test) + 0.5)
    held_out = (rank < (n_test + n_valid)[kind]).astype(np.uint8)
    return held_out + (rank < n_test[kind])


def add_shuffles(
    rows: Rows, parents: np.ndarray, seed: int, notes: Notes
) -> tuple[Rows, np.ndarray]:
    """Add a dinucleotide shuffle of the rows `parents`, in their part, negative for their classes.

    Returns
    -------
    rows : Rows
        The given ones, then the shuffles that equal no other sequence.
    parent : (M,) int
        For each row its own number, or the number of the row that it is a shuffle of.
    """
    shuffled = dinucleotide_shuffle(rows.codes[parents], seed)
    seen, fresh = set(_digests(rows.codes)), []
    for i, digest in enumerate(_digests(shuffled)):
        if digest not in seen:
            seen.add(digest)
            fresh.append(i)
    notes["dinucleotide shuffles made"] = len(fresh)
    if missing := len(parents) - len(fresh):
        notes["shuffles dropped: they equal another sequence"] = missing
    negative = np.where(rows.labels[parents[fresh]] == 1, 0, -1).astype(np.int8)
    parent = np.concatenate([np.arange(len(rows.codes)), parents[fresh]])
    codes = np.concatenate([rows.codes, shuffled[fresh]])
    labels = np.concatenate([rows.labels, negative])
    place = np.concatenate([rows.place, np.repeat(NOWHERE, len(fresh))])
    return Rows(codes, labels, rows.part[parent], place), parent


def finish(
    rows: Rows, classes: tuple[str, ...], names: Iterable[str], source: str, hint: str
) -> tuple[Dataset, np.ndarray]:
    """Sort the rows by part and check that each class can be learnt and scored.

    Return the data set and, for each of its rows, the number of the row in `rows`. An empty part
    or a class without positives or negatives raises InputError, which ends with `hint`. `names` are
    those of the places.
    """
    order = np.argsort(rows.part, kind="stable")
    part = rows.part[order].astype(np.uint8)
    places = make_places(rows.place[order], names)
    dataset = Dataset(rows.codes[order], rows.labels[order], part, classes, places=places)
    datasets.check_parts(dataset, source, hint)
    return dataset, order
