"""What a study no longer needs: checkpoints of finished cells, runs that no marker names.

What a marker names is never deleted: a marker is read again right before anything beside it is
deleted, and a cell whose marker or whose files are damaged is left alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from motifk8s.cells.keys import cell_folder, stage_keys
from motifk8s.cells.marker import DamagedError, Done, read_done
from motifk8s.data.stored import data_hash
from motifk8s.store.base import Info, Store
from motifk8s.study.study import Study

# A run is uploaded file by file before its marker; no upload pauses for as long as this.
YOUNG = 3600.0


class Leftover(NamedTuple):
    """A file, or the folder of a run, that is not needed.

    Attributes
    ----------
    kind : str
        "checkpoint", "progress file" or "run".
    path : str
        In the store.
    size : int
        In bytes.
    place : str
        Folder of its cell.
    done : Done or None
        The cell's marker when this was found.
    """

    kind: str
    path: str
    size: int
    place: str
    done: Done | None


class Found(NamedTuple):
    """What `find` found.

    Attributes
    ----------
    leftovers : list of Leftover
    young : list of str
        Runs that no marker names yet, but that may be on their way up.
    damaged : list of str
        Why a cell is left alone; one sentence a cell.
    """

    leftovers: list[Leftover]
    young: list[str]
    damaged: list[str]


def find(
    study: Study, store: Store, *, all_checkpoints: bool = False, now: float | None = None
) -> Found:
    """Find what can be deleted in the folder of a study; deletes nothing.

    A cell is finished if its marker has the study's present keys: the checkpoint beside an older
    marker is that of the run which will replace it.

    Parameters
    ----------
    study : Study
    store : Store
    all_checkpoints : bool
        Checkpoints of unfinished cells too.
    now : float, optional
        Seconds since 1970.
    """
    hashes = {name: data_hash(study, name, store) for name in {c.dataset for c in study.cells()}}
    keys = {
        cell_folder(study, cell): stage_keys(study, cell, content)
        for cell in study.cells()
        if (content := hashes[cell.dataset]) is not None
    }
    places: dict[str, dict[str, Info]] = {}
    for path, info in store.infos(f"{study.name}/cells").items():
        if match := re.fullmatch(r"([^/]+/cells/[^/]+/[^/]+/[^/]+)/(.+)", path):
            places.setdefault(match[1], {})[match[2]] = info
    oldest = (time.time() if now is None else now) - YOUNG

    def look(place: str) -> Found:
        return _look(store, place, places[place], keys.get(place), all_checkpoints, oldest)

    with ThreadPoolExecutor(8) as pool:  # a store may be far away
        each = list(pool.map(look, sorted(places)))
    return (
        Found(*(sum(parts, []) for parts in zip(*each, strict=True))) if each else Found([], [], [])
    )


def _look(
    store: Store,
    place: str,
    files: Mapping[str, Info],
    keys: dict[str, str] | None,
    all_checkpoints: bool,
    oldest: float,
) -> Found:

    try:
        done = _read_whole(store, place, files)
    except DamagedError as error:
        return Found([], [], [f"{error}; the cell is left alone"])
    leftovers, young = [], []
    if all_checkpoints or (done is not None and done.keys == keys):
        for name, kind in (("checkpoint", "checkpoint"), ("progress.json", "progress file")):
            if name in files:
                leftovers.append(Leftover(kind, f"{place}/{name}", files[name].size, place, done))
    runs: dict[str, list[Info]] = {}
    for name, info in files.items():
        if match := re.match(r"runs/[^/]+(?=/)", name):
            runs.setdefault(match[0], []).append(info)
    for run, infos in runs.items():
        if done is not None and run == done.run:
            continue
        if max(info.modified for info in infos) > oldest:
            young.append(f"{place}/{run}")
        else:
            size = sum(info.size for info in infos)
            leftovers.append(Leftover("run", f"{place}/{run}", size, place, done))
    return Found(leftovers, young, [])


def _read_whole(store: Store, place: str, files: Mapping[str, Info]) -> Done | None:
    """Read a cell's marker; `DamagedError` unless it names a run whose files are all there."""
    done = read_done(store, place)
    if done is None:
        return None
    if not re.fullmatch(r"runs/\w[\w.-]*", done.run):
        raise DamagedError(f"{place}/done.json is damaged: its run is {done.run!r}")
    # A marker that was written after the files were listed names files that are not in the list.
    here = files if all(f"{done.run}/{name}" in files for name in done.files) else None
    present = here or {p.removeprefix(f"{place}/") for p in store.list(f"{place}/{done.run}")}
    for name in done.files:
        if f"{done.run}/{name}" not in present:
            raise DamagedError(f"{place}/{done.run}/{name} is gone, though its marker names it")
    return done


def remove(store: Store, leftover: Leftover) -> bool:
    """Delete a leftover, unless its cell's marker is no longer what it was; tell whether."""
    try:
        if read_done(store, leftover.place) != leftover.done:
            return False
    except DamagedError:
        return False
    store.delete(leftover.path)
    return True
