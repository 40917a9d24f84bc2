"""Where results live: a folder or ``s3://bucket/prefix``, behind one small interface.

Paths are relative to the store's URL and '/'-separated. A file appears whole or not at all, under
its final name, and writing one again replaces it at once. S3 is in `motifk8s.s3`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from motifk8s.errors import Problem

MARKER = "done.json"  # says that the files beside it are complete
Paths = list[str]  # inside a store, `list` is a method


class MissingError(Problem):
    """The store has no file of this name."""


class Info(NamedTuple):
    """A file's size in bytes, and when it was written, in seconds since 1970."""

    size: int
    modified: float


class Store(ABC):
    """A place for files; see the module's docstring. Every method raises `Problem`."""

    url: str

    def hasty(self) -> Store:
        """The same store for what is not worth waiting for: it tries little before it gives up."""
        return self

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Return the content of `path`; `MissingError` if there is none."""

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Make `data` the content of `path`."""

    @abstractmethod
    def upload(self, file: Path, path: str) -> None:
        """Copy the local `file` to `path`."""

    @abstractmethod
    def download(self, path: str, file: Path) -> None:
        """Copy `path` to the local `file`; `MissingError` if there is none."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Tell whether there is a file `path` (folders do not count)."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete the file `path`, or every file of the folder `path`; neither need exist."""

    @abstractmethod
    def list(self, path: str = "") -> Paths:
        """Name all files under the folder `path` (the whole store by default), sorted."""

    @abstractmethod
    def infos(self, path: str = "") -> dict[str, Info]:
        """Size and age of all files that `list` names."""

    def _where(self, path: str) -> str:
        return f"{self.url.rstrip('/')}/{path}"
