"""From the description of an architecture to a Keras model: one builder for all of them.

A model takes one-hot sequences, ``(N, L, 4)`` float32; base codes become one-hot on the device, in
`motifk8s.devices`, just before the first layer. Layers are found by name: ``conv1``, ``bn1``,
``act1``, ``pool1``, ``dropout1``, ``conv2``, ..., ``dense1``, ..., ``output``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from motifk8s.study.specs import Model, TrainingSettings

if TYPE_CHECKING:
    import keras


def build(
    spec: Model, training: TrainingSettings, length: int, n_classes: int, seed: int = 0
) -> keras.Model:
    """Build one CNN of the paper's family (Methods, "CNN models").

    Each convolution is followed by batch norm, activation, max-pooling and dropout; each dense
    layer by batch norm, ReLU and dropout. These layers have no bias; the sigmoid output has one.
    All paddings are "same".

    Parameters
    ----------
    spec : Model
        The architecture.
    training : TrainingSettings
        Its initializer, output bias, L2 strength and batch norm constants are built in.
    length : int
        Sequence length L in bp.
    n_classes : int
        Number of binary labels C.
    seed : int
        Source of all initial weights and of all dropout masks.

    Returns
    -------
    keras.Model
        From ``(N, L, 4)`` float32 to ``(N, C)`` probabilities.
    """
    import keras

    layers = keras.layers
    # Each layer has a stream of its own, so that no layer's weights depend on another's size.
    most = 2 * (len(spec.conv) + len(spec.dense)) + 1
    seeds = iter(np.random.SeedSequence(seed).generate_state(most))

    def weights() -> dict[str, object]:
        initializer = keras.initializers.get(
            {"class_name": training.initializer, "config": {"seed": int(next(seeds))}}
        )
        return {
            "kernel_initializer": initializer,
            "kernel_regularizer": keras.regularizers.L2(training.l2) if training.l2 else None,
        }

    def norm(name: str) -> keras.Layer:
        return layers.BatchNormalization(
            momentum=training.batch_norm_momentum, epsilon=training.batch_norm_epsilon, name=name
        )

    x = inputs = keras.Input((length, 4), name="sequence")
    for i, conv in enumerate(spec.conv, start=1):
        x = layers.Conv1D(
            conv.filters, conv.width, padding="same", use_bias=False, name=f"conv{i}", **weights()
        )(x)
        x = norm(f"bn{i}")(x)
        x = layers.Activation(conv.activation, name=f"act{i}")(x)
        stride = conv.stride or conv.pool
        if conv.pool > 1 or stride > 1:
            x = layers.MaxPooling1D(conv.pool, stride, padding="same", name=f"pool{i}")(x)
        x = layers.Dropout(conv.dropout, seed=int(next(seeds)), name=f"dropout{i}")(x)
    x = layers.Flatten(name="flatten")(x)
    for i, units in enumerate(spec.dense, start=1):
        x = layers.Dense(units, use_bias=False, name=f"dense{i}", **weights())(x)
        x = norm(f"dense{i}_bn")(x)
        x = layers.Activation("relu", name=f"dense{i}_act")(x)
        x = layers.Dropout(spec.dense_dropout, seed=int(next(seeds)), name=f"dense{i}_dropout")(x)
    outputs = layers.Dense(
        n_classes,
        activation="sigmoid",
        bias_initializer=keras.initializers.Constant(training.output_bias),
        name="output",
        **weights(),
    )(x)
    return keras.Model(inputs, outputs, name="cnn")
