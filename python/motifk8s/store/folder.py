"""A store in a local folder."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from motifk8s.errors import InputError, Problem
from motifk8s.store.base import MARKER, Info, MissingError, Paths, Store, Unfinished
from motifk8s.store.files import (
    ADDRESS,
    checked,
    expanded,
    is_path,
    is_unfinished,
    local_problem,
    replacing,
)

# The file does not exist: a part of its path does not, is a file, or is a link that loops.
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class FolderStore(Store):
    """A store in a local folder. It follows symbolic links.

    `upload` raises `InputError` instead of overwriting one of the files `inputs`.
    """

    def __init__(self, folder: str | Path, inputs: Iterable[str | Path] = ()):
        if not str(folder).isprintable() or not str(folder):
            raise InputError(f"store {str(folder)!r}: give a folder or s3://bucket/prefix")
        if address := ADDRESS.match(str(folder)):
            known = "give a folder or s3://bucket/prefix"
            raise InputError(f"store {str(folder)!r}: {known}, not {address[0]}")
        self.inputs = list(inputs)
        self.folder = expanded(folder)
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise InputError(f"store {folder} is a file; give a folder or s3://bucket/prefix")
        except OSError as err:
            raise local_problem(err, "open", Path(folder)) from err
        self.url = str(self.folder)

    def __repr__(self) -> str:
        return f"FolderStore({self.url!r})"

    def read(self, path: str) -> bytes:
        try:
            return self._file(path).read_bytes()
        except OSError as err:
            raise self._problem(err, "read", path) from err

    def write(self, path: str, data: bytes) -> None:
        with replacing(self._file(path)) as file:
            file.write(data)

    def upload(self, file: Path, path: str) -> None:
        target = self._file(path)
        try:
            source = open(file, "rb")  # noqa: SIM115 (errors of source and target differ)
        except OSError as err:
            raise local_problem(err, "read", file) from err
        with source, replacing(target, self.inputs) as copy:
            shutil.copyfileobj(source, copy, 1 << 20)

    def download(self, path: str, file: Path) -> None:
        try:
            source = open(self._file(path), "rb")  # noqa: SIM115
        except OSError as err:
            raise self._problem(err, "read", path) from err
        with source, replacing(file) as copy:
            shutil.copyfileobj(source, copy, 1 << 20)

    @contextmanager
    def local(self, path: str) -> Iterator[Path]:
        yield self._file(path)  # not a copy; the caller notices a missing file when opening it

    def exists(self, path: str) -> bool:
        try:
            return self._file(path).is_file()
        except OSError as err:
            raise self._problem(err, "read", path) from err

    def delete(self, path: str) -> None:
        target = self._file(path)
        try:
            if target.is_symlink() or not target.is_dir():
                return target.unlink(missing_ok=True)
            for folder, _, names in os.walk(target):
                if MARKER in names:  # first: a half-deleted run must never look finished
                    Path(folder, MARKER).unlink(missing_ok=True)
            shutil.rmtree(target)
        except (FileNotFoundError, NotADirectoryError):
            pass  # another process deletes it too, or a part of `path` is a file
        except OSError as err:
            raise local_problem(err, "delete", target) from err

    def list(self, path: str = "") -> Paths:
        return sorted(name for name, _ in self._walk(path) if not is_unfinished(name))

    def infos(self, path: str = "") -> dict[str, Info]:
        infos = {}
        for name in self.list(path):
            with suppress(FileNotFoundError):  # another process deletes it
                stat = (self.folder / name).stat()
                infos[name] = Info(stat.st_size, stat.st_mtime)
        return infos

    def unfinished(self, path: str) -> Iterator[Unfinished]:
        for name, file in self._walk(path):
            if is_unfinished(name):
                with suppress(FileNotFoundError):
                    stat = os.stat(file)
                    yield Unfinished(name, stat.st_size, stat.st_mtime, name)

    def discard(self, unfinished: Unfinished) -> None:
        file = self.folder / unfinished.handle
        try:
            file.unlink(missing_ok=True)
        except OSError as err:
            raise local_problem(err, "delete", file) from err

    def _walk(self, path: str) -> Iterator[tuple[str, str]]:
        """Yield the path in the store, and the local path, of every file in a folder."""
        top = self._file(path) if path else self.folder
        # Each folder with its path in the store and, against links that loop, those above it.
        folders: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(top), path, frozenset())]
        while folders:
            folder, place, above = folders.pop()
            try:
                stat = os.stat(folder)
                if (stat.st_dev, stat.st_ino) in above:
                    continue
                with os.scandir(folder) as entries:
                    for entry in entries:
                        name = f"{place}/{entry.name}" if place else entry.name
                        kind = _kind(entry) if is_path(name) else ""
                        if kind == "folder":
                            inner = above | {(stat.st_dev, stat.st_ino)}
                            folders.append((entry.path, name, inner))
                        elif kind:
                            yield name, entry.path
            except OSError as err:
                if err.errno not in ABSENT:
                    raise local_problem(err, "list", Path(folder)) from err

    def _file(self, path: str) -> Path:
        return self.folder / checked(path)

    def _problem(self, err: OSError, doing: str, path: str) -> Problem:
        if err.errno in ABSENT or isinstance(err, IsADirectoryError):
            return MissingError(f"cannot {doing} {self._where(path)}: there is no such file")
        return local_problem(err, doing, self.folder / path)


def _kind(entry: os.DirEntry[str]) -> str:
    """Return "folder", "file" or, for a link that leads nowhere or loops, an empty string."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else ""
    except OSError:
        return ""
