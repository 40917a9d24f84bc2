"""What importers do with their rows: merge copies, draw parts, add negatives, check the whole."""

from __future__ import annotations

import hashlib

import numpy as np

from motifk8s.data.datasets import PARTS, Dataset
from motifk8s.data.shuffle import dinucleotide_shuffle
from motifk8s.errors import InputError

UNASSIGNED = -1  # to a part, until shares are drawn
TRAIN, VALID, TEST = range(3)


def _digests(codes: np.ndarray) -> list[bytes]:
    return [hashlib.blake2b(row, digest_size=16).digest() for row in np.ascontiguousarray(codes)]


def merge(
    codes: np.ndarray, labels: np.ndarray, part: np.ndarray, notes: dict[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One row per sequence. Of its labels, 1 goes before 0, and 0 before unknown."""
    index: dict[bytes, int] = {}
    row = np.array([index.setdefault(digest, len(index)) for digest in _digests(codes)])
    if (n := len(index)) == len(codes):
        return codes, labels, part
    notes["copies of another sequence, merged with it"] = len(codes) - n
    together = np.full((n, labels.shape[1]), -1, np.int8)
    np.maximum.at(together, row, labels)
    negative = np.zeros(together.shape, bool)
    np.logical_or.at(negative, row, labels == 0)
    if both := int((negative & (together == 1)).any(axis=1).sum()):
        notes["of them given as positive and as negative, kept as positive"] = both
    latest, earliest = np.full(n, UNASSIGNED, np.int8), np.full(n, TEST, np.int8)
    np.maximum.at(latest, row, part)
    np.minimum.at(earliest, row, part)
    if moved := int(((latest > TRAIN) & (earliest < latest)).sum()):
        notes["of them also held out, kept out of training"] = moved
    first = np.unique(row, return_index=True)[1]
    return codes[first], together, latest


def draw_parts(kind: np.ndarray, valid: float, test: float, seed: int) -> np.ndarray:
    """Draw at random, within each kind (N,), which rows are for training, validation and test.

    Parameters
    ----------
    kind : (N,) int
    valid, test : float
        Shares, rounded within each kind: the test set's of all, the validation set's of the rest.
    seed : int

    Returns
    -------
    (N,) uint8
        0 train, 1 valid, 2 test.
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
    codes: np.ndarray, labels: np.ndarray, rows: np.ndarray, seed: int, notes: dict[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add a dinucleotide shuffle of some rows, negative for the classes of its row alone.

    Returns
    -------
    codes (M, L), labels (M, C)
    parent : (M,) int
        The row, or the row that it is a shuffle of.
    """
    shuffled = dinucleotide_shuffle(codes[rows], seed)
    seen, fresh = set(_digests(codes)), []
    for i, digest in enumerate(_digests(shuffled)):
        if digest not in seen:
            seen.add(digest)
            fresh.append(i)
    notes["dinucleotide shuffles made"] = len(fresh)
    if missing := len(rows) - len(fresh):
        notes["shuffles dropped: they equal another sequence"] = missing
    rows = rows[fresh]
    return (
        np.concatenate([codes, shuffled[fresh]]),
        np.concatenate([labels, np.where(labels[rows] == 1, 0, -1).astype(np.int8)]),
        np.concatenate([np.arange(len(codes)), rows]),
    )


def check(dataset: Dataset, where: str, hint: str) -> None:
    """Raise InputError unless each class can be learnt and scored; `hint` says what to do."""
    for number, part in enumerate(PARTS):
        if number not in dataset.split:
            raise InputError(f"{where}: the {part} part has no sequences; {hint}")
    for part in ("train", "test"):
        labels = dataset.part(part)[1]
        for i, name in enumerate(dataset.classes):
            for value, what in ((1, "positive"), (0, "negative")):
                if not (labels[:, i] == value).any():
                    raise InputError(
                        f"{where}: class {name} has no {what} sequence in the {part} part; {hint}"
                    )
