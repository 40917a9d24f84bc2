"""Find and delete what a study no longer needs.

That is: old checkpoints, runs and data files that no marker names, and files that a killed process
left unfinished.

Files that a marker names are never deleted: `remove` reads the marker again before it deletes
anything of a cell or data set. Cells whose marker or files are damaged are skipped.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from motifk8s.cells.keys import cell_folder, stage_keys
from motifk8s.cells.marker import Done, check_present, read_done
from motifk8s.data import stored as data
from motifk8s.errors import Problem
from motifk8s.store.base import DamagedError, FormatError, Info, Store, Unfinished
from motifk8s.study.study import Study

# Seconds. A run is uploaded file by file before its marker; no upload pauses for so long.
YOUNG = 3600.0
SHARED = ("datasets", "checks")  # folders of all studies; unfinished files there have no owner


class Leftover(NamedTuple):
    """A file, or the folder of a run, that is not needed."""

    kind: str  # "checkpoint", "progress file", "run", "data file" or "unfinished file"
    path: str
    size: int  # bytes
    place: str = ""  # folder of the cell or data set
    done: Done | data.Found | None = None  # its marker at the time of the search
    info: Info | None = None  # of a data file
    unfinished: Unfinished | None = None


class Found(NamedTuple):
    """What `find` returns."""

    leftovers: list[Leftover]
    young: list[str]  # runs and files that may still be written
    damaged: list[str]  # one sentence for each cell that is skipped, and what cannot be listed


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
        except (DamagedError, FormatError) as error:
            return Found([], [], [f"{error}; this cell is skipped"])
        finished = done is not None and done.keys == keys.get(place)
        unfinished = _unfinished(place, files[place], done) if all_checkpoints or finished else []
        runs, young = _runs(place, files[place], done, oldest)
        return Found(unfinished + runs, young, [])

    parts = store.map(look, sorted(files))
    parts.append(_data_files(store, oldest))
    parts += [_unfinished_files(store, folder, oldest) for folder in (study.name, *SHARED)]
    return _joined(parts)


def _joined(parts: Iterable[Found]) -> Found:
    whole = Found([], [], [])
    for part in parts:
        whole.leftovers.extend(part.leftovers)
        whole.young.extend(part.young)
        whole.damaged.extend(part.damaged)
    return whole


def _present_keys(study: Study, store: Store) -> dict[str, dict[str, str]]:
    """Return the keys of each cell whose data set is in the store, by the cell's folder."""
    cells = study.cells()
    hashes = {name: _data_hash(study, name, store) for name in {cell.dataset for cell in cells}}
    return {
        cell_folder(study, cell): stage_keys(study, cell, content)
        for cell in cells
        if (content := hashes[cell.dataset]) is not None
    }


def _data_hash(study: Study, name: str, store: Store) -> str | None:
    with suppress(Problem):  # its marker is damaged: which of its cells are finished is unknown
        return data.data_hash(study, name, store)
    return None


def _data_files(store: Store, oldest: float) -> Found:
    """Find the data files that no marker names: those replaced, or left before their marker."""
    files: dict[str, dict[str, Info]] = {}
    for path, info in store.infos("datasets").items():
        if match := re.fullmatch(
            r"(datasets/[^/]+-[0-9a-f]{12})/(data(?:-[0-9a-f]{12})?\.h5|done\.json)", path
        ):
            files.setdefault(match[1], {})[match[2]] = info

    def look(place: str) -> Found:
        try:
            found = data.read_marker(store, place)
        except (DamagedError, FormatError) as error:
            return Found([], [], [f"{error}; this data set is skipped"])
        if found and found.file not in files[place]:  # missing, or newer than the list of files
            return Found([], [], [])
        others = [n for n in files[place] if n != "done.json" and (not found or n != found.file)]
        old = [
            Leftover("data file", f"{place}/{name}", info.size, place, found, info)
            for name in others
            if (info := files[place][name]).modified <= oldest
        ]
        young = [f"{place}/{name}" for name in others if files[place][name].modified > oldest]
        return Found(old, young, [])

    return _joined(store.map(look, sorted(files)))


def _unfinished_files(store: Store, folder: str, oldest: float) -> Found:
    """Find the files in a folder of the store that a killed process left half-written."""
    try:
        # Some servers and credentials do not allow it, and then there is no use in waiting.
        files = list(store.hasty().unfinished(folder))
    except Problem as error:
        return Found([], [], [f"{error}; its unfinished files are skipped"])
    return Found(
        [
            Leftover("unfinished file", file.path, file.size, unfinished=file)
            for file in files
            if file.modified <= oldest
        ],
        [file.path for file in files if file.modified > oldest],
        [],
    )


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
    if leftover.unfinished:
        store.discard(leftover.unfinished)
        return True
    place, path = leftover.place, leftover.path
    try:
        if leftover.kind == "data file":
            # A name by content may be written again, in its place, just before its marker.
            if store.infos(place).get(path) != leftover.info:
                return False
            if data.read_marker(store, place) != leftover.done:
                return False
        elif read_done(store, place) != leftover.done:
            return False
    except (DamagedError, FormatError):
        return False
    store.delete(path)
    return True
