"""Local files: atomic writes, hashes, and error messages that say how to fix the problem."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from motifk8s.errors import AwayError, InputError, Problem

# Errors of a network file system that is away.
AWAY = (
    errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN,
    errno.ENETUNREACH, errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN,
)  # fmt: skip


def checked(path: str) -> str:
    """Return `path`; raise `InputError` if it is not a valid path in a store.

    A path must not lead out of the store or look like a temporary file.
    """
    if not is_path(path):
        raise InputError(f"{path!r} cannot name a file in a store; give names separated by '/'")
    if is_unfinished(path):
        raise InputError(f"{path!r} cannot name a file in a store; .*.tmp is for unfinished files")
    return path


def is_path(path: str) -> bool:
    """Return whether `path` is a valid path in a store, of a whole or an unfinished file.

    Other names in a store's folder or bucket are of other programs.
    """
    names = path.split("/")
    return "\\" not in path and all(n not in ("", ".", "..") and n.isprintable() for n in names)


def is_unfinished(path: str) -> bool:
    """Return whether a name in `path` is one that `replacing` gives to an unfinished file."""
    return any(name.startswith(".") and name.endswith(".tmp") for name in path.split("/"))


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `target` at the end of the block, unless that raises.

    Creates missing folders. After a power loss, `target` has its old content or the new.

    Raises
    ------
    InputError
        If this user may not write `target`, or a part of its path is not a folder.
    Problem
        If the disk is full or fails.
    """
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:  # mkstemp would ignore the umask
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
    # Some network file systems refuse this. The file itself is already on the disk.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def local_problem(err: OSError, doing: str, path: Path) -> Problem:
    """Describe an error of a local file and how to fix it; `doing` is "read", "write", ..."""
    what = f"cannot {doing} {path}"
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem(
            f"{what}: no space left on its disk; free some and run the same command again"
        )
    if err.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return InputError(
            f"{what}: permission denied; change the folder's permissions or choose another"
        )
    if err.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return InputError(
            f"{what}: expected a folder and found a file, or the reverse; move it or choose"
            " another folder"
        )
    if err.errno in AWAY:
        return AwayError(f"{what}: its file system does not answer ({err.strerror})")
    return Problem(f"{what}: {err.strerror or err}")


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a local file, in hexadecimal."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
