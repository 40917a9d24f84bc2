"""Count the sequences of a data set without reading or making it as a whole."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import NamedTuple

import h5py
import numpy as np

from motifk8s.data.deepsea import KEPT, POSITIVES
from motifk8s.data.stored import DATA, find, place
from motifk8s.errors import Problem
from motifk8s.store.base import Store
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
    spec, folder = study.datasets[name], place(study, name)
    with suppress(Problem):
        folder = found.place if (found := find(study, name, store)) else folder
    with suppress(Problem, OSError, ValueError, KeyError, TypeError):  # It is absent or damaged.
        facts = json.loads(store.read(f"{folder}/done.json"))
        if "sequences" in facts:
            return Sizes(**facts["sequences"])
        return _count(store, f"{folder}/{facts.get('file', DATA)}")
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


def _count(store: Store, path: str) -> Sizes:
    """Count the sequences in the file of a data set."""
    with store.local(path) as file, h5py.File(file) as content:
        return Sizes(*np.bincount(content["split"][...], minlength=3).tolist())
