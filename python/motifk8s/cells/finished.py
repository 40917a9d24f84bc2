"""Read the finished cells of a study from its store."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any, NamedTuple

import pandas as pd

from motifk8s.cells import marker
from motifk8s.cells.keys import cell_folder
from motifk8s.cells.marker import Done
from motifk8s.cells.plan import State, plan
from motifk8s.errors import last_line, one_line
from motifk8s.filters import analysis
from motifk8s.filters.extract import Filters
from motifk8s.filters.layer_motifs import read_filters
from motifk8s.store.base import DamagedError, Store
from motifk8s.study.study import Cell, Study

# The kinds of the values that a report uses; a value may be absent.
METRICS: dict[str, tuple[type, ...]] = {
    "cell": (str,), "dataset": (str,), "model": (str,), "trial": (int,), "layers": (dict,),
    **dict.fromkeys(("auroc", "aupr", "val_loss", "seconds"), (float, int)),
    **dict.fromkeys(("epochs", "best_epoch"), (int,)),
    **dict.fromkeys(("auroc_by_class", "aupr_by_class"), (dict,)),
}  # fmt: skip
PROVENANCE: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("code_version", "trained_by", "python", "machine", "device"), (str,)),
    **dict.fromkeys(("threads", "peak_memory_bytes"), (int,)),
    **dict.fromkeys(("libraries", "stages"), (dict,)),
    **dict.fromkeys(("data_hash", "started", "ended"), (str,)), "resumed_at_epochs": (list,),
}  # fmt: skip


HITS = ["Query_ID", "Target_ID", "Optimal_offset", "Overlap", "Orientation"]


class CellFiles(NamedTuple):
    """The files of a finished cell that a report uses."""

    metrics: dict[str, Any]
    history: pd.DataFrame
    filters: dict[str, Filters]  # by layer
    provenance: dict[str, Any]
    analysis: dict[str, pd.DataFrame]  # "sensitivity", "importance", "firing"
    hits: Mapping[str, pd.DataFrame] = {}  # by layer, columns `HITS`; only if a claim needs them
    done: Done = Done({}, "", {}, {})  # the marker that names these files


def read_finished(study: Study, store: Store) -> tuple[dict[str, CellFiles], dict[str, str]]:
    """Return the files of each finished cell, and why each other cell is missing, by cell id."""
    finished: dict[str, CellFiles] = {}
    missing: dict[str, str] = {}
    for state in plan(study, store):
        if state.done:
            try:
                finished[state.cell.id] = _read_cell(study, store, state.cell, state.done)
                continue
            except DamagedError as error:
                state = State(state.cell, "damaged", str(error))
        missing[state.cell.id] = why(state)
    return finished, missing


def why(state: State) -> str:
    """Return the state of a cell that is not done, with the last line of its reason."""
    reason = last_line(state.reason)
    return f"{state.state}: {reason}" if reason else state.state


def by_reason(missing: Mapping[str, str]) -> dict[str, list[str]]:
    """Group the ids of missing cells by reason, in order."""
    reasons: dict[str, list[str]] = {}
    for cell, reason in missing.items():
        reasons.setdefault(reason, []).append(cell)
    return reasons


def list_by_reason(missing: Mapping[str, str]) -> str:
    """Return the ids of missing cells and their reasons as a text."""
    return "; ".join(f"{', '.join(ids)} ({why})" for why, ids in by_reason(missing).items())


def _read_cell(study: Study, store: Store, cell: Cell, done: Done) -> CellFiles:
    place = cell_folder(study, cell)

    def fetch(name: str) -> bytes:
        return marker.fetch(store, place, done, name)

    try:
        metrics = _json(fetch("metrics.json"), METRICS)
        aligned = any(claim.measure == "completeness" for claim in study.claims)
        return CellFiles(
            metrics=metrics,
            history=pd.read_csv(BytesIO(fetch("history.csv"))),
            filters=read_filters(BytesIO(fetch("filters.h5"))),
            provenance=_json(fetch("provenance.json"), PROVENANCE),
            analysis={name: analysis.read(fetch(f"{name}.csv"), name) for name in analysis.TABLES},
            hits={
                name: read_hits(fetch(f"hits-{name}.tsv")) for name in metrics["layers"] if aligned
            },
            done=done,
        )
    except (ValueError, KeyError, TypeError, OSError) as error:  # of other programs' files
        raise DamagedError(f"{place}/{done.run} cannot be read: {one_line(error)}") from None


def read_hits(data: bytes) -> pd.DataFrame:
    """Read the columns `HITS` of Tomtom's hits."""
    kinds = {"Optimal_offset": int, "Overlap": int}
    return pd.read_csv(
        BytesIO(data),
        sep="\t",
        usecols=HITS,
        dtype={name: kinds.get(name, str) for name in HITS},
        keep_default_na=False,  # a motif may be called NA
        quoting=csv.QUOTE_NONE,
    )


def _json(data: bytes, kinds: dict[str, tuple[type, ...]]) -> dict[str, Any]:
    """Parse a file of a cell; raise ValueError if a value is not of its kind, or not finite."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number of JSON")

    content = json.loads(data, parse_constant=refuse)
    if not isinstance(content, dict):
        raise ValueError(f"expected a mapping, not {str(content)[:40]}")
    for key, allowed in kinds.items():
        value = content.get(key)
        if value is not None and not isinstance(value, allowed):
            raise ValueError(f"{key}: expected {allowed[0].__name__}, not {str(value)[:40]!r}")
    stages = content.get("stages") or {}
    if "stages" in kinds and not all(isinstance(s, int | float) for s in stages.values()):
        raise ValueError("stages: expected seconds")
    return content
