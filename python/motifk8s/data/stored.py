"""Make or import data sets once in the store, which all cells and studies share.

A data set is ``datasets/<name>-<key>/data.h5``; the marker ``done.json`` is written last. The key
is a hash of the data set's description in the study, so equal descriptions share one file.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from motifk8s.data import datasets
from motifk8s.errors import InputError, Problem
from motifk8s.store.base import DamagedError, MissingError, Store
from motifk8s.store.open import open_store
from motifk8s.study.file import builtin_names
from motifk8s.study.study import Study, content_hash

FORMAT = 1
DATA_VERSION = 1  # increase it when the same description yields other data


def place(study: Study, name: str) -> str:
    """Return the directory of a data set in the store."""
    spec = study.datasets[name].model_dump(mode="json", exclude={"training"})
    if spec["kind"] == "synthetic":
        # Sequences contain only the first motif of a class; the others are for matching.
        spec["classes"] = {label: ids[0] for label, ids in spec["classes"].items()}
        spec["seed"] = study.data_seed(name)
    elif spec["kind"] == "deepsea":
        spec["classes"] = {label: item["column"] for label, item in spec["classes"].items()}
    else:
        spec["classes"] = list(spec["classes"])
    return f"datasets/{name}-{content_hash([DATA_VERSION, spec])[:12]}"


def is_ready(study: Study, name: str, store: Store) -> bool:
    """Return whether the store has a data set."""
    return store.exists(f"{place(study, name)}/done.json")


def data_hash(study: Study, name: str, store: Store) -> str | None:
    """Return the hash of a data set from its marker; None if the store lacks it."""
    path = f"{place(study, name)}/done.json"
    try:
        return store.read_json(path, FORMAT, lambda marker: str(marker["data_hash"]))
    except DamagedError as error:
        raise Problem(f"{error}; {_again(study, name)}") from None


def can_be_made(study: Study, name: str) -> bool:
    """Return whether a data set can be made without a file from the user."""
    return study.datasets[name].kind != "deepsea"


def absent(study: Study, name: str) -> str:
    """Return a message that a data set is not in the store, with the command that makes it."""
    if can_be_made(study, name):
        return f"data set {name} is not in the store; make it: {_command(study, name)}"
    return (
        f"data set {name} is not in the store and cannot be made; import it: motifk8s import "
        f"deepsea --study {study_argument(study)}, or {_command(study, name)} --from FILE.h5"
    )


def _again(study: Study, name: str) -> str:
    source = "" if can_be_made(study, name) else " --from FILE.h5"
    return f"make it again: {_command(study, name)} --again{source}"


def _command(study: Study, name: str) -> str:
    return f"motifk8s dataset {study_argument(study)} {name}"


def study_argument(study: Study) -> str:
    """Return the name of a built-in study for a command, or STUDY.yaml."""
    return study.name if study.name in builtin_names() else "STUDY.yaml"


def prepare(
    study: Study, name: str, store: Store, source: str | None = None, again: bool = False
) -> dict[str, Any]:
    """Make or import a data set unless the store has it, and return its description.

    Raise InputError if the study has no such data set, or its data need a file that is not given.

    Parameters
    ----------
    source : str, optional
        An HDF5 file (path or s3:// URL) to import, of our or the reference layout.
    again : bool
        Replace a data set that is in the store.
    """
    if name not in study.datasets:
        known = ", ".join(study.datasets)
        raise InputError(f"study {study.name} has no data set {name!r}; it has {known}")
    if is_ready(study, name, store) and not again and source is None:
        return datasets.describe(load_dataset(study, name, store))
    spec = study.datasets[name]
    if path := source or getattr(spec, "path", None):
        dataset = _import_file(study, name, path)
    elif spec.kind == "synthetic":
        dataset = datasets.synthesize(spec, study.data_seed(name))
    else:
        raise InputError(absent(study, name))
    facts = datasets.describe(dataset)
    with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder:
        file = Path(folder) / "data.h5"
        datasets.write(dataset, file, spec.model_dump(mode="json"))
        publish(study, name, store, file, facts)
    return facts


def _import_file(study: Study, name: str, path: str) -> datasets.Dataset:
    """Read a data set from a file; check that length and classes are those of the study."""
    spec = study.datasets[name]
    classes = list(spec.motif_ids)
    dataset = _read(path, classes)
    length = dataset.codes.shape[1]
    if length != spec.length or list(dataset.classes) != classes:
        raise InputError(
            f"{path}: has {len(dataset.classes)} classes ({', '.join(dataset.classes)}) and "
            f"{length} bp, but data set {name} of study {study.name} has "
            f"{spec.n_classes} ({', '.join(classes)}) and {spec.length} bp"
        )
    return dataset


def _read(path: str, classes: list[str]) -> datasets.Dataset:
    """Read a data set from a local or S3 file."""
    if not path.startswith("s3://"):
        return datasets.read(path, classes)
    parent, _, name = path.rpartition("/")
    try:
        with open_store(parent).local(name) as file:
            return datasets.read(file, classes)
    except MissingError as error:
        raise InputError(str(error)) from None


def publish(study: Study, name: str, store: Store, file: Path, facts: dict[str, Any]) -> None:
    """Upload the file of a data set, then its marker with some of the `facts`."""
    store.upload(file, f"{place(study, name)}/data.h5")
    marker = {"format": FORMAT, **{key: facts[key] for key in ("data_hash", "sequences")}}
    store.write(f"{place(study, name)}/done.json", (json.dumps(marker) + "\n").encode())


def load_dataset(study: Study, name: str, store: Store) -> datasets.Dataset:
    """Read a data set from the store; raise Problem if it is absent or not the marker's."""
    expected = data_hash(study, name, store)
    if expected is None:
        raise InputError(absent(study, name))
    path = f"{place(study, name)}/data.h5"
    try:
        with store.local(path) as file:
            dataset = datasets.read(file)
    except (MissingError, InputError) as error:
        raise Problem(f"{error}; {_again(study, name)}") from None
    if dataset.data_hash != expected:
        raise Problem(
            f"{path} in {store.url} is not the data that its marker names; {_again(study, name)}"
        )
    return dataset
