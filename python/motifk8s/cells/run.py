"""Run all cells of a study on one machine, several in parallel."""

from __future__ import annotations

from pathlib import Path

from motifk8s.cells.estimate import longest_first
from motifk8s.cells.events import Begun, Failed, Note, Watch
from motifk8s.cells.networks import try_all
from motifk8s.cells.plan import plan
from motifk8s.cells.workers import run_in_parallel
from motifk8s.data import stored
from motifk8s.errors import Problem
from motifk8s.motifs.database import read_database
from motifk8s.provenance import cores
from motifk8s.store.base import Store
from motifk8s.study.study import Cell, Study


def run_study(
    study: Study, store: Store, watch: Watch, *, jobs: int | None = None, only: str = "*"
) -> None:
    """Make the data sets of a study, then run its unfinished cells, several in parallel.

    A failure of a data set or a cell is an event and does not stop other cells. On CPUs, one cell
    with one thread on each core is fastest, because a small network cannot use two cores well.

    Parameters
    ----------
    jobs : int, optional
        Cells that run at the same time. The default is one for each core; with a GPU, one.
    only : str
        Pattern of cell ids, such as ``synthetic/cnn-25/*``.

    Raises
    ------
    InputError
        If no cell matches the pattern, the database of motifs cannot be read, or a custom model is
        refused.
    Interrupted
        After a signal, when every running cell has saved its checkpoint.
    """
    wanted = set(study.cells_like(only))
    read_database(study.matches.database)  # check it now: after training, an error costs hours
    # Every cell then means the same data, even if a file changes meanwhile.
    study = stored.pinned(study, store)

    def unfinished() -> list[Cell]:
        return [s.cell for s in plan(study, store) if s.state != "done" and s.cell in wanted]

    todo = unfinished()
    networks = try_all(study, todo)
    for (dataset, model), network in networks.items():
        watch(Note(f"{dataset}/{model}", str(network)))
    names = dict.fromkeys(cell.dataset for cell in todo)
    absent = [name for name in names if not stored.is_ready(study, name, store)]
    for name in names:
        try:
            if change := stored.change(study, name, store):
                watch(Note(name, f"{change}; importing it"))
            stored.prepare(study, name, store)
        except Problem as error:
            watch(Failed(name, str(error)))
            wanted = {cell for cell in wanted if cell.dataset != name}
    if absent:  # with their data, cells from an archive are done
        todo = unfinished()
    todo = [cell for cell in todo if cell in wanted]
    todo = longest_first(study, store, todo, networks)
    watch(Begun(len(todo)))
    jobs = jobs or (1 if Path("/dev/nvidia0").exists() else cores())
    # Must not depend on what is done: the number of threads can change a result's last digits.
    threads = max(1, cores() // jobs)
    run_in_parallel(study, todo, store.url, watch, jobs, threads)
