"""Draw the figures of a study, and embed their images in the page."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from motifk8s.cells.finished import CellFiles
from motifk8s.errors import InputError, one_line
from motifk8s.motifs.database import read_database
from motifk8s.motifs.logos import GREY, GUTTER, PAGE, ROW, Panel, Paths, Sheet, logo_grid
from motifk8s.motifs.motif import Motif, reverse_complement
from motifk8s.report import charts
from motifk8s.report.answer import pooling_family
from motifk8s.report.words import label, listed, truth_word
from motifk8s.study.specs import FigureSpec
from motifk8s.study.study import Study

PANELS = 3  # models in a figure that the report chooses, as in the paper's Fig 2
MOST_FILTERS = 40  # of each model in that figure
GAP, HEAD = 0.14, 0.26  # in, gap between panels, and height of a panel's title
ABREAST, MANY = 3, 200  # at most this many panels in a row, and logos in its panels
FEW = 90  # logos in a row: up to this many are drawn larger
TRUTH_PER_ROW = 6  # motifs of the classes in a row
TRUTH_HEAD, TRUTH_ROW = 0.36, 2 * ROW + 0.12  # in, above these motifs, and of their row


T = TypeVar("T")


class Picture(NamedTuple):
    """A figure of the page: its image as a data URI, its texts, and its files."""

    uri: str
    caption: str
    alt: str
    files: tuple[Path, ...] = ()


Drawings = dict[str, Callable[[], list[Picture]]]  # functions that draw pictures, by name


def attempt(name: str, draw: Callable[[], T], instead: T, notes: list[str]) -> T:
    """Draw a picture; if that fails, add a line to `notes` and return `instead`.

    No picture is worth the tables: fonts, files and names of many kinds can make one fail.
    """
    try:
        return draw()
    except Exception as error:  # matplotlib raises errors of many types
        notes.append(f"picture {name} was not drawn: {type(error).__name__}: {one_line(error)}")
        return instead


def draw(
    study: Study,
    table: pd.DataFrame,
    cells: Mapping[str, CellFiles],
    folder: Path,
    notes: list[str] | None = None,
) -> dict[str, list[Picture]]:
    """Draw each data set's figures as PNG and SVG; return them by data set, for the page.

    Parameters
    ----------
    table : DataFrame
        As from `tables.table1`.
    cells : dict of cell id to CellFiles
    folder : Path
        The output folder of ``DATASET-{fractions,loss,auroc}.{png,svg}`` and of the logos:
        ``NAME.{png,svg}`` for each figure of the study, or ``DATASET-logos.{png,svg}`` if the
        study has none.
    notes : list of str, optional
        Gets a line for each picture that cannot be drawn.
    """
    notes = [] if notes is None else notes
    datasets = dict.fromkeys(files.metrics["dataset"] for files in cells.values())
    pictures: dict[str, list[Picture]] = {name: [] for name in datasets}
    for name, shown in pictures.items():
        drawings: Drawings = {
            f"{name}-fractions": partial(_fractions, study, table, name, folder),
            **_logos(study, table, cells, name, folder),
            **_histories(study, cells, name, folder),
        }
        for part, drawing in drawings.items():
            shown += attempt(part, drawing, [], notes)
    return pictures


def _fractions(study: Study, table: pd.DataFrame, dataset: str, folder: Path) -> list[Picture]:
    paths = both(folder, f"{dataset}-fractions")
    charts.fractions_plot(table, study, dataset, paths)
    caption = (
        f"Share of the filters with a {truth_word(study, dataset)} match, and with any match in "
        f"{study.matches.database}: mean and sd over trials, and the published numbers."
    )
    alt = "Chart of the match fractions of the table, a row for each architecture."
    return [picture(paths, caption, alt)]


def _logos(
    study: Study, table: pd.DataFrame, cells: Mapping[str, CellFiles], dataset: str, folder: Path
) -> Drawings:
    chosen = study.figures_of(dataset) or _chosen(study, table, cells, dataset)
    return {
        name: partial(_logo_figure, study, figure, cells, both(folder, name))
        for name, figure in chosen.items()
    }


def _logo_figure(
    study: Study, figure: FigureSpec, cells: Mapping[str, CellFiles], paths: Sequence[Path]
) -> list[Picture]:
    titles = [p.title for p in draw_figure(study, figure, cells, paths) if not p.note]
    if not titles:
        return []
    caption = (
        f"{figure.title or 'Filters'}: {listed(titles)}, as sequence logos. If a filter "
        "matches the motif of a class, the y axis shows the name of the class. Below are the "
        "motifs of the classes."
    )
    return [picture(paths, caption, f"Sequence logos of the filters of {listed(titles)}.")]


def _histories(
    study: Study, cells: Mapping[str, CellFiles], dataset: str, folder: Path
) -> Drawings:
    histories: dict[str, dict[int, pd.DataFrame]] = {}
    for files in cells.values():
        if files.metrics["dataset"] == dataset:
            name = label(study, files.metrics["model"])
            histories.setdefault(name, {})[files.metrics["trial"]] = files.history
    texts = {
        "loss": (
            "Loss by epoch; each line is a trial.",
            "Training and validation loss by epoch, a panel for each architecture.",
        ),
        "auroc": (
            "AUROC on the validation set by epoch, mean over classes; each line is a trial.",
            "Validation AUROC by epoch, a panel for each architecture.",
        ),
    }

    def drawing(measure: str) -> list[Picture]:
        paths = both(folder, f"{dataset}-{measure}")
        charts.history_plot(histories, paths, measure)
        return [picture(paths, *texts[measure])]

    return {f"{dataset}-{measure}": partial(drawing, measure) for measure in texts}


def both(folder: Path, name: str) -> list[Path]:
    """Return the paths of a figure, PNG and SVG."""
    return [folder / f"{name}.{suffix}" for suffix in ("png", "svg")]


def picture(paths: Sequence[Path], caption: str, alt: str) -> Picture:
    """Embed a figure in the page; the first of its files is the PNG."""
    return Picture(embed(paths[0]), caption, alt, tuple(paths))


def _chosen(
    study: Study, table: pd.DataFrame, cells: Mapping[str, CellFiles], dataset: str
) -> dict[str, FigureSpec]:
    """Choose the models with the lowest, middle and highest match fraction, as one figure.

    They are chosen from the architectures that differ only in pooling if two or more of these
    have a result, otherwise from all.
    """
    first = table[(table.dataset == dataset) & (table.layer == "conv1") & (table.trials > 0)]
    share = dict(zip(first.model, first.match_truth_mean, strict=True))
    filters = {m: trials_of(cells, dataset, m)[0].filters["conv1"] for m in share}
    fits = [m for m in share if len(filters[m].dead) <= MOST_FILTERS]
    family = [m for m in pooling_family(study, dataset) if m in fits]
    models = family if len(family) > 1 else fits
    if len(models) > PANELS:
        ranked = sorted(models, key=lambda m: share[m])
        chosen = {ranked[0], ranked[len(ranked) // 2], ranked[-1]}
        models = [m for m in models if m in chosen]
    title = f"First-layer filters, {dataset}"
    figure = FigureSpec(title=title, dataset=dataset, panels=models) if models else None
    return {f"{dataset}-logos": figure} if figure else {}


def draw_figure(
    study: Study, figure: FigureSpec, cells: Mapping[str, CellFiles], paths: Sequence[Path]
) -> list[Panel]:
    """Draw a figure of a study from the first finished trial of each model; return its panels.

    A panel without a finished cell has a `note`; if all panels have one, nothing is drawn.
    """
    panels = [
        _first_panel(study, figure.dataset, model, layer, cells) for model, layer in figure.layers()
    ]
    if not all(panel.note for panel in panels):
        truth = truth_motifs(study, figure.dataset)
        paper_figure(panels, truth, paths, figure.title)
    return panels


def _first_panel(
    study: Study, dataset: str, model: str, layer: str, cells: Mapping[str, CellFiles]
) -> Panel:
    """Return the panel of a layer, from the first finished trial."""
    name = charts.short(label(study, model))
    if len(study.models[model].layers_before_pooling()) > 1:
        name += f", {layer}"
    finished = trials_of(cells, dataset, model)
    if finished:
        return _panel(finished[0], layer, f"{name}, trial {finished[0].metrics['trial']}")
    n = study.models[model].n_filters(layer)
    nothing = np.zeros((n, 1, 4))
    return Panel(name, nothing, [""] * n, np.zeros(n, bool), "no result yet")


def _panel(files: CellFiles, layer: str, title: str) -> Panel:
    filters = files.filters[layer]
    labels = files.metrics["layers"][layer]["labels"]
    names = [labels.get(f"filter{i}", {}).get("class", "") for i in range(len(filters.dead))]
    return Panel(title, filters.ppm, names, filters.dead)


def trials_of(cells: Mapping[str, CellFiles], dataset: str, model: str) -> list[CellFiles]:
    """Return the finished cells of an architecture on a data set, sorted by trial."""
    trials = [
        files
        for files in cells.values()
        if (files.metrics["dataset"], files.metrics["model"]) == (dataset, model)
    ]
    return sorted(trials, key=lambda files: files.metrics["trial"])


def truth_motifs(study: Study, dataset: str) -> dict[str, Motif]:
    """Return the motif of each class: the first of its ids, in synthetic data the embedded one."""
    spec = study.datasets[dataset]
    source = getattr(spec, "release", study.matches.database)
    wanted = {name: ids[0] for name, ids in spec.motif_ids.items() if ids}
    known = {motif.name: motif for motif in motif_database(source)}
    return {name: known[first] for name, first in wanted.items() if first in known}


def motif_database(source: str) -> list[Motif]:
    """Read the motifs of a release or file; return an empty list if it cannot be read."""
    try:
        return read_database(source)
    except InputError:  # the names of motifs are optional in a report
        return []


def embed(path: Path, colours: int = 96) -> str:
    """Encode a PNG as a data URI, with a palette: a third of the size, without visible change."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB").quantize(colours, method=Image.Quantize.FASTOCTREE)
    palette = small.getpalette() or []
    near_white = [i for i in range(0, len(palette), 3) if min(palette[i : i + 3]) > 250]
    for i in near_white:  # otherwise the figure has a visible edge on the page
        palette[i : i + 3] = [255, 255, 255]
    small.putpalette(palette)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def layer_logos(files: CellFiles, layer: str, title: str) -> Picture:
    """Draw the logos of a layer's filters, for the page."""
    panel = _panel(files, layer, f"{title}, trial {files.metrics['trial']}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "logos.png"
        logo_grid(panel.ppms, panel.labels, path, panel.title, panel.dead, dpi=140)
        uri = embed(path, colours=48)
    matched = sum(map(bool, panel.labels))
    alt = f"{len(panel.labels)} sequence logos; {matched} match the motif of a class."
    return Picture(uri, "", alt)


# --------------------------------------------------------------------------------------- logos


def paper_figure(
    panels: Sequence[Panel], truth: Mapping[str, Motif], paths: Paths, title: str = ""
) -> None:
    """Draw logos of several layers side by side and the classes' motifs below (paper, Fig 2).

    The figure is one page wide; `arranged` decides which panels share a row. `truth` has the motif
    of each class, drawn forward and as reverse complement.
    """
    lines = arranged([len(panel.ppms) for panel in panels])
    rows = [max(-(-len(panels[i].ppms) // n) for i, n in line.items()) for line in lines]
    top = 0.32 if title else 0.06
    height = top + sum(HEAD + n * ROW + GAP for n in rows)
    truth_rows = -(-len(truth) // TRUTH_PER_ROW)
    sheet = Sheet(PAGE, height + (TRUTH_HEAD + truth_rows * TRUTH_ROW if truth else 0))
    if title:
        sheet.title(title)
    y = top
    for line, n_rows in zip(lines, rows, strict=True):
        _line(sheet, [(panels[i], n) for i, n in line.items()], y, n_rows)
        y += HEAD + n_rows * ROW + GAP
    if truth:
        _class_motifs(sheet, truth, height)
    sheet.save(paths)


def _line(sheet: Sheet, panels: Sequence[tuple[Panel, int]], y: float, n_rows: int) -> None:
    """Draw a row of panels, each with its number of columns."""
    column = (PAGE - 0.08 - GAP * (len(panels) - 1)) / sum(columns for _, columns in panels)
    x = 0.0
    for panel, columns in panels:
        width = columns * column
        middle = x + (width + GUTTER) / 2
        sheet.text(middle, y + 0.11, panel.title, ha="center", size=9)
        if panel.note:
            below = y + HEAD + n_rows * ROW / 2
            sheet.text(middle, below, panel.note, ha="center", color=GREY, size=9)
        else:
            sheet.grid(panel, x, y + HEAD, width, columns)
        x += width + GAP


def _class_motifs(sheet: Sheet, truth: Mapping[str, Motif], top: float) -> None:
    """Draw a line, and below it the classes' motifs with their reverse complements."""
    sheet.lines.append([(GUTTER, top), (PAGE - 0.08, top)])
    words = "Motifs of the classes: forward, and reverse complement below"
    sheet.text(PAGE / 2, top + 0.18, words, ha="center", size=9)
    cell = (PAGE - 0.08) / TRUTH_PER_ROW
    longest = max(len(motif.ppm) for motif in truth.values())
    for i, (name, motif) in enumerate(truth.items()):
        x = (i % TRUTH_PER_ROW) * cell + GUTTER
        y = top + TRUTH_HEAD + (i // TRUTH_PER_ROW) * TRUTH_ROW + ROW - 0.06
        width = (cell - GUTTER) * len(motif.ppm) / longest
        sheet.logo(motif.ppm, x, y, width)
        sheet.logo(reverse_complement(motif.ppm), x, y + ROW, width)
        sheet.side(x, y + ROW / 2, name)


def arranged(sizes: Sequence[int]) -> list[dict[int, int]]:
    """Arrange panels in rows of the page; return each row's panels with their logo columns.

    A row has at most `ABREAST` panels and, unless it has a single panel, `MANY` logos. `sizes` has
    the number of logos of each panel. Columns are added to the tallest panel of a row, so that its
    panels have about the same height.
    """
    n_lines = 0
    parts: list[np.ndarray] = []
    while not parts or any(len(p) > 1 and sum(sizes[i] for i in p) > MANY for p in parts):
        n_lines += 1
        if -(-len(sizes) // n_lines) <= ABREAST:
            parts = np.array_split(np.arange(len(sizes)), n_lines)
    wide = max(sum(sizes[i] for i in part) for part in parts) <= FEW
    lines = []
    for part in parts:
        columns = {int(i): 1 for i in part}
        while sum(columns.values()) < (6 if wide else 8):
            tallest = max(columns, key=lambda i: -(-sizes[i] // columns[i]))
            columns[tallest] += 1
        rows = max(-(-sizes[i] // n) for i, n in columns.items())
        lines.append({i: -(-sizes[i] // rows) for i in columns})  # no empty columns
    return lines
