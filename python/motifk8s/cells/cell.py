"""The whole life of a cell: one model trained on one data set, its filters read and matched.

Start here. `run` is a straight line: data, training, filters, matches, analysis, results, marker.
Each stage has a key, a hash of what determines its numbers; a stage whose key is that of the last
finished run is taken over from it, so a new database repeats no training.
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
from pathlib import Path
from typing import Any

import numpy as np

from motifk8s.cells import marker
from motifk8s.cells.keys import cell_folder, stage_keys
from motifk8s.cells.marker import DamagedError, Done, fetch, read_done
from motifk8s.data import datasets
from motifk8s.data.stored import load_dataset
from motifk8s.errors import InputError, Interrupted, Problem
from motifk8s.filters import analysis
from motifk8s.filters.layer_motifs import (
    draw_layers,
    extract_layers,
    match_layers,
    read_filters,
    write_filters,
)
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
from motifk8s.store.base import MissingError, Store
from motifk8s.store.files import local_problem
from motifk8s.study.study import Cell, Study
from motifk8s.training import devices, loop, models
from motifk8s.training.scores import aupr, auroc

FORMAT = 1
# How the names of a stage's files begin.
FILES = {
    "training": ("model.keras", "history.csv"),
    "filters": ("filters.h5",),
    "matches": ("motifs-", "hits-", "logos-"),
}
# Of a run that trained, kept when a later run takes its training over.
OF_TRAINING = ("trained_by", "resumed_at_epochs", "device", "threads", "gpu", "deployment")

log = logging.getLogger(__name__)


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
    note: Callable[[str], None] = lambda text: None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Bring one cell to its end, doing only what is not yet done.

    Parameters
    ----------
    study : Study
    cell : Cell
    store : Store
    threads : int, optional
        Threads of each operation on a CPU; by default as many as there are cores.
    progress : callable
        Called after each epoch with its number, the most there can be, and its history row.
    note : callable
        Called with a sentence if what was finished is damaged and computed again.
    stop : callable
        Asked about once a second; True saves a checkpoint and raises `Interrupted`.

    Returns
    -------
    dict
        The cell's metrics, as in ``metrics.json``.
    """
    clock = _Clock()
    clock.seconds["start"] = process_age()
    place = cell_folder(study, cell)
    with _workplace() as here:
        log.info("cell %s of study %s, code %s", cell.id, study.name, code_version())
        with clock("data"):
            dataset = load_dataset(study, cell.dataset, store)
            keys = stage_keys(study, cell, dataset.data_hash)
            done = _read_intact(store, place, note)
        if done and done.keys == keys:
            _forget_checkpoint(store, place)
            return json.loads(fetch(store, place, done, "metrics.json"))
        # What cannot be read is refused now rather than after training.
        read_database(study.matches.database)
        analysis.check(study)
        old = _take_over(store, place, done, keys, here)
        with clock("setup"):
            device = devices.setup(threads)
            import keras
        if old is None:
            with clock("training"):
                trained = _train(study, cell, dataset, store, keys, here, progress, stop)
            metrics, provenance = trained
            provenance |= {
                "device": device,
                "threads": threads or cores(),
                "gpu": gpu() if device != "cpu" else None,
                "deployment": deployment(),
            }
            if stop():
                raise Interrupted("stopped after training, which is saved")
        else:
            log.info("training taken over from %s", done.run if done else "")
            metrics, provenance = old
        model = keras.models.load_model(here / "model.keras", compile=False)
        if not (here / "filters.h5").exists():
            with clock("filters"):
                found = extract_layers(model, dataset.part("test")[0], study.motifs)
                write_filters(here / "filters.h5", found)
        found = read_filters(here / "filters.h5")
        if "layers" not in metrics:
            with clock("matches"):
                metrics["layers"] = match_layers(
                    found,
                    study.motifs,
                    study.matches.database,
                    study.matches.evalue,
                    study.datasets[cell.dataset].motif_ids,
                    here,
                )
            with clock("logos"):
                title = f"{study.models[cell.model].label or cell.model}, trial {cell.trial}"
                draw_layers(found, metrics["layers"], title, here)
        if stop():
            raise Interrupted("stopped before its analysis; training is saved")
        with clock("analysis"):
            labels = {name: layer["labels"] for name, layer in metrics["layers"].items()}
            tables = analysis.run(study, cell.dataset, dataset, model, found, labels)
            for name, table in tables.items():
                table.to_csv(here / f"{name}.csv", index=False)
        stages = provenance["stages"]
        stages |= {k: v for k, v in clock.seconds.items() if k != "training"}
        metrics["seconds"] = sum(stages.values())
        provenance |= {
            "format": FORMAT,
            "study": study.resolved(),
            "cell": cell.id,
            "keys": keys,
            "code_version": code_version(),
            "libraries": library_versions(),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "backend": keras.config.backend(),
            "data_hash": dataset.data_hash,
            "peak_memory_bytes": max(peak_memory(), provenance.get("peak_memory_bytes") or 0),
        }
        _write_json(here / "metrics.json", metrics)
        _write_json(here / "provenance.json", provenance)
        log.info("done in %.0f s", metrics["seconds"])
        marker.publish(store, place, keys, here)
        _forget_checkpoint(store, place)
    return metrics


def _forget_checkpoint(store: Store, place: str) -> None:
    with suppress(Problem):  # the cell is done, whatever is left beside it
        store.delete(f"{place}/checkpoint")


def _read_intact(store: Store, place: str, note: Callable[[str], None]) -> Done | None:
    """Read a cell's marker; None if there is none, or if what it names is gone or changed."""
    try:
        done = read_done(store, place)
        if done:
            marker.check(store, place, done)
        return done
    except DamagedError as error:
        log.info("%s; computing the cell again", error)
        note(f"{error}; computing the cell again")
        return None


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
    train_part = dataset.part("train")
    device = devices.open_device(model, optimizer, settings.steps(len(train_part[0])))
    checkpoint_path = f"{cell_folder(study, cell)}/checkpoint"

    def load() -> bytes | None:
        try:
            return store.read(checkpoint_path)
        except MissingError:
            return None

    trained = loop.train(
        device,
        settings,
        train_part,
        dataset.part("valid"),
        seed,
        loop.Checkpoint(
            keys["training"],
            load,
            lambda data: store.write(checkpoint_path, data),
            _checkpoint_seconds(),
        ),
        progress,
        stop,
    )
    for epoch in trained.resumed_at:
        log.info("resumed at epoch %d", epoch)
    codes, labels = dataset.part("test")
    probabilities = device.predict(codes)
    scores = {
        "auroc": auroc(labels, probabilities),
        "aupr": aupr(labels, probabilities),
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
    """Fetch what an earlier finished run shares with this one; None if training is not shared.

    The metrics have ``layers`` only where the matches are shared too.
    """
    if done is None or done.keys.get("training") != keys["training"]:
        return None
    shared = [stage for stage in FILES if done.keys.get(stage) == keys[stage]]
    starts = tuple(start for stage in shared for start in FILES[stage])
    for name in done.files:
        if name.startswith(starts):
            (here / name).write_bytes(fetch(store, place, done, name))
    metrics = json.loads(fetch(store, place, done, "metrics.json"))
    if "matches" not in shared:
        del metrics["layers"]
    provenance = json.loads(fetch(store, place, done, "provenance.json"))
    kept = (*OF_TRAINING, "stages", "peak_memory_bytes")
    # What a run of an earlier version did not record stays unknown.
    return metrics, {key: provenance.get(key) for key in kept}


@contextmanager
def _workplace() -> Iterator[Path]:
    """A temporary folder for a run's files, among them log.txt; its errors are told in one line."""
    try:
        with (
            tempfile.TemporaryDirectory(prefix="motifk8s-") as temporary,
            _logging(Path(temporary)),
        ):
            yield Path(temporary)
    except OSError as error:
        raise local_problem(error, "write to", Path(tempfile.gettempdir())) from error


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


def _checkpoint_seconds() -> float:
    text = os.environ.get("MOTIFK8S_CHECKPOINT_SECONDS") or str(loop.CHECKPOINT_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InputError(f"MOTIFK8S_CHECKPOINT_SECONDS: {text!r} is not a number of seconds")
    return seconds


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
