"""A study that takes a second, and ways to run the command on it, here or in another process."""

from __future__ import annotations

import copy
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from motifk8s.filters.analysis import TABLES

ROOT = Path(__file__).parents[2]
CORES = str(len(os.sched_getaffinity(0)))

# Two architectures, with motifs of one layer and of two; dropout and Adam, as in every model.
TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "datasets": {
        "small": {
            "kind": "synthetic",
            "n_sequences": 200,
            "length": 40,
            "motifs_per_sequence": [1],
            "split": [0.5, 0.25, 0.25],
            "classes": {"SRF": ["MA0083.3"], "MAX": ["MA0058.3"]},
        }
    },
    "models": {
        "a": {
            "conv": [
                {"filters": 6, "width": 9, "pool": 10},
                {"filters": 8, "width": 3, "pool": 4},
            ],
            "dense": [8],
        },
        "b": {
            "conv": [{"filters": 4, "width": 7}, {"filters": 4, "width": 5, "pool": 20}],
            "dense": [8],
        },
    },
    # Better with each epoch, so that a test of the best weights is one of the last ones.
    "training": {
        "preset": "as-run",
        "batch_size": 20,
        "epochs": 5,
        "learning_rate": 3e-3,
        "batch_norm_momentum": 0.8,
    },
    # One release and a few values: a second rather than ten.
    "analysis": {
        "thresholds": [0.3],
        "trim_bits": [None],
        "evalues": [0.01, 200],
        "databases": ["JASPAR2016"],
    },
}
ORCID = "0000-0002-1825-0097"
FILES = {
    "filters.h5", "firing.csv", "history.csv", "hits-conv1.tsv", "importance.csv", "log.txt",
    "logos-conv1.png", "metrics.json", "model.keras", "motifs-conv1.meme", "provenance.json",
    "sensitivity.csv",
}  # fmt: skip


def study_file(path: Path, *changes: dict[str, Any], base: dict[str, Any] = TINY) -> Path:
    """Write a study (JSON is YAML): the base with merge patches over it."""
    study = copy.deepcopy(base)
    for change in changes:
        merge(study, change)
    path.write_text(json.dumps(study))
    return path


def merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        elif value is None:
            target.pop(key, None)
        else:
            target[key] = value


def command(*args: object, code: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    """Run ``motifk8s`` in a process of its own; `code` is Python that replaces its main."""
    run = ["-c", code] if code else ["-m", "motifk8s"]
    path = os.pathsep.join([str(ROOT / "python"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *run, *map(str, args)],
        env={**os.environ, "PYTHONPATH": path, **more.pop("env", {})},
        capture_output=True,
        text=True,
        timeout=300,
        **more,
    )


def one_line(error: str) -> str:
    """What the command says of an error, which must be one line."""
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("motifk8s: ")]
    assert len(lines) == 1, error
    return lines[0]


def place_of(store: Path, cell: str, study: str = "tiny") -> Path:
    """The folder of a cell."""
    return store / study / "cells" / cell


def run_folder(store: Path, cell: str, study: str = "tiny") -> Path:
    """The folder of the run that counts."""
    place = place_of(store, cell, study)
    return place / json.loads((place / "done.json").read_text())["run"]


def weights(keras_file: Path) -> dict[str, np.ndarray]:
    """All weights in a .keras file, by their path in it."""
    with zipfile.ZipFile(keras_file) as archive:
        data = archive.read("model.weights.h5")
    found: dict[str, np.ndarray] = {}
    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    assert found
    return found


def results(store: Path, cell: str, study: str = "tiny") -> dict[str, Any]:
    """Everything of a finished cell that a repetition must give again, exactly."""
    folder = run_folder(store, cell, study)
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["seconds"]
    history = pd.read_csv(folder / "history.csv", float_precision="round_trip")
    with h5py.File(folder / "filters.h5") as file:
        filters = {
            f"{layer}/{name}": item[()].tolist()
            for layer, group in file.items()
            for name, item in group.items()
        }
    texts = [p for p in folder.iterdir() if p.suffix in (".meme", ".tsv")]
    texts += [folder / f"{name}.csv" for name in TABLES]
    return {
        "metrics": metrics,
        "history": history.drop(columns="seconds").to_dict("list"),
        "filters": filters,
        "weights": {k: v.tobytes() for k, v in weights(folder / "model.keras").items()},
        "texts": {path.name: path.read_text() for path in texts},
    }


def provenance(store: Path, cell: str, study: str = "tiny") -> dict[str, Any]:
    return json.loads((run_folder(store, cell, study) / "provenance.json").read_text())
