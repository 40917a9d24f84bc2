"""Measure the importance of filters by ablation.

A filter's output is set to 0 after its activation, and so are the outputs of all filters that match
a class. In a plain chain of layers, pooling and dropout do not change a channel of zeros, so the
network up to them runs once. The next layer and its batch norm are linear: without filters, their
output is the complete output minus the contribution of the filters. Only the layers after these run
once for each filter and each class. Any other network runs as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from motifk8s.filters.layers import Layer, numbered_layers, reader
from motifk8s.training.devices import open_device
from motifk8s.training.scores import cross_entropies, macro_auroc

if TYPE_CHECKING:
    import keras
    import pandas as pd

COLUMNS = (
    "layer", "filter",
    "target", "class",  # empty without a match
    # Mean cross-entropy over all known labels, in nats, minus that of the complete network.
    "loss_increase",
    # Macro AUROC of the complete network minus that without the filter, over the classes with both
    # labels in these sequences. NaN without such a class.
    "auroc_drop",
    # The class with the largest increase of its mean cross-entropy; empty without an increase.
    "worst_class",
    "worst_class_loss_increase",  # nats: this increase, or the largest change without one
    # As loss_increase, without all filters of the layer that match this class; NaN without a match.
    "class_loss_increase",
)  # fmt: skip
# Limits of one batch on the device: bases, and outputs of the layer that reads the filters. These
# outputs are computed for each filter, and a few MB fit into the cache.
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

    The network is not trained again. So this measures how it uses a filter, not whether it can
    learn without it. If two filters are similar, the importance of each may be small; without all
    filters of a class, what they share is missing too.

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
        The match of each filter by its name (filter0, ...), as ``labels`` in ``metrics.json``.
    classes : sequence of str
        Names of the C classes.

    Returns
    -------
    pandas.DataFrame
        A row with `COLUMNS` for each filter, dead ones included.

    Notes
    -----
    Memory: (F + C) x N x C probabilities and one batch's activations. Time of one core for 2,000
    sequences of 200 bp: 1 s for CNN-25 and for the second layer of CNN-1. The first layer of CNN-1
    is not pooled and needs 3 s. CNN-1-1-100 needs 40 s, mostly for its third convolution. A network
    that is not a plain chain predicts once for each filter and class, and once complete.
    """
    import pandas as pd

    of_class: dict[str, list[int]] = {}  # filters by the class that they match
    for name, label in labels_of.items():
        if label["class"]:
            of_class.setdefault(label["class"], []).append(int(name.removeprefix("filter")))
    whole, each_without, sets_without = _predict(model, layer, codes, list(of_class.values()))
    losses, score = cross_entropies(labels, whole), macro_auroc(labels, whole)
    without_class = {
        name: float(_means(cross_entropies(labels, probabilities) - losses))
        for name, probabilities in zip(of_class, sets_without, strict=True)
    }
    rows = []
    for i, probabilities in enumerate(each_without):
        label = labels_of.get(f"filter{i}", {"target": "", "class": ""})
        rise = cross_entropies(labels, probabilities) - losses
        drop = score - macro_auroc(labels, probabilities)
        by_class = _means(rise, axis=0)
        worst = int(np.nanargmax(by_class)) if np.isfinite(by_class).any() else 0
        name = classes[worst] if by_class[worst] > 0 else ""
        rows.append(
            (
                *(layer, f"filter{i}", label["target"], label["class"]),
                *(float(_means(rise)), drop, name, float(by_class[worst])),
                without_class.get(label["class"], np.nan),
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _predict(
    model: keras.Model, name: str, codes: np.ndarray, sets: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predict with the complete network, without each filter, and without each set of filters.

    The shapes are (N, C), (F, N, C) and (S, N, C).
    """
    import keras

    layer = numbered_layers(model)[name]
    if _is_plain(model):
        head, following, rest = _cut(model, layer)
        n_filters = head.shape[-1]
        outputs = int(np.prod(following.output.shape[1:]))
        batch = max(1, min(BASES_PER_BATCH // codes.shape[1], OUTPUTS_PER_BATCH // outputs))
        device = open_device(keras.Model(model.inputs[0], head))
        without = _without(_kept(sets, n_filters), following, rest)
    else:
        n_filters = reader(layer, codes.shape[1]).output.shape[-1]
        batch, device = max(1, BASES_PER_BATCH // codes.shape[1]), open_device(model)
        each = 1 - np.eye(n_filters + 1, n_filters, dtype=np.float32)
        without = _whole_without(np.concatenate([each, _kept(sets, n_filters)]), model, layer)
    predictions = np.concatenate(list(device.map(codes, batch, reduce=without)), axis=1)
    return predictions[n_filters], predictions[:n_filters], predictions[n_filters + 1 :]


def _kept(sets: Sequence[Sequence[int]], n_filters: int) -> np.ndarray:
    """Return for each set of filters 0 for these filters and 1 for all others: (S, F) float32."""
    kept = np.ones((len(sets), n_filters), np.float32)
    for row, numbers in zip(kept, sets, strict=True):
        row[list(numbers)] = 0
    return kept


def _whole_without(kept: np.ndarray, model: keras.Model, layer: Layer) -> Callable[[Any, Any], Any]:
    """Make the function that runs a whole network for each row of `kept` (K, F): (K, n, C)."""
    from keras import ops

    last = (layer.conv, *layer.tail)[-1]
    call = last.call

    def without_each(x: Any, y: Any) -> Any:
        def without(mask: Any) -> Any:
            last.call = lambda z: call(z) * mask
            try:
                return model(x, training=False)
            finally:
                del last.call

        return ops.map(without, kept)

    return without_each


def _without(kept: np.ndarray, following: Any, rest: list[Any]) -> Callable[[Any, Any], Any]:
    """Make the function from pooled outputs (n, P, F) to predictions (F + 1 + S, n, C).

    They are those without each of the F filters, those of the complete network, and those with the
    filters of each row of `kept` (S, F) alone.
    """
    import keras
    from keras import ops

    n_filters, units = kept.shape[1], following.kernel.shape[-1]
    kernel = ops.reshape(following.kernel, (-1, n_filters, units))  # (W or P, F, units)
    adds, norm = kernel, None
    if rest and isinstance(rest[0], keras.layers.BatchNormalization):  # it is linear too
        norm, *rest = rest
        adds = kernel * norm.gamma * ops.rsqrt(norm.moving_variance + norm.epsilon)

    def read(y: Any, weights: Any) -> Any:
        """Compute the contribution of channels y (n, P, f), with weights (W or P, f, units)."""
        if isinstance(following, keras.layers.Conv1D):
            return ops.conv(y, weights, 1, following.padding, data_format="channels_last")
        flat = ops.reshape(y, (-1, y.shape[1] * y.shape[2]))
        return ops.matmul(flat, ops.reshape(weights, (-1, units)))

    def without(x: Any, y: Any) -> Any:
        z = read(y, kernel)
        if following.use_bias:
            z += following.bias
        if norm is not None:
            z = norm(z)

        def predict(less: Any) -> Any:
            p = following.activation(z - less)
            for layer in rest:
                p = layer(p)
            return p

        def without_one(one: Any) -> Any:
            channel, weights = one
            return predict(read(channel[:, :, None], weights[:, None]))

        # Without an additional filter of zeros, the network is complete. It is computed like those
        # without a filter, so that one without a dead filter is the same to the bit.
        more = ((0, 1), (0, 0), (0, 0))
        each = (ops.transpose(y, (2, 0, 1)), ops.transpose(adds, (1, 0, 2)))
        results = [ops.map(without_one, tuple(ops.pad(part, more) for part in each))]
        if len(kept):
            results.append(ops.map(lambda mask: predict(read(y * (1 - mask), adds)), kept))
        return ops.concatenate(results)

    return without


def _is_plain(model: keras.Model) -> bool:
    """Return whether a network is a chain of the layers that `models.build` uses."""
    import keras
    from keras import layers as kinds

    known = (
        kinds.InputLayer, kinds.Conv1D, kinds.BatchNormalization, kinds.Activation,
        kinds.MaxPooling1D, kinds.Dropout, kinds.Flatten, kinds.Dense,
    )  # fmt: skip
    for before, layer in pairwise(model.layers):
        if type(layer) not in known or len(layer._inbound_nodes) != 1:  # noqa: SLF001
            return False
        if layer.input is not before.output:
            return False
        if isinstance(layer, kinds.Conv1D):
            usual = (layer.strides, layer.dilation_rate, layer.groups) == ((1,), (1,), 1)
            if not usual or layer.padding == "causal":
                return False
        if isinstance(layer, kinds.BatchNormalization):
            follows = getattr(before, "activation", keras.activations.linear)
            if follows is not keras.activations.linear or not (layer.scale and layer.center):
                return False
    return True


def _cut(model: keras.Model, layer: Layer) -> tuple[Any, Any, list[Any]]:
    """Split a network after the pooling of a layer.

    Returns
    -------
    head : symbolic tensor (N, P, F)
        The output of the pooling.
    following : keras.Layer
        The next convolution, or the next dense layer after a flatten.
    rest : list of keras.Layer
        The layers after it.
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
    """Compute means over values that are not NaN; NaN without such a value."""
    with np.errstate(invalid="ignore"):  # 0 / 0
        return np.asarray(np.nansum(losses, axis=axis) / np.isfinite(losses).sum(axis=axis))
