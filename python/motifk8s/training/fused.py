"""Compute a model's forward pass in training, in a form that XLA compiles well for a CPU.

The arithmetic is that of the model's Keras layers, in another order. Unchanged layers are slower
when compiled, because on a CPU XLA has slow gradients of max-pooling and slow random numbers. So
there are three changes (docs/performance.md has the gain of each):

- Pooling is a maximum over an axis with its own gradient.
- Dropout multiplies by masks that are drawn outside the compiled function.
- Batch norm and activation run after pooling, on fewer values. The result is the same if the
  activation is non-decreasing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

# Non-decreasing activations: the maximum of the outputs is the output of the maximum.
MONOTONE = ("linear", "relu", "leaky_relu", "elu", "exponential", "sigmoid", "softplus", "tanh")


def draw_masks(model: keras.Model, n: int) -> dict[str, Any]:
    """Draw the dropout masks of n sequences with the random numbers of the layers.

    Returns
    -------
    dict of str to tensor
        From the name of each layer with a rate above 0 to a mask of the shape of its input: 0 or
        1 / (1 - rate).
    """
    import keras
    import tensorflow as tf

    return {
        layer.name: layer(tf.ones((n, *layer.input.shape[1:])), training=True)
        for layer in model.layers
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0
    }


def forward(model: keras.Model, x: Any, masks: dict[str, Any]) -> Any:
    """Compute ``model(x, training=True)``, (n, L, 4) to (n, C), and update moving averages.

    The model is from `models.build`, the masks are from `draw_masks`.
    """
    from keras import layers

    rest = list(model.layers[1:])
    while rest:
        layer = rest.pop(0)
        if isinstance(layer, layers.Dropout):
            x = x * masks[layer.name] if layer.name in masks else x
        elif isinstance(layer, layers.BatchNormalization) and len(x.shape) == 3:
            norm = _normalization(layer, x)
            if _pools_next(rest):
                x = _extremes(x, layer.gamma, rest.pop(1))
            x = norm(x)
        elif isinstance(layer, layers.MaxPooling1D):
            x = _maxima(x, layer)
        else:
            x = layer(x, training=True)
    return x


def _pools_next(rest: list[Any]) -> bool:
    """Return whether the next layers are a monotone activation and pooling."""
    from keras import layers

    return (
        len(rest) > 1
        and isinstance(rest[0], layers.Activation)
        and isinstance(rest[1], layers.MaxPooling1D)
        and rest[0].activation.__name__ in MONOTONE
    )


def _normalization(layer: Any, x: Any) -> Any:
    """Update a batch norm's moving averages from (n, L, F); return the batch's normalization."""
    import tensorflow as tf

    # The means of x and of (x - near)^2 need one pass over the data. The mean, and then the
    # deviations from it, need two.
    near = tf.convert_to_tensor(layer.moving_mean.value)
    mean = tf.reduce_mean(x, axis=(0, 1))
    variance = tf.reduce_mean(tf.square(x - near), axis=(0, 1)) - tf.square(mean - near)
    for average, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        average.assign(average * layer.momentum + value * (1.0 - layer.momentum))
    scale = tf.math.rsqrt(variance + layer.epsilon) * layer.gamma
    return lambda z: z * scale + (layer.beta - mean * scale)


def _extremes(x: Any, gamma: Any, pooling: Any) -> Any:
    """Pool the value of each window whose product with gamma is the largest.

    If gamma is exactly 0, all values of a window are equal after batch norm. Then Keras' pooling
    sends the gradient to the first place, and this pooling to the place of the largest value.
    """
    import tensorflow as tf

    sign = tf.where(tf.convert_to_tensor(gamma.value) < 0, -1.0, 1.0)
    return _maxima(x * sign, pooling) * sign


def _maxima(x: Any, layer: Any) -> Any:
    """Max-pool (n, L, F) with padding "same" to (n, ceil(L / stride), F).

    The first of equal maxima gets the gradient, as in TensorFlow.
    """
    import tensorflow as tf

    [pool], [stride] = layer.pool_size, layer.strides
    length = x.shape[1]
    count = -(-length // stride)
    padding = (count - 1) * stride + pool - length
    ends = (padding // 2, padding - padding // 2)
    x = tf.pad(x, ((0, 0), ends, (0, 0)), constant_values=x.dtype.min)
    # A window is a union of disjoint blocks. `top` is the maximum over `reached` blocks.
    block = math.gcd(pool, stride)
    top, reached, blocks = _block_maxima(x, block), 1, pool // block
    while reached < blocks:
        further = min(reached, blocks - reached)
        top = tf.maximum(top[:, :-further], top[:, further:])
        reached += further
    return top[:, :: stride // block]


def _block_maxima(x: Any, size: int) -> Any:
    """Compute the maxima of disjoint blocks: (n, L, F) to (n, L / size, F)."""
    import tensorflow as tf

    shape = (x.shape[0], x.shape[1] // size, size, x.shape[2])

    @tf.custom_gradient
    def maxima(x: Any) -> Any:
        w = tf.reshape(x, shape)
        top = tf.reduce_max(w, axis=2)
        place = tf.range(size)[None, None, :, None]
        # tf.argmax gives the same, but is slower.
        first = tf.reduce_min(tf.where(w == top[:, :, None], place, size), axis=2)

        def gradient(dy: Any) -> Any:
            return tf.reshape(tf.where(place == first[:, :, None], dy[:, :, None], 0.0), x.shape)

        return top, gradient

    return maxima(x)
