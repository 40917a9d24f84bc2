"""Sample random sequences with embedded motifs.

A seed gives the same bytes on every platform and with every version of numpy: `sample` uses only
raw PCG64 output, integer arithmetic and single rounded operations, `sample_reference` the frozen
generator `numpy.random.RandomState` and rounded operations.
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
    share = _shares(weights, widths, length)
    most = len(share)
    source = np.random.PCG64(seed)
    count = 1 + np.searchsorted(share, _uniform(source, n), side="right")
    present = np.arange(most) < count[:, None]  # (N, most)
    model = (_uniform(source, n * most) * len(models)).astype(int).reshape(n, most)
    width = np.where(present, widths[model], 0)
    start = _starts(length, count, width, _uniform(source, n * most).reshape(n, most))
    codes = _background(source, n, length)
    sequence = np.nonzero(present)[0]
    model, start = model[present], start[present]  # (M,)
    _embed(codes, models, sequence, model, start, source)
    return codes, sequence, model, start


def sample_reference(
    models: Sequence[np.ndarray], weights: Sequence[float], n: int, length: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sample sequences as the paper's reference code does, draw by draw.

    The gaps around k motifs are k + 1 uniform numbers divided by their sum, times the free length.
    So motifs never overlap, but may touch each other or an end. With the paper's motifs and seed
    33, these are the authors' own 25,000 sequences in their order. One sequence at a time, 25,000
    of 200 bp take about 3 s.

    Parameters and results are those of `sample`.
    """
    widths = np.array([len(model) for model in models])
    share = np.append(0.0, _shares(weights, widths, length)[:-1])
    below = [np.cumsum(model, axis=1)[:, :3] for model in models]
    random = np.random.RandomState(seed)

    def arrangement() -> tuple[np.ndarray, np.ndarray]:
        """Draw models (k,) and their first bases (k,)."""
        chosen = random.randint(0, len(models), size=int((share < random.uniform()).sum()))
        free = length - widths[chosen].sum()
        while True:
            gaps = random.uniform(size=len(chosen) + 1)
            gaps = np.round(gaps / gaps.sum() * free).astype(int)
            if gaps.sum() == free:
                return chosen, np.cumsum(gaps[:-1]) + np.cumsum(widths[chosen]) - widths[chosen]

    for _ in range(10):  # The reference code plots ten arrangements before it samples.
        arrangement()
    codes = np.empty((n, length), np.uint8)
    drawn = []
    for row in range(n):
        chosen, start = arrangement()
        base = np.tile([0.25, 0.5, 0.75], (length, 1))
        for model, first in zip(chosen, start, strict=True):
            base[first : first + widths[model]] = below[model]
        codes[row] = (base <= random.uniform(size=length)[:, None]).sum(axis=1)
        drawn.append((chosen, start))
    order = random.permutation(n)
    drawn = [drawn[row] for row in order]
    model, start = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    sequence = np.repeat(np.arange(n), [len(chosen) for chosen, _ in drawn])
    return codes[order], sequence, model, start


def _shares(weights: Sequence[float], widths: np.ndarray, length: int) -> np.ndarray:
    """Return cumulative shares of 1, 2, ... models in a sequence; check that the most fit."""
    share = np.cumsum(np.trim_zeros(np.array(weights, float), "b"))
    most, longest = len(share), int(widths.max())
    if (needed := most * longest + most + 1) > length:
        raise InputError(
            f"synthetic data: {most} motifs of up to {longest} bp with 1 bp around each need "
            f"{needed} bp, but sequences have {length}; raise length or allow fewer motifs"
        )
    return share / share[-1]


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
