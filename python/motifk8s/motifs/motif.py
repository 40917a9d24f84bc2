"""Motifs as position probability matrices.

A PPM is an array (W, 4): one row per position, columns A C G T, rows summing to 1.
"""

from typing import NamedTuple

import numpy as np

LETTERS = "ACGT"
DEFAULT_NSITES = 20.0  # what MEME assumes where a file does not say


class Motif(NamedTuple):
    """One motif: ppm (W, 4) float64; nsites: number of sites; alt: e.g. the factor's name."""

    name: str
    ppm: np.ndarray
    nsites: float = DEFAULT_NSITES
    alt: str = ""


def information(ppm: np.ndarray) -> np.ndarray:
    """Compute the information content of each column of a motif.

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
    """Find the informative part of a motif, with `pad` columns on either side.

    It is from the first to the last column above `bits`; the whole motif if none is.

    Returns
    -------
    slice of columns, so that ``ppm[trim(ppm)]`` is the trimmed motif.
    """
    above = np.flatnonzero(information(ppm) > bits)
    if above.size == 0:
        return slice(0, len(ppm))
    return slice(max(0, int(above[0]) - pad), min(len(ppm), int(above[-1]) + 1 + pad))


def reverse_complement(ppm: np.ndarray) -> np.ndarray:
    """Reverse both axes of a PPM (W, 4), which gives the motif on the other strand."""
    return ppm[::-1, ::-1]


def consensus(ppm: np.ndarray) -> str:
    """Return the most probable letter of each column, with ties broken as in Tomtom.

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
    """Divide the rows of a PPM whose sum is off 1 by more than 1e-5, as MEME does on reading.

    An all-zero row, which MEME refuses, becomes 0.25 each.
    """
    ppm = np.array(ppm, dtype=np.float64)
    if ppm.ndim != 2 or ppm.shape[1] != 4 or len(ppm) == 0 or not np.all(ppm >= 0):  # or NaN
        raise ValueError(f"a PPM is (W, 4) of numbers from 0, not {ppm.shape}")
    total = ppm.sum(axis=1)
    ppm[total == 0] = 0.25
    off = (np.abs(total - 1) > 1e-5) & (total != 0)
    ppm[off] /= total[off, None]
    return np.minimum(ppm, 1.0)  # single precision may leave 1.0000001
