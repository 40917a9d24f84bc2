"""A model's forward pass in training, written so that XLA compiles it well for a CPU.

The arithmetic is that of the model's Keras layers, in another order. Compiled unchanged, the
layers are slower than uncompiled ones: XLA has no fast gradient of max-pooling and no fast random
numbers on a CPU. So pooling is a maximum over an axis with its own gradient; dropout multiplies by
masks that are drawn outside the compiled function; and batch norm and activation come after
pooling, on fewer values, which changes nothing if the activation never falls.
docs/performance.md says how much each change helped.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

# Activations that never fall: the maximum of the outputs is the output of the maximum.
MONOTONE = ("linear", "relu", "leaky_relu", "elu", "exponential", "sigmoid", "softplus", "tanh")


def draw_masks(model: keras.Model, n: int) -> dict[str, Any]:
    """Draw the dropout masks of n sequences, with the random numbers of the layers themselves.

    Parameters
    ----------
    model : keras.Model
        A chain of layers from `models.build`.
    n : int

    Returns
    -------
    dict of str to tensor
        By name of each layer that drops anything; of the shape of its input; 0 or 1 / (1 - rate).
    """
    import keras
    import tensorflow as tf

    return {
        layer.name: layer(tf.ones((n, *layer.input.shape[1:])), training=True)
        for layer in model.layers
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0
    }


def forward(model: keras.Model, x: Any, masks: dict[str, Any]) -> Any:
    """Compute ``model(x, training=True)``; update its moving averages too.

    Parameters
    ----------
    model : keras.Model
        A chain of layers from `models.build`.
    x : tensor (n, L, 4)
    masks : dict of str to tensor
        From `draw_masks`.

    Returns
    -------
    tensor (n, C)
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
    """Whether a monotone activation and pooling follow."""
    from keras import layers

    return (
        len(rest) > 1
        and isinstance(rest[0], layers.Activation)
        and isinstance(rest[1], layers.MaxPooling1D)
        and rest[0].activation.__name__ in MONOTONE
    )


def _normalization(layer: Any, x: Any) -> Any:
    """Update a batch norm's moving averages from (n, L, F); return what normalizes with the batch.

    The sums of x and of (x - c)^2, for a constant c near the mean, need one pass over the data
    where the mean and then the deviations from it need two.
    """
    import tensorflow as tf

    near = tf.convert_to_tensor(layer.moving_mean.value)
    mean = tf.reduce_mean(x, axis=(0, 1))
    variance = tf.reduce_mean(tf.square(x - near), axis=(0, 1)) - tf.square(mean - near)
    for average, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        average.assign(average * layer.momentum + value * (1.0 - layer.momentum))
    scale = tf.math.rsqrt(variance + layer.epsilon) * layer.gamma
    return lambda z: z * scale + (layer.beta - mean * scale)


def _extremes(x: Any, gamma: Any, pooling: Any) -> Any:
    """Pool the value of each window that is the largest once multiplied by gamma.

    Where gamma is exactly 0 all of a window is equal after batch norm. Stock pooling then sends
    the gradient to its first place, and this one to that of its largest value.
    """
    import tensorflow as tf

    sign = tf.where(tf.convert_to_tensor(gamma.value) < 0, -1.0, 1.0)
    return _maxima(x * sign, pooling) * sign


def _maxima(x: Any, layer: Any) -> Any:
    """Max-pool with padding "same": (n, L, F) to (n, ceil(L / stride), F).

    The gradient goes to the first of equal maxima, as in TensorFlow.
    """
    import tensorflow as tf

    [pool], [stride] = layer.pool_size, layer.strides
    length = x.shape[1]
    count = -(-length // stride)
    padding = (count - 1) * stride + pool - length
    ends = (padding // 2, padding - padding // 2)
    x = tf.pad(x, ((0, 0), ends, (0, 0)), constant_values=x.dtype.min)
    # Overlapping windows are unions of disjoint blocks; `top` covers `reached` blocks.
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
        # tf.argmax would be the same, and slower.
        first = tf.reduce_min(tf.where(w == top[:, :, None], place, size), axis=2)

        def gradient(dy: Any) -> Any:
            return tf.reshape(tf.where(place == first[:, :, None], dy[:, :, None], 0.0), x.shape)

        return top, gradient

    return maxima(x)
