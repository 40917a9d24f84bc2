"""The state of each cell of a study; and the copy of a study that a workflow reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import NamedTuple

from motifk8s.cells import marker
from motifk8s.cells.keys import cell_folder, stage_keys
from motifk8s.cells.marker import Done
from motifk8s.cells.progress import read_failure
from motifk8s.data import stored
from motifk8s.filters import analysis
from motifk8s.motifs.database import database_version
from motifk8s.store.base import DamagedError, Store
from motifk8s.study.study import Cell, Study


class Data(NamedTuple):
    """The data set of a cell, in the store."""

    hash: str | None  # None if the store lacks it
    lacking: str = ""  # why it does
    absent: str = ""  # how to bring it, if no step can make it


class State(NamedTuple):
    """The state of a cell.

    `state` is "done"; "missing"; "started" (a checkpoint exists); "failed"; "outdated" (finished
    with other settings or data); or "damaged" (files of the finished run are missing or changed).
    The last three have a `reason`; so have "missing" and "started" if the data set cannot be made.
    A cell that is done has its marker `done`, which names the files that were checked.
    """

    cell: Cell
    state: str
    reason: str = ""
    done: Done | None = None


def plan(study: Study, store: Store, files: Collection[str] | None = None) -> list[State]:
    """Return the state of each cell of a study, without computing anything.

    Reads markers, and checks the files of each finished cell as `marker.check` describes. `files`
    are all paths in the folder of the study's cells, if the caller has listed them.

    Raises
    ------
    InputError
        If the database of motifs is neither a known release nor a file.
    FormatError
        If this version does not read the format of a marker.
    """
    database_version(study.matches.database)
    analysis.check(study)
    cells = study.cells()
    names = dict.fromkeys(cell.dataset for cell in cells)
    data = {name: _data(study, name, store) for name in names}
    paths = set(store.list(f"{study.name}/cells") if files is None else files)

    def state(cell: Cell) -> State:
        return _state(study, store, cell, data[cell.dataset], paths)

    return store.map(state, cells)


def _data(study: Study, name: str, store: Store) -> Data:
    if (data_hash := stored.data_hash(study, name, store)) is not None:
        return Data(data_hash)
    made = stored.can_be_made(study, name)
    absent = "" if made else stored.absent(study, name, store)
    return Data(None, stored.lacking(study, name, store), absent)


def _state(study: Study, store: Store, cell: Cell, data: Data, files: set[str]) -> State:
    """Return the state of a cell; `files` are those of the study."""
    place = cell_folder(study, cell)
    state = None
    if f"{place}/done.json" in files:
        state = _state_of_finished(study, store, cell, data)
        if state and state.state == "done":
            return state
    if f"{place}/failed.json" in files:
        return State(cell, "failed", read_failure(store, place).reason)
    if state:
        return state
    return State(cell, "started" if f"{place}/checkpoint" in files else "missing", data.absent)


def _state_of_finished(study: Study, store: Store, cell: Cell, data: Data) -> State | None:
    """Return the state of a cell with a marker; None if the marker was deleted just now."""
    place = cell_folder(study, cell)
    try:
        done = marker.read_done(store, place)
        if data.hash is None:
            return State(cell, "outdated", data.lacking)
        if done is None:
            return None
        keys = stage_keys(study, cell, data.hash)
        if done.keys != keys:
            return State(cell, "outdated", _what_changed(done.keys, keys))
        marker.check(store, place, done)
        return State(cell, "done", done=done)
    except DamagedError as error:
        return State(cell, "damaged", str(error))


def _what_changed(old: dict[str, str], new: dict[str, str]) -> str:
    """Name the first stage whose key is different."""
    stage = next((stage for stage in new if old.get(stage) != new[stage]), "present")
    if stage in new and stage not in old:
        return f"its {stage} is not computed yet"
    return f"its {stage} settings, data or code have changed"


def keep_study(study: Study, store: Store) -> str:
    """Write a study with all its defaults and the hashes of its files to the store; return its URL.

    All steps of a workflow read this copy. So they run the same study even if its file, a data file
    or the image changes. Its name is the hash of its text, because the order of classes matters. It
    is written even if it exists: the newest copy is the one that a name alone loads.
    """
    resolved = stored.pinned(study, store).resolved()
    text = (json.dumps(resolved, indent=1, ensure_ascii=False) + "\n").encode()
    path = f"{study.name}/studies/{hashlib.sha256(text).hexdigest()}.json"
    store.write(path, text)
    return f"{store.url.rstrip('/')}/{path}"
