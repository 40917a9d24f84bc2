"""What a network loses without one of its filters: ablation.

A filter's output is set to 0 after its activation. Pooling and dropout do not change a channel of
zeros, so the network up to there runs once. The next layer and its batch norm are linear: their
output without a filter is their whole output minus what the filter adds to it. Only what follows
runs once for each filter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from motifk8s.filters.extract import Layer, readable_layers
from motifk8s.training.devices import open_device
from motifk8s.training.scores import cross_entropies, macro_auroc

if TYPE_CHECKING:
    import keras
    import pandas as pd

COLUMNS = (
    "layer", "filter", "target", "class", "loss_increase", "auroc_drop", "worst_class",
    "worst_class_loss_increase",
)  # fmt: skip
# At most in one batch on the device: bases, and outputs of the layer that reads the filters. These
# are computed for each filter, and a few MB stay in the cache.
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

    Nothing is trained again: this measures how the trained network uses a filter, not whether it
    could learn without. Of two filters that read the same, each may seem to matter little.

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
    It keeps F x N x C probabilities and one batch's activations. The layers after the next one run
    F times. For 2,000 sequences of 200 bp one core needs 1 s for CNN-25 and for the second layer of
    CNN-1; 3 s for the first layer of CNN-1, which is not pooled; and 40 s for CNN-1-1-100, most of
    it the third convolution, for each filter of the first.
    """
    import pandas as pd

    whole, each_without = _predict(model, layer, codes)
    losses, score = cross_entropies(labels, whole), macro_auroc(labels, whole)
    rows = []
    for i, probabilities in enumerate(each_without):
        label = labels_of.get(f"filter{i}", {"target": "", "class": ""})
        rise = cross_entropies(labels, probabilities) - losses
        drop = score - macro_auroc(labels, probabilities)
        by_class = _means(rise, axis=0)
        worst = int(np.nanargmax(by_class)) if np.isfinite(by_class).any() else 0
        name = classes[worst] if by_class[worst] > 0 else ""
        what = (layer, f"filter{i}", label["target"], label["class"])
        rows.append((*what, float(_means(rise)), drop, name, float(by_class[worst])))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _predict(model: keras.Model, name: str, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predict with the whole network (N, C), and without each filter (F, N, C)."""
    import keras

    head, reader, rest = _cut(model, readable_layers(model)[name])
    device = open_device(keras.Model(model.inputs[0], head))
    outputs = int(np.prod(reader.output.shape[1:]))
    batch = max(1, min(BASES_PER_BATCH // codes.shape[1], OUTPUTS_PER_BATCH // outputs))
    without_each = _without_each(head.shape[-1], reader, rest)
    predictions = np.concatenate(list(device.map(codes, batch, reduce=without_each)), axis=1)
    return predictions[-1], predictions[:-1]


def _without_each(n_filters: int, reader: Any, rest: list[Any]) -> Callable[[Any, Any], Any]:
    """Make the function that predicts without each filter, from their pooled outputs (n, P, F).

    It returns (F + 1, n, C); the last is of the whole network.
    """
    import keras
    from keras import ops

    units = reader.kernel.shape[-1]
    kernel = ops.reshape(reader.kernel, (-1, n_filters, units))  # (W or P, F, units)
    adds, norm = kernel, None
    if rest and isinstance(rest[0], keras.layers.BatchNormalization):  # it is linear too
        norm, *rest = rest
        adds = kernel * norm.gamma * ops.rsqrt(norm.moving_variance + norm.epsilon)

    def read(y: Any, weights: Any) -> Any:
        """Compute what channels y (n, P, f) add to the output, by weights (W or P, f, units)."""
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

    return without_each


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


def _means(losses: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Compute means over what is not NaN; NaN where all is."""
    with np.errstate(invalid="ignore"):  # 0 / 0
        return np.asarray(np.nansum(losses, axis=axis) / np.isfinite(losses).sum(axis=axis))
