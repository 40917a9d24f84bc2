"""Run a cell: train a model on a data set, then extract and match its filters.

Start here. `run` has these steps: data, training, filters, matches, analysis, results, marker.
Each stage has a key, a hash of what determines its numbers. If the last finished run has the same
key for a stage, that stage is reused. So a new database of motifs repeats no training.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from motifk8s.cells import marker
from motifk8s.cells.events import Epoch, Note, Watch, ignore
from motifk8s.cells.keys import cell_folder, stage_keys
from motifk8s.cells.marker import Done, fetch
from motifk8s.cells.networks import Network, examine
from motifk8s.cells.progress import logging_to
from motifk8s.data.datasets import Dataset
from motifk8s.data.stored import load_dataset
from motifk8s.errors import InputError, Interrupted, Problem
from motifk8s.filters import analysis
from motifk8s.filters.extract import Filters
from motifk8s.filters.layer_motifs import (
    draw_layers,
    extract_layers,
    match_layers,
    read_filters,
    write_filters,
)
from motifk8s.filters.layers import numbered_layers
from motifk8s.motifs.database import read_database
from motifk8s.provenance import (
    code_version,
    cores,
    deployment,
    gpu,
    library_versions,
    peak_memory,
    process_age,
)
from motifk8s.store.base import DamagedError, MissingError, Store
from motifk8s.store.files import local_problem, replacing, write_text
from motifk8s.study.specs import CustomModel, Model, TrainingSettings
from motifk8s.study.study import Cell, Study
from motifk8s.training import devices, loop, models
from motifk8s.training.scores import aupr, auroc

if TYPE_CHECKING:
    import keras

FORMAT = 1
# Prefixes of the names of each stage's files.
FILES = {
    "training": ("model.keras", "history.csv"),
    "filters": ("filters.h5",),
    "matches": ("motifs-", "hits-", "logos-"),
}
# Provenance of a training, kept when a later run reuses the training.
OF_TRAINING = (
    "trained_by", "resumed_at_epochs", "device", "threads", "gpu", "deployment", "stages",
    "peak_memory_bytes",
)  # fmt: skip

Json = dict[str, Any]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """What the stages of a run share."""

    study: Study
    cell: Cell
    store: Store
    data: Dataset
    keys: dict[str, str]  # of each stage
    folder: Path  # temporary, for the run's files
    started: str  # when `run` was called, in ISO 8601
    seconds: dict[str, float]  # of each stage that has ended
    watch: Watch
    stop: Callable[[], bool]

    @property
    def place(self) -> str:
        """The cell's folder in the store."""
        return cell_folder(self.study, self.cell)

    @property
    def spec(self) -> Model | CustomModel:
        """The cell's architecture."""
        return self.study.models[self.cell.model]

    @property
    def settings(self) -> TrainingSettings:
        """The settings of the cell's training."""
        return self.study.training_for(self.cell.dataset)

    @property
    def shape(self) -> tuple[int, int]:
        """The length of the sequences in bp, and the number of classes."""
        return self.data.codes.shape[1], len(self.data.classes)


def run(
    study: Study,
    cell: Cell,
    store: Store,
    *,
    threads: int | None = None,
    watch: Watch = ignore,
    stop: Callable[[], bool] = lambda: False,
) -> Json:
    """Run the stages of a cell that are not done, and return its metrics, as in ``metrics.json``.

    Parameters
    ----------
    threads : int, optional
        Threads of each operation on a CPU; the default is the number of cores.
    watch : callable
        Called with an `Epoch` at the end of each epoch, and with a `Note` if files of the finished
        cell are damaged.
    stop : callable
        Called in training about once a second, and before the stages after it; if it returns True,
        `run` saves a checkpoint and raises `Interrupted`. Signals stop other stages too, wherever
        they are.
    """
    started = _now()
    seconds = {"start": process_age()}
    with _temporary_folder() as folder:
        log.info("cell %s of study %s, code %s", cell.id, study.name, code_version())
        with _timed(seconds, "setup"):  # first: without its GPU, the cell must fail at once
            device = devices.setup(threads)
            devices.require_gpus()
            name = f"CPU, threads: {threads or cores()}" if device == "cpu" else device
            log.info("device: %s", name)
        with _timed(seconds, "data"):
            data = load_dataset(study, cell.dataset, store)
            keys = stage_keys(study, cell, data.data_hash)
            job = _Job(study, cell, store, data, keys, folder, started, seconds, watch, stop)
            done = _read_intact(job)
        if done and done.keys == keys:
            _forget_checkpoint(job)
            return json.loads(fetch(store, job.place, done, "metrics.json"))
        # Check these now: after training, an error would cost hours.
        read_database(study.matches.database)
        analysis.check(study)
        network = _examine(job)
        earlier = _reuse(job, done)
        metrics, provenance = earlier or _train(job, device, threads)
        model = models.load(folder / "model.keras", job.spec, job.settings, *job.shape)
        filters = _extract(job, model)
        _match(job, filters, metrics)
        _analyse(job, model, filters, metrics)
        _write_results(job, network, metrics, provenance)
        marker.publish(store, job.place, keys, folder)
        _forget_checkpoint(job)
    return metrics


def _read_intact(job: _Job) -> Done | None:
    """Return the cell's marker; None if it does not exist, or names a missing or changed file."""
    try:
        return marker.read_intact(job.store, job.place)
    except DamagedError as error:
        text = f"{error}; computing the cell again"
        log.info(text)
        job.watch(Note(job.cell.id, text))
        return None


def _examine(job: _Job) -> Network | None:
    """Return what is known of a custom model when it is built; None for another model."""
    if not isinstance(job.spec, CustomModel):
        return None
    return examine(job.spec, models.build(job.spec, job.settings, *job.shape), job.shape[0])


def _reuse(job: _Job, done: Done | None) -> tuple[Json, Json] | None:
    """Fetch the stages of the last finished run that have this run's keys.

    Returns metrics and provenance; None if the training has another key, or the cell is from an
    archive without its network. The metrics have ``layers`` only if the matches are reused too.
    """
    if done is None or done.keys.get("training") != job.keys["training"]:
        return None
    if "model.keras" not in done.files:
        log.info("the network is not in the store; training it again")
        return None
    reused = [stage for stage in FILES if done.keys.get(stage) == job.keys[stage]]
    prefixes = tuple(prefix for stage in reused for prefix in FILES[stage])
    for name in done.files:
        if name.startswith(prefixes):
            with replacing(job.folder / name) as file:
                file.write(fetch(job.store, job.place, done, name))
    metrics = json.loads(fetch(job.store, job.place, done, "metrics.json"))
    if "matches" not in reused:
        del metrics["layers"]
    provenance = json.loads(fetch(job.store, job.place, done, "provenance.json"))
    log.info("training reused from %s", done.run)
    # Earlier versions did not record all of these.
    return metrics, {key: provenance.get(key) for key in OF_TRAINING}


def _train(job: _Job, kind: str, threads: int | None) -> tuple[Json, Json]:
    """Train and test the model, write its files; return metrics and provenance."""
    settings, seed = job.settings, job.study.seed_of(job.cell.id)
    model = models.build(job.spec, settings, *job.shape, seed)
    train, valid, test = (job.data.part(name) for name in ("train", "valid", "test"))
    steps = 0 if isinstance(job.spec, CustomModel) else settings.steps(len(train[0]))
    device = devices.open_device(model, loop.optimizer(settings), steps)

    def report(number: int, most: int, row: dict[str, float]) -> None:
        job.watch(Epoch(job.cell.id, number, most, row))

    trained = loop.train(device, settings, train, valid, seed, _checkpoint(job), report, job.stop)
    for epoch in trained.resumed_at:
        log.info("resumed at epoch %d", epoch)
    metrics = _metrics(job, trained, test[1], device.predict(test[0]))
    model.save(job.folder / "model.keras")
    write_text(job.folder / "history.csv", trained.history.to_csv(index=False))
    return metrics, {
        "trained_by": trained.trained_by,
        "resumed_at_epochs": trained.resumed_at,
        "stages": {"training": float(trained.history["seconds"].sum())},
        "device": kind,
        "threads": threads or cores(),
        "gpu": gpu() if kind != "cpu" else None,
        "deployment": deployment(),
    }


def _checkpoint(job: _Job) -> loop.Checkpoint:
    """Return the functions that read and write the cell's checkpoint, and how often to write it."""
    path = f"{job.place}/checkpoint"

    def load() -> bytes | None:
        try:
            return job.store.read(path)
        except MissingError:
            return None

    save = partial(job.store.write, path)
    return loop.Checkpoint(job.keys["training"], load, save, _checkpoint_seconds())


def _checkpoint_seconds() -> float:
    text = os.environ.get("MOTIFK8S_CHECKPOINT_SECONDS") or str(loop.CHECKPOINT_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InputError(
            f"MOTIFK8S_CHECKPOINT_SECONDS: expected a number of seconds of 0 or more, got {text!r}"
        )
    return seconds


def _forget_checkpoint(job: _Job) -> None:
    with suppress(Problem):  # the cell is done even if its checkpoint cannot be deleted
        job.store.delete(f"{job.place}/checkpoint")


def _metrics(job: _Job, trained: loop.Trained, labels: np.ndarray, predicted: np.ndarray) -> Json:
    """Score a trained model on the test set; `labels` and `predicted` are (N, classes)."""
    best = trained.history.iloc[trained.best_epoch - 1]
    scores = {"auroc": auroc(labels, predicted), "aupr": aupr(labels, predicted)}
    metrics: Json = {
        "format": FORMAT,
        "cell": job.cell.id,
        "dataset": job.cell.dataset,
        "model": job.cell.model,
        "trial": job.cell.trial,
        **{name: float(np.mean(by_class)) for name, by_class in scores.items()},
        **{
            f"{name}_by_class": dict(zip(job.data.classes, map(float, by_class), strict=True))
            for name, by_class in scores.items()
        },
        "val_loss": float(best["val_loss"]),
        "val_cross_entropy": float(best["val_cross_entropy"]),
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.history),
    }
    values = trained.best_epoch, metrics["epochs"], metrics["auroc"]
    log.info("best epoch %d of %d, test AUROC %.4f", *values)
    return metrics


def _extract(job: _Job, model: keras.Model) -> dict[str, Filters]:
    """Return the filters of each layer; write filters.h5 unless it was reused."""
    file = job.folder / "filters.h5"
    if not file.exists():
        with _timed(job.seconds, "filters", job.stop):
            test = job.data.part("test")[0]
            found = numbered_layers(model)
            layers = {name: found[name] for name in job.spec.layers_before_pooling()}
            write_filters(file, extract_layers(layers, test, job.study.motifs))
    return read_filters(file)


def _match(job: _Job, filters: dict[str, Filters], metrics: Json) -> None:
    """Match the filters, add ``layers`` to the metrics, draw logos; unless these were reused."""
    if "layers" in metrics:
        return
    study, cell = job.study, job.cell
    with _timed(job.seconds, "matches", job.stop):
        metrics["layers"] = match_layers(
            filters,
            study.motifs,
            study.matches.database,
            study.matches.evalue,
            study.datasets[cell.dataset].motif_ids,
            job.folder,
            distance=study.matches.distance,
            qvalue=study.matches.qvalue,
        )
    with _timed(job.seconds, "logos", job.stop):
        title = f"{study.models[cell.model].label or cell.model}, trial {cell.trial}"
        draw_layers(filters, metrics["layers"], title, job.folder)


def _analyse(job: _Job, model: keras.Model, filters: dict[str, Filters], metrics: Json) -> None:
    """Write the tables of the analysis."""
    with _timed(job.seconds, "analysis", job.stop):
        labels = {name: layer["labels"] for name, layer in metrics["layers"].items()}
        tables = analysis.run(job.study, job.cell.dataset, job.data, model, filters, labels)
        for name, table in tables.items():
            write_text(job.folder / f"{name}.csv", table.to_csv(index=False))


def _write_results(job: _Job, network: Network | None, metrics: Json, provenance: Json) -> None:
    """Add to metrics and provenance what is known at the end, and write both files."""
    import keras

    if network:
        provenance["network"] = network._asdict()
    provenance["stages"] |= job.seconds
    metrics["seconds"] = sum(provenance["stages"].values())
    provenance |= {
        "format": FORMAT,
        "study": job.study.resolved(),
        "cell": job.cell.id,
        "keys": job.keys,
        "code_version": code_version(),
        "libraries": library_versions(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "backend": keras.config.backend(),
        "data_hash": job.data.data_hash,
        "started": job.started,
        "ended": _now(),
        "peak_memory_bytes": max(peak_memory(), provenance.get("peak_memory_bytes") or 0),
    }
    for name, content in (("metrics", metrics), ("provenance", provenance)):
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        write_text(job.folder / f"{name}.json", text)
    log.info("done in %.0f s", metrics["seconds"])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Make a temporary folder for a run's files, with log.txt; its errors become `Problem`s."""
    try:
        with tempfile.TemporaryDirectory(prefix="motifk8s-") as temporary:
            folder = Path(temporary)
            with logging_to(logging.FileHandler(folder / "log.txt", encoding="utf-8")):
                yield folder
    except OSError as error:
        raise local_problem(error, "write to", Path(tempfile.gettempdir())) from error


@contextmanager
def _timed(
    seconds: dict[str, float], stage: str, stop: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Record the seconds of a stage; raise `Interrupted` if it must not start, or was stopped."""
    if stop():
        raise Interrupted(f"stopped before the {stage}")
    start = time.monotonic()
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped during the {stage}") from None
    seconds[stage] = time.monotonic() - start
