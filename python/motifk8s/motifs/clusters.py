"""Cluster similar motifs, and align the motifs of each cluster.

The similarity of two motifs is Pearson's correlation of their probabilities at the best alignment,
over the columns of both; where only one of them has a column, the other is taken as 0.25
everywhere. So a column without information changes little, and motifs need not be trimmed. Clusters
are those of average linkage (UPGMA), cut at one similarity, so the members of a cluster have at
least this similarity on average. ``bench/clusters.py`` compares this with p-values of Tomtom and
with the rule of RSAT matrix-clustering (Castro-Mondragon et al. 2017, NAR 45:e119).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from motifk8s.motifs.motif import reverse_complement

LEAST = 0.7  # similarity of the members of a cluster; bench/clusters.py
EXACT = 5_000  # motifs that are all compared with each other
MOST = 10_000  # means of groups that are compared with each other: 2 GB, about two minutes
_SCORES = 2**22  # scores computed at a time
_DIGITS = 5  # of a similarity, so that the last bits of a sum decide nothing


class Member(NamedTuple):
    """The place of a motif in the alignment of its cluster."""

    number: int  # in the motifs that were clustered
    offset: int  # column of the cluster's PPM at the motif's first column; may be negative
    minus: bool  # the reverse complement of the motif is aligned


class Cluster(NamedTuple):
    """Motifs that are alike."""

    members: tuple[Member, ...]  # by number
    ppm: np.ndarray  # (W, 4): mean of the aligned members


def cluster(
    ppms: Sequence[np.ndarray], sizes: Sequence[int] | None = None, least: float = LEAST
) -> list[Cluster]:
    """Cluster motifs, in the order of their first members.

    Parameters
    ----------
    ppms : N arrays (W, 4)
        The widths may differ.
    sizes : N int, optional
        Number of filters that each motif is the mean of, its weight in the mean; default: 1.
    least : float
        Least average similarity of two clusters that are joined.

    Returns
    -------
    list of Cluster
        Members are aligned to the member that is most similar to the others, on its strand. A
        column of the mean is one that at least half of the filters have.

    Notes
    -----
    Memory is 16 bytes times N², time grows as N² W²: see docs/motifs.md.
    """
    if not ppms:
        return []
    padded = _Padded.of(ppms)
    similar = _similarities(padded.unit)
    groups = _average_linkage(similar, 1 - least)
    weights = np.ones(len(ppms)) if sizes is None else np.asarray(sizes, float)
    return [_aligned(padded, group, similar, weights) for group in groups]


def cluster_groups(
    groups: Sequence[Sequence[np.ndarray]], exact: int = EXACT, most: int = MOST
) -> list[Cluster]:
    """Cluster motifs of several groups, such as the layers of networks, in bounded time.

    Up to `exact` motifs are clustered at once. Of more, each group is clustered alone first, then
    the means of all groups. Of more than `most` means, those of the fewest motifs are left out.

    Returns
    -------
    list of Cluster
        Indices count through all groups. A motif in none of the clusters was left out.
    """
    ppms = [ppm for group in groups for ppm in group]
    if len(ppms) <= exact:
        return cluster(ppms)
    inner: list[Cluster] = []
    first = 0
    for group in groups:
        for part in cluster(group):
            members = (member._replace(number=member.number + first) for member in part.members)
            inner.append(part._replace(members=tuple(members)))
        first += len(group)
    sizes = np.array([len(part.members) for part in inner])
    kept = np.sort(np.argsort(-sizes, kind="stable")[:most])
    outer = cluster([inner[i].ppm for i in kept], sizes[kept].tolist())
    return [_flat(whole, [inner[i] for i in kept], ppms) for whole in outer]


def reverse(whole: Cluster, widths: Sequence[int]) -> Cluster:
    """Return a cluster on the other strand; `widths` has the width of each member's motif."""
    end = len(whole.ppm)
    members = (
        Member(number, end - offset - width, not minus)
        for (number, offset, minus), width in zip(whole.members, widths, strict=True)
    )
    return Cluster(tuple(members), reverse_complement(whole.ppm))


def _flat(whole: Cluster, parts: Sequence[Cluster], ppms: Sequence[np.ndarray]) -> Cluster:
    """Replace the members of a cluster, which are clusters, by their members."""
    members: list[Member] = []
    for number, offset, minus in whole.members:
        part = parts[number]
        if minus:
            part = reverse(part, [len(ppms[member.number]) for member in part.members])
        members += [m._replace(offset=m.offset + offset) for m in part.members]
    return whole._replace(members=tuple(sorted(members)))


def similarities(ppms: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the similarity of all pairs of N motifs: a symmetric array (N, N), 0 to 1."""
    return _similarities(_Padded.of(ppms).unit)


class _Padded(NamedTuple):
    """N motifs in an array of one width W; the columns of a narrower motif come first."""

    ppm: np.ndarray  # (N, W, 4)
    present: np.ndarray  # (N, W) bool: the columns of the motif
    unit: np.ndarray  # (N, W, 4) float32: minus 0.25, of norm 1; 0 where absent

    @classmethod
    def of(cls, ppms: Sequence[np.ndarray]) -> _Padded:
        widths = np.array([len(ppm) for ppm in ppms])
        present = np.arange(widths.max()) < widths[:, None]
        ppm = np.full((*present.shape, 4), 0.25)
        ppm[present] = np.concatenate(ppms)
        centred = ppm - 0.25
        norm = np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True))
        unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
        return cls(ppm, present, unit.astype(np.float32))


def _scores(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the products of motifs a (n, W, 4) with b (m, W, 4) at all offsets: (n, 2 W - 1, m).

    At place p, column k of b is at column k + p - (W - 1) of a.
    """
    n, width, _ = a.shape
    around = np.pad(a, ((0, 0), (width - 1, width - 1), (0, 0))).reshape(n, -1)
    views = np.lib.stride_tricks.sliding_window_view(around, 4 * width, axis=1)[:, ::4]
    # One product of matrices; a product for each offset takes longer with few motifs.
    flat = views.reshape(-1, 4 * width) @ b.reshape(len(b), -1).T
    return flat.reshape(n, -1, len(b))


def _similarities(unit: np.ndarray) -> np.ndarray:
    n, width, _ = unit.shape
    result = np.zeros((n, n), np.float32)
    reverse = np.ascontiguousarray(unit[:, ::-1, ::-1])
    start = 0
    while start < n:  # rows of the upper triangle
        stop = start + max(1, _SCORES // (2 * width * (n - start)))
        rows, rest = slice(start, stop), slice(start, n)
        best = result[rows, rest]
        for strand in (unit, reverse):
            np.maximum(best, _scores(unit[rows], strand[rest]).max(axis=1), out=best)
        np.round(best, _DIGITS, out=best)
        # The two products of a pair in these rows can round to neighbouring numbers.
        among = best[:, : stop - start]
        np.maximum(among, among.T, out=among)
        result[rest, rows] = best.T
        start = stop
    return np.minimum(result, 1, out=result)


def _average_linkage(similar: np.ndarray, most: float) -> list[np.ndarray]:
    """Return the indices of each cluster whose average distances are at most `most`."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(similar) == 1:
        return [np.zeros(1, int)]
    distances = squareform(similar, checks=False).astype(np.float64)
    np.subtract(1, distances, out=distances)
    label = fcluster(linkage(distances, "average"), most, "distance")
    _, first, label = np.unique(label, return_index=True, return_inverse=True)
    order = np.argsort(label, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(label))[:-1])
    return [groups[i] for i in np.argsort(first)]


def _aligned(
    padded: _Padded, group: np.ndarray, similar: np.ndarray, weights: np.ndarray
) -> Cluster:
    """Align the motifs of a group to the most similar of them."""
    seed = group[np.argmax(similar[np.ix_(group, group)] @ weights[group])]
    width = padded.present.shape[1]
    one, units = padded.unit[[seed]], padded.unit[group]
    both = [_scores(one, strand)[0] for strand in (units, units[:, ::-1, ::-1])]
    place = np.concatenate(both).round(_DIGITS).argmax(axis=0)
    minus, offset = place >= 2 * width - 1, place % (2 * width - 1) - (width - 1)
    # The seed has the columns width to 2 width - 1 of these sums.
    total, weight = np.zeros((3 * width, 4)), np.zeros(3 * width)
    for i, shift, reverse in zip(group, offset, minus, strict=True):
        turn = slice(None, None, -1 if reverse else 1)
        columns = slice(width + shift, 2 * width + shift)
        present = padded.present[i][turn] * weights[i]
        total[columns] += padded.ppm[i][turn, turn] * present[:, None]
        weight[columns] += present
    covered = np.flatnonzero(weight >= weights[group].sum() / 2)
    kept = slice(covered[0], covered[-1] + 1)
    mean = np.full((kept.stop - kept.start, 4), 0.25)
    np.divide(total[kept], weight[kept, None], out=mean, where=weight[kept, None] > 0)
    # An absent column of a reversed motif comes first.
    absent = np.where(minus, width - padded.present[group].sum(axis=1), 0)
    places = width + offset + absent - kept.start
    members = map(Member, group.tolist(), places.tolist(), minus.tolist())
    return Cluster(tuple(members), mean)
