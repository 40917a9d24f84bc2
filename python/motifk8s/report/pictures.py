"""Which figures a study has: drawn from its cells into files, and embedded into its report."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from motifk8s.cells.finished import CellFiles
from motifk8s.errors import InputError
from motifk8s.motifs.database import read_database
from motifk8s.motifs.logos import logo_grid
from motifk8s.motifs.motif import Motif
from motifk8s.report import figures
from motifk8s.report.answer import pooling_family
from motifk8s.report.words import label, listed, truth_word
from motifk8s.study.specs import FigureSpec
from motifk8s.study.study import Study

PANELS = 3  # models side by side, as in the paper's Fig 2
MOST_FILTERS = 40  # of a model in that figure


class Picture(NamedTuple):
    """A figure in the page: its image as a data URI, words for it, the files it was drawn to."""

    uri: str
    caption: str
    alt: str
    files: tuple[Path, ...] = ()


def draw(
    study: Study, table: pd.DataFrame, cells: Mapping[str, CellFiles], folder: Path
) -> dict[str, list[Picture]]:
    """Draw each data set's figures as PNG and SVG; return them by data set, for the page.

    Parameters
    ----------
    study : Study
    table : DataFrame
        As from `tables.table1`.
    cells : dict of cell id to CellFiles
    folder : Path
        Where they go: ``DATASET-{fractions,loss,auroc}.{png,svg}``, and of filters
        ``NAME.{png,svg}`` for each of the study's figures, or ``DATASET-logos.{png,svg}`` where
        it has none.
    """
    datasets = dict.fromkeys(files.metrics["dataset"] for files in cells.values())
    return {name: _draw(study, table, cells, name, folder) for name in datasets}


def _draw(
    study: Study, table: pd.DataFrame, cells: Mapping[str, CellFiles], dataset: str, folder: Path
) -> list[Picture]:
    pictures = []

    def paths(name: str) -> list[Path]:
        return both(folder, f"{dataset}-{name}")

    def add(name: str, caption: str, alt: str) -> None:
        pictures.append(Picture(embed(paths(name)[0]), caption, alt, tuple(paths(name))))

    word = truth_word(study, dataset)
    figures.fractions_plot(table, study, dataset, paths("fractions"))
    add(
        "fractions",
        f"Share of the filters with a {word} match, and with any match in "
        f"{study.matches.database}: mean and sd over trials, and the published numbers.",
        "Chart of the match fractions of the table, a row for each architecture.",
    )
    named = study.figures_of(dataset) or _chosen(study, table, dataset)
    for name, figure in named.items():
        to = both(folder, name)
        panels = draw_figure(study, figure, cells, to)
        if all(panel.note for panel in panels):
            continue
        names = listed([panel.title for panel in panels if not panel.note])
        caption = (
            f"{figure.title or 'Filters'}: {names}, as sequence logos. Where a filter matches the "
            "motif of a class, the y axis bears its name. Below, the motifs of the classes."
        )
        alt = f"Sequence logos of the filters of {names}."
        pictures.append(Picture(embed(to[0]), caption, alt, tuple(to)))
    histories: dict[str, dict[int, pd.DataFrame]] = {}
    for files in cells.values():
        if files.metrics["dataset"] == dataset:
            name = label(study, files.metrics["model"])
            histories.setdefault(name, {})[files.metrics["trial"]] = files.history
    figures.history_plot(histories, paths("loss"))
    add(
        "loss",
        "Loss by epoch, a line for each trial.",
        "Training and validation loss by epoch, a panel for each architecture.",
    )
    figures.history_plot(histories, paths("auroc"), measure="auroc")
    add(
        "auroc",
        "AUROC on the validation set by epoch, mean over classes, a line for each trial.",
        "Validation AUROC by epoch, a panel for each architecture.",
    )
    return pictures


def both(folder: Path, name: str) -> list[Path]:
    """Where a figure goes, as PNG and as SVG."""
    return [folder / f"{name}.{suffix}" for suffix in ("png", "svg")]


def _chosen(study: Study, table: pd.DataFrame, dataset: str) -> dict[str, FigureSpec]:
    """The figure of a study that names none: lowest, middle and highest share with a match.

    Taken from the architectures that differ in pooling alone, if two or more of these have a
    result; from all otherwise.
    """
    first = table[(table.dataset == dataset) & (table.layer == "conv1") & (table.trials > 0)]
    share = dict(zip(first.model, first.match_truth_mean, strict=True))
    fits = [m for m in share if study.models[m].conv[0].filters <= MOST_FILTERS]
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
) -> list[figures.Panel]:
    """Draw a figure of a study, of the first finished trial of each model; return its panels.

    A panel without a finished cell says so in its `note`; where all do, nothing is drawn.
    """
    panels = [
        _first_panel(study, figure.dataset, model, layer, cells) for model, layer in figure.layers()
    ]
    if not all(panel.note for panel in panels):
        truth = truth_motifs(study, figure.dataset)
        figures.paper_figure(panels, truth, paths, figure.title)
    return panels


def _first_panel(
    study: Study, dataset: str, model: str, layer: str, cells: Mapping[str, CellFiles]
) -> figures.Panel:
    """The filters of a layer, of the first finished trial."""
    name = label(study, model)
    if len(study.models[model].layers_before_pooling()) > 1:
        name += f", {layer}"
    files = [
        c for c in cells.values() if (c.metrics["dataset"], c.metrics["model"]) == (dataset, model)
    ]
    if files:
        first = min(files, key=lambda f: f.metrics["trial"])
        return _panel(first, layer, f"{name}, trial {first.metrics['trial']}")
    n = study.models[model].conv[int(layer.removeprefix("conv")) - 1].filters
    nothing = np.zeros((n, 1, 4))
    return figures.Panel(name, nothing, [""] * n, np.zeros(n, bool), "no result yet")


def _panel(files: CellFiles, layer: str, title: str) -> figures.Panel:
    found = files.filters[layer]
    labels = files.metrics["layers"][layer]["labels"]
    names = [labels.get(f"filter{i}", {}).get("class", "") for i in range(len(found.dead))]
    return figures.Panel(title, found.ppm, names, found.dead)


def truth_motifs(study: Study, dataset: str) -> dict[str, Motif]:
    """The motif of each class, the first of its ids: in a synthetic set the embedded one."""
    spec = study.datasets[dataset]
    source = getattr(spec, "release", study.matches.database)
    wanted = {name: ids[0] for name, ids in spec.motif_ids.items() if ids}
    known = {motif.name: motif for motif in motif_database(source)}
    return {name: known[first] for name, first in wanted.items() if first in known}


def motif_database(source: str) -> list[Motif]:
    """The motifs of a release or file; none where it is not at hand."""
    try:
        return read_database(source)
    except InputError:  # a report can do without the names of motifs
        return []


def embed(path: Path, colours: int = 96) -> str:
    """A PNG as a data URI, in a palette: a third of the size, and nobody sees it."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB").quantize(colours, method=Image.Quantize.FASTOCTREE)
    palette = small.getpalette() or []
    near_white = [i for i in range(0, len(palette), 3) if min(palette[i : i + 3]) > 250]
    for i in near_white:  # or the figure has an edge on the page
        palette[i : i + 3] = [255, 255, 255]
    small.putpalette(palette)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def layer_logos(files: CellFiles, layer: str, title: str) -> Picture:
    """Logos of all filters of a layer, for the page."""
    panel = _panel(files, layer, f"{title}, trial {files.metrics['trial']}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "logos.png"
        logo_grid(panel.ppms, panel.labels, path, panel.title, panel.dead, dpi=140)
        uri = embed(path, colours=48)
    matched = sum(map(bool, panel.labels))
    alt = f"{len(panel.labels)} sequence logos; {matched} match the motif of a class."
    return Picture(uri, "", alt)
