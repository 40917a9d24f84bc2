"""Run all cells of a study on one machine, several side by side."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from motifk8s.cells.plan import plan
from motifk8s.cells.workers import Watcher, run_side_by_side
from motifk8s.data import stored
from motifk8s.errors import InputError, Problem
from motifk8s.motifs.database import read_database
from motifk8s.provenance import cores
from motifk8s.store.base import Store
from motifk8s.study.study import Study


def run_study(
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
    wanted = {cell for cell in study.cells() if fnmatch(cell.id, only)}
    if not wanted:
        raise InputError(
            f"no cell of study {study.name} is like {only!r}; one of them is {study.cells()[0].id}"
        )
    read_database(study.matches.database)  # refused now rather than after training
    todo = [s.cell for s in plan(study, store) if s.state != "done" and s.cell in wanted]
    for name in dict.fromkeys(cell.dataset for cell in todo):
        try:
            stored.prepare(study, name, store)
        except Problem as error:
            watcher.failed(name, str(error))
            todo = [cell for cell in todo if cell.dataset != name]
    todo.sort(key=lambda cell: cell.trial)  # a first trial of every model says most, soonest
    watcher.begin(len(todo))
    jobs = jobs or (1 if Path("/dev/nvidia0").exists() else cores())
    # Not by what is left to do: the number of threads can change the last digits of a result.
    threads = max(1, cores() // jobs)
    run_side_by_side(study, todo, store.url, watcher, jobs, threads)
