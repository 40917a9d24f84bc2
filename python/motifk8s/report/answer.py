"""Compute the short answer at the top of the report from the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from motifk8s.report.comparison import planned_trials
from motifk8s.report.words import label, listed, truth_word, value_range, verb
from motifk8s.study.specs import CustomModel, Model
from motifk8s.study.study import Study

# A layer learns whole motifs if at least this share of its filters matches a motif of the classes,
# in the mean over trials. The shares that the paper gives are at most 0.127 or at least 0.625.
WHOLE = 0.5


def pooling_family(study: Study, dataset: str) -> list[str]:
    """Find the largest group of a data set's architectures that differ only in pooling."""
    groups: dict[Any, list[str]] = {}
    for data, name in planned_trials(study):
        model = study.models[name]
        if data != dataset or isinstance(model, CustomModel):
            continue
        if any(conv.step != conv.pool for conv in model.conv):
            continue
        bare = [conv.model_dump(exclude={"pool", "stride"}) for conv in model.conv]
        key = repr((bare, model.dense, model.dense_dropout))
        groups.setdefault(key, []).append(name)
    return max(groups.values(), key=len, default=[])


def answer(
    table: pd.DataFrame, compared: pd.DataFrame, study: Study, dataset: str
) -> tuple[list[str], list[str]]:
    """Answer the study's question for one data set; return main sentences and remarks.

    Parameters
    ----------
    table : DataFrame
        As from `tables.table1`.
    compared : DataFrame
        As from `comparison.comparisons`.
    """
    part = table[(table.dataset == dataset) & (table.trials > 0)]
    first = part[part.layer == "conv1"]
    if first.empty:
        return [f"There is no answer yet, because no cell of {dataset} is finished."], []
    share = dict(zip(first.model.astype(str), first.match_truth_mean.astype(float), strict=True))
    family = {m: study.models[m] for m in pooling_family(study, dataset) if m in share}
    pools = {m: model.conv[0].pool for m, model in family.items() if isinstance(model, Model)}
    if len(set(pools.values())) < 2:
        pools = {}
    others = {m: s for m, s in share.items() if m not in pools}
    main = _pooling(pools, share, study, truth_word(study, dataset)) if pools else []
    if others:
        lead = "Of the other architectures, " if pools else ""
        main.append(lead + _others(others, study))
    remarks = [*_deeper(part, study), *_scores(first), *_paper(compared, dataset)]
    return main, remarks


def _pooling(
    pools: Mapping[str, int], share: Mapping[str, float], study: Study, word: str
) -> list[str]:
    def named(models: list[str]) -> str:
        first = [str(pool) for pool in sorted({pools[m] for m in models})]
        names = listed([label(study, m) for m in models])
        return f"{names} (first pool {listed(first)})"

    def shares(models: list[str]) -> str:
        return value_range(share[m] for m in models)

    whole = [m for m in pools if share[m] >= WHOLE]
    parts = [m for m in pools if share[m] < WHOLE]
    text = "Of the architectures that differ only in pooling, "
    if whole:
        text += (
            f"{named(whole)} {verb(whole, 'learn')} whole motifs in the first layer: "
            f"{shares(whole)} of its filters have a {word} match."
        )
    else:
        text += (
            f"none learns whole motifs in the first layer: {shares(parts)} of its filters have a "
            f"{word} match in {named(parts)}."
        )
    if whole and parts:
        text += f" {named(parts)} {verb(parts, 'do')} not: {shares(parts)}."
    sentences = [text]
    if whole and parts:
        least, most = min(pools[m] for m in whole), max(pools[m] for m in parts)
        if least > most:
            sentences.append(
                f"So architectures with a first pool of {least} or more learn whole motifs in the "
                f"first layer, and those with {most} or less do not."
            )
        else:
            sentences.append("So the size of the first pool alone does not decide which ones do.")
    return sentences


def _others(share: Mapping[str, float], study: Study) -> str:
    def with_share(models: list[str]) -> str:
        return listed([f"{label(study, m)} ({share[m]:.3f})" for m in models])

    whole = [m for m in share if share[m] >= WHOLE]
    parts = [m for m in share if share[m] < WHOLE]
    sentences = []
    if whole:
        sentences.append(
            f"{with_share(whole)} {verb(whole, 'learn')} whole motifs in the first layer"
        )
    if parts:
        rest = f"{with_share(parts)} {verb(parts, 'do')} not"
        sentences.append(rest if whole else f"{rest} learn whole motifs in the first layer")
    return "; ".join(sentences) + "."


def _deeper(part: pd.DataFrame, study: Study) -> list[str]:
    rows = part[part.layer != "conv1"].to_dict("records")
    if not rows:
        return []
    shares = [
        f"{r['match_truth_mean']:.3f} in {r['layer']} of {label(study, r['model'])}" for r in rows
    ]
    return [f"In deeper layers before the first pooling, the share is {listed(shares)}."]


def _scores(first: pd.DataFrame) -> list[str]:
    rows = sorted(first.to_dict("records"), key=lambda row: row["auroc_mean"])
    low, high = rows[0], rows[-1]
    ends = [f"{r['auroc_mean']:.3f} ({r['label']})" for r in (low, high)]
    if low["model"] == high["model"]:
        return [f"The mean test AUROC is {ends[0]}."]
    text = f"The mean test AUROC ranges from {ends[0]} to {ends[1]}."
    if high["auroc_mean"] - low["auroc_mean"] < 0.02:
        text += " Accuracy hardly differs between the architectures."
    return [text]


def _paper(compared: pd.DataFrame, dataset: str) -> list[str]:
    rows = compared[compared.dataset == dataset]
    judged = rows[rows.verdict.isin(["yes", "no"])]
    bounds = rows[rows.verdict.isin(["held", "not held"])]  # of complete groups
    sentences = []
    if len(judged):
        within = (judged.verdict == "yes").sum()
        sentences.append(
            f"For published numbers with an sd over trials, our number is within two sd in "
            f"{within} of {len(judged)}."
        )
    if len(bounds):
        held = (bounds.verdict == "held").sum()
        sentences.append(f"Published bounds: {held} of {len(bounds)} held.")
    return [" ".join(sentences)] if sentences else []
