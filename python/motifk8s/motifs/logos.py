"""Sequence logos, placed on a page that is measured in inches.

logomaker takes 0.4 s for a logo, so a minute for a layer of 128 filters. Here it gives only the
outlines of the four letters, and all logos of a page are one collection of paths: 3 ms each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motifk8s.motifs.motif import information

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.path import Path as Outline

# The customary hues of A, C, G, T in the shades of Okabe and Ito, which colour-blind people can
# tell apart; the letters say it again.
COLOURS = ("#009E73", "#0072B2", "#E69F00", "#C1272D")
GREY = "#6B6B6B"
FONT = 7.5  # pt; figures are as wide as a printed page, so this is what a reader gets
PAGE = 7.5  # in
ROW, LOGO = 0.46, 0.32  # in, of a row of logos and of 2 bits
GUTTER = 0.27  # in, left of a logo, for its label
# Text stays text, and the same figure has the same bytes.
SVG: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "motifk8s"}

Paths = str | Path | Iterable[str | Path]


class Panel(NamedTuple):
    """The filters of one layer.

    Attributes
    ----------
    title : str
    ppms : F arrays (W, 4)
    labels : F str
        Names of the matched motifs; "" for none.
    dead : (F,) bool array
        Filters without an alignment.
    note : str
        Written in place of the logos; "" where there are some.
    """

    title: str
    ppms: Sequence[np.ndarray] | np.ndarray
    labels: Sequence[str]
    dead: np.ndarray
    note: str = ""


def letter_heights(ppm: np.ndarray) -> np.ndarray:
    """Compute the height of each letter of a logo: probability times information of the column.

    Parameters
    ----------
    ppm : (W, 4) array
        A column of zeros has no height.

    Returns
    -------
    (W, 4) array, bits
        Columns sum to I = 2 + sum p log2 p (paper, Methods).
    """
    ppm = np.asarray(ppm, dtype=float)
    return ppm * information(ppm)[:, None]


def stacked(heights: np.ndarray) -> np.ndarray:
    """Compute where each letter of a logo begins, (W, 4); the largest of a column is on top."""
    order = np.argsort(heights, axis=1, kind="stable")
    ordered = np.take_along_axis(heights, order, axis=1)
    floors = np.empty_like(ordered)
    np.put_along_axis(floors, order, np.cumsum(ordered, axis=1) - ordered, axis=1)
    return floors


def _letters() -> list[tuple[np.ndarray, np.ndarray]]:
    """Outlines of A, C, G, T, each filling the unit square: vertices (V, 2), codes (V,)."""
    import logomaker
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    glyphs = (logomaker.Glyph(p=0.5, c=c, floor=0, ceiling=1, width=0.96, ax=axes) for c in "ACGT")
    outlines = (glyph.patch.get_path() for glyph in glyphs)
    return [(np.asarray(o.vertices), np.asarray(o.codes)) for o in outlines]


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
        """Write at (x, y); not parsed as mathematics."""
        style = {"size": FONT, "va": "center", "ha": "left", **style}
        self.axes.text(x, y, text, parse_math=False, **style)

    def title(self, text: str) -> None:
        """Write a title, and what the y axes of all logos are."""
        self.text(GUTTER, 0.16, text, size=10, weight="bold")
        self.text(PAGE - 0.1, 0.17, "y axis: 0 to 2 bits", ha="right", color=GREY)

    def logo(self, ppm: np.ndarray, x: float, y: float, width: float) -> None:
        """Place a logo with its lower left corner at (x, y): `LOGO` inches are 2 bits."""
        from matplotlib.path import Path as Outline

        heights = letter_heights(ppm) * (LOGO / 2)
        floors = stacked(heights)
        pitch = width / len(heights)
        for base, (outline, codes) in enumerate(self.letters):
            columns = np.flatnonzero(heights[:, base] > 0.004)  # in; a thinner letter is invisible
            if not columns.size:
                continue
            height, floor = heights[columns, base, None], floors[columns, base, None]
            vertices = np.empty((columns.size, len(outline), 2))
            vertices[:, :, 0] = x + pitch * (columns[:, None] + outline[:, 0])
            vertices[:, :, 1] = y - (floor + height * outline[:, 1])
            self.outlines.append(Outline(vertices.reshape(-1, 2), np.tile(codes, columns.size)))
            self.colours.append(COLOURS[base])
        # The axes: 0 to 2 bits with a tick at each, and the base line.
        self.lines += [[(x, y - LOGO), (x, y)], [(x, y), (x + width, y)]]
        self.lines += [[(x - 0.025, y - h), (x, y - h)] for h in (0, LOGO / 2, LOGO)]

    def dead(self, x: float, y: float, width: float) -> None:
        """Place a grey box instead of a logo: the filter has no alignment."""
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
            # Above the end of the logo, where even a column of 2 bits leaves room.
            self.text(left + cell - GUTTER, floor - LOGO, str(i), size=FONT - 0.5, **style)
            self.side(left, floor, name)

    def side(self, x: float, y: float, name: str) -> None:
        """Write a name along the y axis of the logo at (x, y)."""
        if name:
            short = name if len(name) <= 7 else name[:6] + "…"
            style: dict[str, Any] = {"rotation": 90, "ha": "right", "weight": "bold"}
            self.text(x - 0.05, y - LOGO / 2, short, size=FONT - 0.5, **style)

    def save(self, paths: Paths, dpi: int = 200) -> None:
        """Draw what was placed on the page, and write it."""
        from matplotlib.collections import LineCollection, PathCollection

        self.axes.add_collection(
            PathCollection(self.outlines, facecolors=self.colours, linewidths=0), autolim=False
        )
        self.axes.add_collection(
            LineCollection(self.lines, colors="#555555", linewidths=0.5), autolim=False
        )
        save(self.figure, paths, dpi)


def save(figure: Figure, paths: Paths, dpi: int = 200) -> None:
    """Write a figure to each path, in the format of its suffix; the same bytes each time."""
    from matplotlib import rc_context

    for path in [paths] if isinstance(paths, str | Path) else paths:
        date = {"Date": None} if Path(path).suffix == ".svg" else {}
        with rc_context(SVG):
            figure.savefig(path, dpi=dpi, metadata=date)


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
        A column of zeros is drawn as nothing.
    labels : F str
        Names of the matched motifs, written along the y axis; "" for none. Each logo also has
        its filter's number, from 0.
    paths : path or paths
        Where to write; .png, .svg or .pdf.
    title : str
    dead : (F,) bool array, optional
        Filters without an alignment: a grey box that says so.
    columns : int
        Logos in a row.
    dpi : int
        Of a PNG.
    """
    panel = Panel(title, ppms, labels, np.zeros(len(ppms), bool) if dead is None else dead)
    top = 0.32 if title else 0.08
    sheet = Sheet(PAGE, top + -(-len(ppms) // columns) * ROW + 0.08)
    if title:
        sheet.title(title)
    sheet.grid(panel, 0, top, PAGE - 0.08, columns)
    sheet.save(paths, dpi)
