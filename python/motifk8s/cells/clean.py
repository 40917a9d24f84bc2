"""Find and delete what a study no longer needs: old checkpoints, and runs that no marker names.

Files that a marker names are never deleted: `remove` reads the marker again before it deletes
anything of a cell. Cells whose marker or files are damaged are skipped.
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

# Seconds. A run is uploaded file by file before its marker; no upload pauses for so long.
YOUNG = 3600.0


class Leftover(NamedTuple):
    """A file, or the folder of a run, that is not needed."""

    kind: str  # "checkpoint", "progress file" or "run"
    path: str
    size: int  # bytes
    place: str  # folder of the cell
    done: Done | None  # the cell's marker at the time of the search


class Found(NamedTuple):
    """What `find` returns."""

    leftovers: list[Leftover]
    young: list[str]  # runs without a marker that may still be uploading
    damaged: list[str]  # one sentence for each cell that is skipped


def find(
    study: Study, store: Store, *, all_checkpoints: bool = False, now: float | None = None
) -> Found:
    """Find what can be deleted in the folder of a study; delete nothing.

    A cell is finished if its marker has the present keys of the study. The checkpoint of an
    unfinished cell belongs to its next run; it is found only with `all_checkpoints`. `now` is in
    seconds since 1970.
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
            return Found([], [], [f"{error}; this cell is skipped"])
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
    """Return the keys of each cell whose data set is in the store, by the cell's folder."""
    cells = study.cells()
    hashes = {name: data_hash(study, name, store) for name in {cell.dataset for cell in cells}}
    return {
        cell_folder(study, cell): stage_keys(study, cell, content)
        for cell in cells
        if (content := hashes[cell.dataset]) is not None
    }


def _read_whole(store: Store, place: str, files: Mapping[str, Info]) -> Done | None:
    """Read a cell's marker; raise `DamagedError` unless all files that it names exist."""
    done = read_done(store, place)
    if done is None:
        return None
    if not re.fullmatch(r"runs/\w[\w.-]*", done.run):
        raise DamagedError(f"{place}/done.json is damaged: its run is {done.run!r}")
    # A marker newer than the list of files names files that are not in the list.
    if not all(f"{done.run}/{name}" in files for name in done.files):
        check_present(store, place, done)
    return done


def _unfinished(place: str, files: Mapping[str, Info], done: Done | None) -> list[Leftover]:
    """Find the files that a cell has only while it runs."""
    return [
        Leftover(kind, f"{place}/{name}", files[name].size, place, done)
        for name, kind in (("checkpoint", "checkpoint"), ("progress.json", "progress file"))
        if name in files
    ]


def _runs(
    place: str, files: Mapping[str, Info], done: Done | None, oldest: float
) -> tuple[list[Leftover], list[str]]:
    """Find runs that the marker does not name; return old and young ones."""
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
    """Delete a leftover and return True; return False if the cell's marker has changed since."""
    try:
        if read_done(store, leftover.place) != leftover.done:
            return False
    except DamagedError:
        return False
    store.delete(leftover.path)
    return True
