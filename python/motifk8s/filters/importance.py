"""What a network loses without one of its filters: ablation, beside what the filter matches.

A filter's output is set to 0 behind its activation and the rest of the network runs. Pooling and
dropout leave a channel of zeros as it is, so the part of the network up to there runs once. The
layer that reads it is linear, and so is its batch norm: their output without a filter is their
whole output minus what the filter adds to it. Only what follows runs once for each filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from motifk8s.filters.extract import Layer, readable_layers
from motifk8s.training.devices import open_device

if TYPE_CHECKING:
    import keras
    import pandas as pd

COLUMNS = (
    "layer", "filter", "target", "class", "loss_increase", "auroc_drop", "worst_class",
    "worst_class_loss_increase",
)  # fmt: skip
# Bases in one batch on the device, at most, and numbers of the layer that reads the filters. These
# are made anew for each filter: a few MB at a time stay in the cache.
BASES_PER_BATCH, OUTPUTS_PER_BATCH = 20_000, 512_000


def ablate(
    model: keras.Model,
    layer: str,
    codes: np.ndarray,
    labels: np.ndarray,
    labels_of: Mapping[str, Mapping[str, Any]],
    classes: Sequence[str],
) -> pd.DataFrame:
    """Measure how much worse a network predicts without each filter of a layer.

    Nothing is trained anew, so this says what the network as it is makes of a filter, not whether
    it could do without: of two filters that read the same, each may seem to matter little.

    Parameters
    ----------
    model : keras.Model
        From `models.build`.
    layer : str
        A convolution before the first pooling.
    codes : numpy.ndarray (N, L) uint8
    labels : numpy.ndarray (N, C) int8
        1, 0, or -1 for unknown.
    labels_of : mapping
        What each matched filter matches, by its name (filter0, ...), as ``labels`` in
        ``metrics.json``.
    classes : sequence of str
        Names of the C classes.

    Returns
    -------
    pandas.DataFrame
        A row for each filter, dead ones included: layer, filter, target and class (empty where it
        matches nothing), loss_increase (nats: the mean cross-entropy over all known labels without
        the filter, minus that of the whole network), auroc_drop (macro AUROC of the whole network,
        over the classes that have both labels in these sequences, minus that without the filter;
        NaN if there is no such class), worst_class (whose own mean cross-entropy rises most; empty
        if none rises), worst_class_loss_increase (nats; by how much, or the largest change where
        none rises).

    Notes
    -----
    Held are F x N x C probabilities and what one batch needs. The cost is that of what follows
    the reading layer, F times. For 2,000 sequences of 200 bp one core needs 1 s for CNN-25 and for
    the second layer of CNN-1; 3 s for the first layer of CNN-1, whose 128 channels are pooled only
    behind the second; and 40 s for CNN-1-1-100, most of it the third convolution, which runs whole
    for each filter of the first.
    """
    import pandas as pd

    whole, each_without = _predict(model, layer, codes)
    loss, score = _losses(labels, whole), _macro_auroc(labels, whole)
    rows = []
    for i, probabilities in enumerate(each_without):
        name = f"filter{i}"
        label = labels_of.get(name, {"target": "", "class": ""})
        rise = _losses(labels, probabilities) - loss
        by_class = _means(rise, axis=0)
        worst = int(np.nanargmax(by_class)) if np.isfinite(by_class).any() else 0
        rows.append(
            (
                layer,
                name,
                label["target"],
                label["class"],
                float(_means(rise)),
                score - _macro_auroc(labels, probabilities),
                classes[worst] if by_class[worst] > 0 else "",
                float(by_class[worst]),
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _predict(model: keras.Model, name: str, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the whole network (N, C), and without each filter (F, N, C)."""
    import keras
    from keras import ops

    head, reader, rest = _cut(model, readable_layers(model)[name])
    units = reader.kernel.shape[-1]
    kernel = ops.reshape(reader.kernel, (-1, head.shape[-1], units))  # (W or P, F, units)
    adds = kernel
    norm = None
    if rest and isinstance(rest[0], keras.layers.BatchNormalization):  # it is linear too
        norm = rest.pop(0)
        adds = kernel * norm.gamma * ops.rsqrt(norm.moving_variance + norm.epsilon)

    def read(y: Any, weights: Any) -> Any:
        """What channels y (n, P, f) add to the reader's output, by weights (W or P, f, units)."""
        if isinstance(reader, keras.layers.Conv1D):
            return ops.conv(y, weights, 1, reader.padding, data_format="channels_last")
        flat = ops.reshape(y, (-1, y.shape[1] * y.shape[2]))
        return ops.matmul(flat, ops.reshape(weights, (-1, units)))

    def without_each(x: Any, y: Any) -> Any:
        z = read(y, kernel)
        if reader.use_bias:
            z += reader.bias
        if norm is not None:
            z = norm(z)

        def without(one: Any) -> Any:
            channel, weights = one
            p = reader.activation(z - read(channel[:, :, None], weights[:, None]))
            for layer in rest:
                p = layer(p)
            return p

        # One more filter, of zeros: without it the network is whole.
        more = ((0, 1), (0, 0), (0, 0))
        channels = ops.pad(ops.transpose(y, (2, 0, 1)), more)  # (F + 1, n, P)
        return ops.map(without, (channels, ops.pad(ops.transpose(adds, (1, 0, 2)), more)))

    device = open_device(keras.Model(model.inputs[0], head))
    outputs = int(np.prod(reader.output.shape[1:]))
    batch = max(1, min(BASES_PER_BATCH // codes.shape[1], OUTPUTS_PER_BATCH // outputs))
    found = np.concatenate(list(device.map(codes, batch, reduce=without_each)), axis=1)
    return found[-1], found[:-1]


def _cut(model: keras.Model, layer: Layer) -> tuple[Any, Any, list[Any]]:
    """Cut a network where a layer's output, pooled, is read.

    Returns
    -------
    head : symbolic tensor (N, P, F)
        The output behind the pooling.
    reader : keras.Layer
        The convolution, or the dense layer behind a flatten, that reads it.
    rest : list of keras.Layer
        What follows.
    """
    import keras

    kinds = keras.layers
    rest = model.layers[model.layers.index((layer.conv, *layer.tail)[-1]) + 1 :]
    head = layer.output
    while isinstance(rest[0], kinds.MaxPooling1D | kinds.Dropout):
        head = rest.pop(0).output
    if isinstance(rest[0], kinds.Flatten):
        rest.pop(0)
    return head, rest[0], rest[1:]


def _losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Cross-entropy (N, C) in nats, NaN where the label is unknown; clipped as Keras does."""
    p = np.where(labels == 1, probabilities, 1 - probabilities).astype(np.float64)
    return np.where(labels >= 0, -np.log(np.clip(p, 1e-7, 1 - 1e-7)), np.nan)


def _means(losses: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Mean of what is known, NaN where nothing is."""
    known = np.isfinite(losses)
    count = known.sum(axis=axis)
    total = np.where(known, losses, 0.0).sum(axis=axis)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def _macro_auroc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of `training.auroc`, by ranks: ten times as fast, and asked for once a filter."""
    from scipy.stats import rankdata

    known = labels >= 0
    positive = labels == 1
    # Unknown ones rank below all others, so each known one is too high by their number.
    ranks = rankdata(np.where(known, probabilities, -1), axis=0) - (~known).sum(axis=0)
    n, n_negative = positive.sum(axis=0), (labels == 0).sum(axis=0)
    above = np.where(positive, ranks, 0).sum(axis=0) - n * (n + 1) / 2
    pairs = n * n_negative
    return float(np.mean((above / np.maximum(pairs, 1))[pairs > 0])) if pairs.any() else np.nan
