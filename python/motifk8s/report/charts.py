"""Draw charts: match fractions, training curves, heat maps, strip charts of filters.

They use matplotlib's object interface, which changes no global state and needs no display. Sizes
are computed in inches, because automatic layout takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from motifk8s.motifs.logos import FONT, GREY, PAGE, Paths, save
from motifk8s.report.words import truth_word
from motifk8s.study.study import Study

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRUTH, ANY, PAPER, LIGHT, FAINT = "#0072B2", "#E69F00", "#222222", "#DDDDDD", "#EEEEEE"
TRAINING = "#999999"
# For each fraction: colour, marker, and offset below the middle of its row.
MARKS = {"match_truth": (TRUTH, "o", -0.3), "match_any": (ANY, "s", 0.1)}
PANELS = 4  # training curves side by side
ROW = 0.2  # in, height of a row of a heat map
GAP = 0.2  # in, between heat maps
BELOW = 0.3  # in, for the axis of a heat map
LEAST = 5.0  # in, minimum width of a heat map: the page enlarges narrower ones too much
LETTER = 0.068  # in, mean width of a letter of 8 pt
LONGEST = 26  # characters of a name; longer names are cut
MOST = 60  # rows or columns of a readable heat map
# The axis of losses is linear below this and logarithmic above: most filters have small effects.
NEXT_TO_NOTHING = 1e-4  # nats


# ------------------------------------------------------------------------ fractions and training


def fractions_plot(table: pd.DataFrame, study: Study, dataset: str, paths: Paths) -> None:
    """Draw one data set's match fractions by architecture and layer, with the published ones.

    Parameters
    ----------
    table : DataFrame
        As from `tables.table1`.
    """
    from matplotlib.figure import Figure

    part = table[table.dataset == dataset].reset_index(drop=True)
    several = part.model.duplicated(keep=False)
    names = [
        f"{short(str(row.label))}, {row.layer}" if twice else short(str(row.label))
        for row, twice in zip(part.itertuples(), several, strict=True)
    ]
    height = 0.95 + 0.27 * len(part)  # in
    figure = Figure(figsize=(PAGE, height), facecolor="white")
    left = _margin(names)
    figure.subplots_adjust(left / PAGE, 0.45 / height, 1 - 0.1 / PAGE, 1 - 0.32 / height)
    axes = figure.add_subplot()
    for y, row in enumerate(part.to_dict("records")):
        if not row["trials"]:
            axes.text(0.5, y, "no result yet", size=FONT, color=GREY, ha="center", va="center")
        for measure, (colour, marker, shift) in MARKS.items():
            mean, sd = row[f"{measure}_mean"], row[f"{measure}_sd"]
            style: dict[str, Any] = {"color": colour, "marker": marker, "ms": 5}
            style |= {"mec": "white", "mew": 0.5, "elinewidth": 1.2}
            axes.errorbar(mean, y + shift, xerr=None if np.isnan(sd) else sd, **style)
            _published_mark(axes, row, measure, y + shift + 0.15)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("share of the layer's filters (mean ± sd over trials)", size=8)
    _name_rows(axes, names)
    kinds = {kind for measure in MARKS for kind in part[f"published_{measure}_kind"]}
    _legend(figure, _fraction_handles(truth_word(study, dataset), kinds))
    save(figure, paths)


def _published_mark(axes: Axes, row: Mapping[Any, Any], measure: str, y: float) -> None:
    """Draw a published number: a diamond, or a bar with an arrow for a bound."""
    kind = row[f"published_{measure}_kind"]
    mean, sd = row[f"published_{measure}_mean"], row[f"published_{measure}_sd"]
    style: dict[str, Any] = {"color": PAPER, "lw": 0, "zorder": 3}
    if kind in ("exact", "value"):
        style |= {"marker": "D", "mfc": "none", "ms": 4, "mew": 0.9}
        style |= {"elinewidth": 0.7, "capsize": 2}
        axes.errorbar(mean, y, xerr=None if np.isnan(sd) else sd, **style)
    elif kind:
        arrow = "$\\leftarrow$" if kind == "at-most" else "$\\rightarrow$"
        axes.plot(mean, y, marker="|", ms=6, **style)
        axes.plot(mean + (-0.013 if kind == "at-most" else 0.013), y, marker=arrow, mew=0, **style)


def _fraction_handles(word: str, kinds: set[str]) -> list[Artist]:
    """Make the legend's entries: both fractions, and the kinds of published numbers that occur."""
    from matplotlib.lines import Line2D

    handles: list[Artist] = [
        Line2D([], [], color=colour, marker=marker, lw=0, ms=5, label=f"{name} match")
        for name, (colour, marker, _) in zip((word, "any"), MARKS.values(), strict=True)
    ]
    if kinds & {"exact", "value"}:
        mark: dict[str, Any] = {"color": PAPER, "marker": "D", "lw": 0, "ms": 4, "mfc": "none"}
        handles.append(Line2D([], [], **mark, label="published (± sd)"))
    if kinds & {"at-most", "at-least"}:
        mark = {"color": PAPER, "marker": "$\\leftarrow$", "lw": 0, "ms": 7, "mew": 0}
        handles.append(Line2D([], [], **mark, label="published bound of a group"))
    return handles


def history_plot(
    histories: Mapping[str, Mapping[int, pd.DataFrame]], paths: Paths, measure: str = "loss"
) -> None:
    """Draw training curves, a panel for each model and a line for each trial.

    Parameters
    ----------
    histories : dict of model's label to dict of trial to DataFrame
        Columns as in ``history.csv``.
    measure : {"loss", "auroc"}
        Training loss (grey) and validation loss (blue), or validation AUROC.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = min(PANELS, max(1, len(histories)))
    rows = max(1, -(-len(histories) // columns))
    width, height = max(3.5, PAGE * columns / PANELS), 0.85 + 1.2 * rows  # in
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.subplots_adjust(
        0.55 / width, 0.45 / height, 1 - 0.1 / width, 1 - 0.45 / height, wspace=0.1, hspace=0.3
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for i, axes in enumerate(grid.flat):
        # The last panel of a column has the axis labels, even if the grid is not full.
        axes.tick_params(labelbottom=i + columns >= len(histories))
        axes.set_visible(i < len(histories))
    for axes, (name, trials) in zip(grid.flat, histories.items(), strict=False):
        for history in trials.values():
            _curves(axes, history, measure)
        axes.set_title(short(name), size=8, parse_math=False, pad=3)
        axes.tick_params(labelsize=FONT, length=2)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=FAINT, lw=0.5)
    figure.supxlabel("epoch", size=8, y=0.06 / height, va="bottom")
    words = "loss" if measure == "loss" else "validation AUROC"
    figure.supylabel(words, size=8, x=0.06 / width, ha="left")
    if measure == "loss":
        handles = [
            Line2D([], [], color=TRAINING, label="training"),
            Line2D([], [], color=TRUTH, label="validation"),
            Line2D([], [], color=TRUTH, marker="o", lw=0, ms=3, label="lowest validation loss"),
        ]
        _legend(figure, handles)
    save(figure, paths)


def _curves(axes: Axes, history: pd.DataFrame, measure: str) -> None:
    """Draw one trial, with a dot at the epoch of the lowest validation loss."""
    line: dict[str, Any] = {"lw": 0.9, "alpha": 0.85}
    if measure == "auroc":
        axes.plot(history.epoch, history.val_auroc, color=TRUTH, **line)
        return
    axes.plot(history.epoch, history.loss, color=TRAINING, **line)
    axes.plot(history.epoch, history.val_loss, color=TRUTH, **line)
    best = history.val_loss.to_numpy().argmin()  # never nan: such a cell fails
    axes.plot(history.epoch.iloc[best], history.val_loss.iloc[best], "o", color=TRUTH, ms=3)


# ------------------------------------------------------------------------------------ heat maps


class Map(NamedTuple):
    """One heat map of R rows and C columns."""

    title: str
    columns: Sequence[str]
    values: np.ndarray  # (R, C); nan is white
    framed: int | None = None  # index of a column to highlight
    marked: np.ndarray | None = None  # (R, C) bool: values in bold, with a frame


@dataclass(frozen=True)
class HeatStyle:
    """Settings that heat maps side by side share."""

    axis: str  # label of the columns' axis
    cell: float  # in, minimum width of a column
    most: float = 1.0  # value of the darkest blue; 0 is the lightest
    digits: int = 2  # decimals of a number
    slanted: bool = False  # column names are slanted, for long names


def short(name: str) -> str:
    """Cut a long name to `LONGEST` characters."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def heat_maps(rows: Sequence[str], maps: Sequence[Map], paths: Paths, style: HeatStyle) -> None:
    """Draw heat maps side by side, with the same rows and the value written into each cell."""
    from matplotlib.figure import Figure

    rows = [short(name) for name in rows]
    maps = [heat._replace(columns=[short(name) for name in heat.columns]) for heat in maps]
    left = _margin(rows)
    longest = max(len(name) for heat in maps for name in heat.columns)
    # In inches; slanted names need room on the right.
    over = 0.05 * longest + 0.12 if style.slanted else 0.0
    above = over + 0.1 if style.slanted else 0.22
    above += 0.24 if any(heat.title for heat in maps) else 0.05
    widths = [max(style.cell * len(heat.columns), 0.08 * len(heat.title)) for heat in maps]
    drawn = sum(widths) + GAP * (len(maps) - 1)
    half_axis = LETTER / 2 * len(style.axis)
    width = max(left + drawn + max(over, 0.1), LEAST, 2 * half_axis)
    height = above + ROW * len(rows) + BELOW
    figure = Figure(figsize=(width, height), facecolor="white")
    x = left
    for heat, wide in zip(maps, widths, strict=True):
        box = x / width, BELOW / height, wide / width, ROW * len(rows) / height
        axes = figure.add_axes(box, xlim=(0, len(heat.columns)), ylim=(len(rows), 0))
        _heat_map(axes, heat, rows if heat is maps[0] else [], style)
        if heat.title:
            bold: dict[str, Any] = {"weight": "bold", "ha": "center", "va": "center"}
            lift = (above - 0.12) / ROW  # in rows
            axes.text(len(heat.columns) / 2, -lift, heat.title, size=8, parse_math=False, **bold)
        x += wide + GAP
    middle = min(max(left + drawn / 2, half_axis), width - half_axis)
    centred: dict[str, Any] = {"size": 8, "ha": "center", "va": "center", "parse_math": False}
    figure.text(middle / width, 0.13 / height, style.axis, **centred)
    save(figure, paths)


def _heat_map(axes: Axes, heat: Map, rows: Sequence[str], style: HeatStyle) -> None:
    """Draw the cells of a map, their numbers and the names of rows and columns."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    colours = colormaps["Blues"]  # safe for the colour-blind, and in grey
    n_rows, n_columns = heat.values.shape
    # The lightest blue differs from white, which means no value.
    scaled = 0.06 + 0.94 * np.clip(heat.values / style.most, 0, 1)
    # Squares, because some viewers blur an image.
    masked = np.ma.masked_invalid(scaled)
    axes.pcolormesh(masked, cmap=colours, vmin=0, vmax=1, ec="white", lw=0.8)
    for i, j in np.argwhere(~np.isnan(heat.values)):
        bold = heat.marked is not None and bool(heat.marked[i, j])
        text: dict[str, Any] = {"weight": "bold" if bold else "normal", "size": FONT - 1}
        text |= {"ha": "center", "va": "center_baseline", "color": ink(colours(scaled[i, j])[:3])}
        axes.text(j + 0.5, i + 0.5, _number(heat.values[i, j], style.digits), **text)
        if bold:
            box = Rectangle((j + 0.04, i + 0.06), 0.92, 0.88, fill=False, ec="black", lw=0.8)
            axes.add_patch(box)
    axes.set(xticks=np.arange(n_columns) + 0.5, yticks=np.arange(n_rows) + 0.5)
    axes.xaxis.tick_top()
    slant: dict[str, Any] = {"rotation": 45, "ha": "left", "rotation_mode": "anchor"}
    names = axes.set_xticklabels(
        heat.columns, size=FONT, parse_math=False, **(slant if style.slanted else {})
    )
    if heat.framed is not None:
        frame: dict[str, Any] = {"fill": False, "ec": "black", "lw": 1.4, "clip_on": False}
        axes.add_patch(Rectangle((heat.framed, 0), 1, n_rows, **frame))
        names[heat.framed].set_fontweight("bold")
    axes.set_yticklabels(rows, size=8, parse_math=False)
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_visible(False)


def ink(colour: Iterable[float]) -> str:
    """Return black or white, the one with more contrast to an RGB colour (0 to 1; WCAG)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"


def _number(value: float, digits: int) -> str:
    text = f"{abs(value):.{digits}f}"
    return "−" + text if value < 0 and text.strip("0.") else text


def _margin(rows: Sequence[str]) -> float:
    """Return the left margin in inches that the names of the rows need."""
    return 0.15 + LETTER * max(map(len, rows), default=0)


# ----------------------------------------------------------------------------- filter by filter


def importance_plot(frame: pd.DataFrame, paths: Paths) -> None:
    """Draw the rise of the loss without each filter; filters that match a class are separate.

    Parameters
    ----------
    frame : DataFrame
        Columns ``row`` (name of the chart's row), ``loss_increase`` (nats), ``class`` ("": none).
    """
    from matplotlib.lines import Line2D

    figure, (axes,), rows = _strips(frame, ["Loss without the filter, minus loss with it (nats)"])
    kinds = (("matches a class", TRUTH, "o", -0.22), ("does not", ANY, "^", 0.2))
    for y, row in enumerate(rows):
        filters = frame[frame.row == row]
        matched = filters["class"] != ""
        for (_, colour, marker, shift), group in zip(kinds, (matched, ~matched), strict=True):
            values = filters.loss_increase[group].to_numpy(float)
            _dots(axes, values, y + shift, colour, marker, np.median)
    axes.set_xscale("symlog", linthresh=NEXT_TO_NOTHING, linscale=0.6)
    largest = max(frame.loss_increase.max(), 10 * NEXT_TO_NOTHING)
    smallest = min(frame.loss_increase.min(), 0.0)
    axes.set_xlim(min(1.6 * smallest, -0.4 * NEXT_TO_NOTHING), 1.6 * largest)
    axes.axvline(0, color=GREY, lw=0.8, zorder=0)
    handles = [
        Line2D([], [], color=colour, marker=marker, lw=0, ms=4, label=words)
        for words, colour, marker, _ in kinds
    ]
    handles.append(Line2D([], [], color="black", marker="|", lw=0, ms=8, mew=1.6, label="median"))
    _legend(figure, handles)
    save(figure, paths)


def firing_plot(frame: pd.DataFrame, paths: Paths) -> None:
    """Draw how well filters that match a class fire at its embedded motifs, compared to chance.

    Parameters
    ----------
    frame : DataFrame
        A row for each filter: ``row`` (name of the chart's row), ``precision``, ``expected``,
        ``recall``.
    """
    from matplotlib.lines import Line2D

    titles = ["Precision: share of firings on the motif", "Recall: share of motifs fired at"]
    figure, (left, right), rows = _strips(frame, titles)
    for y, row in enumerate(rows):
        filters = frame[frame.row == row]
        for axes, measure in ((left, "precision"), (right, "recall")):
            values = filters[measure].dropna().to_numpy(float)
            _dots(axes, values, y, TRUTH, "o", np.mean)
        chance: dict[str, Any] = {"color": ANY, "marker": "D", "ms": 4.5, "mec": "white", "lw": 0}
        left.plot(filters.expected.mean(), y, **chance)
    for axes in (left, right):
        axes.set_xlim(-0.03, 1.03)
    handles = [
        Line2D([], [], color=TRUTH, marker="o", lw=0, ms=4, label="a filter that matches a class"),
        Line2D([], [], color="black", marker="|", lw=0, ms=8, mew=1.6, label="mean"),
        Line2D([], [], **chance, label="chance (of precision)"),
    ]
    _legend(figure, handles)
    save(figure, paths)


def _strips(
    frame: pd.DataFrame, titles: Sequence[str]
) -> tuple[Figure, Sequence[Axes], Sequence[str]]:
    """Make axes side by side, one for each title, with a row for each name in `frame`."""
    from matplotlib.figure import Figure

    rows = list(dict.fromkeys(frame.row))
    height = 0.85 + 0.27 * len(rows)  # in
    figure = Figure(figsize=(PAGE, height), facecolor="white")
    left = _margin([short(row) for row in rows])
    figure.subplots_adjust(
        left / PAGE, 0.45 / height, 1 - 0.12 / PAGE, 1 - 0.32 / height, wspace=0.06
    )
    panels = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    for axes, title in zip(panels, titles, strict=True):
        _name_rows(axes, [short(row) for row in rows])
        axes.set_xlabel(title, size=8)
    return figure, panels, rows


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Label the rows of an axes, and draw lines between them."""
    axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)))
    axes.set_yticklabels(names, size=8, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color=LIGHT, lw=0.6)
    for y in range(1, len(names)):
        axes.axhline(y - 0.5, color=FAINT, lw=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _dots(
    axes: Axes,
    values: np.ndarray,
    y: float,
    colour: str,
    marker: str,
    middle: Callable[[np.ndarray], Any],
) -> None:
    """Draw a dot for each value, spread over a band, and a bar at their middle."""
    spread = 0.13 * np.sin(np.arange(values.size) * 2.4)  # deterministic, unlike random jitter
    # Thousands of dots: an SVG has them as pixels.
    style: dict[str, Any] = {"alpha": 0.35 if values.size > 40 else 0.6, "lw": 0}
    axes.scatter(values, y + spread, s=7, color=colour, marker=marker, rasterized=True, **style)
    if values.size > 1:  # a bar would hide a single dot
        for width, edge in ((2.6, "white"), (1.5, "black")):
            axes.plot(middle(values), y, marker="|", ms=9, mew=width, color=edge, zorder=3)


def _legend(figure: Figure, handles: Sequence[Artist]) -> None:
    figure.legend(handles=handles, loc="upper center", ncols=4, frameon=False, fontsize=8)
