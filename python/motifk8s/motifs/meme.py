"""The MEME motif format, read and written line by line.

https://meme-suite.org/meme/doc/meme-format.html; tolerances and defaults as in MEME 4.12.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from motifk8s.errors import InputError
from motifk8s.motifs import meme
from motifk8s.motifs.motif import DEFAULT_NSITES, Motif, normalize
from motifk8s.store.files import replacing
from motifk8s.store.open import read_url

SUM_TOLERANCE = 0.1  # a row whose sum is further from 1 is refused

_HEAD = """MEME version 4

ALPHABET= ACGT

strands: + -

Background letter frequencies
A 0.25 C 0.25 G 0.25 T 0.25
"""


class Entry(NamedTuple):
    """One motif as a file has it: rows of four probabilities (A C G T), sums not yet 1."""

    name: str
    rows: list[list[float]]
    nsites: float = DEFAULT_NSITES
    alt: str = ""


def parse(text: str, where: str) -> list[Entry]:
    """Read the motifs of a file's text (minimal or full text format).

    Parameters
    ----------
    text : str
    where : str
        The file's name, for messages.

    Raises
    ------
    InputError
        One line with file and line number; see `motifk8s.motifs.read_meme`.
    """
    return _Reader(where).read(text.splitlines())


def render(entries: Iterable[Entry]) -> str:
    """Write motifs as a file's text, with a uniform background and all digits."""
    parts = [_HEAD]
    for name, rows, nsites, alt in entries:
        other = re.sub(r"[\s=]+", "_", alt)  # one word, and not a key = value
        title = f"{name} {other}".strip()
        parts.append(
            f"\nMOTIF {title}\nletter-probability matrix: alength= 4 w= {len(rows)} "
            f"nsites= {nsites:.17g} E= 0\n"
        )
        parts += [" ".join(map(repr, row)) + "\n" for row in rows]
    return "".join(parts)


class _Reader:
    """One pass over the lines; the state is `rows`, None outside a matrix."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.number = 0  # of the line being read, from 1
        self.motifs: list[Entry] = []
        self.seen: dict[str, int] = {}
        self.name: str | None = None
        self.alt = ""
        self.rows: list[list[float]] | None = None  # of the matrix being read
        self.width: int | None = None
        self.nsites = DEFAULT_NSITES
        self.done = True  # the present motif has its matrix

    def fail(self, what: str) -> InputError:
        return InputError(f"{self.where}, line {self.number}: {what}")

    def read(self, lines: Sequence[str]) -> list[Entry]:
        body = self._header(lines)
        for self.number, line in enumerate(lines[body:], start=body + 1):
            line = line.strip()
            if not line.startswith("#"):
                self._line(line)
        self._close_motif()
        if not self.motifs:
            raise InputError(f"{self.where}: holds no motif (no 'MOTIF name' line)")
        return self.motifs

    def _header(self, lines: Sequence[str]) -> int:
        """Check everything before the first motif; return the index of its line."""
        if not any(line.strip() for line in lines):
            raise InputError(f"{self.where}: is empty")
        version = re.compile(r"\s*MEME\s+version\s+\d", re.IGNORECASE)
        start = next((i for i, line in enumerate(lines) if version.match(line)), None)
        if start is None:
            raise InputError(f"{self.where}: is not a MEME motif file (no 'MEME version' line)")
        for self.number, line in enumerate(lines[start:], start=start + 1):
            if re.match(r"\s*MOTIF\s", line):
                return self.number - 1
            if found := re.match(r"\s*ALPHABET\s*=?\s*(.*)", line, re.IGNORECASE):
                letters = found[1].strip()  # or a custom one: "name" DNA-LIKE
                if sorted(letters.upper()) != list("ACGT") and "DNA" not in letters.upper():
                    raise self.fail(f"alphabet {letters}; only DNA motifs (ACGT) can be read")
        return len(lines)

    def _line(self, line: str) -> None:
        if re.match(r"MOTIF\s", line):
            self._close_motif()
            self._open_motif(line)
        elif found := re.match(r"letter\s*-\s*probability\s+matrix\s*:(.*)", line, re.IGNORECASE):
            self._open_matrix(found[1])
        elif self.rows is not None:
            self._row(line)
        elif self.done and self.width:  # right after a matrix
            if _numbers(line):
                raise self.fail(f"motif {self.name} has more rows than w= {self.width}")
            self.width = None

    def _open_motif(self, line: str) -> None:
        words = line.split()
        self.name = words[1]
        # The next word is another name, unless it is a key: "MOTIF 1 width = 9 sites = 5".
        has_alt = len(words) > 2 and "=" not in words[2] and words[3:4] != ["="]
        self.alt = words[2] if has_alt else ""
        if self.name in self.seen:
            first = self.seen[self.name]
            raise self.fail(f"motif {self.name} is there already (line {first}); rename one")
        self.seen[self.name] = self.number
        self.width, self.done = None, False

    def _open_matrix(self, pairs: str) -> None:
        if self.name is None or self.done or self.rows is not None:
            raise self.fail("a letter-probability matrix without a MOTIF line of its own")
        values = dict(re.findall(r"(\w+)\s*=\s*([^\s=]+)", pairs))
        if values.get("alength", "4") != "4":
            raise self.fail(f"alength= {values['alength']}; only DNA motifs (4) can be read")
        if "w" in values:
            if not values["w"].isdecimal() or int(values["w"]) == 0:
                raise self.fail(f"w= {values['w']} is not a width")
            self.width = int(values["w"])
        try:
            sites = float(values.get("nsites", 0))
        except ValueError:
            sites = -1.0
        if not 0 <= sites < float("inf"):
            raise self.fail(f"nsites= {values['nsites']} is not a number of sites")
        self.nsites = sites or DEFAULT_NSITES
        self.rows = []

    def _row(self, line: str) -> None:
        assert self.rows is not None
        if not line:
            if self.width is None and self.rows:
                self._close_matrix()
            return
        row = _numbers(line)
        if row is None:
            if self.width is None:  # without w= the first other line ends it
                return self._close_matrix()
            if re.match(r"URL\b|[-*]{5}", line):
                raise self._cut_short()
            raise self.fail(f"motif {self.name}: not a row of numbers: {line[:40]!r}")
        if len(row) != 4:
            raise self.fail(f"motif {self.name} has {len(row)} numbers in a row, not 4")
        if not all(0 <= p <= 1 for p in row):  # NaN fails too
            raise self.fail(f"motif {self.name} has a number that is not a probability: {line}")
        if abs(sum(row) - 1) > SUM_TOLERANCE:
            raise self.fail(f"motif {self.name} has a row that sums to {sum(row):g}, not 1")
        self.rows.append(row)
        if len(self.rows) == self.width:
            self._close_matrix()

    def _cut_short(self) -> InputError:
        assert self.rows is not None
        of = f" of {self.width}" if self.width else ""
        return self.fail(f"motif {self.name} is cut short: {len(self.rows)}{of} rows")

    def _close_matrix(self) -> None:
        assert self.rows is not None and self.name is not None
        if not self.rows:
            raise self._cut_short()
        self.motifs.append(Entry(self.name, self.rows, self.nsites, self.alt))
        self.width = len(self.rows)
        self.rows, self.done = None, True

    def _close_motif(self) -> None:
        if self.rows is not None:
            if self.width is not None:
                raise self._cut_short()
            self._close_matrix()
        if not self.done:
            raise self.fail(f"motif {self.name} has no letter-probability matrix")


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return None


def read_meme(source: str | Path) -> list[Motif]:
    """Read the motifs of a MEME file (minimal or full text format, versions 3 to 5).

    Parameters
    ----------
    source : path, or the text itself (a str with a line break in it).

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
    return [
        Motif(name, normalize(np.array(rows)), nsites, alt)
        for name, rows, nsites, alt in meme.parse(text, where)
    ]


def read_text(source: str | Path) -> tuple[str, str]:
    """The text of a motif file, and what an error calls it."""
    """The text of a motif file, and what an error calls it."""
    if isinstance(source, str) and ("\n" in source or "\r" in source or not source):
        return source, "MEME text"
    try:
        raw = (
            _fetched(str(source)) if isinstance(as_path(source), str) else Path(source).read_bytes()
        )
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
    """Content of an object in a store, read once a process: each cell's key asks for its hash."""
    return read_url(url)


def write_meme(motifs: Iterable[Motif], target: str | Path | TextIO) -> None:
    """Write a MEME file (whole or not at all), or write its text to an open file.

    All digits are kept: the file reads back to the same numbers and has the same hits. An
    all-zero column is written as 0.25 each. Spaces and "=" in an alternate name become "_".

    Raises
    ------
    InputError
        if the file cannot be written.
    ValueError
        for a name that is not one word, or is used twice.
    """
    motifs, seen = list(motifs), set()
    for motif in motifs:
        if not re.fullmatch(r"\S+", motif.name) or motif.name in seen:
            raise ValueError(f"a motif's name must be one word, used once: {motif.name!r}")
        seen.add(motif.name)
    text = meme.render(
        meme.Entry(motif.name, normalize(motif.ppm).tolist(), motif.nsites, motif.alt)
        for motif in motifs
    )
    if isinstance(target, str | Path):
        with replacing(Path(target)) as file:
            file.write(text.encode())
    else:
        target.write(text)


def as_path(name: str | Path) -> str | Path:
    """A local path, or an s3:// address as it is."""
    """A local path, or an s3:// address as it is."""
    return name if isinstance(name, str) and name.startswith("s3://") else Path(name)
