"""What happens while cells run, for whoever watches: a function that is called with each event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Begun:
    """A run of so many cells begins."""

    cells: int


@dataclass(frozen=True)
class Started:
    """A cell begins."""

    cell: str


@dataclass(frozen=True)
class Epoch:
    """An epoch of a cell has ended: its number, the most there can be, its row of the history."""

    cell: str
    number: int
    most: int
    row: dict[str, float]


@dataclass(frozen=True)
class Note:
    """The user should know something about a cell."""

    cell: str
    text: str


@dataclass(frozen=True)
class Finished:
    """A cell is done; its metrics, as in ``metrics.json``."""

    cell: str
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """A cell, or a data set, cannot be done."""

    name: str
    reason: str


Event = Begun | Started | Epoch | Note | Finished | Failed
Watch = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Do nothing about an event."""
