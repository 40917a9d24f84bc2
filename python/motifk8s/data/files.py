"""Read the user's text files, plain or gzip; raise one-line errors; keep to a budget of memory."""

from __future__ import annotations

import gzip
import os
import resource
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from motifk8s.errors import InputError, Problem

GZIP = b"\x1f\x8b"  # the first bytes of every gzip file
LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # of a container: cgroups 2 and 1
PIECE = 2**20  # bytes
RATIO = 1100  # gzip makes data at most 1,032 times smaller
SMALL = 2**26  # bytes that a file of any size may declare


def budget() -> int:
    """Return the bytes that one data set may take: half the memory of this machine or container.

    The other half is for the copies that a step makes.
    """
    memory = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    if (limit := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
        memory.append(limit)
    for name in LIMITS:
        with suppress(OSError, ValueError):  # there is no such limit: no file, or "max"
            memory.append(int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii")))
    return min(memory) // 2


def check_budget(what: str, size: int, stored: int | None = None) -> None:
    """Raise InputError, which begins with `what`, if data of `size` bytes exceed their budget.

    The budget is that of `budget`; for the size that a file declares it is what `stored`, the bytes
    of the file, can decompress to.
    """
    if stored is None:
        if size > (most := budget()):
            raise InputError(
                f"{what} {size:,} bytes; the budget is {most:,}, half the memory of this machine "
                "or container; use fewer or shorter sequences, or more memory"
            )
    elif size > (most := max(SMALL, RATIO * stored)):
        raise InputError(
            f"{what} {size:,} bytes; the budget is {most:,}, because the file has only "
            f"{stored:,}: it is damaged, or its data were never written; make or copy it again"
        )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn errors while opening or reading a file into InputError or Problem."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror or error}") from None
    except MemoryError:
        raise Problem(f"{path}: not enough memory to read it; use more memory") from None


@contextmanager
def open_text(path: Path, where: Callable[[], str] = lambda: "") -> Iterator[Any]:
    """Open a text file, plain or gzip, for reading bytes.

    Raise InputError if the file cannot be read or its gzip data are damaged. The message has the
    text of `where` after the path.
    """
    again = "copy or download it again"
    with readable(path), path.open("rb") as raw:
        try:
            if raw.peek(2)[:2] == GZIP:
                with gzip.GzipFile(fileobj=raw) as file:
                    yield file
            else:
                yield raw
        except EOFError:
            raise InputError(f"{path}{where()}: the gzip data are truncated; {again}") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{path}{where()}: the gzip data are damaged ({error}); {again}"
            ) from None


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield number (from 1) and content, without LF or CR LF, of the lines of a text file.

    Raise InputError if the file cannot be read, is empty or not text, its gzip data are damaged, or
    the text exceeds the `budget`.
    """
    number, size, most = 0, 0, budget()
    with open_text(path, lambda: f", after line {number}") as file:
        while line := read_line(file, most + 1 - size):
            number += 1
            if (size := size + len(line)) > most:
                check_budget(f"{path}, line {number}: the text has more than", size)
            yield number, _checked(line, number, path)
    if number == 0:
        raise InputError(f"{path}: is empty")


def read_line(file: Any, most: int) -> bytes:
    """Read a line of at most about `most` bytes; it ends early at a NUL, which no text has."""
    line: bytes = file.readline(PIECE)
    if len(line) < PIECE or b"\0" in line:
        return line
    pieces, size = [line], len(line)
    while size < most and not pieces[-1].endswith(b"\n"):
        if not (piece := file.readline(PIECE)):
            break
        pieces.append(piece)
        size += len(piece)
        if b"\0" in piece:
            break
    return b"".join(pieces)


def _checked(line: bytes, number: int, path: Path) -> bytes:
    """Return a line without its end; remove the byte order mark of the first."""
    line = line.rstrip(b"\r\n")
    if number == 1:
        line = line.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in line or line[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{path}, line {number}: is not text (ASCII or UTF-8)")
    if b"\r" in line:
        raise InputError(
            f"{path}, line {number}: a carriage return within the line; convert the line ends to "
            "LF (mac2unix)"
        )
    return line
