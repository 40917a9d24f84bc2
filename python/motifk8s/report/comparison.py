"""Compare our numbers with the published ones of a study file (`expected`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from motifk8s.report.words import label, listed, plus_minus, signed
from motifk8s.study.specs import Expected
from motifk8s.study.study import Study

COLUMNS = [
    "dataset", "models", "layer", "measure", "kind", "over", "published_mean", "published_sd",
    "ours_mean", "ours_sd", "ours_model", "ours_trials", "counted", "trials", "planned",
    "difference", "verdict", "source", "footnote",
]  # fmt: skip

# The paper prints three decimals: its bound of 0.453 means 68 of 150 filters, 0.4533...
ROUNDING = 5e-4
# |0.926 - 0.98| <= 0.054 must not fail because of the last bit of a double.
LAST_BIT = 1e-9
SO_FAR = " so far"  # appended to the verdict of a bound if results of its group are missing


def mean_sd(values: Sequence[float] | pd.Series) -> tuple[float, float]:
    """Compute mean and population sd; without values both are nan, for one value the sd is."""
    x = np.asarray(values, dtype=float)
    if x.size == 0:
        return math.nan, math.nan
    return float(x.mean()), float(x.std()) if x.size > 1 else math.nan


def planned_trials(study: Study) -> dict[tuple[str, str], int]:
    """Count the trials planned for each (data set, model), in the study's order."""
    planned: dict[tuple[str, str], int] = {}
    for cell in study.cells():
        planned[cell.dataset, cell.model] = planned.get((cell.dataset, cell.model), 0) + 1
    return planned


def averaged(results: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Select the rows of the trials that tables average, and add ``match_false``.

    These are the `Study.best` trials of each architecture with the highest AUPR; of equal ones the
    first; without `Study.best`, all.
    """
    rows = results.assign(match_false=results.match_any - results.match_truth)
    if study.best is None or rows.empty:
        return rows
    trial = ["dataset", "model", "trial"]
    trials = rows.drop_duplicates(trial).sort_values("aupr", ascending=False, kind="stable")
    kept = pd.MultiIndex.from_frame(trials.groupby(trial[:2]).head(study.best)[trial])
    return rows[pd.MultiIndex.from_frame(rows[trial]).isin(kept)]


def comparisons(results: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Compare every published number of the study file with ours.

    - *exact* with an sd over trials above 0: the ``verdict`` is yes if
      ``|ours - published| <= 2 sd`` (the published sd), otherwise no.
    - *value*, or an sd of 0 or over classes: a difference without verdict.
    - *at-most*, *at-least*: a bound over several models; the paper does not say which one is meant.
      Ours is the largest (smallest) of the models' means. The verdict is held or not held, with
      a tolerance of two of the published sd; without one, of half a unit of the third decimal,
      the last that the paper prints. It ends in "so far" if results of the group are missing;
      then tables and report show no verdict.

    Parameters
    ----------
    results : DataFrame
        As from `tables.results`.

    Returns
    -------
    DataFrame, columns `COLUMNS`
        ``models`` as in the study file, joined by a space; ``counted``: the models with a result;
        ``trials`` finished of ``planned``; ``ours_model``: the model of ``ours_mean``, and
        ``ours_trials``: the number of its trials, of which ours is mean and sd;
        ``difference``: ours minus published; ``footnote``: the letter of a bound.
    """
    planned = planned_trials(study)
    tables = results, averaged(results, study)
    rows: list[dict[str, Any]] = []
    bounds = 0
    for expected in published_numbers(study):
        rows.append(_compare(expected, expected.models, *tables, planned))
        if expected.kind in ("at-most", "at-least"):
            rows[-1]["footnote"] = _letter(bounds)
            bounds += 1
    return pd.DataFrame(rows, columns=COLUMNS)


def published_numbers(study: Study) -> list[Expected]:
    """Return the published numbers of planned models, in the order of `comparisons`."""
    planned = planned_trials(study)
    return [e for e in study.expected if any((e.dataset, m) in planned for m in e.models)]


def _compare(
    expected: Expected,
    group: list[str],
    results: pd.DataFrame,
    chosen: pd.DataFrame,
    planned: dict[tuple[str, str], int],
) -> dict[str, Any]:
    """Make a row of `comparisons`: a published number and the results of a group of models.

    `chosen` has the rows of `results` that are averaged.
    """

    def of(rows: pd.DataFrame, model: str) -> pd.DataFrame:
        same = (rows.dataset == expected.dataset) & (rows.layer == expected.layer)
        return rows[same & (rows.model == model)]

    values = {model: of(chosen, model)[expected.measure] for model in group}
    ours = {model: mean_sd(trials) for model, trials in values.items() if len(trials)}
    row: dict[str, Any] = {
        "dataset": expected.dataset,
        "models": " ".join(group),
        "layer": expected.layer,
        "measure": expected.measure,
        "kind": expected.kind,
        "over": expected.over,
        "published_mean": expected.mean,
        "published_sd": math.nan if expected.sd is None else expected.sd,
        "ours_mean": math.nan,
        "ours_sd": math.nan,
        "ours_model": "",
        "ours_trials": 0,
        "counted": " ".join(ours),
        "trials": sum(len(of(results, model)) for model in group),
        "planned": sum(planned.get((expected.dataset, model), 0) for model in group),
        "difference": math.nan,
        "verdict": "",
        "source": expected.source,
        "footnote": "",
    }
    if ours:
        extreme = min if expected.kind == "at-least" else max
        model = extreme(ours, key=lambda model: ours[model][0])
        mean, sd = ours[model]
        difference = mean - expected.mean
        complete = len(ours) == len(group) and row["trials"] >= row["planned"]
        row.update(ours_mean=mean, ours_sd=sd, ours_model=model, difference=difference)
        row["ours_trials"] = len(values[model])
        row["verdict"] = _verdict(expected, difference, complete)
    return row


def _verdict(expected: Expected, difference: float, complete: bool) -> str:
    if expected.kind in ("at-most", "at-least"):
        excess = difference if expected.kind == "at-most" else -difference
        tolerance = 2 * expected.sd + LAST_BIT if expected.sd else ROUNDING
        return ("held" if excess <= tolerance else "not held") + ("" if complete else SO_FAR)
    if expected.kind == "exact" and expected.sd and expected.over == "trials":
        return "yes" if abs(difference) <= 2 * expected.sd + LAST_BIT else "no"
    return ""


def _letter(i: int) -> str:
    return chr(ord("a") + i) if i < 26 else _letter(i // 26 - 1) + _letter(i % 26)


WORDS = {
    "auroc": "AUROC",
    "aupr": "AUPR",
    "match_any": "any match",
    "match_truth": "ground-truth match",
    "match_false": "false match",
}


def footnotes(compared: pd.DataFrame, study: Study) -> dict[str, str]:
    """Write the footnote of each bound, by its letter; a bound belongs to several table rows."""
    notes = {}
    for row in compared[compared.footnote != ""].to_dict("records"):
        names = [label(study, model) for model in row["models"].split()]
        end = "largest" if row["kind"] == "at-most" else "smallest"
        text = (
            f"{row['dataset']}, {row['layer']}, {WORDS[row['measure']]}: the paper gives "
            f"{plus_minus(row['published_mean'], row['published_sd'])} as the {end} of "
            f"{listed(names)}, without saying which."
        )
        if row["ours_model"]:
            counted = len(row["counted"].split())
            over = "" if counted == len(names) else f" over {counted} of {len(names)}"
            verdict = "results are missing" if row["verdict"].endswith(SO_FAR) else row["verdict"]
            text += (
                f" Our {end}{over} is {plus_minus(row['ours_mean'], row['ours_sd'])} "
                f"({label(study, row['ours_model'])}), difference {signed(row['difference'])}: "
                f"{verdict}."
            )
        else:
            text += " We have no result yet."
        notes[row["footnote"]] = text
    return notes
