"""Sample random sequences with embedded motifs.

This module uses only raw PCG64 output, integer arithmetic and single rounded operations. So a seed
gives the same bytes on every platform and with every version of numpy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from motifk8s.errors import InputError


def sample(
    models: Sequence[np.ndarray], weights: Sequence[float], n: int, length: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sample sequences from a uniform background with PPMs embedded (Koo & Eddy 2019, Methods).

    For each sequence, models are drawn with replacement and embedded in this order, with at least
    1 bp between them and at the ends. All such arrangements are equally likely.

    Raise InputError if the largest number of the longest models does not fit into the length.

    Parameters
    ----------
    models : sequence of (W, 4) float
        PPMs, columns A C G T.
    weights : sequence of float
        Relative frequency of 1, 2, 3, ... models in a sequence.
    n, length : int
        Number of sequences N and their length L in bp.

    Returns
    -------
    codes : (N, L) uint8
    sequence, model, start : (M,) int
        Row, index in `models` and first base (0-based) of each embedded model, sorted by sequence
        and start.
    """
    widths = np.array([len(model) for model in models])
    share = np.cumsum(np.trim_zeros(np.array(weights, float), "b"))
    most, longest = len(share), int(widths.max())
    if (needed := most * longest + most + 1) > length:
        raise InputError(
            f"synthetic data: {most} motifs of up to {longest} bp with 1 bp around each need "
            f"{needed} bp, but sequences have {length}; raise length or allow fewer motifs"
        )

    source = np.random.PCG64(seed)
    count = 1 + np.searchsorted(share / share[-1], _uniform(source, n), side="right")
    present = np.arange(most) < count[:, None]  # (N, most)
    model = (_uniform(source, n * most) * len(models)).astype(int).reshape(n, most)
    width = np.where(present, widths[model], 0)
    start = _starts(length, count, width, _uniform(source, n * most).reshape(n, most))
    codes = _background(source, n, length)
    sequence = np.nonzero(present)[0]
    model, start = model[present], start[present]  # (M,)
    _embed(codes, models, sequence, model, start, source)
    return codes, sequence, model, start


def _background(source: np.random.PCG64, n: int, length: int) -> np.ndarray:
    """Draw uniform base codes (N, L), 32 from each raw 64-bit number, lowest bits first."""
    raw = source.random_raw(-(-n * length // 32)).astype("<u8").view(np.uint8)
    bases = (raw[:, None] >> np.array([0, 2, 4, 6], np.uint8) & np.uint8(3)).ravel()
    return bases[: n * length].reshape(n, length)


def _embed(
    codes: np.ndarray,
    models: Sequence[np.ndarray],
    sequence: np.ndarray,
    model: np.ndarray,
    start: np.ndarray,
    source: np.random.PCG64,
) -> None:
    """Draw the bases of each embedded model (M,) and write them into the codes."""
    widths = np.array([len(ppm) for ppm in models])
    width = widths[model]
    motif = np.repeat(np.arange(len(model)), width)  # one entry per embedded base
    column = np.arange(len(motif)) - np.repeat(np.cumsum(width) - width, width)
    below = np.ones((len(models), widths.max(), 3))
    for i, ppm in enumerate(models):
        below[i, : len(ppm)] = np.cumsum(ppm, axis=1)[:, :3]
    drawn = _uniform(source, len(motif))[:, None] >= below[model[motif], column]
    codes[sequence[motif], start[motif] + column] = drawn.sum(axis=1)


def _uniform(source: np.random.PCG64, n: int) -> np.ndarray:
    """Draw numbers (n,) in [0, 1) of 53 bits each."""
    return (source.random_raw(n) >> np.uint64(11)) * 2.0**-53


def _starts(length: int, count: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Draw starts (N, K), with 1 bp around each motif and all arrangements equally likely.

    Stars and bars: without the mandatory bp, an arrangement of k motifs and f free bp is a choice
    of k out of f + k places. Floyd's algorithm draws it in k steps.
    """
    free = length - width.sum(axis=1) - (count + 1)
    chosen = np.full(width.shape, length)  # Unused slots sort last, beyond all places.
    for j in range(width.shape[1]):
        place = (uniform[:, j] * (free + j + 1)).astype(int)
        taken = (chosen[:, :j] == place[:, None]).any(axis=1)
        chosen[:, j] = np.where(j < count, np.where(taken, free + j, place), length)
    chosen.sort(axis=1)
    return chosen + 1 + np.cumsum(width, axis=1) - width
