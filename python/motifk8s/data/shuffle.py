"""Shuffle DNA so that every dinucleotide stays exactly as frequent as it was.

A sequence is a walk over its letters, and its dinucleotides are the edges of that walk. Another
walk over the same edges, between the same ends, is a shuffled sequence. It exists for every order
of the edges in which the last ones to leave each letter form a tree that leads to the last letter
(Altschul & Erickson 1985, Mol Biol Evol 2:526). That tree is drawn first, from all sixteen that
four letters can have, so no draw is ever thrown away: however repetitive a sequence is, the time
is the same, and every possible result equally likely.
"""

from __future__ import annotations

import itertools

import numpy as np

from motifk8s.data.sequences import UNKNOWN

BLOCK = 2**21  # bases at a time, which bounds the memory to some 100 MB


def dinucleotide_shuffle(codes: np.ndarray, seed: int) -> np.ndarray:
    """Shuffle each sequence, keeping its dinucleotide counts and its first and last base.

    Unknown bases stay where they are: what lies between them is shuffled on its own, so counts of
    dinucleotides with N are kept as well. All sequences with the same dinucleotides and ends, the
    given one among them, are equally likely. A seed gives the same result everywhere.

    Parameters
    ----------
    codes : (N, L) uint8
        A C G T = 0 1 2 3; 4 is unknown.
    seed : int
        At least 0.

    Returns
    -------
    (N, L) uint8
    """
    source = np.random.PCG64(seed)
    result = codes.copy()
    start, n = _known(codes)
    shortest_first = np.argsort(n, kind="stable")  # so that little is padded
    start, n = start[shortest_first], n[shortest_first]
    done = int(np.searchsorted(n, 3, side="right"))  # of three bases or fewer, none can move
    while done < len(n):
        # The longest of the next runs decides how many there are in a block.
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
    """Runs of known bases: where each starts in the flattened codes, and its length (bp)."""
    known = np.pad(codes < UNKNOWN, ((0, 0), (1, 1)))  # no run goes on into the next row
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
    # Edges (M, W - 1) from one base to the next; those of the padding come from a fifth letter.
    tail = np.where(inside[:, 1:], x[:, :-1], UNKNOWN)
    head = np.where(inside[:, 1:], x[:, 1:], 0)
    number = ((row[:, None] * 5 + tail) * 4 + head).ravel()
    counts = np.bincount(number, minlength=runs * 20).reshape(runs, 5, 4)[:, :4]

    # Edges in random order, by letter; the edge of the tree is the last of its letter.
    key = source.random_raw(runs * (width - 1)).reshape(runs, width - 1) >> np.uint64(3)
    key |= tail.astype(np.uint64) << np.uint64(61)
    tree = _draw_tree(counts, last, source)
    for letter in range(4):
        chosen = (tail == letter) & (head == tree[:, letter, None])
        some = chosen.any(axis=1) & (last != letter)
        key[row[some], chosen[some].argmax(axis=1)] = np.uint64((letter + 1 << 61) - 1)
    head = np.take_along_axis(head, np.argsort(key, axis=1, kind="stable"), axis=1)

    # Walk: from each letter along its next edge.
    leaving = counts.sum(axis=2)
    following = np.cumsum(leaving, axis=1) - leaving  # (M, 4), the next edge of each letter
    result = np.empty_like(x)
    result[:, 0] = here = x[:, 0]
    for i in range(1, width):
        edge = following[row, here]
        following[row, here] += 1
        # A run that has ended walks on, to no effect.
        result[:, i] = here = head[row, np.minimum(edge, width - 2)]
    return result


def _draw_tree(counts: np.ndarray, root: np.ndarray, source: np.random.PCG64) -> np.ndarray:
    """Draw a tree that leads to the root: of each letter (M, 4) the next one on its way there.

    Trees of edges are equally likely, so a tree of letters weighs the product of the counts
    (M, 4, 4) of its steps. A letter that is absent steps to the root.
    """
    row = np.arange(len(root))
    steps = counts.astype(float)
    for letter in range(4):
        absent = ~counts[:, letter].any(axis=1)
        steps[row[absent], letter, root[absent]] = 1
        steps[row[root == letter], letter] = 1  # the root itself does not count
    trees = np.array([_trees(letter) for letter in range(4)])[root]  # (M, 16, 4)
    weight = np.ones(trees.shape[:2])
    for letter in range(4):
        weight *= steps[row[:, None], letter, trees[:, :, letter]]
    below = np.cumsum(weight, axis=1)
    uniform = (source.random_raw(len(root)) >> np.uint64(11)) * 2.0**-53
    drawn = (uniform[:, None] * below[:, -1:] >= below).sum(axis=1)
    return trees[row, drawn]


def _trees(root: int) -> list[tuple[int, ...]]:
    """The sixteen trees on four letters that lead to `root`: of each letter the next one."""

    def leads_there(tree: tuple[int, ...]) -> bool:
        return all(tree[tree[tree[letter]]] == root for letter in range(4))

    return [
        tree
        for tree in itertools.product(range(4), repeat=4)
        if tree[root] == root and leads_there(tree)
    ]
