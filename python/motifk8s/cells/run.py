"""Run all cells of a study on one machine, several side by side."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from motifk8s.cells.events import Begun, Failed, Watch
from motifk8s.cells.plan import plan
from motifk8s.cells.workers import run_side_by_side
from motifk8s.data import stored
from motifk8s.errors import InputError, Problem
from motifk8s.motifs.database import read_database
from motifk8s.provenance import cores
from motifk8s.store.base import Store
from motifk8s.study.study import Study


def run_study(
    study: Study, store: Store, watch: Watch, *, jobs: int | None = None, only: str = "*"
) -> None:
    """Run what is missing of a study, several cells side by side; make its data sets before.

    Failures of data sets and cells are events; they stop nothing else. On a CPU, one thread a cell
    and a cell a core is the fastest way through a grid, because one small network does not keep two
    cores busy.

    Parameters
    ----------
    study : Study
    store : Store
    watch : callable
        Called with each event.
    jobs : int, optional
        Cells at a time; by default one a core, or one where there is a GPU.
    only : str
        Pattern of cell ids, such as ``synthetic/cnn-25/*``.

    Raises
    ------
    InputError
        If no cell matches the pattern, or the database of motifs cannot be read.
    Interrupted
        After a signal, once every running cell has saved its checkpoint.
    """
    wanted = {cell for cell in study.cells() if fnmatch(cell.id, only)}
    if not wanted:
        raise InputError(
            f"no cell of study {study.name} is like {only!r}; one of them is {study.cells()[0].id}"
        )
    read_database(study.matches.database)  # refused now rather than after training
    states = plan(study, store)
    todo = [state.cell for state in states if state.state != "done" and state.cell in wanted]
    for name in dict.fromkeys(cell.dataset for cell in todo):
        try:
            stored.prepare(study, name, store)
        except Problem as error:
            watch(Failed(name, str(error)))
            todo = [cell for cell in todo if cell.dataset != name]
    todo.sort(key=lambda cell: cell.trial)  # a first trial of every model says most, soonest
    watch(Begun(len(todo)))
    jobs = jobs or (1 if Path("/dev/nvidia0").exists() else cores())
    # Not by what is left to do: the number of threads can change the last digits of a result.
    threads = max(1, cores() // jobs)
    run_side_by_side(study, todo, store.url, watch, jobs, threads)
