"""Download a large file: with progress, resumed where it was cut, and checked for size.

The part that is there is kept in ``FILE.part`` beside ``FILE.part.json``, which says what it is a
part of, so that the same command goes on where it was, even after it was stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from motifk8s.errors import InputError, Problem, one_line
from motifk8s.store.files import local_problem

#: Called with what is done, how much of it, and of how much (None: not known), in bytes.
Progress = Callable[[str, int, int | None], None]

PIECE = 2**20
PAUSES = (1, 2, 5, 10, 30)
"""Seconds to wait before each further try, as long as no more arrives."""
PASSING = (408, 425, 429, 500, 502, 503, 504)  # worth another try


def quiet(what: str, done: int, total: int | None) -> None:
    """Show no progress."""


def download(
    url: str,
    file: Path,
    progress: Progress = quiet,
    *,
    pauses: Sequence[float] = PAUSES,
    timeout: float = 60,
) -> None:
    """Download `url` to `file`, which appears when it is complete; one that is there stays.

    Parameters
    ----------
    url : str
        ``http://`` or ``https://``. Proxies are taken from the usual variables.
    file : path
        Its folder exists.
    progress : callable
    pauses : sequence of float
        Seconds to wait before each try that follows one in which no more arrived.
    timeout : float
        Seconds to wait for an answer, and for more of it.

    Raises
    ------
    InputError
        The server has no such file, or forbids it.
    Problem
        The server does not answer, keeps cutting, sends another size, or the disk is full.
    """
    if file.exists():
        return
    part = file.with_name(file.name + ".part")
    with _locked(part) as copy:
        about, failures, most = _read_about(part, url), 0, 0
        answered = False
        while True:
            try:
                if _go_on(url, copy, part, about, progress, timeout):
                    break
                reason = "the connection was cut"
            except urllib.error.HTTPError as error:
                answered = True
                reason = f"the server answered {error.code} {error.reason}"
                if error.code not in PASSING:
                    kind = Problem if error.code > 499 else InputError
                    raise kind(f"{url}: {reason}; check the address, or give a file") from error
            except (http.client.InvalidURL, ValueError) as error:
                raise InputError(f"{url}: is no address ({one_line(error)})") from error
            except ssl.SSLError as error:
                raise Problem(f"{url}: no trusted connection ({one_line(error)})") from error
            except (OSError, http.client.HTTPException) as error:
                cause = getattr(error, "reason", error)
                if isinstance(cause, ssl.SSLError):
                    raise Problem(f"{url}: no trusted connection ({one_line(cause)})") from error
                reason = one_line(cause) or type(error).__name__
            have = copy.seek(0, os.SEEK_END)
            failures = 1 if have > most else failures + 1
            most, answered = max(most, have), answered or have > 0
            # Without any answer there is probably no network; do not make a person wait.
            if failures > (len(pauses) if answered else min(1, len(pauses))):
                size = about.get("size")
                so_far = f"after {have:,} of {size:,} bytes" if size else f"after {have:,} bytes"
                raise Problem(f"{url}: {reason}, {so_far}; the same command goes on from there")
            time.sleep(pauses[failures - 1])
        copy.flush()
        os.fsync(copy.fileno())
        os.replace(part, file)
    _about(part).unlink(missing_ok=True)


def _about(part: Path) -> Path:
    return part.with_name(part.name + ".json")


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """Open what there is of a file, to be written by this process alone."""
    try:
        with open(part, "ab") as copy:
            try:
                fcntl.flock(copy, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Problem(f"{part}: another process downloads it; wait for it") from None
            yield copy
    except PermissionError as error:
        raise local_problem(error, "write", part) from error


def _read_about(part: Path, url: str) -> dict[str, Any]:
    """What the part is a part of; nothing if that is not known."""
    with contextlib.suppress(OSError, ValueError):
        about = json.loads(_about(part).read_bytes())
        if isinstance(about, dict) and about.get("url") == url:
            return about
    return {}


def _go_on(
    url: str,
    copy: BinaryIO,
    part: Path,
    about: dict[str, Any],
    progress: Progress,
    timeout: float,
) -> bool:
    """Append what is missing, as far as it comes; tell whether all is there."""
    have = copy.seek(0, os.SEEK_END)
    headers = {"User-Agent": "motifk8s", "Accept-Encoding": "identity"}
    if have and about:
        headers["Range"] = f"bytes={have}-"
        if about.get("version"):
            headers["If-Range"] = about["version"]  # the whole file if it is another by now
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing lies beyond what we have
            raise
        error.close()
        if have == about.get("size"):
            return True
        copy.truncate(0)
        return False
    with answer:
        length = answer.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else None
        if answer.status == 206:
            span, _, total = answer.headers.get("Content-Range", "").partition("/")
            if not span.startswith(f"bytes {have}-") or total not in ("*", str(about.get("size"))):
                copy.truncate(0)  # a part of something else
                return False
            size = about.get("size")
        else:
            copy.truncate(0)
            have = 0
            version = answer.headers.get("ETag", "")
            if not version or version.startswith("W/"):  # these promise no equal bytes
                version = answer.headers.get("Last-Modified")
            about.clear()
            about.update(url=url, size=size, version=version)
            _about(part).write_text(json.dumps(about))
        if size is not None and shutil.disk_usage(part.parent).free < size - have:
            raise Problem(
                f"{part.parent}: {size - have:,} bytes are to come, but its disk has no space for "
                "them; free some, or set XDG_CACHE_HOME to a folder on another"
            )
        while data := answer.read1(PIECE):  # what is there, so that a cut loses nothing
            try:
                copy.write(data)
            except OSError as error:
                raise local_problem(error, "write", part) from error
            have += len(data)
            progress("download", have, size)
        copy.flush()
    if size is not None and have > size:
        copy.truncate(0)
        raise Problem(f"{url}: sent {have:,} bytes, though it said {size:,}; try again")
    return size is None or have == size
