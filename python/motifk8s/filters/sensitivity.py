"""How the match fractions depend on what they were counted with: one setting varied at a time.

The threshold and the trimming of motifs, the E-value and the JASPAR release of a match. The other
settings are the study's, and so is one of the values, at which the fractions are the table's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motifk8s.filters.extract import Filters, Layer, extract_at, readable_layers
from motifk8s.filters.layer_motifs import layer_motifs
from motifk8s.motifs import matches
from motifk8s.motifs.database import read_database
from motifk8s.motifs.jaspar import releases
from motifk8s.motifs.motif import Motif
from motifk8s.motifs.tomtom import tomtom
from motifk8s.study.specs import MotifSettings, Trim
from motifk8s.study.study import Study

if TYPE_CHECKING:
    import keras
    import pandas as pd


SETTINGS = ("threshold", "trim_bits", "evalue", "database")
FRACTIONS = ("match_any", "match_truth", "match_null")
COLUMNS = ("layer", "setting", "value", "n_filters", *FRACTIONS, "dead")


def own(study: Study) -> dict[str, Any]:
    """The study's own value of each setting."""
    trim = study.motifs.trim
    return {
        "threshold": study.motifs.threshold,
        "trim_bits": None if trim is None else trim.bits,
        "evalue": study.matches.evalue,
        "database": study.matches.database,
    }


def values(study: Study) -> dict[str, list[Any]]:
    """The values of each setting, in ascending order, untrimmed first; none where none is asked.

    The study's own is among them. A database that is no JASPAR release stands alone: its ids are
    not those of the releases.
    """
    asked = study.analysis
    mine = own(study)
    lists: dict[str, Sequence[Any]] = {
        "threshold": asked.thresholds,
        "trim_bits": asked.trim_bits,
        "evalue": asked.evalues,
        "database": asked.databases if mine["database"] in releases() else [],
    }
    if asked.databases and not lists["database"]:
        lists["database"] = [mine["database"]]
    return {
        setting: sorted({*some, mine[setting]}, key=lambda v: (v is not None, v)) if some else []
        for setting, some in lists.items()
    }


def text(value: Any) -> str:
    """A value as the table has it: 0.3, none, JASPAR2020."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else f"{value:.12g}"


class _Variant(NamedTuple):
    """A layer's filters and what to count their matches with."""

    layer: str
    setting: str
    value: Any
    found: Filters
    rule: MotifSettings
    database: str
    evalue: float


def measure(
    model: keras.Model,
    codes: np.ndarray,
    found: Mapping[str, Filters],
    study: Study,
    truth: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """Count the matches of each layer's filters with other settings.

    Parameters
    ----------
    model : keras.Model
    codes : numpy.ndarray (N, L) uint8
        The test set.
    found : dict of layer to Filters
        By the study's own rule.
    study : Study
    truth : dict of class to ids
        Targets that count as its motif. In a release other than the study's, any version of
        these does (MA0079.3 there may be MA0079.5 here).

    Returns
    -------
    pandas.DataFrame
        A row for each layer, setting and value: layer, setting (threshold, trim_bits, evalue,
        database), value (text), n_filters, match_any, match_truth, match_null (as in
        ``metrics.json``), dead (filters without a motif).
    """
    import pandas as pd

    if not any(values(study).values()):
        return pd.DataFrame(columns=list(COLUMNS))
    variants: list[_Variant] = []
    layers = readable_layers(model)
    for name, filters_found in found.items():
        variants += _variants(model, layers[name], codes, name, filters_found, study)
    counted: dict[tuple[Any, ...], dict[str, Any]] = {}
    for database in dict.fromkeys(variant.database for variant in variants):
        targets = read_database(database)
        ids = truth if database == study.matches.database else _any_version(truth, targets)
        mine = [variant for variant in variants if variant.database == database]
        for variant, summary in zip(mine, _summaries(mine, targets, ids), strict=True):
            counted[variant[:3]] = summary
    rows = []
    for variant in variants:
        summary = counted[variant[:3]]
        fractions = [summary[fraction] for fraction in FRACTIONS]
        n_filters = len(variant.found.dead)
        what = variant.layer, variant.setting, text(variant.value), n_filters
        rows.append((*what, *fractions, summary["dead"]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _variants(
    model: keras.Model,
    layer: Layer,
    codes: np.ndarray,
    name: str,
    found: Filters,
    study: Study,
) -> list[_Variant]:
    """All settings of one layer; its filters are read at all thresholds in one pass."""
    rule, asked, mine = study.motifs, values(study), own(study)
    shares = [share for share in asked["threshold"] if share != rule.threshold]
    at = dict(
        zip(shares, extract_at(model, layer, codes, rule, shares, found), strict=True)
        if shares
        else ()
    )
    pad = (rule.trim or Trim()).pad
    base = _Variant(name, "", None, found, rule, mine["database"], mine["evalue"])
    variants = []
    for setting, of in asked.items():
        for value in of:
            changed: dict[str, Any] = {}
            if value != mine[setting]:
                if setting == "threshold":
                    changed["found"] = at[value]
                elif setting == "trim_bits":
                    trim = None if value is None else Trim(bits=value, pad=pad)
                    changed["rule"] = rule.model_copy(update={"trim": trim})
                else:
                    changed[setting] = value
            variants.append(base._replace(setting=setting, value=value, **changed))
    return variants


def _any_version(
    truth: Mapping[str, Sequence[str]], targets: Sequence[Motif]
) -> dict[str, list[str]]:
    """The targets of a release whose id without version is that of one of a class's."""
    return {
        name: [
            target.name for target in targets if _base(target.name) in {_base(one) for one in ids}
        ]
        for name, ids in truth.items()
    }


def _base(identifier: str) -> str:
    return identifier.partition(".")[0]


def _summaries(
    variants: Sequence[_Variant],
    targets: Sequence[Motif],
    truth: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """What the hits of each variant come to, all of them in one database.

    Most settings leave most motifs as they are, so each motif is compared once, at the largest
    E-value, and its hits are cut to each smaller one.
    """
    queries = [layer_motifs(variant.found, variant.rule) for variant in variants]
    unique: dict[tuple[bytes, float], Motif] = {}
    for query in (query for of in queries for query in of):
        unique.setdefault(_key(query), query._replace(name=f"query{len(unique)}"))
    widths = {len(query.ppm) for query in unique.values()}
    hits = tomtom(
        [*unique.values(), *map(matches.flat, widths)],
        targets,
        max(variant.evalue for variant in variants),
        q_values=False,
    )
    rows = hits.groupby("Query_ID").indices
    none = np.array([], int)
    null = {width: hits.iloc[rows.get(matches.flat(width).name, none)] for width in widths}
    summaries = []
    for variant, compared in zip(variants, queries, strict=True):
        mine = [rows.get(unique[_key(query)].name, none) for query in compared]
        names = [query.name for query in compared]
        counted = hits.iloc[np.concatenate([none, *mine])].assign(
            Query_ID=np.repeat(np.array(names, object), [len(own) for own in mine])
        )
        summaries.append(
            matches.summarize(
                counted[counted["E-value"] <= variant.evalue],
                len(variant.found.dead),
                variant.found.dead,
                names,
                [len(query.ppm) for query in compared],
                truth,
                {
                    width: frozenset(of["Target_ID"][of["E-value"] <= variant.evalue])
                    for width, of in null.items()
                },
            )
        )
    return summaries


def _key(query: Motif) -> tuple[bytes, float]:
    return query.ppm.tobytes(), query.nsites
