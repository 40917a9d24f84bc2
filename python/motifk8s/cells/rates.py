"""The work of training a network, and how long one CPU core takes over it."""

from __future__ import annotations

import math
from typing import NamedTuple

from motifk8s.study.specs import Model
from motifk8s.study.study import Study


class Sizes(NamedTuple):
    """Sequences of each part of a data set."""

    train: int
    valid: int
    test: int


class Work(NamedTuple):
    """The work of an epoch, validation included."""

    operations: float
    """1e9 operations of convolutions and dense layers, forward."""
    activations: float
    """1e9 outputs of convolutions."""
    pooled: float
    """1e9 inputs of max-pooling, each as often as windows have it."""
    batches: float
    """1e3 batches."""
    updates: float
    """1e9 parameters, each as often as it is updated."""
    epochs: float
    """1: what no epoch does without, such as compiling the prediction and the scores."""


class Outside(NamedTuple):
    """What a cell does outside of its epochs."""

    cells: float
    """1: start, libraries, data, compiling."""
    filters: float
    """Filters that are read, compared and drawn."""
    test: float
    """Seconds that training would take over the test set."""


# Seconds for each unit on one core of an AMD EPYC (Zen 4), TensorFlow 2.21, 2026-11-24: by `python
# bench/rates.py`, fitted to the lesser of two runs' times, because other processes were running.
RATES = Work(0.0604, 10.1, 1.67, 1.15, 11.4, 0.138)
RATES_OUTSIDE = Outside(9.96, 0.0378, 1.02)
# A sequence that only goes forward takes this share of the time of one that is trained on.
FORWARD = 0.22


def work(
    model: Model, length: int, classes: int, batch_size: int, train: float, valid: float = 0
) -> Work:
    """Count the work of an epoch.

    Parameters
    ----------
    model : Model
    length : int
        Of a sequence, in bp.
    classes : int
    batch_size : int
    train, valid : float
        Sequences to train on, and to validate on.
    """
    operations = activations = pooled = 0.0  # of one sequence
    channels, positions = 4, length
    for i, (conv, after) in enumerate(zip(model.conv, model.lengths(length), strict=True)):
        # Backwards there is a gradient of the weights and one of the input; one-hot needs none.
        share = 1 if i else 2 / 3
        operations += share * 2 * positions * conv.width * channels * conv.filters
        activations += positions * conv.filters
        if conv.pool > 1:
            pooled += after * conv.pool * conv.filters
        channels, positions = conv.filters, after
    units = channels * positions
    for n in (*model.dense, classes):
        operations += 2 * units * n
        units = n
    sequences = (train + FORWARD * valid) / 1e9
    batches = math.ceil(train / batch_size)
    return Work(
        operations * sequences,
        activations * sequences,
        pooled * sequences,
        batches / 1e3,
        batches * model.n_parameters(length, classes) / 1e9,
        1,
    )


def seconds(amount: Work, rates: Work = RATES) -> float:
    """Seconds that one core takes over the work of an epoch."""
    return sum(a * rate for a, rate in zip(amount, rates, strict=True))


def amounts(
    study: Study, dataset: str, model: str, sizes: Sizes, rates: Work = RATES
) -> tuple[Work, Outside]:
    """Count the work of an epoch of a cell, and what it does outside of its epochs."""
    spec, data = study.models[model], study.datasets[dataset]
    shape = (spec, data.length, data.n_classes, study.training_for(dataset).batch_size)
    read = spec.conv[: len(spec.layers_before_pooling())]
    return work(*shape, sizes.train, sizes.valid), Outside(
        1, sum(conv.filters for conv in read), seconds(work(*shape, sizes.test), rates)
    )


def expected(study: Study, dataset: str, model: str, sizes: Sizes) -> tuple[float, float]:
    """Seconds that one core takes over an epoch of a cell, and outside of its epochs."""
    epoch, outside = amounts(study, dataset, model, sizes)
    return seconds(epoch), sum(a * rate for a, rate in zip(outside, RATES_OUTSIDE, strict=True))
