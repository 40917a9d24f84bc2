"""Shuffle DNA without changing the count of any dinucleotide.

A sequence is a walk over letters, and its dinucleotides are the edges of the walk. A shuffle is
another walk over the same edges, between the same ends (Altschul & Erickson 1985, Mol Biol Evol
2:526). In such a walk, the last edges that leave each letter form a tree to the last letter. This
module draws that tree first, from the sixteen trees of four letters. So it rejects no draw: the
time does not depend on repeats, and all results are equally likely.
"""

from __future__ import annotations

import itertools

import numpy as np

from motifk8s.data.sequences import UNKNOWN

BLOCK = 2**21  # bases at a time, which need about 100 MB of memory


def dinucleotide_shuffle(codes: np.ndarray, seed: int) -> np.ndarray:
    """Shuffle each sequence (N, L) but keep its dinucleotide counts and its first and last base.

    Unknown bases keep their positions, and each run between them is shuffled separately, so
    counts of dinucleotides with N stay the same too. All sequences with the same dinucleotides and
    ends, including the given one, are equally likely. A seed (0 or more) gives the same result on
    every platform.
    """
    source = np.random.PCG64(seed)
    result = codes.copy()
    start, n = _known(codes)
    shortest_first = np.argsort(n, kind="stable")  # Similar lengths need little padding.
    start, n = start[shortest_first], n[shortest_first]
    done = int(np.searchsorted(n, 3, side="right"))  # Up to three bases cannot change places.
    while done < len(n):
        # All runs of a block are padded to the longest, the last one.
        fits = n[done:] * np.arange(1, len(n) - done + 1) <= BLOCK
        many = max(1, int(np.count_nonzero(fits)))
        rows = slice(done, done + many)
        columns = np.arange(n[done + many - 1])
        inside = columns < n[rows, None]
        where = np.where(inside, start[rows, None] + columns, 0)
        shuffled = _shuffle(codes.ravel()[where], n[rows], inside, source)
        result.ravel()[where[inside]] = shuffled[inside]
        done += many
    return result


def _known(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return start (in the flattened codes) and length (bp) of each run of known bases."""
    known = np.pad(codes < UNKNOWN, ((0, 0), (1, 1)))  # Padding ends each run with its row.
    row, edge = np.nonzero(known[:, 1:] != known[:, :-1])
    start = (row * codes.shape[1] + edge)[::2]
    return start, edge[1::2] - edge[::2]


def _shuffle(
    x: np.ndarray, n: np.ndarray, inside: np.ndarray, source: np.random.PCG64
) -> np.ndarray:
    """Shuffle runs of known bases (M, W), of which the first `n` (M,) are `inside` (M, W)."""
    runs, width = x.shape
    row = np.arange(runs)
    last = x[row, n - 1]
    # Edges (M, W - 1) from one base to the next; edges of the padding leave a fifth letter.
    tail = np.where(inside[:, 1:], x[:, :-1], UNKNOWN)
    head = np.where(inside[:, 1:], x[:, 1:], 0)
    number = ((row[:, None] * 5 + tail) * 4 + head).ravel()
    counts = np.bincount(number, minlength=runs * 20).reshape(runs, 5, 4)[:, :4]

    # Sort the edges by letter, at random within a letter except that the tree's edge is last.
    key = source.random_raw(runs * (width - 1)).reshape(runs, width - 1) >> np.uint64(3)
    key |= tail.astype(np.uint64) << np.uint64(61)
    tree = _draw_tree(counts, last, source)
    for letter in range(4):
        chosen = (tail == letter) & (head == tree[:, letter, None])
        leaves = chosen.any(axis=1) & (last != letter)
        key[row[leaves], chosen[leaves].argmax(axis=1)] = np.uint64((letter + 1 << 61) - 1)
    head = np.take_along_axis(head, np.argsort(key, axis=1, kind="stable"), axis=1)

    # Walk: leave each letter along its next edge.
    leaving = counts.sum(axis=2)
    following = np.cumsum(leaving, axis=1) - leaving  # (M, 4), the next edge of each letter
    result = np.empty_like(x)
    result[:, 0] = base = x[:, 0]
    for i in range(1, width):
        edge = following[row, base]
        following[row, base] += 1
        # The caller ignores the bases beyond the end of a run.
        result[:, i] = base = head[row, np.minimum(edge, width - 2)]
    return result


def _draw_tree(counts: np.ndarray, root: np.ndarray, source: np.random.PCG64) -> np.ndarray:
    """Draw a tree that leads to the root, as the next letter after each letter (M, 4).

    All trees of edges are equally likely. So the weight of a tree of letters is the product of the
    counts (M, 4, 4) of its steps. A letter that is absent steps to the root.
    """
    row = np.arange(len(root))
    steps = counts.astype(float)
    for letter in range(4):
        absent = ~counts[:, letter].any(axis=1)
        steps[row[absent], letter, root[absent]] = 1
        steps[row[root == letter], letter] = 1  # The root has no step.
    trees = np.array([_trees(letter) for letter in range(4)])[root]  # (M, 16, 4)
    weight = np.ones(trees.shape[:2])
    for letter in range(4):
        weight *= steps[row[:, None], letter, trees[:, :, letter]]
    below = np.cumsum(weight, axis=1)
    uniform = (source.random_raw(len(root)) >> np.uint64(11)) * 2.0**-53
    drawn = (uniform[:, None] * below[:, -1:] >= below).sum(axis=1)
    return trees[row, drawn]


def _trees(root: int) -> list[tuple[int, ...]]:
    """Return the sixteen trees that lead to `root`, as the next letter after each letter."""
    return [
        tree
        for tree in itertools.product(range(4), repeat=4)
        if tree[root] == root and all(tree[tree[tree[letter]]] == root for letter in range(4))
    ]
