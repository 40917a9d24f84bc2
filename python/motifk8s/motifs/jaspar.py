"""Read JASPAR releases from pyjaspar's local copy."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import cache
from itertools import groupby
from operator import itemgetter

import numpy as np

from motifk8s.errors import InputError, Problem
from motifk8s.motifs.motif import LETTERS, Motif

_BY_JASPAR2MEME = ("JASPAR2014", "JASPAR2016")


def releases() -> list[str]:
    """List the JASPAR releases of the installed pyjaspar, oldest first."""
    from pyjaspar import jaspar_releases

    return sorted(jaspar_releases)


def jaspar(release: str = "JASPAR2016", tax_group: str = "vertebrates") -> list[Motif]:
    """Read the CORE motifs of a JASPAR release from pyjaspar's local copy (no network).

    Returns
    -------
    list of Motif
        Sorted by id (name = id, alt = factor). PPM = counts divided by their column's sum;
        nsites as in the official MEME files, see `_nsites`.

    Raises
    ------
    InputError
        If the release or the taxonomic group is unknown.
    """
    return list(_jaspar(release, tax_group))


@cache
def _jaspar(release: str, tax_group: str) -> tuple[Motif, ...]:
    motifs = _read_release(
        release,
        """m.COLLECTION = 'CORE'
        AND m.ID IN (SELECT ID FROM MATRIX_ANNOTATION WHERE TAG = 'tax_group' AND VAL = ?)
        AND (m.BASE_ID, m.VERSION) IN (SELECT BASE_ID, MAX(VERSION) FROM MATRIX GROUP BY BASE_ID)
        """,
        tax_group.lower(),
    )
    if not motifs:
        raise InputError(f"{release} has no CORE motif of the taxonomic group {tax_group!r}")
    return tuple(sorted(motifs, key=lambda motif: motif.name))


@cache
def jaspar_motif(identifier: str, release: str = "JASPAR2016") -> Motif:
    """Read one motif of a JASPAR release by its full id, for example MA0083.3.

    Raises
    ------
    InputError
        If the release or the id is unknown.
    """
    motifs = []
    if re.fullmatch(r"\w+\.\d+", identifier):
        where = "m.BASE_ID = ? AND m.VERSION = ?"
        motifs = _read_release(release, where, *identifier.split("."))
    if not motifs:
        raise InputError(f"{release} has no motif {identifier!r}; give a full id such as MA0083.3")
    return motifs[0]


def _read_release(release: str, where: str, *values: str) -> list[Motif]:
    """Read the motifs of a JASPAR release that meet an SQL condition."""
    if release not in releases():
        raise InputError(f"unknown JASPAR release {release!r}; known: {', '.join(releases())}")
    from pyjaspar import jaspardb

    motifs = []
    # One query reads all motifs. pyjaspar's functions run six queries a motif, which takes seconds.
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
                motifs.append(_from_counts(identifier, name, matrix, release))
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise Problem(
            f"{release}: cannot read pyjaspar's database ({error}); install pyjaspar 4"
        ) from error
    return motifs


def _from_counts(identifier: str, name: str, counts: np.ndarray, release: str) -> Motif:
    """Make a motif from counts (W, 4)."""
    total = counts.sum(axis=1, keepdims=True)
    ppm = counts / total
    ppm.flags.writeable = False  # shared between callers
    return Motif(identifier, ppm, _nsites(total[:, 0], release), name)


def _nsites(total: np.ndarray, release: str) -> float:
    """Compute the number of sites from the sums (W,) of the columns, as the official MEME files.

    The files of 2014 and 2016, made by MEME's jaspar2meme, have the rounded mean of the sums;
    those of 2020 and 2022, made by JASPAR, the whole part of the first. For 2018, 2024 and 2026,
    whose files were not compared, the rule of JASPAR's files is assumed.
    """
    if release in _BY_JASPAR2MEME:
        return float(np.floor(total.mean() + 0.5))
    return float(np.trunc(total[0]))
