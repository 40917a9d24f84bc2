"""Which figures a study has: drawn from its cells into files, and embedded into its report."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from motifk8s import figures, motifs, published
from motifk8s.answer import pooling_family
from motifk8s.errors import InputError

if TYPE_CHECKING:
    from motifk8s.filters import Filters
    from motifk8s.study import Study

PANELS = 3  # models side by side, as in the paper's Fig 2
MOST_FILTERS = 40  # of a model in that figure; more would not fit a page


class CellFiles(NamedTuple):
    """What a report takes from a finished cell.

    Attributes
    ----------
    metrics : dict
        Of ``metrics.json``.
    history : DataFrame
        Of ``history.csv``.
    filters : dict of layer to Filters
        Of ``filters.h5``.
    provenance : dict
        Of ``provenance.json``.
    """

    metrics: dict[str, Any]
    history: pd.DataFrame
    filters: dict[str, Filters]
    provenance: dict[str, Any]


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
        Where they go: ``DATASET-{fractions,logos,loss,auroc}.{png,svg}``.
    """
    datasets = dict.fromkeys(files.metrics["dataset"] for files in cells.values())
    return {name: _draw(study, table, cells, name, folder) for name in datasets}


def _draw(
    study: Study, table: pd.DataFrame, cells: Mapping[str, CellFiles], dataset: str, folder: Path
) -> list[Picture]:
    pictures = []

    def paths(name: str) -> list[Path]:
        return [folder / f"{dataset}-{name}.{suffix}" for suffix in ("png", "svg")]

    def add(name: str, caption: str, alt: str) -> None:
        pictures.append(Picture(embed(paths(name)[0]), caption, alt, tuple(paths(name))))

    word = published.truth_word(study, dataset)
    figures.fractions_plot(table, study, dataset, paths("fractions"))
    add(
        "fractions",
        f"Share of the filters with a {word} match, and with any match in "
        f"{study.matches.database}: mean and sd over trials, and the published numbers.",
        "Chart of the match fractions of the table, a row for each architecture.",
    )
    panels = _panels(study, table, cells, dataset)
    if panels:
        title = f"First-layer filters, {dataset}"
        figures.paper_figure(panels, truth_motifs(study, dataset), paths("logos"), title)
        names = published.listed([panel.title for panel in panels])
        add(
            "logos",
            f"First-layer filters of {names} as sequence logos. Where a filter matches the motif "
            "of a class, the y axis bears its name. Below, the motifs of the classes.",
            f"Sequence logos of the first-layer filters of {names}.",
        )
    histories: dict[str, dict[int, pd.DataFrame]] = {}
    for files in cells.values():
        if files.metrics["dataset"] == dataset:
            name = published.label(study, files.metrics["model"])
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


def _panels(
    study: Study, table: pd.DataFrame, cells: Mapping[str, CellFiles], dataset: str
) -> list[figures.Panel]:
    """Models for the figure of logos: lowest, middle and highest share with a match.

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
    panels = []
    for model in models:
        files = _first_trial(cells, dataset, model)
        title = f"{published.label(study, model)}, trial {files.metrics['trial']}"
        panels.append(_panel(files, "conv1", title))
    return panels


def _first_trial(cells: Mapping[str, CellFiles], dataset: str, model: str) -> CellFiles:
    of = [
        c for c in cells.values() if (c.metrics["dataset"], c.metrics["model"]) == (dataset, model)
    ]
    return min(of, key=lambda files: files.metrics["trial"])


def _panel(files: CellFiles, layer: str, title: str) -> figures.Panel:
    found = files.filters[layer]
    labels = files.metrics["layers"][layer]["labels"]
    names = [labels.get(f"filter{i}", {}).get("class", "") for i in range(len(found.dead))]
    return figures.Panel(title, found.ppm, names, found.dead)


def truth_motifs(study: Study, dataset: str) -> dict[str, motifs.Motif]:
    """The motif of each class, the first of its ids: in a synthetic set the embedded one."""
    spec = study.datasets[dataset]
    source = getattr(spec, "release", study.matches.database)
    wanted = {name: ids[0] for name, ids in spec.motif_ids.items() if ids}
    known = {motif.name: motif for motif in motif_database(source)}
    return {name: known[first] for name, first in wanted.items() if first in known}


def motif_database(source: str) -> list[motifs.Motif]:
    """The motifs of a release or file; none where it is not at hand."""
    try:
        return motifs.database(source)
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
        figures.logo_grid(panel.ppms, panel.labels, path, panel.title, panel.dead, dpi=140)
        uri = embed(path, colours=48)
    matched = sum(map(bool, panel.labels))
    alt = f"{len(panel.labels)} sequence logos; {matched} match the motif of a class."
    return Picture(uri, "", alt)
