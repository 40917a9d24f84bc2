"""Extract and match the filters of any Keras model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motifk8s.data import datasets
from motifk8s.errors import InputError, one_line
from motifk8s.filters import layers as found
from motifk8s.filters.layer_motifs import draw_layers, extract_layers, match_layers, write_filters
from motifk8s.motifs.database import database_version
from motifk8s.store.folder import FolderStore
from motifk8s.study.specs import MotifSettings
from motifk8s.training import devices

if TYPE_CHECKING:
    import keras


def read_model(
    path: Path,
    data: str,
    rule: MotifSettings,
    database: str,
    evalue: float,
    out: Path,
    note: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> dict[str, Any]:
    """Extract and match the filters of a model that was trained elsewhere.

    Parameters
    ----------
    path : Path
        A ``.keras`` file with one input of one-hot sequences (N, L, 4) in the order A C G T.
    data : str
        An HDF5 data set in the layout of motifk8s or of the reference code. Only the sequences of
        its test part are read, so labels and other parts may be absent.
    database, evalue
        As in a study's ``matches``.
    out : Path
        Folder for ``filters.h5``, MEME files, hits and logos, written at the end.
    note : callable
        Called with a line if a layer is not read, or a picture not drawn.
    options
        ``distance`` and ``qvalue``, as in a study's ``matches``.

    Returns
    -------
    dict
        Matches of each layer's filters, as ``layers`` in ``metrics.json``.

    Raises
    ------
    InputError
        If the model or the data cannot be read, or have different sequence lengths; or if one of
        these files would be overwritten.
    """
    database_version(database)  # an unknown database fails now instead of after minutes
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a model saved by keras as .keras")
    target = FolderStore(out, [path, data, database])
    codes = datasets.read_test_sequences(data)
    devices.setup()
    model = _load(path, data, codes.shape[1])
    with tempfile.TemporaryDirectory(prefix="motifk8s-") as temporary:
        folder = Path(temporary)
        readable, end = found.find_layers(model)
        if end:
            note(f"{path}: the layers from here on are not read: {end}")
        filters = extract_layers(readable, codes, rule)
        write_filters(folder / "filters.h5", filters)
        layers = match_layers(filters, rule, database, evalue, {}, folder, **options)
        draw_layers(filters, layers, path.stem, folder, note)
        for file in sorted(folder.iterdir()):
            target.upload(file, file.name)
    return layers


def _load(path: Path, data: str, length: int) -> keras.Model:
    """Load a model for sequences of `length` bp."""
    import keras

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # file format libraries of Keras raise errors of many types
        reason = one_line(error)
        raise InputError(f"{path}: keras cannot load it: {reason[:300]}") from None
    if (own := found.sequence_length(model)) not in (None, length):
        raise InputError(f"{path}: the model reads {own} bp, but {data} has {length} bp")
    return model
