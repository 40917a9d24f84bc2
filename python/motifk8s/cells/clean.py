"""What a study no longer needs: checkpoints of finished cells, runs that no marker names.

What a marker names is never deleted: the marker is read again right before a file of its cell is
deleted, and a cell whose marker or files are damaged is left alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import NamedTuple

from motifk8s.cells.keys import cell_folder, stage_keys
from motifk8s.cells.marker import Done, check_present, read_done
from motifk8s.data.stored import data_hash
from motifk8s.store.base import DamagedError, Info, Store
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
    """What `find` returns.

    Attributes
    ----------
    leftovers : list of Leftover
    young : list of str
        Runs that no marker names yet, but whose upload may be under way.
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

    A cell is finished if its marker has the study's present keys. With an older marker, the
    checkpoint belongs to the run that will replace it.

    Parameters
    ----------
    study : Study
    store : Store
    all_checkpoints : bool
        Find checkpoints of unfinished cells too.
    now : float, optional
        Seconds since 1970.
    """
    files: dict[str, dict[str, Info]] = {}
    for path, info in store.infos(f"{study.name}/cells").items():
        if match := re.fullmatch(r"([^/]+/cells/[^/]+/[^/]+/[^/]+)/(.+)", path):
            files.setdefault(match[1], {})[match[2]] = info
    keys = _present_keys(study, store)
    oldest = (time.time() if now is None else now) - YOUNG

    def look(place: str) -> Found:
        try:
            done = _read_whole(store, place, files[place])
        except DamagedError as error:
            return Found([], [], [f"{error}; the cell is left alone"])
        finished = done is not None and done.keys == keys.get(place)
        unfinished = _unfinished(place, files[place], done) if all_checkpoints or finished else []
        runs, young = _runs(place, files[place], done, oldest)
        return Found(unfinished + runs, young, [])

    cells = store.map(look, sorted(files))
    return Found(
        [leftover for cell in cells for leftover in cell.leftovers],
        [run for cell in cells for run in cell.young],
        [text for cell in cells for text in cell.damaged],
    )


def _present_keys(study: Study, store: Store) -> dict[str, dict[str, str]]:
    """Hash the stages of each cell, by its folder, as far as the store has the data set."""
    cells = study.cells()
    hashes = {name: data_hash(study, name, store) for name in {cell.dataset for cell in cells}}
    return {
        cell_folder(study, cell): stage_keys(study, cell, content)
        for cell in cells
        if (content := hashes[cell.dataset]) is not None
    }


def _read_whole(store: Store, place: str, files: Mapping[str, Info]) -> Done | None:
    """Read a cell's marker; `DamagedError` unless it names a run whose files all exist."""
    done = read_done(store, place)
    if done is None:
        return None
    if not re.fullmatch(r"runs/\w[\w.-]*", done.run):
        raise DamagedError(f"{place}/done.json is damaged: its run is {done.run!r}")
    # A marker that was written after the files were listed names files that are not in the list.
    if not all(f"{done.run}/{name}" in files for name in done.files):
        check_present(store, place, done)
    return done


def _unfinished(place: str, files: Mapping[str, Info], done: Done | None) -> list[Leftover]:
    """Find what a run keeps while it is at work."""
    return [
        Leftover(kind, f"{place}/{name}", files[name].size, place, done)
        for name, kind in (("checkpoint", "checkpoint"), ("progress.json", "progress file"))
        if name in files
    ]


def _runs(
    place: str, files: Mapping[str, Info], done: Done | None, oldest: float
) -> tuple[list[Leftover], list[str]]:
    """Find the runs that the marker does not name; return those written since `oldest` apart."""
    runs: dict[str, list[Info]] = {}
    for name, info in files.items():
        if match := re.match(r"runs/[^/]+(?=/)", name):
            runs.setdefault(match[0], []).append(info)
    leftovers, young = [], []
    for run, infos in runs.items():
        if done is not None and run == done.run:
            continue
        if max(info.modified for info in infos) > oldest:
            young.append(f"{place}/{run}")
        else:
            size = sum(info.size for info in infos)
            leftovers.append(Leftover("run", f"{place}/{run}", size, place, done))
    return leftovers, young


def remove(store: Store, leftover: Leftover) -> bool:
    """Delete a leftover, unless its cell's marker has changed since; return whether it did."""
    try:
        if read_done(store, leftover.place) != leftover.done:
            return False
    except DamagedError:
        return False
    store.delete(leftover.path)
    return True
