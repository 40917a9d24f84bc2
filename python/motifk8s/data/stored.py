"""Make or import data sets once in the store, which all cells and studies share.

A data set is ``datasets/<name>-<key>/data.h5``; the marker ``done.json`` is written last and names
the file. The key is a hash of what determines the content: the description in the study and, for
a file of the user, the SHA-256 of that file. So equal data share one copy, and a file that changes
is another data set.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from motifk8s.data import datasets
from motifk8s.data.hdf5 import open_file
from motifk8s.errors import InputError, Problem, command
from motifk8s.store.base import DamagedError, FormatError, MissingError, Store
from motifk8s.store.files import sha256_of
from motifk8s.store.open import open_store
from motifk8s.study.file import builtin_names
from motifk8s.study.specs import File
from motifk8s.study.study import Study, content_hash

FORMAT = 1
DATA_VERSION = 1  # increase it when the same description yields other data
DATA = "data.h5"  # the file, unless other content has this name already

log = logging.getLogger(__name__)


class Found(NamedTuple):
    """A data set in the store, as its marker describes it."""

    place: str
    data_hash: str  # of the content, as `Dataset.data_hash`
    file: str = DATA  # in `place`
    sha256: str | None = None  # of the user's file; None for other kinds, and in old stores
    source: str | None = None  # `path` of the user's file
    sequences: dict[str, int] | None = None  # by part; None in the first stores

    @property
    def path(self) -> str:
        """The path of the file in the store."""
        return f"{self.place}/{self.file}"


# Where a data set is -------------------------------------------------------------------------


def place(study: Study, name: str) -> str:
    """Return the directory of a data set in the store.

    Reads the file of the user once in a process, to hash it. If it cannot be read and the study
    does not name its hash, the directory is that of earlier versions, which depends on the path.
    """
    spec = _description(study, name)
    if (data := study.datasets[name]).kind == "file":
        if (sha256 := _content(data)) is None:
            return _old_place(study, name)
        return _place(name, {**_without(spec, "path"), "sha256": sha256})
    # Pairs, because the order of classes is that of the labels.
    return _place(name, {**spec, "classes": [list(pair) for pair in spec["classes"].items()]})


def _old_place(study: Study, name: str) -> str:
    """Return the directory of earlier versions: by path, and without the order of classes."""
    return _place(name, _description(study, name))


def _place(name: str, description: dict[str, Any]) -> str:
    return f"datasets/{name}-{content_hash([DATA_VERSION, description])[:12]}"


def _description(study: Study, name: str) -> dict[str, Any]:
    """Return what determines the content of a data set, except the content of the user's file."""
    spec = study.datasets[name].model_dump(mode="json", exclude={"training", "sha256"})
    if spec["kind"] == "synthetic":
        # Sequences contain only the first motif of a class; the others are for matching.
        spec["classes"] = {label: ids[0] for label, ids in spec["classes"].items()}
        spec["seed"] = study.data_seed(name)
    elif spec["kind"] == "deepsea":
        spec["classes"] = {label: item["column"] for label, item in spec["classes"].items()}
    else:
        spec["classes"] = list(spec["classes"])
    return spec


def _without(spec: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name != key}


def find(study: Study, name: str, store: Store) -> Found | None:
    """Return a data set in the store, or None.

    Raises
    ------
    InputError
        The user's file cannot be read, and the store has several data sets from its path.
    Problem
        Its marker is damaged.
    """
    try:
        if found := _find_new(study, name, store):
            return found
        found = read_marker(store, _old_place(study, name))
        return found if found and _is_same(study, name, store, found) else None
    except DamagedError as error:
        raise Problem(f"{error}; {_again(study, name, store)}") from None


def _find_new(study: Study, name: str, store: Store) -> Found | None:
    """Find a data set that this version has made: not one that earlier versions filed by path."""
    spec = study.datasets[name]
    if spec.kind != "file" or _content(spec):
        return read_marker(store, place(study, name))
    found = {each.sha256: each for each in _from_path(study, name, store)}
    if len(found) > 1:
        raise InputError(
            f"data set {name}: {spec.path} cannot be read, and the store has several data sets "
            f"from this path; restore the file, or give one as sha256 in the study: "
            f"{', '.join(sorted(map(str, found)))}"
        )
    for each in found.values():
        _warn(f"{spec.path} cannot be read; using {each.place}, which was imported from it")
        return each
    return None


def _from_path(study: Study, name: str, store: Store) -> list[Found]:
    """Return the data sets in the store that were imported from the path in the study."""
    spec = study.datasets[name]
    assert isinstance(spec, File)
    pattern = f"datasets/{re.escape(name)}-[0-9a-f]{{12}}/done\\.json"
    markers = [path for path in store.list("datasets") if re.fullmatch(pattern, path)]
    found = []
    for path in markers:
        with suppress(DamagedError, FormatError):
            each = read_marker(store, path.removesuffix("/done.json"))
            if each and each.sha256 and each.source == spec.path:
                same = pinned_to(study, {name: each.sha256})
                found += [each] if place(same, name) == each.place else []
    return found


def _is_same(study: Study, name: str, store: Store, old: Found) -> bool:
    """Return whether data that an earlier version filed are those of the study, by their content.

    Reads the whole file of the user, or the names of the classes in the store.
    """
    spec = study.datasets[name]
    if spec.kind == "file":
        if (sha256 := _content(spec)) is None:
            return True
        return _data_hash_of(spec.path, sha256, tuple(spec.motif_ids)) == old.data_hash
    try:
        with store.local(old.path) as file, open_file(file) as content:
            return content["classes"].asstr()[...].tolist() == list(spec.motif_ids)
    except (Problem, OSError, KeyError, TypeError, AttributeError):
        return True  # damaged: `load_dataset` says so


@cache
def _data_hash_of(path: str, sha256: str, classes: tuple[str, ...]) -> str | None:
    """Return the data hash of a user's file; None if it has other content or cannot be read."""
    with suppress(Problem, OSError, ValueError), _opened(path) as file:
        if _sha256(file) == sha256:
            return datasets.read(file, classes).data_hash
    return None


def where(study: Study, name: str, store: Store) -> str:
    """Return the directory of a data set that is in the store."""
    found = find(study, name, store)
    return found.place if found else place(study, name)


def is_ready(study: Study, name: str, store: Store) -> bool:
    """Return whether the store has a data set where pods find it too, without the user's file."""
    found = find(study, name, store)
    return found is not None and not _must_move(study, name, found)


def _must_move(study: Study, name: str, found: Found) -> bool:
    """Return whether an earlier version filed a user's file by its path."""
    spec = study.datasets[name]
    return spec.kind == "file" and found.sha256 is None and _content(spec) is not None


def data_hash(study: Study, name: str, store: Store) -> str | None:
    """Return the hash of a data set from its marker; None if the store lacks it."""
    found = find(study, name, store)
    return found.data_hash if found else None


def read_marker(store: Store, folder: str) -> Found | None:
    """Read the marker of the data set in `folder`; return None if it does not exist.

    Raises `DamagedError` or `FormatError` as `Store.read_json`.
    """

    def parse(marker: dict[str, Any]) -> Found:
        source = marker.get("source", {})
        file = str(marker.get("file", DATA))
        if not re.fullmatch(r"[\w-]+\.h5", file):
            raise ValueError
        sha256, path = source.get("sha256"), source.get("path")
        counts = marker.get("sequences")
        return Found(folder, str(marker["data_hash"]), file, sha256, path, counts)

    try:
        return store.read_json(f"{folder}/done.json", FORMAT, parse)
    except AttributeError:
        raise DamagedError(f"{folder}/done.json is damaged") from None


# The content of the user's file --------------------------------------------------------------


def pinned(study: Study, store: Store) -> Study:
    """Return the study with the SHA-256 of each of its files, as far as it is known.

    Such a study finds its data without the files, and means the same data wherever they change.
    """
    known: dict[str, str] = {}
    for name, spec in study.datasets.items():
        if spec.kind == "file" and spec.sha256 is None:
            sha256 = _content(spec)
            if sha256 is None and (found := find(study, name, store)):
                sha256 = found.sha256
            if sha256:
                known[name] = sha256
    return pinned_to(study, known)


def pinned_to(study: Study, known: dict[str, str]) -> Study:
    """Return the study with the SHA-256 of some of its files, by the name of the data set."""
    if not known:
        return study
    changed = {
        name: study.datasets[name].model_copy(update={"sha256": sha256})
        for name, sha256 in known.items()
    }
    return study.model_copy(update={"datasets": {**study.datasets, **changed}})


def change(study: Study, name: str, store: Store) -> str:
    """Return one line if the store has data from the path of a user's file, but not its content.

    Otherwise, and if the study has no such data set, the line is empty.
    """
    spec = study.datasets.get(name)
    if not isinstance(spec, File) or _content(spec) is None or find(study, name, store):
        return ""
    old = store.exists(f"{_old_place(study, name)}/done.json")
    if not old and not _from_path(study, name, store):
        return ""
    return f"{spec.path} has changed since data set {name} was made"


def _content(spec: File) -> str | None:
    """Return the SHA-256 of a user's file: the study's, or else that of the file if it is there."""
    if spec.sha256 is not None:
        return spec.sha256
    if not spec.path.startswith("s3://"):
        with suppress(OSError, ValueError):
            return _sha256(Path(spec.path)) if Path(spec.path).is_file() else None
        return None
    parent, _, name = spec.path.rpartition("/")
    with suppress(Problem):
        version, sha256 = open_store(parent).version(name)
        return sha256 or _sha256_of_object(spec.path, version)
    return None


@cache
def _sha256_of_object(url: str, version: str) -> str | None:
    """Download and hash an object that another program has uploaded; once for each version."""
    with _opened(url) as file:
        return sha256_of(file)


def _sha256(file: Path) -> str:
    """Return the SHA-256 of a local file; read it once in a process, unless it changes."""
    stat = os.stat(file)
    # Unlike the time of the last write, nobody can set the time of the last change.
    stamp = stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    return _sha256_at(str(file), stamp)


@cache
def _sha256_at(file: str, stamp: tuple[int, ...]) -> str:
    return sha256_of(Path(file))


@cache
def _warn(text: str) -> None:
    """Warn once in a process."""
    log.warning(text)


# Making --------------------------------------------------------------------------------------


def can_be_made(study: Study, name: str) -> bool:
    """Return whether a data set can be made from the study alone, or from a file that is there."""
    spec = study.datasets[name]
    return _can_be_read(spec.path) if spec.kind == "file" else spec.kind == "synthetic"


def _can_be_read(path: str) -> bool:
    if not path.startswith("s3://"):
        return os.path.isfile(path) and os.access(path, os.R_OK)
    parent, _, name = path.rpartition("/")
    with suppress(Problem):
        return open_store(parent).exists(name)
    return False


def lacking(study: Study, name: str, store: Store) -> str:
    """Return why the data of a finished cell are not those of the study."""
    return change(study, name, store) or f"data set {name} is not in the store"


def absent(study: Study, name: str, store: Store) -> str:
    """Return a message that a data set is not in the store, with the command that makes it."""
    where = f"data set {name} is not in the store"
    if can_be_made(study, name):
        return f"{where}; make it: {_command(study, name, store)}"
    given = _command(study, name, store, "--from", "FILE.h5")
    spec = study.datasets[name]
    if spec.kind == "file":
        return (
            f"{where}, and {spec.path} cannot be read; correct path in the study, or give the "
            f"file: {given}"
        )
    bundle = command("import", "deepsea", "--study", study_argument(study), store=store.url)
    return f"{where} and cannot be made; import it: {bundle}, or {given}"


def _again(study: Study, name: str, store: Store) -> str:
    source = [] if can_be_made(study, name) else ["--from", "FILE.h5"]
    return f"make it again: {_command(study, name, store, '--again', *source)}"


def _command(study: Study, name: str, store: Store, *options: str) -> str:
    return command("dataset", study_argument(study), name, *options, store=store.url)


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
    if source is None and not again and is_ready(study, name, store):
        return datasets.describe(load_dataset(study, name, store))
    spec = study.datasets[name]
    origin: dict[str, Any] | None = None
    if path := source or getattr(spec, "path", None):
        dataset, origin = _import_file(study, name, path)
    elif spec.kind == "synthetic":
        dataset = datasets.synthesize(spec, study.data_seed(name))
    else:
        raise InputError(absent(study, name, store))
    facts = datasets.describe(dataset)
    if spec.kind == "file" and origin:
        study = pinned_to(study, {name: origin["sha256"]})
        origin["path"] = spec.path
    with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder:
        file = Path(folder) / DATA
        datasets.write(dataset, file, spec.model_dump(mode="json"))
        publish(study, name, store, file, facts, origin)
    return facts


def _import_file(study: Study, name: str, path: str) -> tuple[datasets.Dataset, dict[str, Any]]:
    """Read a data set from a file; check that content, length and classes are those of the study.

    Also returns path, size in bytes and SHA-256 of the file.
    """
    spec = study.datasets[name]
    classes = list(spec.motif_ids)
    with _opened(path) as file:
        origin = _origin(file, path)
        wanted = _content(spec) if spec.kind == "file" else None
        if origin and wanted not in (None, origin["sha256"]):
            raise InputError(
                f"{path}: is not the file of data set {name}: its SHA-256 is {origin['sha256']}, "
                f"but the study means {wanted} ({getattr(spec, 'path', '')}); give the same file, "
                "or correct path or sha256 in the study"
            )
        dataset = datasets.read(file, classes)
        if origin != _origin(file, path):
            raise Problem(f"{path} changed while it was read; run the same command again")
    length = dataset.codes.shape[1]
    if length != spec.length or list(dataset.classes) != classes:
        raise InputError(
            f"{path}: has {len(dataset.classes)} classes ({', '.join(dataset.classes)}) and "
            f"{length} bp, but data set {name} of study {study.name} has "
            f"{spec.n_classes} ({', '.join(classes)}) and {spec.length} bp"
        )
    return dataset, origin


def _origin(file: Path, path: str) -> dict[str, Any]:
    """Return path, size and SHA-256 of a user's file; empty if it cannot be read."""
    with suppress(OSError, ValueError):
        if file.is_file():
            return {"path": path, "size": file.stat().st_size, "sha256": _sha256(file)}
    return {}


@contextmanager
def _opened(path: str) -> Iterator[Path]:
    """Yield a local copy of a local or S3 file; raise InputError if S3 has no such object."""
    if not path.startswith("s3://"):
        yield Path(path)
        return
    parent, _, name = path.rpartition("/")
    try:
        with open_store(parent).local(name) as file:
            yield file
    except MissingError as error:
        raise InputError(str(error)) from None


def publish(
    study: Study,
    name: str,
    store: Store,
    file: Path,
    facts: dict[str, Any],
    origin: dict[str, Any] | None = None,
) -> None:
    """Upload the file of a data set, then its marker with some of the `facts`.

    Other content than that of a present marker gets another name: until the new marker is written,
    the old one and its file are whole. `origin` has path, size and SHA-256 of the user's file.
    """
    folder, content, data = place(study, name), facts["data_hash"], DATA
    with suppress(DamagedError, FormatError):
        if old := read_marker(store, folder):
            data = old.file if old.data_hash == content else f"data-{content[:12]}.h5"
    store.upload(file, f"{folder}/{data}")
    marker = {"format": FORMAT, "data_hash": content, "sequences": facts["sequences"], "file": data}
    text = json.dumps({**marker, **({"source": origin} if origin else {})})
    store.write(f"{folder}/done.json", (text + "\n").encode())


def load_dataset(study: Study, name: str, store: Store) -> datasets.Dataset:
    """Read a data set from the store; raise Problem if it is absent or not the marker's."""
    found = find(study, name, store)
    if found is None:
        raise InputError(absent(study, name, store))
    try:
        with store.local(found.path) as file:
            dataset = datasets.read(file)
    except (MissingError, DamagedError, InputError) as error:
        raise Problem(f"{error}; {_again(study, name, store)}") from None
    if dataset.data_hash != found.data_hash:
        raise Problem(
            f"{found.path} in {store.url} is not the data that its marker names; "
            f"{_again(study, name, store)}"
        )
    return dataset
