"""Count the sequences of a data set, and check its labels, without reading it as a whole."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from motifk8s.data import datasets
from motifk8s.data.datasets import PARTS
from motifk8s.data.deepsea import KEPT, POSITIVES
from motifk8s.data.hdf5 import open_file, own_array
from motifk8s.data.stored import find
from motifk8s.errors import Problem
from motifk8s.store.base import Store
from motifk8s.store.folder import FolderStore
from motifk8s.store.open import open_store
from motifk8s.study.study import Study


class Sizes(NamedTuple):
    """Sequences of each part of a data set."""

    train: int
    valid: int
    test: int


def count_sequences(study: Study, name: str, store: Store) -> Sizes | None:
    """Count the sequences of each part of a data set; None if unknown."""
    if sizes := described_sizes(study, name):
        return sizes
    spec = study.datasets[name]
    with suppress(Problem, OSError, ValueError, KeyError, TypeError):  # It is damaged.
        if found := find(study, name, store):
            return Sizes(**found.sequences) if found.sequences else _count(store, found.path)
    if spec.kind == "file":
        parent, slash, file = spec.path.rpartition("/")
        with suppress(Problem, OSError, KeyError, TypeError):
            return _count(open_store(parent or slash or "."), file)
    if spec.kind == "deepsea" and {c.column for c in spec.classes.values()} <= set(POSITIVES):
        # The counts of the paper's in vivo data are an upper bound for fewer classes.
        return Sizes(KEPT["train"], 8_000, KEPT["test"])
    return None


def described_sizes(study: Study, name: str) -> Sizes | None:
    """Return the sizes of a synthetic data set, from its settings; None for other kinds."""
    spec = study.datasets[name]
    if spec.kind != "synthetic":
        return None
    train, both = (round(spec.n_sequences * sum(spec.split[:n])) for n in (1, 2))
    return Sizes(train, both - train, spec.n_sequences - both)


def check_labels(study: Study, name: str, store: Store) -> None:
    """Raise InputError if no cell can be trained with a data set: see `datasets.check_validation`.

    Check the file in the store, or else the one that the study names, if it is on this machine.
    What cannot be read is not checked; other commands say why.
    """
    spec = study.datasets[name]
    file = Path(spec.path) if spec.kind == "file" else None
    with suppress(Problem):
        if isinstance(store, FolderStore) and (found := find(study, name, store)):
            file = store.folder / found.path
    if file is None or not file.is_file():
        return
    classes = list(spec.motif_ids)
    try:
        labels, split = datasets.read_labels(file)
    except Problem:
        return
    valid = labels[split == PARTS.index("valid")] if len(labels) == len(split) else labels[:0]
    if len(valid) and labels.shape[1] == len(classes):
        datasets.check_validation(valid, classes, str(file), datasets.HINT)


def _count(store: Store, path: str) -> Sizes:
    """Count the sequences in the file of a data set."""
    with store.local(path) as file, open_file(file) as content:
        if (split := own_array(content, "split", file)) is None:
            raise KeyError("split")
        return Sizes(*np.bincount(split[...], minlength=3).tolist())
