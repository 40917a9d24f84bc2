"""What a running cell leaves for others to read: its progress, its failure, the end of its log.

``progress.json`` beside a cell's runs is small and written at most every few seconds. Argo reads
N/M from a file that it names. ``failed.json`` has the reason of the last failure.
"""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from motifk8s.cells.events import Epoch
from motifk8s.errors import Problem
from motifk8s.provenance import deployment
from motifk8s.store.base import DamagedError, FormatError, Store

FORMAT = 1
SECONDS_BETWEEN_WRITES = 10.0
LINES_KEPT = 20

T = TypeVar("T")
log = logging.getLogger(__name__)


class Progress:
    """Writes the progress of a cell's training; errors while writing it are ignored.

    Parameters
    ----------
    store : Store
    place : str
        The cell's folder in the store.
    """

    def __init__(self, store: Store, place: str):
        self.store, self.path = store.hasty(), f"{place}/progress.json"
        self.seconds: deque[float] = deque(maxlen=10)
        self.written = -SECONDS_BETWEEN_WRITES

    def write(self, epoch: Epoch) -> None:
        """Log the end of an epoch, and write it for Argo and, at times, to the store."""
        row = epoch.row
        numbers = ", ".join(f"{name} {row[name]:.4g}" for name in row if name != "epoch")
        log.info("epoch %d of at most %d: %s", epoch.number, epoch.most, numbers)
        self.seconds.append(row["seconds"])
        if argo := os.environ.get("ARGO_PROGRESS_FILE"):
            with suppress(OSError):
                Path(argo).write_text(f"{epoch.number}/{epoch.most}\n")
        if time.monotonic() - self.written < SECONDS_BETWEEN_WRITES:
            return
        where = deployment()
        state = {
            "format": FORMAT,
            "epoch": epoch.number,
            "epochs": epoch.most,
            "seconds_per_epoch": sum(self.seconds) / len(self.seconds),
            **{name: row[name] for name in ("val_loss", "val_auroc") if row[name] == row[name]},
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            **{name: where[name] for name in ("attempt", "node", "pod", "workflow")},
        }
        with suppress(Problem):
            self.store.write_json(self.path, state)
        self.written = time.monotonic()  # after it: a store that hangs is not tried every epoch

    def clear(self) -> None:
        """Delete the progress from the store: the cell is done."""
        self.store.delete(self.path)


def read(store: Store, place: str) -> dict[str, Any] | None:
    """Read the progress of the cell at `place`; None if there is none that can be read."""

    def parse(state: dict[str, Any]) -> dict[str, Any]:
        datetime.fromisoformat(state["at"])
        numbers = {"epoch": int, "epochs": int, "seconds_per_epoch": float}
        return {**state, **{name: kind(state[name]) for name, kind in numbers.items()}}

    return _read(store, f"{place}/progress.json", parse)


class Failure(NamedTuple):
    """Why a cell failed, and the last lines of its log."""

    reason: str = "unknown reason"
    log: tuple[str, ...] = ()


def write_failure(store: Store, place: str, error: Exception, lines: Iterable[str]) -> None:
    """Write why the cell at `place` failed: a traceback, unless the error is a `Problem`."""
    reason = str(error) if isinstance(error, Problem) else traceback.format_exc()
    failure = {"format": FORMAT, "reason": reason, "log": list(lines)}
    store.write_json(f"{place}/failed.json", failure)


def read_failure(store: Store, place: str) -> Failure:
    """Read why the cell at `place` failed; "unknown reason" if that cannot be read."""

    def parse(failure: dict[str, Any]) -> Failure:
        return Failure(str(failure["reason"]), tuple(map(str, failure.get("log", ()))))

    return _read(store, f"{place}/failed.json", parse) or Failure()


def _read(store: Store, path: str, parse: Callable[[dict[str, Any]], T]) -> T | None:
    with suppress(DamagedError, FormatError):
        return store.read_json(path, FORMAT, parse)
    return None


class LastLines(logging.Handler):
    """Keeps the last lines of a log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def logging_to(handler: logging.Handler) -> Iterator[None]:
    """Send what the package logs to `handler` as well."""
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    package = logging.getLogger("motifk8s")
    level = package.level
    package.setLevel(logging.INFO)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()
