"""Write a cell's filters: filters.h5, and MEME files, hits and logos of each layer."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from motifk8s.errors import InputError, Problem, one_line
from motifk8s.filters.extract import Filters, extract_layer
from motifk8s.filters.layers import Layer
from motifk8s.motifs import matches
from motifk8s.motifs.database import read_database
from motifk8s.motifs.logos import logo_grid
from motifk8s.motifs.meme import write_meme
from motifk8s.motifs.motif import Motif, trim
from motifk8s.motifs.tomtom import to_tsv, tomtom
from motifk8s.store.files import replacing, write_text
from motifk8s.study.specs import MotifSettings

FORMAT = 1

log = logging.getLogger(__name__)


def extract_layers(
    layers: Mapping[str, Layer], codes: np.ndarray, rule: MotifSettings
) -> dict[str, Filters]:
    """Extract the motifs of the filters of each layer, as `extract_layer`."""
    filters = {}
    for name, layer in layers.items():
        try:
            filters[name] = extract_layer(layer, codes, rule)
        except InputError as error:
            raise InputError(f"layer {name}: {error}") from None
    return filters


def write_filters(path: Path, filters: dict[str, Filters]) -> None:
    """Write filters.h5: for each layer a group with ppm, windows, maximum and dead."""
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file.attrs["format"] = FORMAT
        for name, layer in filters.items():
            group = file.create_group(name)
            group.attrs["maximum_kind"] = layer.maximum_kind
            for field in ("ppm", "windows", "maximum", "dead"):
                group[field] = getattr(layer, field)
    with replacing(path) as target:
        target.write(image.getbuffer())


def read_filters(path: Path | Any) -> dict[str, Filters]:
    """Read the filters of each layer from filters.h5 (a path or a binary file).

    Raises
    ------
    Problem
        If the file has another format version.
    """
    with h5py.File(path, "r") as file:
        if (version := file.attrs.get("format")) != FORMAT:
            raise Problem(f"filters.h5 has format {version}, this version reads {FORMAT}")
        return {
            name: Filters(
                group["ppm"][:],
                group["windows"][:],
                group["maximum"][:],
                str(group.attrs["maximum_kind"]),
                group["dead"][:],
            )
            for name, group in file.items()
        }


def columns(ppm: np.ndarray, rule: MotifSettings) -> slice:
    """Find the columns of a filter's motif (W, 4) float64 that the rule does not trim."""
    if rule.trim is None:
        return slice(0, len(ppm))
    return trim(ppm, rule.trim.bits, rule.trim.pad, rule.trim.sharpen)


def layer_motifs(filters: Filters, rule: MotifSettings) -> list[Motif]:
    """Make the motifs to compare: of the filters that are not dead, trimmed by the rule."""
    motifs = []
    for i in np.flatnonzero(~filters.dead):
        ppm = filters.ppm[i].astype(np.float64)
        ppm = ppm[columns(ppm, rule)]
        nsites = len(ppm) if rule.nsites == "width" else int(filters.windows[i])
        motifs.append(Motif(f"filter{i}", ppm, nsites))
    return motifs


def match_layers(
    filters: dict[str, Filters],
    rule: MotifSettings,
    database: str,
    evalue: float,
    truth: dict[str, list[str]],
    folder: Path,
    *,
    distance: str = "euclidean",
    qvalue: float | None = None,
) -> dict[str, Any]:
    """Compare the motifs of each layer with the database; write MEME files and hits.

    `evalue`, `distance` and `qvalue` are as in `tomtom`. The result is ``layers`` in
    ``metrics.json``: the matches by layer.
    """
    targets = read_database(database)
    layers: dict[str, Any] = {}
    options: dict[str, Any] = {"distance": distance, "qvalue": qvalue}
    for name, layer in filters.items():
        queries = layer_motifs(layer, rule)
        hits = tomtom(queries, targets, evalue, **options)
        write_meme(queries, folder / f"motifs-{name}.meme")
        write_text(folder / f"hits-{name}.tsv", to_tsv(hits))
        widths = {len(query.ppm) for query in queries}
        null = {width: matches.null_targets(width, targets, evalue, **options) for width in widths}
        layers[name] = {
            "n_filters": len(layer.dead),
            "window": int(layer.ppm.shape[1]),
            "maximum": layer.maximum_kind,
            **matches.summarize(hits, queries, layer.dead, truth, null),
        }
    return layers


def draw_layers(
    filters: dict[str, Filters],
    layers: dict[str, Any],
    title: str,
    folder: Path,
    note: Callable[[str], None] = log.warning,
) -> None:
    """Draw the logos of each layer; the label of a matched filter is its class.

    A picture that cannot be drawn is left out: `note` is called, and the motifs stay.
    """
    for name, layer in filters.items():
        labels = layers[name]["labels"]
        path = folder / f"logos-{name}.png"
        try:
            logo_grid(
                layer.ppm,
                [labels.get(f"filter{i}", {}).get("class", "") for i in range(len(layer.dead))],
                path,
                title=f"{title}, {name}",
                dead=layer.dead,
            )
        except Exception as error:  # matplotlib raises errors of many types
            path.unlink(missing_ok=True)
            note(f"{path.name} was not drawn: {one_line(error)}")
