"""Cells in processes: one in this process, or several side by side, and what signals do to them."""

from __future__ import annotations

import json
import multiprocessing
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any, Protocol, cast

from motifk8s.cells import cell as cells
from motifk8s.cells.keys import cell_folder
from motifk8s.cells.progress import LastLines, Progress
from motifk8s.errors import Interrupted, Problem
from motifk8s.store.base import Store
from motifk8s.store.open import open_store
from motifk8s.study.study import Cell, Study

FAILED_FORMAT = 1
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Watcher(Protocol):
    """Who is told how a run goes."""

    def begin(self, cells: int) -> None:
        """A run of so many cells begins."""

    def started(self, cell: str) -> None:
        """A cell begins."""

    def epoch(self, cell: str, epoch: int, epochs: int, row: dict[str, float]) -> None:
        """An epoch of a cell has ended."""

    def note(self, cell: str, text: str) -> None:
        """Something is worth saying about a cell, or a data set."""

    def finished(self, cell: str, metrics: dict[str, Any]) -> None:
        """A cell is done."""

    def failed(self, cell: str, reason: str) -> None:
        """A cell, or a data set, cannot be done."""


def run_cell(
    study: Study, cell: Cell, store: Store, watcher: Watcher, *, threads: int | None = None
) -> dict[str, Any]:
    """Run one cell in this process; SIGTERM and SIGINT lead to a checkpoint and `Interrupted`.

    Progress is written to ``progress.json`` beside the cell's runs, a failure and the last lines of
    the log to ``failed.json``; success removes both.
    """
    parent = multiprocessing.parent_process()
    failed = f"{cell_folder(study, cell)}/failed.json"
    told = Progress(store, cell_folder(study, cell))
    with _heard() as signals, LastLines() as log:

        def epoch(*row: Any) -> None:
            watcher.epoch(cell.id, *row)
            told.epoch(*row)

        def stop() -> bool:
            # Whoever runs the same command again must not meet an orphan at work on the same cell.
            return bool(signals) or (parent is not None and not parent.is_alive())

        try:
            metrics = cells.run(
                study,
                cell,
                store,
                threads=threads,
                progress=epoch,
                note=lambda text: watcher.note(cell.id, text),
                stop=stop,
            )
            with suppress(Problem):  # the cell is done, whatever is left beside it
                store.delete(failed)
                told.clear()
            return metrics
        except Interrupted as error:
            raise Interrupted(f"{cell.id}: {error}; the same command goes on from there") from None
        except Exception as error:
            reason = str(error) if isinstance(error, Problem) else traceback.format_exc()
            marker = {"format": FAILED_FORMAT, "reason": reason, "log": list(log.lines)}
            with suppress(Problem):  # a store that cannot be written may be the failure itself
                store.write(failed, (json.dumps(marker, indent=1) + "\n").encode())
                told.clear()
            raise


@contextmanager
def _heard() -> Iterator[list[int]]:
    """Collect signals to stop instead of dying of them."""
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    before = {number: signal.signal(number, hear) for number in SIGNALS}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_side_by_side(
    study: Study, cells: list[Cell], url: str, watcher: Watcher, jobs: int, threads: int
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
    running: dict[Connection, tuple[Cell, Any]] = {}
    waiting = list(cells)
    with _heard() as signals:
        try:
            while running or (waiting and not signals):
                while waiting and len(running) < jobs and not signals:
                    cell = waiting.pop(0)
                    ours, theirs = context.Pipe(duplex=False)
                    process = context.Process(
                        target=_work, args=(study, cell, url, threads, theirs), name=cell.id
                    )
                    _start(process)
                    theirs.close()
                    running[ours] = (cell, process)
                    watcher.started(cell.id)
                for _, process in running.values():
                    if signals:
                        process.terminate()  # SIGTERM: it saves its checkpoint
                    if len(signals) > 1:
                        process.kill()
                for pipe in cast(list[Connection], wait(list(running), timeout=1.0)):
                    cell, process = running[pipe]
                    try:
                        kind, *rest = pipe.recv()
                    except (EOFError, OSError):
                        del running[pipe]
                        process.join()
                        if process.exitcode and not signals:
                            watcher.failed(cell.id, _how_it_died(process.exitcode))
                    else:
                        getattr(watcher, kind)(cell.id, *rest)
        finally:
            for _, process in running.values():  # none, unless something above went wrong
                process.terminate()
            for _, process in running.values():
                process.join()
    if signals:
        raise Interrupted("stopped; the same command goes on from the last checkpoints")


def _start(process: Any) -> None:
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


class _Pipe:
    """A watcher that sends what it is told to the parent process."""

    def __init__(self, pipe: Connection):
        self.pipe = pipe

    def __getattr__(self, kind: str) -> Any:
        return lambda cell, *rest: self.send(kind, *rest)

    def send(self, *message: Any) -> None:
        with suppress(OSError):  # the parent is gone, and `run_cell` will notice
            self.pipe.send(message)


def _work(study: Study, cell: Cell, url: str, threads: int, connection: Connection) -> None:
    """Run one cell in a process of its own and tell the parent how it goes."""
    pipe = _Pipe(connection)
    try:
        pipe.send(
            "finished",
            run_cell(study, cell, open_store(url), cast(Watcher, pipe), threads=threads),
        )
    except Interrupted:
        pass
    except Problem as error:
        pipe.send("failed", str(error))
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        pipe.send("failed", f"{text} (traceback in failed.json)")
