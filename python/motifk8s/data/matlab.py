"""Arrays of MATLAB files, read in blocks of bounded size: version 7.3 (HDF5) and version 5.

MATLAB stores arrays column by column. Read in the order of the file, its (N, 4, L) is (L, 4, N)
here, as h5py shows it too. `scipy.io.loadmat` would hold a whole array in memory: 1.8 GB for the
test set of DeepSEA. Version 5: MathWorks, "MAT-File Format", 2015.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

import h5py
import numpy as np

from motifk8s.errors import InputError
from motifk8s.store.files import local_problem

T = TypeVar("T")
#: Positions, rows (as slices), and what stands there, (positions, 4, rows).
Block = tuple[slice, slice, np.ndarray]

BLOCK = 2**25
"""Bytes of a block, unless a single chunk of the file is larger; up to three are in memory."""
MATRIX, COMPRESSED = 14, 15
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
NUMERIC = range(6, 16)  # classes; those below are cell, struct, object, char, sparse
COMPLEX = 0x800


class Array(Protocol):
    """One array of a file, its axes in the order of the file, slowest first."""

    shape: tuple[int, ...]
    dtype: np.dtype | None
    """None if it is not of plain numbers."""

    def rows(self, wanted: np.ndarray) -> np.ndarray:
        """Read some rows, given in increasing order, of an array with two axes."""

    def blocks(self, kept: np.ndarray) -> Iterator[Block]:
        """Read an array (positions, 4, rows) in blocks that hold every row of `kept`, sorted."""


@contextmanager
def open_arrays(path: Path) -> Iterator[Mapping[str, Array]]:
    """Open a MATLAB file; the arrays by name can be read until the block ends.

    Raises
    ------
    InputError
        If the file is missing, no MATLAB file of version 5 or 7.3, truncated or damaged; also
        from the methods of the arrays.
    """
    with _told(path):
        file = open(path, "rb")  # noqa: SIM115
    with file:
        with _told(path):
            head = file.read(128)
        if head.startswith(b"MATLAB 7.3") or h5py.is_hdf5(path):
            with _told(path):
                # No lock: some network folders have none.
                hdf5 = h5py.File(path, locking=False)
            with hdf5:
                with _told(path):
                    found = {name: hdf5[name] for name in hdf5}
                yield {
                    name: Hdf5Array(item, path)
                    for name, item in found.items()
                    if isinstance(item, h5py.Dataset)
                }
        elif len(head) == 128 and head[124:] in (b"\x00\x01IM", b"\x01\x00MI"):
            with _told(path):
                found5 = dict(_index(file, path, "<" if head[126:] == b"IM" else ">"))
            yield found5
        else:
            raise InputError(f"{path}: is not a MATLAB file of version 5 or 7.3")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in one line why a file cannot be read."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"{path}: no such file") from error
    except PermissionError as error:
        raise local_problem(error, "read", path) from error
    # All of these are h5py's as well.
    except (OSError, EOFError, RuntimeError, KeyError, ValueError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: truncated or damaged ({reason}); get it again") from error


class Hdf5Array:
    """An array of a file of version 7.3."""

    def __init__(self, dataset: h5py.Dataset, path: Path):
        self.shape: tuple[int, ...] = dataset.shape or ()
        self.dtype: np.dtype | None = dataset.dtype if dataset.dtype.kind in "uifb" else None
        self._dataset, self._path = dataset, path

    def rows(self, wanted: np.ndarray) -> np.ndarray:
        length = self.shape[1]
        step = self._dataset.chunks[1] if self._dataset.chunks else length
        step *= max(1, BLOCK // (step * len(wanted)))
        result = np.empty((len(wanted), length), self.dtype)
        with _told(self._path):
            for start in range(0, length, step):  # whole chunks, so none is read twice
                rows = slice(start, start + step)
                result[:, rows] = self._dataset[wanted, rows]
        return result

    def blocks(self, kept: np.ndarray) -> Iterator[Block]:
        def read(place: tuple[slice, slice]) -> Block:
            with _told(self._path):
                return *place, self._dataset[place[0], :, place[1]]

        return _ahead(read, self._places(kept))

    def _places(self, kept: np.ndarray) -> Iterator[tuple[slice, slice]]:
        """Cut the chunks that hold kept rows into blocks of whole chunks, so none is read twice."""
        length, channels, total = self.shape
        high, _, wide = self._dataset.chunks or (1, channels, total)
        assert self.dtype is not None
        size = self.dtype.itemsize * channels
        height = min(length, high * max(1, BLOCK // (size * high * wide)))
        most = max(1, BLOCK // (size * height * wide)) if height == length else 1
        for first, last in _runs(np.unique(kept // wide).tolist(), most):
            rows = slice(first * wide, min((last + 1) * wide, total))
            for start in range(0, length, height):
                yield slice(start, min(start + height, length)), rows


def _runs(numbers: list[int], most: int) -> Iterator[tuple[int, int]]:
    """First and last of each run of consecutive numbers; a run has at most `most`."""
    start = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[i - 1] + 1 or i - start == most:
            yield numbers[start], numbers[i - 1]
            start = i


def _ahead(read: Callable[[T], Block], places: Iterable[T]) -> Iterator[Block]:
    """Read the next block in a thread (h5py inflates without the GIL) while one is used."""
    with ThreadPoolExecutor(1) as reader:
        following: Future[Block] | None = None
        for place in places:
            current, following = following, reader.submit(read, place)
            if current is not None:
                yield current.result()
        if following is not None:
            yield following.result()


class _Bytes:
    """The bytes of an element of a version 5 file, inflated if it is compressed."""

    def __init__(self, file: BinaryIO, start: int, size: int, packed: bool):
        self._file, self._at, self._left = file, start, size
        self._inflate = zlib.decompressobj() if packed else None
        self._pending = b""
        self.used = 0

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        parts = []
        self.used += size
        while size:
            if not (part := self._some(size)):
                raise EOFError("it ends within an array")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def finish(self) -> None:
        """Read to the end, where the checksum of a compressed element is."""
        while self._inflate and not self._inflate.eof:
            if not self._some(2**16) and not self._inflate.eof:
                raise EOFError("it ends within an array")

    def _some(self, size: int) -> bytes:
        if self._inflate is None:
            return self._raw(size)
        while not self._inflate.eof:
            data = self._pending or self._raw(2**16)
            part = self._inflate.decompress(data, size)
            self._pending = self._inflate.unconsumed_tail
            if part or not data:
                return part
        return b""

    def _raw(self, size: int) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(min(size, self._left))
        self._at += len(data)
        self._left -= len(data)
        return data


class Mat5Array:
    """An array of a file of version 5; it can be read from its beginning only."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype | None,
        path: Path,
        open_: Callable[[], _Bytes],
    ):
        self.shape, self.dtype = shape, dtype
        self._path, self._open = path, open_

    def rows(self, wanted: np.ndarray) -> np.ndarray:
        numbers = {int(row): i for i, row in enumerate(wanted)}
        assert self.dtype is not None
        result = np.empty((len(wanted), self.shape[1]), self.dtype.newbyteorder("="))
        with _told(self._path):
            data = self._open()
            for row in range(self.shape[0]):
                line = data.read(self.shape[1] * self.dtype.itemsize)
                if row in numbers:
                    result[numbers[row]] = np.frombuffer(line, self.dtype)
            data.finish()
        return result

    def blocks(self, kept: np.ndarray) -> Iterator[Block]:
        length, channels, total = self.shape
        assert self.dtype is not None
        size = self.dtype.itemsize * channels * total
        step = max(1, BLOCK // size)
        dtype, data = self.dtype, self._open()

        def read(start: int) -> Block:
            stop = min(start + step, length)
            with _told(self._path):
                block = np.frombuffer(data.read((stop - start) * size), dtype)
                if stop == length:
                    data.finish()
            return slice(start, stop), slice(0, total), block.reshape(-1, channels, total)

        return _ahead(read, range(0, length if len(kept) else 0, step))


def _index(file: BinaryIO, path: Path, order: str) -> Iterator[tuple[str, Mat5Array]]:
    """Find the arrays of a version 5 file."""
    end = file.seek(0, 2)
    at = 128
    while at < end:
        file.seek(at)
        kind, size = struct.unpack(order + "II", file.read(8).ljust(8, b"\0"))
        if kind not in (MATRIX, COMPRESSED):
            raise ValueError(f"no array at byte {at}")
        if at + 8 + size > end:
            raise EOFError(f"{end} bytes, but an array ends at {at + 8 + size}")
        # A compressed element holds the tag of the array too.
        place = (at + 8, size, True) if kind == COMPRESSED else (at, 8 + size, False)
        if (found := _header(_Bytes(file, *place), order)) is not None:
            name, shape, dtype, begin = found
            yield name, Mat5Array(shape, dtype, path, partial(_at, file, place, begin))
        at += 8 + size


def _at(file: BinaryIO, place: tuple[int, int, bool], begin: int) -> _Bytes:
    data = _Bytes(file, *place)
    data.read(begin)
    return data


def _header(data: _Bytes, order: str) -> tuple[str, tuple[int, ...], np.dtype | None, int] | None:
    """Name, shape and type of an array, and where its numbers begin; None for odd objects."""

    def tag() -> tuple[int, int, bytes]:
        """Type, size and, where it stands in the tag itself (up to 4 bytes), the content."""
        raw = data.read(8)
        kind, size = struct.unpack(order + "II", raw)
        if kind >> 16:
            return kind & 0xFFFF, kind >> 16, raw[4 : 4 + (kind >> 16)]
        return kind, size, b""

    def content() -> bytes:
        _, size, short = tag()
        if size > 2**16:
            raise ValueError("the header of an array is too long")
        return short or data.read(size + -size % 8)[:size]

    if tag()[0] != MATRIX:
        raise ValueError("something compressed is no array")
    [flags] = struct.unpack(order + "I", content()[:4])
    kind = flags & 0xFF
    if kind >= NUMERIC.stop:
        return None
    axes = content()
    shape = struct.unpack(f"{order}{len(axes) // 4}i", axes)[::-1]
    name = content().decode("ascii", "replace")
    if kind not in NUMERIC or flags & COMPLEX:
        return name, shape, None, data.used
    stored, size, short = tag()
    if stored not in TYPES:
        raise ValueError(f"{name} has numbers of unknown type {stored}")
    dtype = np.dtype(order + TYPES[stored])
    if size != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has {size} bytes, but shape {shape}")
    # What fits into the tag itself is too small for any use here, so it need not be readable.
    return name, shape, None if short else dtype, data.used
