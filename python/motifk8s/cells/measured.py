"""What finished cells took, from a store; and how large data sets are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

from motifk8s.cells import marker, rates
from motifk8s.cells.rates import Sizes
from motifk8s.data import stored
from motifk8s.data.deepsea import KEPT, POSITIVES
from motifk8s.errors import Problem
from motifk8s.store.base import Store
from motifk8s.store.open import open_store
from motifk8s.study.specs import DeepSea, File
from motifk8s.study.study import Study, content_hash, parse_cell

# Finished cells that are read: trials of an architecture, and in all.
TRIALS_READ, CELLS_READ = 3, 200


class Machine(NamedTuple):
    """What a cell ran on: a device, and on a CPU so many threads."""

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


class Measured(NamedTuple):
    """What a finished cell took.

    Attributes
    ----------
    study : str
    kind : Kind
    machine : Machine
    epochs : int
    seconds : float
        Of an epoch: the mean, without those epochs in which the model was compiled.
    outside : float
        Seconds of all else: start, data, compiling, filters, matches, logos, analysis.
    expected, expected_outside : float
        The same by the rates of one core.
    """

    study: str
    kind: Kind
    machine: Machine
    epochs: int
    seconds: float
    outside: float
    expected: float
    expected_outside: float


def kind(study: Study, dataset: str, model: str) -> Kind:
    """The kind of all trials of an architecture on a data set."""
    architecture = study.models[model].model_dump(mode="json", exclude={"label"})
    settings = study.training_for(dataset).model_dump(mode="json")
    return Kind(stored.place(study, dataset), content_hash(architecture), content_hash(settings))


def read(
    study: Study, store: Store, files: Iterable[str], sizes: dict[str, Sizes | None]
) -> list[Measured]:
    """Read what finished cells took: a bounded number of them, the study's own first.

    Parameters
    ----------
    study : Study
    store : Store
    files : list of str
        All files of the store.
    sizes : dict
        Of the study's data sets, by place. Cells of other ones that are not synthetic are left out.
    """
    trials: dict[str, list[str]] = {}
    for path in files:
        if match := re.fullmatch(r"(([^/]+)/cells/[^/]+/[^/]+)/[^/]+/done\.json", path):
            trials.setdefault(match[1], []).append(path.removesuffix("/done.json"))
    pairs = sorted(trials, key=lambda pair: not pair.startswith(f"{study.name}/"))
    places = [place for pair in pairs for place in trials[pair][:TRIALS_READ]][:CELLS_READ]
    contents = store.map(lambda place: _files(store, place), places)
    shared: dict[str, Any] = dict(sizes)  # and the studies that cells have in common
    found = [
        _measured(place.partition("/")[0], *content, shared)
        for place, content in zip(places, contents, strict=True)
        if content is not None
    ]
    return [each for each in found if each is not None]


def _files(store: Store, place: str) -> tuple[bytes, bytes] | None:

    try:
        done = marker.read_done(store, place)
        if done is None:
            return None
        fetch = [marker.fetch(store, place, done, n) for n in ("provenance.json", "history.csv")]
        return fetch[0], fetch[1]
    except Problem:  # the plan says what is damaged
        return None


def _measured(
    study: str, provenance: bytes, history: bytes, shared: dict[str, Any]
) -> Measured | None:
    """Make sense of the files of a run; None of what another version wrote."""
    import pandas as pd

    def once(key: str, make: Callable[[], Any]) -> Any:
        if key not in shared:
            shared[key] = make()
        return shared[key]

    try:
        told = json.loads(provenance)
        theirs = once(content_hash(told["study"]), lambda: Study.model_validate(told["study"]))
        cell = parse_cell(told["cell"])
        this = kind(theirs, cell.dataset, cell.model)
        sizes = once(this.data, lambda: _sizes_as_described(theirs, cell.dataset))
        if sizes is None:
            return None
        rows = pd.read_csv(BytesIO(history))
        compiled = rows.epoch.isin([1, *(n + 1 for n in told["resumed_at_epochs"] or ())])
        steady = rows.seconds if compiled.all() else rows.seconds[~compiled]
        seconds = float(steady.mean())
        if not seconds > 0:
            return None
        return Measured(
            study,
            this,
            Machine(told["device"], int(told["threads"]) if told["device"] == "cpu" else None),
            len(rows),
            seconds,
            max(0.0, sum(told["stages"].values()) - seconds * len(rows)),
            *rates.expected(theirs, cell.dataset, cell.model, sizes),
        )
    except (ValueError, KeyError, TypeError, AttributeError, Problem):
        return None


def sizes_of(study: Study, name: str, store: Store) -> Sizes | None:
    """Sequences of each part of a data set; None if nothing tells."""
    place = stored.place(study, name)
    if sizes := _sizes_as_described(study, name):
        return sizes
    with suppress(Problem, OSError, ValueError, KeyError, TypeError):
        told = json.loads(store.read(f"{place}/done.json"))
        if "sequences" in told:
            return Sizes(**told["sequences"])
        return _count(store, f"{place}/data.h5")
    spec = study.datasets[name]
    if spec.kind == "file":
        return _sizes_in_file(spec)
    return _sizes_as_published(spec) if spec.kind == "deepsea" else None


def _sizes_as_described(study: Study, name: str) -> Sizes | None:
    """Those of a synthetic data set."""
    spec = study.datasets[name]
    if spec.kind != "synthetic":
        return None
    train, both = (round(spec.n_sequences * sum(spec.split[:n])) for n in (1, 2))
    return Sizes(train, both - train, spec.n_sequences - both)


def _sizes_in_file(spec: File) -> Sizes | None:
    folder, slash, file = spec.path.rpartition("/")
    with suppress(Problem, OSError, KeyError, TypeError):
        return _count(open_store(folder or slash or "."), file)
    return None


def _sizes_as_published(spec: DeepSea) -> Sizes | None:
    """Those of the paper's in vivo data: with fewer of its classes, a bound."""
    if {label.column for label in spec.classes.values()} <= set(POSITIVES):
        return Sizes(KEPT["train"], 8_000, KEPT["test"])  # of the validation set, all there is
    return None


def _count(store: Store, path: str) -> Sizes:
    """Count the sequences in the file of a data set."""
    import h5py

    with store.local(path) as file, h5py.File(file) as content:
        return Sizes(*np.bincount(content["split"][...], minlength=3).tolist())
