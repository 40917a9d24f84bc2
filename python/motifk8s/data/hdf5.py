"""Open other people's HDF5 files: their own arrays only, within a budget."""

from __future__ import annotations

import math
from pathlib import Path

import h5py

from motifk8s.data.files import check_budget
from motifk8s.errors import InputError

COPY = "copy the data into the file"


def open_file(path: Path) -> h5py.File:
    """Open a file for reading, with the errors of h5py."""
    # Writing replaces whole files, so reading needs no lock; some network folders lack locks.
    return h5py.File(path, locking=False)


def own_array(file: h5py.File, name: str, path: Path) -> h5py.Dataset | None:
    """Return an array at the top of a file; None if there is none of this name.

    Raise InputError if its data are elsewhere (links, external storage, virtual arrays), because
    the files that it names were not given; or if it, or one of its chunks, declares more bytes than
    a file of this size can hold.
    """
    link = file.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise InputError(f"{path}: {name} is a link; links are not followed: {COPY}")
    array = file[name]
    if not isinstance(array, h5py.Dataset):
        return None
    if array.external or array.is_virtual:
        raise InputError(f"{path}: {name} is stored in other files, which are not read: {COPY}")
    elements = max(array.size or 0, math.prod(array.chunks or ()))
    size = elements * array.dtype.itemsize
    check_budget(f"{path}: {name} declares", size, path.stat().st_size)
    return array
