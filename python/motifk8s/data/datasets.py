"""Make synthetic data sets, and read and write data sets as HDF5.

In memory a data set is base codes, labels and split. One-hot encoding follows on the device.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from motifk8s.data import reference
from motifk8s.data.files import check_budget
from motifk8s.data.hdf5 import open_file, own_array
from motifk8s.data.places import PLACE, Places
from motifk8s.data.reference import LAYOUTS
from motifk8s.data.sequences import UNKNOWN
from motifk8s.data.synthetic import sample, sample_reference
from motifk8s.errors import InputError, Problem, one_line
from motifk8s.motifs.jaspar import jaspar_motif
from motifk8s.store.files import replacing
from motifk8s.study.specs import Synthetic

FORMAT = "motifk8s-dataset"
VERSION = 1
PARTS = ("train", "valid", "test")
HINT = "use more sequences, another split, or leave the class out"
PLACEMENTS = {"uniform": sample, "reference": sample_reference}
EMBEDDED = np.dtype([("sequence", "<i4"), ("class", "u1"), ("start", "<i4"), ("strand", "i1")])
"""One embedded motif: row of the sequence, index of its class, first base (0-based), +1 or -1."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Sequences with binary labels, in three parts."""

    codes: np.ndarray  # (N, L) uint8; A C G T = 0 1 2 3, unknown = 4
    labels: np.ndarray  # (N, C) int8; 1 positive, 0 negative, -1 unknown
    split: np.ndarray  # (N,) uint8; 0 train, 1 valid, 2 test
    classes: tuple[str, ...]  # C names
    embedded: np.ndarray | None = None
    """
    Embedded motifs of synthetic data, (M,) of type EMBEDDED, sorted by sequence and start. On
    strand -1 the reverse complement of the class's PPM begins at `start`.
    """
    places: Places | None = None
    """Where the sequences are from; not part of `data_hash`, because no result depends on it."""

    def part(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return codes (n, L) and labels (n, C) of "train", "valid" or "test".

        If the rows of the part are adjacent, these are views.
        """
        rows = np.flatnonzero(self.split == PARTS.index(name))
        if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
            adjacent = slice(rows[0], rows[-1] + 1)
            return self.codes[adjacent], self.labels[adjacent]
        return self.codes[rows], self.labels[rows]

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 (hex) of the content; the layout of its file does not matter."""
        digest = hashlib.sha256()
        header = [FORMAT, VERSION, list(self.codes.shape), list(self.classes)]
        digest.update(json.dumps(header).encode())
        for array, dtype in (
            (self.codes, np.dtype("u1")),
            (self.labels, np.dtype("i1")),
            (self.split, np.dtype("u1")),
            (self.embedded, EMBEDDED),
        ):
            if array is None:
                digest.update(b"none")
            else:
                data = np.ascontiguousarray(array, dtype)
                digest.update(f"{len(data)} rows".encode())
                digest.update(data.view(np.uint8).data)
        return digest.hexdigest()


def synthesize(spec: Synthetic, seed: int) -> Dataset:
    """Make the synthetic data set of the paper (Methods, "Synthetic data").

    Each sequence gets one or more PPMs, drawn with replacement from those of all classes, forward
    and reverse complement (see `synthetic.sample` and `sample_reference`). A label is 1 if the
    sequence has a motif of the class on either strand. Rows are independent, so the first ones are
    for training, the next for validation, the rest for the test. The same seed gives the same
    content on every platform.

    Raise InputError if the motifs may not fit into the length, or a class lacks positives or
    negatives in the training or test part.
    """
    n, names = spec.n_sequences, tuple(spec.classes)
    sample = PLACEMENTS[spec.placement]
    ppms = [jaspar_motif(ids[0], spec.release).ppm for ids in spec.classes.values()]
    models = [oriented for ppm in ppms for oriented in (ppm, ppm[::-1, ::-1])]
    codes, sequence, model, start = sample(models, spec.motifs_per_sequence, n, spec.length, seed)

    labels = np.zeros((n, len(names)), np.int8)
    labels[sequence, model // 2] = 1
    split = np.full(n, 2, np.uint8)
    split[: round(n * (spec.split[0] + spec.split[1]))] = 1
    split[: round(n * spec.split[0])] = 0
    embedded = np.empty(len(model), EMBEDDED)
    embedded["sequence"], embedded["start"] = sequence, start
    embedded["class"], embedded["strand"] = model // 2, 1 - 2 * (model % 2)
    dataset = Dataset(codes, labels, split, names, embedded)
    check(dataset, "synthetic data")
    return dataset


def write(dataset: Dataset, path: str | os.PathLike[str], spec: Mapping[str, Any] | None) -> None:
    """Write a data set as HDF5, atomically; replace an existing file.

    The same data and spec give the same bytes. `spec`, the data set's part of the study (plain
    JSON), becomes an attribute.

    Raise Problem if the file cannot be written (no permission, disk full).
    """
    # HDF5 handles a full disk badly, so the file is made in memory and written at once.
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["spec"] = json.dumps(spec, sort_keys=True, separators=(",", ":"))
        file.attrs["data_hash"] = dataset.data_hash
        _store(file, "codes", dataset.codes.astype(np.uint8, copy=False))
        _store(file, "labels", dataset.labels.astype(np.int8, copy=False))
        _store(file, "split", dataset.split.astype(np.uint8, copy=False))
        names = np.array([name.encode() for name in dataset.classes])
        text = h5py.string_dtype("utf-8", names.dtype.itemsize)
        file.create_dataset("classes", data=names.astype(text))
        if dataset.embedded is not None:
            _store(file, "embedded", dataset.embedded.astype(EMBEDDED, copy=False))
        if dataset.places is not None:
            _store(file, "places", dataset.places.rows)
            _store(file, "names", np.frombuffer(dataset.places.text, np.uint8))
    with replacing(Path(path)) as target:
        target.write(image.getbuffer())


def _store(file: h5py.File, name: str, data: np.ndarray) -> None:
    """Store one array, compressed in chunks of about 1 MB."""
    options: dict[str, Any] = {}
    if data.size:  # An empty array has no chunks.
        rows = min(len(data), max(1, 2**20 * len(data) // data.nbytes))
        # Level 2 comes near 2 bits for each random base and reads as fast as level 1.
        options = {"chunks": (rows, *data.shape[1:]), "compression": "gzip", "compression_opts": 2}
    file.create_dataset(name, data=data, **options)


def read(path: str | os.PathLike[str], classes: Sequence[str] | None = None) -> Dataset:
    """Read a data set from HDF5: our layout, or that of the reference code.

    The module `reference` describes the second. It is read in blocks, so memory never holds all
    one-hot data.

    Raise InputError if the file is missing, damaged or of another layout, or its content fails
    `check`.

    Parameters
    ----------
    classes : sequence of str, optional
        Class names in the order of the labels. If the file has names, they must be equal. Default
        in the reference layout: class_0, class_1, ...
    """
    path = Path(path)
    dataset, stored_hash = _read_either(path)
    if classes is not None:
        dataset = _with_names(dataset, classes, path, fixed=stored_hash is not None)
    check(dataset, str(path))
    if stored_hash not in (None, dataset.data_hash):
        raise _changed(path)
    return dataset


def read_test_sequences(path: str | os.PathLike[str]) -> np.ndarray:
    """Read the codes (N, L) of the test part alone; labels and other parts may be absent.

    In our layout, `data_hash` may then be absent too, because it is a hash of the whole data set.

    Raise InputError if the file is missing or damaged, or has no test sequences.
    """
    path = Path(path)
    with _opened(path) as file:
        ours = file.attrs.get("format") == FORMAT
        codes = _our_test_codes(file, path) if ours else reference.read_test_codes(file, path)
    if not codes.size:
        raise InputError(f"{path}: has no sequences in the test part")
    if codes.max() > UNKNOWN:
        raise InputError(f"{path}: codes range to {codes.max()}, but must be 0 to {UNKNOWN}")
    return codes


def _our_test_codes(file: h5py.File, path: Path) -> np.ndarray:
    if "data_hash" in file.attrs:  # written by motifk8s, so its hash can be checked
        dataset, stored_hash = _read_ours(file, path)
        if stored_hash != dataset.data_hash:
            raise _changed(path)
        return dataset.part("test")[0]
    codes = _member(file, path, "codes", "N L", np.dtype("u1"))[...]
    if "split" not in file:
        return codes
    split = _member(file, path, "split", "N", np.dtype("u1"))[...]
    if len(split) != len(codes):
        raise InputError(f"{path}: codes {codes.shape} and split {split.shape} do not fit")
    return codes[split == PARTS.index("test")]


def _changed(path: Path) -> InputError:
    return InputError(f"{path}: the content does not match data_hash; make or copy it again")


def _read_either(path: Path) -> tuple[Dataset, str | None]:
    """Read either layout; also return the hash in a file of our layout."""
    with _opened(path) as file:
        if file.attrs.get("format") == FORMAT:
            return _read_ours(file, path)
        codes, labels, split = reference.read(file, path)
        names = tuple(f"class_{i}" for i in range(labels.shape[1]))
        return Dataset(codes, labels, split, names), None


def read_labels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read only labels (N, C) and split (N,) of a data set, as `read` does but less checked."""
    with _opened(path) as file:
        if file.attrs.get("format") == FORMAT:
            labels = _member(file, path, "labels", "N C", np.dtype("i1"))
            return labels[...], _member(file, path, "split", "N", np.dtype("u1"))[...]
        return reference.read_labels(reference.open_parts(file, path), path)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file, and turn errors while reading it into InputError or Problem."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not an HDF5 file")
    try:
        with open_file(path) as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such data set file") from error
    except PermissionError as error:
        raise InputError(f"{path}: no permission to read it") from error
    except MemoryError:
        raise Problem(f"{path}: not enough memory to read it; use more memory") from None
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # h5py raises all
        raise InputError(
            f"{path}: not an HDF5 file, or truncated or damaged ({one_line(error)})"
        ) from error


def _with_names(dataset: Dataset, classes: Sequence[str], path: Path, *, fixed: bool) -> Dataset:
    """Name the classes; names that the file fixes must be equal."""
    present, given = ", ".join(dataset.classes), ", ".join(classes)
    if len(classes) != (number := dataset.labels.shape[1]):
        raise InputError(f"{path}: has {number} classes ({present}), not {len(classes)} ({given})")
    if fixed and tuple(classes) != dataset.classes:
        raise InputError(f"{path}: the classes are {present}, in this order, not {given}")
    return replace(dataset, classes=tuple(classes))


def describe(dataset: Dataset) -> dict[str, Any]:
    """Return facts of a data set: its length (bp), its hash and counts.

    `sequences` is by part, `positives` and `unknown_labels` by class and part.
    """
    labels = {part: dataset.part(part)[1] for part in PARTS}

    def count(value: int) -> dict[str, dict[str, int]]:
        return {
            name: {part: int((labels[part][:, i] == value).sum()) for part in PARTS}
            for i, name in enumerate(dataset.classes)
        }

    return {
        "length": dataset.codes.shape[1],
        "sequences": {part: len(labels[part]) for part in PARTS},
        "positives": count(1),
        "unknown_labels": count(-1),
        "sequences_with_n": sum(
            int((dataset.codes[rows] == UNKNOWN).any(axis=1).sum())
            for rows in reference.blocks(dataset.codes.shape)
        ),
        "data_hash": dataset.data_hash,
    }


def _member(file: h5py.File, path: Path, name: str, axes: str, dtype: Any) -> h5py.Dataset:
    """Return one array of a file; `dtype` is a numpy dtype or "text"."""
    array = own_array(file, name, path)
    if array is None:
        raise InputError(f"{path}: has no dataset {name}; {LAYOUTS}")
    if dtype == "text":
        fits = h5py.check_string_dtype(array.dtype) is not None
    else:
        fits = array.dtype == dtype
    if not fits or array.ndim != len(axes.split()):
        raise InputError(
            f"{path}: {name} is {array.dtype} of shape {array.shape}; "
            f"it must be {dtype} of shape ({', '.join(axes.split())})"
        )
    return array


def _read_ours(file: h5py.File, path: Path) -> tuple[Dataset, str]:
    """Read our layout; also return the hash in the file."""
    if (version := file.attrs.get("version")) != VERSION:
        raise InputError(
            f"{path}: is of version {version}, but this program reads version {VERSION}; "
            "make it again, or use the motifk8s that wrote it"
        )
    if "data_hash" not in file.attrs:
        raise InputError(
            f"{path}: has no attribute data_hash, which motifk8s.data.datasets.write adds; "
            f"{LAYOUTS}"
        )
    codes = _member(file, path, "codes", "N L", np.dtype("u1"))
    labels = _member(file, path, "labels", "N C", np.dtype("i1"))
    split = _member(file, path, "split", "N", np.dtype("u1"))
    classes = _member(file, path, "classes", "C", "text")
    embedded = _member(file, path, "embedded", "M", EMBEDDED) if "embedded" in file else None
    rows = text = None
    if "places" in file:
        rows = _member(file, path, "places", "N", PLACE)
        text = _member(file, path, "names", "B", np.dtype("u1"))
    every = (codes, labels, split, classes, embedded, rows, text)
    arrays = [array for array in every if array is not None]
    check_budget(f"{path}: its arrays need", sum(array.nbytes for array in arrays))
    dataset = Dataset(
        codes[...],
        labels[...],
        split[...],
        tuple(classes.asstr()[...].tolist()),
        None if embedded is None else embedded[...],
        None if rows is None or text is None else Places(rows[...], text[...].tobytes()),
    )
    return dataset, str(file.attrs["data_hash"])


def check(dataset: Dataset, where: str) -> None:
    """Check a data set; raise InputError, which begins with `where`, if it is not usable."""
    codes, labels, split, classes = dataset.codes, dataset.labels, dataset.split, dataset.classes
    shapes = f"codes {codes.shape}, labels {labels.shape}, split {split.shape}"
    if not len(codes) == len(labels) == len(split) or labels.shape[1] != len(classes):
        raise InputError(f"{where}: {shapes} and {len(classes)} class names do not fit each other")
    if not codes.size or not labels.size:
        raise InputError(f"{where}: has no sequences or no classes ({shapes})")
    if twice := {name for name in classes if classes.count(name) > 1}:
        raise InputError(f"{where}: class name {min(twice)} is given more than once")
    for name, array, least, most in (
        ("codes", codes, 0, UNKNOWN),
        ("labels", labels, -1, 1),
        ("split", split, 0, len(PARTS) - 1),
    ):
        if array.min() < least or array.max() > most:
            raise InputError(
                f"{where}: {name} range from {array.min()} to {array.max()}, "
                f"but must be {least} to {most}"
            )
    if dataset.embedded is not None and len(dataset.embedded):
        ends = {"sequence": len(codes), "class": len(classes), "start": codes.shape[1]}
        for field, end in ends.items():
            values = dataset.embedded[field]
            if values.min() < 0 or values.max() >= end:
                raise InputError(f"{where}: embedded {field} must be 0 to {end - 1}")
    if dataset.places is not None:
        _check_places(dataset.places, len(codes), where)
    check_parts(dataset, where, HINT)


def _check_places(places: Places, n: int, where: str) -> None:
    rows, names = places.rows, places.text.count(b"\n") + 1
    if len(rows) != n:
        raise InputError(f"{where}: has {n} sequences, but places of {len(rows)}")
    if rows["name"].min() < -1 or rows["name"].max() >= names:
        raise InputError(f"{where}: the number of a place's name must be -1 to {names - 1}")
    if rows["start"].min() < 0 or not np.isin(rows["strand"], (-1, 1)).all():
        raise InputError(f"{where}: a place must start at 0 or more, on strand -1 or 1")
    try:
        places.text.decode()
    except UnicodeDecodeError:
        raise InputError(f"{where}: the names of places are not UTF-8") from None


def check_parts(dataset: Dataset, where: str, hint: str) -> None:
    """Check that each class can be learnt and scored; InputError ends with `hint`."""
    for number, part in enumerate(PARTS):
        if number not in dataset.split:
            raise InputError(f"{where}: the {part} part has no sequences; {hint}")
    for part in ("train", "test"):
        labels = dataset.part(part)[1]
        for value, kind in ((1, "positive"), (0, "negative")):
            if (lacking := np.flatnonzero(~(labels == value).any(axis=0))).size:
                name = dataset.classes[lacking[0]]
                raise InputError(
                    f"{where}: class {name} has no {kind} sequence in the {part} part; {hint}"
                )
    check_validation(dataset.part("valid")[1], dataset.classes, where, hint)


def check_validation(labels: np.ndarray, classes: Sequence[str], where: str, hint: str) -> None:
    """Check that each class has a known label in the validation part; InputError ends with `hint`.

    Without any, the validation loss is not a number, and training fails after its first epoch.
    """
    if (lacking := np.flatnonzero((labels == -1).all(axis=0))).size:
        raise InputError(
            f"{where}: class {classes[lacking[0]]} has no known label in the valid part; {hint}"
        )
