"""The interface of a store: a folder or ``s3://bucket/prefix`` that holds results.

Paths are relative to the store's URL, with '/' between names. Writes are atomic: a reader gets the
whole old file or the whole new one.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from motifk8s.errors import Problem

MARKER = "done.json"  # written last: the files that it names are complete

Item = TypeVar("Item")
Result = TypeVar("Result")
# Aliases, because `list` is a method in the class below.
Results = list[Result]
Paths = list[str]


class MissingError(Problem):
    """The store has no file at this path."""


class DamagedError(Problem):
    """A file of the store is missing or was changed; its cell or data set must be made again."""


class FormatError(Problem):
    """A file of the store has a format that this version does not read."""


class Info(NamedTuple):
    """Size and age of a file."""

    size: int  # bytes
    modified: float  # when it was written, in seconds since 1970


class Unfinished(NamedTuple):
    """A file that a killed process left half-written, or that another process is writing."""

    path: str  # what to print
    size: int  # bytes
    modified: float  # of the last write, in seconds since 1970
    handle: str  # for `Store.discard`


class Store(ABC):
    """A place for files; see the module's docstring. Every method may raise `Problem`."""

    url: str  # `open_store` opens the store by it
    verifies = False  # whether reading a file checks its hash

    def hasty(self) -> Store:
        """Return the same store with few retries, for writes that may fail."""
        return self

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Return the content of `path`; raise `MissingError` if there is no such file."""

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Write `data` to `path`."""

    @abstractmethod
    def upload(self, file: Path, path: str) -> None:
        """Copy the local `file` to `path`."""

    @abstractmethod
    def download(self, path: str, file: Path) -> None:
        """Copy `path` to the local `file`; raise `MissingError` if there is no such file."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Return whether `path` is a file; False for a folder."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete the file `path`, or every file in the folder `path`, if it exists."""

    @abstractmethod
    def list(self, path: str = "") -> Paths:
        """Return the sorted paths of all files in the folder `path`; "" is the whole store.

        Skips files with a name that no path of a store has: they are of other programs.
        """

    @abstractmethod
    def infos(self, path: str = "") -> dict[str, Info]:
        """Return size and age of all files that `list` returns."""

    def unfinished(self, path: str) -> Iterator[Unfinished]:
        """Yield the unfinished files in the folder `path`, which `list` skips."""
        return iter(())

    def discard(self, unfinished: Unfinished) -> None:
        """Delete an unfinished file, if it still exists."""
        raise NotImplementedError

    def version(self, path: str) -> tuple[str, str | None]:
        """Return a text that changes with the content of `path`, and the SHA-256 if it is known.

        Reads as little as the store allows; raise `MissingError` if there is no such file.
        """
        sha256 = hashlib.sha256(self.read(path)).hexdigest()
        return sha256, sha256

    @contextmanager
    def local(self, path: str) -> Iterator[Path]:
        """Yield a local copy of `path`, only for reading; it is deleted afterwards."""
        with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder:
            file = Path(folder) / PurePosixPath(path).name
            self.download(path, file)
            yield file

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Results[Result]:
        """Call `function`, which uses the store, with each item: 8 at a time, for slow networks."""
        with ThreadPoolExecutor(8) as pool:
            return [*pool.map(function, items)]

    def read_json(
        self, path: str, number: int, parse: Callable[[dict[str, Any]], Result]
    ) -> Result | None:
        """Read and `parse` a JSON file of format `number`; return None if there is no such file.

        Raises
        ------
        DamagedError
            If the file is not JSON, or `parse` raises ValueError, KeyError, TypeError or
            OverflowError.
        FormatError
            If its ``format`` is another number.
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
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise DamagedError(f"{path} is damaged") from None

    def write_json(self, path: str, content: dict[str, Any]) -> None:
        """Write a JSON file; `read_json` can read it if `content` has a ``format``."""
        self.write(path, (json.dumps(content, indent=1) + "\n").encode())

    def _where(self, path: str) -> str:
        return f"{self.url.rstrip('/')}/{path}"
