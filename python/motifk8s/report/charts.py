"""Charts of what is asked beyond the paper: heat maps with their numbers, filters one by one.

Like `figures`, on matplotlib's object interface and measured in inches by hand: automatic layout
takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from motifk8s.motifs.logos import FONT, GREY, PAGE, Paths, save
from motifk8s.report.figures import ANY, LIGHT, TRUTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.2  # in, of a row of a heat map
LEAST = 5.0  # in, the width of a heat map: a page shows a narrower one too large
LETTER = 0.068  # in, of text of 8 pt in the mean
LONGEST = 26  # characters of a name; more are cut
MOST = 60  # rows or columns of a heat map that can still be read
# Below this the axis of losses is linear, above logarithmic: silencing most filters does little.
NEXT_TO_NOTHING = 1e-4  # nats


class Map(NamedTuple):
    """One heat map: its title, names of the columns, values (R, C); nan is left white."""

    title: str
    columns: Sequence[str]
    values: np.ndarray


def short(name: str) -> str:
    """A name that leaves room for the chart."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def heat_maps(
    rows: Sequence[str],
    maps: Sequence[Map],
    paths: Paths,
    *,
    axis: str,
    cell: float,
    most: float = 1.0,
    digits: int = 2,
    framed: int | None = None,
    slanted: bool = False,
    marked: np.ndarray | None = None,
) -> None:
    """Heat maps side by side, with the same rows and the value written into each cell.

    Parameters
    ----------
    rows : R str
    maps : sequence of Map
    paths : path or paths
    axis : str
        What the columns are.
    cell : float
        Width of a column in inches; more where a title needs it.
    most : float
        The value of the darkest blue; 0 is the lightest.
    digits : int
        Decimals of a number.
    framed : int, optional
        A column to point out, by its place.
    slanted : bool
        Whether the names of the columns are too long to stand side by side.
    marked : (R, C) bool array, optional
        Values in bold, with a frame.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    rows = [short(name) for name in rows]
    maps = [one._replace(columns=[short(name) for name in one.columns]) for one in maps]
    gap, left = 0.2, _margin(rows)
    longest = max(len(name) for one in maps for name in one.columns)
    over = 0.05 * longest + 0.12 if slanted else 0.0  # in; names at 45 degrees reach to the right
    above = (over + 0.1 if slanted else 0.22) + (0.24 if any(m.title for m in maps) else 0.05)
    widths = [max(cell * len(one.columns), 0.08 * len(one.title)) for one in maps]
    drawn = sum(widths) + gap * (len(maps) - 1)
    width = max(left + drawn + max(over, 0.1), LEAST, LETTER * len(axis))
    height = above + ROW * len(rows) + 0.3
    figure = Figure(figsize=(width, height), facecolor="white")
    colours = colormaps["Blues"]  # told apart by all, and in grey
    x = left
    for one, wide in zip(maps, widths, strict=True):
        axes = figure.add_axes(
            (x / width, 0.3 / height, wide / width, ROW * len(rows) / height),
            xlim=(0, len(one.columns)),
            ylim=(len(rows), 0),
        )
        x += wide + gap
        # Not quite from white, which is where there is no value.
        scaled = 0.06 + 0.94 * np.clip(one.values / most, 0, 1)
        # Squares rather than an image, which some viewers blur.
        axes.pcolormesh(
            np.ma.masked_invalid(scaled), cmap=colours, vmin=0, vmax=1, ec="white", lw=0.8
        )
        for (i, j), value in np.ndenumerate(one.values):
            if np.isnan(value):
                continue
            bold = marked is not None and bool(marked[i, j])
            axes.text(
                j + 0.5,
                i + 0.5,
                _number(value, digits),
                size=FONT - 1,
                ha="center",
                va="center_baseline",
                weight="bold" if bold else "normal",
                color=ink(colours(scaled[i, j])[:3]),
            )
            if bold:
                box = Rectangle((j + 0.04, i + 0.06), 0.92, 0.88, fill=False, ec="black", lw=0.8)
                axes.add_patch(box)
        if framed is not None:
            frame: dict[str, Any] = {"fill": False, "ec": "black", "lw": 1.4, "clip_on": False}
            axes.add_patch(Rectangle((framed, 0), 1, len(rows), **frame))
        axes.set(xticks=np.arange(len(one.columns)) + 0.5, yticks=np.arange(len(rows)) + 0.5)
        axes.xaxis.tick_top()
        style: dict[str, Any] = {"rotation": 45, "ha": "left", "rotation_mode": "anchor"}
        names = axes.set_xticklabels(
            one.columns, size=FONT, parse_math=False, **(style if slanted else {})
        )
        if framed is not None:
            names[framed].set_fontweight("bold")
        axes.set_yticklabels(rows if one is maps[0] else [], size=8, parse_math=False)
        axes.tick_params(length=0, pad=3)
        axes.spines[:].set_visible(False)
        if one.title:
            lift = (above - 0.12) / (ROW * len(rows))
            middle = len(one.columns) / 2, -lift * len(rows)
            bold_text: dict[str, Any] = {"weight": "bold", "ha": "center", "va": "center"}
            axes.text(*middle, one.title, size=8, parse_math=False, **bold_text)
    middle_x = min(max(left + drawn / 2, LETTER / 2 * len(axis)), width - LETTER / 2 * len(axis))
    below: dict[str, Any] = {"size": 8, "ha": "center", "va": "center", "parse_math": False}
    figure.text(middle_x / width, 0.13 / height, axis, **below)
    save(figure, paths)


def ink(colour: Iterable[float]) -> str:
    """Black or white, whichever is told from a colour (r, g, b of 0 to 1) more easily (WCAG)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"


def _number(value: float, digits: int) -> str:
    text = f"{abs(value):.{digits}f}"
    return "−" + text if value < 0 and text.strip("0.") else text


def _margin(rows: Sequence[str]) -> float:
    """Inches left of a chart for the names of its rows."""
    return 0.15 + LETTER * max(map(len, rows), default=0)


# ----------------------------------------------------------------------------- filter by filter


def importance_plot(frame: pd.DataFrame, paths: Paths) -> None:
    """What the model loses without each filter: those that match a class apart from the rest.

    Parameters
    ----------
    frame : DataFrame
        Columns ``row`` (the name of a row, in order), ``loss_increase`` (nats), ``class`` ("" for
        none).
    paths : path or paths
    """
    from matplotlib.lines import Line2D

    figure, (axes,), rows = _strips(frame, ["Loss without the filter, minus loss with it (nats)"])
    kinds = (("matches a class", TRUTH, "o", -0.22), ("does not", ANY, "^", 0.2))
    for y, row in enumerate(rows):
        here = frame[frame.row == row]
        for (_, colour, marker, shift), mine in zip(
            kinds, (here["class"] != "", here["class"] == ""), strict=True
        ):
            values = here.loc[mine, "loss_increase"].to_numpy(float)
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
    """How well filters that match a class fire at its embedded motifs, beside chance.

    Parameters
    ----------
    frame : DataFrame
        Columns ``row`` (the name of a row, in order), ``precision``, ``expected``, ``recall``: one
        row for each filter.
    paths : path or paths
    """
    from matplotlib.lines import Line2D

    titles = ["Precision: share of firings on the motif", "Recall: share of motifs fired at"]
    figure, (left, right), rows = _strips(frame, titles)
    for y, row in enumerate(rows):
        here = frame[frame.row == row]
        for axes, measure in ((left, "precision"), (right, "recall")):
            values = here[measure].dropna().to_numpy(float)
            _dots(axes, values, y, TRUTH, "o", np.mean)
        chance: dict[str, Any] = {"color": ANY, "marker": "D", "ms": 4.5, "mec": "white", "lw": 0}
        left.plot(here.expected.mean(), y, **chance)
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
    """A row for each name in `frame`, an axes for each title."""
    from matplotlib.figure import Figure

    rows = list(dict.fromkeys(frame.row))
    height = 0.85 + 0.27 * len(rows)  # in
    figure = Figure(figsize=(PAGE, height), facecolor="white")
    left = _margin([short(row) for row in rows])
    figure.subplots_adjust(
        left / PAGE, 0.45 / height, 1 - 0.12 / PAGE, 1 - 0.32 / height, wspace=0.06
    )
    panels = figure.subplots(1, len(titles), squeeze=False)[0]
    for i, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        axes.set(ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)))
        axes.set_yticklabels([short(r) for r in rows] if i == 0 else [], size=8, parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_xlabel(title, size=8)
        axes.grid(axis="x", color=LIGHT, lw=0.6)
        for y in range(1, len(rows)):
            axes.axhline(y - 0.5, color="#EEEEEE", lw=0.6, zorder=0)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
    return figure, panels, rows


def _dots(
    axes: Axes,
    values: np.ndarray,
    y: float,
    colour: str,
    marker: str,
    middle: Callable[[np.ndarray], Any],
) -> None:
    """A dot for each value, spread over a band, and a bar at their middle."""
    spread = 0.13 * np.sin(np.arange(values.size) * 2.4)  # the same each time, unlike chance
    # Pixels, also in an SVG: there are thousands.
    style: dict[str, Any] = {"alpha": 0.35 if values.size > 40 else 0.6, "lw": 0}
    axes.scatter(values, y + spread, s=7, color=colour, marker=marker, rasterized=True, **style)
    if values.size > 1:  # a bar would hide a single dot
        for width, edge in ((2.6, "white"), (1.5, "black")):
            axes.plot(middle(values), y, marker="|", ms=9, mew=width, color=edge, zorder=3)


def _legend(figure: Figure, handles: Sequence[Any]) -> None:
    figure.legend(handles=handles, loc="upper center", ncols=4, frameon=False, fontsize=8)
