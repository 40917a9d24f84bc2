"""Scores of predictions: cross-entropy, AUROC and average precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def cross_entropies(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the binary cross-entropy of each prediction, clipped as Keras clips it.

    Parameters
    ----------
    labels : numpy.ndarray (N, C)
        1, 0, or -1 for unknown.
    probabilities : numpy.ndarray (N, C)

    Returns
    -------
    numpy.ndarray (N, C), nats
        NaN where the label is unknown.
    """
    p = np.where(labels == 1, probabilities, 1 - probabilities).astype(np.float64)
    return np.where(labels >= 0, -np.log(np.clip(p, 1e-7, 1 - 1e-7)), np.nan)


def auroc(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the area under the ROC curve of each class, over sequences with a known label.

    Parameters
    ----------
    labels, probabilities : numpy.ndarray (N, C)
        As in `cross_entropies`.

    Returns
    -------
    numpy.ndarray (C,)
        NaN where a class has labels of one kind only, or a probability is not a number.
    """
    from sklearn.metrics import roc_auc_score

    return _by_class(labels, probabilities, roc_auc_score)


def aupr(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the average precision of each class; as `auroc`."""
    from sklearn.metrics import average_precision_score

    return _by_class(labels, probabilities, average_precision_score)


def _by_class(
    labels: np.ndarray, probabilities: np.ndarray, score: Callable[..., float]
) -> np.ndarray:
    scores = np.full(labels.shape[1], np.nan)
    for c in range(labels.shape[1]):
        known = labels[:, c] >= 0
        y = labels[known, c]
        if y.size and y.min() != y.max() and np.isfinite(probabilities[known, c]).all():
            scores[c] = score(y, probabilities[known, c])
    return scores


def macro_auroc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the mean of `auroc` over its classes that are not NaN, ten times as fast.

    Computed from ranks, so its last digits may differ. NaN if there is no such class.
    """
    from scipy.stats import rankdata

    known = labels >= 0
    positive = labels == 1
    # Unknown ones rank below all others, so each known one is too high by their number.
    ranks = rankdata(np.where(known, probabilities, -1), axis=0) - (~known).sum(axis=0)
    n, n_negative = positive.sum(axis=0), (labels == 0).sum(axis=0)
    above = np.where(positive, ranks, 0).sum(axis=0) - n * (n + 1) / 2
    pairs = n * n_negative
    return float(np.mean((above / np.maximum(pairs, 1))[pairs > 0])) if pairs.any() else np.nan
