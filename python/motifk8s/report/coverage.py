"""Which classes the filters of an architecture found, and how many filters each of them has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from motifk8s.report.comparison import mean_sd, planned_trials
from motifk8s.study.study import Study

COLUMNS = [
    "dataset", "model", "layer", "class", "trials", "found", "filters_mean", "filters_sd",
]  # fmt: skip


def coverage(metrics: Iterable[Mapping[str, Any]], study: Study) -> pd.DataFrame:
    """Count the filters that have a class as their label, by architecture, layer and class.

    A filter has one label, the best of its hits among the classes' motifs. The ``coverage`` of
    the tables counts all hits, so it also has a class that filters hit only beside a better one.

    Parameters
    ----------
    metrics : iterable of dict
        Contents of the cells' ``metrics.json``, in any order.
    study : Study
        Gives the order of data sets, architectures and classes.

    Returns
    -------
    DataFrame, columns `COLUMNS`
        ``trials``: finished; ``found``: share of them, 0 to 1, in which some filter has the
        class; ``filters_mean``, ``filters_sd``: number of filters with the class, mean and
        population sd over trials (nan for one trial). Classes without a known motif, which no
        filter can find, have no row.
    """
    cells: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in metrics:
        cells.setdefault((cell["dataset"], cell["model"]), []).append(cell["layers"])
    rows = []
    for dataset, model in planned_trials(study):
        trials = cells.get((dataset, model), [])
        classes = [name for name, ids in study.datasets[dataset].motif_ids.items() if ids]
        for layer in dict.fromkeys(layer for layers in trials for layer in layers):
            counts = [
                Counter(label["class"] for label in layers[layer]["labels"].values())
                for layers in trials
            ]
            for name in classes:
                n = [count[name] for count in counts]
                found = sum(x > 0 for x in n) / len(n)
                rows.append([dataset, model, layer, name, len(n), found, *mean_sd(n)])
    return pd.DataFrame(rows, columns=COLUMNS)
