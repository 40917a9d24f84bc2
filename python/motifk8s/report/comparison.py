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
    "ours_mean", "ours_sd", "ours_model", "counted", "trials", "planned", "difference",
    "verdict", "source", "footnote",
]  # fmt: skip

# The paper prints three decimals: a bound of 0.453 stands for 68 of 150 filters, 0.4533...
ROUNDING = 5e-4
# |0.926 - 0.98| <= 0.054 must not fail by the last bit of a double.
LAST_BIT = 1e-9
SO_FAR = " so far"  # ends the verdict of a bound while results of its group are missing


def mean_sd(values: Sequence[float] | pd.Series) -> tuple[float, float]:
    """Compute mean and population sd; nan where there is none, such as an sd of one trial."""
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


def comparisons(results: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Compare every published number of the study file with ours.

    - *exact*, with an sd over trials above 0: ``verdict`` is yes where
      ``|ours - published| <= 2 sd`` (the published sd), else no.
    - *value*, an sd of 0, an sd over classes: the difference and no verdict.
    - *at-most*, *at-least*: an extreme over several models; the paper does not say of which.
      Ours is the largest (smallest) of the models' means: held or not held, to half a unit of
      the third decimal, the last that the paper prints. "so far" is added while results of the
      group are missing; tables and report then show no verdict.

    Parameters
    ----------
    results : DataFrame
        As from `tables.results`.
    study : Study

    Returns
    -------
    DataFrame, columns `COLUMNS`
        ``models`` as the study file has them, joined by a space; ``counted``: those of them
        with a result; ``trials`` finished of ``planned``; ``ours_model``: whose mean is
        ``ours_mean``; ``difference``: ours minus published; ``footnote``: a letter for bounds.
    """
    planned = planned_trials(study)
    rows: list[dict[str, Any]] = []
    bounds = 0
    for expected in study.expected:
        if not any((expected.dataset, m) in planned for m in expected.models):
            continue
        if expected.kind in ("at-most", "at-least"):
            rows.append(_compare(expected, expected.models, results, planned))
            rows[-1]["footnote"] = _letter(bounds)
            bounds += 1
        else:
            rows += [_compare(expected, [m], results, planned) for m in expected.models]
    return pd.DataFrame(rows, columns=COLUMNS)


def _compare(
    expected: Expected,
    group: list[str],
    results: pd.DataFrame,
    planned: dict[tuple[str, str], int],
) -> dict[str, Any]:
    """One row of `comparisons`: a published number and the results of a group of models."""
    layer = results[(results.dataset == expected.dataset) & (results.layer == expected.layer)]
    values = {model: layer.loc[layer.model == model, expected.measure] for model in group}
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
        "counted": " ".join(ours),
        "trials": sum(map(len, values.values())),
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
        row["verdict"] = _verdict(expected, difference, complete)
    return row


def _verdict(expected: Expected, difference: float, complete: bool) -> str:
    if expected.kind in ("at-most", "at-least"):
        excess = difference if expected.kind == "at-most" else -difference
        return ("held" if excess <= ROUNDING else "not held") + ("" if complete else SO_FAR)
    if expected.kind == "exact" and expected.sd and expected.over == "trials":
        return "yes" if abs(difference) <= 2 * expected.sd + LAST_BIT else "no"
    return ""


def _letter(i: int) -> str:
    return chr(ord("a") + i) if i < 26 else _letter(i // 26 - 1) + _letter(i % 26)


WORDS = {"auroc": "AUROC", "match_any": "any match", "match_truth": "ground-truth match"}


def footnotes(compared: pd.DataFrame, study: Study) -> dict[str, str]:
    """Explain each letter: the bounds, each of which belongs to several rows of a table."""
    notes = {}
    for row in compared[compared.footnote != ""].to_dict("records"):
        names = [label(study, model) for model in row["models"].split()]
        end = "largest" if row["kind"] == "at-most" else "smallest"
        text = (
            f"{row['dataset']}, {row['layer']}, {WORDS[row['measure']]}: the paper gives "
            f"{plus_minus(row['published_mean'], row['published_sd'])} as the {end} of "
            f"{listed(names)}, and does not say which."
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
            text += " No result of ours yet."
        notes[row["footnote"]] = text
    return notes
