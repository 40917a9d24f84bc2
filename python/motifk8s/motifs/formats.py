"""Write motifs as text in the formats of MEME, JASPAR and TRANSFAC."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence

import numpy as np

from motifk8s.motifs.meme import write_meme
from motifk8s.motifs.motif import LETTERS, Motif, normalize

FEWEST = 100  # sites: the counts of fewer keep too few digits of the probabilities
# The letters of IUPAC for sets of bases.
IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "AC": "M", "AG": "R", "AT": "W", "CG": "S", "CT": "Y",
    "GT": "K", "ACG": "V", "ACT": "H", "AGT": "D", "CGT": "B", "ACGT": "N",
}  # fmt: skip


def counts(ppm: np.ndarray, nsites: float) -> np.ndarray:
    """Convert a PPM (W, 4) to whole numbers, each row of which sums to the number of sites.

    The number is at least `FEWEST`. What rounding down leaves goes to the largest remainders.
    """
    total = max(FEWEST, round(nsites))
    exact = normalize(ppm) * total
    whole = np.floor(exact).astype(int)
    rank = np.argsort(np.argsort(whole - exact, axis=1, kind="stable"), axis=1)
    return whole + (rank < total - whole.sum(axis=1, keepdims=True))


def iupac(ppm: np.ndarray) -> str:
    """Write a PPM (W, 4) as the letters of IUPAC, by the rule of Cavener 1987 (NAR 15:1353).

    A base alone has more than half, and more than twice the second; two bases have together more
    than three quarters; three bases have all but 1 %; else N.
    """
    letters = []
    for row in np.asarray(ppm, float):
        order = np.argsort(-row, kind="stable")
        share = np.cumsum(row[order])
        if share[0] > 0.5 and share[0] > 2 * row[order[1]]:
            n = 1
        else:
            n = 2 if share[1] > 0.75 else 3 if share[2] > 0.99 else 4
        letters.append(IUPAC["".join(sorted(LETTERS[i] for i in order[:n]))])
    return "".join(letters)


def meme(motifs: Sequence[Motif]) -> str:
    """Write a MEME file, as `write_meme`."""
    file = io.StringIO()
    write_meme(motifs, file)
    return file.getvalue()


def jaspar(motifs: Sequence[Motif]) -> str:
    """Write a file of JASPAR: a line ``>NAME ALT``, and a line of counts for each base."""
    lines = []
    for motif in motifs:
        lines.append(f">{motif.name}\t{_word(motif.alt) or motif.name}")
        table = counts(motif.ppm, motif.nsites).T
        width = len(str(table.max()))
        for letter, row in zip(LETTERS, table.tolist(), strict=True):
            lines.append(f"{letter}  [ {' '.join(f'{n:{width}d}' for n in row)} ]")
    return "".join(f"{line}\n" for line in lines)


def transfac(motifs: Sequence[Motif]) -> str:
    """Write a file of TRANSFAC: a matrix for each motif, with a consensus."""
    lines = ["VV  made by motifk8s", "XX", "//"]
    for motif in motifs:
        lines += [f"ID  {motif.name}", "XX"]
        if alt := _word(motif.alt):
            lines += [f"NA  {alt}", "XX"]
        lines.append("P0  " + "".join(f"{letter:>8}" for letter in LETTERS))
        rows = counts(motif.ppm, motif.nsites).tolist()
        for i, (row, letter) in enumerate(zip(rows, iupac(motif.ppm), strict=True), start=1):
            lines.append(f"{i:02d}  " + "".join(f"{n:8d}" for n in row) + f"      {letter}")
        lines += ["XX", "//"]
    return "".join(f"{line}\n" for line in lines)


def _word(text: str) -> str:
    return re.sub(r"\s+", "_", text.strip())


FORMATS: dict[str, Callable[[Sequence[Motif]], str]] = {
    "meme": meme, "jaspar": jaspar, "transfac": transfac,
}  # fmt: skip
"""The functions that write motifs, by the ending of the file's name."""
