"""What a filter has learned: the position probability matrix of the windows that excite it.

Paper, Methods, "Visualizing first layer filters"; the reference code's rule is the other preset.
Any convolution before the first pooling can be read this way, by its receptive field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motifk8s.errors import InputError
from motifk8s.study.specs import MotifSettings
from motifk8s.training.devices import open_device

if TYPE_CHECKING:
    import keras


# Bases in one batch on the device: the windows, of W x 4 floats each, are some MB, as are the
# activations of F floats each, which are gone through several times.
BASES_PER_BATCH = 20_000


class Layer(NamedTuple):
    """A convolution before the first pooling, and where its activations come out.

    Attributes
    ----------
    conv : keras.layers.Conv1D
    tail : tuple of keras.Layer
        Batch norm and activation behind it; they work on each filter alone.
    receptive_field : int
        Bases that one activation depends on.
    offset : int
        The receptive field of the activation at i begins at i - offset.
    first : bool
        Whether the convolution reads the sequence itself.
    """

    conv: Any
    tail: tuple[Any, ...]
    receptive_field: int
    offset: int
    first: bool

    @property
    def output(self) -> Any:
        """The activations, a symbolic tensor (N, L, F)."""
        return (self.tail[-1] if self.tail else self.conv).output


class Filters(NamedTuple):
    """The motifs of one layer's F filters, each of W columns.

    Attributes
    ----------
    ppm : numpy.ndarray (F, W, 4) float32
        Untrimmed. A column that no window covers, and every column of a dead filter, is 0.25.
    windows : numpy.ndarray (F,) int64
        Windows in each alignment.
    maximum : numpy.ndarray (F,) float32
        The activation of which the threshold is a fraction.
    maximum_kind : str
        "achievable" or "observed".
    dead : numpy.ndarray (F,) bool
        No window passes: there is no alignment.
    """

    ppm: np.ndarray
    windows: np.ndarray
    maximum: np.ndarray
    maximum_kind: str
    dead: np.ndarray


def readable_layers(model: keras.Model) -> dict[str, Layer]:
    """Find the convolutions before the first pooling of a model, in order, by name.

    Raises
    ------
    InputError
        If the model does not read (N, L, 4) sequences, has no such convolution, or branches before.
    """
    import keras
    from keras import layers as kinds

    try:
        shape = model.input_shape
    except AttributeError:  # a Sequential that was never built
        shape = None
    if not isinstance(shape, tuple) or len(shape) != 3 or shape[-1] != 4:
        raise InputError(
            f"the model's input is {shape}; motifs are read from models of one-hot sequences "
            "(N, L, 4) in the order A C G T"
        )
    passing = (
        kinds.BatchNormalization, kinds.Activation, kinds.ReLU, kinds.LeakyReLU, kinds.ELU
    )  # fmt: skip
    found: dict[str, Layer] = {}
    current: Layer | None = None
    field, offset = 1, 0
    chain: list[Any] = []
    for layer in model.layers:
        if isinstance(layer, kinds.Conv1D):
            if layer.strides != (1,) or layer.dilation_rate != (1,) or layer.groups != 1:
                break
            width = layer.kernel_size[0]
            if layer.padding == "same":
                offset += (width - 1) // 2
            elif layer.padding == "causal":
                offset += width - 1
            field += width - 1
            current = Layer(layer, (), field, offset, not found)
        elif isinstance(layer, passing) and current is not None:
            current = current._replace(tail=(*current.tail, layer))
        elif isinstance(layer, kinds.InputLayer):
            continue
        elif not isinstance(layer, kinds.Dropout | kinds.SpatialDropout1D):
            break
        chain.append(layer)
        if keras.Model(model.inputs[0], layer.output).operations[1:] != chain:
            raise InputError(
                f"layer {layer.name!r} of the model does not continue a plain chain of layers; "
                "motifs are read from models that do not branch before their first pooling"
            )
        if current is not None:
            found[current.conv.name] = current
    if not found:
        raise InputError("the model has no convolution before its first pooling: nothing to read")
    return found


def achievable_maximum(layer: Layer) -> np.ndarray | None:
    """Compute the highest activation that any sequence can give each filter of a first layer.

    The activation of the batch-normalised sum over positions of each column's largest weight, or
    smallest where the scale of the batch norm is negative (paper, Methods).

    Returns
    -------
    numpy.ndarray (F,) or None
        None for a deeper layer, for which there is no closed form.
    """
    if not layer.first:
        return None
    kernel = np.asarray(layer.conv.kernel, np.float64)  # (W, 4, F)
    low, high = kernel.min(axis=1).sum(axis=0), kernel.max(axis=1).sum(axis=0)
    if layer.conv.use_bias:
        bias = np.asarray(layer.conv.bias, np.float64)
        low, high = low + bias, high + bias
    extremes = np.stack([low, high])[:, None, :].astype(np.float32)
    if layer.conv.activation is not None:
        extremes = layer.conv.activation(extremes)
    for step in layer.tail:
        extremes = step(extremes)
    return np.asarray(extremes).max(axis=(0, 1))


def extract_layer(
    model: keras.Model, layer: Layer, codes: np.ndarray, rule: MotifSettings
) -> Filters:
    """Turn each filter of a layer into a motif by aligning the windows that excite it.

    As `extract_at`, at the threshold of the rule.
    """
    [found] = extract_at(model, layer, codes, rule, [rule.threshold])
    return found


def extract_at(
    model: keras.Model,
    layer: Layer,
    codes: np.ndarray,
    rule: MotifSettings,
    shares: Sequence[float],
    known: Filters | None = None,
) -> list[Filters]:
    """Turn each filter of a layer into a motif at each of several thresholds.

    The data set is streamed twice at the most (once for the observed maximum, once for the
    alignments); what is kept is O(F W), whatever the number of sequences. Each result is what a
    call for its threshold alone gives.

    Parameters
    ----------
    model : keras.Model
    layer : Layer
        From `readable_layers`.
    codes : numpy.ndarray (N, L) uint8
        The test set.
    rule : MotifSettings
        Maximum, windows, weights, ends and window length.
    shares : sequence of float
        Thresholds, as shares of the maximum; they stand in for that of the rule.
    known : Filters, optional
        Of the same layer, sequences and kind of maximum: saves the search for the maximum.

    Returns
    -------
    list of Filters
        One for each of `shares`.
    """
    import keras
    from keras import ops

    length = codes.shape[1]
    device = open_device(keras.Model(model.inputs[0], layer.output))
    batch = max(1, BASES_PER_BATCH // length)
    kind = "observed"
    maximum = achievable_maximum(layer) if rule.maximum == "achievable" else None
    if maximum is not None:
        kind = "achievable"
    elif known is not None:
        maximum = known.maximum
    else:
        maxima = device.map(codes, batch, reduce=lambda x, y: ops.max(y, axis=(0, 1)))
        maximum = np.max(list(maxima), axis=0)
    thresholds = [threshold(maximum, share) for share in shares]
    width = rule.window or layer.receptive_field
    # The middle of the window is that of the receptive field.
    offset = layer.offset + (width - 1) // 2 - (layer.receptive_field - 1) // 2
    _, positions, n_filters = device.model.compute_output_shape((None, length, 4))
    starts = np.arange(positions) - offset
    inside = (starts >= 0) & (starts + width <= length)

    def align(x: Any, y: Any) -> tuple[Any, ...]:
        left, right = max(offset, 0), max(int(starts[-1]) + width - length, 0)
        padded = ops.pad(x, ((0, 0), (left, right), (0, 0)))
        first = range(left - offset, left - offset + width)
        bases = ops.concatenate([padded[:, i : i + positions] for i in first], axis=-1)
        bases = ops.reshape(bases, (-1, width * 4))
        # Matrices throughout: TensorFlow's products over two axes copy what they are given.
        results: list[Any] = []
        for least in thresholds:
            fires = y > least  # (n, L, F)
            if rule.windows == "best":
                top = ops.argmax(y, axis=1)[:, None]
                fires = ops.logical_and(
                    fires, top == ops.arange(positions, dtype=top.dtype)[:, None]
                )
            if rule.ends == "drop":
                fires = ops.logical_and(fires, inside[:, None])
            results.append(ops.sum(ops.cast(fires, "float32"), axis=(0, 1)))  # windows
            weights = ops.where(fires, y, 0.0) if rule.weighted else ops.cast(fires, "float32")
            weights = ops.reshape(weights, (-1, n_filters))
            results.append(ops.matmul(ops.transpose(weights), bases))  # (F, W * 4)
        return tuple(results)

    windows = [np.zeros(n_filters, np.int64) for _ in shares]
    counts = [np.zeros((n_filters, width * 4)) for _ in shares]
    for results in device.map(codes, batch, reduce=align):
        for i in range(len(shares)):
            windows[i] += results[2 * i].astype(np.int64)
            counts[i] += results[2 * i + 1]
    return [
        Filters(_shares(of, width), number, maximum.astype(np.float32), kind, number == 0)
        for of, number in zip(counts, windows, strict=True)
    ]


def threshold(maximum: np.ndarray, share: float) -> np.ndarray:
    """Activation (F,) float32 above which a filter fires, as a share of its maximum.

    Beyond reach where nothing excites the filter, so that it has no window.
    """
    return np.where(maximum > 0, share * maximum, np.inf).astype(np.float32)


def _shares(counts: np.ndarray, width: int) -> np.ndarray:
    """Counts (F, W * 4) to probabilities (F, W, 4) float32; 0.25 in a column without any."""
    counts = counts.reshape(len(counts), width, 4)
    totals = counts.sum(axis=2, keepdims=True)
    ppm = np.divide(counts, totals, out=np.full_like(counts, 0.25), where=totals > 0)
    return ppm.astype(np.float32)
