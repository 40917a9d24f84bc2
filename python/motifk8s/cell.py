"""The whole life of a cell: one model trained on one data set, its filters read and matched.

Start here. `run` is a straight line: data, training, filters, matches, results, marker. Each stage
has a key, a hash of what determines its numbers; a stage whose key is that of the last finished run
is taken over from it, so a new database repeats no training. Files go to ``runs/<id>/``, and
``done.json``, written last, names the run that counts: two pods with the same cell cannot damage
each other, and nothing half-written is ever taken for finished.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import resource
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np

from motifk8s import datasets, devices, figures, filters, matches, models, motifs, training
from motifk8s.data import load_dataset
from motifk8s.errors import InputError, Problem
from motifk8s.store import MissingError, Store
from motifk8s.study import Cell, Study, content_hash
from motifk8s.version import code_version, library_versions

if TYPE_CHECKING:
    import keras

    from motifk8s.specs import Motifs

FORMAT = 1
# Raised when the code's meaning changes, so that what was computed before is computed again.
RESULTS_VERSION = {"training": 1, "filters": 1, "matches": 1}
STAGES = tuple(RESULTS_VERSION)

log = logging.getLogger(__name__)


class Done(NamedTuple):
    """The marker of a finished cell.

    Attributes
    ----------
    keys : dict
        Key of each stage.
    run : str
        Folder of the run that counts, relative to the cell's.
    files : dict
        SHA-256 of each file in it.
    """

    keys: dict[str, str]
    run: str
    files: dict[str, str]


def folder(study: Study, cell: Cell) -> str:
    """Where a cell is kept in the store."""
    return f"{study.name}/cells/{cell.id}"


def stage_keys(study: Study, cell: Cell, data_hash: str) -> dict[str, str]:
    """Hash what determines the numbers of each stage: its settings, and the stage before it."""
    model = study.models[cell.model].model_dump(mode="json", exclude={"label"})
    settings = {
        "training": {
            "data": data_hash,
            "model": model,
            "settings": study.training_for(cell.dataset).model_dump(mode="json"),
            "seed": study.seed_of(cell.id),
        },
        "filters": study.motifs.model_dump(mode="json"),
        "matches": {
            **study.matches.model_dump(mode="json"),
            "database": motifs.database_version(study.matches.database),
            "classes": study.datasets[cell.dataset].motif_ids,
        },
    }
    keys: dict[str, str] = {}
    before = ""
    for stage in STAGES:
        before = keys[stage] = content_hash([RESULTS_VERSION[stage], before, settings[stage]])
    return keys


def read_done(store: Store, place: str) -> Done | None:
    """Read a cell's marker; None if the cell was never finished.

    Raises
    ------
    Problem
        If the marker cannot be read or is of another format.
    """
    try:
        data = store.read(f"{place}/done.json")
    except MissingError:
        return None
    try:
        marker = json.loads(data)
        if marker["format"] != FORMAT:
            raise Problem(
                f"{place}/done.json has format {marker['format']}, this version reads {FORMAT}: "
                "use the version that wrote it, or another store"
            )
        return Done(marker["keys"], marker["run"], marker["files"])
    except (ValueError, KeyError, TypeError):
        raise Problem(
            f"{place}/done.json is damaged: delete it to compute the cell again"
        ) from None


def fetch(store: Store, place: str, done: Done, name: str) -> bytes:
    """Read one file of a finished run and check it against the marker.

    Raises
    ------
    Problem
        If the file is gone or was changed.
    """
    path = f"{place}/{done.run}/{name}"
    try:
        data = store.read(path)
    except MissingError:
        raise Problem(
            f"{path} is gone though {place}/done.json names it: delete that marker to compute the "
            "cell again"
        ) from None
    if hashlib.sha256(data).hexdigest() != done.files.get(name):
        raise Problem(
            f"{path} was changed after it was written: delete {place}/done.json to compute the "
            "cell again"
        )
    return data


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - start


def run(
    study: Study,
    cell: Cell,
    store: Store,
    *,
    threads: int | None = None,
    progress: Callable[[int, int, dict[str, float]], None] = lambda epoch, epochs, row: None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Bring one cell to its end, doing only what is not yet done.

    Parameters
    ----------
    study : Study
    cell : Cell
    store : Store
    threads : int, optional
        Threads of each operation on a CPU.
    progress : callable
        Called after each epoch with its number, the most there can be, and its history row.
    stop : callable
        Asked about once a second; True saves a checkpoint and raises `Interrupted`.

    Returns
    -------
    dict
        The cell's metrics, as in ``metrics.json``.
    """
    clock = _Clock()
    place = folder(study, cell)
    with tempfile.TemporaryDirectory(prefix="motifk8s-") as temporary, _logging(Path(temporary)):
        here = Path(temporary)
        log.info("cell %s of study %s, code %s", cell.id, study.name, code_version())
        with clock("data"):
            dataset = load_dataset(study, cell.dataset, store)
            keys = stage_keys(study, cell, dataset.data_hash)
            done = read_done(store, place)
        if done and done.keys == keys:
            return json.loads(fetch(store, place, done, "metrics.json"))
        old = _take_over(store, place, done, keys, here)
        with clock("setup"):
            device = devices.setup(threads)
            import keras
        if old is None:
            with clock("training"):
                trained = _train(study, cell, dataset, store, keys, here, progress, stop)
            metrics, first_provenance = trained
        else:
            log.info("training taken over from %s", done.run if done else "")
            metrics, first_provenance = old
        model = keras.models.load_model(here / "model.keras", compile=False)
        if not (here / "filters.h5").exists():
            with clock("filters"):
                found = _extract(model, dataset.part("test")[0], study.motifs)
                write_filters(here / "filters.h5", found)
        found = read_filters(here / "filters.h5")
        with clock("matches"):
            metrics["layers"] = _match(
                found,
                study.motifs,
                study.matches.database,
                study.matches.evalue,
                study.datasets[cell.dataset].motif_ids,
                here,
            )
        with clock("logos"):
            title = f"{study.models[cell.model].label or cell.model}, trial {cell.trial}"
            _draw(found, metrics["layers"], title, here)
        first_provenance["stages"] |= {k: v for k, v in clock.seconds.items() if k != "training"}
        metrics["seconds"] = sum(first_provenance["stages"].values())
        provenance = {
            "format": FORMAT,
            "study": study.resolved(),
            "cell": cell.id,
            "keys": keys,
            "code_version": code_version(),
            "libraries": library_versions(),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "device": device,
            "threads": threads,
            "data_hash": dataset.data_hash,
            "peak_memory_bytes": _peak_memory(),
            **first_provenance,
        }
        _write_json(here / "metrics.json", metrics)
        _write_json(here / "provenance.json", provenance)
        log.info("done in %.0f s", metrics["seconds"])
        _publish(store, place, keys, here)
    return metrics


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
        Folder for ``filters.h5``, MEME files, hits and logos.

    Returns
    -------
    dict
        What each layer's filters match, as ``layers`` in ``metrics.json``.

    Raises
    ------
    InputError
        If the model or the data cannot be read or do not fit each other.
    """
    dataset = datasets.read(data)
    codes, _ = dataset.part("test")
    devices.setup()
    import keras

    if not path.is_file():
        raise InputError(f"{path}: no such file; give a model saved by keras as .keras")
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its file format raises
        raise InputError(f"{path}: keras cannot load it: {str(error).splitlines()[0]}") from None
    length = model.input_shape[1] if len(model.input_shape) == 3 else None
    if length not in (None, codes.shape[1]):
        raise InputError(f"{path} reads {length} bp, but {data} has {codes.shape[1]} bp")
    found = _extract(model, codes, rule)
    out.mkdir(parents=True, exist_ok=True)
    write_filters(out / "filters.h5", found)
    layers = _match(found, rule, database, evalue, {}, out)
    _draw(found, layers, path.stem, out)
    return layers


def _train(
    study: Study,
    cell: Cell,
    dataset: datasets.Dataset,
    store: Store,
    keys: dict[str, str],
    here: Path,
    progress: Callable[[int, int, dict[str, float]], None],
    stop: Callable[[], bool],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train, test, and write model.keras and history.csv; return metrics and provenance."""
    import keras

    settings = study.training_for(cell.dataset)
    seed = study.seed_of(cell.id)
    length, classes = dataset.codes.shape[1], dataset.classes
    model = models.build(study.models[cell.model], settings, length, len(classes), seed)
    optimizer = keras.optimizers.Adam(
        settings.learning_rate,
        beta_1=settings.beta_1,
        beta_2=settings.beta_2,
        epsilon=settings.epsilon,
    )
    device = devices.open_device(model, optimizer)
    checkpoint_path = f"{folder(study, cell)}/checkpoint"

    def load() -> bytes | None:
        return store.read(checkpoint_path) if store.exists(checkpoint_path) else None

    trained = training.train(
        device,
        settings,
        dataset.part("train"),
        dataset.part("valid"),
        seed,
        training.Checkpoint(
            keys["training"], load, lambda data: store.write(checkpoint_path, data)
        ),
        progress,
        stop,
    )
    for epoch in trained.resumed_at:
        log.info("resumed at epoch %d", epoch)
    codes, labels = dataset.part("test")
    probabilities = device.predict(codes)
    scores = {
        "auroc": training.auroc(labels, probabilities),
        "aupr": training.aupr(labels, probabilities),
    }
    best = trained.history.iloc[trained.best_epoch - 1]
    metrics: dict[str, Any] = {
        "format": FORMAT,
        "cell": cell.id,
        "dataset": cell.dataset,
        "model": cell.model,
        "trial": cell.trial,
        **{name: float(np.mean(by_class)) for name, by_class in scores.items()},
        **{
            f"{name}_by_class": dict(zip(classes, map(float, by_class), strict=True))
            for name, by_class in scores.items()
        },
        "val_loss": float(best["val_loss"]),
        "val_cross_entropy": float(best["val_cross_entropy"]),
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.history),
    }
    log.info(
        "best epoch %d of %d, test AUROC %.4f",
        trained.best_epoch,
        metrics["epochs"],
        metrics["auroc"],
    )
    model.save(here / "model.keras")
    trained.history.to_csv(here / "history.csv", index=False)
    provenance = {
        "trained_by": trained.trained_by,
        "resumed_at_epochs": trained.resumed_at,
        "stages": {"training": float(trained.history["seconds"].sum())},
    }
    return metrics, provenance


def _take_over(
    store: Store, place: str, done: Done | None, keys: dict[str, str], here: Path
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Fetch what an earlier finished run shares with this one; None if training is not shared."""
    if done is None or done.keys.get("training") != keys["training"]:
        return None
    names = ["model.keras", "history.csv"]
    if done.keys.get("filters") == keys["filters"]:
        names.append("filters.h5")
    for name in names:
        (here / name).write_bytes(fetch(store, place, done, name))
    metrics = json.loads(fetch(store, place, done, "metrics.json"))
    provenance = json.loads(fetch(store, place, done, "provenance.json"))
    return metrics, {k: provenance[k] for k in ("trained_by", "resumed_at_epochs", "stages")}


def _extract(model: keras.Model, codes: np.ndarray, rule: Motifs) -> dict[str, filters.Filters]:
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
    """Read filters.h5 (a path or a binary file): the filters of each layer, by its name."""
    with h5py.File(path, "r") as file:
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


def _match(
    found: dict[str, filters.Filters],
    rule: Motifs,
    database: str,
    evalue: float,
    truth: dict[str, list[str]],
    here: Path,
) -> dict[str, Any]:
    """Compare the motifs of each layer with the database; write MEME files and hits."""
    targets = motifs.database(database)
    layers: dict[str, Any] = {}
    for name, layer in found.items():
        queries = layer_motifs(layer, rule)
        hits = matches.tomtom(queries, targets, evalue)
        motifs.write_meme(queries, here / f"motifs-{name}.meme")
        (here / f"hits-{name}.tsv").write_text(matches.to_tsv(hits))
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


def _draw(
    found: dict[str, filters.Filters], layers: dict[str, Any], title: str, here: Path
) -> None:
    """Draw the logos of each layer, matched filters labelled with their class."""
    for name, layer in found.items():
        labels = layers[name]["labels"]
        figures.logo_grid(
            layer.ppm,
            [labels.get(f"filter{i}", {}).get("class", "") for i in range(len(layer.dead))],
            here / f"logos-{name}.png",
            title=f"{title}, {name}",
            dead=layer.dead,
        )


def _publish(store: Store, place: str, keys: dict[str, str], here: Path) -> None:
    """Upload a run's files, then the marker that makes them count, then drop the checkpoint."""
    run_id = f"runs/{secrets.token_hex(4)}"
    names = sorted(path.name for path in here.iterdir())
    hashes = {}
    for name in names:
        hashes[name] = hashlib.sha256((here / name).read_bytes()).hexdigest()
        store.upload(here / name, f"{place}/{run_id}/{name}")
    marker = {"format": FORMAT, "keys": keys, "run": run_id, "files": hashes}
    store.write(f"{place}/done.json", (json.dumps(marker, indent=1) + "\n").encode())
    store.delete(f"{place}/checkpoint")


@contextmanager
def _logging(here: Path) -> Iterator[None]:
    """Write what the package logs to log.txt as well."""
    handler = logging.FileHandler(here / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    package = logging.getLogger("motifk8s")
    level = package.level
    package.setLevel(logging.INFO)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()


def _peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes (Linux counts it in KiB)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
