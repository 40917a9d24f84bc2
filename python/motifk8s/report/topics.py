"""What a study says beyond the paper's tables: sentences computed from the numbers, and charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from motifk8s.cells.finished import CellFiles
from motifk8s.filters import analysis
from motifk8s.report import charts, coverage, paired, prediction
from motifk8s.report.answer import WHOLE
from motifk8s.report.comparison import planned_trials
from motifk8s.report.pictures import Picture, both, embed
from motifk8s.report.words import label, listed, truth_word, value_range, verb
from motifk8s.study.study import Study

LEVEL = 0.05  # of a test, after correction
FEW = 6  # names in a sentence
CELL = ["dataset", "model", "trial"]

# Each setting that is varied: how a sentence and how a chart names it.
SETTINGS = {
    "threshold": ("Threshold", "threshold, share of the filter's maximum"),
    "trim_bits": ("Trimming", "trimmed to columns above so many bits"),
    "evalue": ("Largest E-value", "largest E-value of a match"),
    "database": ("JASPAR release", "JASPAR release"),
}


class Topic(NamedTuple):
    """A part of the report's section: what it asks, and what each data set answers.

    Attributes
    ----------
    name : str
        For a link to it.
    title : str
    meaning : str
        What the numbers mean, and what they do not.
    said : dict of data set to list of str
    pictures : dict of data set to list of Picture
    """

    name: str
    title: str
    meaning: str
    said: dict[str, list[str]]
    pictures: dict[str, list[Picture]]


def frames(
    study: Study, cells: Mapping[str, CellFiles], results: pd.DataFrame, table: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """The tables of it all, by the name of their file.

    Parameters
    ----------
    study : Study
    cells : dict of cell id to CellFiles
    results : DataFrame
        As from `tables.results`.
    table : DataFrame
        As from `tables.table1`.

    Returns
    -------
    dict of DataFrame
        sensitivity, importance, firing: the cells' own rows, in the order of the study, with
        dataset, model and trial before them. coverage, paired, prediction: as from the functions
        of these names.
    """
    order = {pair: i for i, pair in enumerate(planned_trials(study))}
    ordered = sorted(
        cells.values(),
        key=lambda f: (order[f.metrics["dataset"], f.metrics["model"]], f.metrics["trial"]),
    )
    made = {}
    for name, own in analysis.TABLES.items():
        rows = [
            files.analysis[name].assign(**{key: files.metrics[key] for key in CELL})
            for files in ordered
            if len(files.analysis[name])
        ]
        columns = [*CELL, *own]
        made[name] = (
            pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)
        )
    made["coverage"] = coverage.coverage([files.metrics for files in ordered], study)
    made["paired"] = paired.paired(results, study)
    made["prediction"] = prediction.score(study, table)
    return made


def topics(
    study: Study, results: pd.DataFrame, made: Mapping[str, pd.DataFrame], folder: Path
) -> list[Topic]:
    """Draw the charts into a folder and say what the numbers say.

    Parameters
    ----------
    study : Study
    results : DataFrame
        As from `tables.results`.
    made : dict of DataFrame
        As from `frames`.
    folder : Path
        Where they go: ``DATASET-{sensitivity-SETTING,coverage,importance,firing,paired}.{png,svg}``
        of every data set that has such numbers.
    """
    return [
        Topic(name, title, meaning, *_by_dataset(name, study, results, made, folder))
        for name, title, meaning in TEXTS
    ]


def _by_dataset(
    name: str, study: Study, results: pd.DataFrame, made: Mapping[str, pd.DataFrame], folder: Path
) -> tuple[dict[str, list[str]], dict[str, list[Picture]]]:
    frame = made.get(name, results)
    said, pictures = {}, {}
    for dataset in dict.fromkeys(dataset for dataset, _ in planned_trials(study)):
        of = results[results.dataset == dataset]
        if of.empty and name != "prediction":  # which alone needs no training
            continue
        look = _Look(study, dataset, frame[frame.dataset == dataset], of, folder)
        said[dataset] = SAY[name](look)
        pictures[dataset] = DRAW[name](look) if name in DRAW else []
    return said, pictures


class _Look:
    """One data set's rows of a table, and the words for them."""

    def __init__(
        self, study: Study, dataset: str, frame: pd.DataFrame, results: pd.DataFrame, folder: Path
    ) -> None:
        self.study, self.dataset, self.folder = study, dataset, folder
        self.results = self.named(results)
        self.frame = self.named(frame)
        self.word = truth_word(study, dataset)
        self.classes = [name for name, ids in study.datasets[dataset].motif_ids.items() if ids]

    def named(self, frame: pd.DataFrame) -> pd.DataFrame:
        """With a column ``row``: the architecture, and the layer where it has several."""
        if not {"model", "layer"} <= set(frame.columns):
            return frame
        pairs = list(zip(frame.model, frame.layer, strict=True))
        rows = {pair: self.row(*pair) for pair in dict.fromkeys(pairs)}
        return frame.assign(row=[rows[pair] for pair in pairs])

    def row(self, model: str, layer: str) -> str:
        several = len(self.study.models[model].layers_before_pooling()) > 1
        return f"{self.name(model)} {layer}" if several else self.name(model)

    def name(self, model: str) -> str:
        name = label(self.study, model)
        same = sum(label(self.study, other) == name for other in self.study.models)
        return name if same == 1 else model  # two architectures with one label are still two

    def picture(self, name: str, caption: str, alt: str) -> Picture:
        paths = self.paths(name)
        return Picture(embed(paths[0]), caption, alt, tuple(paths))

    def paths(self, name: str) -> list[Path]:
        return both(self.folder, f"{self.dataset}-{name}")


# ------------------------------------------------------------------------------------ sentences


def _null(look: _Look) -> list[str]:
    of = look.results
    any_match = round((of.match_any * of.n_filters).sum())
    null = round((of.match_null * of.n_filters).sum())
    if not any_match:
        return ["No filter matches anything."]
    if not null:
        return [
            f"None of the {any_match:,} filters with a match matches only what a flat motif does."
        ]
    mean = of.groupby("row", sort=False)[["match_any", "match_null"]].mean()
    worst = str(mean.match_null.idxmax())
    high, part = mean.match_any[worst], mean.match_null[worst]
    return [
        f"{null:,} of {_count(any_match, 'filter')} with a match ({null / any_match:.3f}) "
        f"{verb([0] * null, 'match')} only what a flat motif matches too. Their share is largest "
        f"in {worst}: without them its any match is {high - part:.3f} in place of {high:.3f}."
    ]


def _coverage(look: _Look) -> list[str]:
    if look.frame.empty:
        return ["No motif of the classes is known, so none can be found."]
    n = len(look.classes)
    by_row = look.frame.groupby("row", sort=False)[["found", "filters_mean"]].sum()
    found = by_row.found
    high, low = f"{found.max():.1f}", f"{found.min():.1f}"
    best = [str(row) for row in found.index if f"{found[row]:.1f}" == high]
    worst = [str(row) for row in found.index if f"{found[row]:.1f}" == low]
    if high == low:
        text = f"{_few(best)} {verb(best, 'find')} {high} of {n} classes in the mean trial."
    else:
        text = (
            f"Of {n} classes {_few(best)} {verb(best, 'find')} the most, {high} in the mean "
            f"trial; {_few(worst)} the fewest, {low}."
        )
    some = by_row[found > 0]
    if len(some):
        text += (
            f" A class that is found has {_span(some.filters_mean / some.found, '.1f')} filters."
        )
    by_class = look.frame.groupby("class", sort=False).found.mean()
    never = [str(name) for name in by_class.index if not by_class[name]]
    said = [text]
    if never and len(some):
        said.append(f"No layer has a filter for {_few(never)}.")
    elif len(some) and by_class.min() < by_class.max():
        said.append(
            f"Over layers and trials {by_class.idxmax()} is found most often "
            f"({by_class.max():.2f}), {by_class.idxmin()} least ({by_class.min():.2f})."
        )
    return said


def _paired(look: _Look) -> list[str]:
    if look.frame.empty:
        have = "no two have as many in common"
        if look.study.trials < paired.LEAST:
            have = f"the study has {look.study.trials}"
        return [f"No tests: they need {paired.LEAST} trials of two architectures, and {have}."]
    words = {"match_truth": f"{look.word} match", "match_any": "any match", "auroc": "AUROC"}
    counts = []
    for measure, word in words.items():
        here = look.frame[look.frame.measure == measure]
        if len(here):
            counts.append(f"{(here.p_holm < LEVEL).sum()} of {len(here)} in {word}")
    said = [
        f"Pairs of architectures that differ (p < {LEVEL} after Holm's correction): "
        f"{listed(counts)}."
    ]
    without = look.frame[look.frame.p.isna()]
    if len(without):
        said[0] += (
            f" Without a p are {_count(len(without), 'comparison')}, in which all trials differ "
            "by the same."
        )
    trials = look.frame.trials.max()
    if (look.frame.p_holm < LEVEL).any() and (least := 2 / 2**trials) >= LEVEL:
        said.append(
            f"With {trials} trials the exact test of signs cannot give less than {least:.3g}: what "
            "differs does so only if the t-test may take the differences for normal."
        )
    return said


def _sensitivity(look: _Look) -> list[str]:
    said = []
    for setting, (title, _) in SETTINGS.items():
        means = _means(look, setting)
        truth = next(iter(means.values()))
        if len(truth.columns) < 2:
            continue
        shown = f"{title} ({', '.join(_shown_values(truth.columns))}):"
        spans = [
            f"{word} match is {value_range(means[measure].mean())}"
            for measure, word in _measures(look).items()
        ]
        over = "averaged over layers" if len(truth) > 1 else f"in {truth.index[0]}"
        text = f"{shown} {over}, {listed(spans)}."
        width = truth.max(axis=1) - truth.min(axis=1)
        row = str(width.idxmax())
        if len(truth) > 1 and width[row] > 0:
            text += f" {row} moves most, {value_range(truth.loc[row].to_numpy(float))}."
        sides = (truth >= WHOLE).mean(axis=1)
        cross = [str(name) for name in truth.index[(sides > 0) & (sides < 1)]]
        if look.classes:
            text += (
                f" {_few(cross)} {verb(cross, 'lie')} above {WHOLE} with some values and below "
                "with others."
                if cross
                else f" No layer changes sides of {WHOLE}."
            )
        said.append(text)
    return said or ["Not asked: the study's analysis varies nothing."]


def _importance(look: _Look) -> list[str]:
    of = look.frame
    if of.empty:
        return ["Not asked: the study's analysis leaves it out."]
    matched = of["class"] != ""
    both = (
        of.assign(matched=matched)
        .pivot_table("loss_increase", "row", "matched", "median", sort=False)
        .dropna()
    )
    if not matched.any():
        return [
            f"No filter matches a class. Silencing one raises the loss by "
            f"{of.loss_increase.median():.2g} nats (median)."
        ]
    if len(both) and both.shape[1] == 2:
        gap = both[True] - both[False]
        row = str(gap.idxmax())
        less = [str(name) for name, more in gap.items() if more <= 0]
        text = (
            f"Silencing a filter that matches a class raises the loss by more than silencing "
            f"another one (medians) in {(gap > 0).sum()} of {_count(len(both), 'layer')} that have "
            "both"
        )
        if gap[row] > 0:
            text += f"; in {row} {both[True][row]:.2g} nats against {both[False][row]:.2g}"
        said = [text + (f". Not in {_few(less)}." if less else ".")]
    else:
        cost = of.loss_increase[matched].median()
        said = [
            "No layer has filters of both kinds; silencing one that matches a class raises the "
            f"loss by {cost:.2g} nats (median)."
        ]
    labelled = of[matched]
    own = (labelled.worst_class == labelled["class"]).sum()
    said.append(
        f"It hurts most the very class that the filter matches in {own:,} of "
        f"{_count(len(labelled), 'filter')} that match one ({own / len(labelled):.3f})."
    )
    return said


def _firing(look: _Look) -> list[str]:
    of = look.frame.dropna(subset=["precision", "recall"])
    if not look.study.analysis.firing:
        return ["Not asked: the study's analysis leaves it out."]
    if of.empty:
        if look.classes and not look.results.match_truth.any():
            return ["No filter matches a class, so none can be asked."]
        return ["It is not known where the motifs lie in these sequences, so this cannot be told."]
    by_row = of.groupby("row", sort=False)[["precision", "recall"]].mean()
    text = (
        f"Of the firings of a filter that matches a class, {of.precision.mean():.3f} are on a "
        f"motif of that class in the mean over filters, {of.expected.mean():.3f} by chance"
    )
    if len(by_row) > 1:
        text += f"; by layer {_span(by_row.precision, '.3f')}"
    said = [
        f"{text}. They fire at {of.recall.mean():.3f} of these motifs"
        + (f"; by layer {_span(by_row.recall, '.3f')}." if len(by_row) > 1 else ".")
    ]
    off = of.offset_mean.abs().dropna()
    if len(off):
        said.append(
            f"Their middle lies {off.median():.1f} bp from the motif's (median over filters), "
            f"{of.offset_sd.median():.1f} bp (sd) to either side of that."
        )
    return said


def _prediction(look: _Look) -> list[str]:
    of = look.frame
    judged, open_ = of[of.right != ""], int((of.right == "").sum())
    if judged.empty:
        why = "no cell is finished" if look.classes else "no motif of the classes is known"
        return [f"Nothing to set the rule beside: {why}. What it says stands in the table."]
    right = int((judged.right == "yes").sum())
    text = f"The rule is right in {right} of {_count(len(judged), 'layer')}"
    wrong = judged[judged.right == "no"]
    if len(wrong):
        each = [
            f"{row} ({predicted}, {share:.3f})"
            for row, predicted, share in zip(
                wrong.row, wrong.predicted, wrong.match_truth_mean, strict=True
            )
        ]
        text += f"; wrong in {_few(each)}"
    said = [text + "."]
    if open_:
        said.append(f"Without a result yet: {_count(open_, 'layer')}.")
    return said


SAY = {
    "null": _null,
    "coverage": _coverage,
    "paired": _paired,
    "sensitivity": _sensitivity,
    "importance": _importance,
    "firing": _firing,
    "prediction": _prediction,
}


# --------------------------------------------------------------------------------------- charts


def _draw_coverage(look: _Look) -> list[Picture]:
    of = look.frame
    if of.empty or of["class"].nunique() > charts.MOST:
        return []
    values = of.pivot_table("filters_mean", "row", "class", sort=False, dropna=False)
    charts.heat_maps(
        list(values.index),
        [charts.Map("", list(values.columns), values.to_numpy(float))],
        look.paths("coverage"),
        axis="number of the layer's filters that match the class, mean over trials",
        cell=0.36 if len(values.columns) <= 16 else 0.26,
        most=max(1.0, values.to_numpy(float).max()),
        digits=1,
        slanted=True,
    )
    caption = (
        "Filters for each class, mean over trials: 0 is a class that no trial found, more than 1 "
        "is redundancy."
    )
    alt = "Heat map: a row for each architecture and layer, a column for each class."
    return [look.picture("coverage", caption, alt)]


def _draw_paired(look: _Look) -> list[Picture]:
    measure = "match_truth" if look.classes else "match_any"
    of = look.frame
    of = of[of.measure == measure] if len(of) else of
    means = pd.concat([of.set_index("a").mean_a, of.set_index("b").mean_b]) if len(of) else None
    if means is None:
        return []
    models = list(means.groupby(level=0, sort=False).mean().sort_values(kind="stable").index)
    if len(models) > charts.MOST:
        return []
    place = {model: i for i, model in enumerate(models)}
    values = np.full((len(models), len(models)), np.nan)
    sure = np.zeros(values.shape, bool)
    for row in of.to_dict("records"):
        i, j = place[row["a"]], place[row["b"]]
        values[max(i, j), min(i, j)] = row["difference"] if i > j else -row["difference"]
        sure[max(i, j), min(i, j)] = row["p_holm"] < LEVEL
    names = [look.name(model) for model in models]
    charts.heat_maps(
        names[1:],
        [charts.Map("", names[:-1], values[1:, :-1])],
        look.paths("paired"),
        axis="the row's mean minus the column's",
        cell=0.36,
        slanted=True,
        marked=sure[1:, :-1],
    )
    word = f"{look.word} match" if look.classes else "any match"
    caption = (
        f"Differences in {word} of the first layer, lowest architecture first. Framed and bold: "
        f"p < {LEVEL} in the paired t-test after Holm's correction."
    )
    alt = f"Triangle of the differences in {word} between all pairs of architectures."
    return [look.picture("paired", caption, alt)]


def _draw_sensitivity(look: _Look) -> list[Picture]:
    pictures = []
    for setting, (title, axis) in SETTINGS.items():
        means = _means(look, setting)
        layers, values = map(list, next(iter(means.values())).axes)
        if len(values) < 2:
            continue
        own = analysis.own_values(look.study)[setting]
        maps = [
            charts.Map(f"{word} match", _shown_values(values), means[measure].to_numpy(float))
            for measure, word in _measures(look).items()
        ]
        charts.heat_maps(
            layers,
            maps,
            look.paths(f"sensitivity-{setting}"),
            axis=axis,
            cell=0.46,
            framed=values.index(own) if own in values else None,
        )
        caption = f"{title}. Share of the layer's filters; framed: the value of the study."
        alt = f"Heat maps of the match fractions: rows are layers, columns values of {axis}."
        pictures.append(look.picture(f"sensitivity-{setting}", caption, alt))
    return pictures


def _draw_importance(look: _Look) -> list[Picture]:
    if look.frame.empty:
        return []
    charts.importance_plot(look.frame, look.paths("importance"))
    caption = (
        "What the loss rises by without each filter, all trials: linear up to "
        f"{charts.NEXT_TO_NOTHING} nats, logarithmic beyond."
    )
    alt = "Strip chart: a row for each layer, filters that match a class apart from the others."
    return [look.picture("importance", caption, alt)]


def _draw_firing(look: _Look) -> list[Picture]:
    if look.frame.empty:
        return []
    charts.firing_plot(look.frame, look.paths("firing"))
    caption = "Every filter that matches a class, all trials. Chance: share of all positions."
    alt = "Two strip charts, precision and recall: a row for each layer, a dot for each filter."
    return [look.picture("firing", caption, alt)]


DRAW = {
    "coverage": _draw_coverage,
    "paired": _draw_paired,
    "sensitivity": _draw_sensitivity,
    "importance": _draw_importance,
    "firing": _draw_firing,
}


def _means(look: _Look, setting: str) -> dict[str, pd.DataFrame]:
    """Means over trials of one setting's fractions: a table of row by value for each measure."""
    of = look.frame[look.frame.setting == setting]
    return {
        measure: of.pivot_table(measure, "row", "value", sort=False) for measure in _measures(look)
    }


def _measures(look: _Look) -> dict[str, str]:
    words = {"match_truth": look.word, "match_any": "any"}
    return words if look.classes else {"match_any": "any"}


def _shown_values(values: Iterable[str]) -> list[str]:
    """Values as a chart has them: of the releases the year is enough."""
    return [str(value).removeprefix("JASPAR") for value in values]


# ---------------------------------------------------------------------------------------- words


def _few(names: Sequence[str]) -> str:
    more = len(names) - FEW
    return listed(names if more < 2 else [*names[:FEW], f"{more} more"])


def _count(n: int, thing: str) -> str:
    return f"{n:,} {thing}" + ("" if n == 1 else "s")


def _span(values: pd.Series, style: str) -> str:
    """Lowest and highest with the rows they belong to."""
    low, high = (format(x, style) for x in (values.min(), values.max()))
    if low == high:
        return low
    return f"{low} ({values.idxmin()}) to {high} ({values.idxmax()})"


TEXTS = (
    (
        "null",
        "Matches that tell nothing",
        "A motif that is flat, 0.25 everywhere, matches a few motifs of the database. A filter "
        "that matches no others is counted as a null match.",
    ),
    (
        "coverage",
        "Which classes are found, and how often",
        "A layer may match well and still miss classes, or spend many filters on one. Each filter "
        "counts for the one class it matches best.",
    ),
    (
        "paired",
        "Do architectures differ by more than their trials?",
        "All pairs of architectures, over the trials that both have. Trials are paired by number "
        "alone: they share the data, not the seed.",
    ),
    (
        "sensitivity",
        "What the fractions depend on",
        "The rule that turns a filter into a motif, and the database, are choices. One is varied "
        "at a time, and the networks stay as they are.",
    ),
    (
        "importance",
        "Do the filters that match matter?",
        "Each filter is silenced in turn, its output set to 0, and the loss on test sequences is "
        "taken again. It tells what the trained network uses, not what it could do without: where "
        "several filters read the same motif, each seems to matter little.",
    ),
    (
        "firing",
        "Do they fire at their motif?",
        "In synthetic sequences it is known where the motifs are. Motifs on both strands count, "
        "and a filter reads one: unless its motif is a palindrome, about half of them is what "
        "it can reach.",
    ),
    (
        "prediction",
        "Could it have been known before?",
        f"A rule reads it off the receptive fields: a layer learns whole motifs if it sees at "
        f"least {prediction.MOTIF} bp and no later convolution can put parts together, because "
        f"pooling leaves their places uncertain by {prediction.MOTIF} bp or more, or no "
        f"convolution wider than 1 follows. It was written with the paper's architectures known: "
        f"for these it is a description, and only for others a prediction. Right is what falls on "
        f"the same side of {WHOLE}.",
    ),
)
