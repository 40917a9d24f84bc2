"""Scores of predictions: AUROC and average precision by class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def auroc(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each class, over the sequences whose label is known.

    Parameters
    ----------
    labels : numpy.ndarray (N, C)
        1, 0, or -1 for unknown.
    probabilities : numpy.ndarray (N, C)

    Returns
    -------
    numpy.ndarray (C,)
        NaN where a class has labels of one kind only, or a probability is not a number.
    """
    from sklearn.metrics import roc_auc_score

    return _by_class(labels, probabilities, roc_auc_score)


def aupr(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Average precision of each class; as `auroc`."""
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
