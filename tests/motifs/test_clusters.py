"""Clusters of motifs, against brute force and planted alignments."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from motifk8s.motifs.clusters import LEAST, cluster, cluster_groups, reverse, similarities
from motifk8s.motifs.jaspar import jaspar_motif
from motifk8s.motifs.motif import reverse_complement

# The motifs of the synthetic data set.
EMBEDDED = [
    "MA0151.1", "MA0466.2", "MA0477.1", "MA0062.2", "MA0496.1", "MA0058.3", "MA0052.3", "MA0502.1",
    "MA0079.3", "MA0083.3", "MA0137.3", "MA0095.2",
]  # fmt: skip
WIDTH = 19


def window(ppm, start, minus, rng=None):
    """Make a filter: the motif from column `start` on, with background around, as of 200 sites."""
    filter_ = np.full((WIDTH, 4), 0.25)
    inside = slice(max(0, start), min(WIDTH, start + len(ppm)))
    filter_[inside] = ppm[inside.start - start : inside.stop - start]
    if rng:
        filter_ = np.array([rng.multinomial(200, row) / 200 for row in filter_])
    return reverse_complement(filter_) if minus else filter_


def filters(each, seed=0):
    """Make filters of each embedded motif, at random places; return them and their motifs."""
    rng = np.random.default_rng(seed)
    made, truth = [], []
    for i, name in enumerate(EMBEDDED):
        ppm = jaspar_motif(name).ppm
        room = max(2, WIDTH - len(ppm))
        for _ in range(each):
            made.append(window(ppm, int(rng.integers(-1, room)), rng.random() < 0.5, rng))
            truth.append(i)
    return made, truth


def partition(clusters):
    return {frozenset(member.number for member in found.members) for found in clusters}


def test_the_twelve_embedded_motifs_are_apart_and_whole():
    made, truth = filters(each=6)
    found = cluster(made)
    assert partition(found) == {frozenset(np.flatnonzero(np.equal(truth, i))) for i in range(12)}
    for one in found:
        known = jaspar_motif(EMBEDDED[truth[one.members[0].number]]).ppm
        with_known = similarities([one.ppm, known])[0, 1]
        alone = [similarities([made[member.number], known])[0, 1] for member in one.members]
        assert with_known > np.mean(alone)  # noise and edges average out


@pytest.mark.parametrize("minus", [False, True])
@pytest.mark.parametrize("start", [-2, 0, 3, 7])
def test_the_alignment_is_the_planted_one(start, minus):
    ppm = jaspar_motif("MA0083.3").ppm[:12]
    [found] = cluster([window(ppm, 3, False), window(ppm, start, minus)])
    first, second = found.members
    assert (first.number, second.number) == (0, 1)
    assert first.minus != second.minus if minus else first.minus == second.minus
    if first.minus:
        found = reverse(found, [WIDTH, WIDTH])
        first, second = found.members
    assert first.offset + 3 == second.offset + start  # where the motif begins
    known = found.ppm[first.offset + 3 :][:12]
    assert np.allclose(known[max(0, -start) :], ppm[max(0, -start) :])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(0, 99))
@example([4, 5, 6, 2], 95)  # where the products of a pair round differently
def test_similarities_are_those_of_all_alignments(widths, seed):
    rng = np.random.default_rng(seed)
    ppms = [rng.dirichlet([0.5] * 4, width) for width in widths]

    def brute(a, b):
        best = 0.0
        for other in (b, reverse_complement(b)):
            for offset in range(1 - len(b), len(a)):
                total = len(a) + 2 * len(b)
                x, y = np.full((total, 4), 0.25), np.full((total, 4), 0.25)
                x[len(b) : len(b) + len(a)] = a
                y[len(b) + offset : 2 * len(b) + offset] = other
                best = max(best, np.corrcoef(x.ravel(), y.ravel())[0, 1])
        return best

    result = similarities(ppms)
    assert (result == result.T).all()
    for i, a in enumerate(ppms):
        for j, b in enumerate(ppms):
            assert result[i, j] == pytest.approx(brute(a, b), abs=2e-5)


@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_changes_nothing_but_numbers(random):
    made, _ = filters(each=2)
    order = list(range(len(made)))
    random.shuffle(order)
    shuffled = cluster([made[i] for i in order])
    back = {frozenset(order[member.number] for member in one.members) for one in shuffled}
    assert back == partition(cluster(made))
    firsts = [one.members[0].number for one in shuffled]
    assert all(a < b for a, b in pairwise(firsts))


def test_many_motifs_are_clustered_group_by_group():
    made, _ = filters(each=6)
    groups = [made[i::3] for i in range(3)]
    numbers = [i for k in range(3) for i in range(k, len(made), 3)]
    found = cluster_groups(groups, exact=10)
    real = {frozenset(numbers[member.number] for member in one.members) for one in found}
    assert real == partition(cluster(made))
    for one in found:
        width = len(one.ppm)
        for number, offset, minus in one.members:
            ppm = made[numbers[number]]
            ppm = reverse_complement(ppm) if minus else ppm
            inside = slice(max(0, offset), min(width, offset + WIDTH))
            aligned = np.full((width, 4), 0.25)
            aligned[inside] = ppm[inside.start - offset : inside.stop - offset]
            assert np.corrcoef(aligned.ravel(), one.ppm.ravel())[0, 1] > 0.6


def test_the_smallest_of_too_many_groups_are_left_out():
    made, truth = filters(each=2)
    twice = [*made, *made[:2]]  # four of the first motif
    found = cluster_groups([twice], exact=1, most=1)
    assert partition(found) == {frozenset({0, 1, len(made), len(made) + 1})}


def test_edge_cases():
    assert cluster([]) == []
    [one] = cluster([np.eye(4)])
    assert one.members == ((0, 0, False),)
    assert (one.ppm == np.eye(4)).all()
    flat = np.full((5, 4), 0.25)
    assert len(cluster([flat, flat, np.eye(4)])) == 3  # nothing is similar to a flat motif


def test_a_mean_weighs_each_by_its_size():
    a = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0.9, 0, 0, 0.1]])
    b = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0.5, 0, 0, 0.5]])
    assert similarities([a, b])[0, 1] > LEAST
    [one] = cluster([a, b], [3, 1])
    assert np.allclose(one.ppm[3], [0.8, 0, 0, 0.2]) or np.allclose(one.ppm[0], [0.2, 0, 0, 0.8])
