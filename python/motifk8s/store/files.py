"""Local files: atomic writes, hashes, and error messages that say how to fix the problem."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from motifk8s.errors import AwayError, InputError, Problem

# Errors of a network file system that is away.
AWAY = (
    errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN,
    errno.ENETUNREACH, errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN,
)  # fmt: skip

# A scheme and a slash, or a scheme of object stores without one: s3:bucket.
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:/+|(?:s3[an]?|gc?s|az|abfss?|wasbs?|hdfs):", re.IGNORECASE)


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


def is_address(path: str | Path) -> bool:
    """Return whether a text is an address, such as s3:/bucket or GS://x, and not a local path."""
    return ADDRESS.match(str(path)) is not None


def expanded(path: str | Path) -> Path:
    """Return a local path without a leading ``~`` or ``~NAME``.

    Raise `InputError` if the home directory of the user is not known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(
            f"{path}: the home directory of this user is not known; give the path without ~"
        ) from None


def refuse_inputs(outputs: Iterable[Path | None], inputs: Iterable[str | Path]) -> None:
    """Raise `InputError` if an output is one of the inputs, or if two outputs are one file.

    Two names are one file if they are links to it, hard or symbolic. None is skipped, and so are
    inputs without a local file, such as the name of a database.
    """
    seen: dict[object, str] = {
        file: f"is an input ({path})" for path in inputs if (file := _identity(path))
    }
    for path in outputs:
        if path is None:
            continue
        name: object = _identity(path) or os.path.realpath(path)
        if name in seen:
            raise InputError(f"cannot write {path}: it {seen[name]}; choose another file")
        if not _is_special(path):
            seen[name] = f"is another output ({path})"


def _identity(path: str | Path) -> tuple[int, int] | None:
    """Return device and inode of a regular file; None for anything else."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


@contextlib.contextmanager
def replacing(target: Path, inputs: Iterable[str | Path] = ()) -> Iterator[BinaryIO]:
    """Open a file to write; everything that this package writes for a user is written here.

    Usually this is a temporary file that replaces `target` at the end of the block, unless that
    raises. After a power loss, `target` has its old content or the new. A symbolic link stays, and
    the file that it leads to is replaced. Devices, pipes and open descriptors (/dev/stdout) are
    written in place. Creates missing folders.

    Raises
    ------
    InputError
        If `target` is one of `inputs`, this user may not write it, or a part of its path is not a
        folder.
    Problem
        If the disk is full or fails.
    """
    if is_address(target):
        raise InputError(f"cannot write {target}: give a local path, not an address")
    refuse_inputs([target], inputs)
    try:
        with _in_place(target) if _is_special(target) else _at_once(target) as file:
            yield file
    except OSError as err:
        raise local_problem(err, "write", target) from err


@contextlib.contextmanager
def _at_once(target: Path) -> Iterator[BinaryIO]:
    """Open a temporary file next to the file that `target` leads to; replace that in the end."""
    real = Path(os.path.realpath(target))
    if real.is_dir() or real.is_symlink():  # the latter only if links lead to each other
        code = errno.ELOOP if real.is_symlink() else errno.EISDIR
        raise OSError(code, os.strerror(code))
    temporary = real.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:  # mkstemp would ignore the umask
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, real)
        _sync_folder(real.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _in_place(target: Path) -> Iterator[BinaryIO]:
    """Open a device, a pipe or a descriptor."""
    descriptor = _descriptor(target)
    if descriptor is None:
        opened = open(target, "wb")  # noqa: SIM115
    else:
        sys.stdout.flush()  # what was printed before comes first
        opened = os.fdopen(os.dup(descriptor), "wb")
    with opened as file:
        yield file


def _is_special(target: Path) -> bool:
    try:
        mode = target.stat().st_mode
    except OSError:  # opening it says why
        return False
    plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    return not plain or _descriptor(target) is not None


def _descriptor(path: Path) -> int | None:
    """Return the descriptor of this process that `path` names, such as 1 for /dev/stdout.

    It may be a regular file. Replacing that would lose what the shell has written to it.
    """
    own = re.compile(rf"(?:/proc/{os.getpid()}(?:/task/\d+)?|/dev)/fd/(\d+)")
    while True:
        place = Path(os.path.realpath(path.parent), path.name)
        if match := own.fullmatch(str(place)):
            return int(match[1])
        if not place.is_symlink():
            return None
        path = place.parent / place.readlink()


def write_text(target: Path, text: str) -> None:
    """Write a text file by `replacing`, as UTF-8 in every locale; errors as there."""
    with replacing(target) as file:
        file.write(text.encode("utf-8", "backslashreplace"))  # a file's name may have surrogates


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
    if err.errno == errno.ELOOP:
        return InputError(f"{what}: its symbolic links lead to each other; remove one")
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
