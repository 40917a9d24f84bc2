"""Run one cell in this process or several in parallel processes; stop them after a signal."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from types import ModuleType

from motifk8s import signals
from motifk8s.cells import cell as cells
from motifk8s.cells.events import Epoch, Event, Failed, Finished, Started, Watch
from motifk8s.cells.keys import cell_folder
from motifk8s.cells.progress import LastLines, Progress, logging_to, write_failure
from motifk8s.errors import RESUME, AwayError, Interrupted, Problem, one_line
from motifk8s.store.base import Store
from motifk8s.store.open import open_store
from motifk8s.study.study import Cell, Study


def run_cell(
    study: Study, cell: Cell, store: Store, watch: Watch, *, threads: int | None = None
) -> None:
    """Run one cell in this process.

    After SIGTERM or SIGINT, or if the parent process ends, stops as `signals` describes, saves a
    checkpoint and raises `Interrupted`. Writes ``progress.json`` in the cell's folder and, after a
    failure that a later attempt does not pass, ``failed.json`` with the reason and the last lines
    of the log. Success deletes both.
    """
    place = cell_folder(study, cell)
    progress, lines = Progress(store, place), LastLines()

    def report(event: Event) -> None:
        watch(event)
        if isinstance(event, Epoch):
            progress.write(event)

    with signals.handled(), logging_to(lines):

        def stop() -> bool:
            return signals.requested() > 0

        try:
            metrics = cells.run(study, cell, store, threads=threads, watch=report, stop=stop)
        except KeyboardInterrupt:
            raise Interrupted(f"{cell.id}: stopped; {RESUME}") from None
        except Interrupted as error:
            raise Interrupted(f"{cell.id}: {error}; {RESUME}") from None
        except AwayError as error:  # the next attempt may succeed, and the store may be away
            raise AwayError(f"{cell.id}: {error}; {RESUME}") from error
        except Exception as error:
            with suppress(Problem):  # the store may be the reason of the failure
                write_failure(store, place, error, lines.lines)
                progress.clear()
            raise
        with suppress(Problem):  # the cell is done even if these files cannot be deleted
            store.delete(f"{place}/failed.json")
            progress.clear()
    watch(Finished(cell.id, metrics))


def run_in_parallel(
    study: Study, cells: list[Cell], url: str, watch: Watch, jobs: int, threads: int
) -> None:
    """Run cells in parallel, `jobs` at a time, each in its own process.

    If a cell fails or its process dies (out of memory, for example), the others continue. After a
    signal, every running cell saves its checkpoint. After a second signal the processes are killed,
    and their work since the last checkpoint is lost. If the store is away, no other cell starts.

    Raises
    ------
    Interrupted
        After a signal, when every process has ended.
    AwayError
        If the store was away, when every process has ended.
    """
    context = multiprocessing.get_context("spawn")
    resource_tracker.ensure_running()  # starting it later would undo the mask of `_start`
    running: dict[Connection, tuple[Cell, BaseProcess]] = {}
    waiting, away = list(cells), False
    with signals.handled(), signals.deferred(second=False):
        try:
            while running or (waiting and not signals.requested()):
                while waiting and len(running) < jobs and not signals.requested():
                    cell = waiting.pop(0)
                    pipe, process = _new_process(context, study, cell, url, threads)
                    running[pipe] = (cell, process)
                    watch(Started(cell.id))
                for _, process in running.values():
                    if signals.requested():
                        process.terminate()  # after SIGTERM, it saves its checkpoint
                    if signals.requested() > 1:
                        process.kill()
                ready = wait(list(running), timeout=1.0)
                for pipe in [pipe for pipe in running if pipe in ready]:
                    try:
                        event = pipe.recv()
                    except (EOFError, OSError):
                        cell, process = running.pop(pipe)
                        process.join()
                        if process.exitcode == AwayError.exit_code and not signals.requested():
                            away, waiting = True, []
                        elif process.exitcode and not signals.requested():
                            watch(Failed(cell.id, _how_it_died(process.exitcode)))
                    else:
                        watch(event)
        finally:
            for _, process in running.values():  # empty, unless an error was raised above
                process.terminate()
            for _, process in running.values():
                process.join()
        if signals.requested():
            raise Interrupted(f"stopped; {RESUME}")
    if away:
        raise AwayError(f"cells could not reach the store; {RESUME}")


def _new_process(
    context: SpawnContext, study: Study, cell: Cell, url: str, threads: int
) -> tuple[Connection, BaseProcess]:
    """Start a process for a cell; return the pipe of its events, and the process."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(study, cell, url, threads, theirs), name=cell.id)
    _start(process)
    theirs.close()
    return ours, process


def _start(process: BaseProcess) -> None:
    # Ctrl-C sends SIGINT to all processes in the terminal; only this process must handle it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    # A new process runs the file of the main module again. If that is a user's script, which has
    # called `motifk8s.run`, it would start a study in each process; so it sees an empty module.
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        process.start()  # inherits the mask
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _how_it_died(code: int) -> str:
    if code < 0:
        died = f"its process was ended by {signal.Signals(-code).name}"
        return f"{died} (out of memory?)" if -code == signal.SIGKILL else died
    return f"its process ended with exit code {code}"


def _work(study: Study, cell: Cell, url: str, threads: int, pipe: Connection) -> None:
    """Run one cell, and send its events to the parent process."""
    send = _sender(pipe)
    try:
        run_cell(study, cell, open_store(url), send, threads=threads)
    except (Interrupted, KeyboardInterrupt):
        pass
    except AwayError as error:
        send(Failed(cell.id, str(error)))
        raise SystemExit(error.exit_code) from None
    except Problem as error:
        send(Failed(cell.id, str(error)))
    except Exception as error:
        text = f"{type(error).__name__}: {one_line(error)} (traceback in failed.json)"
        send(Failed(cell.id, text))


def _sender(pipe: Connection) -> Watch:
    def send(event: Event) -> None:
        with suppress(OSError):  # the parent has ended; `run_cell` stops for that reason
            pipe.send(event)

    return send
