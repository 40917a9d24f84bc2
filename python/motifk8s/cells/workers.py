"""Cells in processes: one in this process, or several side by side, and what signals do to them."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from types import FrameType

from motifk8s.cells import cell as cells
from motifk8s.cells.events import Epoch, Event, Failed, Finished, Started, Watch
from motifk8s.cells.keys import cell_folder
from motifk8s.cells.progress import LastLines, Progress, logging_to, write_failure
from motifk8s.errors import Interrupted, Problem, one_line
from motifk8s.store.base import Store
from motifk8s.store.open import open_store
from motifk8s.study.study import Cell, Study

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_cell(
    study: Study, cell: Cell, store: Store, watch: Watch, *, threads: int | None = None
) -> None:
    """Run one cell in this process; SIGTERM and SIGINT lead to a checkpoint and `Interrupted`.

    Progress is written to ``progress.json`` beside the cell's runs, a failure and the last lines of
    the log to ``failed.json``; success removes both.
    """
    parent = multiprocessing.parent_process()
    place = cell_folder(study, cell)
    progress, lines = Progress(store, place), LastLines()

    def tell(event: Event) -> None:
        watch(event)
        if isinstance(event, Epoch):
            progress.write(event)

    with _collected_signals() as signals, logging_to(lines):

        def stop() -> bool:
            # Whoever runs the same command again must not meet an orphan at work on the same cell.
            return bool(signals) or (parent is not None and not parent.is_alive())

        try:
            metrics = cells.run(study, cell, store, threads=threads, watch=tell, stop=stop)
        except Interrupted as error:
            raise Interrupted(f"{cell.id}: {error}; the same command goes on from there") from None
        except Exception as error:
            with suppress(Problem):  # a store that cannot be written may be the failure itself
                write_failure(store, place, error, lines.lines)
                progress.clear()
            raise
        with suppress(Problem):  # the cell is done, even if these files cannot be deleted
            store.delete(f"{place}/failed.json")
            progress.clear()
    watch(Finished(cell.id, metrics))


@contextmanager
def _collected_signals() -> Iterator[list[int]]:
    """Collect signals to stop, instead of dying of them."""
    signals: list[int] = []

    def collect(number: int, frame: FrameType | None) -> None:
        signals.append(number)

    before = {number: signal.signal(number, collect) for number in SIGNALS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_side_by_side(
    study: Study, cells: list[Cell], url: str, watch: Watch, jobs: int, threads: int
) -> None:
    """Run cells, `jobs` at a time, each in a process of its own.

    A failed cell does not stop the others; a process that dies (out of memory, say) fails its cell
    alone. After a signal every running cell saves its checkpoint; after a second one they are
    killed, and what they did since their last checkpoint is lost.

    Raises
    ------
    Interrupted
        After a signal, once every process has ended.
    """
    context = multiprocessing.get_context("spawn")
    resource_tracker.ensure_running()  # starting it later would undo the mask of `_start`
    running: dict[Connection, tuple[Cell, BaseProcess]] = {}
    waiting = list(cells)
    with _collected_signals() as signals:
        try:
            while running or (waiting and not signals):
                while waiting and len(running) < jobs and not signals:
                    cell = waiting.pop(0)
                    pipe, process = _new_process(context, study, cell, url, threads)
                    running[pipe] = (cell, process)
                    watch(Started(cell.id))
                for _, process in running.values():
                    if signals:
                        process.terminate()  # SIGTERM: it saves its checkpoint
                    if len(signals) > 1:
                        process.kill()
                ready = wait(list(running), timeout=1.0)
                for pipe in [pipe for pipe in running if pipe in ready]:
                    try:
                        event = pipe.recv()
                    except (EOFError, OSError):
                        cell, process = running.pop(pipe)
                        process.join()
                        if process.exitcode and not signals:
                            watch(Failed(cell.id, _how_it_died(process.exitcode)))
                    else:
                        watch(event)
        finally:
            for _, process in running.values():  # none, unless something above went wrong
                process.terminate()
            for _, process in running.values():
                process.join()
    if signals:
        raise Interrupted("stopped; the same command goes on from the last checkpoints")


def _new_process(
    context: SpawnContext, study: Study, cell: Cell, url: str, threads: int
) -> tuple[Connection, BaseProcess]:
    """Start a process for a cell; return the pipe that its events come from, and the process."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(study, cell, url, threads, theirs), name=cell.id)
    _start(process)
    theirs.close()
    return ours, process


def _start(process: BaseProcess) -> None:
    # Ctrl-C reaches every process of a terminal's group; this one alone answers it, and in order.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        process.start()  # inherits the mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _how_it_died(code: int) -> str:
    if code < 0:
        died = f"its process was ended by {signal.Signals(-code).name}"
        return f"{died} (out of memory?)" if -code == signal.SIGKILL else died
    return f"its process ended with exit code {code}"


def _work(study: Study, cell: Cell, url: str, threads: int, pipe: Connection) -> None:
    """Run one cell in a process of its own, and send its events to the parent."""
    send = _sender(pipe)
    try:
        run_cell(study, cell, open_store(url), send, threads=threads)
    except Interrupted:
        pass
    except Problem as error:
        send(Failed(cell.id, str(error)))
    except Exception as error:
        text = f"{type(error).__name__}: {one_line(error)} (traceback in failed.json)"
        send(Failed(cell.id, text))


def _sender(pipe: Connection) -> Watch:
    def send(event: Event) -> None:
        with suppress(OSError):  # the parent is gone, and `run_cell` will notice
            pipe.send(event)

    return send
