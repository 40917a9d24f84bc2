"""Find where filters that match a motif fire: the places of the motif in sequences.

A filter fires where its activation is above the share of its maximum that also selects the windows
of its motif. Tomtom aligns that motif with the database's, which gives the place of the database's
motif at each firing. So all filters that match a motif agree on its places.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motifk8s.filters import extract
from motifk8s.filters.extract import Filters
from motifk8s.filters.layer_motifs import columns
from motifk8s.filters.layers import Layer, reader
from motifk8s.motifs.motif import Motif
from motifk8s.study.specs import MotifSettings
from motifk8s.training.devices import open_device

if TYPE_CHECKING:
    import pandas as pd


HIT = np.dtype(
    [("name", "<i4"), ("start", "<i8"), ("strand", "i1"), ("label", "<i4"), ("score", "<i2"),
     ("cell", "<i4")]
)  # fmt: skip
"""
One place of a motif: number of the sequence's or chromosome's name, first base (0-based), +1 or -1
for the strand of the motif, number of the label, score, and number of the cell. Of merged hits,
`cell` is the number of cells that have the hit.
"""
MAXIMUM = 1000  # BED's largest score: of a filter's largest activation


class Label(NamedTuple):
    """What hits are of: a motif, or one filter that matches it."""

    name: str
    width: int  # of the motif, in bp


class Match(NamedTuple):
    """A filter that matches a motif of the database, and how the two are aligned."""

    filter: int  # number in its layer
    target: str  # name of the motif
    start: int  # the motif begins at this position of the filter's window; it may be negative
    width: int  # of the motif, in bp
    strand: int  # -1 if the filter matches the reverse complement of the motif, else +1


def find_matches(
    filters: Filters,
    labels: Mapping[str, Mapping[str, Any]],
    hits: pd.DataFrame,
    targets: Mapping[str, Motif],
    rule: MotifSettings,
    null: Callable[[int], Collection[str]] = lambda width: (),
) -> list[Match]:
    """Align the filters of a layer with the motif that each matches.

    Parameters
    ----------
    labels : mapping
        The match of each filter by its name (filter0, ...), as ``labels`` in ``metrics.json``.
    hits : DataFrame
        Tomtom's hits of the filters, with columns Query_ID, Target_ID, Optimal_offset, Orientation.
    targets : mapping
        The motifs of the database, by name.
    null : callable
        From the width of a filter's motif in bp to `matches.null_targets`. Filters that match one
        of these are left out: such a match has no meaning, and these filters fire everywhere.
    """
    found = []
    wanted = ["Query_ID", "Target_ID", "Optimal_offset", "Orientation"]
    for query, target, offset, orientation in hits[wanted].itertuples(index=False):
        if target != labels[query]["target"]:
            continue
        number = int(query.removeprefix("filter"))
        trimmed = columns(filters.ppm[number].astype(np.float64), rule)
        if target in null(trimmed.stop - trimmed.start):
            continue
        width, strand = len(targets[target].ppm), -1 if orientation == "-" else 1
        found.append(Match(number, target, trimmed.start - offset, width, strand))
    return found


def scan(
    layer: Layer,
    codes: np.ndarray,
    filters: Filters,
    rule: MotifSettings,
    matches: Sequence[Match],
) -> Iterator[tuple[np.ndarray, ...]]:
    """Find the places of the motifs in sequences, by the firings of the filters that match them.

    The rule of the study decides, as for the motif of the filter: the share of the maximum, the
    best position of a sequence or all, and windows that cross an end. A motif that is not
    completely inside the sequence is left out. Memory holds one batch of activations.

    Parameters
    ----------
    layer : Layer
        From `readable_layers`.
    codes : numpy.ndarray (N, L) uint8
    filters : Filters
        Of this layer, with the maximum of each.
    matches : sequence of Match
        From `find_matches`.

    Yields
    ------
    sequence, start, match, score : arrays (n,) int
        Of the n places in a batch: row in `codes`, first base of the motif, number of the match,
        and 1000 times the share of the filter's maximum, at most 1000.
    """
    from keras import ops

    length = codes.shape[1]
    width, offset = extract.window(layer, rule)
    numbers = [match.filter for match in matches]
    maximum = filters.maximum[numbers]
    least = extract.threshold(maximum, rule.threshold)
    first = np.array([match.start for match in matches], int)
    size = np.array([match.width for match in matches], int)
    device = open_device(reader(layer, length))
    batch = max(1, extract.BASES_PER_BATCH // length)
    batches = device.map(codes, batch, reduce=lambda x, y: ops.take(y, numbers, axis=2))
    for begin, y in zip(range(0, len(codes), batch), batches, strict=True):
        fires = y > least
        starts = np.arange(y.shape[1]) - offset  # of the windows
        if rule.windows == "best":
            fires &= np.arange(y.shape[1])[:, None] == y.argmax(axis=1)[:, None]
        if rule.ends == "drop":
            fires &= ((starts >= 0) & (starts + width <= length))[:, None]
        sequence, position, match = np.nonzero(fires)
        start = starts[position] + first[match]
        inside = (start >= 0) & (start + size[match] <= length)
        share = y[sequence, position, match] / maximum[match]
        score = np.minimum(np.rint(MAXIMUM * share), MAXIMUM).astype(int)
        yield tuple(array[inside] for array in (sequence + begin, start, match, score))


def locate(
    found: tuple[np.ndarray, ...],
    matches: Sequence[Match],
    labels: Sequence[int],
    places: np.ndarray,
    length: int,
    cell: int,
) -> np.ndarray:
    """Convert places in sequences, from `scan`, to hits (n,) of HIT where the sequences are from.

    Parameters
    ----------
    labels : sequence of int
        The number of the label of each match.
    places : (N,) of PLACE
        Of the sequences.
    length : int
        Of the sequences, in bp.
    """
    sequence, start, match, score = found
    width = np.array([each.width for each in matches], int)[match]
    strand = np.array([each.strand for each in matches], int)[match]
    place = places[sequence]
    forward = place["strand"] == 1
    hits = np.empty(len(sequence), HIT)
    hits["name"] = place["name"]
    hits["start"] = place["start"] + np.where(forward, start, length - start - width)
    hits["strand"] = place["strand"] * strand
    hits["label"], hits["score"], hits["cell"] = np.array(labels, int)[match], score, cell
    return hits


def merge(hits: np.ndarray, labels: Sequence[Label]) -> np.ndarray:
    """Merge hits of one label on one strand that overlap by more than half of the motif.

    The strongest hit stays, the first one if several are equally strong; it takes those that it
    overlaps, and so on with the strongest of the others. So the hits that stay do not overlap by
    more than half. Time is O(n log n); memory about 150 bytes a hit.

    Returns
    -------
    (m,) of HIT
        Sorted by name, label, strand and start; ``cell`` is the number of cells merged.
    """
    if not len(hits):
        return hits
    hits = hits[np.lexsort([hits[key] for key in ("start", "strand", "label", "name")])]
    reach = np.array([(label.width - 1) // 2 for label in labels])[hits["label"]]
    # Place all hits on one line, groups far apart: one search then finds the neighbours of all.
    before, after = hits[:-1], hits[1:]
    same = np.logical_and.reduce([before[k] == after[k] for k in ("name", "label", "strand")])
    steps = np.where(same, after["start"] - before["start"], reach.max() + 1)
    line = np.concatenate([[0], np.cumsum(steps)])
    first = np.searchsorted(line, line - reach, side="left")
    last = np.searchsorted(line, line + reach, side="right")
    kept = np.where(last - first == 1, np.arange(len(hits)), -1)  # without neighbours
    for i in np.argsort(-hits["score"], kind="stable").tolist():
        if kept[i] < 0:
            near = kept[first[i] : last[i]]
            near[near < 0] = i
    strongest, group = np.unique(kept, return_inverse=True)
    cells = int(hits["cell"].max()) + 1
    pairs = np.unique(group * cells + hits["cell"])
    result: np.ndarray = hits[strongest]
    result["cell"] = np.bincount(pairs // cells)
    return result


def bed_lines(hits: np.ndarray, labels: Sequence[Label], names: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a BED6 file, in the order of ``LC_ALL=C sort -k1,1 -k2,2n``.

    `names` are those of the places, by number.
    """
    # The order of characters is that of their bytes in UTF-8.
    rank = np.empty(len(names), int)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    hits = hits[np.lexsort([hits["start"], rank[hits["name"]]])]

    def line(hit: Any) -> str:
        name, start, strand, label, score, _ = hit
        text, width = labels[label]
        sign = "-" if strand < 0 else "+"
        return f"{names[name]}\t{start}\t{start + width}\t{text}\t{score}\t{sign}\n"

    rows = (hit.item() for hit in hits)
    for _, tied in groupby(rows, key=lambda hit: hit[:2]):
        yield from sorted(map(line, tied))
