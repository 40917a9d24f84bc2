"""Draw sequence logos on a page that is measured in inches.

logomaker takes 0.4 s for a logo, so a minute for a layer of 128 filters. This module takes only
the outlines of the four letters from it, and draws all logos of a page as one collection of
paths: 3 ms a logo.
"""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motifk8s.motifs.motif import information
from motifk8s.store.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path as Outline

# The usual hues of A, C, G, T, in the shades of Okabe and Ito. Colour-blind people can distinguish
# these shades.
COLOURS = ("#009E73", "#0072B2", "#E69F00", "#C1272D")
GREY = "#6B6B6B"
FONT = 7.5  # pt; also in print, because a figure is as wide as a printed page
PAGE = 7.5  # in
ROW, LOGO = 0.46, 0.32  # in, of a row of logos and of 2 bits
THINNEST = 0.025  # bits, 0.004 in; thinner letters are invisible
GUTTER = 0.27  # in, left of a logo, for its label
# Text stays text in the SVG, and the same figure has the same bytes.
SVG: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "motifk8s"}

Paths = str | Path | Iterable[str | Path]


class Panel(NamedTuple):
    """The F filters of one layer."""

    title: str
    ppms: Sequence[np.ndarray] | np.ndarray  # F arrays (W, 4)
    labels: Sequence[str]  # F names of the matched motifs; "" without a match
    dead: np.ndarray  # (F,) bool: filters without an alignment
    note: str = ""  # printed instead of the logos if there are none


def letter_heights(ppm: np.ndarray) -> np.ndarray:
    """Compute the height (W, 4), in bits, of each letter of a logo from its PPM (W, 4).

    It is the letter's probability times the information of the column, I = 2 + sum p log2 p
    (paper, Methods). A column of zeros has height 0.
    """
    ppm = np.asarray(ppm, dtype=float)
    return ppm * information(ppm)[:, None]


def stacked(heights: np.ndarray) -> np.ndarray:
    """Compute the lower end of each letter of a logo, (W, 4); the largest of a column is on top."""
    order = np.argsort(heights, axis=1, kind="stable")
    ordered = np.take_along_axis(heights, order, axis=1)
    floors = np.empty_like(ordered)
    np.put_along_axis(floors, order, np.cumsum(ordered, axis=1) - ordered, axis=1)
    return floors


@cache
def _letters() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the outlines of A, C, G, T in the unit square: vertices (V, 2), codes (V,)."""
    import logomaker
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    glyphs = (logomaker.Glyph(p=0.5, c=c, floor=0, ceiling=1, width=0.96, ax=axes) for c in "ACGT")
    outlines = (glyph.patch.get_path() for glyph in glyphs)
    return [(np.asarray(o.vertices), np.asarray(o.codes)) for o in outlines]


def _shapes(
    ppm: np.ndarray,
    letters: Sequence[tuple[np.ndarray, np.ndarray]],
    corner: tuple[float, float],
    pitch: float,
    bit: float,
) -> Iterator[tuple[Outline, str]]:
    """Yield the letters of a logo: one path for each base, and its colour.

    Parameters
    ----------
    letters : list
        From `_letters`.
    corner : pair of float
        The lower left corner (x, y).
    pitch, bit : float
        Width of a column and height of a bit; that is negative if y grows downwards.
    """
    from matplotlib.path import Path as Outline

    x, y = corner
    heights = letter_heights(ppm)
    floors = stacked(heights)
    for base, (outline, codes) in enumerate(letters):
        columns = np.flatnonzero(heights[:, base] > THINNEST)
        if not columns.size:
            continue
        height, floor = heights[columns, base, None], floors[columns, base, None]
        vertices = np.empty((columns.size, len(outline), 2))
        vertices[:, :, 0] = x + pitch * (columns[:, None] + outline[:, 0])
        vertices[:, :, 1] = y + bit * (floor + height * outline[:, 1])
        yield Outline(vertices.reshape(-1, 2), np.tile(codes, columns.size)), COLOURS[base]


class Sheet:
    """A page measured in inches from its top left corner, on which logos are placed."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(width, height), facecolor="white")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.axis("off")
        self.letters = _letters()
        self.outlines: list[Outline] = []
        self.colours: list[str] = []
        self.lines: list[list[tuple[float, float]]] = []

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write text at (x, y); "$" and "^" have no special meaning."""
        style = {"size": FONT, "va": "center", "ha": "left", **style}
        self.axes.text(x, y, text, parse_math=False, **style)

    def title(self, text: str) -> None:
        """Write a title, and the range of all y axes."""
        self.text(GUTTER, 0.16, text, size=10, weight="bold")
        self.text(PAGE - 0.1, 0.17, "y axis: 0 to 2 bits", ha="right", color=GREY)

    def logo(self, ppm: np.ndarray, x: float, y: float, width: float) -> None:
        """Place a logo with its lower left corner at (x, y); `LOGO` inches are 2 bits."""
        pitch = width / len(ppm)
        for outline, colour in _shapes(ppm, self.letters, (x, y), pitch, -LOGO / 2):
            self.outlines.append(outline)
            self.colours.append(colour)
        # The y axis with ticks at 0, 1 and 2 bits, and the x axis.
        self.lines += [[(x, y - LOGO), (x, y)], [(x, y), (x + width, y)]]
        self.lines += [[(x - 0.025, y - h), (x, y - h)] for h in (0, LOGO / 2, LOGO)]

    def dead(self, x: float, y: float, width: float) -> None:
        """Place a grey box for a filter without an alignment."""
        from matplotlib.patches import Rectangle

        self.axes.add_patch(
            Rectangle((x, y - LOGO), width, LOGO, facecolor="#EEEEEE", edgecolor="#BBBBBB", lw=0.5)
        )
        self.text(x + width / 2, y - LOGO / 2, "dead", ha="center", color="#666666")

    def grid(self, panel: Panel, x: float, y: float, width: float, columns: int) -> None:
        """Place the filters of one layer row by row, from the upper left corner (x, y)."""
        cell = width / columns
        style: dict[str, Any] = {"ha": "right", "va": "bottom", "color": "#767676"}
        for i, (ppm, name, dead) in enumerate(
            zip(panel.ppms, panel.labels, panel.dead, strict=True)
        ):
            left = x + (i % columns) * cell + GUTTER
            floor = y + (i // columns + 1) * ROW - 0.03
            if dead:
                self.dead(left, floor, cell - GUTTER)
            else:
                self.logo(ppm, left, floor, cell - GUTTER)
            # The number is above the end of the logo: a column of 2 bits does not reach it.
            self.text(left + cell - GUTTER, floor - LOGO, str(i), size=FONT - 0.5, **style)
            self.side(left, floor, name)

    def side(self, x: float, y: float, name: str) -> None:
        """Write a name along the y axis of the logo at (x, y)."""
        if name:
            short = name if len(name) <= 7 else name[:6] + "…"
            style: dict[str, Any] = {"rotation": 90, "ha": "right", "weight": "bold"}
            self.text(x - 0.05, y - LOGO / 2, short, size=FONT - 0.5, **style)

    def save(self, paths: Paths, dpi: int = 200) -> None:
        """Draw the page and write it to each path."""
        from matplotlib.collections import LineCollection, PathCollection

        self.axes.add_collection(
            PathCollection(self.outlines, facecolors=self.colours, linewidths=0), autolim=False
        )
        self.axes.add_collection(
            LineCollection(self.lines, colors="#555555", linewidths=0.5), autolim=False
        )
        save(self.figure, paths, dpi)


def save(figure: Figure, paths: Paths, dpi: int = 200) -> None:
    """Write a figure to each path in the format of its suffix; the same figure, the same bytes."""
    from matplotlib import rc_context

    for path in [paths] if isinstance(paths, str | Path) else paths:
        kind = Path(path).suffix.removeprefix(".")
        date = {"Date": None} if kind == "svg" else {}
        with rc_context(SVG), replacing(Path(path)) as file:
            figure.savefig(file, format=kind or None, dpi=dpi, metadata=date)


def draw_logo(axes: Axes, ppm: np.ndarray, title: str = "") -> None:
    """Draw the logo of a PPM (W, 4) on axes of matplotlib: positions from 1, and bits."""
    from matplotlib.collections import PathCollection

    shapes, colours = [], []
    for shape, colour in _shapes(ppm, _letters(), (0.5, 0.0), 1.0, 1.0):
        shapes.append(shape)
        colours.append(colour)
    axes.add_collection(PathCollection(shapes, facecolors=colours, linewidths=0), autolim=False)
    step = -(-len(ppm) // 15)
    axes.set(
        xlim=(0.5, len(ppm) + 0.5), ylim=(0, 2), xticks=range(1, len(ppm) + 1, step),
        yticks=(0, 1, 2), ylabel="bits",
    )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, parse_math=False, loc="left", size="medium")


@cache
def _notebook_figure() -> type[Figure]:
    """Return a class of figures that a notebook shows.

    IPython shows a plain figure only after pyplot has made one.
    """
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png", dpi=80)
            return file.getvalue()

    return NotebookFigure


def logo_figure(ppms: Sequence[np.ndarray], titles: Sequence[str], columns: int) -> Figure:
    """Draw logos in a grid, each with its title; one letter has the same width in all."""
    rows = -(-len(ppms) // columns)
    widest = max(len(ppm) for ppm in ppms)
    size = (columns * max(2.0, 0.22 * widest + 0.7), 1.35 * rows)  # in
    figure = _notebook_figure()(figsize=size, layout="constrained", facecolor="white")
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for axes, ppm, title in zip(figure.axes, ppms, titles, strict=False):
        axes.axis("on")
        draw_logo(axes, ppm, title)
        axes.set_xlim(0.5, widest + 0.5)
    return figure


def logo_grid(
    ppms: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[str],
    paths: Paths,
    title: str = "",
    dead: np.ndarray | None = None,
    columns: int = 6,
    dpi: int = 200,
) -> None:
    """Draw sequence logos of a layer's filters in a grid, one page wide.

    Parameters
    ----------
    ppms : (F, W, 4) array or F arrays (W, 4)
        A column of zeros is left empty.
    labels : F str
        Names of the matched motifs, written along the y axis; "" without a match. The number of
        each filter, from 0, is drawn too.
    paths : path or paths
        Output files: .png, .svg or .pdf.
    dead : (F,) bool array, optional
        Filters without an alignment, drawn as a grey box with the word "dead".
    columns : int
        Logos in a row.
    dpi : int
        Resolution of a PNG.
    """
    panel = Panel(title, ppms, labels, np.zeros(len(ppms), bool) if dead is None else dead)
    top = 0.32 if title else 0.08
    sheet = Sheet(PAGE, top + -(-len(ppms) // columns) * ROW + 0.08)
    if title:
        sheet.title(title)
    sheet.grid(panel, 0, top, PAGE - 0.08, columns)
    sheet.save(paths, dpi)


def svg_letters() -> str:
    """Write the outlines of A, C, G, T as hidden symbols of a page, for its logos of `svg_logo`."""
    steps = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}  # codes of matplotlib's paths
    symbols = []
    for letter, colour, (vertices, codes) in zip("ACGT", COLOURS, _letters(), strict=True):
        path, last = "", 0
        for (x, y), code in zip(vertices.tolist(), codes.tolist(), strict=True):
            if code == 79:
                path += "Z"
            else:  # a curve has one letter for its two or three points
                path += f"{' ' if code == last and code > 2 else steps[code]}{x:.3f} {1 - y:.3f}"
            last = code
        symbols.append(f'<path id="logo-{letter}" fill="{colour}" d="{path}"/>')
    return (
        f'<svg width="0" height="0" style="position:absolute"><defs>{"".join(symbols)}</defs></svg>'
    )


def svg_logo(ppm: np.ndarray, alt: str) -> str:
    """Draw a logo (W, 4) as SVG of 11 px a column and 48 px for 2 bits, with text for its reader.

    The page needs the symbols of `svg_letters` once.
    """
    wide, high = 11, 24  # px of a column, and of a bit
    heights = letter_heights(ppm)
    floors = stacked(heights)
    uses = []
    for i, base in zip(*np.nonzero(heights > 0.01), strict=True):
        height = heights[i, base] * high
        top = 2 * high - floors[i, base] * high - height
        place = f"translate({i * wide} {top:.1f}) scale({wide} {height:.1f})"
        uses.append(f'<use href="#logo-{"ACGT"[base]}" transform="{place}"/>')
    width = wide * len(ppm)
    line = f'<path d="M0 {2 * high}H{width}" stroke="#999"/>'
    return (
        f'<svg class="logo" role="img" aria-label="{html.escape(alt)}" width="{width}" '
        f'height="{2 * high + 1}">{"".join(uses)}{line}</svg>'
    )
