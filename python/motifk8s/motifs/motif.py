"""Motifs: position probability matrices, MEME files and the JASPAR releases.

A PPM is an array (W, 4): one row per position, columns A C G T, rows summing to 1.
The format of the files is in `motifk8s.meme`.
"""

import hashlib
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from functools import cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from motifk8s.errors import InputError, Problem
from motifk8s.motifs import meme
from motifk8s.store.base import read_url, replacing

LETTERS = "ACGT"


class Motif(NamedTuple):
    """One motif: ppm (W, 4) float64; nsites: number of sites; alt: e.g. the factor's name."""

    name: str
    ppm: np.ndarray
    nsites: float = meme.DEFAULT_NSITES
    alt: str = ""


def information(ppm: np.ndarray) -> np.ndarray:
    """Information content of each column of a motif.

    I = 2 + sum over letters of p log2 p, with 0 log 0 = 0, as the paper draws its logos.

    Parameters
    ----------
    ppm : (W, 4)

    Returns
    -------
    (W,) in bits, 0 to 2. An all-zero column (nothing was aligned there) has 0, not 2.
    """
    ppm = np.asarray(ppm, dtype=np.float64)
    logs = np.log2(ppm, out=np.zeros_like(ppm), where=ppm > 0)
    bits = 2.0 + (ppm * logs).sum(axis=1)
    return np.where(ppm.sum(axis=1) > 0, np.clip(bits, 0.0, 2.0), 0.0)


def trim(ppm: np.ndarray, bits: float = 0.5, pad: int = 3) -> slice:
    """Where the informative part of a motif lies, with `pad` columns on either side.

    From the first to the last column above `bits`; the whole motif if none is.

    Returns
    -------
    slice of columns, so that ``ppm[trim(ppm)]`` is the trimmed motif.
    """
    above = np.flatnonzero(information(ppm) > bits)
    if above.size == 0:
        return slice(0, len(ppm))
    return slice(max(0, int(above[0]) - pad), min(len(ppm), int(above[-1]) + 1 + pad))


def reverse_complement(ppm: np.ndarray) -> np.ndarray:
    """The motif (W, 4) on the other strand: both axes reversed, as A C G T is its own mirror."""
    return ppm[::-1, ::-1]


def consensus(ppm: np.ndarray) -> str:
    """The most probable letter of each column, ties broken exactly as Tomtom breaks them.

    Tomtom takes the first of equal letters, but holds the best value so far in single
    precision: where that rounds down, a later, equal letter beats it.
    """
    letters = []
    for row in np.asarray(ppm, dtype=np.float64).tolist():
        best, top = 0, float(np.float32(row[0]))
        for i in range(1, 4):
            if row[i] > top:
                best, top = i, float(np.float32(row[i]))
        letters.append(LETTERS[best])
    return "".join(letters)


def normalize(ppm: np.ndarray) -> np.ndarray:
    """Rows that sum to 1, as MEME makes them on reading: divided if off by more than 1e-5.

    An all-zero row, which MEME refuses, says nothing about its position: 0.25 each.
    """
    ppm = np.array(ppm, dtype=np.float64)
    if ppm.ndim != 2 or ppm.shape[1] != 4 or len(ppm) == 0 or not np.all(ppm >= 0):  # or NaN
        raise ValueError(f"a PPM is (W, 4) of numbers from 0, not {ppm.shape}")
    total = ppm.sum(axis=1)
    ppm[total == 0] = 0.25
    off = (np.abs(total - 1) > 1e-5) & (total != 0)
    ppm[off] /= total[off, None]
    return np.minimum(ppm, 1.0)  # single precision may leave 1.0000001


# --- MEME files ------------------------------------------------------------------------------


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
    text, where = _read_text(source)
    return [
        Motif(name, normalize(np.array(rows)), nsites, alt)
        for name, rows, nsites, alt in meme.parse(text, where)
    ]


def _read_text(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and ("\n" in source or "\r" in source or not source):
        return source, "MEME text"
    try:
        raw = _fetched(str(source)) if isinstance(_path(source), str) else Path(source).read_bytes()
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


# --- JASPAR ----------------------------------------------------------------------------------


def releases() -> list[str]:
    """The JASPAR releases that the installed pyjaspar carries, oldest first."""
    from pyjaspar import jaspar_releases

    return sorted(jaspar_releases)


def jaspar(release: str = "JASPAR2016", tax_group: str = "vertebrates") -> list[Motif]:
    """The CORE motifs of a JASPAR release, from pyjaspar's local copy (no network).

    Returns
    -------
    list of Motif sorted by id (name = id, alt = factor). PPM = counts divided by their
    column's sum; nsites = mean column sum, rounded, as MEME's jaspar2meme gives it.

    Raises
    ------
    InputError
        for an unknown release (the message names the known ones) or taxonomic group.
    """
    return list(_jaspar(release, tax_group))


@cache
def _jaspar(release: str, tax_group: str) -> tuple[Motif, ...]:
    found = _read_release(
        release,
        """m.COLLECTION = 'CORE'
        AND m.ID IN (SELECT ID FROM MATRIX_ANNOTATION WHERE TAG = 'tax_group' AND VAL = ?)
        AND (m.BASE_ID, m.VERSION) IN (SELECT BASE_ID, MAX(VERSION) FROM MATRIX GROUP BY BASE_ID)
        """,
        tax_group.lower(),
    )
    if not found:
        raise InputError(f"{release} has no CORE motif of the taxonomic group {tax_group!r}")
    return tuple(sorted(found, key=lambda motif: motif.name))


@cache
def jaspar_motif(identifier: str, release: str = "JASPAR2016") -> Motif:
    """One motif of a JASPAR release by its full id, for example MA0083.3.

    Raises
    ------
    InputError
        for an unknown release or id.
    """
    found = []
    if re.fullmatch(r"\w+\.\d+", identifier):
        where = "m.BASE_ID = ? AND m.VERSION = ?"
        found = _read_release(release, where, *identifier.split("."))
    if not found:
        raise InputError(f"{release} has no motif {identifier!r}; give a full id such as MA0083.3")
    return found[0]


def _read_release(release: str, where: str, *values: str) -> list[Motif]:
    """Read the motifs of a JASPAR release for which a condition holds from pyjaspar's database.

    It is asked once; pyjaspar's own functions ask six times for each motif, which takes seconds.

    Raises
    ------
    Problem
        If the database is not laid out as that of pyjaspar 4.
    """
    if release not in releases():
        raise InputError(f"unknown JASPAR release {release!r}; known: {', '.join(releases())}")
    from pyjaspar import jaspardb

    found = []
    try:
        with closing(jaspardb(release=release).conn) as connection:
            rows = connection.execute(
                f"""SELECT m.ID, m.BASE_ID || '.' || m.VERSION, m.NAME, d.row, d.val
                FROM MATRIX m JOIN MATRIX_DATA d ON d.ID = m.ID
                WHERE {where} ORDER BY m.ID, d.col, d.row""",
                values,
            )
            for (_, identifier, name), cells in groupby(rows, key=itemgetter(0, 1, 2)):
                letters, counts = zip(*(cell[3:] for cell in cells), strict=True)
                if "".join(letters) != LETTERS * (len(letters) // 4) or None in counts:
                    raise ValueError(f"the matrix of {identifier} has holes")
                matrix = np.array(counts, dtype=np.float64).reshape(-1, 4)
                found.append(_from_counts(identifier, name, matrix))
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise Problem(
            f"{release} as pyjaspar brings it cannot be read ({error}); this version reads that of "
            "pyjaspar 4"
        ) from error
    return found


def _from_counts(identifier: str, name: str, counts: np.ndarray) -> Motif:
    """A motif from counts (W, 4)."""
    total = counts.sum(axis=1, keepdims=True)
    ppm = counts / total
    ppm.flags.writeable = False  # shared between callers
    return Motif(identifier, ppm, float(np.floor(total.mean() + 0.5)), name)


def database(name: str | Path) -> list[Motif]:
    """The motifs to match against: a JASPAR release by name, or a MEME file (path or s3:// URL).

    A release has the numbers of the MEME file that the real program is given: probabilities
    to six decimals (jaspar2meme). They move p-values by up to 1e-4 of themselves.

    Raises
    ------
    InputError
        if `name` is neither, or the file cannot be read.
    """
    return list(_six_decimals(str(name))) if _is_release(name) else read_meme(_path(name))


@cache
def _six_decimals(release: str) -> tuple[Motif, ...]:
    def rounded(ppm: np.ndarray) -> np.ndarray:
        ppm = np.array([[float(f"{p:.6f}") for p in row] for row in ppm.tolist()])
        ppm.flags.writeable = False  # shared between callers
        return ppm

    return tuple(motif._replace(ppm=rounded(motif.ppm)) for motif in jaspar(release))


def database_version(name: str | Path) -> str:
    """What a result depends on: a release's name, or the hash of a MEME file's content."""
    if _is_release(name):
        return str(name)
    return "sha256:" + hashlib.sha256(_read_text(_path(name))[0].encode()).hexdigest()


def _path(name: str | Path) -> str | Path:
    return name if isinstance(name, str) and name.startswith("s3://") else Path(name)


def _is_release(name: str | Path) -> bool:
    if str(name) in releases():
        return True
    if isinstance(path := _path(name), Path) and not path.exists():
        known = ", ".join(releases())
        raise InputError(f"{name}: neither a MEME file nor a JASPAR release ({known})")
    return False
