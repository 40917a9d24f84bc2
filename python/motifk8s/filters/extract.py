"""Extract the motif of a filter: the PPM of the sequence windows that activate it.

Source: paper, Methods, "Visualizing first layer filters" (preset as-written), and the reference
code (preset as-run). It works for any convolution before the first pooling, with its receptive
field as the window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motifk8s.filters.layers import Layer, achievable_maximum, readable_layers, reader
from motifk8s.study.specs import MotifSettings
from motifk8s.training.devices import Device, open_device

if TYPE_CHECKING:
    import keras


__all__ = [
    "Filters", "Layer", "achievable_maximum", "extract_at", "extract_layer", "readable_layers",
    "threshold", "window",
]  # fmt: skip

# Bases in one batch on the device. With W x 4 floats for a window and F floats for the activations
# of a base, a batch needs some MB.
BASES_PER_BATCH = 20_000


class Filters(NamedTuple):
    """The motifs of one layer's F filters, each of W columns."""

    # (F, W, 4) float32, untrimmed. A column that no window covers, and every column of a dead
    # filter, is 0.25.
    ppm: np.ndarray
    windows: np.ndarray  # (F,) int64: number of windows in each alignment
    maximum: np.ndarray  # (F,) float32: the threshold is a fraction of this activation
    maximum_kind: str  # "achievable" or "observed"
    dead: np.ndarray  # (F,) bool: no window, so no alignment


def extract_layer(
    model: keras.Model, layer: Layer, codes: np.ndarray, rule: MotifSettings
) -> Filters:
    """Extract the motif of each filter of a layer, as `extract_at`, with the rule's threshold."""
    [filters] = extract_at(model, layer, codes, rule, [rule.threshold])
    return filters


def extract_at(
    model: keras.Model,
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
    length = codes.shape[1]
    device = open_device(reader(layer, length))
    batch = max(1, BASES_PER_BATCH // length)
    maximum, kind = _maximum(device, layer, codes, batch, rule, known)
    thresholds = [threshold(maximum, share) for share in shares]
    width, _ = window(layer, rule)
    windows = [np.zeros(len(maximum), np.int64) for _ in shares]
    counts = [np.zeros((len(maximum), width * 4)) for _ in shares]
    positions = device.model.compute_output_shape((None, length, 4))[1]
    align = _aligner(layer, rule, thresholds, length, positions)
    for results in device.map(codes, batch, reduce=align):
        for i in range(len(shares)):
            windows[i] += results[2 * i].astype(np.int64)
            counts[i] += results[2 * i + 1]
    return [
        Filters(_probabilities(count, width), number, maximum.astype(np.float32), kind, number == 0)
        for count, number in zip(counts, windows, strict=True)
    ]


def _maximum(
    device: Device,
    layer: Layer,
    codes: np.ndarray,
    batch: int,
    rule: MotifSettings,
    known: Filters | None,
) -> tuple[np.ndarray, str]:
    """Find each filter's maximum (F,), and its kind: "achievable" or "observed"."""
    from keras import ops

    maximum = achievable_maximum(layer) if rule.maximum == "achievable" else None
    if maximum is not None:
        return maximum, "achievable"
    if known is not None:
        return known.maximum, "observed"
    maxima = device.map(codes, batch, reduce=lambda x, y: ops.max(y, axis=(0, 1)))
    return np.max(list(maxima), axis=0), "observed"


def _aligner(
    layer: Layer,
    rule: MotifSettings,
    thresholds: Sequence[np.ndarray],
    length: int,
    positions: int,
) -> Callable[..., tuple[Any, ...]]:
    """Make the function that aligns one batch's windows on the device.

    It takes one-hot x (n, L, 4) and activations y (n, P, F). For each threshold it returns the
    number of windows (F,) and the alignment's counts or weights (F, W * 4).
    """
    from keras import ops

    width, offset = window(layer, rule)
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
            results.append(ops.sum(ops.cast(fires, "float32"), axis=(0, 1)))
            weights = ops.where(fires, y, 0.0) if rule.weighted else ops.cast(fires, "float32")
            weights = ops.reshape(weights, (-1, len(least)))
            results.append(ops.matmul(ops.transpose(weights), bases))
        return tuple(results)

    return align


def window(layer: Layer, rule: MotifSettings) -> tuple[int, int]:
    """Return the width W of a filter's window, and its offset: that of i begins at i - offset."""
    width = rule.window or layer.receptive_field
    # The window and the receptive field have the same middle.
    return width, layer.offset + (width - 1) // 2 - (layer.receptive_field - 1) // 2


def threshold(maximum: np.ndarray, share: float) -> np.ndarray:
    """Compute the activation (F,) float32 above which a filter fires, a share of its maximum.

    It is infinite for a maximum of 0 or less, so this filter has no window.
    """
    return np.where(maximum > 0, share * maximum, np.inf).astype(np.float32)


def _probabilities(counts: np.ndarray, width: int) -> np.ndarray:
    """Convert counts (F, W * 4) to probabilities (F, W, 4) float32; a column of zeros to 0.25."""
    counts = counts.reshape(len(counts), width, 4)
    totals = counts.sum(axis=2, keepdims=True)
    ppm = np.divide(counts, totals, out=np.full_like(counts, 0.25), where=totals > 0)
    return ppm.astype(np.float32)
