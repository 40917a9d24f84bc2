"""Find DeepSEA's training bundle: a folder, an archive, a URL, or a path in a store."""

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
from motifk8s.data.files import GZIP, check_budget
from motifk8s.errors import InputError, Problem, one_line
from motifk8s.store.base import Store
from motifk8s.store.files import local_problem, sha256_of
from motifk8s.store.folder import FolderStore
from motifk8s.store.open import open_store

URL = "https://deepsea.princeton.edu/media/code/deepsea_train_bundle.v0.9.tar.gz"
HASH = "MOTIFK8S_DEEPSEA_HASH"  # environment variable with the archive's hash
FILES = {f"{part}.mat": part for part in PARTS}


@contextlib.contextmanager
def located(
    source: str, store: Store | None, progress: Progress, cache: Path | None
) -> Iterator[dict[str, Path]]:
    """Provide the three files of a bundle, by part, until the block ends.

    Parameters
    ----------
    source : str
        A folder with the files at any depth, a ``.tar`` or ``.tar.gz`` of them, an HTTP or S3
        URL, or a path in `store`.
    cache : path or None
        Folder of downloads, until they are imported (default: ``$XDG_CACHE_HOME/motifk8s``).

    Raises
    ------
    InputError
        If the bundle is missing, incomplete, truncated or damaged, or is not the archive with the
        hash in MOTIFK8S_DEEPSEA_HASH.
    Problem
        If it cannot be downloaded, or a disk is full.
    """
    scheme, colon, address = source.partition("://")
    with tempfile.TemporaryDirectory(prefix="motifk8s-") as temporary:
        folder = Path(temporary)
        if colon and scheme.lower() in ("http", "https"):
            archive = _downloaded(source, progress, cache or _cache(folder))
            try:
                files = _unpacked(archive, folder, progress, source)
            except InputError:
                archive.unlink()  # The next try needs another copy.
                raise
            yield files
            archive.unlink()  # Only now: after an interrupt or a mistake, the next try needs it.
        elif colon and scheme == "s3":
            bucket, _, path = address.strip("/").partition("/")
            parent, _, name = path.rpartition("/")
            yield _stored(open_store(f"s3://{bucket}/{parent}"), name, folder, progress)
        elif colon:
            raise InputError(
                f"{source}: a bundle is a folder, a .tar.gz, or http://, https:// or s3://, "
                f"not {scheme}://"
            )
        elif Path(source).exists() or store is None:
            yield _local(Path(source), folder, progress)
        else:
            yield _stored(store, source, folder, progress)


def _local(path: Path, folder: Path, progress: Progress) -> dict[str, Path]:
    """Find the files in a local folder, or unpack a local archive into `folder`."""
    if path.is_dir():
        _check_hash(None, str(path))
        files = sorted(file for file in path.rglob("*.mat") if file.name in FILES)
        return _complete(files, str(path))
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    return _unpacked(path, folder, progress, str(path))


def _complete(paths: list[Path], where: str) -> dict[str, Path]:
    """Return the files by part; check that each of the three occurs once."""
    names = [path.name for path in paths]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{where}: has more than one {min(twice)}; leave only one")
    if lacking := [name for name in FILES if name not in names]:
        raise InputError(
            f"{where}: has no {' and no '.join(lacking)}; DeepSEA's training bundle has "
            f"{', '.join(FILES)}"
        )
    return {FILES[path.name]: path for path in paths}


def _stored(store: Store, source: str, folder: Path, progress: Progress) -> dict[str, Path]:
    """Download the bundle from a store: one archive, or a folder with the three files."""
    path = source.strip("/")
    where = f"{store.url.rstrip('/')}/{path}"
    if isinstance(store, FolderStore):
        local = store.folder / path
        if not local.exists():
            raise InputError(f"{source}: found neither on this machine nor in {store.url}")
        return _local(local, folder, progress)
    progress(f"download {where}", 0, None)
    if path and store.exists(path):
        archive = folder / "bundle"
        store.download(path, archive)
        files = _unpacked(archive, folder, progress, where)
        archive.unlink()  # Free its disk space.
        return files
    _check_hash(None, where)
    sources = [name for name in store.list(path) if PurePosixPath(name).name in FILES]
    if not sources:
        raise InputError(f"{where}: is neither a bundle nor a folder with {', '.join(FILES)}")
    targets = [folder / PurePosixPath(name).name for name in sources]
    files = _complete(targets, where)
    for name, target in zip(sources, targets, strict=True):
        store.download(name, target)
    return files


def _cache(temporary: Path) -> Path:
    """Return a permanent folder for downloads, or the temporary one if that is not writable."""
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "motifk8s"
        folder.mkdir(parents=True, exist_ok=True)
        return folder if os.access(folder, os.W_OK) else temporary
    except (OSError, RuntimeError):  # The user has no home, or it is read-only.
        return temporary


def _downloaded(url: str, progress: Progress, cache: Path) -> Path:
    """Download a bundle, unless `cache` has it."""
    name = hashlib.sha256(url.encode()).hexdigest()[:12]
    archive = cache / f"deepsea-{name}"
    download(url, archive, progress, pauses=PAUSES)
    return archive


def _unpacked(archive: Path, folder: Path, progress: Progress, name: str) -> dict[str, Path]:
    """Copy the three files out of a tar, compressed or not, into a folder."""
    _check_hash(archive, name)
    try:
        with open(archive, "rb") as raw:
            zipped = raw.read(2) == GZIP
            size = raw.seek(0, os.SEEK_END)
            raw.seek(0)
            stream: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
            paths = []
            for path in _copied(stream, folder, name, size):
                paths.append(path)
                progress(f"unpack {name}", raw.tell(), size)
            while zipped and stream.read(2**20):  # To the end, because gzip's checksum is there.
                pass
    except PermissionError as error:
        raise local_problem(error, "read", archive) from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, OSError) as error:
        raise InputError(
            f"{name}: not a .tar or .tar.gz, or truncated or damaged ({one_line(error)}); "
            "download it again"
        ) from error
    return _complete(paths, name)


def _check_hash(archive: Path | None, name: str) -> None:
    """Compare an archive, or a folder (None), with the hash in the environment, if there is one."""
    wanted = os.environ.get(HASH, "").strip().lower()
    if not wanted:
        return
    if archive is None:
        raise InputError(f"{name}: a folder has no hash; give the archive, or unset {HASH}")
    try:
        found = sha256_of(archive)
    except OSError as error:
        raise local_problem(error, "read", archive) from error
    if found != wanted:
        raise InputError(
            f"{name}: its SHA-256 is {found}, but {HASH} (value deepseaSha256) is {wanted}; "
            "give the right archive, or correct the hash"
        )


def _copied(stream: Any, folder: Path, name: str, stored: int) -> Iterator[Path]:
    """Copy the first file of each name out of a tar of `stored` bytes, compressed or not.

    Yield the path of every one that matches.
    """
    done = set()
    with tarfile.open(fileobj=stream, mode="r|") as members:
        for member in members:
            # The last component of a name cannot lead out of the folder.
            path = folder / PurePosixPath(member.name).name
            if path.name not in FILES or not member.isreg():
                continue
            if path not in done:
                copied = members.extractfile(member)
                assert copied is not None
                check_budget(f"{name}: {path.name} declares", member.size, stored)
                _copy(copied, path, member.size)
                done.add(path)
            yield path


def _copy(source: IO[bytes], file: Path, size: int) -> None:
    if (free := shutil.disk_usage(file.parent).free) < size:
        raise Problem(
            f"{file.parent}: {file.name} needs {size:,} bytes, but its disk has {free:,}; "
            "free some, or set TMPDIR to a folder on another disk"
        )
    with open(file, "xb") as copy:
        while piece := source.read(2**20):
            try:
                copy.write(piece)
            except OSError as error:
                raise local_problem(error, "write", file) from error
    if file.stat().st_size != size:
        raise EOFError(f"{file.name} has {file.stat().st_size:,} of {size:,} bytes")
