"""The device computes the same as stock Keras, with TensorFlow and with JAX."""

from __future__ import annotations

import gc
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers import toy

from motifk8s import signals
from motifk8s.errors import Problem
from motifk8s.study.specs import Conv, Model, TrainingSettings
from motifk8s.training import devices, fused


def printed(code: str, env: dict[str, str]) -> str:
    """What a new process prints; it must end with exit code 0."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def one_hot(codes: np.ndarray) -> np.ndarray:
    return np.eye(5, 4, dtype="float32")[codes]


@pytest.fixture(scope="module")
def shared(keras: ModuleType) -> tuple[devices.Device, list[np.ndarray]]:
    """A device, compiled once, and its initial state."""
    device = toy.device()
    return device, device.state()


@pytest.fixture
def device(shared: tuple[devices.Device, list[np.ndarray]]) -> devices.Device:
    """A device in its initial state."""
    device, initial = shared
    device.restore(initial)
    return device


def test_one_hot(keras: ModuleType) -> None:
    codes = np.array([[0, 1, 2], [3, 4, 0]], np.uint8)
    x = np.asarray(devices.one_hot(codes))
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[0], np.eye(4)[:3])
    np.testing.assert_array_equal(x[1], [[0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]])


def test_cross_entropy_is_that_of_keras(keras: ModuleType) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (50, 7)).astype(np.int8)
    p = rng.uniform(0, 1, (50, 7)).astype("float32")
    p[0], p[1] = 0, 1  # clipped, not infinite
    ours = float(devices.cross_entropy(keras.ops.array(labels), p))
    assert ours == pytest.approx(float(keras.losses.BinaryCrossentropy()(labels, p)), rel=1e-6)
    assert np.isfinite(ours)


def test_unknown_labels_do_not_count(keras: ModuleType) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(-1, 2, (50, 7)).astype(np.int8)
    p = rng.uniform(0.01, 0.99, (50, 7)).astype("float32")
    known = labels >= 0
    expected = -np.log(np.where(labels == 1, p, 1 - p))[known].mean()
    ours = float(devices.cross_entropy(keras.ops.array(labels), p))
    assert ours == pytest.approx(expected, rel=1e-5)
    elsewhere = np.where(known, p, rng.uniform(0, 1, p.shape)).astype("float32")
    assert float(devices.cross_entropy(keras.ops.array(labels), elsewhere)) == ours
    nothing = keras.ops.array(np.full_like(labels, -1))
    assert float(devices.cross_entropy(nothing, p)) == 0


def test_unknown_labels_train_nothing(keras: ModuleType) -> None:
    device = toy.device(settings=toy.SETTINGS.model_copy(update={"l2": 0.0}))
    codes, labels = toy.data(24)
    labels[:, 1] = -1
    before = device.model.get_layer("output").get_weights()
    device.train(device.put(codes, labels), np.arange(24, dtype=np.int32), 8)
    after = device.model.get_layer("output").get_weights()
    for a, b in zip(before, after, strict=True):
        changed = (a != b).reshape(-1, 3).any(axis=0)
        np.testing.assert_array_equal(changed, [True, False, True])


# Padded pools, scales of both signs, with and without a monotone activation.
POOLED = Model(
    conv=[
        Conv(filters=3, width=5, pool=4),
        Conv(filters=4, width=3, activation="exponential"),
        Conv(filters=4, width=3, pool=2, activation="gelu"),
        Conv(filters=4, width=3, pool=2, activation="exponential"),
    ],
    dense=[6],
)


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize(
    ("spec", "compiled"), [(toy.SPEC, False), (toy.SPEC, True), (POOLED, True)]
)
def test_an_epoch_is_one_of_keras_fit(
    keras: ModuleType, spec: Model, dropout: bool, compiled: bool
) -> None:
    settings = TrainingSettings(batch_size=8, l2=1e-3)  # as run, with a larger L2
    spec = spec if dropout else toy.without_dropout(spec)
    codes, labels = toy.data(60)  # seven batches of 8 and one of 4
    steps = devices.COMPILED_FROM if compiled else 0
    device = devices.open_device(toy.model(spec, settings), toy.optimizer(settings), steps)
    assert device.compiled == compiled
    toy.shake_norms(device.model)
    for layer in device.model.layers:  # with a scale of 0, all values of a window are equal
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(np.where(np.asarray(layer.gamma) == 0, -0.5, layer.gamma))
    initial = device.model.get_weights()
    loss = device.train(device.put(codes, labels), np.arange(60, dtype=np.int32), 8) / 60

    stock = toy.model(spec, settings)
    stock.set_weights(initial)
    stock.compile(
        optimizer=keras.optimizers.Adam(1e-3, beta_1=0.95, beta_2=0.999, epsilon=1e-8),
        loss=keras.losses.BinaryCrossentropy(),
        run_eagerly=True,  # faster than compiling
    )
    history = stock.fit(
        one_hot(codes), labels.astype("float32"), batch_size=8, shuffle=False, verbose=0
    )
    assert loss == pytest.approx(history.history["loss"][0], rel=1e-5)
    for start, ours, theirs in zip(
        initial, device.model.get_weights(), stock.get_weights(), strict=True
    ):
        # The tolerance is a thousandth of the change in the epoch.
        moved = np.abs(theirs - start).max()
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=0.001 * moved)
    np.testing.assert_allclose(
        device.predict(codes), stock.predict(one_hot(codes), verbose=0), rtol=1e-3, atol=1e-4
    )


def test_what_is_compiled_resumes_as_if_undisturbed(keras: ModuleType) -> None:
    device = devices.open_device(toy.model(POOLED), toy.optimizer(), devices.COMPILED_FROM)
    data, order = device.put(*toy.data(56)), np.arange(56, dtype=np.int32)
    device.train(data, order, 8)
    middle = device.state()
    device.train(data, order, 8)
    end = device.state()
    device.restore([np.zeros_like(a) for a in middle])
    device.restore(middle)
    device.train(data, order, 8)
    assert toy.same(device.state(), end)


@pytest.mark.parametrize(("pool", "stride", "length"), [(5, 3, 25), (50, 2, 200), (8, 6, 23)])
def test_overlapping_pools_and_their_gradient(
    keras: ModuleType, pool: int, stride: int, length: int
) -> None:
    import tensorflow as tf

    layer = keras.layers.MaxPooling1D(pool, stride, padding="same")
    rng = np.random.default_rng(0)
    x = tf.constant(rng.integers(0, 4, (2, length, 3)).astype("float32"))  # many ties
    results = []
    for f in (layer, lambda x: fused._maxima(x, layer)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        factors = tf.constant(np.random.default_rng(1).normal(size=y.shape).astype("float32"))
        results.append((y, tape.gradient(y, x, factors)))
    for stock, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, stock, atol=1e-6)


@pytest.mark.parametrize("steps", [0, devices.COMPILED_FROM])
def test_the_learning_rate_changes_what_is_compiled(keras: ModuleType, steps: int) -> None:
    device = devices.open_device(toy.model(POOLED), toy.optimizer(), steps)
    data, order = device.put(*toy.data(16)), np.arange(16, dtype=np.int32)
    moved = []
    for rate in (1e-3, 0.0, 1e-3):
        device.set_learning_rate(rate)
        before = [np.array(v) for v in device.model.trainable_variables]
        device.train(data, order, 8)
        moved.append(not toy.same(before, [np.array(v) for v in device.model.trainable_variables]))
    assert moved == [True, False, True]


def test_only_long_training_is_compiled(keras: ModuleType) -> None:
    for steps in (devices.COMPILED_FROM - 1, devices.COMPILED_FROM):
        device = devices.open_device(toy.model(POOLED), toy.optimizer(), steps)
        assert device.compiled == (steps == devices.COMPILED_FROM)


def test_predict_is_that_of_the_model_with_any_batch_size(device: devices.Device) -> None:
    codes = toy.codes(25)
    expected = np.asarray(device.model(one_hot(codes), training=False))
    for batch_size in (1, 10, 25, 1000):
        p = device.predict(codes, batch_size)
        assert p.dtype == np.float32
        np.testing.assert_allclose(p, expected, rtol=1e-5)


def test_predict_sees_the_weights_of_the_moment(device: devices.Device) -> None:
    codes, labels = toy.data(16)
    before = device.predict(codes)
    device.train(device.put(codes, labels), np.arange(16, dtype=np.int32), 8)
    after = device.predict(codes)
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, np.asarray(device.model(one_hot(codes))), rtol=1e-5)


def test_map_reduces_on_the_device_batch_by_batch(
    keras: ModuleType, device: devices.Device
) -> None:
    codes = toy.codes(7)
    inner = keras.Model(device.model.inputs[0], device.model.get_layer("conv1").output)
    expected = np.asarray(inner(one_hot(codes)))
    pairs = list(
        devices.open_device(inner).map(
            codes, 3, lambda x, y: (keras.ops.sum(x), keras.ops.max(y, axis=(0, 1)))
        )
    )
    assert [float(bases) for bases, _ in pairs] == [
        float((codes[i : i + 3] < 4).sum()) for i in (0, 3, 6)
    ]
    np.testing.assert_allclose(
        np.max([top for _, top in pairs], axis=0), expected.max(axis=(0, 1)), rtol=1e-5
    )


def test_state_and_restore(device: devices.Device) -> None:
    data = device.put(*toy.data(40))
    order = np.arange(40, dtype=np.int32)
    device.train(data, order, 8)
    middle = device.state()
    copy = [a.copy() for a in middle]
    device.train(data, order, 8)
    end = device.state()
    assert toy.same(middle, copy)  # a copy, not a view
    assert not toy.same(middle, end)
    other = toy.device(seed=2)
    for again in (device, other):
        again.restore(middle)
        assert toy.same(again.state(), middle)
        again.train(data, order, 8)
        assert toy.same(again.state(), end)
    with pytest.raises(ValueError):
        device.restore(middle[:-1])


def test_dispatches_cut_at_batches_change_nothing(device: devices.Device) -> None:
    data = device.put(*toy.data(60))
    order = np.random.default_rng(3).permutation(60).astype(np.int32)
    initial = device.state()
    total = device.train(data, order, 8)
    end = device.state()
    device.restore(initial)
    parts = [device.train(data, order[i : i + 24], 8) for i in (0, 24, 48)]
    assert toy.same(device.state(), end)
    assert sum(parts) == pytest.approx(total, rel=1e-5)


def test_tensorflow_starts_in_silence() -> None:
    env = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    code = "from motifk8s.training import devices; devices.setup()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env | {"KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("given", "used"), [("", "False"), ("1", "True")])
def test_onednn_is_off_unless_you_turn_it_on(given: str, used: str) -> None:
    """With it, a resumed training has other last digits."""
    env = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    env |= {"KERAS_BACKEND": "tensorflow"} | ({"TF_ENABLE_ONEDNN_OPTS": given} if given else {})
    code = """
from motifk8s.training import devices
devices.setup()
from tensorflow.python.util import _pywrap_util_port
print(_pywrap_util_port.IsMklEnabled())
"""
    assert printed(code, env).strip() == used


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("", "--xla_gpu_deterministic_ops=true"),
        ("--xla_gpu_deterministic_ops=false", "--xla_gpu_deterministic_ops=false"),
        ("--xla_dump_to=x", "--xla_dump_to=x --xla_gpu_deterministic_ops=true"),
    ],
)
def test_jax_repeats_its_sums_unless_you_turn_it_off(given: str, used: str) -> None:
    pytest.importorskip("jax")
    code = """
import os
from motifk8s.training import devices
devices.setup()
import jax
print(os.environ["XLA_FLAGS"])
print(os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"])
print(jax.config.jax_default_matmul_precision)
"""
    names = ("XLA_FLAGS", "XLA_PYTHON_CLIENT_PREALLOCATE")
    env = {name: value for name, value in os.environ.items() if name not in names}
    env |= {"KERAS_BACKEND": "jax"} | ({"XLA_FLAGS": given} if given else {})
    assert printed(code, env).splitlines() == [used, "false", "float32"]


def test_tensorflow_multiplies_in_float32() -> None:
    code = """
from motifk8s.training import devices
devices.setup()
import tensorflow as tf
print(tf.config.experimental.tensor_float_32_execution_enabled())
"""
    env = os.environ | {"KERAS_BACKEND": "tensorflow"}
    assert printed(code, env) == "False\n"


def test_an_import_is_undisturbed_and_disturbs_nothing_else() -> None:
    assert gc.isenabled()
    before = {name: sys.modules.get(name) for name in ("jax", "sklearn", "matplotlib")}
    with devices._importing():
        assert not gc.isenabled()
    with pytest.raises(ImportError), signals.handled(), devices._importing():
        raise ImportError
    assert gc.isenabled()
    assert {name: sys.modules.get(name) for name in before} == before


@pytest.mark.parametrize("command", [True, False])
def test_a_command_imports_what_it_needs_and_a_notebook_all(command: bool) -> None:
    code = f"""
import contextlib, gc, sys
from motifk8s import signals
from motifk8s.training import devices
with signals.handled() if {command} else contextlib.nullcontext():
    devices.setup()
more = {{"sklearn", "scipy.stats", "matplotlib"}}
assert more & set(sys.modules) == (set() if {command} else more)
assert (gc.get_freeze_count() > 0) == {command}
from matplotlib import pyplot
from sklearn.metrics import roc_auc_score
"""
    env = os.environ | {"KERAS_BACKEND": "tensorflow"}
    printed(code, env)


def test_a_notebook_that_has_computed_keeps_its_settings() -> None:
    code = """
import tensorflow as tf
from motifk8s import signals
from motifk8s.training import devices
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.reduce_sum(tf.ones(3))
assert devices.setup(2) == "cpu"
assert tf.config.threading.get_intra_op_parallelism_threads() == 1
with signals.handled():
    try:
        devices.setup(2)
    except RuntimeError:
        print("a command sets its threads, or fails")
"""
    env = os.environ | {"KERAS_BACKEND": "tensorflow"}
    assert printed(code, env) == "a command sets its threads, or fails\n"


def test_setup_rejects_an_unknown_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(Problem, match="KERAS_BACKEND.*'tensorflow' or 'jax'.*'torch'"):
        devices.setup()


@pytest.fixture(scope="module")
def on_both(
    keras: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """`toy.results` in this process and with JAX, from the same initial weights."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    if keras.config.backend() == "jax":
        pytest.skip("these tests run on jax themselves")
    folder = tmp_path_factory.mktemp("jax")
    weights = toy.model().get_weights()
    np.savez(folder / "weights.npz", *weights)
    subprocess.run(
        [sys.executable, toy.__file__, folder / "weights.npz", folder / "results.npz"],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",  # half the time to compile
            "PYTHONPATH": str(Path(devices.__file__).parents[2]),
        },
        check=True,
    )
    with np.load(folder / "results.npz") as file:
        return toy.results(weights), dict(file)


def test_jax_trains_as_tensorflow_does(
    on_both: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
) -> None:
    ours, jax = on_both
    initial = toy.model().get_weights()
    assert jax["loss"] == pytest.approx(ours["loss"], rel=1e-5)
    assert jax["unmoved_at_rate_0"] and ours["unmoved_at_rate_0"]
    for i, start in enumerate(initial):
        a, b = ours[f"weight{i}"], jax[f"weight{i}"]
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=0.01 * np.abs(a - start).max())
    np.testing.assert_allclose(jax["probabilities"], ours["probabilities"], rtol=1e-3, atol=1e-4)


def test_jax_reads_filters_as_tensorflow_does(
    on_both: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
) -> None:
    ours, jax = on_both
    names = [name for name in ours if name.startswith("conv")]
    assert len(names) == 2 * 5
    for name in names:
        if name.endswith(("windows", "dead", "maximum_kind")):
            np.testing.assert_array_equal(jax[name], ours[name], err_msg=name)
        else:
            np.testing.assert_allclose(jax[name], ours[name], rtol=0.01, atol=1e-3, err_msg=name)


def test_jax_analyses_filters_as_tensorflow_does(
    on_both: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
) -> None:
    ours, jax = on_both
    for name in ("importance/conv1", "importance/conv2"):
        np.testing.assert_allclose(jax[name], ours[name], rtol=0.01, atol=1e-3, err_msg=name)
    assert not jax["importance/conv1"][0].any()  # a dead filter
    assert np.abs(ours["importance/conv1"]).max() > 0.01
    np.testing.assert_array_equal(jax["firing"], ours["firing"])
    assert ours["firing"][:, :3].any()


def test_jax_resumes_exactly(
    on_both: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
) -> None:
    _, jax = on_both
    assert jax["resume_is_exact"]
    np.testing.assert_array_equal(jax["resumed_at"], [2])
