"""The marker of a finished cell: which run counts, what it was made from, what its files hash to.

A run's files go to ``runs/<id>/``; ``done.json`` beside that folder is written last and names the
run. Two pods with the same cell cannot damage each other, and nothing half-written is ever taken
for finished.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path
from typing import NamedTuple

from motifk8s.errors import Problem
from motifk8s.store.base import MissingError, Store
from motifk8s.store.folder import FolderStore

FORMAT = 1


class DamagedError(Problem):
    """A marker, or a file that it names, is gone or was changed: the cell is to be run again."""


class Done(NamedTuple):
    """The marker of a finished cell.

    Attributes
    ----------
    keys : dict
        Key of each stage.
    run : str
        Folder of the run that counts, relative to the cell's.
    files : dict
        SHA-256 of each file in it.
    """

    keys: dict[str, str]
    run: str
    files: dict[str, str]


def read_done(store: Store, place: str) -> Done | None:
    """Read the marker of the cell at `place`; None if the cell was never finished.

    Raises
    ------
    DamagedError
        If it is no marker.
    Problem
        If it is of another format.
    """
    path = f"{place}/done.json"
    try:
        data = store.read(path)
    except MissingError:
        return None
    try:
        marker = json.loads(data)
        if marker["format"] != FORMAT:
            raise Problem(
                f"{path} has format {marker['format']!r}, this version reads {FORMAT}: use the "
                "version that wrote it, or another store"
            )
        done = Done(dict(marker["keys"]), marker["run"], dict(marker["files"]))
        if all(isinstance(text, str) for text in (done.run, *done.keys.values(), *done.files)):
            return done
    except (ValueError, KeyError, TypeError):
        pass
    raise DamagedError(f"{path} is damaged")


def fetch(store: Store, place: str, done: Done, name: str) -> bytes:
    """Read one file of a finished run and check it against the marker.

    Raises
    ------
    DamagedError
        If the file is gone or was changed.
    """
    path = f"{place}/{done.run}/{name}"
    try:
        data = store.read(path)
    except MissingError:
        raise DamagedError(f"{path} is gone, though {place}/done.json names it") from None
    if hashlib.sha256(data).hexdigest() != done.files.get(name):
        raise DamagedError(f"{path} was changed after it was written")
    return data


def check(store: Store, place: str, done: Done) -> None:
    """Raise `DamagedError` unless every file of a finished run is what the marker says.

    In a folder their content is compared. An object store keeps content whole, and every reader
    checks it, so there they need only exist: one request a cell.
    """
    if isinstance(store, FolderStore):
        for name in done.files:
            fetch(store, place, done, name)
        return
    here = set(store.list(f"{place}/{done.run}"))
    for name in done.files:
        if (path := f"{place}/{done.run}/{name}") not in here:
            raise DamagedError(f"{path} is gone, though {place}/done.json names it")


def publish(store: Store, place: str, keys: dict[str, str], folder: Path) -> None:
    """Upload the files of `folder` as a new run, then the marker that makes it count."""
    run = f"runs/{secrets.token_hex(4)}"
    hashes = {}
    for path in sorted(folder.iterdir()):
        hashes[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        store.upload(path, f"{place}/{run}/{path.name}")
    marker = {"format": FORMAT, "keys": keys, "run": run, "files": hashes}
    store.write(f"{place}/done.json", (json.dumps(marker, indent=1) + "\n").encode())
