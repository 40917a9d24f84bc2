"""The marker of a finished cell: which run counts, its keys, the hashes of its files.

A run's files are in ``runs/ID/``. ``done.json`` is written last and names the run. So two pods
that run the same cell cannot damage each other, and an incomplete run never counts as finished.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from motifk8s.store.base import DamagedError, MissingError, Store

FORMAT = 1


class Done(NamedTuple):
    """The marker of a finished cell."""

    keys: dict[str, str]  # of each stage
    run: str  # folder of the run that counts, in the cell's folder
    files: dict[str, str]  # SHA-256 of each file of the run
    absent: dict[str, str]  # the same of files that the archive of the cell does not have


def read_done(store: Store, place: str) -> Done | None:
    """Read the marker of the cell whose folder is `place`; return None if it does not exist.

    Raises
    ------
    DamagedError
        If the file is not a marker.
    FormatError
        If this version does not read its format.
    """
    return store.read_json(f"{place}/done.json", FORMAT, _parse)


def _parse(content: dict[str, Any]) -> Done:
    keys, files, absent = content["keys"], content["files"], content.get("absent", {})
    done = Done(dict(keys), content["run"], dict(files), dict(absent))
    texts = (done.run, *done.keys.values(), *done.files, *done.absent.values())
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    return done


def read_intact(store: Store, place: str) -> Done | None:
    """Read a cell's marker as `read_done` does, and `check` the files that it names."""
    done = read_done(store, place)
    if done:
        check(store, place, done)
    return done


def fetch(store: Store, place: str, done: Done, name: str) -> bytes:
    """Read a file of a finished run; raise `DamagedError` if it is missing or was changed."""
    path = f"{place}/{done.run}/{name}"
    if name in done.absent:
        raise DamagedError(f"{path} does not exist: the cell is from an archive without this file")
    try:
        data = store.read(path)
    except MissingError:
        raise _gone(path, place) from None
    if hashlib.sha256(data).hexdigest() != done.files.get(name):
        raise DamagedError(f"{path} was changed after it was written")
    return data


def check(store: Store, place: str, done: Done) -> None:
    """Raise `DamagedError` unless the files of a finished run match its marker.

    Compares hashes, unless reading from this store does so anyway. Then the files must only exist,
    which takes one request.
    """
    if store.verifies:
        check_present(store, place, done)
    else:
        for name in done.files:
            fetch(store, place, done, name)


def check_present(store: Store, place: str, done: Done) -> None:
    """Raise `DamagedError` unless every file of a finished run exists."""
    present = set(store.list(f"{place}/{done.run}"))
    for name in done.files:
        if (path := f"{place}/{done.run}/{name}") not in present:
            raise _gone(path, place)


def _gone(path: str, place: str) -> DamagedError:
    return DamagedError(f"{path} is missing, but {place}/done.json names it")


def publish(
    store: Store,
    place: str,
    keys: dict[str, str],
    folder: Path,
    absent: Mapping[str, str] | None = None,
) -> None:
    """Upload the files of `folder` as a new run, then the marker that names it.

    `absent` has the SHA-256 of files that an archive of the run names and does not have.
    """
    run = f"runs/{secrets.token_hex(4)}"
    hashes = {}
    for path in sorted(folder.iterdir()):
        hashes[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        store.upload(path, f"{place}/{run}/{path.name}")
    marker: dict[str, Any] = {"format": FORMAT, "keys": keys, "run": run, "files": hashes}
    if absent:
        marker["absent"] = dict(absent)
    store.write_json(f"{place}/done.json", marker)
