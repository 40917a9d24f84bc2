"""Read arrays of MATLAB files: version 7.3 (HDF5) in blocks, version 5 with scipy.

MATLAB stores arrays column by column. MATLAB's (N, 4, L) is (L, 4, N) here, as in h5py.
Memory holds a whole array of version 5: DeepSEA's test.mat needs 1.9 GB.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np
import scipy.io

from motifk8s.data.files import check_budget, readable
from motifk8s.data.hdf5 import open_file, own_array
from motifk8s.errors import InputError, Problem, one_line

T = TypeVar("T")
Block = tuple[slice, slice, np.ndarray]  # positions, rows, content (positions, 4, rows)

BLOCK = 2**25
"""Bytes of a block, unless one chunk of the file is larger; memory holds up to three blocks."""
VERSION_5 = (b"\x00\x01IM", b"\x01\x00MI")
"""The end of the header of 128 bytes, little and big endian."""
ONE_BYTE = {"uint8": np.uint8, "int8": np.int8, "logical": np.uint8}
"""Types by MATLAB's class."""
LARGER = ("double", "single", "int16", "uint16", "int32", "uint32", "int64", "uint64")
"""Classes whose numbers MATLAB may store in a smaller type."""


@contextmanager
def open_arrays(path: Path) -> Iterator[Mapping[str, Array]]:
    """Open a MATLAB file and yield its arrays by name.

    Raise InputError if the file is missing, truncated or damaged, or not of version 5 or 7.3. The
    methods of the arrays raise it too.
    """
    with readable(path), open(path, "rb") as file:
        header = file.read(128)
    if header.startswith(b"MATLAB 7.3") or h5py.is_hdf5(path):
        with _damage_reported(path):
            hdf5 = open_file(path)
        with hdf5:
            with _damage_reported(path):
                items = {name: own_array(hdf5, name, path) for name in hdf5}
            yield {
                name: Hdf5Array(item, path, name)
                for name, item in items.items()
                if item is not None
            }
    elif header[124:] in VERSION_5:
        with _damage_reported(path):
            entries = scipy.io.whosmat(path, appendmat=False)
        yield {name: Mat5Array(path, name, shape, kind) for name, shape, kind in entries}
    else:
        raise InputError(f"{path}: is not a MATLAB file of version 5 or 7.3")


@contextmanager
def _damage_reported(path: Path, name: str = "") -> Iterator[None]:
    """Turn errors while reading a file, or its array `name`, into InputError or Problem."""
    try:
        yield
    except MemoryError as error:
        raise Problem(
            f"{path}: {name}: not enough memory to read it ({one_line(error)})"
        ) from error
    except InputError:
        raise
    except Exception as error:  # h5py and scipy raise errors of many types on damaged files.
        reason = f"{name}: {one_line(error)}" if name else one_line(error)
        raise InputError(f"{path}: truncated or damaged ({reason}); download it again") from error


class Hdf5Array:
    """An array of a file of version 7.3, with the axes in file order, slowest first."""

    def __init__(self, dataset: h5py.Dataset, path: Path, name: str):
        self.shape: tuple[int, ...] = dataset.shape or ()
        self._dataset, self._path, self._name = dataset, path, name

    @property
    def dtype(self) -> np.dtype | None:
        """Type of the numbers; None if the array is not numeric."""
        stored: np.dtype = self._dataset.dtype
        return stored if stored.kind in "uifb" else None

    def rows(self, wanted: np.ndarray) -> np.ndarray:
        """Read rows of an array with two axes; their numbers ascend."""
        length = self.shape[1]
        step = self._dataset.chunks[1] if self._dataset.chunks else length
        step *= max(1, BLOCK // (step * len(wanted)))
        size = len(wanted) * length * self._dataset.dtype.itemsize
        check_budget(f"{self._path}: {self._name} needs", size)
        result = np.empty((len(wanted), length), self.dtype)
        with _damage_reported(self._path, self._name):
            for start in range(0, length, step):  # Whole chunks, so that none is read twice.
                rows = slice(start, start + step)
                result[:, rows] = self._dataset[wanted, rows]
        return result

    def blocks(self, kept: np.ndarray) -> Iterator[Block]:
        """Read an array (positions, 4, rows) in blocks that cover the rows `kept`, sorted."""

        def read(place: tuple[slice, slice]) -> Block:
            with _damage_reported(self._path, self._name):
                return *place, self._dataset[place[0], :, place[1]]

        return _ahead(read, self._places(kept))

    def _places(self, kept: np.ndarray) -> Iterator[tuple[slice, slice]]:
        """Return blocks of whole chunks that cover the kept rows, so that none is read twice."""
        length, channels, total = self.shape
        high, _, wide = self._dataset.chunks or (1, channels, total)
        size = self._dataset.dtype.itemsize * channels
        height = min(length, high * max(1, BLOCK // (size * high * wide)))
        most = max(1, BLOCK // (size * height * wide)) if height == length else 1
        for first, last in _runs(np.unique(kept // wide).tolist(), most):
            rows = slice(first * wide, min((last + 1) * wide, total))
            for start in range(0, length, height):
                yield slice(start, min(start + height, length)), rows


def _runs(numbers: list[int], most: int) -> Iterator[tuple[int, int]]:
    """Yield first and last of each run of up to `most` consecutive numbers."""
    start = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[i - 1] + 1 or i - start == most:
            yield numbers[start], numbers[i - 1]
            start = i


def _ahead(read: Callable[[T], Block], places: Iterable[T]) -> Iterator[Block]:
    """Read the next block in a thread while the caller uses one; h5py releases the GIL."""
    with ThreadPoolExecutor(1) as reader:
        following: Future[Block] | None = None
        for place in places:
            current, following = following, reader.submit(read, place)
            if current is not None:
                yield current.result()
        if following is not None:
            yield following.result()


class Mat5Array:
    """An array of a file of version 5, like `Hdf5Array`; each method reads the whole array."""

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], kind: str):
        self.shape = tuple(shape)[::-1]
        self._path, self._name, self._kind = path, name, kind

    @property
    def dtype(self) -> np.dtype | None:
        if self._kind in ONE_BYTE:
            return np.dtype(ONE_BYTE[self._kind])
        if self._kind not in LARGER:
            return None
        stored = self._read().dtype
        return stored if stored.kind in "uifb" else None

    def rows(self, wanted: np.ndarray) -> np.ndarray:
        return self._read()[wanted]

    def blocks(self, kept: np.ndarray) -> Iterator[Block]:
        length, channels, total = self.shape
        if not len(kept):
            return
        values = self._read()
        step = max(1, BLOCK // (values.itemsize * channels * total))
        for start in range(0, length, step):
            yield slice(start, min(start + step, length)), slice(0, total), values[start:][:step]

    def _read(self) -> np.ndarray:
        size = math.prod(self.shape)  # at least one byte each
        check_budget(f"{self._path}: {self._name} declares", size, self._path.stat().st_size)
        check_budget(f"{self._path}: {self._name} needs", size)
        with _damage_reported(self._path, self._name), warnings.catch_warnings():
            warnings.simplefilter("error")  # scipy only warns about an array that it cannot read.
            loaded = scipy.io.loadmat(self._path, appendmat=False, variable_names=[self._name])
            values: np.ndarray = loaded[self._name].T
            if values.shape != self.shape:
                raise ValueError(f"shape {values.shape}, but {self.shape} in the header")
            return values


Array = Hdf5Array | Mat5Array
