"""Count the filters of a layer that match known motifs, from the hits of Tomtom."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from motifk8s.motifs.motif import Motif
from motifk8s.motifs.tomtom import tomtom


def flat(width: int) -> Motif:
    """Make a motif of `width` bp without information: 0.25 everywhere."""
    return Motif(f"flat{width}", np.full((width, 4), 0.25))


def null_targets(
    width: int, targets: Sequence[Motif], evalue: float = 0.1, **options: Any
) -> frozenset[str]:
    """Find the targets that a `flat` motif hits; hits of a filter on these have no meaning.

    `options` are those of `tomtom`.

    At 19 bp and E <= 0.1, JASPAR 2016 has one such target, MA0615.1 (Gmeb1).
    """
    hits = tomtom([flat(width)], targets, evalue, q_values=False, **options)
    return frozenset(hits["Target_ID"])


def summarize(
    hits: pd.DataFrame,
    queries: Sequence[Motif],
    dead: np.ndarray,
    truth: Mapping[str, Sequence[str]],
    null: Mapping[int, frozenset[str]],
) -> dict[str, Any]:
    """Count a layer's F filters by what they match.

    Parameters
    ----------
    hits : DataFrame
        From `tomtom`, for all of `queries`.
    dead : (F,) bool
        Filters without a motif; they match nothing, but count in F.
    truth : mapping
        From class to the target ids that count as its motif.
    null : mapping
        From the width of a query in bp to its `null_targets`.

    Returns
    -------
    dict
        - match_any, match_truth, match_null: fractions of the F filters with any hit, with a hit in
          `truth`, and with hits only in `null`.
        - dead: number of dead filters.
        - coverage: share of classes with a hit of some filter; 0 without classes.
        - labels: from filter name to {target, evalue, class} of its best hit in `truth`, or else of
          its best hit, with class "".
    """
    width_of = {query.name: len(query.ppm) for query in queries}
    class_of: dict[str, str] = {}
    for name, ids in truth.items():
        for target in ids:
            class_of.setdefault(target, name)
    hits_of: dict[str, list[tuple[str, float]]] = {}
    for query, target, evalue in hits[["Query_ID", "Target_ID", "E-value"]].itertuples(index=False):
        hits_of.setdefault(query, []).append((target, evalue))
    labels: dict[str, dict[str, Any]] = {}
    n_null = 0
    for query, pairs in hits_of.items():
        target, evalue = next((pair for pair in pairs if pair[0] in class_of), pairs[0])
        labels[query] = {"target": target, "evalue": evalue, "class": class_of.get(target, "")}
        n_null += {target for target, _ in pairs} <= null[width_of[query]]
    matched = sum(label["class"] != "" for label in labels.values())
    hit = set(hits["Target_ID"])
    return {
        "match_any": len(labels) / len(dead),
        "match_truth": matched / len(dead),
        "match_null": n_null / len(dead),
        "dead": int(np.sum(dead)),
        "coverage": sum(not hit.isdisjoint(ids) for ids in truth.values()) / max(1, len(truth)),
        "labels": labels,
    }
