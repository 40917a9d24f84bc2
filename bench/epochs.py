"""Run some epochs with stock Keras, PyTorch or motifk8s, for bench/training.py.

    python bench/epochs.py '{"framework": "keras", "data": "DATA.npz", ...}'

Each run is a new process, so its peak memory does not include that of others. The networks in stock
Keras and PyTorch use only layers of their framework, like code of a user, and do not depend on the
package. All three train on the same rows with the same batch size and settings, and compute the
cross-entropy of the validation part after each epoch.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np

from motifk8s.study.specs import Model, TrainingSettings

VALID_ROWS = 500  # in a batch of the validation part
Parts = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def read(path: str) -> Parts:
    """Read codes (N, L) and labels (N, C) of the training and the validation part."""
    with np.load(path) as file:
        train, valid = ((file[f"{p}_codes"], file[f"{p}_labels"]) for p in ("train", "valid"))
        return train, valid


def one_hot(codes: np.ndarray) -> np.ndarray:
    """Convert codes (N, L) to (N, L, 4) float32; an unknown base gives zeros."""
    return np.eye(5, 4, dtype=np.float32)[codes]


class Clock:
    """The measurements of a run.

    An epoch lasts from `begin`, or from the end of the previous epoch, to `end`.
    """

    def __init__(self) -> None:
        self.build = 0.0  # seconds before the first epoch
        self.seconds: list[float] = []  # of each epoch
        self.losses: list[float] = []  # validation loss of each epoch, in nats
        self.last = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last call, or since the clock was made."""
        before, self.last = self.last, time.perf_counter()
        return self.last - before

    def begin(self) -> None:
        """Begin an epoch; the time before the first epoch is `build`."""
        seconds = self.lap()
        if not self.seconds:
            self.build = seconds

    def end(self) -> None:
        """End an epoch."""
        self.seconds.append(self.lap())


# --- stock Keras


def keras_network(
    spec: Model, settings: TrainingSettings, length: int, classes: int, seed: int
) -> Any:
    """Build the network with layers of Keras, from (N, L, 4) to (N, C) probabilities."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    weights = {
        "kernel_initializer": settings.initializer,
        "kernel_regularizer": keras.regularizers.L2(settings.l2),
    }
    norm = {"momentum": settings.batch_norm_momentum, "epsilon": settings.batch_norm_epsilon}
    x = inputs = keras.Input((length, 4))
    for conv in spec.conv:
        x = layers.Conv1D(conv.filters, conv.width, padding="same", use_bias=False, **weights)(x)
        x = layers.BatchNormalization(**norm)(x)
        x = layers.Activation(conv.activation)(x)
        if conv.pool > 1:
            x = layers.MaxPooling1D(conv.pool, conv.step, padding="same")(x)
        x = layers.Dropout(conv.dropout)(x)
    x = layers.Flatten()(x)
    for units in spec.dense:
        x = layers.Dense(units, use_bias=False, **weights)(x)
        x = layers.BatchNormalization(**norm)(x)
        x = layers.Activation("relu")(x)
        x = layers.Dropout(spec.dense_dropout)(x)
    bias = keras.initializers.Constant(settings.output_bias)
    x = layers.Dense(classes, activation="sigmoid", bias_initializer=bias, **weights)(x)
    return keras.Model(inputs, x)


def keras_optimizer(settings: TrainingSettings) -> Any:
    """Make Adam with the settings of the study, as a cell does."""
    import keras

    return keras.optimizers.Adam(
        settings.learning_rate, settings.beta_1, settings.beta_2, settings.epsilon
    )


def start_keras(threads: int) -> str:
    """Import Keras and its backend, and run an operation; return the device's name."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    device = "cpu"
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        for gpu in tf.config.list_physical_devices("GPU"):
            device = str(tf.config.experimental.get_device_details(gpu).get("device_name", "gpu"))
    else:
        import jax

        device = str(jax.devices()[0].device_kind)
    _multiply()
    return device


def _multiply() -> None:
    from keras import ops

    ops.convert_to_numpy(ops.ones((2, 2)) @ ops.ones((2, 2)))


def train_keras(
    task: dict[str, Any], spec: Model, settings: TrainingSettings, clock: Clock
) -> None:
    """Train with ``model.fit``.

    The setting has ``jit_compile``, ``steps_per_execution``, and ``input``: "numpy" or "tf.data".
    """
    import keras

    setting = task["setting"]
    (codes, y), (valid_codes, valid_y) = read(task["data"])
    clock.lap()
    x, valid_x = one_hot(codes), one_hot(valid_codes)
    y, valid_y = y.astype(np.float32), valid_y.astype(np.float32)
    model = keras_network(spec, settings, codes.shape[1], y.shape[1], task["seed"])
    del codes, valid_codes
    model.compile(
        keras_optimizer(settings),
        "binary_crossentropy",
        jit_compile=setting["jit_compile"],
        steps_per_execution=setting["steps_per_execution"],
    )

    class Callback(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            clock.begin()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            clock.end()
            l2 = sum(float(np.asarray(loss)) for loss in model.losses)
            clock.losses.append(logs["val_loss"] - l2)

    rest: dict[str, Any] = {"epochs": task["epochs"], "verbose": 0, "callbacks": [Callback()]}
    if setting["input"] == "numpy":
        model.fit(
            x, y, settings.batch_size, validation_data=(valid_x, valid_y),
            validation_batch_size=VALID_ROWS, **rest,
        )  # fmt: skip
    else:
        import tensorflow as tf

        make = tf.data.Dataset.from_tensor_slices
        train = make((x, y)).cache().shuffle(len(x)).batch(settings.batch_size)
        valid = make((valid_x, valid_y)).batch(VALID_ROWS).cache()
        model.fit(
            train.prefetch(tf.data.AUTOTUNE), validation_data=valid.prefetch(tf.data.AUTOTUNE),
            **rest,
        )  # fmt: skip


# --- PyTorch


def torch_network(
    spec: Model, settings: TrainingSettings, length: int, classes: int, channels_last: bool = False
) -> Any:
    """Build the network with layers of PyTorch, from (N, 4, L) to logits (N, C).

    With `channels_last` its convolutions are two-dimensional, from (N, 4, 1, L): PyTorch has this
    layout only for them.
    """
    from torch import nn

    if settings.initializer != "glorot_uniform":
        raise SystemExit(
            f"PyTorch: expected the initializer glorot_uniform, got {settings.initializer}"
        )
    two = channels_last
    conv_of, norm_of, pool_of, pad_of = (
        (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ConstantPad2d)
        if two
        else (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.ConstantPad1d)
    )
    # PyTorch's momentum is the weight of the new value; Keras' is the weight of the old value.
    norm = {"momentum": 1 - settings.batch_norm_momentum, "eps": settings.batch_norm_epsilon}
    parts: list[Any] = []
    channels = 4
    for conv in spec.conv:
        if conv.activation != "relu":
            raise SystemExit(f"PyTorch: expected the activation relu, got {conv.activation}")
        width = (1, conv.width) if two else conv.width
        parts.append(conv_of(channels, conv.filters, width, padding="same", bias=False))
        parts += [norm_of(conv.filters, **norm), nn.ReLU()]
        channels, out = conv.filters, -(-length // conv.step)
        if conv.pool > 1:
            # Padding "same" gives ceil(L / stride) outputs. If it is odd, the right end gets more.
            lacking = max(0, (out - 1) * conv.step + conv.pool - length)
            left = lacking // 2
            if lacking != 2 * left:
                pad = (left, lacking - left, 0, 0) if two else (left, lacking - left)
                parts.append(pad_of(pad, -float("inf")))
                left = 0
            shape = [(1, n) if two else n for n in (conv.pool, conv.step)]
            parts.append(pool_of(*shape, padding=(0, left) if two else left))
        length = out
        parts.append(nn.Dropout(conv.dropout))
    parts.append(nn.Flatten())
    units = channels * length
    for dense in spec.dense:
        parts += [nn.Linear(units, dense, bias=False), nn.BatchNorm1d(dense, **norm), nn.ReLU()]
        parts.append(nn.Dropout(spec.dense_dropout))
        units = dense
    parts.append(nn.Linear(units, classes))
    for part in parts:
        if isinstance(part, (nn.Linear, conv_of)):
            nn.init.xavier_uniform_(part.weight)
    nn.init.constant_(parts[-1].bias, settings.output_bias)
    return nn.Sequential(*parts)


def torch_optimizer(network: Any, settings: TrainingSettings) -> Any:
    """Make Adam with the settings of the study, and L2 only on kernels."""
    import torch

    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim == 1]
    # The gradient of l2 w^2 is 2 l2 w, and Adam adds weight_decay w to the gradient.
    groups = [{"params": kernels, "weight_decay": 2 * settings.l2}, {"params": others}]
    return torch.optim.Adam(
        groups,
        settings.learning_rate,
        (settings.beta_1, settings.beta_2),
        settings.epsilon,
        fused=True,
    )


def start_torch(threads: int) -> str:
    """Import PyTorch and run an operation; return the device's name."""
    import torch
    import torch._dynamo  # the first optimizer imports it, which takes seconds

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(threads)
    # This is TensorFlow's default on a GPU.
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    (torch.ones((2, 2), device=device) @ torch.ones((2, 2), device=device)).cpu()
    return torch.cuda.get_device_name() if device == "cuda" else device


def train_torch(
    task: dict[str, Any], spec: Model, settings: TrainingSettings, clock: Clock
) -> None:
    """Train with a loop over batches; all data are on the device.

    The setting has ``compile`` (use ``torch.compile``) and ``channels_last``.
    """
    import torch

    setting = task["setting"]
    (codes, y), (valid_codes, valid_y) = read(task["data"])
    clock.lap()
    torch.manual_seed(task["seed"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    last = setting["channels_last"]

    def put(codes: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.from_numpy(one_hot(codes))  # (N, L, 4)
        x = x[:, None] if last else x.transpose(1, 2).contiguous()
        return x.to(device), torch.from_numpy(labels.astype(np.float32)).to(device)

    def batch(x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 3, 1, 2) if last else x  # a view: (N, 1, L, 4) to (N, 4, 1, L)

    network = torch_network(spec, settings, codes.shape[1], y.shape[1], last).to(device)
    if last:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch_optimizer(network, settings)
    (x, y_), (valid_x, valid_y_) = put(codes, y), put(valid_codes, valid_y)
    del codes, valid_codes
    run = torch.compile(network) if setting["compile"] else network
    measure = torch.nn.BCEWithLogitsLoss()

    for _ in range(task["epochs"]):
        clock.begin()
        network.train()
        total = torch.zeros((), device=device)
        for rows in torch.randperm(len(x), device=device).split(settings.batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss = measure(run(batch(x.index_select(0, rows))), y_.index_select(0, rows))
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
        total.item()
        network.eval()
        with torch.inference_mode():
            logits = torch.cat([run(batch(part)) for part in valid_x.split(VALID_ROWS)])
            valid_loss = measure(logits, valid_y_).item()  # waits for the device
        clock.end()
        clock.losses.append(valid_loss)


# --- motifk8s


def start_ours(threads: int) -> str:
    """Import the modules that train a cell, and run an operation; return the device's name."""
    from motifk8s.training import devices

    device = devices.setup(threads)
    _multiply()
    return device


def train_ours(task: dict[str, Any], spec: Model, settings: TrainingSettings, clock: Clock) -> None:
    """Train as a cell does, with checkpoints in a file."""
    from motifk8s.training import devices, loop, models

    train, valid = read(task["data"])
    clock.lap()
    length, classes = train[0].shape[1], train[1].shape[1]
    model = models.build(spec, settings, length, classes, task["seed"])
    # As in a cell, the largest number of steps decides about compiling.
    device = devices.open_device(model, keras_optimizer(settings), settings.steps(len(train[0])))

    def progress(epoch: int, epochs: int, row: dict[str, float]) -> None:
        clock.end()
        clock.losses.append(row["val_cross_entropy"])

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint"

        def save(data: bytes) -> None:
            path.write_bytes(data)

        checkpoint = loop.Checkpoint("bench", lambda: None, save)
        settings = settings.model_copy(update={"epochs": task["epochs"], "patience": None})
        clock.begin()
        loop.train(device, settings, train, valid, task["seed"], checkpoint, progress)


# --- one run


def arithmetic(spec: Model, length: int, classes: int, train: int, valid: int) -> float:
    """Return the GFLOP of an epoch: the products of convolutions and dense layers.

    Training takes three products for each layer, of which the first layer needs two: nothing uses
    the gradient of the sequences. Validation takes one.
    """
    products = [math.prod(kernel) for kernel in spec.kernels(length, classes)]
    return 2e-9 * (train * (3 * sum(products) - products[0]) + valid * sum(products))


RUNS = {
    "keras": (start_keras, train_keras),
    "torch": (start_torch, train_torch),
    "ours": (start_ours, train_ours),
}


def main() -> None:
    """Run the task of the command line; print the measurements as one line of JSON."""
    task = json.loads(sys.argv[1])
    spec = Model.model_validate(task["model"])
    settings = TrainingSettings.model_validate(task["training"])
    machine.pin(task["threads"])
    start, train = RUNS[task["framework"]]
    device = start(task["threads"])
    base = machine.resident()
    clock = Clock()
    train(task, spec, settings, clock)
    times = {"build": clock.build, "seconds": clock.seconds, "losses": clock.losses}
    memory = {"base": base, "peak": machine.peak()}
    (x, y), (valid_x, _) = read(task["data"])
    gflop = arithmetic(spec, x.shape[1], y.shape[1], len(x), len(valid_x))
    limit = {"gflop": gflop, "product_rate": machine.product_rate()}
    print(json.dumps({"device": device, **times, **memory, **limit}))


if __name__ == "__main__":
    main()
