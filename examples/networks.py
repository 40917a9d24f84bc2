"""Three networks that layers in a study file cannot describe, for own-networks.yaml.

A function takes the length of sequences in bp, the number of classes, and the options of the study.
It returns a Keras model from one-hot sequences (N, length, 4), columns A C G T, to probabilities
(N, classes). The first convolution of each can be read: one activation depends on one window.
"""

import keras
from keras import layers, ops


def residual(length, n_classes, *, filters=30, blocks=3, width=19):
    """A convolution, then residual blocks of dilated convolutions, without pooling in between."""
    sequence = keras.Input((length, 4))
    x = layers.Conv1D(filters, width, padding="same", use_bias=False, name="stem")(sequence)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    for block in range(blocks):
        y = layers.Conv1D(filters, 3, padding="same", dilation_rate=2**block, use_bias=False)(x)
        y = layers.BatchNormalization()(y)
        y = layers.ReLU()(y)
        x = layers.Add()([x, layers.Dropout(0.1)(y)])
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.Dropout(0.2)(x)
    return keras.Model(sequence, layers.Dense(n_classes, "sigmoid")(x))


def attention(length, n_classes, *, filters=30, width=19, pool=10, heads=4):
    """A convolution and pooling, then self-attention between the pooled positions."""
    sequence = keras.Input((length, 4))
    x = layers.Conv1D(filters, width, padding="same", use_bias=False, name="stem")(sequence)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.MaxPooling1D(pool, padding="same")(x)
    y = layers.MultiHeadAttention(heads, key_dim=16, dropout=0.1)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    x = layers.Flatten()(x)
    x = layers.Dense(128, "relu")(x)
    x = layers.Dropout(0.4)(x)
    return keras.Model(sequence, layers.Dense(n_classes, "sigmoid")(x))


class BothStrands(layers.Conv1D):
    """A convolution that reads both strands: filters F of the sequence, then F of the other strand.

    Filter F + i is filter i on the reverse complement, so both share their weights. With an odd
    width and padding "same", the two see the same window.
    """

    def call(self, sequence):
        """Convolve one-hot sequences (N, L, 4) to (N, L, 2 F)."""
        # In the order A C G T, the complement reverses the letters.
        other = super().call(sequence[:, ::-1, ::-1])[:, ::-1]
        return ops.concatenate([super().call(sequence), other], axis=-1)

    def compute_output_shape(self, input_shape):
        """Return (N, L, 2 F)."""
        return (*input_shape[:-1], 2 * self.filters)


def both_strands(length, n_classes, *, filters=20, width=19, pool=25):
    """The paper's kind of network, with a first layer that reads both strands."""
    sequence = keras.Input((length, 4))
    x = BothStrands(filters, width, padding="same", use_bias=False, name="stem")(sequence)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.MaxPooling1D(pool, padding="same")(x)
    x = layers.Dropout(0.1)(x)
    x = layers.Conv1D(64, 5, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(sequence, layers.Dense(n_classes, "sigmoid")(x))
