"""Make the report's section beyond the paper: for each topic, a table and charts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from motifk8s.cells.finished import CellFiles
from motifk8s.filters import analysis
from motifk8s.report import charts, coverage, paired, prediction
from motifk8s.report.answer import WHOLE
from motifk8s.report.comparison import planned_trials
from motifk8s.report.figures import Picture, attempt, both, picture
from motifk8s.report.words import label, plus_minus, truth_word
from motifk8s.study.study import Study

LEVEL = 0.05  # significance level, after correction
CELL = ["dataset", "model", "trial"]

# By setting that varies: its name in the table, and the axis label of its chart.
SETTINGS = {
    "threshold": ("Threshold", "threshold, share of the filter's maximum"),
    "trim_bits": ("Trimming", "bits that a column needs to be kept"),
    "evalue": ("Largest E-value", "largest E-value of a match"),
    "database": ("JASPAR release", "JASPAR release"),
}

Rows = list[dict[str, str]]
"""A table of the page: in each row, the text of each cell by the heading of its column."""


class Topic(NamedTuple):
    """Tables and charts of a topic, by data set; report.html has its texts."""

    tables: dict[str, Rows]  # no rows for a data set without such numbers
    pictures: dict[str, list[Picture]]


def frames(
    study: Study, cells: Mapping[str, CellFiles], results: pd.DataFrame, table: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Collect the numbers of all topics, by the name of their CSV file.

    Parameters
    ----------
    cells : dict of cell id to CellFiles
    results : DataFrame
        As from `tables.results`.
    table : DataFrame
        As from `tables.table1`.

    Returns
    -------
    dict of DataFrame
        sensitivity, importance, firing: the rows of all cells, in the order of the study, after
        columns dataset, model and trial. coverage, paired, prediction: as from these modules.
    """
    order = {pair: i for i, pair in enumerate(planned_trials(study))}
    ordered = sorted(
        cells.values(),
        key=lambda f: (order[f.metrics["dataset"], f.metrics["model"]], f.metrics["trial"]),
    )
    result = {}
    for name, own in analysis.TABLES.items():
        rows = [
            files.analysis[name].assign(**{key: files.metrics[key] for key in CELL})
            for files in ordered
            if len(files.analysis[name])
        ]
        columns = [*CELL, *own]
        result[name] = (
            pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)
        )
    result["coverage"] = coverage.coverage([files.metrics for files in ordered], study)
    result["paired"] = paired.paired(results, study)
    result["prediction"] = prediction.score(study, table)
    return result


def topics(
    study: Study,
    results: pd.DataFrame,
    numbers: Mapping[str, pd.DataFrame],
    folder: Path,
    notes: list[str] | None = None,
) -> dict[str, Topic]:
    """Make the tables of all topics, by name, and draw their charts into a folder.

    Parameters
    ----------
    results : DataFrame
        As from `tables.results`.
    numbers : dict of DataFrame
        As from `frames`.
    folder : Path
        Output folder of the charts
        ``DATASET-{sensitivity-SETTING,coverage,importance,firing,paired}.{png,svg}``.
    notes : list of str, optional
        Gets a line for each chart that cannot be drawn.
    """
    notes = [] if notes is None else notes
    finished = set(results.dataset)
    result = {}
    for name, (table, draw) in TOPICS.items():
        frame = numbers.get(name, results)
        parts = [
            _Part(study, dataset, frame[frame.dataset == dataset], folder, notes)
            for dataset in dict.fromkeys(dataset for dataset, _ in planned_trials(study))
            if dataset in finished or name == "prediction"  # which needs no training
        ]
        result[name] = Topic(
            {part.dataset: table(part) for part in parts},
            {part.dataset: part.drawn(name, draw) for part in parts},
        )
    return result


class _Part:
    """The rows of one data set in a frame, and its names in tables and charts."""

    def __init__(
        self, study: Study, dataset: str, frame: pd.DataFrame, folder: Path, notes: list[str]
    ) -> None:
        self.study, self.dataset, self.folder, self.notes = study, dataset, folder, notes
        self.frame = self._with_row(frame)
        self.classes = [name for name, ids in study.datasets[dataset].motif_ids.items() if ids]
        self.truth = f"{truth_word(study, dataset)} match"
        shares = {"match_truth": self.truth, "match_any": "any match"}
        # Without known motifs of the classes, no filter can match one.
        self.shares = shares if self.classes else {"match_any": "any match"}

    def _with_row(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Add a column ``row``: the architecture, and the layer if several layers have motifs."""
        if not {"model", "layer"} <= set(frame.columns):
            return frame
        pairs = list(zip(frame.model, frame.layer, strict=True))
        rows = {pair: self._row(*pair) for pair in dict.fromkeys(pairs)}
        return frame.assign(row=[rows[pair] for pair in pairs])

    def _row(self, model: str, layer: str) -> str:
        several = len(self.study.models[model].layers_before_pooling()) > 1
        return f"{self.name(model)} {layer}" if several else self.name(model)

    def name(self, model: str) -> str:
        """Return the label of a model, different for each."""
        return label(self.study, model)

    def means(self, setting: str) -> dict[str, pd.DataFrame]:
        """Return the mean over trials of each share, for one setting: a frame of row by value."""
        frame = self.frame[self.frame.setting == setting]
        return {
            share: frame.pivot_table(share, "row", "value", sort=False) for share in self.shares
        }

    def drawn(self, name: str, draw: Callable[[_Part], list[Picture]]) -> list[Picture]:
        """Draw charts; without them, and with a note, if that fails."""
        return attempt(f"{self.dataset}-{name}", lambda: draw(self), [], self.notes)

    def paths(self, name: str) -> list[Path]:
        """Return the paths of a chart, PNG and SVG."""
        return both(self.folder, f"{self.dataset}-{name}")

    def picture(self, name: str, caption: str, alt: str) -> Picture:
        """Embed a chart in the page."""
        return picture(self.paths(name), caption, alt)


# --------------------------------------------------------------------------------------- tables


def _null_table(part: _Part) -> Rows:
    means = part.frame.groupby("row", sort=False)[["match_any", "match_null"]].mean()
    return [
        {
            "Architecture": str(row),
            "Any match": f"{any_match:.3f}",
            "Null match": f"{null:.3f}",
            "Any match without null matches": f"{any_match - null:.3f}",
        }
        for row, any_match, null in means.itertuples()
    ]


def _coverage_table(part: _Part) -> Rows:
    sums = part.frame.groupby("row", sort=False)[["found", "filters_mean"]].sum()
    return [
        {
            "Architecture": str(row),
            "Classes found": f"{found:.1f} of {len(part.classes)}",
            "Filters of a found class": f"{filters / found:.1f}" if found else "",
        }
        for row, found, filters in sums.itertuples()
    ]


def _paired_table(part: _Part) -> Rows:
    names = {"auroc": "AUROC", **{key: word.capitalize() for key, word in part.shares.items()}}
    return [
        {
            "Measure": names[str(measure)],
            "Trials": str(tests.trials.max()),
            "Pairs": str(len(tests)),
            "Pairs that differ": str((tests.p_holm < LEVEL).sum()),
            "Pairs without p": str(tests.p.isna().sum()),
            "Smallest p of the exact test": _number(tests.p_permutation.min(), ".3g"),
        }
        for measure, tests in part.frame.groupby("measure", sort=False)
    ]


def _sensitivity_table(part: _Part) -> Rows:
    rows = []
    for setting, (title, _) in SETTINGS.items():
        means = part.means(setting)
        first = next(iter(means.values()))
        if len(first.columns) < 2:
            continue
        for value in first.columns:
            row = {"Setting": title, "Value": _short_value(value)}
            for share, word in part.shares.items():
                row[word.capitalize()] = f"{means[share][value].mean():.3f}"
            if part.classes:
                whole = (first[value] >= WHOLE).sum()
                row[f"Layers at {WHOLE} or more"] = f"{whole} of {len(first)}"
            rows.append(row)
    return rows


def _importance_table(part: _Part) -> Rows:
    rows = []
    for name, filters in part.frame.groupby("row", sort=False):
        matched = filters["class"] != ""
        own = matched & (filters.worst_class == filters["class"])
        rise = filters.loss_increase
        rows.append(
            {
                "Architecture": str(name),
                "Filters that match a class": str(matched.sum()),
                "Median rise (nats)": _number(rise[matched].median(), ".2g"),
                "Other filters": str((~matched).sum()),
                "Median rise, others (nats)": _number(rise[~matched].median(), ".2g"),
                "Own class rises most": f"{own.sum()} of {matched.sum()}",
            }
        )
    return rows


def _firing_table(part: _Part) -> Rows:
    known = part.frame.dropna(subset=["precision", "recall"])
    return [
        {
            "Architecture": str(row),
            "Filters": str(len(filters)),
            "Precision": f"{filters.precision.mean():.3f}",
            "Chance": f"{filters.expected.mean():.3f}",
            "Recall": f"{filters.recall.mean():.3f}",
            "Distance (bp)": _number(filters.offset_mean.abs().median(), ".1f"),
            "sd of the distance (bp)": _number(filters.offset_sd.median(), ".1f"),
        }
        for row, filters in known.groupby("row", sort=False)
    ]


def _prediction_table(part: _Part) -> Rows:
    rows = []
    for layer in part.frame.to_dict("records"):
        blur = layer["uncertainty"]
        rows.append(
            {
                "Architecture": layer["label"],
                "Layer": layer["layer"],
                "Rule says": layer["predicted"],
                "Learned": layer["learned"],
                "Right": layer["right"] if layer["trials"] else "no result yet",
                part.truth.capitalize(): (
                    plus_minus(layer["match_truth_mean"]) if layer["learned"] else ""
                ),
                "Receptive field": f"{layer['receptive_field']} bp",
                "Places uncertain by": "no later convolution" if pd.isna(blur) else f"{blur} bp",
                "Pool alone says": layer["baseline"],
                "Right by pool": layer["baseline_right"],
            }
        )
    return rows


def _number(value: float, style: str) -> str:
    return "" if math.isnan(value) else format(value, style).replace("-", "−")


def _short_value(value: str) -> str:
    """Return a value as tables and charts print it: a JASPAR release is its year."""
    return str(value).removeprefix("JASPAR")


# --------------------------------------------------------------------------------------- charts


def _draw_coverage(part: _Part) -> list[Picture]:
    frame = part.frame
    if frame.empty or frame["class"].nunique() > charts.MOST:
        return []
    values = frame.pivot_table("filters_mean", "row", "class", sort=False, dropna=False)
    style = charts.HeatStyle(
        axis="number of the layer's filters that match the class, mean over trials",
        cell=0.36 if len(values.columns) <= 16 else 0.26,
        most=max(1.0, values.to_numpy(float).max()),
        digits=1,
        slanted=True,
    )
    heat = charts.Map("", list(values.columns), values.to_numpy(float))
    charts.heat_maps(list(values.index), [heat], part.paths("coverage"), style)
    caption = (
        "Number of filters for each class, mean over trials. 0: no trial found the class; above 1: "
        "several filters learned it."
    )
    alt = "Heat map: a row for each architecture and layer, a column for each class."
    return [part.picture("coverage", caption, alt)]


def _draw_paired(part: _Part) -> list[Picture]:
    if part.frame.empty:
        return []
    measure, word = next(iter(part.shares.items()))
    tests = part.frame[part.frame.measure == measure]
    means = pd.concat([tests.set_index("a").mean_a, tests.set_index("b").mean_b])
    models = list(means.groupby(level=0, sort=False).mean().sort_values(kind="stable").index)
    if len(models) > charts.MOST:
        return []
    place = {model: i for i, model in enumerate(models)}
    values = np.full((len(models), len(models)), np.nan)
    sure = np.zeros(values.shape, bool)
    for test in tests.to_dict("records"):
        i, j = place[test["a"]], place[test["b"]]
        values[max(i, j), min(i, j)] = test["difference"] if i > j else -test["difference"]
        sure[max(i, j), min(i, j)] = test["p_holm"] < LEVEL
    names = [part.name(model) for model in models]
    style = charts.HeatStyle(axis="the row's mean minus the column's", cell=0.36, slanted=True)
    heat = charts.Map("", names[:-1], values[1:, :-1], marked=sure[1:, :-1])
    charts.heat_maps(names[1:], [heat], part.paths("paired"), style)
    caption = (
        f"Differences in {word} of the first layer; the lowest architecture is first. Bold and "
        f"framed: p < {LEVEL} in the paired t-test after Holm's correction."
    )
    alt = f"Triangle of the differences in {word} between all pairs of architectures."
    return [part.picture("paired", caption, alt)]


def _draw_sensitivity(part: _Part) -> list[Picture]:
    return [
        picture
        for setting in SETTINGS
        for picture in part.drawn(f"sensitivity-{setting}", partial(_draw_setting, setting))
    ]


def _draw_setting(setting: str, part: _Part) -> list[Picture]:
    title, axis = SETTINGS[setting]
    means = part.means(setting)
    layers, values = map(list, next(iter(means.values())).axes)
    if len(values) < 2:
        return []
    own = analysis.own_values(part.study)[setting]
    framed = values.index(own) if own in values else None
    columns = [_short_value(value) for value in values]
    maps = [
        charts.Map(word, columns, means[share].to_numpy(float), framed)
        for share, word in part.shares.items()
    ]
    name = f"sensitivity-{setting}"
    charts.heat_maps(layers, maps, part.paths(name), charts.HeatStyle(axis=axis, cell=0.46))
    caption = f"{title}. Share of the layer's filters. Framed: the value of the study."
    alt = f"Heat maps of the match fractions: rows are layers, columns values of {axis}."
    return [part.picture(name, caption, alt)]


def _draw_importance(part: _Part) -> list[Picture]:
    if part.frame.empty:
        return []
    charts.importance_plot(part.frame, part.paths("importance"))
    caption = (
        "Rise of the loss without each filter, all trials. The axis is linear up to "
        f"{charts.NEXT_TO_NOTHING} nats and logarithmic above."
    )
    alt = "Strip chart: a row for each layer; filters that match a class are separate."
    return [part.picture("importance", caption, alt)]


def _draw_firing(part: _Part) -> list[Picture]:
    if part.frame.empty:
        return []
    charts.firing_plot(part.frame, part.paths("firing"))
    caption = "Each dot: a filter that matches a class, all trials. Chance: share of all positions."
    alt = "Two strip charts, precision and recall: a row for each layer, a dot for each filter."
    return [part.picture("firing", caption, alt)]


def _draw_nothing(part: _Part) -> list[Picture]:
    return []


TOPICS: dict[str, tuple[Callable[[_Part], Rows], Callable[[_Part], list[Picture]]]] = {
    "null": (_null_table, _draw_nothing),
    "coverage": (_coverage_table, _draw_coverage),
    "paired": (_paired_table, _draw_paired),
    "sensitivity": (_sensitivity_table, _draw_sensitivity),
    "importance": (_importance_table, _draw_importance),
    "firing": (_firing_table, _draw_firing),
    "prediction": (_prediction_table, _draw_nothing),
}
