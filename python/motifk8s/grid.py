"""All cells of a study on one machine: what is done and what is missing, run it, aggregate it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import tempfile
import threading
import traceback
from fnmatch import fnmatch
from io import BytesIO
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import pandas as pd

from motifk8s import data
from motifk8s.errors import IncompleteError, InputError, Interrupted, Problem
from motifk8s.store import MissingError, Store, open_store
from motifk8s.study import Cell, Study

FAILED_FORMAT = 1


class State(NamedTuple):
    """Where a cell stands.

    Attributes
    ----------
    cell : Cell
    state : str
        "done"; "missing"; "started" (a checkpoint exists); "failed"; "outdated" (finished with
        other settings or data); "damaged" (files of the finished run are gone).
    reason : str
        Of the last three.
    """

    cell: Cell
    state: str
    reason: str = ""


class Watcher(Protocol):
    """Who is told how a run goes."""

    def started(self, cell: str) -> None:
        """A cell begins."""

    def epoch(self, cell: str, epoch: int, epochs: int, row: dict[str, float]) -> None:
        """An epoch of a cell has ended."""

    def finished(self, cell: str, metrics: dict[str, Any]) -> None:
        """A cell is done."""

    def failed(self, cell: str, reason: str) -> None:
        """A cell cannot be done."""


def plan(study: Study, store: Store) -> list[State]:
    """Tell where every cell of a study stands; reads markers, computes nothing.

    Raises
    ------
    Problem
        If a marker is of a format that this version does not read.
    """
    from motifk8s import cell as cells

    hashes = {
        name: data.data_hash(study, name, store) for name in {c.dataset for c in study.cells()}
    }
    files = set(store.list(f"{study.name}/cells"))
    states = []
    for cell in study.cells():
        place = cells.folder(study, cell)
        if f"{place}/done.json" not in files:
            if f"{place}/failed.json" in files:
                state = State(cell, "failed", _read_failure(store, place))
            else:
                state = State(cell, "started" if f"{place}/checkpoint" in files else "missing")
            states.append(state)
            continue
        done = cells.read_done(store, place)
        data_hash = hashes[cell.dataset]
        if done is None or data_hash is None:
            state = State(cell, "outdated", f"data set {cell.dataset} is not in the store")
        elif gone := [name for name in done.files if f"{place}/{done.run}/{name}" not in files]:
            state = State(cell, "damaged", f"{place}/{done.run}/{gone[0]} is gone")
        elif done.keys != (keys := cells.stage_keys(study, cell, data_hash)):
            changed = next(stage for stage in keys if done.keys.get(stage) != keys[stage])
            state = State(cell, "outdated", f"its {changed} settings or data have changed")
        else:
            state = State(cell, "done")
        states.append(state)
    return states


def _read_failure(store: Store, place: str) -> str:
    try:
        return str(json.loads(store.read(f"{place}/failed.json"))["reason"])
    except (MissingError, ValueError, KeyError, TypeError):
        return "unknown reason"


def run_cell(
    study: Study,
    cell: Cell,
    store: Store,
    *,
    threads: int | None = None,
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Run one cell in this process; SIGTERM and SIGINT lead to a checkpoint and `Interrupted`.

    A failure is written to ``failed.json`` beside the cell's runs, and removed by success.
    """
    from motifk8s import cell as cells

    if cell not in study.cells():
        raise InputError(
            f"study {study.name} has no cell {cell.id}; see: motifk8s plan {study.name}"
        )
    stopped = threading.Event()
    before = {
        s: signal.signal(s, lambda *_: stopped.set()) for s in (signal.SIGTERM, signal.SIGINT)
    }
    parent = multiprocessing.parent_process()

    def stop() -> bool:
        # Whoever runs the same command again must not meet an orphan at work on the same cell.
        return stopped.is_set() or (parent is not None and not parent.is_alive())

    failed = f"{cells.folder(study, cell)}/failed.json"
    try:
        if (done := _drop_damaged(study, cell, store)) is not None and watcher:
            watcher.failed(cell.id, f"{done}; computing it again")
        metrics = cells.run(
            study,
            cell,
            store,
            threads=threads,
            progress=lambda *row: watcher.epoch(cell.id, *row) if watcher else None,
            stop=stop,
        )
        store.delete(failed)
        return metrics
    except Interrupted as error:
        raise Interrupted(f"{cell.id}: {error}; the same command goes on from there") from None
    except Exception as error:
        reason = str(error) if isinstance(error, Problem) else traceback.format_exc()
        try:
            note = {"format": FAILED_FORMAT, "reason": reason}
            store.write(failed, (json.dumps(note, indent=1) + "\n").encode())
        except Problem:
            pass  # a store that cannot be written is most likely the failure itself
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _drop_damaged(study: Study, cell: Cell, store: Store) -> str | None:
    """Remove the marker of a finished run whose files are gone or changed; say what was wrong."""
    from motifk8s import cell as cells

    place = cells.folder(study, cell)
    done = cells.read_done(store, place)
    if done is None:
        return None
    try:
        for name in done.files:
            cells.fetch(store, place, done, name)
    except MissingError:
        raise
    except Problem as error:
        store.delete(f"{place}/done.json")
        return str(error)
    return None


def run(
    study: Study,
    store: Store,
    watcher: Watcher,
    *,
    jobs: int | None = None,
    only: str = "*",
) -> list[State]:
    """Run what is missing of a study, several cells side by side, each in a process of its own.

    A failed cell does not stop the others; a process that dies (out of memory, say) fails its cell
    alone. On a CPU, one thread a cell and a cell a core is the fastest way through a grid, because
    one small network does not keep two cores busy.

    Parameters
    ----------
    study : Study
    store : Store
    watcher : Watcher
    jobs : int, optional
        Cells at a time; by default one a core, or one where there is a GPU.
    only : str
        Pattern of cell ids, such as ``synthetic/cnn-25/*``.

    Returns
    -------
    list of State
        Of all cells, afterwards.

    Raises
    ------
    Interrupted
        After a signal, once every running cell has saved its checkpoint.
    """
    failures: dict[str, str] = {}
    wanted = [c for c in study.cells() if fnmatch(c.id, only)]
    if not wanted:
        raise InputError(f"no cell of study {study.name} is like {only!r}")
    for name in dict.fromkeys(c.dataset for c in wanted):
        try:
            if not data.is_ready(study, name, store):
                data.prepare(study, name, store)
        except Problem as error:
            failures[name] = str(error)
            watcher.failed(name, str(error))
    todo = [
        s.cell
        for s in plan(study, store)
        if s.state != "done" and s.cell in wanted and s.cell.dataset not in failures
    ]
    todo.sort(key=lambda c: c.trial)  # a whole first trial of every model says most, soonest
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    gpu = Path("/dev/nvidia0").exists()
    jobs = max(1, min(jobs or (1 if gpu else cores), len(todo) or 1))
    _run_side_by_side(study, todo, store.url, watcher, jobs, max(1, cores // jobs))
    return plan(study, store)


def _run_side_by_side(
    study: Study, todo: list[Cell], url: str, watcher: Watcher, jobs: int, threads: int
) -> None:
    context = multiprocessing.get_context("spawn")
    running: dict[Connection, tuple[Cell, Any]] = {}
    waiting = list(todo)
    stopped = threading.Event()

    def stop(number: int, frame: object) -> None:
        stopped.set()
        for _, process in running.values():
            process.terminate()  # SIGTERM: each saves its checkpoint

    before = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        while running or (waiting and not stopped.is_set()):
            while waiting and len(running) < jobs and not stopped.is_set():
                cell = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(
                    target=_work, args=(study, cell, url, threads, theirs), name=cell.id
                )
                process.start()
                theirs.close()
                running[ours] = (cell, process)
                watcher.started(cell.id)
            for pipe in cast(list[Connection], wait(list(running), timeout=1.0)):
                cell, process = running[pipe]
                try:
                    kind, *rest = pipe.recv()
                    getattr(watcher, kind)(cell.id, *rest)
                except EOFError:
                    del running[pipe]
                    process.join()
                    if process.exitcode and process.exitcode < 0 and not stopped.is_set():
                        name = signal.Signals(-process.exitcode).name
                        watcher.failed(
                            cell.id, f"its process was ended by {name}; run the same command again"
                        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped.is_set():
        raise Interrupted("stopped; the same command goes on from the last checkpoints")


class _Pipe:
    """A watcher that sends what it is told to the parent process."""

    def __init__(self, pipe: Connection):
        self.pipe = pipe

    def epoch(self, cell: str, *row: Any) -> None:
        self.pipe.send(("epoch", *row))

    def failed(self, cell: str, reason: str) -> None:
        self.pipe.send(("failed", reason))


def _work(study: Study, cell: Cell, url: str, threads: int, pipe: Connection) -> None:
    """Run one cell in a process of its own and tell the parent how it goes."""
    try:
        metrics = run_cell(study, cell, open_store(url), threads=threads, watcher=_Pipe(pipe))  # type: ignore[arg-type]
        pipe.send(("finished", metrics))
    except Interrupted:
        pass
    except Problem as error:
        pipe.send(("failed", str(error)))
    except Exception as error:
        pipe.send(("failed", f"{type(error).__name__}: {error} (see failed.json)"))


def aggregate(study: Study, store: Store, out: Path | None = None) -> dict[str, str]:
    """Make tables, figures and report of all finished cells.

    Parameters
    ----------
    study : Study
    store : Store
    out : Path, optional
        A local folder to write to; by default the study's folder in the store.

    Returns
    -------
    dict
        Where each output is, by its relative path.

    Raises
    ------
    IncompleteError
        After everything was written, if a cell is missing; the message names it and says why.
    """
    from motifk8s import cell as cells
    from motifk8s import report

    found: dict[str, report.CellFiles] = {}
    missing: dict[str, str] = {}
    for state in plan(study, store):
        if state.state != "done":
            missing[state.cell.id] = (
                f"{state.state}: {state.reason}" if state.reason else state.state
            )
            continue
        place = cells.folder(study, state.cell)
        done = cells.read_done(store, place)
        assert done is not None  # plan has just read it
        try:
            files = {
                name: cells.fetch(store, place, done, name)
                for name in ("metrics.json", "history.csv", "filters.h5", "provenance.json")
            }
        except Problem as error:
            missing[state.cell.id] = f"damaged: {error}"
            continue
        found[state.cell.id] = report.CellFiles(
            metrics=json.loads(files["metrics.json"]),
            history=pd.read_csv(BytesIO(files["history.csv"])),
            filters=cells.read_filters(BytesIO(files["filters.h5"])),
            provenance=json.loads(files["provenance.json"]),
        )
    outputs: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder:
        here = out or Path(folder)
        for name, path in report.aggregate_outputs(study, found, missing, here).items():
            if out is None:
                store.upload(path, f"{study.name}/{name}")
            outputs[name] = str(path) if out else f"{store.url.rstrip('/')}/{study.name}/{name}"
    if missing:
        raise IncompleteError(_missing_text(study, missing))
    return outputs


def _missing_text(study: Study, missing: dict[str, str]) -> str:
    names = "; ".join(
        f"{name} ({reason.strip().splitlines()[-1]})" for name, reason in missing.items()
    )
    return (
        f"study {study.name} is incomplete: {len(missing)} of {len(study.cells())} cells missing: "
        f"{names}. Partial tables were written"
    )
