"""Extract the motif of a filter: the PPM of the sequence windows that activate it.

Source: paper, Methods, "Visualizing first layer filters" (preset as-written), and the reference
code (preset as-run). It works for any convolution before the first pooling, with its receptive
field as the window; and for activations that another program computed. The Keras backend computes
the first, NumPy the second, with the same code: `_aligner` calls functions that both have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from motifk8s.data.sequences import one_hot
from motifk8s.errors import InputError
from motifk8s.filters.layers import Layer, achievable_maximum, readable_layers, reader
from motifk8s.study.specs import MotifSettings
from motifk8s.training.devices import open_device

__all__ = [
    "Field", "Filters", "Layer", "achievable_maximum", "extract_activations", "extract_at",
    "extract_layer", "field_of", "readable_layers", "threshold", "window",
]  # fmt: skip

# Bases in one batch on the device. With W x 4 floats for a window and F floats for the activations
# of a base, a batch needs some MB.
BASES_PER_BATCH = 20_000

Batches = Callable[[Callable[[Any, Any], Any]], Iterable[Any]]
"""
Apply a function to each batch of sequences, and yield its results on the host. The function takes
one-hot x (n, L, 4) and activations y (n, P, F).
"""


class Field(NamedTuple):
    """The bases that an activation depends on, as in `Layer`."""

    receptive_field: int  # number of bases
    offset: int  # those of the activation at i begin at i - offset


class Filters(NamedTuple):
    """The motifs of one layer's F filters, each of W columns."""

    # (F, W, 4) float32, untrimmed. A column that no window covers, and every column of a dead
    # filter, is 0.25.
    ppm: np.ndarray
    windows: np.ndarray  # (F,) int64: number of windows in each alignment
    maximum: np.ndarray  # (F,) float32: the threshold is a fraction of this activation
    maximum_kind: str  # "achievable" or "observed"
    dead: np.ndarray  # (F,) bool: no window, so no alignment


def extract_layer(layer: Layer, codes: np.ndarray, rule: MotifSettings) -> Filters:
    """Extract the motif of each filter of a layer, as `extract_at`, with the rule's threshold."""
    [filters] = extract_at(layer, codes, rule, [rule.threshold])
    return filters


def extract_at(
    layer: Layer,
    codes: np.ndarray,
    rule: MotifSettings,
    shares: Sequence[float],
    known: Filters | None = None,
) -> list[Filters]:
    """Extract the motif of each filter of a layer at several thresholds: one result for each.

    The data set is streamed at most twice, for the observed maximum and for the alignments, in
    O(F W) memory. A result does not depend on the other thresholds.

    Parameters
    ----------
    layer : Layer
        From `readable_layers`.
    codes : numpy.ndarray (N, L) uint8
        The test set.
    shares : sequence of float
        Thresholds as shares of the maximum; they replace the rule's threshold.
    known : Filters, optional
        Of the same layer, sequences and kind of maximum. Its maximum is not computed again.
    """
    from keras import ops

    length = codes.shape[1]
    device = open_device(reader(layer, length))

    def run(reduce: Callable[[Any, Any], Any]) -> Iterator[Any]:
        return device.map(codes, _batch(length), reduce=reduce)

    maximum = achievable_maximum(layer) if rule.maximum == "achievable" else None
    kind = "observed" if maximum is None else "achievable"
    if maximum is None:
        maximum = _observed(run, ops) if known is None else known.maximum
    positions = device.model.compute_output_shape((None, length, 4))[1]
    field = Field(layer.receptive_field, layer.offset)
    thresholds = [threshold(maximum, share) for share in shares]
    align = _aligner(ops, field, rule, thresholds, length, positions)
    aligned = _add_up(run(align), len(shares))
    return [_filters(*counted, maximum, kind) for counted in aligned]


def extract_activations(
    activations: np.ndarray, codes: np.ndarray, rule: MotifSettings, field: Field
) -> Filters:
    """Extract the motif of each filter from activations that another program computed.

    The maximum is always the observed one. It takes O(F W) memory besides the activations, which
    are read in batches, so they can be a memory map.

    Parameters
    ----------
    activations : numpy.ndarray (N, P, F)
        One activation for each base position, so before any pooling.
    codes : numpy.ndarray (N, L) uint8
        The sequences that gave the activations.
    field : Field
        The receptive field of an activation; it may begin before the sequence and end after it.
    """
    (n, length), positions = codes.shape, activations.shape[1]
    batch = _batch(length)

    def run(reduce: Callable[[Any, Any], Any]) -> Iterator[Any]:
        for start in range(0, n, batch):
            rows = slice(start, start + batch)
            yield reduce(one_hot(codes[rows]), np.asarray(activations[rows], np.float32))

    maximum = _observed(run, np)
    thresholds = [threshold(maximum, rule.threshold)]
    align = _aligner(np, field, rule, thresholds, length, positions)
    [counted] = _add_up(run(align), 1)
    return _filters(*counted, maximum, "observed")


def field_of(
    shape: tuple[int, ...], codes: np.ndarray, width: int | None = None, offset: int | None = None
) -> Field:
    """Find the receptive field of activations from their shape.

    Parameters
    ----------
    shape : tuple
        (N, P, F) of the activations.
    codes : numpy.ndarray (N, L) uint8
        Their sequences.
    width : int, optional
        The receptive field W in bp. Default: L - P + 1, that of a convolution without padding.
    offset : int, optional
        As in `Field`. Default: half of the padding P - L + W - 1, rounded down as in Keras and
        PyTorch.

    Raises
    ------
    InputError
        The shape does not fit the sequences; or it is not that of a convolution without padding,
        and `width` is not given.
    """
    n, length = codes.shape
    if len(shape) != 3 or shape[0] != n or 0 in shape:
        raise InputError(
            f"activations: expected an array (N, P, F) of {n} sequences, got shape {shape}"
        )
    positions = shape[1]
    # Pooling leaves at most half of the positions, so it cannot be taken for a wide filter.
    if width is None and length / 2 < positions < length:
        width = length - positions + 1
    shown = f"activations: {positions} positions, the second axis of {shape}, for {length} bp"
    if shape[2] > length / 2 >= positions:
        shown += "; PyTorch has (N, F, P): give y.transpose(1, 2)"
    if width is None:
        reason = "give the width of the filter"
        if positions <= length / 2:
            reason = "give activations before any pooling, or the width of the filter"
        raise InputError(f"{shown}; {reason}: width=")
    padding = positions - length + width - 1
    if not (1 <= width <= length and 0 <= padding <= 2 * (width - 1)):
        few, many = length - width + 1, length + width - 1
        raise InputError(
            f"{shown}; filters of width {width} have {few} to {many} positions, by their padding"
        )
    if offset is not None and not 0 <= offset <= padding:
        raise InputError(f"{shown}; offset {offset}: expected 0 to {padding}, the padding")
    return Field(width, padding // 2 if offset is None else offset)


def _batch(length: int) -> int:
    """Return the number of sequences of `length` bp in a batch."""
    return max(1, BASES_PER_BATCH // length)


def _observed(run: Batches, ops: Any) -> np.ndarray:
    """Find the largest activation (F,) of each filter."""
    return np.max(list(run(lambda x, y: ops.max(y, axis=(0, 1)))), axis=0)


def _add_up(batches: Iterable[Any], n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Add windows (F,) and counts (F, W * 4) of all batches, for each of n thresholds."""
    sums: list[np.ndarray] = []
    for results in batches:
        new = [np.asarray(result, np.float64) for result in results]
        sums = [old + more for old, more in zip(sums, new, strict=True)] if sums else new
    return [(sums[2 * i], sums[2 * i + 1]) for i in range(n)]


def _filters(windows: np.ndarray, counts: np.ndarray, maximum: np.ndarray, kind: str) -> Filters:
    """Make the motifs of filters from their windows (F,) and counts (F, W * 4).

    Raise `InputError` if an activation is not finite, as those of a network that has diverged.
    """
    if (odd := np.flatnonzero(~np.isfinite(maximum))).size:
        raise InputError(f"filter {odd[0]} has an activation that is not a finite number")
    number = windows.astype(np.int64)
    ppm = _probabilities(counts)
    return Filters(ppm, number, maximum.astype(np.float32), kind, number == 0)


def _aligner(
    ops: Any,
    field: Field,
    rule: MotifSettings,
    thresholds: Sequence[np.ndarray],
    length: int,
    positions: int,
) -> Callable[[Any, Any], tuple[Any, ...]]:
    """Make the function that aligns one batch's windows, on the device or with NumPy.

    It takes one-hot x (n, L, 4) and activations y (n, P, F). For each threshold it returns the
    number of windows (F,) and the alignment's counts or weights (F, W * 4).

    Parameters
    ----------
    ops : module
        ``keras.ops`` or ``numpy``.
    """
    width, offset = window(field, rule)
    starts = np.arange(positions) - offset
    inside = (starts >= 0) & (starts + width <= length)
    left, right = max(offset, 0), max(int(starts[-1]) + width - length, 0)
    first = range(left - offset, left - offset + width)

    def firings(y: Any, least: np.ndarray) -> Any:
        fires = y > least
        if rule.windows == "best":
            top = ops.argmax(y, axis=1)[:, None]
            fires = ops.logical_and(fires, top == ops.arange(positions, dtype=top.dtype)[:, None])
        if rule.ends == "drop":
            fires = ops.logical_and(fires, inside[:, None])
        return fires

    def align(x: Any, y: Any) -> tuple[Any, ...]:
        padded = ops.pad(x, ((0, 0), (left, right), (0, 0)))
        bases = ops.concatenate([padded[:, i : i + positions] for i in first], axis=-1)
        bases = ops.reshape(bases, (-1, width * 4))
        # All operands are matrices: TensorFlow copies the arguments of a product over two axes.
        results: list[Any] = []
        for least in thresholds:
            fires = firings(y, least)
            ones = ops.where(fires, ops.ones_like(y), 0.0)  # NumPy has no cast to float32
            results.append(ops.sum(ones, axis=(0, 1)))
            weights = ops.where(fires, y, 0.0) if rule.weighted else ones
            weights = ops.reshape(weights, (-1, len(least)))
            results.append(ops.matmul(ops.transpose(weights), bases))
        return tuple(results)

    return align


def window(field: Field | Layer, rule: MotifSettings) -> tuple[int, int]:
    """Return the width W of a filter's window, and its offset: that of i begins at i - offset."""
    width = rule.window or field.receptive_field
    # The window and the receptive field have the same middle.
    return width, field.offset + (width - 1) // 2 - (field.receptive_field - 1) // 2


def threshold(maximum: np.ndarray, share: float) -> np.ndarray:
    """Compute the activation (F,) float32 above which a filter fires, a share of its maximum.

    It is infinite for a maximum of 0 or less, so this filter has no window.
    """
    return np.where(maximum > 0, share * maximum, np.inf).astype(np.float32)


def _probabilities(counts: np.ndarray) -> np.ndarray:
    """Convert counts (F, W * 4) to probabilities (F, W, 4) float32; a column of zeros to 0.25."""
    counts = counts.reshape(len(counts), -1, 4)
    totals = counts.sum(axis=2, keepdims=True)
    ppm = np.divide(counts, totals, out=np.full_like(counts, 0.25), where=totals > 0)
    return ppm.astype(np.float32)
