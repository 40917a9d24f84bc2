"""Download a large file: report progress, resume after an interrupt, check the size.

``FILE.part`` has the bytes received, ``FILE.part.json`` the URL, size and version of the file, so
that another process can resume.
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

from motifk8s.errors import AwayError, InputError, Problem, one_line
from motifk8s.store.files import local_problem, write_text

Progress = Callable[[str, int, int | None], None]
"""Called with the name of a step, its bytes done, and its bytes in total (None: unknown)."""

PIECE = 2**20  # bytes
PAUSES = (1, 2, 5, 10, 30)
"""Seconds to wait before each retry while no more bytes arrive."""
TEMPORARY = (408, 425, 429, 500, 502, 503, 504)  # HTTP status codes worth a retry


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
    """Download `url` to `file`, which appears when it is complete; skip an existing file.

    Parameters
    ----------
    url : str
        ``http://`` or ``https://``. The usual environment variables name proxies.
    file : path
        In an existing folder.
    pauses : sequence of float
        Seconds to wait before each retry while no more bytes arrive.
    timeout : float
        Seconds to wait for an answer, and for more bytes of it.

    Raises
    ------
    InputError
        If the server has no such file, or forbids it.
    AwayError
        If the server does not answer or keeps closing the connection.
    Problem
        If the server sends another size, or the disk is full.
    """
    if file.exists():
        return
    part = file.with_name(file.name + ".part")
    with _locked(part) as copy:
        unfinished = _Unfinished(url, part, copy)
        _try_until_complete(unfinished, progress, pauses, timeout)
        copy.flush()
        os.fsync(copy.fileno())
        os.replace(part, file)
    unfinished.facts_file.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """Open an unfinished file, locked for this process."""
    try:
        with open(part, "ab") as copy:
            try:
                fcntl.flock(copy, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Problem(
                    f"{part}: another process is downloading it; wait until it ends"
                ) from None
            yield copy
    except PermissionError as error:
        raise local_problem(error, "write", part) from error


class _TemporaryError(Exception):
    """A failure that is worth a retry."""

    def __init__(self, reason: str, answered: bool):
        super().__init__(reason)
        self.answered = answered


def _try_until_complete(
    unfinished: _Unfinished, progress: Progress, pauses: Sequence[float], timeout: float
) -> None:
    """Append to a file until it is complete, or several tries in a row receive nothing."""
    failures, most, answered = 0, 0, False
    while True:
        reason = "the connection was cut"
        try:
            with _translated(unfinished.url):
                if unfinished.append_rest(progress, timeout):
                    return
        except _TemporaryError as error:
            reason, answered = str(error), answered or error.answered
        have = unfinished.have()
        failures = 1 if have > most else failures + 1
        most, answered = max(most, have), answered or have > 0
        # Without any answer there is probably no network, so only one retry is worth the wait.
        if failures > (len(pauses) if answered else min(1, len(pauses))):
            size = unfinished.facts.get("size")
            done = f"{have:,} of {size:,} bytes" if size else f"{have:,} bytes"
            raise AwayError(
                f"{unfinished.url}: {reason}, after {done}; run the same command again to resume"
            )
        time.sleep(pauses[failures - 1])


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turn errors of urllib into InputError, Problem or _TemporaryError."""
    try:
        yield
    except urllib.error.HTTPError as error:
        reason = f"the server answered {error.code} {error.reason}"
        if error.code in TEMPORARY:
            raise _TemporaryError(reason, answered=True) from error
        kind = Problem if error.code > 499 else InputError
        raise kind(f"{url}: {reason}; check the URL, or give a file") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLError):
            raise Problem(f"{url}: no trusted connection ({one_line(cause)})") from error
        if isinstance(error, http.client.InvalidURL | ValueError):
            raise InputError(f"{url}: not a valid URL ({one_line(error)})") from error
        raise _TemporaryError(one_line(cause), answered=False) from error


class _Unfinished:
    """An unfinished file, open as `copy`, with `facts`: URL, size and version."""

    def __init__(self, url: str, part: Path, copy: BinaryIO):
        self.url, self._part, self._copy = url, part, copy
        self.facts_file = part.with_name(part.name + ".json")
        self.facts: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            facts = json.loads(self.facts_file.read_bytes())
            if isinstance(facts, dict) and facts.get("url") == url:
                self.facts = facts

    def have(self) -> int:
        """Return the number of bytes received."""
        return self._copy.seek(0, os.SEEK_END)

    def append_rest(self, progress: Progress, timeout: float) -> bool:
        """Append the missing bytes that arrive; return whether the file is complete."""
        try:
            answer = urllib.request.urlopen(self._request(), timeout=timeout)
        except urllib.error.HTTPError as error:
            if error.code != 416:  # The server has no bytes beyond ours.
                raise
            error.close()
            if self.have() == self.facts.get("size"):
                return True
            self._copy.truncate(0)
            return False
        with answer:
            if answer.status != 206:
                self._restart(answer)
            elif not self._continues(answer):
                self._copy.truncate(0)
                return False
            return self._append(answer, progress)

    def _request(self) -> urllib.request.Request:
        """Request the missing bytes, or all if the file at the URL has changed."""
        headers = {"User-Agent": "motifk8s", "Accept-Encoding": "identity"}
        if (have := self.have()) and self.facts:
            headers["Range"] = f"bytes={have}-"
            if self.facts.get("version"):
                headers["If-Range"] = self.facts["version"]
        return urllib.request.Request(self.url, headers=headers)

    def _continues(self, answer: http.client.HTTPResponse) -> bool:
        """Return whether an answer begins at the end of our bytes and has the same total size."""
        span, _, total = answer.headers.get("Content-Range", "").partition("/")
        sizes = ("*", str(self.facts.get("size")))
        return span.startswith(f"bytes {self.have()}-") and total in sizes

    def _restart(self, answer: http.client.HTTPResponse) -> None:
        """Empty the file, and write the facts of the answer."""
        self._copy.truncate(0)
        length = answer.headers.get("Content-Length", "")
        version: str | None = answer.headers.get("ETag")
        if not version or version.startswith("W/"):  # A weak ETag does not promise equal bytes.
            version = answer.headers.get("Last-Modified")
        size = int(length) if length.isdecimal() else None
        self.facts = {"url": self.url, "size": size, "version": version}
        write_text(self.facts_file, json.dumps(self.facts))

    def _append(self, answer: http.client.HTTPResponse, progress: Progress) -> bool:
        """Append the bytes of an answer; return whether the file is complete."""
        have, size = self.have(), self.facts.get("size")
        folder = self._part.parent
        if size is not None and shutil.disk_usage(folder).free < size - have:
            raise Problem(
                f"{folder}: its disk has no space for the other {size - have:,} bytes; free some, "
                "or set XDG_CACHE_HOME to a folder on another disk"
            )
        while data := answer.read1(PIECE):  # read1 returns early, so that a cut loses no bytes.
            try:
                self._copy.write(data)
            except OSError as error:
                raise local_problem(error, "write", self._part) from error
            have += len(data)
            progress("download", have, size)
        self._copy.flush()
        if size is not None and have > size:
            self._copy.truncate(0)
            raise Problem(f"{self.url}: sent {have:,} bytes instead of {size:,}; try again")
        return size is None or have == size
