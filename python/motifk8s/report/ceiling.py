"""Score synthetic data with the true motifs: the best possible AUROC, and motifs by chance.

Motifs also arise by chance in the background, where their label is 0, and an embedded motif may
look like background. So no network reaches an AUROC of 1, although the labels have no noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from motifk8s.data.datasets import synthesize
from motifk8s.motifs.jaspar import jaspar_motif
from motifk8s.motifs.motif import UNIFORM, reverse_complement
from motifk8s.study.specs import Synthetic
from motifk8s.training.scores import macro_auroc


def ceiling(spec: Synthetic, seed: int) -> float:
    """Make a synthetic data set, and compute the mean AUROC over classes of its test part.

    The score of a sequence for a class is that of `likelihood_ratios` with its embedded motif. The
    test part of the paper's data (5,000 of 25,000 sequences of 200 bp, `placement: reference`, seed
    33) gives 0.9808, and all 25,000 give 0.9805. This takes less than 10 s.

    Raise InputError as `datasets.synthesize`.
    """
    labels, scores = _scored(spec, seed)
    return macro_auroc(labels, scores)


def false_negatives(spec: Synthetic, seed: int) -> float:
    """Compute the share of the sequences labelled 0 that look like sequences with the motif.

    Their score (see `ceiling`) is above the median of the sequences labelled 1. The share is of the
    test part, and the mean over the classes that have both labels there.
    """
    labels, scores = _scored(spec, seed)
    shares = [
        np.mean(score[label == 0] > np.median(score[label == 1]))
        for label, score in zip(labels.T, scores.T, strict=True)
        if np.unique(label).size == 2
    ]
    return float(np.mean(shares)) if shares else math.nan


def _scored(spec: Synthetic, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores (N, C) of the test part."""
    codes, labels = synthesize(spec, seed).part("test")
    ppms = [jaspar_motif(ids[0], spec.release).ppm for ids in spec.classes.values()]
    return labels, likelihood_ratios(codes, ppms)


def likelihood_ratios(codes: np.ndarray, ppms: Sequence[np.ndarray]) -> np.ndarray:
    """Sum, over all positions and both strands, the likelihood ratio of motif and background.

    The ratio of a window is the product over its bases of p / 0.25. With one motif at any position
    and strand with equal probability, the sum is the best score by Neyman and Pearson's lemma.

    Parameters
    ----------
    codes : (N, L) uint8
        A C G T = 0 1 2 3.
    ppms : sequence of (W, 4) float
        C motifs.

    Returns
    -------
    (N, C) float64
    """
    scores = np.zeros((len(codes), len(ppms)))
    for c, ppm in enumerate(ppms):
        for strand in (ppm, reverse_complement(ppm)):
            ratios = strand / UNIFORM  # (W, 4)
            windows = codes.shape[1] - len(ratios) + 1
            product = np.ones((len(codes), windows))
            for i, ratio in enumerate(ratios):
                product *= ratio[codes[:, i : i + windows]]
            scores[:, c] += product.sum(axis=1)
    return scores
