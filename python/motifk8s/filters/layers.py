"""Find the convolutions of a model whose motifs can be read: those before the first pooling.

A convolution can be read if each of its activations depends on one window of the sequence. So the
layers before it are convolutions, layers that act on each position alone, and layers that do
nothing after training (dropout, noise). Nested models are followed layer by layer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motifk8s.errors import InputError

if TYPE_CHECKING:
    import keras

LONGEST_NAME, CUT = 150, 36  # bytes, characters; the name of a file has at most 255 bytes
# Activation functions that mix the filters of a position.
MIXING = ("softmax", "log_softmax", "sparsemax")


class Layer(NamedTuple):
    """A convolution before the first pooling, with the layers up to its activations."""

    conv: Any  # keras.layers.Conv1D, SeparableConv1D or DepthwiseConv1D
    tail: tuple[Any, ...]  # the batch norm and activation after it; each acts on a position alone
    receptive_field: int  # number of bases that one activation depends on
    offset: int  # the receptive field of the activation at i begins at i - offset
    first: bool  # True if there is no convolution between the sequence and this one
    path: tuple[Any, ...] = ()  # all layers from the sequence to the activations, in order

    @property
    def output(self) -> Any:
        """The activations in the model itself, a symbolic tensor (N, P, F)."""
        return (self.tail[-1] if self.tail else self.conv).output


class Readable(NamedTuple):
    """The convolutions of a model that can be read."""

    layers: dict[str, Layer]  # in order, by name
    end: str  # why the layer after them is not read; "" if it pools, or the model ends


def readable_layers(model: keras.Model) -> dict[str, Layer]:
    """Find the convolutions before the first pooling of a model, in order, by name.

    A name is that of the layer, changed by `file_name` if it cannot name a file.

    Raises
    ------
    InputError
        If there is not one input (N, L, 4), or no such convolution, or a branch before it.
    """
    return find_layers(model).layers


def numbered_layers(model: keras.Model) -> dict[str, Layer]:
    """Find the same layers, and name them conv1, conv2, ... in order.

    These are the names of a study's results, where those of a custom model would mean nothing.
    """
    return {f"conv{i}": layer for i, layer in enumerate(readable_layers(model).values(), start=1)}


def find_layers(model: keras.Model) -> Readable:
    """Find the convolutions before the first pooling, and why it ends there; see above."""
    import keras

    kinds = keras.layers
    place = _sequences(model)
    readable: dict[str, Layer] = {}
    name, current = "", None
    path: list[Any] = []
    field, offset = 1, 0  # as in `Layer`
    while True:
        nodes = _next(place)
        passing = [pair for pair in nodes if not _obstacle(pair[0], current is None)]
        if len(passing) != 1:
            return _end(readable, [node for node, _ in nodes], [node for node, _ in passing])
        [(node, place)] = passing
        layer = node.operation
        if isinstance(layer, keras.Model):
            place = _inside(node, place)
            continue
        place = place._replace(tensor=node.outputs[0])
        if isinstance(layer, _idle()):
            continue
        path.append(layer)
        if isinstance(layer, _convolutions()):
            reach = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
            field += reach
            offset += {"same": reach // 2, "causal": reach, "valid": 0}[layer.padding]
            current = Layer(layer, (), field, offset, not readable)
            name = _free(file_name(layer.name), readable)
        elif isinstance(layer, kinds.ZeroPadding1D):
            offset += layer.padding[0]
        elif isinstance(layer, kinds.Cropping1D):
            offset -= layer.cropping[0]
        if current is not None:
            tail = current.tail if layer is current.conv else (*current.tail, layer)
            current = current._replace(tail=tail, offset=offset, path=tuple(path))
            readable[name] = current


def file_name(name: str) -> str:
    """Make a name that can be part of the name of a file, different for different names.

    Printable characters stay, except slashes and %; all others become %XX, and long names are cut.
    """

    def code(c: str) -> str:
        return "".join(f"%{byte:02X}" for byte in c.encode("utf-8", "surrogatepass"))

    unfit = "/\\%" if name.strip(".") else "."
    clean = "".join(c if c.isprintable() and c not in unfit else code(c) for c in name)
    if len(clean.encode()) <= LONGEST_NAME:
        return clean
    return f"{clean[:CUT]}-{hashlib.sha256(clean.encode()).hexdigest()[:8]}"


def _free(name: str, taken: dict[str, Layer]) -> str:
    """Number a name that is taken: nested models may repeat names, and layers can be reused."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


# ------------------------------------------------------------------------- the graph of a model


class _Place(NamedTuple):
    """A tensor in the graph of a model."""

    tensor: Any
    graph: Any  # a functional model
    call: tuple[Any, _Place] | None = None  # of a nested model: the call, and the graph around it


def _sequences(model: keras.Model) -> _Place:
    """Return the place of the input that has the sequences."""
    import keras

    try:
        inputs = model.inputs
        shapes = [tuple(tensor.shape) for tensor in inputs]
    except (AttributeError, TypeError, ValueError):  # a Sequential that was never built
        inputs, shapes = [], []
    fits = [t for t, shape in zip(inputs, shapes, strict=True) if len(shape) == 3 and shape[2] == 4]
    if len(fits) != 1:
        shown = " and ".join(map(str, shapes)) or None
        raise InputError(
            f"model: expected an input of one-hot sequences (N, L, 4), not of shape {shown}; the "
            "last axis is A C G T"
        )
    return _Place(fits[0], keras.Model(inputs, model.outputs))


def sequence_length(model: keras.Model) -> int | None:
    """Return the length in bp of the sequences that a model reads; None for any length."""
    return _sequences(model).tensor.shape[1]


def _next(place: _Place) -> list[tuple[Any, _Place]]:
    """Find the calls of layers that read a tensor, and the place of each."""
    calls = place.graph._nodes_by_depth  # noqa: SLF001 (Keras has no public list of them)
    found = [
        (node, place)
        for nodes in calls.values()
        for node in nodes
        if any(tensor is place.tensor for tensor in node.input_tensors)
    ]
    if place.call is not None:
        call, around = place.call
        for inner, outer in zip(place.graph.outputs, call.outputs, strict=True):
            if inner is place.tensor:
                found += _next(around._replace(tensor=outer))
    return found


def _inside(node: Any, place: _Place) -> _Place:
    """Enter a nested model."""
    import keras

    model = node.operation
    number = next(i for i, tensor in enumerate(node.input_tensors) if tensor is place.tensor)
    graph = keras.Model(model.inputs, model.outputs)
    return _Place(graph.inputs[number], graph, (node, place))


def _end(readable: dict[str, Layer], nodes: Sequence[Any], passing: Sequence[Any]) -> Readable:
    """Say why no layer follows: none exists, none can be read, or several could follow."""
    if len(passing) > 1:
        name = passing[1].operation.name
        if not readable:
            raise InputError(
                f"model: the branch at layer {name!r} is before the first pooling; give a model "
                "that is a chain of layers up to there"
            )
        return Readable(readable, f"there is a branch at layer {name!r}")
    end, natural = "the model ends", True
    if nodes:
        layer = nodes[0].operation
        kind = type(layer).__name__
        end = f"layer {layer.name!r} ({kind}) {_obstacle(nodes[0], not readable)}"
        natural = "Pool" in kind or kind in ("Flatten", "Dense")
    if not readable:
        raise InputError(
            f"model: there is no convolution before the first pooling that can be read: {end}"
        )
    return Readable(readable, "" if natural else end)


# ------------------------------------------------------------------------------ kinds of layers


def _convolutions() -> tuple[Any, ...]:
    from keras import layers as kinds

    return kinds.Conv1D, kinds.SeparableConv1D, kinds.DepthwiseConv1D


def _idle() -> tuple[Any, ...]:
    """Return the layers that do nothing after training."""
    from keras import layers as kinds

    return (
        kinds.Dropout, kinds.SpatialDropout1D, kinds.GaussianDropout, kinds.AlphaDropout,
        kinds.GaussianNoise, kinds.ActivityRegularization, kinds.Identity,
    )  # fmt: skip


def _obstacle(node: Any, first: bool) -> str:
    """Return why a call of a layer cannot be followed; "" if it can.

    Parameters
    ----------
    first : bool
        Whether the call comes before the first convolution.
    """
    import keras

    layer = node.operation
    source, output = node.input_tensors[0], node.outputs[0]
    if isinstance(layer, keras.Model):
        listed = getattr(layer, "inputs", None)
        return "" if listed else "is a model whose layers are not listed"
    if len(node.input_tensors) > 1:
        return "joins several inputs"
    if node.arguments.kwargs.get("training"):
        return "is called with training=True, so its output is not that of the trained model"
    if isinstance(layer, _idle()):
        return ""
    if _activation(layer) == "glu":
        return "halves the number of filters"
    if isinstance(layer, _convolutions()):
        if layer.data_format != "channels_last":
            return "reads channels_first; give a model of channels_last"
        return "" if layer.strides == (1,) else f"has strides {layer.strides}: it skips positions"
    if "Pool" in type(layer).__name__:
        return "pools positions"
    if len(source.shape) != 3 or len(output.shape) != 3:
        return "changes the number of axes"
    return _obstacle_of_positions(layer, first)


def _obstacle_of_positions(layer: Any, first: bool) -> str:
    """Return why a layer of one input and three axes does not act on each position alone."""
    from keras import layers as kinds

    plain = (kinds.Activation, kinds.ReLU, kinds.LeakyReLU, kinds.ELU)
    over_axes = (
        kinds.BatchNormalization, kinds.LayerNormalization, kinds.UnitNormalization, kinds.Softmax
    )  # fmt: skip
    if isinstance(layer, plain + (kinds.ZeroPadding1D, kinds.Cropping1D)):
        return ""
    if isinstance(layer, over_axes):
        axes = np.atleast_1d(layer.axis).tolist()
        return "" if axes in ([-1], [2]) else f"has axis {axes}, not the last one alone"
    if isinstance(layer, kinds.PReLU):
        shared = np.atleast_1d(layer.shared_axes or []).tolist()
        return "" if 1 in shared else "has a slope for each position; share axis 1"
    if isinstance(layer, kinds.Rescaling):
        fits = max(np.ndim(layer.scale), np.ndim(layer.offset)) <= 1
        return "" if fits else "has a scale for each position"
    if isinstance(layer, kinds.Dense):
        return "" if first else "is not a convolution"
    return "mixes positions, or is of a kind that motifk8s does not know"


# ----------------------------------------------------------------------------------- activations


def reader(layer: Layer, length: int) -> keras.Model:
    """Make the model from one-hot sequences (N, L, 4) to a layer's activations (N, P, F).

    It is a copy that computes in float32, because a threshold is too coarse in the half precision
    of a mixed policy. The copies also have plain names: TensorFlow compiles no layer ``conv 1``.

    Parameters
    ----------
    length : int
        Length L of the sequences, in bp.
    """
    import keras

    x = inputs = keras.Input((length, 4), dtype="float32")
    for number, step in enumerate(layer.path):
        x = _copy(step, number, x.shape)(x)
    return keras.Model(inputs, x)


def _copy(layer: Any, number: int, shape: tuple[int | None, ...]) -> Any:
    """Copy a layer and its weights, in float32."""
    config = {**layer.get_config(), "name": f"layer{number}", "dtype": "float32"}
    # These play no part, and functions of the user would need to be registered with Keras.
    unused = ("_initializer", "_regularizer", "_constraint")
    config |= {key: None for key in config if key.endswith(unused)}
    weights = [np.asarray(weight, np.float32) for weight in layer.get_weights()]
    if config.get("groups", 1) > 1:  # TensorFlow has no groups on a CPU
        config["groups"] = 1
        weights[0] = _kernel(layer).astype(np.float32)
    copy = type(layer).from_config(config)
    copy.build(shape)
    copy.set_weights(weights)
    return copy


def achievable_maximum(layer: Layer) -> np.ndarray | None:
    """Compute the highest possible activation (F,) of each filter of the first layer.

    It is the activation of the batch-normalised sum over positions of the largest weight (paper,
    Methods). If the scale of the batch norm is negative, the smallest weight counts. A deeper layer
    has no closed form, nor has one whose filters are mixed after it, and the result is None.
    """
    kind = type(layer.conv)
    if not layer.first or kind not in _convolutions():  # a subclass may compute anything
        return None
    if any(map(_mixes, (layer.conv, *layer.tail))):
        return None
    number = len(layer.path) - len(layer.tail) - 1
    bases = np.asarray(_through(layer.path[:number], np.eye(4)[:, None]), np.float64)[:, 0]
    by_base = np.einsum("ac,wcf->waf", bases, _kernel(layer.conv))  # (W, 4, F)
    low, high = by_base.min(axis=1).sum(axis=0), by_base.max(axis=1).sum(axis=0)
    if layer.conv.use_bias:
        bias = np.asarray(layer.conv.bias, np.float64)
        low, high = low + bias, high + bias
    extremes = np.stack([low, high])[:, None, :].astype(np.float32)
    if layer.conv.activation is not None:
        extremes = layer.conv.activation(extremes)
    return np.asarray(_through(layer.tail, extremes)).max(axis=(0, 1))


def _through(steps: Sequence[Any], x: Any) -> Any:
    """Compute layers that act on each position alone, of x (n, 1, C)."""
    from keras import layers as kinds

    for number, step in enumerate(steps):
        if not isinstance(step, kinds.ZeroPadding1D | kinds.Cropping1D):
            x = _copy(step, number, x.shape)(np.asarray(x, np.float32))
    return x


def _mixes(layer: Any) -> bool:
    """Return whether a layer mixes the filters of a position."""
    from keras import layers as kinds

    if isinstance(layer, kinds.LayerNormalization | kinds.UnitNormalization | kinds.Softmax):
        return True
    return _activation(layer) in MIXING


def _activation(layer: Any) -> str:
    """Return the name of a layer's activation function; "" without one."""
    return getattr(getattr(layer, "activation", None), "__name__", "")


def _kernel(conv: Any) -> np.ndarray:
    """Return the weight (W, C, F) float64 of each position, channel and filter of a convolution."""
    from keras import layers as kinds

    if isinstance(conv, kinds.SeparableConv1D):
        depth = np.asarray(conv.depthwise_kernel, np.float64)  # (W, C, M)
        point = np.asarray(conv.pointwise_kernel, np.float64)  # (1, C * M, F)
        return np.einsum("wcm,cmf->wcf", depth, point.reshape(*depth.shape[1:], -1))
    kernel = np.asarray(conv.kernel, np.float64)
    width, channels, last = kernel.shape
    if isinstance(conv, kinds.DepthwiseConv1D):  # (W, C, M): filter c * M + m reads channel c
        groups, kernel = channels, kernel.reshape(width, 1, channels * last)
    elif (groups := conv.groups) == 1:
        return kernel
    size, filters = kernel.shape[1], kernel.shape[2] // groups  # of a group
    whole = np.zeros((width, size * groups, filters * groups))
    for group in range(groups):
        part = slice(group * filters, (group + 1) * filters)
        whole[:, group * size : (group + 1) * size, part] = kernel[:, :, part]
    return whole
