"""Estimate what the unfinished cells of a study take: GPU hours, from what finished cells took.

Finished cells of the same data, architecture and training settings are the estimate. What other
finished cells took is scaled by the arithmetic of the networks. If no cell is finished, that
arithmetic gives an upper bound, which is enough for a cap.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from statistics import fmean, median
from typing import NamedTuple

import numpy as np
import pandas as pd

from motifk8s.cells import marker
from motifk8s.cells.keys import cell_folder, stage_keys
from motifk8s.cells.plan import State
from motifk8s.data import stored
from motifk8s.data.sizes import Sizes, count_sequences, described_sizes
from motifk8s.errors import InputError, Problem
from motifk8s.store.base import Store
from motifk8s.study.specs import Model
from motifk8s.study.study import Cell, Study, content_hash, parse_cell

# At most so many finished cells are read: trials of an architecture, and in all.
TRIALS_READ, CELLS_READ = 3, 200

# Work is counted in multiply-adds. OUTPUT stands for what follows a convolution, for each of its
# outputs; BATCH for starting a batch. One core of an AMD EPYC (Zen 4), TensorFlow 2.21, does 10e9
# to 27e9 a second (26 architectures, cores free and busy, 2026-11-25), and needs 10 to 30 s a cell
# outside of epochs. `python bench/estimate.py` measures both. The upper bound is far slower: it
# holds on any machine at least a fifth as fast that has no other work.
OUTPUT, BATCH = 80, 1e7
SLOWEST = 2e9  # multiply-adds a second
LONGEST_START = 300.0  # seconds outside of epochs, apart from predictions

# How the seconds of a cell are known, and how that is printed.
BASES = {
    "measured": "by finished cells of their kind",
    "scaled": "scaled from other finished cells",
    "bound": "by an upper bound",
    "unknown": "not known",
}


SizesByPlace = dict[str, Sizes | None]  # of data sets, by their place in a store


class Machine(NamedTuple):
    """What a cell ran on: a device, and on a CPU its number of threads."""

    device: str
    threads: int | None

    def __str__(self) -> str:
        if self.threads is None:
            return self.device
        return f"{self.device}, {self.threads} thread{'' if self.threads == 1 else 's'} a cell"


class Kind(NamedTuple):
    """What decides how long a cell takes: place of the data, hashes of the other two."""

    data: str
    model: str
    training: str


class Finished(NamedTuple):
    """What a finished cell took."""

    study: str
    kind: Kind
    machine: Machine
    epochs: int
    seconds: float  # of an epoch: the mean, without those in which the model was compiled
    outside: float  # seconds of all else: start, data, compiling, filters, matches, analysis
    work: float  # of an epoch


class Cost(NamedTuple):
    """What an unfinished cell will take."""

    cell: Cell
    epochs: float  # that are left
    at_most: bool  # whether the epochs are a bound: no finished cell shows when training stops
    seconds: float  # of an epoch
    outside: float  # seconds of all else
    basis: str  # how the seconds are known: one of BASES

    @property
    def total(self) -> float:
        """Seconds of the cell."""
        return self.epochs * self.seconds + self.outside


class Estimate(NamedTuple):
    """What the unfinished cells of a study will take."""

    study: str
    costs: list[Cost]
    machine: Machine | None  # that cells are assumed to run on; None: nothing is measured
    absent: list[str]  # data sets of unknown size
    command: str  # that measures one cell

    @property
    def hours(self) -> float:
        """GPU hours, one GPU a cell, of all cells of known size; a bound if nothing is measured."""
        return sum(cost.total for cost in self.costs) / 3600

    @property
    def basis(self) -> str:
        """What the figures rest on, in one line."""
        if not self.costs:
            return "every cell is done"
        counts = Counter(cost.basis for cost in self.costs)
        cells = [f"{n} cell{'' if n == 1 else 's'} {BASES[k]}" for k in BASES if (n := counts[k])]
        parts = [", ".join(cells)]
        if self.machine is None:
            parts = [f"nothing is measured yet; measure one cell: {self.command}"]
        else:
            parts.append(f"on {self.machine}")
            if any(cost.at_most for cost in self.costs):
                parts.append(
                    "≤: the most epochs there can be; no finished cell shows when it stops"
                )
        if self.absent:
            parts.append(f"not in the store, so of unknown size: {', '.join(self.absent)}")
        return "; ".join(parts)


def estimate(study: Study, store: Store, states: Sequence[State]) -> Estimate:
    """Estimate what the unfinished cells of a study will take; `states` are as from `plan.plan`.

    Lists the store, and reads three small files of at most 200 finished cells and one of each that
    is outdated, several at a time: for 1,000 cells that is seconds.
    """
    todo = [state for state in states if state.state != "done"]
    if not todo:
        return Estimate(study.name, [], None, [], "")
    names = dict.fromkeys(state.cell.dataset for state in todo)
    sizes = {name: count_sequences(study, name, store) for name in names}
    hashes = {name: stored.data_hash(study, name, store) for name in names}
    by_place = {stored.place(study, name): size for name, size in sizes.items()}
    finished = _read_finished(study, store, by_place)
    machine = _machine(study, finished)
    firsts = dict.fromkeys(state.cell._replace(trial=1) for state in todo)
    whole = {cell: _cost(study, cell, sizes[cell.dataset], finished, machine) for cell in firsts}

    def left(state: State) -> Cost:
        cost, data_hash = whole[state.cell._replace(trial=1)], hashes[state.cell.dataset]
        trained = state.state == "outdated" and _is_trained(study, store, state.cell, data_hash)
        epochs, at_most = (0.0, False) if trained else (cost.epochs, cost.at_most)
        return cost._replace(cell=state.cell, epochs=epochs, at_most=at_most)

    costs = store.map(left, todo)
    absent = [name for name in names if sizes[name] is None]
    return Estimate(study.name, costs, machine, absent, _command(study, store, costs, hashes))


def check_cap(expected: Estimate, hours: float | None) -> None:
    """Raise `InputError` above a cap of GPU hours, or if a data set has an unknown size."""
    if hours is None:
        return
    cells = f"study {expected.study}: its {len(expected.costs)} unfinished cells"
    if expected.absent:
        raise InputError(
            f"{cells} cannot be held against the cap of {hours:g} GPU hours: not in the store, so "
            f"of unknown size: {', '.join(expected.absent)}; import it first (motifk8s dataset "
            "--help), or give no cap"
        )
    if expected.hours > hours:
        bound = "at most " if any(cost.at_most for cost in expected.costs) else ""
        if expected.machine is None:
            bound = "up to (an upper bound) "
        raise InputError(
            f"{cells} would take {bound}{expected.hours:.2f} GPU hours, and the cap is {hours:g}: "
            f"raise --max-gpu-hours, choose fewer trials or models ({expected.basis})"
        )


def _machine(study: Study, finished: Sequence[Finished]) -> Machine | None:
    """Where cells will run: where most of the study's did, else of the store's; a GPU first."""
    counts = Counter(each.machine for each in finished if each.study == study.name)
    counts = counts or Counter(each.machine for each in finished)
    return max(counts, key=lambda m: (m.threads is None, counts[m]), default=None)


def _cost(
    study: Study,
    cell: Cell,
    sizes: Sizes | None,
    finished: Sequence[Finished],
    machine: Machine | None,
) -> Cost:
    """What a cell takes from its start to its end."""
    if sizes is None:
        return Cost(cell, 0, False, 0, 0, "unknown")
    epochs, at_most = _epochs(study, cell, finished)
    work = count_work(study, cell, sizes)
    if machine is None:
        model, data = study.models[cell.model], study.datasets[cell.dataset]
        # The analysis silences each filter in turn for some of the test sequences.
        filters = sum(conv.filters for conv in model.conv)
        predictions = sizes.test + filters * min(sizes.test, study.analysis.sequences)
        others = predictions * count_forward(model, data.length, data.n_classes)
        outside = LONGEST_START + others / SLOWEST
        return Cost(cell, epochs, at_most, work / SLOWEST, outside, "bound")
    near = [each for each in finished if each.machine == machine]
    if same := [each for each in near if each.kind == _kind(study, cell)]:
        seconds, outside = fmean(e.seconds for e in same), fmean(e.outside for e in same)
        return Cost(cell, epochs, at_most, seconds, outside, "measured")
    near = [each for each in near if each.study == study.name] or near
    return Cost(cell, epochs, at_most, *scale(work, near), "scaled")


def _epochs(study: Study, cell: Cell, finished: Sequence[Finished]) -> tuple[float, bool]:
    """Epochs of a training, and whether they are only a bound."""
    settings, kind = study.training_for(cell.dataset), _kind(study, cell)
    if settings.patience is None:
        return settings.epochs, False
    alike = [
        each
        for each in finished
        if each.kind.training == kind.training
        and (each.study == study.name or each.kind.data == kind.data)
    ]
    if trained := [each for each in alike if each.kind == kind] or alike:
        return fmean(each.epochs for each in trained), False
    return settings.epochs, True


def _is_trained(study: Study, store: Store, cell: Cell, data_hash: str | None) -> bool:
    """Whether the training of an outdated cell is kept. A checkpoint may be of other settings."""
    done = marker.read_done(store, cell_folder(study, cell))
    if done is None or data_hash is None:
        return False
    return done.keys.get("training") == stage_keys(study, cell, data_hash)["training"]


def _command(
    study: Study, store: Store, costs: Sequence[Cost], hashes: dict[str, str | None]
) -> str:
    """The command that measures the cell with the least work, data set included."""
    cell = min(costs, key=lambda cost: (cost.basis == "unknown", cost.total)).cell
    argument, url = stored.study_argument(study), shlex.quote(store.url)
    command = f"motifk8s cell {argument} {cell.id} --store {url}"
    if hashes[cell.dataset] is None:
        command = f"motifk8s dataset {argument} {cell.dataset} --store {url} && {command}"
    return f"{command}; in a cluster, submit a study of one trial without a cap"


def count_forward(model: Model, length: int, classes: int) -> float:
    """Count the work of predicting one sequence of `length` bp, in multiply-adds."""
    work, channels, positions = 0, 4, length
    for conv, pooled in zip(model.conv, model.lengths(length), strict=True):
        work += positions * conv.filters * (conv.width * channels + OUTPUT)
        channels, positions = conv.filters, pooled
    units = channels * positions
    for n in (*model.dense, classes):
        work += units * n
        units = n
    return work


def count_work(study: Study, cell: Cell, sizes: Sizes) -> float:
    """Count the work of an epoch, validation included; training is three times forward."""
    data, settings = study.datasets[cell.dataset], study.training_for(cell.dataset)
    forward = count_forward(study.models[cell.model], data.length, data.n_classes)
    batches = math.ceil(sizes.train / settings.batch_size)
    return 3 * (forward * sizes.train + BATCH * batches) + forward * sizes.valid


def scale(work: float, near: Sequence[Finished]) -> tuple[float, float]:
    """Scale seconds of an epoch, and of all else, from cells whose epochs have other work.

    Between two amounts of work, seconds for each unit change evenly, because a GPU gains more on a
    large network than on a small one. Beyond, the nearest amount counts.
    """
    amounts = sorted({each.work for each in near})
    groups = [[each for each in near if each.work == amount] for amount in amounts]
    rates = [median(each.seconds / each.work for each in group) for group in groups]
    outside = [median(each.outside for each in group) for group in groups]
    x, known = np.log(work), np.log(amounts)
    rate = np.exp(np.interp(x, known, np.log(rates)))
    return work * float(rate), float(np.interp(x, known, outside))


def _kind(study: Study, cell: Cell) -> Kind:
    """The kind of all trials of an architecture on a data set."""
    model = study.models[cell.model].model_dump(mode="json", exclude={"label"})
    settings = study.training_for(cell.dataset).model_dump(mode="json")
    place = stored.place(study, cell.dataset)
    return Kind(place, content_hash(model), content_hash(settings))


def _read_finished(study: Study, store: Store, sizes: SizesByPlace) -> list[Finished]:
    """Read what finished cells took, the study's own first."""
    trials: dict[str, list[str]] = {}
    for path in store.list():
        if match := re.fullmatch(r"(([^/]+)/cells/[^/]+/[^/]+)/[^/]+/done\.json", path):
            trials.setdefault(match[1], []).append(path.removesuffix("/done.json"))
    pairs = sorted(trials, key=lambda pair: not pair.startswith(f"{study.name}/"))
    places = [place for pair in pairs for place in trials[pair][:TRIALS_READ]][:CELLS_READ]
    cells = store.map(lambda place: read_cell(store, place, sizes), places)
    return [cell for cell in cells if cell is not None]


def read_cell(store: Store, place: str, sizes: SizesByPlace) -> Finished | None:
    """Read what a cell took; None if it is damaged, of another version, or of unknown size."""
    with suppress(ValueError, KeyError, TypeError, AttributeError, Problem):
        done = marker.read_done(store, place)
        if done is None:
            return None
        record = json.loads(marker.fetch(store, place, done, "provenance.json"))
        rows = pd.read_csv(BytesIO(marker.fetch(store, place, done, "history.csv")))
        study, cell = Study.model_validate(record["study"]), parse_cell(record["cell"])
        kind = _kind(study, cell)
        size = sizes.get(kind.data) or described_sizes(study, cell.dataset)
        compiled = rows.epoch.isin([1, *(n + 1 for n in record["resumed_at_epochs"] or ())])
        seconds = float((rows.seconds if compiled.all() else rows.seconds[~compiled]).mean())
        if size is None or not seconds > 0:
            return None
        device = record["device"]
        machine = Machine(device, int(record["threads"]) if device == "cpu" else None)
        outside = max(0.0, sum(record["stages"].values()) - seconds * len(rows))
        work = count_work(study, cell, size)
        name = place.partition("/")[0]
        return Finished(name, kind, machine, len(rows), seconds, outside, work)
    return None
