"""Do two architectures differ by more than their trials do? Tests of all pairs of a study.

Trials are paired by their number alone: both cells have the same data, and each has its own seed.
So pairing removes no noise and costs degrees of freedom; it gives one difference per trial, which
can be tested without assumptions about the variance of either architecture.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd

from motifk8s.report.comparison import LAST_BIT, planned_trials
from motifk8s.study.study import Study

COLUMNS = [
    "dataset", "layer", "measure", "a", "b", "trials", "mean_a", "mean_b", "difference",
    "sd_difference", "t", "p", "p_permutation", "p_holm",
]  # fmt: skip
LAYER = "conv1"  # the one that every architecture has
MEASURES = ("auroc", "match_any", "match_truth")
LEAST = 3
"""Trials that both architectures must have."""
MOST_FLIPPED = 20
"""Trials up to which all flips of sign are counted: half a million sums."""


def paired(results: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Test all pairs of architectures of a data set that have three trials or more in common.

    There are two tests of the same differences, both two-sided. The t-test assumes that they are
    normal, which fractions near 0 or 1 are not. The exact test flips their signs in every way, and
    assumes only that each is as likely as its opposite if the architectures are alike; of n trials
    it gives 2 / 2**n or more, so with five (0.0625) it never falls below 0.05.

    Parameters
    ----------
    results : DataFrame
        As from `tables.results`.
    study : Study
        Gives the order of data sets and architectures.

    Returns
    -------
    DataFrame, columns `COLUMNS`
        A row for each data set, each of `MEASURES` of the first layer (``match_truth`` only where
        motifs of the classes are known), and each pair. ``trials``: those in common, which all
        numbers are of (a trial without a value, as of an AUROC where all labels are alike, is not
        among them); ``difference``: the mean of a minus b; ``sd_difference``: its population
        sd over trials; ``t``, ``p``: paired t-test with trials - 1 degrees of freedom, Student
        1908; ``p_permutation``: flips of sign, Fisher 1935, blank beyond `MOST_FLIPPED` trials;
        ``p_holm``: ``p`` corrected for all pairs of its data set and measure, Holm 1979.

        Differences that are all the same have no ``t``, and no ``p`` unless they are all 0: then
        it is 1. A pair without ``p`` counts in Holm's correction of the others.
    """
    rows: list[dict[str, Any]] = []
    for dataset in dict.fromkeys(dataset for dataset, _ in planned_trials(study)):
        known = any(study.datasets[dataset].motif_ids.values())
        layer = results[(results.dataset == dataset) & (results.layer == LAYER)]
        models = [model for data, model in planned_trials(study) if data == dataset]
        for measure in MEASURES if known else MEASURES[:2]:
            finite = layer.set_index("trial")[["model", measure]].dropna()
            values = {m: finite[measure][finite.model == m].astype(float) for m in models}
            tests = [
                {"dataset": dataset, "layer": LAYER, "measure": measure, "a": a, "b": b, **test}
                for a, b in itertools.combinations(models, 2)
                if (test := _compare(values[a], values[b]))
            ]
            for test, p in zip(tests, holm([test["p"] for test in tests]), strict=True):
                rows.append({**test, "p_holm": p})
    return pd.DataFrame(rows, columns=COLUMNS)


def _compare(a: pd.Series, b: pd.Series) -> dict[str, Any] | None:
    """Test one pair, whose values are by trial; None if it has too few trials in common."""
    common = a.index.intersection(b.index)
    if len(common) < LEAST:
        return None
    a, b = a[common], b[common]
    difference = (a - b).to_numpy()
    t, p = t_test(difference)
    return {
        "trials": len(common),
        "mean_a": a.mean(),
        "mean_b": b.mean(),
        "difference": difference.mean(),
        "sd_difference": difference.std(),
        "t": t,
        "p": p,
        "p_permutation": flip_test(difference),
    }


def t_test(difference: np.ndarray) -> tuple[float, float]:
    """Statistic and two-sided p of differences (n,) from 0; nan as `paired` says."""
    from scipy.special import stdtr  # in place of scipy.stats, which takes a second to import

    if np.ptp(difference) <= LAST_BIT:
        return math.nan, 1.0 if np.abs(difference).max() <= LAST_BIT else math.nan
    n = len(difference)
    t = difference.mean() / difference.std(ddof=1) * math.sqrt(n)
    return float(t), float(2 * stdtr(n - 1, -abs(t)))


def flip_test(difference: np.ndarray) -> float:
    """Two-sided p of differences (n,) from 0: share of all flips of sign with as large a sum."""
    if len(difference) > MOST_FLIPPED:
        return math.nan
    sums = difference[:1]  # not flipped: each half of the flips mirrors the other
    for one in difference[1:]:
        sums = np.concatenate([sums + one, sums - one])
    return float(np.mean(np.abs(sums) >= abs(difference.sum()) - LAST_BIT))


def holm(p: list[float]) -> list[float]:
    """Correct p-values for their number; nan stays nan and counts."""
    result = [math.nan] * len(p)
    least = 0.0
    for rank, i in enumerate(sorted(np.flatnonzero(~np.isnan(p)), key=lambda i: p[i])):
        result[i] = least = max(least, min(1.0, (len(p) - rank) * p[i]))
    return result
