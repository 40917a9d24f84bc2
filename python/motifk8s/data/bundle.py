"""Where DeepSEA's training bundle is: a folder, an archive, an address, or in a store."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from motifk8s.data.datasets import PARTS
from motifk8s.data.download import PAUSES, Progress, download
from motifk8s.errors import InputError, Problem
from motifk8s.store.base import Store
from motifk8s.store.files import local_problem
from motifk8s.store.folder import FolderStore
from motifk8s.store.open import open_store

URL = "http://deepsea.princeton.edu/media/code/deepsea_train_bundle.v0.9.tar.gz"
FILES = {f"{part}.mat": part for part in PARTS}


@contextlib.contextmanager
def located(
    source: str, store: Store | None, progress: Progress, cache: Path | None
) -> Iterator[dict[str, Path]]:
    """Provide the three files of a bundle, by part, for as long as the block runs.

    Parameters
    ----------
    source : str
        A folder that holds them at any depth, a ``.tar`` or ``.tar.gz`` that does, an HTTP or S3
        URL, or a path in `store`.
    store : Store or None
        Where a source that is no local file is looked for.
    progress : callable
    cache : path or None
        Folder of unfinished downloads (default: ``$XDG_CACHE_HOME/motifk8s``).

    Raises
    ------
    InputError
        There is no such bundle, it lacks a file, or is cut short or damaged.
    Problem
        It cannot be downloaded, or a disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder:
        here = Path(folder)
        scheme, colon, rest = source.partition("://")
        if colon and scheme.lower() in ("http", "https"):
            with _downloaded(source, progress, cache or _cache(here)) as archive:
                yield _unpacked(archive, here, progress, source)
            return
        local = Path(source)
        if colon and scheme == "s3":
            bucket, _, path = rest.strip("/").partition("/")
            parent, _, name = path.rpartition("/")
            files = _stored(open_store(f"s3://{bucket}/{parent}"), name, here, progress)
        elif colon:
            raise InputError(
                f"{source}: a bundle is a folder, a .tar.gz, or http://, https:// or s3://, "
                f"not {scheme}://"
            )
        elif local.is_dir():
            files = _in_folder(local)
        elif local.exists() or store is None:
            files = _unpacked(local, here, progress)
        else:
            files = _stored(store, source.strip("/"), here, progress)
        yield files


def _in_folder(folder: Path) -> dict[str, Path]:
    """Find the three files in a folder or below it."""
    found = sorted(path for path in folder.rglob("*.mat") if path.name in FILES)
    return _complete([(path.name, path) for path in found], str(folder))


def _complete(found: list[tuple[str, Path]], where: str) -> dict[str, Path]:
    """Check that each of the three files is there once."""
    names = [name for name, _ in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{where}: has more than one {min(twice)}; which is meant?")
    if lacking := [name for name in FILES if name not in names]:
        raise InputError(
            f"{where}: has no {' and no '.join(lacking)}; DeepSEA's training bundle has "
            f"{', '.join(FILES)}"
        )
    return {FILES[name]: path for name, path in found}


def _stored(store: Store, path: str, here: Path, progress: Progress) -> dict[str, Path]:
    """Take the bundle from a store: a file, or a folder of the three."""
    where = f"{store.url.rstrip('/')}/{path}"
    if isinstance(store, FolderStore):
        local = store.folder / path
        if not local.exists():
            raise InputError(f"{path}: is neither a local file or folder nor in {store.url}")
        return _in_folder(local) if local.is_dir() else _unpacked(local, here, progress)
    progress(f"download {where}", 0, None)
    if path and store.exists(path):
        archive = here / "bundle"
        store.download(path, archive)
        files = _unpacked(archive, here, progress, where)
        archive.unlink()  # as large as what was in it
        return files
    names = [name for name in store.list(path) if PurePosixPath(name).name in FILES]
    if not names:
        raise InputError(f"{where}: is neither a bundle nor a folder with {', '.join(FILES)}")
    found = [(PurePosixPath(name).name, here / PurePosixPath(name).name) for name in names]
    files = _complete(found, where)
    for name, (_, file) in zip(names, found, strict=True):
        store.download(name, file)
    return files


def _cache(here: Path) -> Path:
    """A folder that outlives this process, if the user has one."""
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "motifk8s"
        folder.mkdir(parents=True, exist_ok=True)
        return folder if os.access(folder, os.W_OK) else here
    except (OSError, RuntimeError):  # no home, or a read-only one
        return here


@contextlib.contextmanager
def _downloaded(url: str, progress: Progress, cache: Path) -> Iterator[Path]:
    """Download a bundle, and delete it when it was used or is no good.

    If the block was stopped or a disk was full, the same command finds it again.
    """
    name = hashlib.sha256(url.encode()).hexdigest()[:12]
    archive = cache / f"deepsea-{name}"
    download(url, archive, progress, pauses=PAUSES)
    try:
        yield archive
    except InputError:
        archive.unlink()  # or the same damage would be found again
        raise
    archive.unlink()


def _unpacked(archive: Path, folder: Path, progress: Progress, name: str = "") -> dict[str, Path]:
    """Copy the three files out of a tar, compressed or not, into a folder."""
    name = name or str(archive)
    found: list[tuple[str, Path]] = []
    try:
        with open(archive, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            size = raw.seek(0, os.SEEK_END)
            raw.seek(0)
            stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            with tarfile.open(fileobj=stream, mode="r|") as members:
                for member in members:
                    # Only these names, and only under these names: no path leads elsewhere.
                    base = PurePosixPath(member.name).name
                    if base not in FILES or not member.isreg():
                        continue
                    found.append((base, folder / base))
                    if [here for here, _ in found].count(base) == 1:
                        copied = members.extractfile(member)
                        assert copied is not None
                        _copy(copied, folder / base, member.size)
                    progress(f"unpack {name}", raw.tell(), size)
            while stream.read(2**20):  # to the end, where gzip has its checksum
                pass
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file or folder") from error
    except PermissionError as error:
        raise local_problem(error, "read", archive) from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{name}: not a .tar or .tar.gz, cut short or damaged ({reason}); get it again"
        ) from error
    return _complete(found, name)


def _copy(source: IO[bytes], file: Path, size: int) -> None:
    if (free := shutil.disk_usage(file.parent).free) < size:
        raise Problem(
            f"{file.parent}: {file.name} needs {size:,} bytes, but its disk has {free:,}; "
            "free some, or set TMPDIR to a folder on another"
        )
    with open(file, "xb") as copy:
        while piece := source.read(2**20):
            try:
                copy.write(piece)
            except OSError as error:
                raise local_problem(error, "write", file) from error
    if file.stat().st_size != size:
        raise EOFError(f"{file.name} has {file.stat().st_size:,} of {size:,} bytes")
