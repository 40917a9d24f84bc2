"""Where results live: a folder or ``s3://bucket/prefix``, behind one small interface.

Paths are relative to the store's URL and '/'-separated. A file appears whole or not at all, under
its final name, and writing one again replaces it at once. S3 is in `motifk8s.s3`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from motifk8s.errors import InputError, Problem

MARKER = "done.json"  # says that the files beside it are complete
Paths = list[str]  # inside a store, `list` is a method


class MissingError(Problem):
    """The store has no file of this name."""


class Info(NamedTuple):
    """A file's size in bytes, and when it was written, in seconds since 1970."""

    size: int
    modified: float


def open_store(url: str | Path) -> Store:
    """Open the store at `url`; nothing is read or written yet.

    Parameters
    ----------
    url : str
        A folder, which the first write creates, or ``s3://bucket/prefix``, whose bucket exists.

    Raises
    ------
    InputError
        For any other scheme, a bucket without a name, or a folder that is a file.
    """
    text = str(url)
    scheme, colon, rest = text.partition("://")
    if not colon:
        return FolderStore(text)
    if scheme != "s3":
        raise InputError(f"store {text!r}: give a folder or s3://bucket/prefix, not {scheme}://")
    from motifk8s.store.s3 import S3Store

    bucket, _, prefix = rest.partition("/")
    return S3Store(bucket, prefix)


def read_url(url: str) -> bytes:
    """Return the content of the object at ``s3://bucket/key``.

    Raises
    ------
    InputError
        If there is none, or the URL names none.
    """
    parent, _, name = url.rpartition("/")
    if parent in ("s3:/", "s3:") or not name:
        raise InputError(f"{url}: give s3://bucket/key")
    try:
        return open_store(parent).read(name)
    except MissingError as error:
        raise InputError(str(error)) from None


def try_out(store: Store) -> None:
    """Write, find, read and delete a small file, as a cell does; `Problem` says what fails."""
    path = f"checks/{secrets.token_hex(8)}"
    data = secrets.token_bytes(64)
    store.list("checks")
    store.write(path, data)
    try:
        if store.read(path) != data or path not in store.list("checks"):
            raise Problem(f"{store.url}: a file that was written is not there, or is not the same")
    finally:
        store.delete(path)
    if store.exists(path):
        raise Problem(f"{store.url}: a file that was deleted is still there")


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


def checked(path: str) -> str:
    """Return `path` unless it could lead out of a store or be mistaken for a temporary file."""
    parts = path.split("/")
    if "\\" in path or any(p in ("", ".", "..") or not p.isprintable() for p in parts):
        raise InputError(f"{path!r} cannot name a file in a store; want names joined by single '/'")
    if any(_is_temporary(p) for p in parts):
        raise InputError(f"{path!r} cannot name a file in a store; .*.tmp is for unfinished files")
    return path


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that becomes `target` when the block ends well, and else is removed.

    Folders are created as needed. Power loss leaves the old content or the new.

    Raises
    ------
    InputError
        `target` cannot be written by this user or its folder cannot be one.
    Problem
        The disk is full or fails.
    """
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:  # not mkstemp: the umask decides who may read
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as err:
        raise local_problem(err, "write", target) from err
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # Some network file systems refuse this; the file itself is safe by then.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def local_problem(err: OSError, doing: str, path: Path) -> Problem:
    """Say in one line why the local `path` cannot be read, written, ..., and what to do."""
    what = f"cannot {doing} {path}"
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem(
            f"{what}: no space left on its disk; free some and run the same command again"
        )
    if err.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return InputError(
            f"{what}: this user may not; change the folder's permissions or choose another"
        )
    if err.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return InputError(
            f"{what}: a file stands where a folder must be, or the reverse; move it or choose"
            " another folder"
        )
    return Problem(f"{what}: {err.strerror or err}")


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a local file, in hexadecimal."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class FolderStore(Store):
    """A store in a local folder. Symbolic links in it are followed: they are the user's."""

    def __init__(self, folder: str | Path):
        if not str(folder).isprintable() or not str(folder):
            raise InputError(f"store {str(folder)!r}: give a folder or s3://bucket/prefix")
        try:
            self.folder = Path(folder).expanduser()
            if self.folder.exists() and not self.folder.is_dir():
                raise InputError(f"store {folder}: is a file; give a folder or s3://bucket/prefix")
        except RuntimeError as err:
            raise InputError(f"store {folder}: {err}") from err  # ~ of nobody
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
            source = open(file, "rb")  # noqa: SIM115 (errors of the target are told apart)
        except OSError as err:
            raise local_problem(err, "read", file) from err
        with source, replacing(target) as copy:
            shutil.copyfileobj(source, copy, 1 << 20)

    def download(self, path: str, file: Path) -> None:
        try:
            source = open(self._file(path), "rb")  # noqa: SIM115
        except OSError as err:
            raise self._problem(err, "read", path) from err
        with source, replacing(file) as copy:
            shutil.copyfileobj(source, copy, 1 << 20)

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
                if MARKER in names:  # first: what is half deleted must never look finished
                    Path(folder, MARKER).unlink(missing_ok=True)
            shutil.rmtree(target)
        except FileNotFoundError:
            pass  # someone else deletes it too
        except NotADirectoryError:
            pass  # `path` lies beneath a file, so it does not exist
        except OSError as err:
            raise local_problem(err, "delete", target) from err

    def list(self, path: str = "") -> Paths:
        top = self._file(path) if path else self.folder

        def told(err: OSError) -> None:
            if not isinstance(err, (FileNotFoundError, NotADirectoryError)):
                raise local_problem(err, "list", top) from err

        return sorted(
            Path(folder, name).relative_to(self.folder).as_posix()
            for folder, _, names in os.walk(top, onerror=told, followlinks=True)
            for name in names
            if not _is_temporary(name)
        )

    def infos(self, path: str = "") -> dict[str, Info]:
        found = {}
        for name in self.list(path):
            with contextlib.suppress(FileNotFoundError):  # someone else deletes it
                stat = self._file(name).stat()
                found[name] = Info(stat.st_size, stat.st_mtime)
        return found

    def _file(self, path: str) -> Path:
        return self.folder / checked(path)

    def _problem(self, err: OSError, doing: str, path: str) -> Problem:
        if isinstance(err, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
            return MissingError(f"there is no {self._where(path)}")
        return local_problem(err, doing, self.folder / path)
