"""Score predictions: cross-entropy, AUROC and average precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def cross_entropies(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the binary cross-entropy (N, C), in nats, of each prediction, clipped as in Keras.

    Labels (N, C) are 1, 0, or -1 for unknown; the cross-entropy of an unknown label is NaN.
    """
    p = np.where(labels == 1, probabilities, 1 - probabilities).astype(np.float64)
    return np.where(labels >= 0, -np.log(np.clip(p, 1e-7, 1 - 1e-7)), np.nan)


def auroc(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the area under the ROC curve (C,) of each class, over sequences with a known label.

    Labels and probabilities (N, C) are as in `cross_entropies`. It is NaN for a class without 0 or
    without 1 labels, or with a probability that is not a number.
    """
    from sklearn.metrics import roc_auc_score

    return _by_class(labels, probabilities, roc_auc_score)


def aupr(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the average precision (C,) of each class, with arguments and NaN as in `auroc`."""
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
    """Compute the mean of `auroc` over classes where it is not NaN, ten times as fast.

    The last digits may differ, because it is computed from ranks. It is NaN without such a class.
    """
    from scipy.stats import rankdata

    known = labels >= 0
    positive = labels == 1
    # Unknown labels get the lowest ranks, so their number is subtracted from the known ranks.
    ranks = rankdata(np.where(known, probabilities, -1), axis=0) - (~known).sum(axis=0)
    n, n_negative = positive.sum(axis=0), (labels == 0).sum(axis=0)
    above = np.where(positive, ranks, 0).sum(axis=0) - n * (n + 1) / 2
    pairs = n * n_negative
    return float(np.mean((above / np.maximum(pairs, 1))[pairs > 0])) if pairs.any() else np.nan
