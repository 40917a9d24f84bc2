"""Figures: logos of filters and motifs, fractions beside the paper's, training curves.

Drawn on matplotlib's object interface: nothing global is touched and no display is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from motifk8s.motifs.logos import FONT, GREY, GUTTER, PAGE, ROW, Panel, Paths, Sheet, save
from motifk8s.motifs.motif import Motif, reverse_complement
from motifk8s.report.words import truth_word
from motifk8s.study.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes


TRUTH, ANY, PAPER, LIGHT = "#0072B2", "#E69F00", "#222222", "#DDDDDD"
# Of the two fractions: colour, marker, and how far below the middle of its row.
MARKS = {"match_truth": (TRUTH, "o", -0.3), "match_any": (ANY, "s", 0.1)}
GAP, HEAD = 0.14, 0.26  # in, between panels, and for a panel's title
BESIDE, MANY = 3, 200  # panels of a line, and their logos
FEW = 90  # logos of a line that are drawn larger


def paper_figure(
    panels: Sequence[Panel],
    truth: Mapping[str, Motif],
    paths: Paths,
    title: str = "",
    dpi: int = 200,
) -> None:
    """Logos of several layers side by side and the classes' motifs below (paper, Fig 2).

    One page wide, and as high as it takes: `arranged` says which panels share a line.

    Parameters
    ----------
    panels : sequence of Panel
    truth : dict of class to Motif
        Drawn forward and, below, as reverse complement.
    paths, title, dpi
        As `logo_grid`.
    """
    per_row = 6  # motifs of the classes
    lines = arranged([len(panel.ppms) for panel in panels])
    rows = [max(-(-len(panels[i].ppms) // n) for i, n in line.items()) for line in lines]
    top = 0.32 if title else 0.06
    height = top + sum(HEAD + n * ROW + GAP for n in rows)
    truth_height = 0.36 + -(-len(truth) // per_row) * (2 * ROW + 0.12) if truth else 0
    sheet = Sheet(PAGE, height + truth_height)
    if title:
        sheet.text(GUTTER, 0.16, title, size=10, weight="bold")
        sheet.text(PAGE - 0.1, 0.17, "y axis: 0 to 2 bits", ha="right", color=GREY)
    y = top
    for line, n_rows in zip(lines, rows, strict=True):
        column = (PAGE - 0.08 - GAP * (len(line) - 1)) / sum(line.values())
        x = 0.0
        for i, columns in line.items():
            width = columns * column
            middle = x + (width + GUTTER) / 2
            sheet.text(middle, y + 0.11, panels[i].title, ha="center", size=9)
            if panels[i].note:
                below = y + HEAD + n_rows * ROW / 2
                sheet.text(middle, below, panels[i].note, ha="center", color=GREY, size=9)
            else:
                sheet.grid(panels[i], x, y + HEAD, width, columns)
            x += width + GAP
        y += HEAD + n_rows * ROW + GAP
    if truth:
        sheet.lines.append([(GUTTER, height), (PAGE - 0.08, height)])
        words = "Motifs of the classes: forward, and reverse complement below"
        sheet.text(PAGE / 2, height + 0.18, words, ha="center", size=9)
    cell = (PAGE - 0.08) / per_row
    longest = max((len(motif.ppm) for motif in truth.values()), default=0)
    for i, (name, motif) in enumerate(truth.items()):
        x = (i % per_row) * cell + GUTTER
        y = height + 0.36 + (i // per_row) * (2 * ROW + 0.12) + ROW - 0.06
        share = (cell - GUTTER) * len(motif.ppm) / longest
        sheet.logo(motif.ppm, x, y, share)
        sheet.logo(reverse_complement(motif.ppm), x, y + ROW, share)
        sheet.side(x, y + ROW / 2, name)
    sheet.save(paths, dpi)


def arranged(sizes: Sequence[int]) -> list[dict[int, int]]:
    """Which panels share a line of the page, and how many columns of logos each of them has.

    Side by side as long as they are few and small: at most `BESIDE` panels and `MANY` logos. The
    panel with most rows is given the next column, so that the panels of a line end together.

    Parameters
    ----------
    sizes : sequence of int
        Logos of each panel.

    Returns
    -------
    list of dict of panel to columns
    """
    n_lines = 0
    parts: list[np.ndarray] = []
    while not parts or any(len(p) > 1 and sum(sizes[i] for i in p) > MANY for p in parts):
        n_lines += 1
        if -(-len(sizes) // n_lines) <= BESIDE:
            parts = np.array_split(np.arange(len(sizes)), n_lines)
    wide = max(sum(sizes[i] for i in part) for part in parts) <= FEW
    lines = []
    for part in parts:
        columns = {int(i): 1 for i in part}
        while sum(columns.values()) < (6 if wide else 8):
            tallest = max(columns, key=lambda i: -(-sizes[i] // columns[i]))
            columns[tallest] += 1
        rows = max(-(-sizes[i] // n) for i, n in columns.items())
        lines.append({i: -(-sizes[i] // rows) for i in columns})  # no more than they need
    return lines


# -------------------------------------------------------------------------------------- charts


def fractions_plot(table: pd.DataFrame, study: Study, dataset: str, paths: Paths) -> None:
    """Shares of filters with a match per architecture and layer, beside the published ones.

    Parameters
    ----------
    table : DataFrame
        As from `tables.table1`.
    study : Study
    dataset : str
        Which data set of the table.
    paths : path or paths
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    part = table[table.dataset == dataset].reset_index(drop=True)
    height = 0.95 + 0.27 * len(part)  # in; margins by hand: automatic layout takes seconds
    figure = Figure(figsize=(PAGE, height), facecolor="white")
    axes = figure.add_subplot()
    several = part.model.duplicated(keep=False)
    names = [
        f"{row.label}, {row.layer}" if twice else str(row.label)
        for row, twice in zip(part.itertuples(), several, strict=True)
    ]
    for y, row in enumerate(part.to_dict("records")):
        if not row["trials"]:
            axes.text(0.5, y, "no result yet", size=FONT, color=GREY, ha="center", va="center")
        for measure, (colour, marker, shift) in MARKS.items():
            mean, sd = row[f"{measure}_mean"], row[f"{measure}_sd"]
            style: dict[str, Any] = {
                "color": colour,
                "marker": marker,
                "ms": 5,
                "mec": "white",
                "mew": 0.5,
            }
            error = None if np.isnan(sd) else sd
            axes.errorbar(mean, y + shift, xerr=error, elinewidth=1.2, **style)
            _published_mark(axes, row, measure, y + shift + 0.15)
    axes.set(xlim=(-0.03, 1.03), ylim=(len(part) - 0.5, -0.5), yticks=range(len(part)))
    axes.set_yticklabels(names, size=8, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("share of the layer's filters (mean ± sd over trials)", size=8)
    axes.grid(axis="x", color=LIGHT, lw=0.6)
    axes.hlines(np.arange(1, len(part)) - 0.5, -0.03, 1.03, color="#EEEEEE", lw=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    words = (truth_word(study, dataset), "any")
    handles = [
        Line2D([], [], color=colour, marker=marker, lw=0, ms=5, label=f"{word} match")
        for word, (colour, marker, _) in zip(words, MARKS.values(), strict=True)
    ]
    kinds = {k for m in MARKS for k in part[f"published_{m}_kind"]}
    if kinds & {"exact", "value"}:
        mark: dict[str, Any] = {"color": PAPER, "marker": "D", "lw": 0, "ms": 4, "mfc": "none"}
        handles.append(Line2D([], [], **mark, label="published (± sd)"))
    if kinds & {"at-most", "at-least"}:
        mark = {"color": PAPER, "marker": "$\\leftarrow$", "lw": 0, "ms": 7, "mew": 0}
        handles.append(Line2D([], [], **mark, label="published bound of a group"))
    left = 0.15 + 0.068 * max(map(len, names), default=0)
    figure.subplots_adjust(left / PAGE, 0.45 / height, 1 - 0.1 / PAGE, 1 - 0.32 / height)
    figure.legend(handles=handles, loc="upper center", ncols=4, frameon=False, fontsize=8)
    save(figure, paths)


def _published_mark(axes: Axes, row: Mapping[Any, Any], measure: str, y: float) -> None:
    kind = row[f"published_{measure}_kind"]
    mean, sd = row[f"published_{measure}_mean"], row[f"published_{measure}_sd"]
    style: dict[str, Any] = {"color": PAPER, "lw": 0, "zorder": 3}
    if kind in ("exact", "value"):
        error = None if np.isnan(sd) else sd
        marks: dict[str, Any] = {
            "marker": "D",
            "mfc": "none",
            "ms": 4,
            "mew": 0.9,
            "elinewidth": 0.7,
            "capsize": 2,
        }
        axes.errorbar(mean, y, xerr=error, **style, **marks)
    elif kind:
        arrow = "$\\leftarrow$" if kind == "at-most" else "$\\rightarrow$"
        axes.plot(mean, y, marker="|", ms=6, **style)
        axes.plot(mean + (-0.013 if kind == "at-most" else 0.013), y, marker=arrow, mew=0, **style)


def history_plot(
    histories: Mapping[str, Mapping[int, pd.DataFrame]],
    paths: Paths,
    measure: str = "loss",
    columns: int = 4,
) -> None:
    """Training curves, a panel for each model and a line for each trial.

    Parameters
    ----------
    histories : dict of model's label to dict of trial to DataFrame
        Columns of ``history.csv``.
    paths : path or paths
    measure : {"loss", "auroc"}
        Loss of the training set (grey) and the validation set (blue), or AUROC of the latter.
    columns : int
        Panels in a row.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = min(columns, max(1, len(histories)))
    rows = max(1, -(-len(histories) // columns))
    width, height = max(3.5, PAGE * columns / 4), 0.85 + 1.2 * rows  # in
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.subplots_adjust(
        0.55 / width, 0.45 / height, 1 - 0.1 / width, 1 - 0.45 / height, wspace=0.1, hspace=0.3
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for i, axes in enumerate(grid.flat):
        # The last of a column bears the epochs, also where the grid is not full.
        axes.tick_params(labelbottom=i + columns >= len(histories))
        axes.set_visible(i < len(histories))
    for axes, (name, trials) in zip(grid.flat, histories.items(), strict=False):
        for history in trials.values():
            line: dict[str, Any] = {"lw": 0.9, "alpha": 0.85}
            if measure == "loss":
                axes.plot(history.epoch, history.loss, color="#999999", **line)
                axes.plot(history.epoch, history.val_loss, color=TRUTH, **line)
                best = np.argmin(history.val_loss)  # NaN loss never gets this far
                at = history.epoch.iloc[best], history.val_loss.iloc[best]
                axes.plot(*at, "o", color=TRUTH, ms=3)
            else:
                axes.plot(history.epoch, history.val_auroc, color=TRUTH, **line)
        axes.set_title(name, size=8, parse_math=False, pad=3)
        axes.tick_params(labelsize=FONT, length=2)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#EEEEEE", lw=0.5)
    figure.supxlabel("epoch", size=8, y=0.06 / height, va="bottom")
    words = "loss" if measure == "loss" else "validation AUROC"
    figure.supylabel(words, size=8, x=0.06 / width, ha="left")
    if measure == "loss":
        handles = [
            Line2D([], [], color="#999999", label="training"),
            Line2D([], [], color=TRUTH, label="validation"),
            Line2D([], [], color=TRUTH, marker="o", lw=0, ms=3, label="lowest validation loss"),
        ]
        figure.legend(handles=handles, loc="upper center", ncols=3, frameon=False, fontsize=8)
    save(figure, paths)
