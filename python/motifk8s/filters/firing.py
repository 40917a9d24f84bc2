"""Measure whether filters fire on the embedded motifs that they match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motifk8s.data.datasets import PARTS, Dataset
from motifk8s.filters import extract
from motifk8s.filters.extract import Filters
from motifk8s.filters.layers import Layer, numbered_layers, reader
from motifk8s.motifs.jaspar import jaspar_motif
from motifk8s.study.specs import MotifSettings, Synthetic
from motifk8s.training.devices import open_device

if TYPE_CHECKING:
    import keras
    import pandas as pd


COLUMNS = (
    "layer", "filter", "target", "class", "firings",
    "on_motif",  # firings on a motif of the class
    "precision",  # on_motif / firings
    "expected",  # share of all positions that are on a motif: the precision of random firing
    "instances",  # embedded motifs of the class
    "found",  # instances with a firing
    "recall",  # found / instances
    # In bp, of the firings on a motif: middle of the receptive field minus middle of the nearest
    # motif, in the direction of the motif's strand. The sd is that of a population.
    "offset_mean", "offset_sd",
)  # fmt: skip


class Embedded(NamedTuple):
    """The motifs embedded in some sequences."""

    motifs: np.ndarray  # (M,) of EMBEDDED, from `in_part`
    classes: Sequence[str]  # in the order of the codes in motifs["class"]
    widths: Mapping[str, int]  # from class to the width of its motif in bp, from `motif_widths`

    def within(self, start: int, stop: int) -> Embedded:
        """Select the motifs in sequences `start` to `stop` - 1, numbered from 0."""
        row = self.motifs["sequence"]
        motifs = self.motifs[(row >= start) & (row < stop)]
        motifs["sequence"] -= start
        return self._replace(motifs=motifs)


def in_part(dataset: Dataset, part: str) -> np.ndarray:
    """Select the motifs in "train", "valid" or "test"; `sequence` becomes the row in that part.

    Raises
    ------
    ValueError
        If the data set has no embedded motifs.
    """
    if dataset.embedded is None:
        raise ValueError("the data set has no embedded motifs")
    in_part = dataset.split == PARTS.index(part)
    row = np.cumsum(in_part) - 1
    embedded = dataset.embedded[in_part[dataset.embedded["sequence"]]]
    embedded["sequence"] = row[embedded["sequence"]]
    return embedded


def motif_widths(spec: Synthetic) -> dict[str, int]:
    """Return the width in bp of each class's embedded motif."""
    return {name: len(jaspar_motif(ids[0], spec.release).ppm) for name, ids in spec.classes.items()}


def measure(
    model: keras.Model,
    layer: str,
    codes: np.ndarray,
    embedded: Embedded,
    filters: Filters,
    rule: MotifSettings,
    labels: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Compare the firings of a layer's filters with the embedded motifs of the class they match.

    A firing is a position where the activation is above the rule's share of the filter's maximum.
    It is on a motif if its receptive field covers more than half of the motif, on either strand.

    A filter detects one strand, but recall counts the motifs of both. So recall is at most about
    one half, unless the motif is its own reverse complement.

    Parameters
    ----------
    layer : str
        A convolution before the first pooling.
    codes : numpy.ndarray (N, L) uint8
        The test set.
    embedded : Embedded
        The motifs in these sequences.
    labels : mapping
        The match of each filter by its name (filter0, ...), as ``labels`` in ``metrics.json``.

    Returns
    -------
    pandas.DataFrame
        A row with `COLUMNS` for each filter that matches a class. A ratio is NaN if its divisor
        is 0.
    """
    import pandas as pd

    matched = {}
    for i in range(len(filters.maximum)):
        if name := labels.get(f"filter{i}", {}).get("class"):
            matched[i] = name
    if not matched:
        return pd.DataFrame(columns=list(COLUMNS))
    # Filters that match no class never fire here.
    threshold = np.full(len(filters.maximum), np.inf, np.float32)
    threshold[[*matched]] = extract.threshold(filters.maximum, rule.threshold)[[*matched]]
    place = numbered_layers(model)[layer]
    counts, on_class = _count_all(place, codes, embedded, threshold, matched)
    instances = np.bincount(embedded.motifs["class"], minlength=len(embedded.classes))
    rows = []
    for i, name in matched.items():
        total = int(instances[embedded.classes.index(name)])
        key = (layer, f"filter{i}", labels[f"filter{i}"]["target"], name)
        rows.append((*key, *_statistics(counts[i], on_class[name], total)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _count_all(
    layer: Layer,
    codes: np.ndarray,
    embedded: Embedded,
    threshold: np.ndarray,
    matched: Mapping[int, str],
) -> tuple[dict[int, np.ndarray], dict[str, float]]:
    """Sum `_count` of each matched filter; compute the share of positions on each class's motif."""
    length = codes.shape[1]
    device = open_device(reader(layer, length))
    positions = device.model.compute_output_shape((None, length, 4))[1]
    counts = {i: np.zeros(5) for i in matched}
    covered = dict.fromkeys(matched.values(), 0)
    batch = max(1, extract.BASES_PER_BATCH // length)
    batches = device.map(codes, batch, reduce=lambda x, y: y > threshold)
    for first, fired in zip(range(0, len(codes), batch), batches, strict=True):
        near = embedded.within(first, first + len(fired))
        maps = {name: _map(near, name, fired.shape[:2], layer) for name in covered}
        for name, of_class in maps.items():
            covered[name] += int(np.isfinite(of_class.offset).sum())
        by_filter = _places(fired)
        for i, name in matched.items():
            counts[i] += _count(by_filter[i], maps[name])
    total = len(codes) * positions
    return counts, {name: number / total for name, number in covered.items()}


def _places(fired: np.ndarray) -> list[np.ndarray]:
    """Find where each filter fires, from (n, P, F): F arrays of indices into the flat (n, P)."""
    n_filters = fired.shape[-1]
    places, numbers = np.divmod(np.flatnonzero(fired), n_filters)
    ends = np.cumsum(np.bincount(numbers, minlength=n_filters))
    return np.split(places[np.argsort(numbers, kind="stable")], ends[:-1])


def _statistics(counts: np.ndarray, expected: float, instances: int) -> tuple[float, ...]:
    """Compute the columns from "firings" to the last, from the sums of `_count`."""
    firings, on_motif, hit, offset, square = counts
    mean = _ratio(offset, on_motif)
    variance = max(0.0, _ratio(square, on_motif) - mean**2) if on_motif else float("nan")
    return (
        int(firings),
        int(on_motif),
        _ratio(on_motif, firings),
        expected,
        instances,
        int(hit),
        _ratio(hit, instances),
        mean,
        variance**0.5,
    )


class _Map(NamedTuple):
    """The positions in n sequences whose receptive field is on one of m motifs of a class."""

    row: np.ndarray  # (m,): sequence of each motif
    first: np.ndarray  # (m,): the positions first to end - 1 are on the motif
    end: np.ndarray  # (m,)
    offset: np.ndarray  # (n, P) float: offset from the nearest motif of the position, or NaN


def _map(embedded: Embedded, name: str, shape: tuple[int, int], layer: Layer) -> _Map:
    """Map the motifs of a class to positions; `shape` is (n, P)."""
    motifs = embedded.motifs[embedded.motifs["class"] == embedded.classes.index(name)]
    width = embedded.widths[name]
    row, start = motifs["sequence"], motifs["start"].astype(int)
    field, enough = layer.receptive_field, width // 2 + 1  # bases to cover
    # The field begins at i - layer.offset. It covers enough bases if it begins between
    # start + enough - field and start + width - enough.
    first = np.clip(start + enough - field + layer.offset, 0, shape[1])
    end = np.clip(start + width - enough + layer.offset + 1, 0, shape[1])
    end = np.maximum(first, end if field >= enough else first)  # a short field has no position
    offset = np.full(shape, np.nan)
    k = np.repeat(np.arange(len(row)), end - first)  # the motif of each position on a motif
    at = np.arange(len(k)) + np.repeat(end - np.cumsum(end - first), end - first)
    middle = start + (width - 1) / 2
    new = (at - layer.offset + (field - 1) / 2 - middle[k]) * motifs["strand"][k]
    # The nearest motif is written last. Of two equally near motifs, it is the first one.
    order = np.lexsort((-k, -np.abs(new)))
    offset[row[k][order], at[order]] = new[order]
    return _Map(row, first, end, offset)


def _count(places: np.ndarray, of_class: _Map) -> tuple[float, ...]:
    """Count firings, firings on a motif, and motifs with a firing; sum offsets and their squares.

    `places` are ascending indices into the flat `of_class.offset`.
    """
    offsets = of_class.offset.ravel()[places]
    offsets = offsets[np.isfinite(offsets)]
    start = of_class.row * of_class.offset.shape[1]
    before, until = np.searchsorted(places, [start + of_class.first, start + of_class.end])
    return (
        float(len(places)),
        float(len(offsets)),
        float((until > before).sum()),
        float(offsets.sum()),
        float((offsets**2).sum()),
    )


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
