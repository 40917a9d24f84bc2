"""Measure how the match fractions depend on four settings, varied one at a time.

The settings are the threshold and the trimming of motifs, and the E-value and the JASPAR release
of matches. All other settings are the study's. The values include the study's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motifk8s.filters.extract import Filters, extract_at
from motifk8s.filters.layer_motifs import layer_motifs
from motifk8s.filters.layers import Layer, numbered_layers
from motifk8s.motifs import matches
from motifk8s.motifs.database import read_database
from motifk8s.motifs.jaspar import releases
from motifk8s.motifs.motif import Motif
from motifk8s.motifs.tomtom import tomtom
from motifk8s.study.specs import MatchSettings, MotifSettings, Trim
from motifk8s.study.study import Study

if TYPE_CHECKING:
    import keras
    import pandas as pd


SETTINGS = ("threshold", "trim_bits", "evalue", "database")
FRACTIONS = ("match_any", "match_truth", "match_null")
COLUMNS = ("layer", "setting", "value", "n_filters", *FRACTIONS, "dead")  # as in metrics.json


def own(study: Study) -> dict[str, Any]:
    """Return the study's own value of each setting."""
    trim = study.motifs.trim
    return {
        "threshold": study.motifs.threshold,
        "trim_bits": None if trim is None else trim.bits,
        "evalue": study.matches.evalue,
        "database": study.matches.database,
    }


def values(study: Study) -> dict[str, list[Any]]:
    """List the values of each setting in ascending order, the study's own among them.

    None (untrimmed) sorts first; the list is empty if this setting is not varied. A database file
    is not compared with JASPAR releases, because it has other ids. E-values are not varied if a
    q-value decides.
    """
    analysis, default = study.analysis, own(study)
    databases = analysis.databases
    if databases and default["database"] not in releases():
        databases = [default["database"]]
    lists: dict[str, Sequence[Any]] = {
        "threshold": analysis.thresholds,
        "trim_bits": analysis.trim_bits,
        "evalue": analysis.evalues if study.matches.qvalue is None else [],
        "database": databases,
    }
    return {
        name: sorted({*items, default[name]}, key=lambda v: (v is not None, v)) if items else []
        for name, items in lists.items()
    }


def text(value: Any) -> str:
    """Format a value for the table: 0.3, none, JASPAR2020."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else f"{value:.12g}"


class _Variant(NamedTuple):
    """A layer's filters, and the settings for counting their matches."""

    layer: str
    setting: str
    value: Any
    filters: Filters
    rule: MotifSettings
    database: str
    evalue: float


def measure(
    model: keras.Model,
    codes: np.ndarray,
    filters: Mapping[str, Filters],
    study: Study,
    truth: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """Count the matches of each layer's filters with other settings.

    Parameters
    ----------
    codes : numpy.ndarray (N, L) uint8
        The test set.
    filters : dict of layer to Filters
        Extracted with the study's own rule.
    truth : dict of class to ids
        Targets that count as the class's motif. In another release than the study's, all versions
        of these count, for example MA0079.5 for MA0079.3.

    Returns
    -------
    pandas.DataFrame
        A row with `COLUMNS` for each layer, setting (of `SETTINGS`) and value (as `text`).
    """
    import pandas as pd

    if not any(values(study).values()):
        return pd.DataFrame(columns=list(COLUMNS))
    layers = numbered_layers(model)
    variants = [
        variant
        for name, layer_filters in filters.items()
        for variant in _variants(layers[name], codes, name, layer_filters, study)
    ]
    rows = {}  # by layer, setting and value
    for database in dict.fromkeys(variant.database for variant in variants):
        targets = read_database(database)
        ids = truth if database == study.matches.database else _any_version(truth, targets)
        same = [variant for variant in variants if variant.database == database]
        summaries = _summaries(same, targets, ids, study.matches)
        for variant, summary in zip(same, summaries, strict=True):
            key = (variant.layer, variant.setting, text(variant.value), len(variant.filters.dead))
            fractions = [summary[fraction] for fraction in FRACTIONS]
            rows[variant[:3]] = (*key, *fractions, summary["dead"])
    ordered = [rows[variant[:3]] for variant in variants]
    return pd.DataFrame(ordered, columns=list(COLUMNS))


def _variants(
    layer: Layer,
    codes: np.ndarray,
    name: str,
    filters: Filters,
    study: Study,
) -> list[_Variant]:
    """Make all variants of one layer; extract its filters at all thresholds in one pass."""
    rule, lists, default = study.motifs, values(study), own(study)
    shares = [share for share in lists["threshold"] if share != rule.threshold]
    results = extract_at(layer, codes, rule, shares, filters) if shares else []
    filters_at = dict(zip(shares, results, strict=True))
    trim = rule.trim or Trim()
    base = _Variant(name, "", None, filters, rule, default["database"], default["evalue"])

    def changed(setting: str, value: Any) -> dict[str, Any]:
        if value == default[setting]:
            return {}
        if setting == "threshold":
            return {"filters": filters_at[value]}
        if setting == "trim_bits":
            other = None if value is None else trim.model_copy(update={"bits": value})
            return {"rule": rule.model_copy(update={"trim": other})}
        return {setting: value}

    return [
        base._replace(setting=setting, value=value, **changed(setting, value))
        for setting, items in lists.items()
        for value in items
    ]


def _any_version(
    truth: Mapping[str, Sequence[str]], targets: Sequence[Motif]
) -> dict[str, list[str]]:
    """Find the targets of a release that are versions of each class's ids."""
    versions = {}
    for name, ids in truth.items():
        bases = {_base(identifier) for identifier in ids}
        versions[name] = [target.name for target in targets if _base(target.name) in bases]
    return versions


def _base(identifier: str) -> str:
    return identifier.partition(".")[0]


def _summaries(
    variants: Sequence[_Variant],
    targets: Sequence[Motif],
    truth: Mapping[str, Sequence[str]],
    settings: MatchSettings,
) -> list[dict[str, Any]]:
    """Summarize the matches of each variant with one database."""
    summarize = _summaries_by_evalue if settings.qvalue is None else _summaries_by_qvalue
    return summarize(variants, targets, truth, settings)


def _summaries_by_qvalue(
    variants: Sequence[_Variant],
    targets: Sequence[Motif],
    truth: Mapping[str, Sequence[str]],
    settings: MatchSettings,
) -> list[dict[str, Any]]:
    """Summarize the matches of each variant apart: q-values depend on the order of the queries."""
    options: dict[str, Any] = {"distance": settings.distance, "qvalue": settings.qvalue}
    summaries = []
    for variant in variants:
        queries = layer_motifs(variant.filters, variant.rule)
        hits = tomtom(queries, targets, **options)
        null = {
            width: matches.null_targets(width, targets, **options)
            for width in {len(query.ppm) for query in queries}
        }
        summaries.append(matches.summarize(hits, queries, variant.filters.dead, truth, null))
    return summaries


def _summaries_by_evalue(
    variants: Sequence[_Variant],
    targets: Sequence[Motif],
    truth: Mapping[str, Sequence[str]],
    settings: MatchSettings,
) -> list[dict[str, Any]]:
    """Summarize the matches of each variant.

    Most settings do not change most motifs. So each distinct motif is compared once, with the
    largest E-value; smaller E-values select among its hits.
    """
    queries = [layer_motifs(variant.filters, variant.rule) for variant in variants]
    motifs = [motif for variant_motifs in queries for motif in variant_motifs]
    flats = {width: matches.flat(width) for width in {len(motif.ppm) for motif in motifs}}
    largest = max(variant.evalue for variant in variants)
    hits, rows = _compare([*motifs, *flats.values()], targets, largest, settings.distance)
    summaries = []
    for variant, compared in zip(variants, queries, strict=True):
        own_rows = [rows[_key(motif)] for motif in compared]
        names = np.array([motif.name for motif in compared], object)
        table = hits.iloc[np.concatenate([np.array([], int), *own_rows])].assign(
            Query_ID=np.repeat(names, [len(indices) for indices in own_rows])
        )
        table = table[table["E-value"] <= variant.evalue]
        null = {}
        for width, flat in flats.items():
            of_flat = hits.iloc[rows[_key(flat)]]
            null[width] = frozenset(of_flat["Target_ID"][of_flat["E-value"] <= variant.evalue])
        summaries.append(matches.summarize(table, compared, variant.filters.dead, truth, null))
    return summaries


def _compare(
    motifs: Sequence[Motif], targets: Sequence[Motif], evalue: float, distance: str
) -> tuple[pd.DataFrame, dict[tuple[bytes, float], np.ndarray]]:
    """Compare each distinct motif once; return the hits, and row numbers by `_key` of the motif."""
    distinct: dict[tuple[bytes, float], Motif] = {}
    for motif in motifs:
        distinct.setdefault(_key(motif), motif._replace(name=f"query{len(distinct)}"))
    queries = list(distinct.values())
    hits = tomtom(queries, targets, evalue, q_values=False, distance=distance)
    rows = hits.groupby("Query_ID").indices
    return hits, {key: np.asarray(rows.get(m.name, []), int) for key, m in distinct.items()}


def _key(motif: Motif) -> tuple[bytes, float]:
    return motif.ppm.tobytes(), motif.nsites
