"""The MEME motif format, read and written line by line.

https://meme-suite.org/meme/doc/meme-format.html; tolerances and defaults as in MEME 4.12.
"""

import re
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import numpy as np

from motifk8s.errors import InputError
from motifk8s.motifs.motif import DEFAULT_NSITES, Motif, normalize
from motifk8s.store.files import replacing
from motifk8s.store.open import read_url

SUM_TOLERANCE = 0.1  # a row whose sum is further from 1 is refused

_TITLE = re.compile(r"MOTIF\s")
_MATRIX = re.compile(r"letter\s*-\s*probability\s+matrix\s*:", re.IGNORECASE)
_HEAD = """MEME version 4

ALPHABET= ACGT

strands: + -

Background letter frequencies
A 0.25 C 0.25 G 0.25 T 0.25
"""


def read_meme(source: str | Path) -> list[Motif]:
    """Read the motifs of a MEME file (minimal or full text format, versions 3 to 5).

    Parameters
    ----------
    source : path, s3:// URL, or the text itself (a str with a line break in it).

    Returns
    -------
    list of Motif in file order. Rows off by more than 1e-5 are divided by their sum. Without
    `nsites` (or with 0) a motif has 20 sites, as in MEME. The background line is not used.

    Raises
    ------
    InputError
        naming file and line: not a MEME file, another alphabet, a row that is not four
        probabilities or whose sum is off by more than 0.1 (MEME's tolerance), fewer or more
        rows than `w=` says, a name given twice, no motif at all.
    """
    text, where = read_text(source)
    return _Reader(text, where).read()


class _Reader:
    """The stripped lines of a file; an error names its line, from 1."""

    def __init__(self, text: str, where: str) -> None:
        self.lines = [line.strip() for line in text.splitlines()]
        self.where = where

    def fail(self, number: int, what: str) -> InputError:
        return InputError(f"{self.where}, line {number}: {what}")

    def read(self) -> list[Motif]:
        before = self.header()
        body = enumerate(self.lines[before:], start=before + 1)
        lines = [(number, line) for number, line in body if not line.startswith("#")]
        starts = [i for i, (_, line) in enumerate(lines) if _TITLE.match(line)]
        if not starts:
            raise InputError(f"{self.where}: holds no motif (no 'MOTIF name' line)")
        motifs = []
        first: dict[str, int] = {}  # line of each name
        for start, end in pairwise([*starts, len(lines)]):
            number, title = lines[start]
            name, alt = _names(title)
            if name in first:
                known = f"motif {name} is there already (line {first[name]}); rename one"
                raise self.fail(number, known)
            first[name] = number
            stop = lines[end][0] if end < len(lines) else len(self.lines)
            ppm, nsites = self.matrix(name, lines[start + 1 : end], stop)
            motifs.append(Motif(name, ppm, nsites, alt))
        return motifs

    def header(self) -> int:
        """Check everything before the first motif; return the number of lines before it."""
        if not any(self.lines):
            raise InputError(f"{self.where}: is empty")
        version = re.compile(r"MEME\s+version\s+\d", re.IGNORECASE)
        start = next((i for i, line in enumerate(self.lines) if version.match(line)), None)
        if start is None:
            raise InputError(f"{self.where}: is not a MEME motif file (no 'MEME version' line)")
        for number, line in enumerate(self.lines[start:], start=start + 1):
            if _TITLE.match(line):
                return number - 1
            if alphabet := re.match(r"ALPHABET\s*=?\s*(.*)", line, re.IGNORECASE):
                letters = alphabet[1].strip()  # or a custom one: "name" DNA-LIKE
                if sorted(letters.upper()) != list("ACGT") and "DNA" not in letters.upper():
                    what = f"alphabet {letters}; only DNA motifs (ACGT) can be read"
                    raise self.fail(number, what)
        return len(self.lines)

    def matrix(
        self, name: str, lines: list[tuple[int, str]], stop: int
    ) -> tuple[np.ndarray, float]:
        """Read PPM and number of sites from a motif's lines; `stop` is the line after them."""
        matrices = [i for i, (_, line) in enumerate(lines) if _MATRIX.match(line)]
        if not matrices:
            raise self.fail(stop, f"motif {name} has no letter-probability matrix")
        if len(matrices) > 1:
            number, _ = lines[matrices[1]]
            raise self.fail(number, "a letter-probability matrix without a MOTIF line of its own")
        width, nsites = self.keys(*lines[matrices[0]])
        rest = iter(lines[matrices[0] + 1 :])
        rows: list[list[float]] = []
        for number, line in rest:
            row = _numbers(line)
            if row:
                rows.append(self.row(name, number, line, row))
                if len(rows) == width:
                    break
            elif row is None or (width is None and rows):  # without w= a blank line ends a matrix
                if row is None and width is not None and not re.match(r"URL\b|[-*]{5}", line):
                    raise self.fail(number, f"motif {name}: not a row of numbers: {line[:40]!r}")
                stop = number
                break
        if not rows or len(rows) < (width or 0):
            expected = f" of {width}" if width else ""
            raise self.fail(stop, f"motif {name} is cut short: {len(rows)}{expected} rows")
        number, line = next(rest, (0, ""))
        if _numbers(line):
            raise self.fail(number, f"motif {name} has more rows than w= {len(rows)}")
        return normalize(np.array(rows)), nsites

    def keys(self, number: int, line: str) -> tuple[int | None, float]:
        """Read w= and nsites= from the first line of a matrix."""
        values = dict(re.findall(r"(\w+)\s*=\s*([^\s=]+)", line))
        if values.get("alength", "4") != "4":
            what = f"alength= {values['alength']}; only DNA motifs (4) can be read"
            raise self.fail(number, what)
        width = values.get("w")
        if width is not None and (not width.isdecimal() or int(width) == 0):
            raise self.fail(number, f"w= {width} is not a width")
        try:
            nsites = float(values.get("nsites", 0))
        except ValueError:
            nsites = -1.0
        if not 0 <= nsites < float("inf"):
            raise self.fail(number, f"nsites= {values['nsites']} is not a number of sites")
        return None if width is None else int(width), nsites or DEFAULT_NSITES

    def row(self, name: str, number: int, line: str, row: list[float]) -> list[float]:
        """Check a row of probabilities."""
        if len(row) != 4:
            raise self.fail(number, f"motif {name} has {len(row)} numbers in a row, not 4")
        if not all(0 <= p <= 1 for p in row):  # NaN fails too
            what = f"motif {name} has a number that is not a probability: {line}"
            raise self.fail(number, what)
        if abs(sum(row) - 1) > SUM_TOLERANCE:
            raise self.fail(number, f"motif {name} has a row that sums to {sum(row):g}, not 1")
        return row


def _names(title: str) -> tuple[str, str]:
    """Read a motif's name and alternate name, or "", from its MOTIF line."""
    words = title.split()
    # The next word is another name, unless it is a key: "MOTIF 1 width = 9 sites = 5".
    has_alt = len(words) > 2 and "=" not in words[2] and words[3:4] != ["="]
    return words[1], words[2] if has_alt else ""


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return None


def read_text(source: str | Path) -> tuple[str, str]:
    """Return the text of a MEME file and its name for messages; `source` as in `read_meme`."""
    if isinstance(source, str) and ("\n" in source or "\r" in source or not source):
        return source, "MEME text"
    try:
        in_store = str(source).startswith("s3://")
        raw = _fetched(str(source)) if in_store else Path(source).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise InputError(f"{source}: cannot be read ({reason})") from None
    if raw.startswith(b"\x1f\x8b"):
        raise InputError(f"{source}: is compressed; unpack it first (gunzip)")
    try:
        return raw.decode("utf-8-sig"), str(source)
    except UnicodeDecodeError:
        raise InputError(f"{source}: is not a text file; give a MEME motif file") from None


@cache
def _fetched(url: str) -> bytes:
    """Read an object of a store once in a process, as the key of each cell needs its hash."""
    return read_url(url)


def write_meme(motifs: Iterable[Motif], target: str | Path | TextIO) -> None:
    """Write a MEME file (whole or not at all), or write its text to an open file.

    The background is uniform. All digits are kept: the file reads back to the same numbers. An
    all-zero column is written as 0.25 each. Spaces and "=" in an alternate name become "_".

    Raises
    ------
    InputError
        if the file cannot be written.
    ValueError
        for a name that is not one word, or is used twice.
    """
    names: set[str] = set()
    parts = [_HEAD]
    for name, ppm, nsites, alt in motifs:
        if not re.fullmatch(r"\S+", name) or name in names:
            raise ValueError(f"a motif's name must be one word, used once: {name!r}")
        names.add(name)
        other = re.sub(r"[\s=]+", "_", alt)  # one word, and not a key = value
        title = f"{name} {other}".strip()
        parts.append(
            f"\nMOTIF {title}\nletter-probability matrix: alength= 4 w= {len(ppm)} "
            f"nsites= {nsites:.17g} E= 0\n"
        )
        parts += [" ".join(map(repr, row)) + "\n" for row in normalize(ppm).tolist()]
    text = "".join(parts)
    if isinstance(target, str | Path):
        with replacing(Path(target)) as file:
            file.write(text.encode())
    else:
        target.write(text)
