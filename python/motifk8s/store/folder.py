"""A store in a local folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from motifk8s.errors import InputError, Problem
from motifk8s.store.base import MARKER, Info, MissingError, Paths, Store
from motifk8s.store.files import ADDRESS, checked, is_temporary, local_problem, replacing


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
        try:
            self.folder = Path(folder).expanduser()
            if self.folder.exists() and not self.folder.is_dir():
                raise InputError(f"store {folder} is a file; give a folder or s3://bucket/prefix")
        except RuntimeError as err:  # ~NAME of an unknown user
            raise InputError(f"store {folder}: {err}") from err
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
        top = self._file(path) if path else self.folder

        def fail(err: OSError) -> None:
            if not isinstance(err, (FileNotFoundError, NotADirectoryError)):
                raise local_problem(err, "list", top) from err

        return sorted(
            Path(folder, name).relative_to(self.folder).as_posix()
            for folder, _, names in os.walk(top, onerror=fail, followlinks=True)
            for name in names
            if not is_temporary(name)
        )

    def infos(self, path: str = "") -> dict[str, Info]:
        infos = {}
        for name in self.list(path):
            with suppress(FileNotFoundError):  # another process deletes it
                stat = self._file(name).stat()
                infos[name] = Info(stat.st_size, stat.st_mtime)
        return infos

    def _file(self, path: str) -> Path:
        return self.folder / checked(path)

    def _problem(self, err: OSError, doing: str, path: str) -> Problem:
        if isinstance(err, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
            return MissingError(f"cannot {doing} {self._where(path)}: there is no such file")
        return local_problem(err, doing, self.folder / path)
