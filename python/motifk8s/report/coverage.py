"""Count which classes an architecture's filters found, and with how many filters."""

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
    """Count the filters that are labelled with each class, by architecture, layer and class.

    The label of a filter is the class of its best match among the classes' motifs. ``coverage``
    in the tables counts all matches, so it also includes classes that are never a best match.

    Parameters
    ----------
    metrics : iterable of dict
        Contents of the cells' ``metrics.json``, in any order.

    Returns
    -------
    DataFrame, columns `COLUMNS`
        Rows in the order of the study. ``trials``: finished trials; ``found``: share of them, 0 to
        1, in which a filter has the class; ``filters_mean``, ``filters_sd``: number of filters
        with the class, mean and population sd over trials (nan for one trial). Classes without a
        known motif have no row.
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
