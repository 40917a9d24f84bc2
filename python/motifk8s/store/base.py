"""Where results live: a folder or ``s3://bucket/prefix``, behind one small interface.

Paths are relative to the store's URL and '/'-separated. A file appears whole or not at all, under
its final name, and writing one again replaces it at once.
"""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from motifk8s.errors import Problem

MARKER = "done.json"  # says that the files beside it are complete

Item = TypeVar("Item")
Result = TypeVar("Result")
# Inside a store, `list` is a method.
Results = list[Result]
Paths = list[str]


class MissingError(Problem):
    """The store has no file of this name."""


class DamagedError(Problem):
    """A file of the store is gone or was changed: what it belongs to must be made again."""


class FormatError(Problem):
    """A file of the store was written by a version whose format this one does not read."""


class Info(NamedTuple):
    """A file's size in bytes, and when it was written, in seconds since 1970."""

    size: int
    modified: float


class Store(ABC):
    """A place for files; see the module's docstring. Every method raises `Problem`.

    Attributes
    ----------
    url : str
        What `open_store` opens it by.
    verifies : bool
        Whether reading a file checks that its content is what was written.
    """

    url: str
    verifies = False

    def hasty(self) -> Store:
        """Return the same store for optional writes: it hardly retries."""
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
        """List all files under the folder `path` (the whole store by default), sorted."""

    @abstractmethod
    def infos(self, path: str = "") -> dict[str, Info]:
        """Return size and age of all files that `list` returns."""

    @contextmanager
    def local(self, path: str) -> Iterator[Path]:
        """Yield a local file with the content of `path`, only to be read: a temporary copy."""
        with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder:
            file = Path(folder) / PurePosixPath(path).name
            self.download(path, file)
            yield file

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Results[Result]:
        """Call `function`, which uses the store, with each item: 8 at a time, as it may be far."""
        with ThreadPoolExecutor(8) as pool:
            return [*pool.map(function, items)]

    def read_json(
        self, path: str, number: int, parse: Callable[[dict[str, Any]], Result]
    ) -> Result | None:
        """Read and `parse` a JSON file whose ``format`` is `number`; None if there is no file.

        Raises
        ------
        DamagedError
            If the file is not JSON, or `parse` raises ValueError, KeyError or TypeError.
        FormatError
            If it has another format.
        """
        try:
            content = json.loads(self.read(path))
            if content["format"] != number:
                raise FormatError(
                    f"{path} has format {content['format']!r}, this version reads {number}: use "
                    "the version that wrote it, or another store"
                )
            return parse(content)
        except MissingError:
            return None
        except (ValueError, KeyError, TypeError):
            raise DamagedError(f"{path} is damaged") from None

    def write_json(self, path: str, content: dict[str, Any]) -> None:
        """Write a JSON file, which `read_json` reads if it has a ``format``."""
        self.write(path, (json.dumps(content, indent=1) + "\n").encode())

    def _where(self, path: str) -> str:
        return f"{self.url.rstrip('/')}/{path}"
