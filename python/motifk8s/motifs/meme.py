"""Read and write motifs in the MEME format.

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
from motifk8s.store.files import write_text
from motifk8s.store.open import read_url

SUM_TOLERANCE = 0.1  # a row is invalid if its sum differs from 1 by more

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
    source : path, s3:// URL, or the content itself (a str with a line break).

    Returns
    -------
    list of Motif
        In the order of the file; rows as in `normalize`. Without `nsites` (or with 0) a motif has
        20 sites, as in MEME. The background line is not used.

    Raises
    ------
    InputError
        With file and line, if the file cannot be read or is invalid. The tolerance of the sum of a
        row is MEME's: 0.1.
    """
    text, where = read_text(source)
    return _Reader(text, where).read()


class _Reader:
    """A parser of a file's stripped lines; an error names its line, from 1."""

    def __init__(self, text: str, where: str) -> None:
        self.lines = [line.strip() for line in text.splitlines()]
        self.where = where

    def fail(self, number: int, problem: str) -> InputError:
        return InputError(f"{self.where}, line {number}: {problem}")

    def read(self) -> list[Motif]:
        before = self.header()
        body = enumerate(self.lines[before:], start=before + 1)
        lines = [(number, line) for number, line in body if not line.startswith("#")]
        starts = [i for i, (_, line) in enumerate(lines) if _TITLE.match(line)]
        if not starts:
            raise InputError(f"{self.where}: no motif: expected a line 'MOTIF name'")
        motifs = []
        first: dict[str, int] = {}  # line of each name
        for start, end in pairwise([*starts, len(lines)]):
            number, title = lines[start]
            name, alt = _names(title)
            if name in first:
                problem = f"duplicate motif name {name}, as on line {first[name]}; rename one"
                raise self.fail(number, problem)
            first[name] = number
            stop = lines[end][0] if end < len(lines) else len(self.lines)
            ppm, nsites = self.matrix(name, lines[start + 1 : end], stop)
            motifs.append(Motif(name, ppm, nsites, alt))
        return motifs

    def header(self) -> int:
        """Check the lines before the first motif; return their number."""
        if not any(self.lines):
            raise InputError(f"{self.where}: the file is empty; give a MEME motif file")
        version = re.compile(r"MEME\s+version\s+\d", re.IGNORECASE)
        start = next((i for i, line in enumerate(self.lines) if version.match(line)), None)
        if start is None:
            raise InputError(f"{self.where}: not a MEME motif file: no line 'MEME version ...'")
        for number, line in enumerate(self.lines[start:], start=start + 1):
            if _TITLE.match(line):
                return number - 1
            if alphabet := re.match(r"ALPHABET\s*=?\s*(.*)", line, re.IGNORECASE):
                letters = alphabet[1].strip()  # or a custom alphabet: "name" DNA-LIKE
                if sorted(letters.upper()) != list("ACGT") and "DNA" not in letters.upper():
                    raise self.fail(number, f"alphabet {letters}: expected DNA motifs (ACGT)")
        return len(self.lines)

    def matrix(
        self, name: str, lines: list[tuple[int, str]], stop: int
    ) -> tuple[np.ndarray, float]:
        """Read the PPM and the number of sites of a motif; `stop` is the line after its lines."""
        matrices = [i for i, (_, line) in enumerate(lines) if _MATRIX.match(line)]
        if not matrices:
            raise self.fail(stop, f"motif {name} has no letter-probability matrix")
        if len(matrices) > 1:
            number, _ = lines[matrices[1]]
            problem = (
                f"second letter-probability matrix of motif {name}; add a MOTIF line before it"
            )
            raise self.fail(number, problem)
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
                    problem = f"motif {name}: expected four probabilities, got {line[:40]!r}"
                    raise self.fail(number, problem)
                stop = number
                break
        if not rows or len(rows) < (width or 0):
            problem = f"motif {name}: expected {width or 'at least 1'} rows, got {len(rows)}"
            raise self.fail(stop, problem)
        number, line = next(rest, (0, ""))
        if _numbers(line):
            raise self.fail(number, f"motif {name}: more rows than w= {len(rows)}")
        return normalize(np.array(rows)), nsites

    def keys(self, number: int, line: str) -> tuple[int | None, float]:
        """Read w= and nsites= from the first line of a matrix."""
        values = dict(re.findall(r"(\w+)\s*=\s*([^\s=]+)", line))
        if values.get("alength", "4") != "4":
            problem = f"alength= {values['alength']}: expected 4 (DNA motifs)"
            raise self.fail(number, problem)
        width = values.get("w")
        if width is not None and (not width.isdecimal() or int(width) == 0):
            raise self.fail(number, f"w= {width}: expected an integer of 1 or more")
        try:
            nsites = float(values.get("nsites", 0))
        except ValueError:
            nsites = -1.0
        if not 0 <= nsites < float("inf"):
            raise self.fail(number, f"nsites= {values['nsites']}: expected a number of 0 or more")
        return None if width is None else int(width), nsites or DEFAULT_NSITES

    def row(self, name: str, number: int, line: str, row: list[float]) -> list[float]:
        """Check a row of probabilities."""
        if len(row) != 4:
            problem = f"motif {name}: expected 4 numbers in a row, got {len(row)}"
            raise self.fail(number, problem)
        if not all(0 <= p <= 1 for p in row):  # NaN fails too
            raise self.fail(number, f"motif {name}: expected probabilities of 0 to 1, got {line}")
        if abs(sum(row) - 1) > SUM_TOLERANCE:
            problem = f"motif {name}: expected a row that sums to 1, got a sum of {sum(row):g}"
            raise self.fail(number, problem)
        return row


def _names(title: str) -> tuple[str, str]:
    """Read a motif's name and alternate name, or "", from its MOTIF line."""
    words = title.split()
    # The next word is the alternate name, unless it is a key: "MOTIF 1 width = 9 sites = 5".
    has_alt = len(words) > 2 and "=" not in words[2] and words[3:4] != ["="]
    return words[1], words[2] if has_alt else ""


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return None


def read_text(source: str | Path) -> tuple[str, str]:
    """Return the content of a MEME file, and its name in messages; `source` as in `read_meme`."""
    if isinstance(source, str) and ("\n" in source or "\r" in source or not source):
        return source, "MEME text"
    try:
        in_store = str(source).startswith("s3://")
        raw = _fetched(str(source)) if in_store else Path(source).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise InputError(f"{source}: cannot read this MEME file ({reason})") from None
    if raw.startswith(b"\x1f\x8b"):
        raise InputError(f"{source}: the file is compressed; decompress it with gunzip")
    try:
        return raw.decode("utf-8-sig"), str(source)
    except UnicodeDecodeError:
        raise InputError(f"{source}: not a text file; give a MEME motif file") from None


@cache
def _fetched(url: str) -> bytes:
    """Read an object once in a process: the key of each cell needs its hash."""
    return read_url(url)


def write_meme(motifs: Iterable[Motif], target: str | Path | TextIO) -> None:
    """Write a MEME file completely or not at all, or write its content to an open file.

    The background is uniform. All digits are kept, so `read_meme` returns the same numbers. An
    all-zero column is written as 0.25 each. Spaces and "=" in an alternate name become "_".

    Raises
    ------
    InputError
        If the file cannot be written.
    ValueError
        If a name is not one word, or is used twice.
    """
    names: set[str] = set()
    parts = [_HEAD]
    for name, ppm, nsites, alt in motifs:
        if not re.fullmatch(r"\S+", name) or name in names:
            raise ValueError(f"motif name {name!r}: expected one word that no other motif has")
        names.add(name)
        other = re.sub(r"[\s=]+", "_", alt)
        title = f"{name} {other}".strip()
        parts.append(
            f"\nMOTIF {title}\nletter-probability matrix: alength= 4 w= {len(ppm)} "
            f"nsites= {nsites:.17g} E= 0\n"
        )
        parts += [" ".join(map(repr, row)) + "\n" for row in normalize(ppm).tolist()]
    text = "".join(parts)
    if isinstance(target, str | Path):
        write_text(Path(target), text)
    elif (buffer := getattr(target, "buffer", None)) is not None:  # UTF-8 in every locale
        target.flush()
        buffer.write(text.encode())
    else:
        target.write(text)
