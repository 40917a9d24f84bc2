"""The JASPAR releases, from pyjaspar's local copy."""

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
