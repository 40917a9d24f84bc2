"""Progress and failure of a cell, for other processes to read.

In the cell's folder, ``progress.json`` has the last epoch, written at most every few seconds.
``failed.json`` has the reason of the last failure. Argo reads the progress, N/M, from a file whose
path it sets.
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
MOST = 10**9  # epochs, or seconds of an epoch

T = TypeVar("T")
log = logging.getLogger(__name__)


class Progress:
    """Writes the progress of a cell's training; ignores errors while writing it."""

    def __init__(self, store: Store, place: str):
        self.store, self.path = store.hasty(), f"{place}/progress.json"
        self.seconds: deque[float] = deque(maxlen=10)
        self.written = -SECONDS_BETWEEN_WRITES

    def write(self, epoch: Epoch) -> None:
        """Log the end of an epoch; write it for Argo and, every few seconds, to the store."""
        row = epoch.row
        numbers = ", ".join(f"{name} {row[name]:.4g}" for name in row if name != "epoch")
        log.info("epoch %d of at most %d: %s", epoch.number, epoch.most, numbers)
        self.seconds.append(row["seconds"])
        if argo := os.environ.get("ARGO_PROGRESS_FILE"):
            with suppress(OSError):
                Path(argo).write_text(f"{epoch.number}/{epoch.most}\n", encoding="utf-8")
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
        # Set after the write, so that a store that hangs does not slow down every epoch.
        self.written = time.monotonic()

    def clear(self) -> None:
        """Delete the progress from the store."""
        self.store.delete(self.path)


def read(store: Store, place: str) -> dict[str, Any] | None:
    """Return the progress of the cell whose folder is `place`; None if it cannot be read.

    Its time has a zone, its numbers are between 0 and 10^9.
    """

    def parse(state: dict[str, Any]) -> dict[str, Any]:
        numbers = {"epoch": int, "epochs": int, "seconds_per_epoch": float}
        if datetime.fromisoformat(state["at"]).tzinfo is None:
            raise ValueError
        for name in numbers:
            if type(state[name]) not in (int, float) or not 0 <= state[name] < MOST:
                raise ValueError
        for name, kind in {"attempt": int, "node": str, "workflow": str}.items():
            if not isinstance(state.get(name), kind | None):
                raise TypeError
        return {**state, **{name: kind(state[name]) for name, kind in numbers.items()}}

    return _read(store, f"{place}/progress.json", parse)


class Failure(NamedTuple):
    """Why a cell failed."""

    reason: str = "unknown reason"
    log: tuple[str, ...] = ()  # its last lines


def write_failure(store: Store, place: str, error: Exception, lines: Iterable[str]) -> None:
    """Write why a cell failed: the message of a `Problem`, or the traceback of another error."""
    reason = str(error) if isinstance(error, Problem) else traceback.format_exc()
    failure = {"format": FORMAT, "reason": reason, "log": list(lines)}
    store.write_json(f"{place}/failed.json", failure)


def read_failure(store: Store, place: str) -> Failure:
    """Return why the cell whose folder is `place` failed."""

    def parse(failure: dict[str, Any]) -> Failure:
        return Failure(str(failure["reason"]), tuple(map(str, failure.get("log", ()))))

    return _read(store, f"{place}/failed.json", parse) or Failure()


def _read(store: Store, path: str, parse: Callable[[dict[str, Any]], T]) -> T | None:
    with suppress(DamagedError, FormatError):
        return store.read_json(path, FORMAT, parse)
    return None


class LastLines(logging.Handler):
    """Keeps the last lines of a log in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def logging_to(handler: logging.Handler) -> Iterator[None]:
    """Add a handler to the package's log for the length of the block."""
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
