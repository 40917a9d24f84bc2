"""Open the store at a URL, read one object, test a store."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from motifk8s.errors import InputError, Problem
from motifk8s.store.base import MissingError, Store
from motifk8s.store.folder import FolderStore


def default_url() -> str:
    """Return the URL of the store that a command uses if none is given."""
    return os.environ.get("MOTIFK8S_STORE", "./store")


def open_store(url: str | Path) -> Store:
    """Open the store at `url`: a folder or ``s3://bucket/prefix``. Reads and writes nothing.

    The first write creates the folder; a bucket must exist.

    Raises
    ------
    InputError
        For any other scheme, a bucket without a name, or a folder that is a file.
    """
    if not str(url).startswith("s3://"):
        return FolderStore(url)
    from motifk8s.store.s3 import S3Store  # a quarter of the time to import the API

    bucket, _, prefix = str(url).removeprefix("s3://").partition("/")
    return S3Store(bucket, prefix)


def read_url(url: str) -> bytes:
    """Return the content of ``s3://bucket/key``; raise `InputError` if there is no such object."""
    parent, _, name = url.rpartition("/")
    if parent in ("s3:/", "s3:") or not name:
        raise InputError(f"{url}: give s3://bucket/key")
    try:
        return open_store(parent).read(name)
    except MissingError as error:
        raise InputError(str(error)) from None


def try_out(store: Store) -> None:
    """Write, list, read and delete a small file, as a cell does; raise `Problem` on failure."""
    path = f"checks/{secrets.token_hex(8)}"
    data = secrets.token_bytes(64)
    store.list("checks")
    store.write(path, data)
    try:
        if store.read(path) != data or path not in store.list("checks"):
            raise Problem(f"{store.url}: a file that was written is missing or has other content")
    finally:
        store.delete(path)
    if store.exists(path):
        raise Problem(f"{store.url}: a file still exists after it was deleted")
