"""Find where the filters of a study's finished cells fire."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motifk8s.cells import marker
from motifk8s.cells.finished import list_by_reason, read_hits, why
from motifk8s.cells.keys import cell_folder
from motifk8s.cells.marker import Done
from motifk8s.cells.plan import State, plan
from motifk8s.data.datasets import PARTS, Dataset
from motifk8s.data.places import rows_at
from motifk8s.data.stored import load_dataset
from motifk8s.errors import IncompleteError, InputError
from motifk8s.filters import hits as search
from motifk8s.filters.extract import Filters
from motifk8s.filters.hits import HIT, Label, Match
from motifk8s.filters.layer_motifs import read_filters
from motifk8s.filters.layers import Layer, numbered_layers
from motifk8s.motifs.database import read_database
from motifk8s.motifs.matches import null_targets
from motifk8s.store.base import Store
from motifk8s.store.files import replacing
from motifk8s.study.specs import MotifSettings
from motifk8s.study.study import Cell, Study
from motifk8s.training import devices, models

if TYPE_CHECKING:
    import keras


class Found(NamedTuple):
    """The places of motifs in the sequences of a data set."""

    hits: np.ndarray  # (n,) of HIT, from `merge`
    labels: list[Label]
    names: list[str]  # of chromosomes or sequences
    placed: bool  # whether the data set says where its sequences are from
    shuffled: int  # sequences of the part that were not, because they have no place
    cells: int  # that were read
    missing: dict[str, str]  # why each other cell is not finished, by cell id


def find_hits(
    study: Study,
    store: Store,
    patterns: Sequence[str] = ("*",),
    *,
    part: str = "test",
    by: str = "motif",
    min_cells: int = 1,
    progress: Callable[[str], object] = lambda text: None,
) -> Found:
    """Find where the filters that match a motif fire, in all layers before the first pooling.

    The sequences are streamed once for each layer of each finished cell. Memory holds the data set
    and all hits, before merging about 200 bytes each.

    Parameters
    ----------
    patterns : sequence of str
        Of cell ids, such as ``synthetic/cnn-25/*``. All cells must be of one data set.
    part : {"test", "valid", "train", "all"}
        The sequences to scan. Shuffled ones have no place and are left out.
    by : {"motif", "filter"}
        Whether hits of different filters and cells at one place of a motif are one hit.
    min_cells : int
        Leave out the hits of fewer cells.
    progress : callable
        Called with the id of each cell.

    Raises
    ------
    InputError
        If a pattern matches no cell, the cells are of several data sets, or `min_cells` is larger
        than the number of finished cells.
    IncompleteError
        If no cell is finished.
    """
    states = _choose(study, store, patterns)
    cells = {state.cell: state.done for state in states if state.done}
    missing = {s.cell.id: why(s) for s in states if not s.done}
    if not cells:
        raise IncompleteError(f"study {study.name}: no cell is finished: {list_by_reason(missing)}")
    if min_cells > len(cells):
        raise InputError(f"--min-cells {min_cells}: the number of finished cells is {len(cells)}")
    devices.setup()
    dataset = load_dataset(study, next(iter(cells)).dataset, store)
    rows, places, names = _sequences(dataset, part)
    codes, places = dataset.codes[rows], places[rows]
    labels: dict[Label, int] = {}  # with their numbers
    found = [np.empty(0, HIT)]
    reader = _Reader(study, store, by == "filter")
    for number, (cell, done) in enumerate(cells.items()):
        progress(cell.id)
        for layer in reader.read(cell, done):
            found += _scan(layer, study.motifs, labels, codes, places, number)
    hits = search.merge(np.concatenate(found), list(labels))
    hits = hits[hits["cell"] >= min_cells]
    shuffled = int(_in_part(dataset, part).sum()) - len(rows)
    placed = dataset.places is not None
    return Found(hits, list(labels), names, placed, shuffled, len(cells), missing)


def _choose(study: Study, store: Store, patterns: Sequence[str]) -> list[State]:
    """Return the states of the cells that match a pattern."""
    chosen = {cell for pattern in patterns for cell in study.cells_like(pattern)}
    states = [state for state in plan(study, store) if state.cell in chosen]
    if len(names := list(dict.fromkeys(state.cell.dataset for state in states))) > 1:
        raise InputError(
            f"study {study.name}: the cells are of several data sets ({', '.join(names)}); choose "
            f"one: --cells '{names[0]}/*'"
        )
    return states


def _in_part(dataset: Dataset, part: str) -> np.ndarray:
    """Return which sequences (N,) are in a part, or "all"."""
    if part == "all":
        return np.ones(len(dataset.split), bool)
    return dataset.split == PARTS.index(part)


def _sequences(dataset: Dataset, part: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the rows to scan, the places (N,) of all rows, and the names of the places.

    Without places, the name of a sequence is its part and its number there, from 0: test_17.
    """
    chosen = _in_part(dataset, part)
    if dataset.places is not None:
        places = dataset.places.rows
        return np.flatnonzero(chosen & (places["name"] >= 0)), places, dataset.places.names
    number = np.empty(len(dataset.split), int)
    for i in range(len(PARTS)):
        rows = np.flatnonzero(dataset.split == i)
        number[rows] = np.arange(len(rows))
    names = [f"{PARTS[i]}_{n}" for i, n in zip(dataset.split, number, strict=True)]
    return np.flatnonzero(chosen), rows_at(np.arange(len(names))), names


class _Matched(NamedTuple):
    """A layer of a cell, with the filters that match a motif."""

    place: Layer
    filters: Filters
    matches: list[Match]
    labels: list[Label]  # of the matches


def _scan(
    layer: _Matched,
    rule: MotifSettings,
    labels: dict[Label, int],
    codes: np.ndarray,
    places: np.ndarray,
    cell: int,
) -> Iterator[np.ndarray]:
    """Yield the hits of a layer, in arrays of HIT; number its labels in `labels`."""
    numbers = [labels.setdefault(label, len(labels)) for label in layer.labels]
    for batch in search.scan(layer.place, codes, layer.filters, rule, layer.matches):
        yield search.locate(batch, layer.matches, numbers, places, codes.shape[1], cell)


class _Reader:
    """Reads the finished cells of a study."""

    def __init__(self, study: Study, store: Store, by_filter: bool):
        self.study, self.store, self.by_filter = study, store, by_filter
        settings = study.matches
        targets = read_database(settings.database)
        more: dict[str, Any] = {"distance": settings.distance, "qvalue": settings.qvalue}
        self.targets = {target.name: target for target in targets}
        self.null = cache(lambda width: null_targets(width, targets, settings.evalue, **more))

    def read(self, cell: Cell, done: Done) -> Iterator[_Matched]:
        """Load the model of a finished cell; yield its layers that have a filter with a match."""
        place = cell_folder(self.study, cell)

        def fetch(name: str) -> bytes:
            return marker.fetch(self.store, place, done, name)

        layers = numbered_layers(self._load(cell, fetch("model.keras")))
        filters = read_filters(BytesIO(fetch("filters.h5")))
        for name, metrics in json.loads(fetch("metrics.json"))["layers"].items():
            hits = read_hits(fetch(f"hits-{name}.tsv"))
            rest = self.targets, self.study.motifs, self.null
            matches = search.find_matches(filters[name], metrics["labels"], hits, *rest)
            if matches:
                where = f"|{cell.id}|{name}|filter" if self.by_filter else ""
                labels = [self._label(match, where) for match in matches]
                yield _Matched(layers[name], filters[name], matches, labels)

    def _load(self, cell: Cell, content: bytes) -> keras.Model:
        """Load a model from the content of its file."""
        spec, data = self.study.models[cell.model], self.study.datasets[cell.dataset]
        settings = self.study.training_for(cell.dataset)
        with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder:
            file = Path(folder) / "model.keras"
            with replacing(file) as target:
                target.write(content)
            return models.load(file, spec, settings, data.length, data.n_classes)

    def _label(self, match: Match, where: str) -> Label:
        """Return the label of a match: its motif and, if `where` is not empty, its filter."""
        alt = self.targets[match.target].alt
        name = f"{alt}_{match.target}" if alt else match.target
        name += f"{where}{match.filter}" if where else ""
        return Label("_".join(name.split()), match.width)
