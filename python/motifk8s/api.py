"""The functions of the public API; docs/api.md describes them.

They convert what a user gives into the types of the package, and call its functions. A library is
imported where it is used, so that motifs can be read and compared without TensorFlow.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from motifk8s.data import sequences as dna
from motifk8s.errors import InputError, Problem
from motifk8s.motifs import meme
from motifk8s.motifs.database import read_database_file, read_release, warn_of_repeated
from motifk8s.motifs.motif import UNIFORM, Motif, normalize

if TYPE_CHECKING:
    import keras
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from motifk8s.cells.events import Event
    from motifk8s.data.datasets import Dataset
    from motifk8s.filters.extract import Filters
    from motifk8s.store.base import Store
    from motifk8s.study.specs import MotifSettings
    from motifk8s.study.study import Study

File: TypeAlias = str | os.PathLike[str]
Sequences: TypeAlias = str | Iterable[str] | np.ndarray
"""Text; or base codes (N, L) of integers; or one-hot (N, L, 4). See `one_hot`."""
Motifs: TypeAlias = Motif | np.ndarray | Sequence[Motif | np.ndarray]
"""A motif, or several; a PPM (W, 4) is a motif without a name."""
AnyStudy: TypeAlias = "Study | Mapping[str, Any] | File"
"""A study, its content, or its name, path or s3:// URL. See `load_study`."""


# ------------------------------------------------------------------------------------- studies


def load_study(study: AnyStudy) -> Study:
    """Load a study.

    Parameters
    ----------
    study : str, path, mapping or Study
        The name of a built-in study such as ``"demo"``; the path or s3:// URL of a study file; its
        content, as YAML or as a dictionary; or a study, which is returned as it is.

    Raises
    ------
    InputError
        There is no such study, or it has mistakes. The message has the key and reason of each.
    """
    from motifk8s.study import study as studies

    if isinstance(study, studies.Study):
        return study
    return studies.load(_text_of(study))


def plan(study: AnyStudy, store: File | None = None) -> pd.DataFrame:
    """Return the state of each cell of a study, as the command ``plan``; compute nothing.

    Parameters
    ----------
    study : str, path, mapping or Study
        As for `load_study`, or the name of a study that was submitted to the store.
    store : path or URL, optional
        A folder or ``s3://bucket/prefix``. Default: ``MOTIFK8S_STORE``, or ``./store``.

    Returns
    -------
    DataFrame
        A row for each cell: ``cell``, ``dataset``, ``model``, ``trial``, ``state``, ``reason``.
        docs/store.md lists the states, such as "done" and "missing".

    Raises
    ------
    InputError
        As for `load_study`; or the store or the database of motifs cannot be read.
    """
    import pandas as pd

    from motifk8s.cells import plan as states

    columns = ["cell", "dataset", "model", "trial", "state", "reason"]
    rows = [
        (state.cell.id, *state.cell, state.state, state.reason)
        for state in states.plan(*_open(study, store))
    ]
    return pd.DataFrame(rows, columns=columns)


def run(
    study: AnyStudy,
    store: File | None = None,
    *,
    cells: str = "*",
    jobs: int | None = None,
    quiet: bool = False,
) -> pd.DataFrame:
    """Run the missing cells of a study on this machine, and return its `results`.

    As the command ``run``, it makes the data sets, trains the networks, each in its own process,
    and writes motifs, tables and a report to the store. Call it again to resume. It takes hours for
    most studies, about a minute for ``"smoke"``.

    Parameters
    ----------
    study, store
        As for `plan`.
    cells : str
        Pattern of the cells to run, such as ``"synthetic/cnn-25/*"``.
    jobs : int, optional
        Cells that run at the same time. Default: one for each core; with a GPU, one.
    quiet : bool
        Print no progress.

    Raises
    ------
    InputError
        As for `plan`, or no cell matches the pattern.
    IncompleteError
        A cell failed; the others are finished, and `results` reads them.
    Interrupted
        After Ctrl-C, when every running cell has saved its checkpoint.
    Problem
        It is not called in the main thread, which handles signals.
    """
    from motifk8s.cells.events import Failed
    from motifk8s.cells.run import run_study
    from motifk8s.cli import terminal
    from motifk8s.errors import IncompleteError
    from motifk8s.report.aggregate import aggregate

    if threading.current_thread() is not threading.main_thread():
        raise Problem("motifk8s.run handles signals; call it in the main thread")
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs: expected an integer of 1 or more, got {jobs}")
    loaded, opened = _open(study, store)
    failures: list[str] = []
    with nullcontext(None) if quiet else terminal.Progress() as progress:

        def watch(event: Event) -> None:
            if isinstance(event, Failed):
                failures.append(f"{event.name}: {event.reason}")
            if progress is not None:
                progress(event)

        run_study(loaded, opened, watch, jobs=jobs, only=cells)
    aggregate(loaded, opened)
    if failures:
        raise IncompleteError(f"study {loaded.name}: {len(failures)} failed: {'; '.join(failures)}")
    return results(loaded, store)


def results(study: AnyStudy, store: File | None = None) -> pd.DataFrame:
    """Return the results of the finished cells of a study.

    Parameters
    ----------
    study, store
        As for `plan`.

    Returns
    -------
    DataFrame
        A row for each cell and layer, with the columns of ``tables/results.csv``; docs/store.md
        describes them. No value is rounded.

    Raises
    ------
    InputError
        As for `plan`, or the store has no finished cell of the study.
    """
    from motifk8s.cells.finished import read_finished
    from motifk8s.report import tables

    loaded, opened = _open(study, store)
    finished, _ = read_finished(loaded, opened)
    if not finished:
        raise InputError(
            f"store {opened.url} has no finished cell of study {loaded.name}; run the study, or "
            "give its store"
        )
    return tables.results((files.metrics for files in finished.values()), loaded)


def _open(study: AnyStudy, store: File | None) -> tuple[Study, Store]:
    """Load a study, and open a store."""
    from motifk8s.store.open import default_url, open_store
    from motifk8s.study import find
    from motifk8s.study.study import Study

    url = default_url() if store is None else os.fspath(store)
    if isinstance(study, Study):
        return study, open_store(url)
    return find.open_study(_text_of(study), url)


def _text_of(study: Mapping[str, Any] | File) -> str:
    """Return the argument of `study.load`: a name, a path, a URL or JSON."""
    if isinstance(study, Mapping):
        try:
            return json.dumps(study)
        except (TypeError, ValueError) as error:
            raise InputError(f"the study: not plain JSON ({error})") from None
    try:
        return os.fspath(study)
    except TypeError:
        kind = type(study).__name__
        raise InputError(f"study: expected a name, path, mapping or Study, not {kind}") from None


# ----------------------------------------------------------------------------- sequences and data


def read_fasta(path: File) -> list[str]:
    """Read the sequences of a FASTA file of DNA, plain or gzip, as text in upper case.

    Raises
    ------
    InputError
        The file cannot be read, is not FASTA, or has a letter that is not DNA.
    """
    from motifk8s.data import fasta

    return [record.sequence.decode().upper() for record in fasta.read_fasta(Path(path))]


def one_hot(sequences: Sequences) -> np.ndarray:
    """Convert sequences to the input of the networks: one-hot (N, L, 4) float32, A C G T.

    Parameters
    ----------
    sequences : text, base codes or one-hot
        A string or any number of strings of equal length, in either case, with N or IUPAC's other
        letters for unknown bases. Or base codes (N, L) of integers: A C G T N = 0 1 2 3 4. Or
        one-hot (N, L, 4) or (N, 4, L). An unknown base becomes four zeros.

    Raises
    ------
    InputError
        There is no sequence, lengths differ, a letter is not DNA (such as the U of RNA), or the
        values are none of these. The message has the number of the sequence, from 0.
    """
    return dna.one_hot(dna.as_codes(sequences))


def read_dataset(
    source: File | Mapping[str, File],
    *,
    negatives: File | Mapping[str, File] | None = None,
    others_negative: bool = False,
    length: int | None = None,
    seed: int = 2019,
) -> Dataset:
    """Read a data set from HDF5, or make one from FASTA files.

    Parameters
    ----------
    source : path, or mapping of class to path
        An HDF5 file of motifk8s or of the paper's code; or a FASTA file for each class:
        ``{"SRF": "srf.fa"}``. One tenth of the sequences is for validation, a fifth for the test.
    negatives : "dinucleotide", path, or mapping of class to path, optional
        With FASTA, the negatives: shuffled sequences, the file of all classes, or that of each.
    others_negative : bool
        With FASTA, whether a sequence of one class is negative for the others. Default: unknown.
    length : int, optional
        With FASTA, crop to the central bp. Default: all lengths must be equal.
    seed : int
        With FASTA, of the split and the shuffles.

    Returns
    -------
    Dataset
        ``part("train")``, ``part("valid")`` and ``part("test")`` each give base codes (n, L) and
        labels (n, C): 1 positive, 0 negative, -1 unknown. ``classes`` has the names.

    Raises
    ------
    InputError
        A file cannot be read, or a class lacks positives or negatives. A message may name an option
        of the command ``import fasta``: ``--negatives`` is `negatives` here.
    """
    if not isinstance(source, Mapping):
        from motifk8s.data import datasets

        is_fasta = re.search(r"\.(fa|fasta|fna)(\.gz)?$", str(source), re.IGNORECASE)
        if is_fasta or negatives is not None or others_negative or length is not None:
            raise InputError(
                f"{source}: of FASTA, give the file of each class: {{'SRF': 'srf.fa'}}"
            )
        return datasets.read(source)
    from motifk8s.data import fasta

    given: Any = negatives
    if isinstance(negatives, Mapping):
        given = {name: Path(path) for name, path in negatives.items()}
    elif negatives is not None and negatives != "dinucleotide":
        given = Path(negatives)
    options = fasta.FastaOptions(
        negatives=given, others_negative=others_negative, length=length, seed=seed
    )
    files = {name: Path(path) for name, path in source.items()}
    return fasta.import_fasta(files, options)[0]


def build_model(
    model: str | Mapping[str, Any],
    length: int,
    n_classes: int,
    *,
    study: AnyStudy = "koo2019",
    seed: int = 0,
) -> keras.Model:
    """Build a network that reads one-hot (N, L, 4) and gives probabilities (N, C).

    Parameters
    ----------
    model : str or mapping
        The name of a network of the study, such as ``"cnn-25"``; or its description, as in a study
        file: ``{"conv": [{"filters": 30, "width": 19, "pool": 25}], "dense": [64]}``.
    length : int
        Length L of the sequences, in bp.
    n_classes : int
        Number of classes C.
    study : as for `load_study`
        Its training settings give initial weights, L2 and batch norm. The default is the paper's.
    seed : int
        Of the initial weights and of dropout.

    Returns
    -------
    keras.Model
        Not compiled: call ``compile`` and ``fit``, or train it in your own loop.

    Raises
    ------
    InputError
        The network is unknown, or does not fit the sequences.
    """
    loaded = load_study(study)
    name = model if isinstance(model, str) else "model"
    if isinstance(model, str) and model not in loaded.models:
        from motifk8s.study.strict import no_such

        raise InputError(f"study {loaded.name} has {no_such('model', model, loaded.models)}")
    for what, number in (("length", length), ("n_classes", n_classes)):
        if not isinstance(number, int | np.integer) or number < 1:
            raise InputError(f"{what}: expected an integer of 1 or more, got {number!r}")
    # A study of this network alone: its checks are those of any study.
    text = loaded.models[name].model_dump(mode="json") if isinstance(model, str) else model
    classes: dict[str, list[str]] = {f"class-{i}": [] for i in range(n_classes)}
    alone = {
        "name": "model",
        "datasets": {
            "data": {"kind": "file", "path": "x", "length": int(length), "classes": classes}
        },
        "models": {name: text},
    }
    spec = load_study(alone).models[name]
    from motifk8s.training import models

    return models.build(spec, loaded.training, int(length), int(n_classes), seed)


# --------------------------------------------------------------------------------------- motifs


def extract_motifs(
    model: Any,
    sequences: Sequences,
    *,
    layer: str | None = None,
    width: int | None = None,
    offset: int | None = None,
    preset: str = "as-run",
    **settings: Any,
) -> list[Motif]:
    """Turn the filters of a convolution into motifs: align the windows where each filter fires.

    Parameters
    ----------
    model : keras.Model or array (N, P, F)
        A model with one input of one-hot sequences (N, L, 4); or the activations of F filters at P
        positions of each sequence, before any pooling, from any program. PyTorch has (N, F, P):
        give ``y.transpose(1, 2)``.
    sequences : text, base codes or one-hot
        As for `one_hot`. Use sequences that the network was not trained with; a thousand are
        enough. Labels are not needed.
    layer : str, optional
        With a model, the name of a convolution before its first pooling. Default: the first.
    width : int, optional
        With activations, the bases W that one activation depends on: the width of the filter.
        Default: L - P + 1, that of a convolution without padding.
    offset : int, optional
        With activations, the bases of padding before the sequence: activation i depends on
        ``sequence[i - offset : i - offset + width]``. Default: half of the padding, or one less
        than on the right, as with ``padding="same"`` in Keras and PyTorch.
    preset : {"as-run", "as-written", "as-2019-04"}
        How motifs are made: docs/studies.md, ``motifs``. The default is that of all commands.
    settings
        Keys of ``motifs`` in a study: ``threshold=0.7``, ``window=None``, ``trim=None`` and others.

    Returns
    -------
    list of Motif
        A motif for each filter that fires: "filter0" is filter 0. A filter without any window has
        none, so the list can be shorter than F. PPMs are trimmed by ``trim``.

    Raises
    ------
    InputError
        The model cannot be read, the shapes do not fit, an activation is not finite, or a setting
        is unknown.
    """
    from motifk8s.filters.layer_motifs import layer_motifs

    rule = _settings(preset, settings)
    codes = dna.as_codes(sequences)
    if rule.window and rule.window > codes.shape[1]:
        raise InputError(
            f"window: {rule.window} bp is longer than the sequences ({codes.shape[1]} bp); give a "
            "smaller one, or window=None for the width of the filter"
        )
    if _is_model(model):
        if width is not None or offset is not None:
            raise InputError("width and offset describe activations; a model has them already")
        filters = _of_model(model, layer, codes, rule)
    elif layer is not None:
        raise InputError("layer: only a model has layers; activations are of one layer")
    else:
        filters = _of_activations(model, codes, width, offset, rule)
    return layer_motifs(filters, rule)


def _settings(preset: str, settings: Mapping[str, Any]) -> MotifSettings:
    """Return the motif settings of keyword arguments."""
    from pydantic import ValidationError

    from motifk8s.study.specs import MotifSettings
    from motifk8s.study.strict import describe, mistakes_of

    try:
        return MotifSettings.model_validate({"preset": preset, **settings})
    except ValidationError as error:
        raise InputError(describe("extract_motifs", mistakes_of(error))) from None


def _is_model(model: Any) -> bool:
    """Return whether this is a Keras model; import Keras only if it may be one."""
    if isinstance(model, np.ndarray) or not hasattr(model, "layers"):
        return False
    import keras

    return isinstance(model, keras.Model)


def _of_model(
    model: keras.Model, layer: str | None, codes: np.ndarray, rule: MotifSettings
) -> Filters:
    """Extract the filters of a layer of a model."""
    import keras

    from motifk8s.filters.extract import extract_layer, readable_layers
    from motifk8s.filters.layers import sequence_length

    if (backend := keras.config.backend()) not in ("tensorflow", "jax"):
        raise InputError(
            f"models of Keras with {backend} are not read; give the activations (N, P, F) instead"
        )
    layers = readable_layers(model)
    name = next(iter(layers)) if layer is None else layer
    if name not in layers:
        raise InputError(f"model: no layer {name!r} before the first pooling; {', '.join(layers)}")
    if (own := sequence_length(model)) not in (None, codes.shape[1]):
        raise InputError(f"model: it reads {own} bp, but the sequences have {codes.shape[1]} bp")
    with _without_warnings("tensorflow"):  # it warns of each function that is compiled
        return extract_layer(layers[name], codes, rule)


@contextmanager
def _without_warnings(name: str) -> Iterator[None]:
    """Log only the errors of a library."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _of_activations(
    activations: Any, codes: np.ndarray, width: int | None, offset: int | None, rule: MotifSettings
) -> Filters:
    """Extract the filters of activations (N, P, F) of any program."""
    from motifk8s.filters.extract import extract_activations, field_of

    if hasattr(activations, "detach"):  # a torch.Tensor; NumPy has no bfloat16
        activations = activations.detach().cpu().float()
    try:
        y = activations if hasattr(activations, "shape") else np.asarray(activations)
        numeric = len(y.shape) > 0 and np.asarray(y[:1]).dtype.kind in "biuf"
    except (TypeError, ValueError):  # ragged lists, and others
        numeric = False
    if not numeric:
        kind = type(activations).__name__
        raise InputError(f"model: expected a Keras model or activations (N, P, F), not {kind}")
    return extract_activations(y, codes, rule, field_of(tuple(y.shape), codes, width, offset))


def tomtom(
    queries: Motifs | File,
    targets: Motifs | File = "JASPAR2016",
    *,
    evalue: float = 0.1,
    qvalue: float | None = None,
    distance: str = "euclidean",
) -> pd.DataFrame:
    """Compare motifs with known motifs, as the program Tomtom of MEME 4.12 does.

    Parameters
    ----------
    queries, targets : motifs, path of a MEME file, or JASPAR release
        `Motif`, PPM (W, 4) or a list of them; or a file; or a name such as ``"JASPAR2026"``, whose
        CORE vertebrate motifs are taken. With files it does the same as the command ``tomtom``.
    evalue : float
        Largest E-value of a hit: p times the number of targets.
    qvalue : float, optional
        Largest q-value, in place of `evalue`.
    distance : {"euclidean", "pearson"}
        How columns are compared.

    Returns
    -------
    DataFrame
        At most one row for each query and target, the best first: the columns of Tomtom's output,
        such as ``Query_ID``, ``Target_ID`` and ``E-value``, and ``Target_name``, the second name of
        the target; in JASPAR, the factor.

    Raises
    ------
    InputError
        A file or release cannot be read, there is no target, or an argument is not as above.

    Notes
    -----
    The p-values need a database as the null model; with fewer than 50 targets they are unreliable.
    """
    from motifk8s.motifs.tomtom import compare

    files = _motif_file(queries, "queries", True), _motif_file(targets, "targets", False)
    names = _shown(queries, "queries"), _shown(targets, "targets")
    hits = compare(*files, evalue, distance=distance, qvalue=qvalue, names=names)
    second = {motif.name: motif.alt for motif in files[1].motifs}
    return hits.assign(Target_name=[second[name] for name in hits["Target_ID"]])


def read_meme(path: File) -> list[Motif]:
    """Read the DNA motifs of a MEME file: a path, an s3:// URL, or the text itself.

    Raises
    ------
    InputError
        With file and line: the file cannot be read, is not in the MEME format, or is of RNA.
    """
    return meme.read_meme(os.fspath(path))


def write_meme(motifs: Motifs, path: File) -> None:
    """Write motifs to a MEME file, completely or not at all; all digits are kept.

    Raises
    ------
    InputError
        The file cannot be written, or a name is not one word or is used twice.
    """
    named = _motif_list(motifs, "motifs")
    try:
        meme.write_meme(named, Path(path))
    except ValueError as error:
        raise InputError(str(error)) from None


def jaspar(release: str = "JASPAR2016", tax_group: str = "vertebrates") -> list[Motif]:
    """Read the CORE motifs of a JASPAR release; no network is used.

    Parameters
    ----------
    release : str
        A name such as ``"JASPAR2026"``; releases from 2014 are known.
    tax_group : str
        Such as ``"vertebrates"``, ``"plants"``, ``"insects"``, ``"fungi"``.

    Returns
    -------
    list of Motif
        ``name`` is the id, such as MA0083.3, and ``alt`` the factor. Probabilities have six
        decimals, as in JASPAR's own MEME files.

    Raises
    ------
    InputError
        The release or the taxonomic group is unknown.
    """
    return read_release(release, tax_group)


def plot_logo(motifs: Motifs, *, columns: int = 1, ax: Axes | None = None) -> Figure:
    """Draw the sequence logo of a motif, or of several in a grid; the y axis has 0 to 2 bits.

    Parameters
    ----------
    motifs : Motif, PPM (W, 4), or a list of them
        Names are the titles. Counts (W, 4) are converted to probabilities.
    columns : int
        Logos in a row.
    ax : matplotlib.axes.Axes, optional
        Draw one motif there.

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it; ``savefig("logo.png")`` writes it.

    Raises
    ------
    InputError
        There is no motif, or several for one `ax`, or a PPM is not (W, 4).
    """
    from motifk8s.motifs.logos import draw_logo, logo_figure

    shown = _motif_list(motifs, "motifs", unnamed="")
    if not shown:
        raise InputError("motifs: there are none to draw")
    if columns < 1:
        raise InputError(f"columns: expected an integer of 1 or more, got {columns}")
    titles = [f"{motif.name} {motif.alt}".strip() for motif in shown]
    if ax is None:
        return logo_figure([motif.ppm for motif in shown], titles, min(columns, len(shown)))
    if len(shown) > 1:
        raise InputError(f"ax: {len(shown)} motifs do not fit one; draw each, or give none")
    draw_logo(ax, shown[0].ppm, titles[0])
    return ax.figure.figure


def _motif_file(motifs: Motifs | File, what: str, query: bool) -> meme.MotifFile:
    """Return the motifs of an argument of `tomtom`, with the background of a file."""
    from motifk8s.motifs.jaspar import releases

    if not isinstance(motifs, str | os.PathLike):
        named = _motif_list(motifs, what)
        if len({motif.name for motif in named}) < len(named):
            raise InputError(f"{what}: two motifs have one name; rename one: motif._replace(name=)")
        return meme.MotifFile(named, UNIFORM)
    path = os.fspath(motifs)
    if not query or path in releases():
        return read_database_file(path)
    file = meme.read_meme_file(path, query=True)
    warn_of_repeated(path, file)
    return file


def _shown(motifs: Motifs | File, what: str) -> str:
    """Return the name of a file in messages."""
    return os.fspath(motifs) if isinstance(motifs, str | os.PathLike) else what


def _motif_list(motifs: Motifs, what: str, unnamed: str = "motif{}") -> list[Motif]:
    """Return a list of motifs with probabilities; raise InputError if there is another value."""
    one = isinstance(motifs, Motif) or (isinstance(motifs, np.ndarray) and motifs.ndim == 2)
    if not one and (isinstance(motifs, str) or not isinstance(motifs, Iterable)):
        raise InputError(f"{what}: expected motifs, not {type(motifs).__name__}")
    found = []
    for i, item in enumerate([motifs] if one else motifs):
        motif = item if isinstance(item, Motif) else Motif(unnamed.format(i), item)
        where = f"{what}: {motif.name or i}"
        try:
            ppm = np.asarray(motif.ppm, np.float64)
            if not np.isfinite(ppm).all():
                raise ValueError("a probability is not a finite number")
            found.append(motif._replace(ppm=normalize(ppm)))
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: {error}") from None
    return found
