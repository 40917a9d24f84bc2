"""Models: the layers that a description gives, and their initial weights."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers import toy

from motifk8s.study.specs import Conv, Model, TrainingSettings
from motifk8s.study.study import load
from motifk8s.training import models

KOO = load("koo2019")
PLAIN = ["cnn-1", "cnn-2", "cnn-4", "cnn-10", "cnn-25", "cnn-50", "cnn-100"]


def parameters(model: Any) -> int:
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.parametrize("name", KOO.models)
def test_every_architecture_of_the_paper_has_its_parameters(keras: ModuleType, name: str) -> None:
    spec = KOO.models[name]
    model = models.build(spec, TrainingSettings(), 200, 12)
    assert parameters(model) == spec.n_parameters(200, 12)
    published = {"cnn9-4": 158_848, "cnn9-25": 158_848, "cnn3-2": 158_128, "cnn3-50": 158_128}
    if name in PLAIN or name in published:
        assert parameters(model) == published.get(name, 160_048)
    assert model.input_shape == (None, 200, 4)
    assert model.output_shape == (None, 12)


@pytest.mark.parametrize("name", ["cnn-1", "cnn-25", "cnn-100"])
def test_parameters_at_the_length_of_the_in_vivo_data(keras: ModuleType, name: str) -> None:
    model = models.build(KOO.models[name], TrainingSettings(), 1000, 12)
    assert parameters(model) == KOO.models[name].n_parameters(1000, 12) == 684_336


def test_cnn_50_2_has_as_many_parameters_as_cnn_2(keras: ModuleType) -> None:
    sizes = [
        parameters(models.build(KOO.models[name], TrainingSettings(), 200, 12))
        for name in ("cnn-50-s2", "cnn-2")
    ]
    assert sizes[0] == sizes[1]


def test_layers_are_named_and_in_the_order_of_the_paper(keras: ModuleType) -> None:
    spec = Model(conv=[Conv(filters=3, width=5), Conv(filters=2, width=3, pool=4)], dense=[7, 6])
    model = models.build(spec, TrainingSettings(), 21, 5)
    assert [layer.name for layer in model.layers] == [
        "sequence",
        *("conv1", "bn1", "act1", "dropout1"),
        *("conv2", "bn2", "act2", "pool2", "dropout2"),
        "flatten",
        *("dense1", "dense1_bn", "dense1_act", "dense1_dropout"),
        *("dense2", "dense2_bn", "dense2_act", "dense2_dropout"),
        "output",
    ]
    biased = [layer.name for layer in model.layers if getattr(layer, "use_bias", False)]
    assert biased == ["output"]


def test_any_number_of_layers_and_any_activation(keras: ModuleType) -> None:
    conv = [
        Conv(filters=3, width=4, pool=2, activation="exponential"),
        Conv(filters=2, width=3, activation="softplus"),
        Conv(filters=4, width=2, pool=3, stride=1),
    ]
    for dense in ([], [5], [5, 4, 3]):
        spec = Model(conv=conv, dense=dense)
        model = models.build(spec, TrainingSettings(), 33, 2)
        assert parameters(model) == spec.n_parameters(33, 2)
    assert model.get_layer("act1").activation is keras.activations.exponential
    assert model.get_layer("act2").activation is keras.activations.softplus
    assert model.get_layer("dense3_act").activation is keras.activations.relu
    x = np.eye(4, dtype="float32")[np.random.default_rng(0).integers(0, 4, (6, 33))]
    p = np.asarray(model(x))
    assert p.shape == (6, 2)
    assert ((p > 0) & (p < 1)).all()


def test_a_saved_model_predicts_the_same(keras: ModuleType, tmp_path: Path) -> None:
    device = toy.device()
    codes, labels = toy.data(40)
    device.train(device.put(codes, labels), np.arange(40, dtype=np.int32), 8)
    device.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    x = np.eye(5, 4, dtype="float32")[codes]
    np.testing.assert_array_equal(np.asarray(loaded(x)), np.asarray(device.model(x)))
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in device.model.layers]


def test_the_seed_decides_all_initial_weights_and_dropout_masks(keras: ModuleType) -> None:
    one, two, other = (toy.model(seed=seed) for seed in (5, 5, 6))
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("conv1", "conv2", "dense1", "output"):
        kernel = one.get_layer(name).get_weights()[0]
        assert not np.isclose(kernel, other.get_layer(name).get_weights()[0]).any()
    x = np.eye(5, 4, dtype="float32")[toy.codes(8)]
    first = np.asarray(one(x, training=True))
    np.testing.assert_array_equal(first, np.asarray(two(x, training=True)))
    assert not np.array_equal(first, np.asarray(one(x, training=True)))


def test_no_layers_weights_depend_on_the_size_of_another(keras: ModuleType) -> None:
    narrow = Model(conv=[Conv(filters=3, width=5), Conv(filters=4, width=3)], dense=[6, 5])
    wide = Model(conv=[Conv(filters=3, width=7), Conv(filters=8, width=3)], dense=[6, 5])
    one, two = (models.build(spec, TrainingSettings(), 20, 2, 3) for spec in (narrow, wide))
    for name in ("dense2", "output"):
        np.testing.assert_array_equal(
            one.get_layer(name).get_weights()[0], two.get_layer(name).get_weights()[0]
        )


@pytest.mark.parametrize("name", ["conv1", "conv2", "dense1", "output"])
def test_initial_weights_are_those_of_glorot_and_he(keras: ModuleType, name: str) -> None:
    spec = KOO.models["cnn-2"]
    as_run = models.build(spec, TrainingSettings.model_validate("as-run"), 200, 12, 1)
    kernel = as_run.get_layer(name).get_weights()[0]
    fan_in, fan_out = np.prod(kernel.shape[:-1]), np.prod(kernel.shape) / kernel.shape[-2]
    limit = np.sqrt(6 / (fan_in + fan_out))
    assert 0.97 * limit < np.abs(kernel).max() <= limit * (1 + 1e-6)
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)  # of a uniform one

    as_written = models.build(spec, TrainingSettings.model_validate("as-written"), 200, 12, 1)
    kernel = as_written.get_layer(name).get_weights()[0]
    # A normal cut at two standard deviations, scaled so that the result has sqrt(2/n).
    assert np.abs(kernel).max() <= 2 * np.sqrt(2 / fan_in) / 0.8796 * (1 + 1e-6)
    assert kernel.std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.05)
    assert abs(kernel.mean()) < 0.1 * kernel.std()


def test_output_bias_of_the_reference_code_is_random_and_part_of_the_penalty() -> None:
    as_run = TrainingSettings.model_validate("as-run")
    models = [toy.model(settings=as_run, seed=seed) for seed in range(20)]
    biases = np.array([m.get_layer("output").get_weights()[1] for m in models])
    assert np.abs(biases).max() <= 0.9306
    assert np.abs(biases).max() > 0.85
    assert len(np.unique(biases)) == biases.size
    weights = [w for layer in models[0].layers for w in layer.get_weights()]
    penalized = [w for w in weights if w.ndim > 1] + [biases[0]]
    term = as_run.l2 * sum((w.astype("float64") ** 2).sum() for w in penalized)
    assert sum(map(float, models[0].losses)) == pytest.approx(term, rel=1e-5)


def test_settings_are_built_in(keras: ModuleType) -> None:
    for settings in (
        TrainingSettings.model_validate("as-written"),
        TrainingSettings(
            output_bias=-1.5, batch_norm_momentum=0.5, batch_norm_epsilon=0.25, l2=0.125
        ),
    ):
        model = toy.model(settings=settings)
        np.testing.assert_array_equal(
            model.get_layer("output").get_weights()[1], np.full(3, settings.output_bias, "float32")
        )
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                assert layer.momentum == settings.batch_norm_momentum
                assert layer.epsilon == settings.batch_norm_epsilon
        kernels = [
            layer.get_weights()[0]
            for layer in model.layers
            if isinstance(layer, keras.layers.Conv1D | keras.layers.Dense)
        ]
        assert len(kernels) == 4
        term = settings.l2 * sum((kernel.astype("float64") ** 2).sum() for kernel in kernels)
        assert sum(float(loss) for loss in model.losses) == pytest.approx(term)
    assert toy.model(settings=TrainingSettings(l2=0)).losses == []


@pytest.mark.parametrize(
    ("length", "pool", "stride"), [(23, 4, None), (7, 3, 2), (25, 25, None), (9, 4, 1), (11, 5, 3)]
)
def test_pooling_pads_like_same(
    keras: ModuleType, length: int, pool: int, stride: int | None
) -> None:
    spec = Model(
        conv=[Conv(filters=2, width=3, pool=pool, stride=stride, activation="tanh")], dense=[]
    )
    model = models.build(spec, TrainingSettings(), length, 1)
    x = np.random.default_rng(0).normal(size=(3, length, 4)).astype("float32")
    inner = keras.Model(
        model.inputs[0], [model.get_layer("act1").output, model.get_layer("pool1").output]
    )
    activations, pooled = (np.asarray(v) for v in inner(x))
    assert pooled.shape[1] == spec.lengths(length)[0]
    step = stride or pool
    padding = max((pooled.shape[1] - 1) * step + pool - length, 0) // 2
    for i in range(pooled.shape[1]):
        start = i * step - padding
        # Padding never wins, not even over activations that are all negative.
        window = activations[:, max(start, 0) : start + pool]
        np.testing.assert_array_equal(pooled[:, i], window.max(axis=1))
