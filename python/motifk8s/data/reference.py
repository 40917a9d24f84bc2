"""Read the HDF5 layout of the reference code, and the forms that others give it.

It has one-hot sequences `X_train` (N, 4, L) or (N, L, 4), labels `Y_train` (N, C) or (N,), and the
same for `valid` (or `val`, `validation`) and `test`. Axes of length 1 do not count, so
(N, 4, 1, L) is (N, 4, L). Basset's names, `train_in` and `train_out`, are read too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from motifk8s.data.files import check_budget
from motifk8s.data.hdf5 import own_array
from motifk8s.data.sequences import from_one_hot
from motifk8s.errors import InputError

PART_NAMES = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}
"""Names of each part, in the files of others too."""
X, Y = ("X_{}", "x_{}", "{}_in"), ("Y_{}", "y_{}", "{}_out")  # the last are those of Basset
LAYOUTS = (
    "a data set has codes, labels, split, classes and the attributes format=motifk8s-dataset, "
    "version=1 and data_hash, or X_train, Y_train, X_valid, Y_valid, X_test, Y_test"
)


class Array(NamedTuple):
    """An array of a file."""

    name: str
    data: h5py.Dataset
    shape: tuple[int, ...]  # without axes of length 1

    def rows(self, rows: slice) -> np.ndarray:
        """Read some rows, in the `shape`."""
        return self.data[rows].reshape(-1, *self.shape[1:])

    def __str__(self) -> str:
        return f"{self.name} {self.data.shape}"


class Part(NamedTuple):
    """The arrays of a part."""

    x: Array  # (N, 4, L) or (N, L, 4)
    y: Array  # (N, C)


def read(file: h5py.File, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read codes (N, L), labels (N, C) and split (N,), the sequences in blocks.

    Raise InputError if arrays are missing or do not fit each other, or have other values.
    """
    parts = open_parts(file, path)
    shape = parts[0].x.shape
    length = shape[2] if shape[1] == 4 else shape[1]
    n = sum(part.x.shape[0] for part in parts)
    check_budget(f"{path}: its {n:,} sequences need", n * (length + parts[0].y.shape[1]))
    codes = np.empty((n, length), np.uint8)
    done = 0
    for x, _ in parts:
        for block in _codes(x, path):
            codes[done : done + len(block)] = block
            done += len(block)
    return codes, *read_labels(parts, path)


def read_test_codes(file: h5py.File, path: Path) -> np.ndarray:
    """Read codes (N, L) of the test part; labels and other parts may be absent."""
    x = _array(file, path, [form.format("test") for form in X], "N 4 L")
    check_budget(f"{path}: its {x.shape[0]:,} sequences need", math.prod(x.shape) // 4)
    return np.concatenate([from_one_hot(x.rows(slice(0))), *_codes(x, path)])


def _codes(x: Array, path: Path) -> Iterator[np.ndarray]:
    """Read one-hot sequences block by block: codes (n, L)."""
    for rows in blocks(x.shape):
        try:
            yield from_one_hot(x.rows(rows), rows.start)
        except InputError as error:
            raise InputError(f"{path}: {x.name}: {error}") from None


def open_parts(file: h5py.File, path: Path) -> list[Part]:
    """Return the arrays of each part; check that they fit each other."""
    parts = [
        Part(
            _array(file, path, [form.format(name) for name in names for form in X], "N 4 L"),
            _array(file, path, [form.format(name) for name in names for form in Y], "N C"),
        )
        for names in PART_NAMES.values()
    ]
    first = parts[0]
    for x, y in parts:
        if x.shape[1:] != first.x.shape[1:] or y.shape != (x.shape[0], first.y.shape[1]):
            raise InputError(
                f"{path}: {x} and {y} do not fit each other or {first.x} and {first.y}"
            )
    return parts


def _array(file: h5py.File, path: Path, names: list[str], axes: str) -> Array:
    """Return the first array that has one of these names."""
    for name in names:
        if (data := own_array(file, name, path)) is None:
            continue
        shape = data.shape or ()
        if len(shape) != len(axes.split()):
            shape = (*shape[:1], *(n for n in shape[1:] if n != 1))
        if axes == "N C" and len(shape) == 1:
            shape = (*shape, 1)
        if data.dtype.kind not in "fiub" or len(shape) != len(axes.split()):
            raise InputError(
                f"{path}: {name} is {data.dtype} of shape {data.shape}; "
                f"it must be numbers of shape ({', '.join(axes.split())})"
            )
        if axes == "N 4 L" and 4 not in shape[1:]:
            raise InputError(f"{path}: {name} is {data.shape}, not (N, 4, L) or (N, L, 4)")
        return Array(name, data, shape)
    raise InputError(f"{path}: has no dataset {names[0]}; {LAYOUTS}")


def read_labels(parts: list[Part], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read and check labels (N, C) and split (N,)."""
    labels = []
    for _, y in parts:
        for rows in blocks(y.shape):
            values = y.rows(rows).astype(float)
            if (wrong := np.argwhere(~np.isin(values, (-1, 0, 1)))).size:
                row, column = wrong[0]
                raise InputError(
                    f"{path}: {y.name} row {rows.start + row}, class {column} is "
                    f"{values[row, column]:g}; labels are 1, 0 or -1 (unknown)"
                )
            labels.append(values.astype(np.int8))
    split = np.repeat(np.arange(len(parts), dtype=np.uint8), [part.y.shape[0] for part in parts])
    return np.concatenate([np.empty((0, parts[0].y.shape[1]), np.int8), *labels]), split


def blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Return slices of rows, of about four million elements each."""
    rows = max(1, 2**22 // max(1, math.prod(shape[1:])))
    return (slice(i, min(i + rows, shape[0])) for i in range(0, shape[0], rows))
