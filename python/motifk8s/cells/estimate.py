"""Estimate the GPU hours of a study's unfinished cells.

The estimate is the mean time of finished cells with the same data, architecture and training
settings. If there are none, it is the time of other finished cells, scaled by the arithmetic of the
networks. If no cell is finished, the arithmetic gives an upper bound, which is enough for a cap.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from statistics import fmean, median
from typing import NamedTuple

import numpy as np
import pandas as pd

from motifk8s.cells import marker
from motifk8s.cells.keys import cell_folder, stage_keys, trained_as
from motifk8s.cells.networks import Network
from motifk8s.cells.plan import State
from motifk8s.data import stored
from motifk8s.data.sizes import Sizes, count_sequences, described_sizes
from motifk8s.errors import InputError, Problem, command
from motifk8s.store.base import Store
from motifk8s.study.specs import CustomModel, Model
from motifk8s.study.study import Cell, Study, content_hash, parse_cell
from motifk8s.training.loop import CHECKPOINT_SECONDS

NONE: Mapping[tuple[str, str], Network] = {}

# The largest number of finished cells to read: trials of an architecture, and in all.
TRIALS_READ, CELLS_READ = 3, 200

# Work is counted in multiply-adds. OUTPUT is the work after a convolution, for each of its outputs;
# BATCH is the work of starting a batch. One core of an AMD EPYC (Zen 4) with TensorFlow 2.21 does
# 10e9 to 27e9 a second (26 architectures, cores free and busy, 2026-11-25). It needs 10 to 30 s for
# a cell outside of epochs. `python bench/estimate.py` measures both. The upper bound assumes a far
# slower machine: it is valid on any idle machine that is at least a fifth as fast.
OUTPUT, BATCH = 80, 1e7
SLOWEST = 2e9  # multiply-adds a second
LONGEST_START = 300.0  # seconds outside of epochs, without predictions

# The sources of a cell's seconds, with their printed names.
BASES = {
    "measured": "by finished cells of their kind",
    "scaled": "scaled from other finished cells",
    "bound": "by an upper bound",
    "unknown": "not known",
}

SizesByData = dict[str, Sizes | None]  # sizes of data sets, by `Kind.data`


class Machine(NamedTuple):
    """The device of a cell."""

    device: str
    threads: int | None  # on a CPU

    def __str__(self) -> str:
        if self.threads is None:
            return self.device
        return f"{self.device}, {self.threads} thread{'' if self.threads == 1 else 's'} a cell"


class Kind(NamedTuple):
    """What determines the time of a cell."""

    data: str  # folder of the data set in the store; for a file of the user, the data hash
    model: str  # hash of the architecture
    training: str  # hash of the training settings


class Finished(NamedTuple):
    """The time of a finished cell."""

    study: str
    kind: Kind
    machine: Machine
    epochs: int
    seconds: float  # mean of an epoch, without the epochs in which the model was compiled
    outside: float  # seconds outside of epochs: data, compiling, filters, matches, analysis
    work: float  # of an epoch


class Cost(NamedTuple):
    """The expected time of an unfinished cell."""

    cell: Cell
    epochs: float  # still to train
    at_most: bool  # whether `epochs` is a bound: no finished cell shows when training stops
    seconds: float  # of an epoch
    outside: float  # seconds outside of epochs
    basis: str  # source of the seconds: a key of BASES

    @property
    def total(self) -> float:
        """Seconds of the cell."""
        return self.epochs * self.seconds + self.outside


class Estimate(NamedTuple):
    """The expected time of the unfinished cells of a study."""

    study: str
    costs: list[Cost]
    machine: Machine | None  # the one that the estimate is for; None if no cell is finished
    absent: list[str]  # data sets of unknown size
    command: str  # measures one cell
    gpus: int = 1  # of a cell

    @property
    def hours(self) -> float:
        """GPU hours of all cells of known size; a bound if `machine` is None."""
        return self.gpus * sum(cost.total for cost in self.costs) / 3600

    def retry_hours(self, attempts: int) -> float:
        """GPU hours that preemptions can add if every cell has `attempts` attempts.

        The next attempt resumes from a checkpoint. So each repeats at most an epoch, or the
        seconds between checkpoints, and the seconds outside of epochs.
        """
        again = sum(max(cost.seconds, CHECKPOINT_SECONDS) + cost.outside for cost in self.costs)
        return (attempts - 1) * self.gpus * again / 3600

    @property
    def basis(self) -> str:
        """The sources of the estimate, as one line."""
        if not self.costs:
            return "every cell is done"
        counts = Counter(cost.basis for cost in self.costs)
        cells = [f"{n} cell{'' if n == 1 else 's'} {BASES[k]}" for k in BASES if (n := counts[k])]
        if self.machine is None:
            parts = [f"no cell is finished yet; measure one cell: {self.command}"]
        else:
            parts = [", ".join(cells), f"on {self.machine}"]
            if any(cost.at_most for cost in self.costs):
                parts.append("≤: all epochs; no finished cell shows when training stops")
        if self.absent:
            parts.append(f"size unknown, because not in the store: {', '.join(self.absent)}")
        return "; ".join(parts)


def estimate(
    study: Study,
    store: Store,
    states: Sequence[State],
    gpus: int = 1,
    networks: Mapping[tuple[str, str], Network] = NONE,
) -> Estimate:
    """Estimate the time of the unfinished cells of a study; `states` are from `plan.plan`.

    A cell trains on one GPU; `gpus` are those that its pod requests, which all cost. `networks` are
    the custom models of these cells, from `networks.try_all`.

    Lists the store, and reads three small files of at most 200 finished cells and one file of each
    outdated cell, 8 in parallel. For 1,000 cells this takes seconds.
    """
    todo = [state for state in states if state.state != "done"]
    if not todo:
        return Estimate(study.name, [], None, [], "")
    names = dict.fromkeys(state.cell.dataset for state in todo)
    sizes = {name: count_sequences(study, name, store) for name in names}
    hashes = {name: stored.data_hash(study, name, store) for name in names}
    by_data = {_data(study, name, hashes[name]): size for name, size in sizes.items()}
    finished = _read_finished(study, store, by_data)
    machine = _machine(study, finished)
    firsts = dict.fromkeys(state.cell._replace(trial=1) for state in todo)
    whole = {}
    for cell in firsts:
        network = networks.get((cell.dataset, cell.model))
        whole[cell] = _cost(study, cell, network, sizes, hashes, finished, machine)

    def left(state: State) -> Cost:
        cost, data_hash = whole[state.cell._replace(trial=1)], hashes[state.cell.dataset]
        trained = state.state == "outdated" and _is_trained(study, store, state.cell, data_hash)
        epochs, at_most = (0.0, False) if trained else (cost.epochs, cost.at_most)
        return cost._replace(cell=state.cell, epochs=epochs, at_most=at_most)

    costs = store.map(left, todo)
    absent = [name for name in names if sizes[name] is None]
    return Estimate(study.name, costs, machine, absent, _command(study, store, costs, hashes), gpus)


def longest_first(
    study: Study,
    store: Store,
    cells: Sequence[Cell],
    networks: Mapping[tuple[str, str], Network] = NONE,
) -> list[Cell]:
    """Order cells by trial, so that early tables have every model, and then by work, most first.

    Cells with much work that start last would run alone at the end. Custom models that are not in
    `networks` come first, as their work is not known.
    """
    names = dict.fromkeys(cell.dataset for cell in cells)
    sizes = {name: count_sequences(study, name, store) or Sizes(1, 1, 1) for name in names}

    def work(dataset: str, model: str) -> float:
        network = networks.get((dataset, model))
        if isinstance(study.models[model], CustomModel) and network is None:
            return math.inf
        cell = Cell(dataset, model, 1)
        epochs = study.training_for(dataset).epochs
        return epochs * count_work(study, cell, sizes[dataset], network)

    works = {pair: work(*pair) for pair in dict.fromkeys(cell[:2] for cell in cells)}
    return sorted(cells, key=lambda cell: (cell.trial, -works[cell[:2]]))


def check_cap(expected: Estimate, hours: float | None) -> None:
    """Raise `InputError` if the estimate is above a cap in GPU hours, or a size is unknown."""
    if hours is None:
        return
    cells = f"study {expected.study}: its {len(expected.costs)} unfinished cells"
    if expected.absent:
        raise InputError(
            f"{cells} cannot be compared with the cap of {hours:g} GPU hours: size unknown, "
            f"because not in the store: {', '.join(expected.absent)}; import it first (motifk8s "
            "dataset --help), or set no cap"
        )
    if expected.hours > hours:
        bound = "at most " if any(cost.at_most for cost in expected.costs) else ""
        if expected.machine is None:
            bound = "up to (an upper bound) "
        raise InputError(
            f"{cells} would take {bound}{expected.hours:.2f} GPU hours, and the cap is {hours:g}: "
            f"raise --max-gpu-hours, or choose fewer trials or models ({expected.basis})"
        )


def _machine(study: Study, finished: Sequence[Finished]) -> Machine | None:
    """Return the device of most finished cells of the study, or else of the store; a GPU first."""
    counts = Counter(done.machine for done in finished if done.study == study.name)
    counts = counts or Counter(done.machine for done in finished)
    return max(counts, key=lambda m: (m.threads is None, counts[m]), default=None)


def _cost(
    study: Study,
    cell: Cell,
    network: Network | None,
    sizes_of: dict[str, Sizes | None],
    hashes: dict[str, str | None],
    finished: Sequence[Finished],
    machine: Machine | None,
) -> Cost:
    """Return the cost of a whole cell; sizes and hashes are by data set."""
    if (sizes := sizes_of[cell.dataset]) is None:
        return Cost(cell, 0, False, 0, 0, "unknown")
    kind = _kind(study, cell, hashes[cell.dataset])
    epochs, at_most = _epochs(study, cell, kind, finished)
    work = count_work(study, cell, sizes, network)
    if machine is None:
        model = study.models[cell.model]
        # The analysis predicts some of the test sequences once for each silenced filter.
        custom = network.filters if network else 0
        filters = custom if isinstance(model, CustomModel) else sum(c.filters for c in model.conv)
        predictions = sizes.test + filters * min(sizes.test, study.analysis.sequences)
        outside = LONGEST_START + predictions * _forward(study, cell, network) / SLOWEST
        return Cost(cell, epochs, at_most, work / SLOWEST, outside, "bound")
    near = [done for done in finished if done.machine == machine]
    if same := [done for done in near if done.kind == kind]:
        seconds, outside = fmean(d.seconds for d in same), fmean(d.outside for d in same)
        return Cost(cell, epochs, at_most, seconds, outside, "measured")
    near = [done for done in near if done.study == study.name] or near
    return Cost(cell, epochs, at_most, *scale(work, near), "scaled")


def _epochs(
    study: Study, cell: Cell, kind: Kind, finished: Sequence[Finished]
) -> tuple[float, bool]:
    """Return the epochs of a training, and whether they are only a bound."""
    settings = study.training_for(cell.dataset)
    if settings.patience is None:
        return settings.epochs, False
    similar = [
        done
        for done in finished
        if done.kind.training == kind.training
        and (done.study == study.name or done.kind.data == kind.data)
    ]
    if trained := [done for done in similar if done.kind == kind] or similar:
        return fmean(done.epochs for done in trained), False
    return settings.epochs, True


def _is_trained(study: Study, store: Store, cell: Cell, data_hash: str | None) -> bool:
    """Return whether the next run can reuse the training of an outdated cell."""
    done = marker.read_done(store, cell_folder(study, cell))
    if done is None or data_hash is None:
        return False
    return done.keys.get("training") == stage_keys(study, cell, data_hash)["training"]


def _command(
    study: Study, store: Store, costs: Sequence[Cost], hashes: dict[str, str | None]
) -> str:
    """Return the command that makes the data of the cell with the least work, and runs the cell."""
    cell = min(costs, key=lambda cost: (cost.basis == "unknown", cost.total)).cell
    argument = stored.study_argument(study)
    line = command("cell", argument, cell.id, store=store.url)
    if hashes[cell.dataset] is None:
        line = f"{command('dataset', argument, cell.dataset, store=store.url)} && {line}"
    return f"{line}; in a cluster, submit a study of one trial without a cap"


def count_forward(model: Model, length: int, classes: int) -> float:
    """Count the work of predicting one sequence of `length` bp, in multiply-adds."""
    positions = [length, *model.lengths(length)]
    outputs = sum(n * conv.filters for n, conv in zip(positions, model.conv, strict=False))
    return sum(math.prod(kernel) for kernel in model.kernels(length, classes)) + OUTPUT * outputs


def _forward(study: Study, cell: Cell, network: Network | None) -> float:
    """Return the work of predicting one sequence; a custom model's is known when it is built."""
    model, data = study.models[cell.model], study.datasets[cell.dataset]
    if isinstance(model, CustomModel):
        if network is None:
            raise ValueError("the network of a custom model is not known")
        return network.multiply_adds
    return count_forward(model, data.length, data.n_classes)


def count_work(study: Study, cell: Cell, sizes: Sizes, network: Network | None = None) -> float:
    """Count the work of an epoch with its validation; training takes three times a prediction.

    `network` is the cell's, if it has a custom model.
    """
    settings, forward = study.training_for(cell.dataset), _forward(study, cell, network)
    batches = math.ceil(sizes.train / settings.batch_size)
    return 3 * (forward * sizes.train + BATCH * batches) + forward * sizes.valid


def scale(work: float, near: Sequence[Finished]) -> tuple[float, float]:
    """Scale seconds of an epoch, and outside of epochs, from cells with other amounts of work.

    Seconds for each unit of work are interpolated between the amounts, on logarithmic scales,
    because a GPU is more efficient on large networks. Outside of their range, the nearest amount
    is used.
    """
    amounts = sorted({done.work for done in near})
    groups = [[done for done in near if done.work == amount] for amount in amounts]
    rates = [median(done.seconds / done.work for done in group) for group in groups]
    outside = [median(done.outside for done in group) for group in groups]
    x, known = np.log(work), np.log(amounts)
    rate = np.exp(np.interp(x, known, np.log(rates)))
    return work * float(rate), float(np.interp(x, known, outside))


def _data(study: Study, name: str, data_hash: str | None) -> str:
    """Return what identifies a data set; a file of the user only by its content."""
    return str(data_hash) if study.datasets[name].kind == "file" else stored.place(study, name)


def _kind(study: Study, cell: Cell, data_hash: str | None) -> Kind:
    """Return the kind of a cell, which is the same for all its trials."""
    trained = trained_as(study, cell)
    data = _data(study, cell.dataset, data_hash)
    return Kind(data, content_hash(trained["model"]), content_hash(trained["settings"]))


def _read_finished(study: Study, store: Store, sizes: SizesByData) -> list[Finished]:
    """Read the times of finished cells, those of the study first."""
    trials: dict[str, list[str]] = {}
    for path in store.list():
        if match := re.fullmatch(r"(([^/]+)/cells/[^/]+/[^/]+)/[^/]+/done\.json", path):
            trials.setdefault(match[1], []).append(path.removesuffix("/done.json"))
    pairs = sorted(trials, key=lambda pair: not pair.startswith(f"{study.name}/"))
    places = [place for pair in pairs for place in trials[pair][:TRIALS_READ]][:CELLS_READ]
    cells = store.map(lambda place: read_cell(store, place, sizes), places)
    return [cell for cell in cells if cell is not None]


def read_cell(store: Store, place: str, sizes: SizesByData) -> Finished | None:
    """Read the time of a cell; None if it is damaged, of another version, or of unknown size."""
    errors = ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError
    with suppress(*errors, Problem):
        done = marker.read_done(store, place)
        if done is None:
            return None
        record = json.loads(marker.fetch(store, place, done, "provenance.json"))
        rows = pd.read_csv(BytesIO(marker.fetch(store, place, done, "history.csv")))
        study, cell = Study.model_validate(record["study"]), parse_cell(record["cell"])
        kind = _kind(study, cell, record.get("data_hash"))
        size = sizes.get(kind.data) or described_sizes(study, cell.dataset)
        compiled = rows.epoch.isin([1, *(n + 1 for n in record["resumed_at_epochs"] or ())])
        seconds = float((rows.seconds if compiled.all() else rows.seconds[~compiled]).mean())
        device = record["device"]
        if size is None or not 0 < seconds < math.inf or not isinstance(device, str):
            return None
        machine = Machine(device, int(record["threads"]) if device == "cpu" else None)
        total = sum(record["stages"].values())
        if not math.isfinite(total):
            return None
        outside = max(0.0, total - seconds * len(rows))
        network = Network(**record["network"]) if record.get("network") else None
        work = count_work(study, cell, size, network)
        name = place.partition("/")[0]
        return Finished(name, kind, machine, len(rows), seconds, outside, work)
    return None
