"""What a running cell tells of itself: progress in the store and to Argo, the end of its log.

``progress.json`` beside a cell's runs is for whoever asks how a cell stands, from anywhere; it is
small, and written at most every few seconds. Argo reads N/M from the file that it names.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from motifk8s.errors import Problem
from motifk8s.provenance import deployment
from motifk8s.store.base import MissingError, Store

FORMAT = 1
SECONDS_BETWEEN_WRITES = 10.0
LINES_KEPT = 20

log = logging.getLogger(__name__)


class Progress:
    """Tells how a cell trains.

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

    def epoch(self, epoch: int, epochs: int, row: dict[str, float]) -> None:
        """Tell that an epoch has ended; what cannot be told is not worth stopping for."""
        log.info("epoch %d of at most %d: %s", epoch, epochs, _numbers(row))
        self.seconds.append(row["seconds"])
        if argo := os.environ.get("ARGO_PROGRESS_FILE"):
            with suppress(OSError):
                Path(argo).write_text(f"{epoch}/{epochs}\n")
        if time.monotonic() - self.written < SECONDS_BETWEEN_WRITES:
            return
        where = deployment()
        state = {
            "format": FORMAT,
            "epoch": epoch,
            "epochs": epochs,
            "seconds_per_epoch": sum(self.seconds) / len(self.seconds),
            **{name: row[name] for name in ("val_loss", "val_auroc") if row[name] == row[name]},
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            **{name: where[name] for name in ("attempt", "node", "pod", "workflow")},
        }
        with suppress(Problem):
            self.store.write(self.path, (json.dumps(state, indent=1) + "\n").encode())
        self.written = time.monotonic()  # after it: a store that hangs is not asked at every epoch

    def clear(self) -> None:
        """Forget it: the cell is done."""
        self.store.delete(self.path)


def read(store: Store, place: str) -> dict[str, Any] | None:
    """Read how far the training of a cell is; None if nothing (readable) tells."""
    try:
        state = json.loads(store.read(f"{place}/progress.json"))
        if state["format"] != FORMAT:
            return None
        datetime.fromisoformat(state["at"])
        numbers = {"epoch": int, "epochs": int, "seconds_per_epoch": float}
        return {**state, **{name: kind(state[name]) for name, kind in numbers.items()}}
    except (MissingError, ValueError, KeyError, TypeError):
        return None


class LastLines(logging.Handler):
    """Keeps the last lines that the package logs, for whoever asks why a cell failed."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def __enter__(self) -> LastLines:
        logging.getLogger("motifk8s").addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("motifk8s").removeHandler(self)


def _numbers(row: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
