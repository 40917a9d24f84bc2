"""Read and write motifs in the MEME format.

https://meme-suite.org/meme/doc/meme-format.html; what is read, tolerances and defaults are those
of MEME 4.12.
"""

import operator
import re
from collections.abc import Iterable, Iterator
from functools import cache, reduce
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from motifk8s.errors import InputError
from motifk8s.motifs.motif import DEFAULT_NSITES, LETTERS, UNIFORM, Motif, normalize, without_zeros
from motifk8s.store.files import write_text
from motifk8s.store.open import read_url

SUM_TOLERANCE = 0.1  # a row is invalid if its sum differs from 1 by more
RNA = "ACGU"
MAX_BYTES = 2**26  # of a file; the largest motif collections have some 10 MB

_SPACE = " \t\v\f"
_LINE_BREAK = re.compile(r"\r\n|\n|\r")
_VERSION = re.compile(r"MEME\s+version\s+\d", re.IGNORECASE | re.ASCII)
# The reports of MEME have both lines for a motif: "MOTIF 1 width = 9" and "BL   MOTIF 1 width=9".
_TITLE = re.compile(r"(BL\s+)?MOTIF\s*(\S+)(.*)", re.ASCII)
_MATRIX = re.compile(r"(letter\s*-\s*probability|log\s*-\s*odds)\s+matrix\s*:", re.I | re.ASCII)
_ALPHABET = re.compile(r"ALPHABET(?![^\s=])\s*=?(.*)", re.IGNORECASE | re.ASCII)
_LETTERS = re.compile(r"ALPHABET\s*=\s*\S*", re.IGNORECASE | re.ASCII)
_CUSTOM = re.compile(r'(\s+"[^"]*")?(\s+(RNA|DNA|PROTEIN)-LIKE)?', re.IGNORECASE | re.ASCII)
# MEME does not recognize a line that ends "frequencies:".
_BACKGROUND = re.compile(r"Background\s+letter\s+frequencies(\s.*)?", re.IGNORECASE | re.ASCII)
_FREQUENCY = re.compile(
    r"([A-Za-z0-9.*-])\s+(\+?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)(?:\s+|$)", re.ASCII
)
_KEY = re.compile(r"\s*([^\s=]+)\s*=\s*([^\s=]+)(?=\s|$)", re.ASCII)
_SCAN = "Combined block diagrams: non-overlapping sites"  # MEME reads nothing below it
# For motifs of log-odds alone, these say how MEME made the scores from probabilities.
_SCORE_SITES, _SCORE_PSEUDOCOUNT = 100, 0.01
_HEAD = """MEME version 4

ALPHABET= ACGT

strands: + -

Background letter frequencies
A 0.25 C 0.25 G 0.25 T 0.25
"""


class MotifFile(NamedTuple):
    """The content of a MEME file."""

    motifs: list[Motif]  # in the order of the file, each name once
    background: np.ndarray  # (4,): letter frequencies that sum to 1; uniform if there are none
    alphabet: str = LETTERS  # or `RNA`
    repeated: tuple[str, ...] = ()  # names of motifs left out: an earlier one has the name

    def dna(self, where: str | Path) -> list[Motif]:
        """Return the motifs; raise InputError, which begins with `where`, if they are of RNA."""
        if self.alphabet != LETTERS:
            raise InputError(f"{where}: alphabet {self.alphabet}: expected DNA motifs ({LETTERS})")
        return self.motifs


def read_meme(source: str | Path) -> list[Motif]:
    """Read the motifs of a MEME file of DNA motifs, as `read_meme_file` does.

    Raises
    ------
    InputError
        As for `read_meme_file`, or if the motifs are of RNA.
    """
    return read_meme_file(source).dna("MEME text" if _is_content(source) else source)


def read_meme_file(source: str | Path, *, query: bool = False) -> MotifFile:
    """Read a MEME file (minimal or full text format, versions 3 to 5) of DNA or RNA motifs.

    Parameters
    ----------
    source : path, s3:// URL, or the content itself (a str with a line break).
    query : convert log-odds by the background without zeros, as Tomtom does with queries.

    Returns
    -------
    MotifFile
        Rows as in `normalize`. Without `nsites` (or with 0) a motif has 20 sites, as in MEME. A
        motif that has log-odds alone is converted to probabilities. Of motifs with one name the
        first is kept.

    Raises
    ------
    InputError
        With file and line, if the file cannot be read or is invalid. The tolerance of the sum of a
        row and of the background is MEME's: 0.1.
    """
    text, where = read_text(source)
    return _Reader(text, where, query).read()


class _Reader:
    """A parser of a file's stripped lines; an error names its line, from 1."""

    def __init__(self, text: str, where: str, query: bool) -> None:
        # str.splitlines would split at more characters, some of them letters of Latin-1 names.
        self.lines = [line.strip(_SPACE) for line in _LINE_BREAK.split(text)]
        if not self.lines[-1]:
            self.lines.pop()
        self.where = where
        self.alphabet = ""
        self.background = UNIFORM
        self.query = query

    def fail(self, number: int, problem: str) -> InputError:
        return InputError(f"{self.where}, line {number}: {problem}")

    def read(self) -> MotifFile:
        before = self.header()
        lines = []
        for number, line in enumerate(self.lines[before:], start=before + 1):
            if line.startswith(_SCAN):
                break
            if not line.startswith("#"):
                lines.append((number, line))
        starts = list(_starts(lines))
        if not starts:
            raise InputError(f"{self.where}: no motif: expected a line 'MOTIF name'")
        motifs: dict[str, Motif] = {}
        repeated = []
        for start, end in pairwise([*starts, len(lines)]):
            stop = lines[end][0] if end < len(lines) else lines[-1][0] + 1
            name, alt = _names(lines[start][1])
            ppm, nsites = self.matrix(name, lines[start + 1 : end], min(stop, len(self.lines)))
            if name in motifs:
                repeated.append(name)
            else:
                motifs[name] = Motif(name, ppm, nsites, alt)
        background = self.background
        return MotifFile([*motifs.values()], background, self.alphabet or LETTERS, tuple(repeated))

    def header(self) -> int:
        """Read the lines before the first motif; return their number."""
        if not any(self.lines):
            raise InputError(f"{self.where}: the file is empty; give a MEME motif file")
        foreign = _other_format([line for line in self.lines if line][:200])
        versions = (i for i, line in enumerate(self.lines) if _VERSION.match(line))
        at = next(versions, len(self.lines))
        if at == len(self.lines) or foreign.startswith(("HTML", "XML")):
            why = f" but {foreign}" if foreign else ": no line 'MEME version ...'"
            raise InputError(f"{self.where}: not a MEME motif file{why}")
        while at < len(self.lines):
            line = self.lines[at]
            at += 1
            if _TITLE.match(line):
                return at - 1
            if match := _ALPHABET.fullmatch(line):
                if not line[8:].strip() or _CUSTOM.fullmatch(line[8:]):
                    at = self.custom_alphabet(at)
                else:
                    # MEME reads "ALPHABET= ACGT" alone, and guesses if the line has another form.
                    self.letters(at, match[1], guess=not _LETTERS.fullmatch(line))
            elif _BACKGROUND.fullmatch(line):
                at = self.frequencies(at)
        return at

    def letters(self, number: int, written: str, *, guess: bool = False) -> None:
        """Check the letters of the alphabet: their order is that of the columns."""
        letters = "".join(written.split()).upper()
        if letters in (LETTERS, RNA):
            self.alphabet = letters
            return
        problem = f"alphabet {written.strip()}: expected DNA (ACGT) or RNA (ACGU) motifs"
        if sorted(letters) in (sorted(LETTERS), sorted(RNA)):
            problem += " with the columns in this order; reorder the columns"
        elif guess:
            return
        raise self.fail(number, problem)

    def custom_alphabet(self, at: int) -> int:
        """Read the letters of a custom alphabet from index `at`; return the index after it."""
        header = at
        if "PROTEIN" in self.lines[header - 1].upper():
            self.letters(header, self.lines[header - 1][8:])
        core = set()
        for line in self.lines[at:]:
            at += 1
            ends = re.fullmatch(r"END\s+ALPHABET", line, re.IGNORECASE)
            if ends or (line == "*" * 80 and at > header + 1):
                break
            if _TITLE.match(line):
                raise self.fail(header, "expected a line 'END ALPHABET' before the first motif")
            letters = re.sub(r'"[^"]*"', "", line).partition("#")[0]
            if "=" not in letters:  # "N = ACGT" defines no column
                core |= {half.split()[0] for half in letters.split("~") if half.strip()}
        if not core <= set(LETTERS):
            self.letters(header, "".join(sorted(core)))
        self.alphabet = self.alphabet or LETTERS
        return at

    def frequencies(self, at: int) -> int:
        """Read the background from index `at`; return the index after it."""
        header = at
        letters, values = "", []
        while at < len(self.lines):
            rest = self.lines[at]
            while pair := _FREQUENCY.match(rest):
                letters += pair[1].upper()
                values.append(float(pair[2]))
                rest = rest[pair.end() :]
            if rest and rest == self.lines[at]:  # the end of the frequencies
                break
            at += 1
            if rest:
                raise self.fail(at, f"expected letters and their frequencies, got {rest[:40]!r}")
        if letters not in (LETTERS, RNA):
            problem = f"expected the background of A, C, G and T in this order, got {letters!r}"
            raise self.fail(header, problem)
        total = _total(values)
        if max(values) > 1 or abs(total - 1) > SUM_TOLERANCE:
            problem = f"expected a background that sums to 1, got a sum of {total:g}"
            raise self.fail(header, problem)
        self.alphabet = self.alphabet or letters
        self.background = np.array(values) / total
        return at

    def matrix(
        self, name: str, lines: list[tuple[int, str]], stop: int
    ) -> tuple[np.ndarray, float]:
        """Read the PPM and the number of sites of a motif; `stop` is the line after its lines."""
        matrices: dict[bool, int] = {}  # from "is it of probabilities" to the index of its line
        for i, (number, line) in enumerate(lines):
            if match := _MATRIX.match(line):
                kind = match[1].lower().startswith("letter")
                if kind in matrices:
                    problem = (
                        f"second {match[1]} matrix of motif {name}; add a MOTIF line before it"
                    )
                    raise self.fail(number, problem)
                matrices[kind] = i
        if not matrices:
            raise self.fail(stop, f"motif {name} has no letter-probability matrix")
        start = matrices.get(True, matrices.get(False, 0))
        width, nsites = self.keys(*lines[start])
        rows = self.rows(name, lines[start + 1 :], stop, width, probabilities=True in matrices)
        if True in matrices:
            return normalize(np.array(rows)), nsites
        background = without_zeros(self.background) if self.query else self.background
        ppm = _from_scores(np.array(rows), background)
        if not np.isfinite(ppm).all():
            raise self.fail(lines[start][0], f"motif {name}: its log-odds give no probabilities")
        return ppm, DEFAULT_NSITES

    def rows(
        self,
        name: str,
        lines: list[tuple[int, str]],
        stop: int,
        width: int | None,
        *,
        probabilities: bool,
    ) -> list[list[float]]:
        """Read the rows of a matrix, of any number if `width` is None."""
        rest = iter(lines)
        rows: list[list[float]] = []
        for number, line in rest:
            row = _numbers(line)
            if row:
                rows.append(self.row(name, number, line, row, probabilities))
                if len(rows) == width:
                    break
            elif row is None or (width is None and rows):  # without w= a blank line ends a matrix
                if row is None and width is not None and not re.match(r"URL\b|[-*]{5}", line):
                    problem = f"motif {name}: expected four numbers, got {line[:40]!r}"
                    raise self.fail(number, problem)
                stop = number
                break
        if not rows or len(rows) < (width or 0):
            problem = f"motif {name}: expected {width or 'at least 1'} rows, got {len(rows)}"
            raise self.fail(stop, problem)
        number, line = next(rest, (0, ""))
        if _numbers(line):
            raise self.fail(number, f"motif {name}: more rows than w= {len(rows)}")
        return rows

    def keys(self, number: int, line: str) -> tuple[int | None, float]:
        """Read w= and nsites= from the first line of a matrix."""
        values = {}
        rest = line.partition(":")[2]
        while pair := _KEY.match(rest):
            values[pair[1].lower()] = pair[2]
            rest = rest[pair.end() :]
        if rest.strip():
            raise self.fail(number, f"expected 'key= value' pairs, got {rest.strip()[:40]!r}")
        if values.get("alength", "4") != "4":
            problem = f"alength= {values['alength']}: expected 4 (DNA motifs)"
            raise self.fail(number, problem)
        width = values.get("w")
        if width is not None and (not re.fullmatch("[0-9]{1,9}", width) or int(width) == 0):
            problem = f"w= {width[:40]}: expected an integer of 1 or more, of at most 9 digits"
            raise self.fail(number, problem)
        try:
            nsites = float(values.get("nsites", 0))
        except ValueError:
            nsites = -1.0
        if not 0 <= nsites < float("inf"):
            raise self.fail(number, f"nsites= {values['nsites']}: expected a number of 0 or more")
        return None if width is None else int(width), nsites or DEFAULT_NSITES

    def row(
        self, name: str, number: int, line: str, row: list[float], probabilities: bool
    ) -> list[float]:
        """Check a row of probabilities or of finite scores."""
        if len(row) != 4:
            problem = f"motif {name}: expected 4 numbers in a row, got {len(row)}"
            raise self.fail(number, problem)
        if not probabilities:
            if not np.isfinite(row).all():
                raise self.fail(number, f"motif {name}: expected finite scores, got {line}")
            return row
        if not all(0 <= p <= 1 for p in row):  # NaN fails too
            raise self.fail(number, f"motif {name}: expected probabilities of 0 to 1, got {line}")
        if abs(_total(row) - 1) > SUM_TOLERANCE:
            problem = f"motif {name}: expected a row that sums to 1, got a sum of {_total(row):g}"
            raise self.fail(number, problem)
        return row


def _starts(lines: list[tuple[int, str]]) -> Iterator[int]:
    """Yield the index of each motif's first line; its other kind of line begins no motif."""
    kind: str | None = None
    name = ""
    for i, (_, line) in enumerate(lines):
        if match := _TITLE.match(line):
            if name == match[2] and bool(kind) != bool(match[1]):
                continue
            kind, name = match[1], match[2]
            yield i


def _names(title: str) -> tuple[str, str]:
    """Read a motif's name and alternate name, or "", from its MOTIF line."""
    match = _TITLE.match(title)
    assert match
    # The next word is the alternate name, unless it is a key: "MOTIF 1 width = 9 sites = 5".
    alt = re.match(r"\s+([^\s=]+)(?=\s+[^\s=]|\s*$)", match[3], re.ASCII)
    return match[2], alt[1] if alt else ""


def _total(values: Iterable[float]) -> float:
    """Add from left to right, as C does; Python's sum rounds less."""
    return reduce(operator.add, values, 0.0)


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return None


def _from_scores(scores: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Convert log-odds (W, 4), in hundredths of a bit, to a PPM as MEME does."""
    total = _SCORE_SITES + _SCORE_PSEUDOCOUNT
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        freqs = 2.0 ** (scores / 100.0) * background
        freqs = np.clip((freqs * total - background * _SCORE_PSEUDOCOUNT) / _SCORE_SITES, 0, 1)
        return freqs / freqs.sum(axis=1, keepdims=True)


def _other_format(lines: list[str]) -> str:
    """Name the format of a motif file that is not MEME's text, and what to give; "" if unknown."""
    first, second = [*lines, "", ""][:2]
    if first.startswith("<"):
        tag = re.search(r"<(MEME|dreme|STREME|html)\b", "\n".join(lines), re.IGNORECASE)
        kind = tag[1].lower() if tag else "meme"
        if kind == "html":
            return "HTML; give the text file of the same folder: meme.txt, dreme.txt, streme.txt"
        return f"XML; give {kind}.txt of the same folder"
    columns = "; write its rows below the lines 'MEME version 4', 'MOTIF name' and "
    columns += "'letter-probability matrix: w= ROWS'"
    if first.startswith(">"):
        numbers = [_numbers(line) for line in lines[1:6]]
        if first.count("\t") > 1 and _numbers(second):
            return f"HOMER{columns}"
        if re.match(r"[ACGTU]\s*\[", second) or (all(numbers[:4]) and not any(numbers[4:])):
            return "JASPAR; convert it with jaspar2meme, or download it in the MEME format"
        return ""
    if any(re.match(r"(P[0O])\s+[ACGTU]\s", line, re.IGNORECASE) for line in lines):
        return "TRANSFAC; convert it with transfac2meme"
    if any(re.match(r"Pos(ition)?\s+A\s+C\s+G\s+[TU]$", line, re.IGNORECASE) for line in lines):
        return f"CIS-BP{columns}"
    if any(re.match(r"[ACGTU]:\s+[0-9.]", line) for line in lines):
        return "UniPROBE; convert it with uniprobe2meme"
    return ""


def read_background(source: str | Path) -> np.ndarray:
    """Read letter frequencies (4,) from a background file, as the programs' ``-bfile`` does.

    Each line has a letter and its probability; entries of more letters, which follow, are not
    used. ``fasta-get-markov`` writes such files.

    Raises
    ------
    InputError
        With file and line, if the file cannot be read or is invalid.
    """
    text, where = read_text(source)
    found: dict[str, float] = {}
    for number, line in enumerate(_LINE_BREAK.split(text), start=1):
        words = line.partition("#")[0].split()
        if words and len(words[0]) > 1 and found:
            break
        letter = words[0].upper().replace("U", "T") if words else ""
        value = (_numbers(words[1]) if len(words) == 2 else None) or [0.0]
        if words and (letter not in [*LETTERS] or letter in found or not 0 < value[0] <= 1):
            problem = f"expected a letter and its probability, such as 'A 0.3', got {line[:40]!r}"
            raise InputError(f"{where}, line {number}: {problem}")
        if words:
            found[letter] = value[0]
    if len(found) < 4 or abs(_total(found.values()) - 1) > SUM_TOLERANCE:
        raise InputError(f"{where}: expected the probabilities of A, C, G and T, which sum to 1")
    return np.array([found[letter] for letter in LETTERS])


def _is_content(source: str | Path) -> bool:
    return isinstance(source, str) and ("\n" in source or "\r" in source or not source)


def read_text(source: str | Path) -> tuple[str, str]:
    """Return the content of a MEME file, and its name in messages; `source` as in `read_meme`."""
    if isinstance(source, str) and _is_content(source):
        return source, "MEME text"
    try:
        in_store = str(source).startswith("s3://")
        raw = _fetched(str(source)) if in_store else _beginning(Path(source))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise InputError(f"{source}: cannot read this MEME file ({reason})") from None
    if len(raw) > MAX_BYTES:
        limit = MAX_BYTES // 2**20
        raise InputError(f"{source}: a MEME file of more than {limit} MiB; give fewer motifs")
    if raw.startswith((b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ")):
        raise InputError(f"{source}: the file is compressed; decompress it with gunzip or the like")
    if b"\0" in raw:
        raise InputError(f"{source}: not a text file; give a MEME motif file")
    try:
        return raw.decode("utf-8-sig"), str(source)
    except UnicodeDecodeError:
        return raw.decode("latin-1"), str(source)  # MEME takes the bytes of names as they are


def _beginning(path: Path) -> bytes:
    """Read a file up to one byte more than it may have; it may be a device or have holes."""
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1)


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
