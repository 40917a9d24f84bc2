"""What the unfinished cells of a study will take, from what finished cells took: GPU hours, money.

A finished cell of the same data, architecture and training settings says it directly. Any other one
says how fast its device is, against the rates of one CPU core, which stand in where no cell is
finished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import NamedTuple

import numpy as np

from motifk8s.cells import marker, measured, rates
from motifk8s.cells.keys import cell_folder, stage_keys
from motifk8s.cells.measured import Machine, Measured
from motifk8s.cells.plan import State
from motifk8s.cells.rates import Sizes
from motifk8s.data.stored import data_hash, place
from motifk8s.errors import InputError
from motifk8s.store.base import DamagedError, Store
from motifk8s.study.study import Cell, Study

# How the seconds of a cell are known, and how that is said.
BASES = {
    "measured": "by finished cells of their kind",
    "scaled": "scaled from other finished cells",
    "reference": "by the rates of one CPU core",
    "unknown": "not known",
}


class Cost(NamedTuple):
    """What an unfinished cell will take.

    Attributes
    ----------
    cell : Cell
    epochs : float
        That are left.
    at_most : bool
        Whether the epochs are a bound: no finished cell tells when training stops.
    seconds : float
        Of an epoch.
    outside : float
        Seconds of all else.
    basis : str
        One of `BASES`.
    """

    cell: Cell
    epochs: float
    at_most: bool
    seconds: float
    outside: float
    basis: str

    @property
    def total(self) -> float:
        """Seconds of the cell."""
        return self.epochs * self.seconds + self.outside


class Estimate(NamedTuple):
    """What the unfinished cells of a study will take.

    Attributes
    ----------
    study : str
    costs : list of Cost
    machine : Machine or None
        What the cells are taken to run on; None if nothing was measured.
    absent : list of str
        Data sets of which not even the size is known.
    """

    study: str
    costs: list[Cost]
    machine: Machine | None
    absent: list[str]

    @property
    def hours(self) -> float:
        """GPU hours, one GPU a cell, of all cells that can be estimated."""
        return sum(cost.total for cost in self.costs) / 3600

    @property
    def basis(self) -> str:
        """What the figures rest on, in a line."""
        if not self.costs:
            return "every cell is done"
        counts = Counter(cost.basis for cost in self.costs)
        said = [
            ", ".join(
                f"{n} cell{'' if n == 1 else 's'} {text}"
                for basis, text in BASES.items()
                if (n := counts[basis])
            )
        ]
        if self.machine is not None:
            said.append(f"on {self.machine}")
        elif counts["reference"]:
            said.append("likely too much for a GPU: finish one cell there for a better estimate")
        if any(cost.at_most for cost in self.costs):
            said.append("≤: the most epochs there can be, as no finished cell tells when it stops")
        if self.absent:
            said.append(f"not in the store, so of unknown size: {', '.join(self.absent)}")
        return "; ".join(said)


def estimate(study: Study, store: Store, states: Sequence[State]) -> Estimate:
    """Estimate what the unfinished cells of a study will take.

    Lists the store, and reads three small files of at most 200 finished cells and one of each that
    is outdated, several at a time: for 1,000 cells that is seconds.

    Parameters
    ----------
    study : Study
    store : Store
    states : list of State
        As from `grid.plan`.
    """
    todo = [state for state in states if state.state != "done"]
    if not todo:
        return Estimate(study.name, [], None, [])
    files = store.list()
    names = dict.fromkeys(state.cell.dataset for state in todo)
    sizes = {name: measured.sizes_of(study, name, store) for name in names}
    found = measured.read(study, store, files, {place(study, n): s for n, s in sizes.items()})
    machine = _machine(study, found)
    pairs = dict.fromkeys((state.cell.dataset, state.cell.model) for state in todo)
    whole = {pair: _whole(study, *pair, sizes[pair[0]], found, machine) for pair in pairs}
    left = _Left(study, store, set(files))
    costs = store.map(lambda s: left.of(s, whole[s.cell.dataset, s.cell.model]), todo)
    return Estimate(study.name, costs, machine, [n for n in names if sizes[n] is None])


def _machine(study: Study, found: Sequence[Measured]) -> Machine | None:
    """Where cells will run: where most of the study's did, else of the store's; a GPU first."""
    counts = Counter(m.machine for m in found if m.study == study.name)
    counts = counts or Counter(m.machine for m in found)
    return max(counts, key=lambda m: (m.threads is None, counts[m]), default=None)


def _whole(
    study: Study,
    dataset: str,
    model: str,
    sizes: Sizes | None,
    found: Sequence[Measured],
    machine: Machine | None,
) -> Cost:
    """What the first trial of an architecture takes from its start to its end."""
    cell = Cell(dataset, model, 1)
    if sizes is None:
        return Cost(cell, 0, False, 0, 0, "unknown")
    kind = measured.kind(study, dataset, model)
    epochs, at_most = _epochs(study, dataset, kind, found)
    here = [m for m in found if m.machine == machine]
    if same := [m for m in here if m.kind == kind]:
        seconds, outside = fmean(m.seconds for m in same), fmean(m.outside for m in same)
        return Cost(cell, epochs, at_most, seconds, outside, "measured")
    seconds, outside = rates.expected(study, dataset, model, sizes)
    if not here:
        return Cost(cell, epochs, at_most, seconds, outside, "reference")
    near = [m for m in here if m.study == study.name] or here
    seconds *= factor(seconds, [(m.expected, m.seconds) for m in near])
    outside *= median(m.outside / m.expected_outside for m in near)
    return Cost(cell, epochs, at_most, seconds, outside, "scaled")


def _epochs(
    study: Study, dataset: str, kind: measured.Kind, found: Sequence[Measured]
) -> tuple[float, bool]:
    """Epochs of a training, and whether they are only a bound."""
    settings = study.training_for(dataset)
    if settings.patience is None:
        return settings.epochs, False
    same = [m for m in found if m.kind == kind]
    alike = [
        m
        for m in found
        if m.kind.training == kind.training and (m.study == study.name or m.kind.data == kind.data)
    ]
    if told := same or alike:
        return fmean(m.epochs for m in told), False
    return settings.epochs, True


def factor(expected: float, pairs: Iterable[tuple[float, float]]) -> float:
    """How many times the expected seconds an epoch takes, from other cells.

    Cells with as much work give their median. In between two amounts of work the factor changes
    evenly, because a GPU gains more on a large network than on a small one; beyond them it is that
    of the nearest.

    Parameters
    ----------
    expected : float
        Seconds.
    pairs : list of tuple
        Expected and measured seconds of other cells.
    """
    by_work: dict[float, list[float]] = {}
    for said, took in pairs:
        by_work.setdefault(said, []).append(took / said)
    work = sorted(by_work)
    factors = [median(by_work[said]) for said in work]
    return float(np.exp(np.interp(np.log(expected), np.log(work), np.log(factors))))


class _Left:
    """What is left of a cell, whose training may be there. What a checkpoint saves is not known."""

    def __init__(self, study: Study, store: Store, files: set[str]):

        self.study, self.store, self.files = study, store, files
        self.hashes = {name: data_hash(study, name, store) for name in study.datasets}

    def of(self, state: State, whole: Cost) -> Cost:
        """What is left of one cell."""
        cost, place = whole._replace(cell=state.cell), cell_folder(self.study, state.cell)
        if state.state != "damaged" and self._is_trained(state.cell, place):
            return cost._replace(epochs=0, at_most=False)
        return cost

    def _is_trained(self, of: Cell, place: str) -> bool:

        content = self.hashes[of.dataset]
        if content is None or f"{place}/done.json" not in self.files:
            return False
        try:
            done = marker.read_done(self.store, place)
        except DamagedError:
            return False
        keys = stage_keys(self.study, of, content)
        return done is not None and done.keys.get("training") == keys["training"]


def check_cap(found: Estimate, hours: float | None) -> None:
    """Refuse a study that would take more GPU hours than it may; None is no cap.

    Raises
    ------
    InputError
        Above the cap, or if it cannot be told.
    """
    if hours is None:
        return
    cells = f"study {found.study}: its {len(found.costs)} unfinished cells"
    if found.absent:
        raise InputError(
            f"{cells} cannot be held against the cap of {hours:g} GPU hours: not in the store, so "
            f"of unknown size: {', '.join(found.absent)}; import it first (motifk8s dataset "
            "--help), or give no cap"
        )
    if found.hours > hours:
        bound = "at most " if any(cost.at_most for cost in found.costs) else ""
        rest = "" if found.machine else ", or finish one cell first, for a better estimate"
        raise InputError(
            f"{cells} would take {bound}{found.hours:.2f} GPU hours, and the cap is {hours:g}: "
            f"raise --max-gpu-hours, choose fewer trials or models{rest} ({found.basis})"
        )
