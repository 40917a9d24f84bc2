"""Which layers of other people's models are read, and why the others are not."""

from __future__ import annotations

import re
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers import toy

from motifk8s.errors import InputError
from motifk8s.filters.extract import extract_layer
from motifk8s.filters.layers import (
    achievable_maximum,
    file_name,
    find_layers,
    readable_layers,
    reader,
)
from motifk8s.study.specs import MotifSettings

LENGTH = 12


def one_hot(codes: np.ndarray) -> np.ndarray:
    return np.eye(5, 4, dtype="float32")[codes]


def chain(keras: ModuleType, *layers: Any, shape: tuple[int, ...] = (LENGTH, 4)) -> Any:
    return keras.Sequential([keras.Input(shape), *layers])


def shaken(model: Any) -> Any:
    """Give every weight a random value, of either sign."""
    rng = np.random.default_rng(8)
    for variable in model.variables:
        value = rng.normal(0, 1, variable.shape)
        variable.assign(abs(value) + 0.5 if "variance" in variable.name else value)
    return model


def encoder(keras: ModuleType) -> Any:
    kinds = keras.layers
    return chain(keras, kinds.Conv1D(3, 3, name="c"), kinds.BatchNormalization(), kinds.ReLU())


def nested(keras: ModuleType) -> Any:
    """A functional model with a Sequential in it, and another whose layer has the same name."""
    inner = chain(keras, keras.layers.Conv1D(2, 2, name="c"), shape=(LENGTH - 2, 3))
    inputs = keras.Input((LENGTH, 4))
    y = keras.layers.GlobalMaxPooling1D()(inner(encoder(keras)(inputs)))
    return keras.Model(inputs, y)


def nested_twice(keras: ModuleType) -> Any:
    inputs = keras.Input((LENGTH, 4))
    return keras.Model(inputs, nested(keras)(inputs))


def two_inputs(keras: ModuleType) -> Any:
    kinds = keras.layers
    a, b = keras.Input((5,)), keras.Input((LENGTH, 4))
    y = kinds.Flatten()(kinds.MaxPooling1D(2)(kinds.Conv1D(2, 3, name="c")(b)))
    return keras.Model([a, b], kinds.Dense(1)(kinds.Concatenate()([a, y])))


def two_outputs(keras: ModuleType) -> Any:
    kinds = keras.layers
    inputs = keras.Input((LENGTH, 4))
    x = kinds.ReLU()(kinds.Conv1D(2, 3, name="c")(inputs))
    return keras.Model(inputs, [kinds.Conv1D(2, 3)(x), kinds.Conv1D(2, 5, name="other")(x)])


def networks(keras: ModuleType) -> dict[str, tuple[Any, list[str], list[tuple[int, int]]]]:
    """Models, the names of their layers, and the receptive field and offset of each."""
    kinds = keras.layers
    pool = kinds.GlobalMaxPooling1D

    def first(*layers: Any) -> Any:
        return chain(keras, *layers, kinds.Conv1D(2, 3, name="c", activation="relu"), pool())

    def then(*layers: Any) -> Any:
        return chain(keras, kinds.Conv1D(4, 3, name="c"), *layers, kinds.ReLU(), pool())

    def kind(conv: Any) -> Any:
        return chain(keras, conv, kinds.BatchNormalization(), kinds.ReLU(), pool())

    dilated = kinds.Conv1D(2, 3, dilation_rate=2, padding="same", name="c")
    return {
        "noise": (first(kinds.GaussianNoise(0.3)), ["c"], [(3, 0)]),
        "dropouts": (first(kinds.GaussianDropout(0.3), kinds.AlphaDropout(0.1)), ["c"], [(3, 0)]),
        "norm first": (first(kinds.BatchNormalization()), ["c"], [(3, 0)]),
        "scale first": (first(kinds.Rescaling(2.0, -0.7)), ["c"], [(3, 0)]),
        "dense first": (first(kinds.Dense(6, "tanh")), ["c"], [(3, 0)]),
        "padding first": (first(kinds.ZeroPadding1D((2, 1))), ["c"], [(3, 2)]),
        "cropping first": (first(kinds.Cropping1D((2, 1))), ["c"], [(3, -2)]),
        "noise after": (then(kinds.GaussianNoise(0.3)), ["c"], [(3, 0)]),
        "prelu": (then(kinds.PReLU(shared_axes=[1])), ["c"], [(3, 0)]),
        "layer norm": (then(kinds.LayerNormalization()), ["c"], [(3, 0)]),
        "softmax": (then(kinds.Activation("softmax")), ["c"], [(3, 0)]),
        "dilated": (kind(dilated), ["c"], [(5, 2)]),
        "separable": (kind(kinds.SeparableConv1D(3, 3, name="c")), ["c"], [(3, 0)]),
        "depthwise": (
            kind(kinds.DepthwiseConv1D(3, depth_multiplier=2, name="c")), ["c"], [(3, 0)]
        ),
        "groups": (kind(kinds.Conv1D(4, 3, groups=2, name="c")), ["c"], [(3, 0)]),
        "causal": (kind(kinds.Conv1D(4, 3, padding="causal", name="c")), ["c"], [(3, 2)]),
        "nested": (nested(keras), ["c", "c-2"], [(3, 0), (4, 0)]),
        "nested twice": (nested_twice(keras), ["c", "c-2"], [(3, 0), (4, 0)]),
        "two inputs": (two_inputs(keras), ["c"], [(3, 0)]),
        "two outputs": (two_outputs(keras), ["c"], [(3, 0)]),
    }  # fmt: skip


def test_layers_of_many_networks_are_read_exactly(keras: ModuleType) -> None:
    codes = toy.codes(1, 2, LENGTH) % 4
    changed = np.tile(codes, (LENGTH + 1, 1))  # the last row stays unchanged
    changed[np.arange(LENGTH), np.arange(LENGTH)] = (codes[0] + 1) % 4
    words = np.array(list(product(range(4), repeat=5)), np.uint8)
    all_words = np.tile(toy.codes(1, 6, LENGTH) % 4, (len(words), 1))
    all_words[:, 4:9] = words
    for title, (model, names, fields) in networks(keras).items():
        layers = readable_layers(shaken(model))
        assert list(layers) == names, title
        assert [(x.receptive_field, x.offset) for x in layers.values()] == fields, title
        for layer in layers.values():
            made = reader(layer, LENGTH)
            y = np.asarray(made(one_hot(changed)))
            x: Any = one_hot(changed)
            if "groups" not in title:  # TensorFlow has no groups on a CPU
                for step in layer.path:
                    x = step(x)
                np.testing.assert_allclose(y, np.asarray(x), atol=1e-5, err_msg=title)
            at = 4
            start = at - layer.offset
            moved = np.abs(y[:-1, at] - y[-1, at]).max(axis=1) > 1e-7
            inside = set(range(start, start + layer.receptive_field))
            assert set(np.flatnonzero(moved)) <= inside, title
            maximum = achievable_maximum(layer)
            assert (maximum is None) == (not layer.first or title in ("layer norm", "softmax"))
            if maximum is not None:  # position i whose receptive field is in the words
                i = 4 + layer.offset
                best = np.asarray(made(one_hot(all_words)))[:, i].max(axis=0)
                np.testing.assert_allclose(maximum, best, rtol=1e-4, atol=1e-5, err_msg=title)


def test_groups_are_those_of_the_definition(keras: ModuleType) -> None:
    conv = keras.layers.Conv1D(4, 3, groups=2, use_bias=False, name="c")
    model = shaken(chain(keras, conv, keras.layers.GlobalMaxPooling1D()))
    codes = toy.codes(3, 2, LENGTH)
    kernel = np.asarray(conv.kernel)  # (3, 2, 4): the first two filters read A and C alone
    x = one_hot(codes)
    y = np.asarray(reader(readable_layers(model)["c"], LENGTH)(x))
    for filter_ in range(4):
        channels = x[:, :, :2] if filter_ < 2 else x[:, :, 2:]
        expected = sum(channels[:, w : w + LENGTH - 2] @ kernel[w, :, filter_] for w in range(3))
        np.testing.assert_allclose(y[:, :, filter_], expected, atol=1e-5)


def test_a_layer_that_is_used_twice_counts_each_time(keras: ModuleType) -> None:
    kinds = keras.layers
    conv, inputs = kinds.Conv1D(4, 3, padding="same", name="c"), keras.Input((LENGTH, 4))
    y = kinds.BatchNormalization(name="norm")(conv(kinds.ReLU(name="act")(conv(inputs))))
    layers = readable_layers(shaken(keras.Model(inputs, kinds.GlobalMaxPooling1D()(y))))
    assert {name: [x.name for x in layer.path] for name, layer in layers.items()} == {
        "c": ["c", "act"],
        "c-2": ["c", "act", "c", "norm"],
    }
    assert [layer.receptive_field for layer in layers.values()] == [3, 5]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float16"])
def test_half_precision_is_read_in_float32(keras: ModuleType, policy: str) -> None:
    kinds = keras.layers

    def make(dtype: str) -> Any:
        layers = [
            kinds.Conv1D(3, 5, use_bias=False, name="c", dtype=dtype),
            kinds.BatchNormalization(name="norm", dtype=dtype),
            kinds.Activation("relu", dtype=dtype),
            kinds.GlobalMaxPooling1D(dtype=dtype),
        ]
        return shaken(chain(keras, *layers))

    half, single = make(policy), make("float32")
    for name in ("c", "norm"):
        weights = [np.asarray(w, np.float32) for w in half.get_layer(name).get_weights()]
        single.get_layer(name).set_weights(weights)
    codes = toy.codes(40, 5, LENGTH)
    for preset in ("as-run", "as-written"):
        rule = MotifSettings.model_validate(preset)
        found, expected = (
            extract_layer(readable_layers(model)["c"], codes, rule) for model in (half, single)
        )
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def refused(keras: ModuleType) -> dict[str, tuple[Any, str]]:
    """Models without a layer that can be read, and what the error says."""
    kinds = keras.layers

    def before(*layers: Any) -> Any:
        return chain(keras, *layers, kinds.Conv1D(2, 3), kinds.GlobalMaxPooling1D())

    inputs = keras.Input((LENGTH, 4))
    operation = keras.Model(inputs, kinds.Conv1D(2, 3)(inputs * 2.0))
    random = keras.Model(inputs, kinds.Conv1D(2, 3)(kinds.Dropout(0.5)(inputs, training=True)))
    recurrent = before(kinds.LSTM(3, return_sequences=True, name="x"))
    return {
        "strides": (chain(keras, kinds.Conv1D(2, 3, strides=2, name="x")), "'x'.*has strides"),
        "transposed": (chain(keras, kinds.Conv1DTranspose(2, 3, name="x")), "'x'.*Conv1DTranspose"),
        "recurrent": (recurrent, r"'x' \(LSTM\) mixes positions"),
        "axis": (before(kinds.BatchNormalization(axis=1, name="x")), r"'x'.*has axis \[1\]"),
        "group": (before(kinds.GroupNormalization(2, name="x")), "'x'.*mixes positions"),
        "slopes": (before(kinds.PReLU(name="x")), "'x'.*has a slope for each position"),
        "image": (
            chain(keras, kinds.Reshape((LENGTH, 4, 1), name="x"), kinds.Conv2D(2, (3, 4))),
            r"'x' \(Reshape\) changes the number of axes",
        ),
        "turned": (before(kinds.Permute((2, 1), name="x")), "'x'.*mixes positions"),
        "operation": (operation, "Multiply"),
        "random": (random, "is called with training=True"),
        "pooled": (before(kinds.AveragePooling1D(2, name="x")), "'x'.*pools positions"),
    }


def test_what_is_not_read_is_named_with_the_reason(keras: ModuleType) -> None:
    for title, (model, words) in refused(keras).items():
        with pytest.raises(InputError, match=words) as raised:
            readable_layers(model)
        assert "\n" not in str(raised.value), title


def test_the_layer_after_the_last_that_is_read_is_named(keras: ModuleType) -> None:
    kinds = keras.layers
    ends = {
        "^$": kinds.MaxPooling1D(2),
        r"'x' \(GroupNormalization\) mixes positions": kinds.GroupNormalization(2, name="x"),
        r"'x' \(Activation\) halves the number of filters": kinds.Activation("glu", name="x"),
        r"'x' \(Conv1D\) has strides": kinds.Conv1D(2, 3, strides=2, name="x"),
    }
    for words, layer in ends.items():
        found = find_layers(chain(keras, kinds.Conv1D(4, 3, name="c"), layer, kinds.Flatten()))
        assert list(found.layers) == ["c"]
        assert re.search(words, found.end), found.end
    assert "there is a branch at layer" in find_layers(two_outputs(keras)).end


def test_names_of_layers_become_names_of_files() -> None:
    same = ["conv1", "conv 1", "ü", "conv<1>", "a.b", "=x"]
    assert [file_name(name) for name in same] == same
    odd = [".", "..", "a/b", "a\\b", "a%2Fb", "a\x1bb", "a\ud800b", "x" * 151, "y" * 151, "日" * 99]
    names = [file_name(name) for name in odd]
    assert names[:7] == ["%2E", "%2E%2E", "a%2Fb", "a%5Cb", "a%252Fb", "a%1Bb", "a%ED%A0%80b"]
    assert len(set(names)) == len(odd)
    assert all(len(name.encode()) <= 200 and name.isprintable() for name in names)
