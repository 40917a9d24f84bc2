"""Test the statements of a study file (`claims`), and list them with its published numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from motifk8s.cells.finished import CellFiles
from motifk8s.filters.extract import Field, window
from motifk8s.filters.layer_motifs import columns
from motifk8s.motifs.motif import Motif, information
from motifk8s.report.ceiling import ceiling, false_negatives
from motifk8s.report.comparison import (
    LAST_BIT,
    SO_FAR,
    WORDS,
    mean_sd,
    planned_trials,
    published_numbers,
)
from motifk8s.report.words import label, listed, plus_minus, published, signed
from motifk8s.study.specs import OF_DATA, Claim, CustomModel, Expected, Synthetic, split_panel
from motifk8s.study.study import Study

COLUMNS = [
    "dataset", "says", "source", "kind", "measure", "models", "than", "by", "classes", "limit",
    "ours", "trials", "planned", "verdict",
]  # fmt: skip
NOT_TESTED = "not tested"
HOLDS, FAILS = ("yes", "held"), ("no", "not held")  # verdicts on complete results
MEASURES = {  # in the report
    "": "", "auroc": "AUROC", "auroc_sd": "AUROC's sd over classes", "aupr": "AUPR",
    "match_any": "any match", "match_truth": "match of a class", "match_null": "null match",
    "dead": "dead filters", "coverage": "coverage", "n_truth": "filters that match a class",
    "n_unmatched": "filters without a match",
    "truth_share": "share of matches that are of a class", "completeness": "completeness",
    "importance_ratio": "rise of the loss without other filters / without filters of a class",
    "importance_rank": "rank correlation of number and joint importance of a class's filters",
    "ceiling": "AUROC with the true motifs",
    "false_negatives": "share of the sequences labelled 0 that look like those labelled 1",
}  # fmt: skip
LIKE = {"auroc": "auroc_by_class", "aupr": "aupr_by_class"}


class Tested(NamedTuple):
    """The outcome of a claim: whether it holds (None: not tested), and the compared numbers."""

    holds: bool | None
    numbers: str


def claims(
    study: Study, cells: Mapping[str, CellFiles], database: Sequence[Motif] = ()
) -> pd.DataFrame:
    """Test each claim of a study with the finished cells.

    Means are over trials. An order holds if each mean is strictly larger (smaller); the sd has no
    influence. A class with a filter in exactly half of the trials is neither found nor missed.

    Parameters
    ----------
    cells : dict of cell id to CellFiles
    database : sequence of Motif
        The study's motifs, for `completeness`.

    Returns
    -------
    DataFrame, columns `COLUMNS`
        A row for each claim whose models are all planned. ``ours``: the compared numbers, as text;
        ``trials`` finished of ``planned``, of all compared models. ``verdict``: held, not held, or
        not tested if a model lacks the number; the first two end in "so far" if trials are missing.
    """
    planned = planned_trials(study)
    trials: dict[tuple[str, str], list[CellFiles]] = {}
    for files in cells.values():
        trials.setdefault((files.metrics["dataset"], files.metrics["model"]), []).append(files)
    bits = {motif.name: information(motif.ppm) for motif in database}
    rows = []
    for claim in study.claims:
        pairs = {(claim.dataset, model) for model, _ in claim.layers()}
        if not pairs <= planned.keys() or claim.dataset not in {data for data, _ in planned}:
            continue
        finished = sum(len(trials.get(pair, [])) for pair in pairs)
        due = sum(planned[pair] for pair in pairs)
        tested = _test(claim, study, trials, bits)
        verdict = {None: NOT_TESTED, True: "held", False: "not held"}[tested.holds]
        texts = {key: " ".join(getattr(claim, key)) for key in ("models", "than")}
        rows.append(
            {
                **claim.model_dump(),
                **texts,
                "measure": claim.measure or "",
                "classes": ", ".join(claim.classes),
                "limit": math.nan if claim.limit is None else claim.limit,
                "ours": tested.numbers,
                "trials": finished,
                "planned": due,
                "verdict": verdict + SO_FAR * (tested.holds is not None and finished < due),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _test(
    claim: Claim,
    study: Study,
    trials: Mapping[tuple[str, str], list[CellFiles]],
    bits: Mapping[str, np.ndarray],
) -> Tested:
    def of(panel: str) -> tuple[list[CellFiles], str, str]:
        """Return the trials, the layer, and the name in texts of MODEL or MODEL/LAYER."""
        model, layer = split_panel(panel)
        several = len(study.models[model].layers_before_pooling()) > 1
        of_model = claim.measure in ("auroc", "auroc_sd", "aupr")  # not of a layer
        name = label(study, model) + (f" {layer}" if several and not of_model else "")
        return trials.get((claim.dataset, model), []), layer, name

    if claim.kind in ("found", "missed"):
        return _find(claim, [of(panel) for panel in claim.models])
    if claim.measure in OF_DATA:
        spec = study.datasets[claim.dataset]
        if not any(data == claim.dataset for data, _ in trials) or not isinstance(spec, Synthetic):
            return Tested(None, "")  # Without a finished cell, the data set may not be made yet.
        measure = ceiling if claim.measure == "ceiling" else false_negatives
        value = measure(spec, study.data_seed(claim.dataset))
        return Tested(_ordered(claim, [value], []), f"{claim.dataset} {value:.4f}")
    means: list[list[float]] = []
    groups = []
    for group in (claim.models, claim.than):
        means.append([])
        texts = []
        for files, layer, name in map(of, group):
            values = [trial_value(claim, study, cell, layer, bits) for cell in files]
            mean, sd = mean_sd([value for value in values if not math.isnan(value)])
            means[-1].append(mean)
            texts.append(f"{name} {plus_minus(mean, sd) or '-'}")
        groups.append(", ".join(texts))
    known = not any(math.isnan(mean) for mean in (*means[0], *means[1]))
    return Tested(_ordered(claim, *means) if known else None, " / ".join(filter(None, groups)))


def _find(claim: Claim, panels: Sequence[tuple[list[CellFiles], str, str]]) -> Tested:
    """Count the trials in which a filter is labelled with each class."""
    if not all(files for files, _, _ in panels):
        return Tested(None, "")
    texts, holds = [], True
    for files, layer, name in panels:
        found = [{hit["class"] for hit in _layer(cell, layer)["labels"].values()} for cell in files]
        counts = {name: sum(name in classes for classes in found) for name in claim.classes}
        texts.append(f"{name}: " + listed([f"{c} {n} of {len(files)}" for c, n in counts.items()]))
        sign = 1 if claim.kind == "found" else -1
        holds &= all(sign * (2 * n - len(files)) > 0 for n in counts.values())
    return Tested(holds, "; ".join(texts))


def _ordered(claim: Claim, means: Sequence[float], others: Sequence[float]) -> bool:
    """Judge means of a kind that compares numbers; all are known."""
    if claim.kind == "similar":
        assert claim.limit is not None  # as the study was checked
        return max(means) - min(means) <= claim.limit + LAST_BIT
    if claim.kind in ("rises", "falls"):
        sign = 1 if claim.kind == "rises" else -1
        return all(sign * (b - a) > 0 for a, b in pairwise(means))
    if claim.limit is not None:
        others = [claim.limit]
    if claim.by == "mean":
        means, others = [float(np.mean(means))], [float(np.mean(others))]
    if claim.kind == "above":
        return min(means) > max(others)
    return max(means) < min(others)


# ------------------------------------------------------------------------------------- measures


def trial_value(
    claim: Claim, study: Study, cell: CellFiles, layer: str, bits: Mapping[str, np.ndarray]
) -> float:
    """Return a claim's measure in one trial; nan if the trial has no such number.

    - auroc, aupr: the mean over classes, all or those of the claim; auroc_sd: the sd over classes.
    - match_any, match_truth, match_null, dead, coverage: as in results.csv.
    - n_truth, n_unmatched: number of filters with a match of a class, and without any match;
      truth_share: match_truth / match_any.
    - completeness: as `completeness`.
    - importance_ratio: median rise of the loss without a filter, of filters that match no class,
      divided by that of filters that match one.
    - importance_rank: Spearman's rank correlation, over the classes that are found, of the number
      of filters and the rise of the loss without all of them.
    """
    metrics, measure = cell.metrics, claim.measure
    if measure in LIKE and claim.classes:
        by_class = metrics[LIKE[measure]]
        return _mean([by_class.get(name) for name in claim.classes])
    if measure in ("auroc", "aupr"):
        return _mean([metrics[measure]])
    if measure == "auroc_sd":
        return sd_over_classes(cell)
    values = _layer(cell, layer)
    if measure == "n_truth":
        return float(round(values["match_truth"] * values["n_filters"]))
    if measure == "n_unmatched":
        return float(round((1 - values["match_any"]) * values["n_filters"]))
    if measure == "truth_share":
        return values["match_truth"] / values["match_any"] if values["match_any"] else math.nan
    if measure == "completeness":
        return completeness(study, cell, layer, claim.classes, bits)
    if measure in ("importance_ratio", "importance_rank"):
        rows = cell.analysis["importance"]
        rows = rows[rows.layer == layer]
        return _ratio(rows) if measure == "importance_ratio" else _rank_correlation(rows)
    return float(values[str(measure)])


def completeness(
    study: Study,
    cell: CellFiles,
    layer: str,
    classes: Sequence[str],
    bits: Mapping[str, np.ndarray],
) -> float:
    """Compute how much of its motif a filter covers: the mean over filters, then over classes.

    For a filter, it is the share of the information of its labelled motif, in bits, that lies in
    the columns which Tomtom aligned with the filter's receptive field; 0 to 1. Columns of its
    window beyond the receptive field do not count: the filter does not see them, even if the
    aligned sequences have the motif there. A custom model's whole window counts. The result is nan
    without a filter of these classes (empty: of any class).

    Parameters
    ----------
    bits : dict of motif id to (W,) float
        Information of each column of the motifs.
    """
    labels = _layer(cell, layer)["labels"]
    seen = _seen(study, cell, layer)
    shares: dict[str, list[float]] = {}
    for query, target, offset, overlap, strand in cell.hits[layer].itertuples(index=False):
        hit = labels.get(query, {"target": "", "class": ""})
        if target != hit["target"] or target not in bits or not hit["class"]:
            continue
        if not classes or hit["class"] in classes:
            oriented = bits[target][:: -1 if strand == "-" else 1]
            ppm = cell.filters[layer].ppm[int(query.removeprefix("filter"))].astype(np.float64)
            # Column i of the window is aligned with column i + shift of the target.
            shift = offset - columns(ppm, study.motifs).start
            first = max(0, offset, seen.start + shift)
            end = max(first, min(max(0, offset) + overlap, seen.stop + shift))
            share = oriented[first:end].sum() / oriented.sum()
            shares.setdefault(hit["class"], []).append(float(share))
    return _mean([_mean(values) for values in shares.values()])


def _seen(study: Study, cell: CellFiles, layer: str) -> slice:
    """Return the columns of a filter's window that are in its receptive field."""
    model = study.models[cell.metrics["model"]]
    if isinstance(model, CustomModel):
        return slice(0, cell.filters[layer].ppm.shape[1])
    field = model.receptive_field(model.layers_before_pooling().index(layer))
    width, start = window(Field(field, 0), study.motifs)
    return slice(max(0, start), min(width, start + field))


def sd_over_classes(cell: CellFiles) -> float:
    """Compute the population sd of the AUROC over the classes of a trial."""
    values = [value for value in cell.metrics["auroc_by_class"].values() if value is not None]
    return float(np.std(values)) if values else math.nan


def _layer(cell: CellFiles, layer: str) -> Mapping[str, Any]:
    values: Mapping[str, Any] = cell.metrics["layers"][layer]
    return values


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else math.nan


def _ratio(rows: pd.DataFrame) -> float:
    matches = rows["class"] != ""
    matched, others = rows.loss_increase[matches].median(), rows.loss_increase[~matches].median()
    return float(others / matched) if matched > 0 else math.nan  # nan without others, too


def _rank_correlation(rows: pd.DataFrame) -> float:
    groups = rows[rows["class"] != ""].groupby("class").class_loss_increase
    filters, rise = groups.size().rank(), groups.first().rank()
    if filters.nunique() < 2 or rise.nunique() < 2:  # no correlation is defined
        return math.nan
    return float(np.corrcoef(filters, rise)[0, 1])


# ----------------------------------------------------------------------------- numbers and page


def trials_to_distinguish(expected: Expected, difference: float, sd: float, trials: int) -> float:
    """Compute how many of our trials distinguish our mean from a published one.

    It is the smallest number n with |difference| > 2 sqrt(s² / its trials + t² / n), where s² and
    t² are the unbiased variances of the published number and of ours: inf if none is large enough,
    nan if the published sd or number of trials, or our sd, is unknown.

    Parameters
    ----------
    sd : float
        The population sd of `trials` of ours.
    """
    of_paper = expected.trials if expected.over == "trials" else None
    if of_paper is None or of_paper < 2 or not expected.sd or math.isnan(sd):
        return math.nan
    rest = difference**2 / 4 - expected.sd**2 / (of_paper - 1)
    variance = sd**2 * trials / (trials - 1)
    return math.floor(variance / rest) + 1 if rest > 0 else math.inf


def published_rows(
    compared: pd.DataFrame, study: Study, cells: Mapping[str, CellFiles]
) -> list[dict[str, str]]:
    """Make the report's rows of published numbers; `compared` is from `comparison.comparisons`."""
    rows = []
    for expected, row in zip(published_numbers(study), compared.to_dict("records"), strict=True):
        over, of_model, sd = "", "", row["ours_sd"]
        if expected.over == "classes":
            pair = expected.dataset, expected.models[0]
            of = [f for f in cells.values() if (f.metrics["dataset"], f.metrics["model"]) == pair]
            over, sd = " over classes", _mean([sd_over_classes(files) for files in of])
        needed = trials_to_distinguish(
            expected, row["difference"], row["ours_sd"], row["ours_trials"]
        )
        numbers = plus_minus(row["ours_mean"], sd)
        if numbers and len(expected.models) > 1:
            of_model = f" ({label(study, row['ours_model'])}, trials: {row['ours_trials']})"
        difference = "" if math.isnan(row["difference"]) else signed(row["difference"])
        rows.append(
            {
                "Published number": (
                    f"{expected.dataset}: {WORDS[expected.measure]} of {expected.layer}, "
                    + listed([label(study, model) for model in expected.models])
                ),
                "Section": expected.source,
                "Paper": published(expected.kind, expected.mean, row["published_sd"]) + over,
                "Ours": numbers + over * bool(numbers) + of_model,
                "Trials": f"{row['trials']} of {row['planned']}",
                "Difference": difference,
                "Trials that distinguish": _trials(needed),
                "Verdict": row["verdict"] if difference else NOT_TESTED,
            }
        )
    return rows


def _trials(needed: float) -> str:
    if math.isnan(needed):
        return ""
    return "no number" if math.isinf(needed) else f"{needed:,.0f}"


def claim_rows(tested: pd.DataFrame) -> list[dict[str, str]]:
    """Make the report's rows of claims; `tested` is from `claims`."""
    return [
        {
            "Claim": row["says"],
            "Section": row["source"],
            "Test": _words(row),
            "Ours": row["ours"],
            "Trials": f"{row['trials']} of {row['planned']}" if row["planned"] else "",
            "Verdict": row["verdict"],
        }
        for row in tested.to_dict("records")
    ]


def _words(row: Mapping[Any, Any]) -> str:
    """Write what a claim's test compares."""
    words = [f"{row['dataset']}:", "mean" if row["by"] == "mean" else "", MEASURES[row["measure"]]]
    words += [f"({row['classes']})" if row["classes"] else "", row["kind"]]
    words.append("" if math.isnan(row["limit"]) else f"{row['limit']:g}")
    return " ".join(filter(None, words))


def summary(compared: pd.DataFrame, tested: pd.DataFrame) -> str:
    """Count the published numbers and claims that hold, of those with a final verdict."""
    parts, total, all_holding = [], 0, 0
    for verdicts, what in ((compared.verdict, "published numbers"), (tested.verdict, "claims")):
        holding = int(verdicts.isin(HOLDS).sum())
        testable = holding + int(verdicts.isin(FAILS).sum())
        parts.append(f"{holding} of {testable} {what}")
        total, all_holding = total + testable, all_holding + holding
    return f"{all_holding} of {total} testable hold: {listed(parts)}."
