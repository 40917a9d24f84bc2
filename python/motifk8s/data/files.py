"""Read the user's text files, plain or gzip; raise one-line errors."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from motifk8s.errors import InputError

GZIP = b"\x1f\x8b"  # the first bytes of every gzip file


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn errors while opening or reading a file into InputError."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror or error}") from None


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield number (from 1) and content, without LF or CR LF, of the lines of a text file.

    Raise InputError if the file cannot be read, is empty or not text, or its gzip data are damaged.
    """
    number = 0
    with readable(path), path.open("rb") as raw:
        zipped = raw.peek(2)[:2] == GZIP
        try:
            with closing(gzip.GzipFile(fileobj=raw)) if zipped else raw as file:
                for number, line in enumerate(file, 1):
                    yield number, _checked(line, number, path)
        except EOFError:
            raise InputError(
                f"{path}, after line {number}: the gzip data are truncated; copy or download it "
                "again"
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{path}, after line {number}: the gzip data are damaged ({error}); copy or "
                "download it again"
            ) from None
    if number == 0:
        raise InputError(f"{path}: is empty")


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
