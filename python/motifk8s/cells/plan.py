"""All cells of a study: what is done and what is missing; run it on one machine; aggregate it."""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from motifk8s.cells.marker import DamagedError
from motifk8s.cells.workers import Watcher, run_side_by_side
from motifk8s.data import stored as data
from motifk8s.errors import InputError, Problem
from motifk8s.motifs import motif as motifs
from motifk8s.store.base import FolderStore, MissingError, Store, local_problem
from motifk8s.study.study import Cell, Study, content_hash

if TYPE_CHECKING:
    from motifk8s.report.pictures import CellFiles


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


def plan(study: Study, store: Store) -> list[State]:
    """Tell where every cell of a study stands; computes nothing.

    Reads markers, and looks whether the files of a finished cell are what the marker says; see
    `marker.check` for what that costs.

    Raises
    ------
    InputError
        If the database of motifs is neither a release nor a file, or a release is not known.
    Problem
        If a marker is of a format that this version does not read.
    """
    from motifk8s.filters import analysis

    motifs.database_version(study.matches.database)
    analysis.check(study)
    cells = study.cells()
    hashes = {
        name: data.data_hash(study, name, store) for name in dict.fromkeys(c.dataset for c in cells)
    }
    files = set(store.list(f"{study.name}/cells"))
    with ThreadPoolExecutor(8) as pool:  # a store may be far away
        return list(pool.map(lambda c: _state(study, store, c, hashes[c.dataset], files), cells))


def _state(study: Study, store: Store, cell: Cell, data_hash: str | None, files: set[str]) -> State:
    from motifk8s.cells import cell as cells
    from motifk8s.cells import marker

    place = cells.folder(study, cell)
    state = State(cell, "started" if f"{place}/checkpoint" in files else "missing")
    if data_hash is None and not data.can_be_made(study, cell.dataset):
        state = state._replace(reason=data.absent(study, cell.dataset))
    if f"{place}/done.json" in files:
        try:
            done = marker.read_done(store, place)
            if data_hash is None:
                state = State(cell, "outdated", f"data set {cell.dataset} is not in the store")
            elif done is not None:
                keys = cells.stage_keys(study, cell, data_hash)
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


def keep(study: Study, store: Store) -> str:
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


def run(
    study: Study, store: Store, watcher: Watcher, *, jobs: int | None = None, only: str = "*"
) -> None:
    """Run what is missing of a study, several cells side by side; make its data sets before.

    The watcher is told of failures. On a CPU, one thread a cell and a cell a core is the fastest
    way through a grid, because one small network does not keep two cores busy.

    Parameters
    ----------
    study : Study
    store : Store
    watcher : Watcher
    jobs : int, optional
        Cells at a time; by default one a core, or one where there is a GPU.
    only : str
        Pattern of cell ids, such as ``synthetic/cnn-25/*``.

    Raises
    ------
    InputError
        If the pattern is like no cell, or the database of motifs cannot be read.
    Interrupted
        After a signal, once every running cell has saved its checkpoint.
    """
    from motifk8s.cells.cell import cores

    wanted = {cell for cell in study.cells() if fnmatch(cell.id, only)}
    if not wanted:
        raise InputError(
            f"no cell of study {study.name} is like {only!r}; one of them is {study.cells()[0].id}"
        )
    motifs.database(study.matches.database)  # refused now rather than after training
    todo = [s.cell for s in plan(study, store) if s.state != "done" and s.cell in wanted]
    for name in dict.fromkeys(cell.dataset for cell in todo):
        try:
            data.prepare(study, name, store)
        except Problem as error:
            watcher.failed(name, str(error))
            todo = [cell for cell in todo if cell.dataset != name]
    todo.sort(key=lambda cell: cell.trial)  # a first trial of every model says most, soonest
    watcher.begin(len(todo))
    jobs = jobs or (1 if Path("/dev/nvidia0").exists() else cores())
    # Not by what is left to do: the number of threads can change the last digits of a result.
    threads = max(1, cores() // jobs)
    run_side_by_side(study, todo, store.url, watcher, jobs, threads)


def finished(study: Study, store: Store) -> tuple[dict[str, CellFiles], dict[str, str]]:
    """Read all finished cells, by their ids; say of every other one why it is not among them."""
    found: dict[str, CellFiles] = {}
    missing: dict[str, str] = {}
    for state in plan(study, store):
        if state.state == "done":
            try:
                found[state.cell.id] = _read_cell(study, store, state.cell)
            except DamagedError as error:
                state = State(state.cell, "damaged", str(error))
        if state.state != "done":
            reason = " ".join(state.reason.strip().splitlines()[-1:])
            missing[state.cell.id] = f"{state.state}: {reason}" if reason else state.state
    return found, missing


class Aggregate(NamedTuple):
    """What `aggregate` wrote.

    Attributes
    ----------
    outputs : dict
        Where each output is, by its relative path.
    table : pandas.DataFrame
        One row per architecture and layer, as in ``tables/table1.csv``.
    missing : str
        Which cells are missing, and why; empty for a complete study.
    """

    outputs: dict[str, str]
    table: pd.DataFrame
    missing: str


def aggregate(study: Study, store: Store, out: Path | None = None) -> Aggregate:
    """Make tables, figures and report of all finished cells, whether or not some are missing.

    Parameters
    ----------
    study : Study
    store : Store
    out : Path, optional
        A local folder to write to; by default the study's folder in the store.
    """
    from motifk8s.report import page as report
    from motifk8s.report import tables

    found, missing = finished(study, store)
    target, prefix = (store, f"{study.name}/") if out is None else (FolderStore(out), "")
    outputs: dict[str, str] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder:
            written = report.aggregate_outputs(study, found, missing, Path(folder))
            for name, path in written.items():
                target.upload(path, prefix + name)
                outputs[name] = f"{target.url.rstrip('/')}/{prefix}{name}"
    except OSError as error:
        raise local_problem(error, "write to", Path(tempfile.gettempdir())) from error
    results = tables.results((files.metrics for files in found.values()), study)
    table = tables.table1(results, study)
    return Aggregate(outputs, table, _missing_text(study, missing) if missing else "")


def _read_cell(study: Study, store: Store, cell: Cell) -> CellFiles:
    from motifk8s.cells import cell as cells
    from motifk8s.cells import marker
    from motifk8s.filters import analysis
    from motifk8s.filters import layer_motifs as readout
    from motifk8s.report import page as report

    place = cells.folder(study, cell)
    done = marker.read_done(store, place)
    assert done is not None  # plan has just read it
    files = {
        name: marker.fetch(store, place, done, name)
        for name in ("metrics.json", "history.csv", "filters.h5", "provenance.json")
    }
    tables = {n: marker.fetch(store, place, done, f"{n}.csv") for n in analysis.TABLES}
    return report.CellFiles(
        metrics=json.loads(files["metrics.json"]),
        history=pd.read_csv(BytesIO(files["history.csv"])),
        filters=readout.read_filters(BytesIO(files["filters.h5"])),
        provenance=json.loads(files["provenance.json"]),
        analysis={name: analysis.read(content) for name, content in tables.items()},
    )


def _missing_text(study: Study, missing: dict[str, str]) -> str:
    by_reason: dict[str, list[str]] = {}
    for name, reason in missing.items():
        by_reason.setdefault(reason, []).append(name)
    names = "; ".join(f"{', '.join(cells)} ({reason})" for reason, cells in by_reason.items())
    return (
        f"study {study.name} is incomplete: {len(missing)} of {len(study.cells())} cells are "
        f"missing, and the tables partial: {names}"
    )
