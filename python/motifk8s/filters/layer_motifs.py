"""What a trained model's filters come to: filters.h5, MEME files, hits and logos of its layers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from motifk8s.data import datasets
from motifk8s.errors import InputError, Problem
from motifk8s.filters import extract as filters
from motifk8s.motifs import matches
from motifk8s.motifs import motif as motifs
from motifk8s.report import figures
from motifk8s.store.base import FolderStore
from motifk8s.training import devices

if TYPE_CHECKING:
    import keras

    from motifk8s.study.specs import Motifs

FORMAT = 1


def extract(model: keras.Model, codes: np.ndarray, rule: Motifs) -> dict[str, filters.Filters]:
    """Turn the filters of every layer before the first pooling into motifs."""
    layers = filters.readable_layers(model)
    return {name: filters.extract(model, layer, codes, rule) for name, layer in layers.items()}


def write_filters(path: Path, found: dict[str, filters.Filters]) -> None:
    """Write filters.h5: a group a layer with ppm, windows, maximum and dead."""
    with h5py.File(path, "w") as file:
        file.attrs["format"] = FORMAT
        for name, layer in found.items():
            group = file.create_group(name)
            group.attrs["maximum_kind"] = layer.maximum_kind
            for field in ("ppm", "windows", "maximum", "dead"):
                group[field] = getattr(layer, field)


def read_filters(path: Path | Any) -> dict[str, filters.Filters]:
    """Read filters.h5 (a path or a binary file): the filters of each layer, by its name.

    Raises
    ------
    Problem
        If it is of another format.
    """
    with h5py.File(path, "r") as file:
        if (version := file.attrs.get("format")) != FORMAT:
            raise Problem(f"filters.h5 has format {version}, this version reads {FORMAT}")
        return {
            name: filters.Filters(
                group["ppm"][:],
                group["windows"][:],
                group["maximum"][:],
                str(group.attrs["maximum_kind"]),
                group["dead"][:],
            )
            for name, group in file.items()
        }


def layer_motifs(found: filters.Filters, rule: Motifs) -> list[motifs.Motif]:
    """The motifs that are compared: of the living filters, trimmed as the rule says."""
    result = []
    for i in np.flatnonzero(~found.dead):
        ppm = found.ppm[i].astype(np.float64)
        if rule.trim is not None:
            ppm = ppm[motifs.trim(ppm, rule.trim.bits, rule.trim.pad)]
        nsites = len(ppm) if rule.nsites == "width" else int(found.windows[i])
        result.append(motifs.Motif(f"filter{i}", ppm, nsites))
    return result


def match(
    found: dict[str, filters.Filters],
    rule: Motifs,
    database: str,
    evalue: float,
    truth: dict[str, list[str]],
    folder: Path,
) -> dict[str, Any]:
    """Compare the motifs of each layer with the database; write MEME files and hits.

    Returns
    -------
    dict
        By layer, what ``metrics.json`` has as ``layers``.
    """
    targets = motifs.database(database)
    layers: dict[str, Any] = {}
    for name, layer in found.items():
        queries = layer_motifs(layer, rule)
        hits = matches.tomtom(queries, targets, evalue)
        motifs.write_meme(queries, folder / f"motifs-{name}.meme")
        (folder / f"hits-{name}.tsv").write_text(matches.to_tsv(hits))
        widths = [len(query.ppm) for query in queries]
        layers[name] = {
            "n_filters": len(layer.dead),
            "window": int(layer.ppm.shape[1]),
            "maximum": layer.maximum_kind,
            **matches.summarize(
                hits,
                len(layer.dead),
                layer.dead,
                [query.name for query in queries],
                widths,
                truth,
                {w: matches.null_targets(w, targets, evalue) for w in set(widths)},
            ),
        }
    return layers


def draw(
    found: dict[str, filters.Filters], layers: dict[str, Any], title: str, folder: Path
) -> None:
    """Draw the logos of each layer, matched filters labelled with their class."""
    for name, layer in found.items():
        labels = layers[name]["labels"]
        figures.logo_grid(
            layer.ppm,
            [labels.get(f"filter{i}", {}).get("class", "") for i in range(len(layer.dead))],
            folder / f"logos-{name}.png",
            title=f"{title}, {name}",
            dead=layer.dead,
        )


def read_model(
    path: Path, data: str, rule: Motifs, database: str, evalue: float, out: Path
) -> dict[str, Any]:
    """Read and match the filters of a model that was trained elsewhere.

    Parameters
    ----------
    path : Path
        A ``.keras`` file whose input is one-hot sequences (N, L, 4) in the order A C G T.
    data : str
        An HDF5 data set, ours or of the reference layout; its test part is scanned.
    rule : Motifs
    database, evalue
        As in a study's ``matches``.
    out : Path
        Folder for ``filters.h5``, MEME files, hits and logos; written when all of it is made.

    Returns
    -------
    dict
        What each layer's filters match, as ``layers`` in ``metrics.json``.

    Raises
    ------
    InputError
        If the model or the data cannot be read or do not fit each other.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a model saved by keras as .keras")
    motifs.database_version(database)  # refused now rather than after minutes
    target = FolderStore(out)
    codes, _ = datasets.read(data).part("test")
    devices.setup()
    model = _load(path, data, codes.shape[1])
    with tempfile.TemporaryDirectory(prefix="motifk8s-") as temporary:
        here = Path(temporary)
        found = extract(model, codes, rule)
        write_filters(here / "filters.h5", found)
        layers = match(found, rule, database, evalue, {}, here)
        draw(found, layers, path.stem, here)
        for file in sorted(here.iterdir()):
            target.upload(file, file.name)
    return layers


def _load(path: Path, data: str, length: int) -> keras.Model:
    """Load a model for sequences of `length` bp."""
    import keras

    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its file format raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: keras cannot load it: {reason[:300]}") from None
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, tuple) and len(shape) == 3 and shape[1] not in (None, length):
        raise InputError(f"{path} reads {shape[1]} bp, but {data} has {length} bp")
    return model
