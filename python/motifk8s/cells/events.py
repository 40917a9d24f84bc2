"""Events of running cells. Functions that run cells call their `watch` argument with each event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Begun:
    """Cells are about to run."""

    cells: int  # how many


@dataclass(frozen=True)
class Started:
    """A cell starts."""

    cell: str


@dataclass(frozen=True)
class Epoch:
    """An epoch of a cell has ended."""

    cell: str
    number: int  # from 1
    most: int  # the highest number that the study allows
    row: dict[str, float]  # of ``history.csv``


@dataclass(frozen=True)
class Note:
    """A message about a cell, for the user."""

    cell: str
    text: str


@dataclass(frozen=True)
class Finished:
    """A cell is done."""

    cell: str
    metrics: dict[str, Any]  # as in ``metrics.json``


@dataclass(frozen=True)
class Failed:
    """A cell, or the preparation of a data set, has failed."""

    name: str
    reason: str


Event = Begun | Started | Epoch | Note | Finished | Failed
Watch = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Do nothing."""
