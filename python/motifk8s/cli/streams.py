"""Standard output and standard error: text of other people cannot control the terminal.

Names, reasons and logs come from stores, clusters and files that others may write. An escape
sequence in them can set the title of a terminal, fill its clipboard or hide lines.
"""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

# Escape sequences, then all other control characters except tab and line feed, and
# the characters that change the direction of text. A string ends where another could begin, so
# that the search takes linear time.
_CONTROLS = re.compile(
    r"(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, APC
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x1b[ -/]*[0-~]"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_ASCII = str.maketrans({"≤": "<=", "≥": ">=", "±": "+/-", "…": "...", "─": "-", "–": "-"})


def plain(text: str) -> str:
    """Return a text without escape sequences and control characters; tabs and line feeds stay."""
    return _CONTROLS.sub("", text)


def raw(stream: Any) -> TextIO:
    """Return the stream behind a `Plain`, for rich: it writes escape sequences of its own."""
    result: TextIO = stream.stream if isinstance(stream, Plain) else stream
    return result


class Plain:
    """A text stream that writes only plain text; everything else is that of `stream`."""

    def __init__(self, stream: Any):
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        self.stream.write(plain(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        self.write("".join(lines))


def write_data(text: str) -> None:
    """Write a text file to stdout: plain, and UTF-8 in every locale."""
    stream = raw(sys.stdout)
    stream.flush()
    stream.buffer.write(plain(text).encode("utf-8", "backslashreplace"))


@contextmanager
def plain_output() -> Iterator[None]:
    """Clean everything that is printed in the block, in any encoding.

    What the encoding of a stream lacks, such as "≤" in Latin-1, is written with other characters.
    """
    codecs.register_error("motifk8s", _replaced)
    with ExitStack() as stack:
        for stream, redirect in ((sys.stdout, redirect_stdout), (sys.stderr, redirect_stderr)):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="motifk8s")
            stack.enter_context(redirect(Plain(raw(stream))))
        yield


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that cannot be encoded: by similar ones, or by their number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return text.translate(_ASCII).encode("ascii", "backslashreplace").decode(), error.end
