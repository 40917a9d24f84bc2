"""Try custom models before they cost a GPU: build, read, train two steps, save.

Every mistake that a few sequences can show is an `InputError` of one line here.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motifk8s.errors import InputError
from motifk8s.filters.layers import Layer, find_layers, numbered_layers, reader
from motifk8s.study.specs import CustomModel, TrainingSettings
from motifk8s.study.study import Cell, Study
from motifk8s.training import custom, devices, loop, models

if TYPE_CHECKING:
    import keras

ROWS = 8  # sequences of a try-out


class Network(NamedTuple):
    """What is known of a custom model only when it is built."""

    parameters: int  # trainable
    filters: int  # of the layers that give motifs
    multiply_adds: float  # of predicting one sequence
    layers: dict[str, str]  # the user's name of each layer that gives motifs, by conv1, conv2, ...
    end: str  # why the layer after them has no motifs; "" if it pools or is not wanted

    def __str__(self) -> str:
        names = ", ".join(f"{ours} ({own})" for ours, own in self.layers.items())
        end = f"; no further layer can be read: {self.end}" if self.end else ""
        return f"{self.parameters:,} trainable parameters; motifs of {names}{end}"


def try_all(study: Study, cells: Sequence[Cell]) -> dict[tuple[str, str], Network]:
    """Try each custom model of some cells, on a CPU, by data set and model.

    On one core it takes 5 s for TensorFlow, and about 7 s for each model; 0.9 GB of memory.

    Raises
    ------
    InputError
        A model does not build, has wrong shapes or no layer that can be read, differs between two
        builds with one seed, would not resume exactly, or cannot be saved.
    """
    pairs = dict.fromkeys((cell.dataset, cell.model) for cell in cells)
    custom_ones = [pair for pair in pairs if isinstance(study.models[pair[1]], CustomModel)]
    if custom_ones:
        devices.setup()
    return {pair: _try(study, *pair) for pair in custom_ones}


def _try(study: Study, dataset: str, name: str) -> Network:
    import keras

    spec, data = study.models[name], study.datasets[dataset]
    assert isinstance(spec, CustomModel)
    try:
        with keras.device("cpu"):
            return _rehearse(spec, study.training_for(dataset), data.length, data.n_classes)
    except InputError as error:
        raise InputError(f"study {study.name}: models.{name}: {error}") from None


def examine(spec: CustomModel, model: keras.Model, length: int) -> Network:
    """Find the layers of a custom model that give motifs, and count its parameters and work.

    `length` is that of the sequences in bp; the model itself may read any length.

    Raises
    ------
    InputError
        If fewer layers than the study wants can be read, or a layer of the user's own class reads
        bases outside of its window.
    """
    with custom.executing(spec):
        found = find_layers(model)
        readable = numbered_layers(model)
        if len(readable) < spec.layers:
            raise InputError(
                f"layers: {spec.layers} are to give motifs, but only {', '.join(found.layers)} can "
                f"be read{': ' if found.end else ''}{found.end}"
            )
        wanted = spec.layers_before_pooling()
        names = dict(zip(wanted, found.layers, strict=False))
        for number in wanted:
            _check_window(readable[number], names[number], length)
        filters = sum(readable[number].output.shape[-1] for number in wanted)
        parameters = sum(math.prod(weight.shape) for weight in model.trainable_variables)
        end = found.end if len(readable) == spec.layers else ""
    return Network(parameters, filters, _multiply_adds(model, length), names, end)


def _check_window(layer: Layer, name: str, length: int) -> None:
    """Check on two sequences that an activation depends on no base outside of its window."""
    activations = reader(layer, length)
    positions, random = activations.output.shape[1], np.random.default_rng(0)
    for place in {0, positions // 2, positions - 1}:
        codes = random.integers(0, 4, (2, length))
        first = place - layer.offset
        window = slice(max(0, first), max(0, first + layer.receptive_field))
        codes[1, window] = codes[0, window]
        one, other = np.asarray(activations(np.eye(4, dtype=np.float32)[codes]))[:, place]
        if not np.allclose(one, other, rtol=1e-4, atol=1e-6):
            raise InputError(
                f"layer {name} reads bases outside of the {layer.receptive_field} bp that its "
                "widths give, so its filters have no motif: let its call act on one window"
            )


def _multiply_adds(model: Any, length: int) -> float:
    """Count the multiply-adds of one prediction: each weight once for each position of the output.

    Attention adds the products of its positions. A layer of the user's class counts by its weights.
    A number of positions that depends on the length of the sequences counts as `length`.
    """
    import keras

    def positions(tensor: Any) -> int:
        return math.prod(length if size is None else size for size in tensor.shape[1:-1])

    work = 0.0
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            work += _multiply_adds(layer, length)
            continue
        for node in layer._inbound_nodes:  # noqa: SLF001 (a shared layer has no one output)
            places = sum(map(positions, node.outputs))
            work += places * sum(math.prod(weight.shape) for weight in layer.weights)
            if isinstance(layer, keras.layers.MultiHeadAttention):
                size = layer.num_heads * (layer.key_dim + layer.value_dim)
                work += places * positions(node.input_tensors[-1]) * size
    return work


def _rehearse(
    spec: CustomModel, settings: TrainingSettings, length: int, n_classes: int
) -> Network:
    """Examine a network, train two steps on random sequences, resume after the first, and save.

    Raise `InputError` if a result is not what every cell relies on.
    """
    random = np.random.default_rng(0)
    codes = random.integers(0, 4, (ROWS, length)).astype(np.uint8)
    labels = random.integers(0, 2, (ROWS, n_classes)).astype(np.int8)
    order = np.arange(ROWS, dtype=np.int32)
    where = f"{Path(spec.file).name}: {spec.function}"

    def start() -> devices.Device:
        model = models.build(spec, settings, length, n_classes)
        return devices.open_device(model, loop.optimizer(settings))

    def step(device: devices.Device) -> float:
        with custom.executing(spec):
            return device.train(device.put(codes, labels), order, ROWS)

    one, other = start(), start()
    network = examine(spec, one.model, length)
    if not _equal(one, other):
        raise InputError(
            f"{where} builds another network each time: take random numbers from Keras, NumPy or "
            "Python's random module, which have the cell's seed, and nothing from time or files"
        )
    with custom.executing(spec):
        predicted = np.asarray(one.model(devices.one_hot(codes)))
    if not (np.isfinite(predicted).all() and predicted.min() >= 0 and predicted.max() <= 1):
        low, high = float(predicted.min()), float(predicted.max())
        raise InputError(
            f"{where}: predictions from {low:.3g} to {high:.3g} are not probabilities; "
            "make the last layer a sigmoid"
        )
    if not np.isfinite(step(one)):
        raise InputError(f"{where}: the loss of one training step is not a finite number")
    other.restore(one.state())
    step(one)
    step(other)
    if not _equal(one, other):
        raise InputError(
            f"{where}: a training that resumes would differ: keep all state in Keras variables, "
            "and draw random numbers with a keras.random.SeedGenerator of the layer"
        )
    _save(spec, settings, one.model, length, n_classes)
    return network


def _equal(one: devices.Device, other: devices.Device) -> bool:
    a, b = one.state(), other.state()
    return len(a) == len(b) and all(
        x.shape == y.shape and np.array_equal(x, y, equal_nan=True)
        for x, y in zip(a, b, strict=True)
    )


def _save(
    spec: CustomModel, settings: TrainingSettings, model: keras.Model, length: int, n_classes: int
) -> None:
    """Save a model and load it; raise `InputError` if a weight differs."""
    with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder, custom.executing(spec):
        file = Path(folder) / "model.keras"
        model.save(file)
        loaded = models.load(file, spec, settings, length, n_classes)
        for before, after in zip(model.weights, loaded.weights, strict=True):
            if not np.array_equal(np.asarray(before), np.asarray(after), equal_nan=True):
                raise InputError(
                    f"{before.path} is not saved with the model: create it in the layer's build"
                )
