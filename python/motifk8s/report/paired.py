"""Test whether architectures differ by more than their trials do, for all pairs of a study.

Trials are paired by their number: both cells have the same data, but each has its own seed. So
pairing removes no noise and costs degrees of freedom. In return, it gives one difference per trial,
which can be tested without assumptions about the variance of either architecture.
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
LAYER = "conv1"  # every architecture has it
MEASURES = ("auroc", "match_any", "match_truth")
LEAST = 3
"""Minimum number of trials that both architectures have."""
MOST_FLIPPED = 20
"""Maximum number of trials of the exact test: half a million sums."""


def paired(results: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Test all pairs of a data set's architectures that have at least three trials in common.

    Two two-sided tests use the same differences. The t-test assumes a normal distribution, which
    fractions near 0 or 1 do not have. The exact test flips the signs in every way. It assumes only
    that a difference and its opposite are equally likely if the architectures are alike. Its p for
    n trials is at least 2 / 2**n, so with five trials (0.0625) it is never below 0.05.

    Parameters
    ----------
    results : DataFrame
        As from `tables.results`.

    Returns
    -------
    DataFrame, columns `COLUMNS`
        A row for each data set, each of `MEASURES` of the first layer, and each pair, in the order
        of the study. ``match_truth`` has rows only if motifs of the classes are known.

        - ``trials``: number of common trials; all other numbers are computed from these. A trial
          without a value is left out, such as an AUROC if all labels are equal.
        - ``difference``, ``sd_difference``: mean and population sd of a minus b.
        - ``t``, ``p``: paired t-test with trials - 1 degrees of freedom, Student 1908.
        - ``p_permutation``: exact test, Fisher 1935; nan above `MOST_FLIPPED` trials.
        - ``p_holm``: ``p`` corrected for all pairs of its data set and measure, Holm 1979.

        If all differences are equal, ``t`` is nan; ``p`` is 1 if they are 0, otherwise nan. Pairs
        without ``p`` count in Holm's correction of the others.
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
    """Test one pair, with values by trial; return None if it has too few trials in common."""
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
    """Return the statistic and two-sided p of differences (n,) from 0; nan as in `paired`."""
    from scipy.special import stdtr  # not scipy.stats, whose import takes a second

    if np.ptp(difference) <= LAST_BIT:
        return math.nan, 1.0 if np.abs(difference).max() <= LAST_BIT else math.nan
    n = len(difference)
    t = difference.mean() / difference.std(ddof=1) * math.sqrt(n)
    return float(t), float(2 * stdtr(n - 1, -abs(t)))


def flip_test(difference: np.ndarray) -> float:
    """Return the two-sided p of differences (n,): the share of sign flips with as large a sum."""
    if len(difference) > MOST_FLIPPED:
        return math.nan
    sums = difference[:1]  # not flipped, because its flip mirrors all sums
    for value in difference[1:]:
        sums = np.concatenate([sums + value, sums - value])
    return float(np.mean(np.abs(sums) >= abs(difference.sum()) - LAST_BIT))


def holm(p: list[float]) -> list[float]:
    """Correct p-values for their number; nan stays nan, but counts."""
    result = [math.nan] * len(p)
    least = 0.0
    for rank, i in enumerate(sorted(np.flatnonzero(~np.isnan(p)), key=lambda i: p[i])):
        result[i] = least = max(least, min(1.0, (len(p) - rank) * p[i]))
    return result
