"""Compute with motifs: position probability matrices (PPM).

A PPM is an array (W, 4): a row for each position, columns A C G T. Each row sums to 1.
"""

from typing import NamedTuple

import numpy as np

LETTERS = "ACGT"
DEFAULT_NSITES = 20.0  # MEME's default for a file without nsites=
UNIFORM = np.full(4, 0.25)
UNIFORM.flags.writeable = False


class Motif(NamedTuple):
    """A motif with its name."""

    name: str
    ppm: np.ndarray  # (W, 4) float64
    nsites: float = DEFAULT_NSITES  # number of sites
    alt: str = ""  # a second name, for example of the transcription factor


def information(ppm: np.ndarray) -> np.ndarray:
    """Compute the information of each column of a PPM (W, 4): an array (W,) in bits, 0 to 2.

    I = 2 + sum over letters of p log2 p, with 0 log 0 = 0 (paper, Methods). An all-zero column,
    to which no sequence was aligned, has 0 and not 2.
    """
    ppm = np.asarray(ppm, dtype=np.float64)
    logs = np.log2(ppm, out=np.zeros_like(ppm), where=ppm > 0)
    bits = 2.0 + (ppm * logs).sum(axis=1)
    return np.where(ppm.sum(axis=1) > 0, np.clip(bits, 0.0, 2.0), 0.0)


def trim(ppm: np.ndarray, bits: float = 0.5, pad: int = 3, sharpen: float | None = None) -> slice:
    """Find the informative part of a motif: ``ppm[trim(ppm)]`` is the trimmed motif.

    It spans the first to the last column above `bits`, and `pad` columns on either side. Without
    such a column it is the whole motif. With `sharpen`, the information is that of a sharpened
    motif: exp(sharpen p / max p), each column divided by its sum.
    """
    judged = np.asarray(ppm, dtype=np.float64)
    if sharpen is not None:
        judged = np.exp(sharpen * judged / judged.max())
        judged /= judged.sum(axis=1, keepdims=True)
    above = np.flatnonzero(information(judged) > bits)
    if above.size == 0:
        return slice(0, len(ppm))
    return slice(max(0, int(above[0]) - pad), min(len(ppm), int(above[-1]) + 1 + pad))


def reverse_complement(ppm: np.ndarray) -> np.ndarray:
    """Return the PPM (W, 4) of the other strand: both axes reversed."""
    return ppm[::-1, ::-1]


def consensus(ppm: np.ndarray) -> str:
    """Return the most probable letter of each column; ties are broken as in Tomtom.

    Tomtom takes the first of equal letters, but keeps the best probability in single precision.
    If that rounds down, a later letter of equal probability replaces the first.
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
    """Divide rows by their sum if that is below 1 - 1e-5 or above 1 + 1e-5, as MEME on reading.

    An all-zero row, which MEME rejects, becomes 0.25 each.

    Raises
    ------
    ValueError
        If the array is not (W, 4) of non-negative numbers.
    """
    ppm = np.array(ppm, dtype=np.float64)
    if ppm.ndim != 2 or ppm.shape[1] != 4 or len(ppm) == 0 or not np.all(ppm >= 0):  # or NaN
        raise ValueError(
            f"a PPM must be an array (W, 4) of non-negative numbers; its shape is {ppm.shape}"
        )
    total = ppm[:, 0] + ppm[:, 1] + ppm[:, 2] + ppm[:, 3]  # in this order, unlike np.sum
    ppm[total == 0] = 0.25
    # Rows of five decimals sum to 0.99999 or 1.00001: the rounding of these limits decides.
    off = ((total < 1.0 - 1e-5) | (total > 1.0 + 1e-5)) & (total != 0)
    ppm[off] /= total[off, None]
    return np.minimum(ppm, 1.0)  # single precision may leave 1.0000001


def without_zeros(background: np.ndarray) -> np.ndarray:
    """Return letter frequencies (4,) without zeros: MEME adds 5e-7 to each before it uses them."""
    tiny = 0.0000005
    total = tiny * len(background)
    for frequency in background.tolist():  # in this order, unlike np.sum
        total += frequency
    return (background + tiny) / total
