"""Whether filters fire where the motifs that they match are; for motifs that were embedded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motifk8s.data.datasets import PARTS, Dataset
from motifk8s.filters import extract
from motifk8s.filters.extract import Filters, Layer, readable_layers
from motifk8s.motifs.jaspar import jaspar_motif
from motifk8s.study.specs import MotifSettings, Synthetic
from motifk8s.training.devices import open_device

if TYPE_CHECKING:
    import keras
    import pandas as pd


COLUMNS = (
    "layer", "filter", "target", "class", "firings", "on_motif", "precision", "expected",
    "instances", "found", "recall", "offset_mean", "offset_sd",
)  # fmt: skip


def in_part(dataset: Dataset, part: str) -> np.ndarray:
    """The motifs embedded in "train", "valid" or "test", `sequence` being a row of that part.

    Raises
    ------
    ValueError
        If the data set does not say where motifs are.
    """
    if dataset.embedded is None:
        raise ValueError("the data set has no embedded motifs")
    here = dataset.split == PARTS.index(part)
    row = np.cumsum(here) - 1
    embedded = dataset.embedded[here[dataset.embedded["sequence"]]]
    embedded["sequence"] = row[embedded["sequence"]]
    return embedded


def motif_widths(spec: Synthetic) -> dict[str, int]:
    """Width in bp of each class's embedded motif."""
    return {name: len(jaspar_motif(ids[0], spec.release).ppm) for name, ids in spec.classes.items()}


def measure(
    model: keras.Model,
    layer: str,
    codes: np.ndarray,
    embedded: np.ndarray,
    classes: Sequence[str],
    motif_widths: Mapping[str, int],
    found: Filters,
    rule: MotifSettings,
    labels: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Set the firings of a layer's filters beside the embedded motifs of the class they match.

    A firing is a position where the activation is above the rule's share of the filter's maximum,
    any position of a sequence. It is on a motif if the receptive field there covers more than half
    of it, on either strand. A filter whose receptive field is no longer than half of the motif
    therefore never is.

    A filter reads one strand: of a motif that is not its own reverse complement it can be expected
    to find about half, as recall counts the motifs of both strands.

    Parameters
    ----------
    model : keras.Model
    layer : str
        A convolution before the first pooling.
    codes : numpy.ndarray (N, L) uint8
        The test set.
    embedded : (M,) array of EMBEDDED
        The motifs in these sequences; see `in_part`.
    classes : sequence of str
        In the order of ``embedded["class"]``.
    motif_widths : mapping
        Of each class, in bp.
    found : Filters
        Of the layer; its maximum is that of the threshold.
    rule : MotifSettings
    labels : mapping
        What each matched filter matches, by its name (filter0, ...), as ``labels`` in
        ``metrics.json``.

    Returns
    -------
    pandas.DataFrame
        A row for each filter that matches a class: layer, filter, target, class, firings, on_motif
        (firings on a motif of the class), precision (their share), expected (share of all positions
        that are on a motif: the precision of firing at random), instances (embedded motifs of the
        class), found (those with at least one firing on them), recall (their share), offset_mean
        and offset_sd (bp, of the firings on a motif: middle of the receptive field minus that of
        the motif, the nearest one if there are several, in the direction of the motif's own
        strand; population sd). NaN where there is nothing to divide by.
    """
    import keras
    import pandas as pd

    place = readable_layers(model)[layer]
    length = codes.shape[1]
    n_filters = len(found.maximum)
    numbers = [i for i in range(n_filters) if labels.get(f"filter{i}", {}).get("class")]
    if not numbers:
        return pd.DataFrame(columns=list(COLUMNS))
    names = [labels[f"filter{i}"]["class"] for i in numbers]
    device = open_device(keras.Model(model.inputs[0], place.output))
    positions = device.model.compute_output_shape((None, length, 4))[1]
    # Filters that match no class are not looked at.
    threshold = np.full(n_filters, np.inf, np.float32)
    threshold[numbers] = extract.threshold(found.maximum, rule.threshold)[numbers]
    sums = np.zeros((len(numbers), 5))  # firings, on_motif, found, offset, its square
    covered = dict.fromkeys(names, 0)
    batch = max(1, extract.BASES_PER_BATCH // length)
    every = device.map(codes, batch, reduce=lambda x, y: y > threshold)
    for first, fired in zip(range(0, len(codes), batch), every, strict=True):  # (n, positions, F)
        n = len(fired)
        near = embedded[(embedded["sequence"] >= first) & (embedded["sequence"] < first + n)]
        maps = {}
        for name in covered:
            own = near[near["class"] == classes.index(name)]
            maps[name] = _map(own, first, (n, positions), motif_widths[name], place)
            covered[name] += int(np.isfinite(maps[name].offset).sum())
        at, number = np.divmod(np.flatnonzero(fired), n_filters)
        until = np.cumsum(np.bincount(number, minlength=n_filters))
        of = np.split(at[np.argsort(number, kind="stable")], until[:-1])  # by filter
        for j, (i, name) in enumerate(zip(numbers, names, strict=True)):
            sums[j] += _count(of[i], maps[name])

    rows = []
    instances = np.bincount(embedded["class"], minlength=len(classes))
    for i, name, (firings, on_motif, hit, offset, square) in zip(numbers, names, sums, strict=True):
        total = int(instances[classes.index(name)])
        mean = _ratio(offset, on_motif)
        variance = max(0.0, _ratio(square, on_motif) - mean**2) if on_motif else float("nan")
        rows.append(
            (
                layer,
                f"filter{i}",
                labels[f"filter{i}"]["target"],
                name,
                int(firings),
                int(on_motif),
                _ratio(on_motif, firings),
                covered[name] / (len(codes) * positions),
                total,
                int(hit),
                _ratio(hit, total),
                mean,
                variance**0.5,
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


class _Map(NamedTuple):
    """Where a layer's receptive field is on the motifs of one class, in some sequences.

    Attributes
    ----------
    row, first, end : numpy.ndarray (m,)
        Of each motif its sequence, and the positions, first to end - 1, that are on it.
    offset : numpy.ndarray (n, positions) float
        From the nearest of the motifs that a position is on; NaN where it is on none.
    """

    row: np.ndarray
    first: np.ndarray
    end: np.ndarray
    offset: np.ndarray


def _map(
    motifs: np.ndarray, first_row: int, shape: tuple[int, int], width: int, layer: Layer
) -> _Map:
    """Map the motifs, of one class and `width` bp, in sequences `first_row` and on."""
    row = motifs["sequence"] - first_row
    start = motifs["start"].astype(int)
    field, enough = layer.receptive_field, width // 2 + 1  # bases to be covered
    # The field begins at i - layer.offset, from start + enough - field to start + width - enough.
    first = np.clip(start + enough - field + layer.offset, 0, shape[1])
    end = np.clip(start + width - enough + layer.offset + 1, 0, shape[1])
    end = np.maximum(first, end if field >= enough else first)  # none: the field is too short
    offset = np.full(shape, np.nan)
    k = np.repeat(np.arange(len(row)), end - first)  # of each position that is on it the motif
    at = np.arange(len(k)) + np.repeat(end - np.cumsum(end - first), end - first)
    middle = start + (width - 1) / 2
    new = (at - layer.offset + (field - 1) / 2 - middle[k]) * motifs["strand"][k]
    # Written one after the other, the nearest last; of two as near the first motif stays.
    order = np.lexsort((-k, -np.abs(new)))
    offset[row[k][order], at[order]] = new[order]
    return _Map(row, first, end, offset)


def _count(fired: np.ndarray, at: _Map) -> tuple[float, ...]:
    """Firings, those on a motif, motifs with a firing on them, sums of offset and its square.

    The firings are places in ``at.offset`` when that is laid out flat, in order.
    """
    offsets = at.offset.ravel()[fired]
    offsets = offsets[np.isfinite(offsets)]
    first_of_row = at.row * at.offset.shape[1]
    before, until = np.searchsorted(fired, [first_of_row + at.first, first_of_row + at.end])
    return (
        float(len(fired)),
        float(len(offsets)),
        float((until > before).sum()),
        float(offsets.sum()),
        float((offsets**2).sum()),
    )


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
