"""Which known motifs resemble a filter: Tomtom, and the fractions counted from its hits.

This is Tomtom as MEME 4.12 runs it with ``-evalue -thresh E`` and otherwise its defaults:
Euclidean distance, complete scores, overlaps from 1, both strands, motif pseudocount 0.1. It
follows the papers (Gupta et al. 2007, Genome Biol 8:R24; Tanaka et al. 2011, Bioinformatics
27:1603; Storey 2002, J R Stat Soc B 64:479) and, where they leave a choice, the program:
integer scores, ties, rounding to single precision. Three real outputs come out digit for digit,
q-values included (600 hits).

One query of 19 bp against JASPAR 2016 takes about 7 ms on one core; nothing is compiled.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from motifk8s.motifs.motif import Motif
from motifk8s.motifs.tomtom import tomtom

# --- q-values --------------------------------------------------------------------------------


# --- What the hits of a layer come to ----------------------------------------------------------


def null_targets(width: int, targets: Sequence[Motif], evalue: float = 0.1) -> frozenset[str]:
    """The targets that a motif without any information (0.25 everywhere) of a width hits.

    A filter that hits nothing else tells nothing. At 19 bp and E <= 0.1 JASPAR 2016 has one,
    MA0615.1 (Gmeb1).
    """
    return frozenset(tomtom([flat(width)], targets, evalue, q_values=False)["Target_ID"])


def flat(width: int) -> Motif:
    """A motif without any information, of a width in bp."""
    return Motif(f"flat{width}", np.full((width, 4), 0.25))


def summarize(
    hits: pd.DataFrame,
    n_filters: int,
    dead: np.ndarray,
    names: Sequence[str],
    widths: Sequence[int],
    truth: Mapping[str, Sequence[str]],
    null: Mapping[int, frozenset[str]],
) -> dict[str, Any]:
    """Count a layer's filters by what they match.

    Parameters
    ----------
    hits : DataFrame from `tomtom`.
    n_filters : number of filters of the layer, F; dead ones, which match nothing, count.
    dead : (F,) bool.
    names, widths : the queries, and the width in bp of each as compared.
    truth : class to the target ids that count as its motif.
    null : width to what `null_targets` gives for it.

    Returns
    -------
    dict with fractions of F: match_any (any hit), match_truth (a hit in `truth`), match_null
    (hits, but none beyond `null`); dead (count); coverage (share of classes that some filter
    matches; 0 without classes); labels: filter name to {target, evalue, class} for filters with a
    hit: their best hit in `truth`, else their best hit, class "".
    """
    width_of = dict(zip(names, widths, strict=True))
    class_of: dict[str, str] = {}
    for name, ids in truth.items():
        for target in ids:
            class_of.setdefault(target, name)
    by_query: dict[str, list[tuple[str, float]]] = {}
    for query, *found in hits[["Query_ID", "Target_ID", "E-value"]].itertuples(index=False):
        by_query.setdefault(query, []).append(tuple(found))
    labels: dict[str, dict[str, Any]] = {}
    n_null, hit = 0, set(hits["Target_ID"])
    for query, own in by_query.items():
        target, evalue = next((one for one in own if one[0] in class_of), own[0])
        labels[query] = {"target": target, "evalue": evalue, "class": class_of.get(target, "")}
        n_null += {name for name, _ in own} <= null[width_of[query]]
    matched = sum(label["class"] != "" for label in labels.values())
    return {
        "match_any": len(labels) / n_filters,
        "match_truth": matched / n_filters,
        "match_null": n_null / n_filters,
        "dead": int(np.sum(dead)),
        "coverage": sum(not hit.isdisjoint(ids) for ids in truth.values()) / max(1, len(truth)),
        "labels": labels,
    }
