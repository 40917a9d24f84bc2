"""Read a database of motifs: a JASPAR release or a MEME file."""

from __future__ import annotations

import hashlib
import logging
from functools import cache
from pathlib import Path

import numpy as np

from motifk8s.errors import InputError
from motifk8s.motifs.jaspar import jaspar, releases
from motifk8s.motifs.meme import MotifFile, read_meme_file, read_text
from motifk8s.motifs.motif import UNIFORM, Motif

log = logging.getLogger(__name__)

FEWEST_TARGETS = 50  # with fewer, the columns of the database are a poor null model


def read_database(name: str | Path) -> list[Motif]:
    """Read the motifs of a database of DNA, as `read_database_file` does.

    Raises
    ------
    InputError
        As for `read_database_file`, or if the motifs are of RNA.
    """
    return read_database_file(name).dna(name)


def read_database_file(name: str | Path) -> MotifFile:
    """Read a JASPAR release, given by name, or a MEME file (path or s3:// URL).

    The probabilities of a release are rounded to six decimals, like those of its official MEME
    file. Rounding changes p-values by a factor of up to 1 + 1e-4. As the program does, it warns of
    motifs left out and of fewer than 50 motifs.

    Raises
    ------
    InputError
        If `name` is not a release, and not a MEME file that can be read.
    """
    if _is_release(name):
        return MotifFile(read_release(str(name)), UNIFORM)
    file = read_meme_file(name)
    warn_of_repeated(name, file)
    if len(file.motifs) < FEWEST_TARGETS:
        log.warning(
            "%s: a database of %d motifs is small; p-values are accurate from %d motifs",
            name,
            len(file.motifs),
            FEWEST_TARGETS,
        )
    return file


def warn_of_repeated(name: str | Path, file: MotifFile) -> None:
    """Log the names of motifs that were left out, as an earlier one has the name."""
    if file.repeated:
        more = f" and {len(file.repeated) - 5} more" if len(file.repeated) > 5 else ""
        log.warning(
            "%s: left out motifs whose name an earlier one has: %s%s",
            name,
            ", ".join(file.repeated[:5]),
            more,
        )


def read_release(release: str, tax_group: str = "vertebrates") -> list[Motif]:
    """Read a JASPAR release as `jaspar`, but with six decimals, as `read_database_file`."""
    return list(_six_decimals(release, tax_group))


@cache
def _six_decimals(release: str, tax_group: str) -> tuple[Motif, ...]:
    def rounded(ppm: np.ndarray) -> np.ndarray:
        ppm = np.array([[float(f"{p:.6f}") for p in row] for row in ppm.tolist()])
        ppm.flags.writeable = False  # shared between callers
        return ppm

    return tuple(motif._replace(ppm=rounded(motif.ppm)) for motif in jaspar(release, tax_group))


def database_version(name: str | Path) -> str:
    """Return the name of a release, or the SHA-256 of a MEME file's content.

    The matches of cells with another version are computed again. The name of a release gets a
    number when its motifs change: those of 2016 and before are as they were.
    """
    if _is_release(name):
        return str(name) if str(name) <= "JASPAR2016" else f"{name}, nsites of its first column"
    return "sha256:" + hashlib.sha256(read_text(name)[0].encode()).hexdigest()


def _is_release(name: str | Path) -> bool:
    if str(name) in releases():
        return True
    if not str(name).startswith("s3://") and not Path(name).exists():
        known = ", ".join(releases())
        raise InputError(f"{name}: neither a MEME file nor a JASPAR release ({known})")
    return False
