"""Read the finished cells of a study from its store."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any, NamedTuple

import pandas as pd

from motifk8s.cells import marker
from motifk8s.cells.keys import cell_folder
from motifk8s.cells.plan import State, plan
from motifk8s.errors import last_line
from motifk8s.filters import analysis
from motifk8s.filters.extract import Filters
from motifk8s.filters.layer_motifs import read_filters
from motifk8s.store.base import DamagedError, Store
from motifk8s.study.study import Cell, Study


class CellFiles(NamedTuple):
    """The files of a finished cell that a report uses."""

    metrics: dict[str, Any]
    history: pd.DataFrame
    filters: dict[str, Filters]  # by layer
    provenance: dict[str, Any]
    analysis: dict[str, pd.DataFrame]  # "sensitivity", "importance", "firing"


def read_finished(study: Study, store: Store) -> tuple[dict[str, CellFiles], dict[str, str]]:
    """Return the files of each finished cell, and why each other cell is missing, by cell id."""
    finished: dict[str, CellFiles] = {}
    missing: dict[str, str] = {}
    for state in plan(study, store):
        if state.state == "done":
            try:
                finished[state.cell.id] = _read_cell(study, store, state.cell)
                continue
            except DamagedError as error:
                state = State(state.cell, "damaged", str(error))
        reason = last_line(state.reason)
        missing[state.cell.id] = f"{state.state}: {reason}" if reason else state.state
    return finished, missing


def _read_cell(study: Study, store: Store, cell: Cell) -> CellFiles:
    place = cell_folder(study, cell)
    done = marker.read_done(store, place)
    assert done is not None  # plan has just read it

    def fetch(name: str) -> bytes:
        return marker.fetch(store, place, done, name)

    return CellFiles(
        metrics=json.loads(fetch("metrics.json")),
        history=pd.read_csv(BytesIO(fetch("history.csv"))),
        filters=read_filters(BytesIO(fetch("filters.h5"))),
        provenance=json.loads(fetch("provenance.json")),
        analysis={name: analysis.read(fetch(f"{name}.csv")) for name in analysis.TABLES},
    )
