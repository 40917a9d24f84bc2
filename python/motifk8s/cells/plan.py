"""All cells of a study: what is done and what is missing; run it on one machine; aggregate it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from motifk8s.cells import marker
from motifk8s.cells.keys import cell_folder, stage_keys
from motifk8s.cells.marker import DamagedError
from motifk8s.data import stored
from motifk8s.filters import analysis
from motifk8s.motifs.database import database_version
from motifk8s.store.base import MissingError, Store
from motifk8s.store.files import local_problem
from motifk8s.study.study import Cell, Study, content_hash


class State(NamedTuple):
    """Where a cell stands.

    Attributes
    ----------
    cell : Cell
    state : str
        "done"; "missing"; "started" (a checkpoint exists); "failed"; "outdated" (finished with
        other settings or data); "damaged" (files of the finished run are gone or were changed).
    reason : str
        Of the last three; of "missing" too, if running it would not help.
    """

    cell: Cell
    state: str
    reason: str = ""


def plan(study: Study, store: Store, files: Iterable[str] | None = None) -> list[State]:
    """Tell where every cell of a study stands; computes nothing.

    Reads markers, and looks whether the files of a finished cell are what the marker says; see
    `marker.check` for what that costs. `files` are the paths in the folder of the cells, if the
    caller has listed them.

    Raises
    ------
    InputError
        If the database of motifs is neither a release nor a file, or a release is not known.
    Problem
        If a marker is of a format that this version does not read.
    """
    database_version(study.matches.database)
    analysis.check(study)
    cells = study.cells()
    hashes = {
        name: stored.data_hash(study, name, store)
        for name in dict.fromkeys(c.dataset for c in cells)
    }
    files = set(store.list(f"{study.name}/cells") if files is None else files)
    with ThreadPoolExecutor(8) as pool:  # a store may be far away
        return list(pool.map(lambda c: _state(study, store, c, hashes[c.dataset], files), cells))


def _state(study: Study, store: Store, cell: Cell, data_hash: str | None, files: set[str]) -> State:

    place = cell_folder(study, cell)
    state = State(cell, "started" if f"{place}/checkpoint" in files else "missing")
    if data_hash is None and not stored.can_be_made(study, cell.dataset):
        state = state._replace(reason=stored.absent(study, cell.dataset))
    if f"{place}/done.json" in files:
        try:
            done = marker.read_done(store, place)
            if data_hash is None:
                state = State(cell, "outdated", f"data set {cell.dataset} is not in the store")
            elif done is not None:
                keys = stage_keys(study, cell, data_hash)
                if done.keys == keys:
                    marker.check(store, place, done)
                    return State(cell, "done")
                changed = next((s for s in keys if done.keys.get(s) != keys[s]), "present")
                absent = changed in keys and changed not in done.keys
                why = "is not made yet" if absent else "settings or data have changed"
                state = State(cell, "outdated", f"its {changed} {why}")
        except DamagedError as error:
            state = State(cell, "damaged", str(error))
    if f"{place}/failed.json" in files:
        state = State(cell, "failed", _read_failure(store, place))
    return state


def _read_failure(store: Store, place: str) -> str:
    try:
        return str(json.loads(store.read(f"{place}/failed.json"))["reason"])
    except (MissingError, ValueError, KeyError, TypeError):
        return "unknown reason"


def keep_study(study: Study, store: Store) -> str:
    """Keep a study in the store as it is now, every default spelt out; return its address.

    All steps of a workflow read it there: whatever becomes of the file or the image that it came
    from, they do the same study, and it is on record.
    """
    resolved = study.resolved()
    path = f"{study.name}/studies/{content_hash(resolved)[:12]}.json"
    if not store.exists(path):
        store.write(path, (json.dumps(resolved, indent=1, ensure_ascii=False) + "\n").encode())
    return f"{store.url.rstrip('/')}/{path}"


def write_outputs(folder: Path, **outputs: str) -> None:
    """Write what a step of a workflow hands to the next ones: a file each, named by its key."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in outputs.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise local_problem(error, "write to", folder) from error
