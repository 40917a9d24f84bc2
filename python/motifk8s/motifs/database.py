"""The motifs to match against: a JASPAR release or a MEME file."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from motifk8s.errors import InputError
from motifk8s.motifs.jaspar import jaspar, releases
from motifk8s.motifs.meme import as_path, read_meme, read_text
from motifk8s.motifs.motif import Motif


def read_database(name: str | Path) -> list[Motif]:
    """The motifs to match against: a JASPAR release by name, or a MEME file (path or s3:// URL).

    A release has the numbers of the MEME file that the real program is given: probabilities
    to six decimals (jaspar2meme). They move p-values by up to 1e-4 of themselves.

    Raises
    ------
    InputError
        if `name` is neither, or the file cannot be read.
    """
    return list(_six_decimals(str(name))) if _is_release(name) else read_meme(as_path(name))


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
    return "sha256:" + hashlib.sha256(read_text(as_path(name))[0].encode()).hexdigest()


def _is_release(name: str | Path) -> bool:
    if str(name) in releases():
        return True
    if isinstance(path := as_path(name), Path) and not path.exists():
        known = ", ".join(releases())
        raise InputError(f"{name}: neither a MEME file nor a JASPAR release ({known})")
    return False
