"""Extraction of motifs, compared with a plain loop over sequences, filters and positions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers import toy
from hypothesis import given
from hypothesis import strategies as st

from motifk8s.errors import InputError
from motifk8s.filters import extract
from motifk8s.filters.extract import (
    Field,
    Filters,
    Layer,
    achievable_maximum,
    extract_activations,
    extract_at,
    extract_layer,
    field_of,
    readable_layers,
)
from motifk8s.study.specs import Conv, Model, MotifSettings, TrainingSettings
from motifk8s.training import devices, models

LENGTH = 30
THREE = Model(
    conv=[
        Conv(filters=4, width=5),
        Conv(filters=3, width=3),
        Conv(filters=3, width=3, pool=10),
        Conv(filters=2, width=3),
    ],
    dense=[],
)


def one_hot(codes: np.ndarray) -> np.ndarray:
    return np.eye(5, 4, dtype="float32")[codes]


def activations(keras: ModuleType, model: Any, name: str, codes: np.ndarray) -> np.ndarray:
    inner = keras.Model(model.inputs[0], model.get_layer(name).output)
    return np.asarray(inner(one_hot(codes)))


@pytest.fixture(scope="module")
def shaken(keras: ModuleType) -> tuple[Any, np.ndarray]:
    """A model with three layers before its pooling, and sequences with N and many ties."""
    model = models.build(THREE, TrainingSettings(), LENGTH, 2, 4)
    toy.shake_norms(model, 3)
    codes = toy.codes(17, 5, LENGTH)
    codes[3], codes[4] = 1, np.tile([0, 2, 3], 10)
    return model, codes


@pytest.fixture
def eagerly(keras: ModuleType) -> Iterator[None]:
    """Run without compilation; there would be hundreds of them."""
    if keras.config.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def aligned(
    y: np.ndarray, codes: np.ndarray, maximum: np.ndarray, rule: MotifSettings, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute PPMs and numbers of windows as the paper and the reference code define them."""
    n_filters = y.shape[2]
    counts = np.zeros((n_filters, width, 4))
    windows = np.zeros(n_filters, int)
    for f, s in product(range(n_filters), range(len(codes))):
        track = y[s, :, f]
        places = [int(np.argmax(track))] if rule.windows == "best" else range(len(track))
        for i in places:
            if maximum[f] <= 0 or not track[i] > np.float32(rule.threshold) * maximum[f]:
                continue
            start = i - (width - 1) // 2
            cut_off = start < 0 or start + width > len(codes[s])
            if rule.ends == "drop" and cut_off:
                continue
            windows[f] += 1
            for w in range(width):
                at = start + w
                if 0 <= at < len(codes[s]) and codes[s, at] < 4:
                    counts[f, w, codes[s, at]] += track[i] if rule.weighted else 1
    ppm = np.full(counts.shape, 0.25)
    for f, w in product(range(n_filters), range(width)):
        if counts[f, w].sum() > 0:
            ppm[f, w] = counts[f, w] / counts[f, w].sum()
    return ppm, windows


def check(
    model: Any, layer: Layer, y: np.ndarray, codes: np.ndarray, rule: MotifSettings, width: int
) -> Filters:
    maximum = achievable_maximum(layer) if rule.maximum == "achievable" else None
    kind = "observed" if maximum is None else "achievable"
    if maximum is None:
        maximum = y.max(axis=(0, 1))
    ppm, windows = aligned(y, codes, maximum, rule, width)
    found = extract_layer(layer, codes, rule)
    assert found.ppm.dtype == np.float32
    assert found.maximum_kind == kind
    np.testing.assert_allclose(found.maximum, maximum, rtol=1e-5)
    np.testing.assert_array_equal(found.windows, windows)
    np.testing.assert_array_equal(found.dead, windows == 0)
    np.testing.assert_allclose(found.ppm, ppm, atol=1e-5)
    assert found.dead[0]  # its batch norm is always below 0
    assert found.maximum[0] == 0
    assert (found.ppm[found.dead] == 0.25).all()
    np.testing.assert_allclose(found.ppm.sum(axis=2), 1, rtol=1e-5)
    if kind == "observed":  # the same from activations, with NumPy
        field = Field(layer.receptive_field, layer.offset)
        same = extract_activations(y, codes, rule, field)
        np.testing.assert_array_equal(same.windows, windows)
        np.testing.assert_allclose(same.ppm, ppm, atol=1e-5)
    return found


@pytest.mark.parametrize(
    ("name", "maximum", "field"),
    [
        ("conv1", "achievable", 5),
        ("conv1", "observed", 5),
        ("conv2", "observed", 7),
        ("conv3", "achievable", 9),  # a deeper layer has only an observed maximum
    ],
)
def test_every_rule_is_what_a_plain_loop_gives(
    keras: ModuleType,
    shaken: tuple[Any, np.ndarray],
    eagerly: None,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    maximum: str,
    field: int,
) -> None:
    monkeypatch.setattr(extract, "BASES_PER_BATCH", 12 * LENGTH + 7)  # batches of 12 and 5
    model, codes = shaken
    layer = readable_layers(model)[name]
    y = activations(keras, model, name.replace("conv", "act"), codes)
    seen = 0
    for windows, weighted, ends, window, threshold in product(
        ("best", "all"),
        (False, True),
        ("drop", "pad"),
        (None, 5, 19),
        (0.3, 0.0)[: 1 + layer.first],
    ):
        rule = MotifSettings.model_validate(
            {
                "windows": windows,
                "weighted": weighted,
                "ends": ends,
                "window": window,
                "threshold": threshold,
                "maximum": maximum,
            }
        )
        found = check(model, layer, y, codes, rule, window or field)
        assert found.ppm.shape == (3 + (name == "conv1"), window or field, 4)
        seen += int(found.windows.sum())
    assert seen > 300


@pytest.mark.parametrize("preset", ["as-run", "as-written"])
@pytest.mark.parametrize(("name", "field"), [("conv1", 5), ("conv3", 9)])
def test_the_presets_when_compiled(
    keras: ModuleType, shaken: tuple[Any, np.ndarray], preset: str, name: str, field: int
) -> None:
    model, codes = shaken
    rule = MotifSettings.model_validate(preset)
    y = activations(keras, model, name.replace("conv", "act"), codes)
    check(model, readable_layers(model)[name], y, codes, rule, rule.window or field)


@pytest.mark.parametrize("preset", ["as-run", "as-written"])
@pytest.mark.parametrize("name", ["conv1", "conv3"])
def test_several_thresholds_at_once_give_what_each_gives_alone(
    keras: ModuleType,
    shaken: tuple[Any, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
    name: str,
) -> None:
    monkeypatch.setattr(extract, "BASES_PER_BATCH", 12 * LENGTH + 7)  # batches of 12 and 5
    model, codes = shaken
    layer, rule = readable_layers(model)[name], MotifSettings.model_validate(preset)
    shares = [0.0, 0.3, 0.5, 0.7, 0.9]
    alone = [
        extract_layer(layer, codes, rule.model_copy(update={"threshold": share}))
        for share in shares
    ]
    for known in (None, alone[2]):
        together = extract_at(layer, codes, rule, shares, known)
        for one, other in zip(alone, together, strict=True):
            for field in Filters._fields:
                np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    if preset == "as-run":  # every position counts, so a higher threshold has fewer windows
        assert len({found.windows.sum() for found in alone}) > 2


def test_activations_are_those_of_the_definition(
    keras: ModuleType, shaken: tuple[Any, np.ndarray]
) -> None:
    model, codes = shaken
    kernel = model.get_layer("conv1").get_weights()[0].astype(float)
    gamma, beta, mean, variance = (w.astype(float) for w in model.get_layer("bn1").get_weights())
    x = np.pad(one_hot(codes), ((0, 0), (2, 2), (0, 0)))
    sums = sum(x[:, w : w + LENGTH] @ kernel[w] for w in range(5))
    expected = np.maximum(gamma * (sums - mean) / np.sqrt(variance + 1e-8) + beta, 0)
    np.testing.assert_allclose(
        activations(keras, model, "act1", codes), expected, rtol=1e-4, atol=1e-5
    )


def hand_made(keras: ModuleType, kernel: np.ndarray, length: int, **conv: Any) -> Any:
    """Make a model with one convolution of a given kernel (W, 4, F), ReLU and pooling."""
    kinds = keras.layers
    model = keras.Sequential(
        [
            keras.Input((length, 4)),
            kinds.Conv1D(
                kernel.shape[2], len(kernel), use_bias=False, padding="same", name="conv", **conv
            ),
            kinds.ReLU(),
            kinds.MaxPooling1D(4, padding="same"),
            kinds.Flatten(),
            kinds.Dense(1, activation="sigmoid"),
        ]
    )
    model.get_layer("conv").set_weights([kernel.astype("float32")])
    return model


def test_of_equal_activations_the_first_is_best(keras: ModuleType) -> None:
    kernel = np.zeros((3, 4, 1))
    kernel[1, 2] = 1  # any G
    model = hand_made(keras, kernel, 9)
    codes = np.zeros((1, 9), np.uint8)
    codes[0, [2, 5]], codes[0, [1, 4]] = 2, [1, 3]  # A C G A T G A A A: CGA before TGA
    rule = MotifSettings.model_validate("as-written")
    found = extract_layer(readable_layers(model)["conv"], codes, rule)
    np.testing.assert_array_equal(found.ppm[0], np.eye(4)[[1, 2, 0]])
    every = extract_layer(
        readable_layers(model)["conv"], codes, rule.model_copy(update={"windows": "all"})
    )
    np.testing.assert_array_equal(every.ppm[0, 0], [0, 0.5, 0, 0.5])
    np.testing.assert_array_equal(every.windows, [2])


def test_a_filter_that_is_a_motif_recovers_it(keras: ModuleType) -> None:
    rng = np.random.default_rng(0)
    # Half A, half T in the third column; nine in ten in the fourth.
    ppm = np.full((8, 4), 0.001)
    ppm[np.arange(8), [2, 0, 0, 1, 3, 1, 2, 3]] = 1
    ppm[2], ppm[3] = [0.499, 0.001, 0.001, 0.499], [0.05, 0.9, 0.025, 0.025]
    ppm /= ppm.sum(axis=1, keepdims=True)
    codes = rng.integers(0, 4, (600, 50)).astype(np.uint8)
    planted = np.stack([rng.choice(4, 600, p=column) for column in ppm], axis=1)
    for sequence, motif, start in zip(codes, planted, rng.integers(1, 41, 600), strict=True):
        sequence[start : start + 8] = motif
    model = hand_made(keras, np.log2(ppm / 0.25)[:, :, None], 50)
    for preset, threshold in (("as-written", 0.7), ("as-run", 0.5)):
        rule = MotifSettings.model_validate(
            {"preset": preset, "threshold": threshold, "window": None}
        )
        found = extract_layer(readable_layers(model)["conv"], codes, rule)
        np.testing.assert_allclose(found.ppm[0], ppm, atol=0.06)
    padded = extract_layer(
        readable_layers(model)["conv"], codes, MotifSettings.model_validate("as-run")
    )
    # The 8 columns are in the middle of 19: columns 6 to 13, with background on either side.
    np.testing.assert_allclose(padded.ppm[0, 6:14], ppm, atol=0.06)
    np.testing.assert_allclose(padded.ppm[0, [0, 1, 17, 18]], 0.25, atol=0.08)


def test_windows_of_nothing_but_n_say_nothing(keras: ModuleType) -> None:
    model = hand_made(keras, np.full((3, 4, 2), -1.0), 9, activation="exponential")
    codes = np.full((2, 9), 4, np.uint8)
    codes[1, 4] = 2
    rule = MotifSettings.model_validate("as-run")
    found = extract_layer(readable_layers(model)["conv"], codes, rule)
    assert (found.windows > 9).all()
    assert not found.dead.any()
    informative = (found.ppm != 0.25).any(axis=2)
    np.testing.assert_array_equal(found.ppm[informative], np.eye(4)[[2] * informative.sum()])
    assert informative.any()
    assert not informative.all()


# --- the highest activation that any sequence gives


@pytest.mark.parametrize("width", [3, 4])
@pytest.mark.parametrize("foreign", [False, True])
def test_the_achievable_maximum_is_that_of_the_best_of_all_sequences(
    keras: ModuleType, width: int, foreign: bool
) -> None:
    rng = np.random.default_rng(width)
    if foreign:
        kinds = keras.layers
        conv = kinds.Conv1D(
            6, width, padding="same", activation="tanh", bias_initializer="ones", name="conv1"
        )
        model = keras.Sequential(
            [
                keras.Input((12, 4)),
                conv,
                kinds.BatchNormalization(),
                kinds.Activation("softplus", name="act1"),
            ]
        )
    else:
        spec = Model(conv=[Conv(filters=6, width=width, pool=2)], dense=[])
        model = models.build(spec, TrainingSettings(), 12, 1)
    toy.shake_norms(model, 7)
    words = np.array(list(product(range(4), repeat=width)), np.uint8)
    codes = rng.integers(0, 4, (len(words), 12)).astype(np.uint8)
    codes[:, 4 : 4 + width] = words
    layer = readable_layers(model)["conv1"]
    y = activations(keras, model, "act1", codes)
    best = y[:, 4 + (width - 1) // 2].max(axis=0)
    maximum = achievable_maximum(layer)
    assert maximum is not None
    np.testing.assert_allclose(maximum, best, rtol=1e-5, atol=1e-6)
    gamma = next(v for v in model.trainable_variables if v.name == "gamma")
    assert (np.asarray(gamma)[1:] < 0).any()
    assert (np.asarray(gamma)[1:] > 0).any()
    assert (best[1:] > 0).all()


def test_deeper_layers_have_no_achievable_maximum(shaken: tuple[Any, np.ndarray]) -> None:
    layers = readable_layers(shaken[0])
    assert achievable_maximum(layers["conv1"]) is not None
    assert achievable_maximum(layers["conv2"]) is None
    assert achievable_maximum(layers["conv3"]) is None


# --- which bases an activation depends on


def chain(keras: ModuleType, padding: str, widths: tuple[int, ...], length: int | None) -> Any:
    """Make convolutions without pooling, with activations that are never 0."""
    kinds = keras.layers
    model = keras.Sequential([keras.Input((length, 4))])
    for i, width in enumerate(widths, start=1):
        model.add(kinds.Conv1D(3, width, padding=padding, name=f"conv{i}"))
        model.add(kinds.Activation("softplus", name=f"act{i}"))
    model.add(kinds.GlobalMaxPooling1D())
    return model


@pytest.mark.parametrize("padding", ["same", "valid", "causal"])
@pytest.mark.parametrize("widths", [(5, 3, 3), (4, 2, 6), (1, 4, 3)])
def test_an_activation_depends_on_its_receptive_field_alone(
    keras: ModuleType, padding: str, widths: tuple[int, ...]
) -> None:
    model = chain(keras, padding, widths, 30)
    codes = np.random.default_rng(2).integers(0, 4, (1, 30)).astype(np.uint8)
    changed = np.tile(codes, (31, 1))  # the last row stays unchanged
    changed[np.arange(30), np.arange(30)] = (codes[0] + 1) % 4
    layers = readable_layers(model)
    for i in (1, 2, 3):
        layer = layers[f"conv{i}"]
        assert layer.receptive_field == 1 + sum(w - 1 for w in widths[:i])
        assert layer.first == (i == 1)
        at = 14
        y = activations(keras, model, f"act{i}", changed)[:, at]
        moved = np.flatnonzero(np.abs(y[:-1] - y[-1]).max(axis=1) > 1e-7)
        start = at - layer.offset
        np.testing.assert_array_equal(moved, np.arange(start, start + layer.receptive_field))


@pytest.mark.parametrize("padding", ["same", "valid", "causal"])
@pytest.mark.parametrize("length", [30, None])
def test_a_window_is_centred_on_the_receptive_field(
    keras: ModuleType, eagerly: None, padding: str, length: int | None
) -> None:
    model = chain(keras, padding, (5, 3), length)
    word, start = np.array([0, 2, 1, 3, 3, 0, 2], np.uint8), 12
    kernel = np.full((5, 4, 3), -1.0)
    kernel[np.arange(5), word[1:6]] = 1
    model.get_layer("conv1").set_weights([kernel, np.zeros(3)])
    kernel = np.full((3, 3, 3), -1.0)
    kernel[1] = 5
    model.get_layer("conv2").set_weights([kernel, np.zeros(3)])
    layers = readable_layers(model)
    codes = np.full((2, 30), 1, np.uint8)
    codes[:, start : start + 7] = word
    for name, window in product(("conv1", "conv2"), (3, 5, 7, 11, 19)):
        rule = MotifSettings.model_validate({"preset": "as-written", "window": window})
        rule = rule.model_copy(update={"maximum": "observed"})
        found = extract_layer(layers[name], codes, rule)
        first = start + 3 - (window - 1) // 2
        np.testing.assert_array_equal(found.windows, 2)
        np.testing.assert_array_equal(
            found.ppm[0], np.eye(4)[codes[0, first : first + window]], err_msg=f"{name} {window}"
        )


def test_deeper_windows_of_even_widths_show_the_bases_they_depend_on(keras: ModuleType) -> None:
    model = chain(keras, "same", (4, 4), 20)
    layer = readable_layers(model)["conv2"]
    codes = np.random.default_rng(5).integers(0, 4, (1, 20)).astype(np.uint8)
    y = activations(keras, model, "act2", codes)[0, :, 0]
    at = int(np.argmax(y))
    found = extract_layer(layer, codes, MotifSettings.model_validate("as-written"))
    start = at - layer.offset
    assert (layer.receptive_field, layer.offset) == (7, 2)
    if 0 <= start <= 13:
        np.testing.assert_array_equal(found.ppm[0], np.eye(4)[codes[0, start : start + 7]])
    else:
        assert found.dead[0]


# --- which layers can be read


def test_layers_up_to_the_first_pooling_are_read(shaken: tuple[Any, np.ndarray]) -> None:
    layers = readable_layers(shaken[0])
    assert list(layers) == ["conv1", "conv2", "conv3"] == THREE.layers_before_pooling()
    assert [layer.receptive_field for layer in layers.values()] == [5, 7, 9]
    assert [[step.name for step in layer.tail] for layer in layers.values()] == [
        ["bn1", "act1"],
        ["bn2", "act2"],
        ["bn3", "act3"],
    ]


def test_models_built_by_others_are_read(keras: ModuleType) -> None:
    kinds = keras.layers
    inside = keras.Sequential(
        [
            keras.Input((20, 4)),
            kinds.Dropout(0.1),
            kinds.Conv1D(3, 5, activation="relu", name="a"),  # no batch norm, padding "valid"
            kinds.SpatialDropout1D(0.2),
            kinds.Conv1D(2, 3, name="b"),
            kinds.LeakyReLU(),
            kinds.GlobalAveragePooling1D(),
            kinds.Dense(1),
        ]
    )
    layers = readable_layers(inside)
    assert list(layers) == ["a", "b"]
    assert layers["a"].tail == ()
    assert [type(step).__name__ for step in layers["b"].tail] == ["LeakyReLU"]
    assert tuple(layers["b"].output.shape) == (None, 14, 2)
    codes = toy.codes(12, 1, 20)
    for preset, layer in product(("as-run", "as-written"), layers.values()):
        found = extract_layer(layer, codes, MotifSettings.model_validate(preset))
        np.testing.assert_allclose(found.ppm.sum(axis=2), 1, rtol=1e-5)
        assert found.windows.sum() > 0

    strided = keras.Sequential(
        [keras.Input((20, 4)), kinds.Conv1D(3, 5, name="a"), kinds.Conv1D(3, 5, strides=2)]
    )
    assert list(readable_layers(strided)) == ["a"]


def branching(keras: ModuleType, where: str) -> Any:
    kinds = keras.layers
    x = inputs = keras.Input((20, 4))
    if where == "input":
        branches = [kinds.Conv1D(2, width, padding="same")(x) for width in (3, 5)]
        x = kinds.ReLU()(kinds.Concatenate()(branches))
    elif where == "residual":
        x = kinds.Conv1D(4, 3, padding="same")(x)
        x = kinds.Conv1D(4, 3, padding="same")(kinds.Add()([x, inputs]))
    else:  # after the first pooling
        x = kinds.MaxPooling1D(2)(kinds.ReLU(name="act")(kinds.Conv1D(4, 3, name="conv")(x)))
        branches = [kinds.Conv1D(2, width, padding="same")(x) for width in (3, 5)]
        x = kinds.Concatenate()(branches)
    return keras.Model(inputs, kinds.GlobalMaxPooling1D()(x))


def test_branches_before_the_pooling_are_refused(keras: ModuleType) -> None:
    inputs = branching(keras, "input")
    with pytest.raises(InputError, match=f"{inputs.layers[2].name}.*before the first pooling"):
        readable_layers(inputs)
    assert len(readable_layers(branching(keras, "residual"))) == 1
    layers = readable_layers(branching(keras, "after"))
    assert list(layers) == ["conv"]
    assert [step.name for step in layers["conv"].tail] == ["act"]


def test_models_that_cannot_be_read_are_refused(keras: ModuleType) -> None:
    kinds = keras.layers
    image = keras.Sequential([keras.Input((20, 4, 1)), kinds.Conv2D(2, 3)])
    channels_first = keras.Sequential([keras.Input((4, 20)), kinds.Conv1D(2, 3)])
    two = [keras.Input((20, 4)), keras.Input((20, 4))]
    pair = keras.Model(two, kinds.Flatten()(kinds.Add()(two)))
    unbuilt = keras.Sequential([kinds.Conv1D(2, 3)])
    for model in (image, channels_first, pair, unbuilt):
        with pytest.raises(InputError, match=r"^model: .*one-hot .*shape.*A C G T$"):
            readable_layers(model)
    dense = keras.Sequential([keras.Input((20, 4)), kinds.Flatten(), kinds.Dense(3)])
    pooled = keras.Sequential([keras.Input((20, 4)), kinds.MaxPooling1D(2), kinds.Conv1D(2, 3)])
    for model in (dense, pooled):
        with pytest.raises(InputError, match="no convolution before the first pooling"):
            readable_layers(model)


# --- memory


def test_the_data_is_streamed_in_bounded_batches(
    keras: ModuleType, shaken: tuple[Any, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, codes = shaken
    monkeypatch.setattr(extract, "BASES_PER_BATCH", 10 * LENGTH)
    batches: list[int] = []
    shapes: list[Any] = []
    true_map = devices.Device.map

    def watched(self: Any, codes: np.ndarray, batch_size: int, **more: Any) -> Iterator[Any]:
        batches.append(batch_size)
        for result in true_map(self, codes, batch_size, **more):
            shapes.append(
                [part.shape for part in result] if isinstance(result, tuple) else result.shape
            )
            yield result

    monkeypatch.setattr(devices.Device, "map", watched)
    extract_layer(readable_layers(model)["conv1"], codes, MotifSettings.model_validate("as-run"))
    assert batches == [10, 10]  # once for the maximum, once for the alignment
    assert shapes == [(4,)] * 2 + [[(4,), (4, 19 * 4)]] * 2

    long = MotifSettings.model_validate("as-run")
    monkeypatch.setattr(extract, "BASES_PER_BATCH", LENGTH - 1)
    extract_layer(readable_layers(model)["conv1"], codes[:2], long)
    assert batches[2:] == [1, 1]  # at least one sequence
    monkeypatch.undo()
    assert extract.BASES_PER_BATCH * 4 * 19 * 4 < 50e6  # bytes of the windows of one batch


@given(st.integers(1, 60), st.data())
def test_the_field_of_activations_follows_from_their_shape(width: int, data: st.DataObject) -> None:
    length = data.draw(st.integers(width, 200))
    left = data.draw(st.integers(0, width - 1))
    right = left + data.draw(st.integers(0, 1 if left < width - 1 else 0))  # as frameworks pad
    positions = length + left + right - width + 1
    codes = np.zeros((2, length), np.uint8)
    assert field_of((2, positions, 3), codes, width) == Field(width, left)
    assert field_of((2, positions, 3), codes, width, left + right) == Field(width, left + right)
    if left == right == 0 and length / 2 < positions < length:
        assert field_of((2, positions, 3), codes) == Field(width, 0)
    for odd in (left + right + 1, -1):
        with pytest.raises(InputError, match="the padding"):
            field_of((2, positions, 3), codes, width, odd)
    pooled = positions // 2
    if width < length / 2 and pooled < length - width + 1:
        with pytest.raises(InputError, match="positions"):
            field_of((2, pooled, 3), codes, width)
