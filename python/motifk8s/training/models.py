"""Build a Keras model from the description of an architecture, and load its weights.

A model takes one-hot sequences, ``(N, L, 4)`` float32; `devices` converts base codes on the device.
The layers are named ``conv1``, ``bn1``, ``act1``, ``pool1``, ``dropout1``, ``conv2``, ...,
``dense1``, ..., ``output``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from motifk8s.study.specs import CustomModel, Model, OutputBias, TrainingSettings
from motifk8s.training import custom

if TYPE_CHECKING:
    import keras


def build(
    spec: Model | CustomModel,
    training: TrainingSettings,
    length: int,
    n_classes: int,
    seed: int = 0,
) -> keras.Model:
    """Build a CNN of the paper's family (Methods, "CNN models"): (N, L, 4) to probabilities (N, C).

    Batch norm, activation, max-pooling and dropout follow each convolution. Batch norm, ReLU and
    dropout follow each dense layer. These layers have no bias; the sigmoid output has one. All
    paddings are "same". A custom model is what its function builds.

    Parameters
    ----------
    training : TrainingSettings
        Initializer, output bias, L2 strength and batch norm constants are used; a custom model
        has its own.
    length : int
        Sequence length L in bp.
    n_classes : int
        Number of binary labels C.
    seed : int
        Determines all initial weights and dropout masks.
    """
    import keras

    if isinstance(spec, CustomModel):
        return custom.build(spec, length, n_classes, seed)
    # Each layer has its own seed, so the weights of a layer do not depend on the size of others.
    most = 2 * (len(spec.conv) + len(spec.dense)) + 2
    seeds = map(int, np.random.SeedSequence(seed).generate_state(most))
    x = inputs = keras.Input((length, 4), name="sequence")
    for i, conv in enumerate(spec.conv, start=1):
        kernel = _kernel(training, next(seeds))
        x = keras.layers.Conv1D(
            conv.filters, conv.width, padding="same", use_bias=False, name=f"conv{i}", **kernel
        )(x)
        x = _batch_norm(training, f"bn{i}")(x)
        x = keras.layers.Activation(conv.activation, name=f"act{i}")(x)
        stride = conv.stride or conv.pool
        if conv.pool > 1 or stride > 1:
            x = keras.layers.MaxPooling1D(conv.pool, stride, padding="same", name=f"pool{i}")(x)
        x = keras.layers.Dropout(conv.dropout, seed=next(seeds), name=f"dropout{i}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for i, units in enumerate(spec.dense, start=1):
        name = f"dense{i}"
        kernel = _kernel(training, next(seeds))
        x = keras.layers.Dense(units, use_bias=False, name=name, **kernel)(x)
        x = _batch_norm(training, f"{name}_bn")(x)
        x = keras.layers.Activation("relu", name=f"{name}_act")(x)
        x = keras.layers.Dropout(spec.dense_dropout, seed=next(seeds), name=f"{name}_dropout")(x)
    kernel = _kernel(training, next(seeds))
    bias = _bias(training, next(seeds))
    outputs = keras.layers.Dense(n_classes, activation="sigmoid", name="output", **kernel, **bias)(
        x
    )
    return keras.Model(inputs, outputs, name="cnn")


def load(
    file: Path,
    spec: Model | CustomModel,
    training: TrainingSettings,
    length: int,
    n_classes: int,
) -> keras.Model:
    """Load a model that `build` has built and Keras has saved as ``.keras``.

    A custom model is built again and gets the weights of the file, so that layers of its own need
    no registration.
    """
    import keras

    if not isinstance(spec, CustomModel):
        return keras.models.load_model(file, compile=False)
    model = build(spec, training, length, n_classes)
    model.load_weights(file)
    return model


def _kernel(training: TrainingSettings, seed: int) -> dict[str, Any]:
    """Return the initializer and the regularizer of a layer's weights as keyword arguments."""
    import keras

    config = {"class_name": training.initializer, "config": {"seed": seed}}
    return {
        "kernel_initializer": keras.initializers.get(config),
        "kernel_regularizer": keras.regularizers.L2(training.l2) if training.l2 else None,
    }


def _bias(training: TrainingSettings, seed: int) -> dict[str, Any]:
    """Return the initializer and the regularizer of the output bias as keyword arguments."""
    import keras

    bias = training.output_bias
    if not isinstance(bias, OutputBias):
        return {"bias_initializer": keras.initializers.Constant(bias)}
    return {
        "bias_initializer": keras.initializers.RandomUniform(-bias.uniform, bias.uniform, seed),
        "bias_regularizer": keras.regularizers.L2(training.l2) if bias.l2 and training.l2 else None,
    }


def _batch_norm(training: TrainingSettings, name: str) -> keras.Layer:
    import keras

    return keras.layers.BatchNormalization(
        momentum=training.batch_norm_momentum, epsilon=training.batch_norm_epsilon, name=name
    )
