"""Read a database of motifs: a JASPAR release or a MEME file."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from motifk8s.errors import InputError
from motifk8s.motifs.jaspar import jaspar, releases
from motifk8s.motifs.meme import read_meme, read_text
from motifk8s.motifs.motif import Motif


def read_database(name: str | Path) -> list[Motif]:
    """Read the motifs of a JASPAR release, given by name, or of a MEME file (path or s3:// URL).

    The probabilities of a release are rounded to six decimals, like those that MEME's jaspar2meme
    writes for the Tomtom program. Rounding changes p-values by a factor of up to 1 + 1e-4.

    Raises
    ------
    InputError
        If `name` is not a release, and not a MEME file that can be read.
    """
    return list(_six_decimals(str(name))) if _is_release(name) else read_meme(name)


@cache
def _six_decimals(release: str) -> tuple[Motif, ...]:
    def rounded(ppm: np.ndarray) -> np.ndarray:
        ppm = np.array([[float(f"{p:.6f}") for p in row] for row in ppm.tolist()])
        ppm.flags.writeable = False  # shared between callers
        return ppm

    return tuple(motif._replace(ppm=rounded(motif.ppm)) for motif in jaspar(release))


def database_version(name: str | Path) -> str:
    """Return the name of a release, or the SHA-256 of a MEME file's content."""
    if _is_release(name):
        return str(name)
    return "sha256:" + hashlib.sha256(read_text(name)[0].encode()).hexdigest()


def _is_release(name: str | Path) -> bool:
    if str(name) in releases():
        return True
    if not str(name).startswith("s3://") and not Path(name).exists():
        known = ", ".join(releases())
        raise InputError(f"{name}: neither a MEME file nor a JASPAR release ({known})")
    return False
