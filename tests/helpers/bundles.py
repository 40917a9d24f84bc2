"""Make training bundles in DeepSEA's file formats, for tests and bench/invivo.py."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

LABELS = 919
SIZES = {"train": 61, "valid": 20, "test": 30}
LENGTH = 23
Arrays = dict[str, dict[str, np.ndarray]]


def one_hot(codes: np.ndarray) -> np.ndarray:
    """Convert codes (N, L) of A G C T, 4 for unknown, to channels (N, 4, L)."""
    return (codes[:, None, :] == np.arange(4)[None, :, None]).astype(np.uint8)


def make(seed: int = 0, sizes: dict[str, int] = SIZES, length: int = LENGTH) -> Arrays:
    """Make arrays with MATLAB's names and shapes: labels (N, 919), A G C T sequences (N, 4, L)."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, n in sizes.items():
        y = (rng.random((n, LABELS)) < 0.15).astype(np.uint8)
        x = one_hot(rng.integers(0, 5, (n, length)))
        arrays[part] = {f"{part}data": y, f"{part}xdata": x}
    return arrays


def write_73(
    path: Path,
    arrays: dict[str, np.ndarray],
    chunks: tuple[int, int, int] | None = (7, 4, 16),
    **options: Any,
) -> None:
    """Write version 7.3 like MATLAB: a block of 512 bytes, then HDF5 with the axes reversed."""
    options = {"compression": "gzip", "compression_opts": 3} | options
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            if chunks is None:
                item = file.create_dataset(name, data=array.T)
            else:
                size = chunks if array.ndim == 3 else (100, chunks[-1])
                size = tuple(min(pair) for pair in zip(size, array.T.shape, strict=True))
                item = file.create_dataset(name, data=array.T, chunks=size, **options)
            item.attrs["MATLAB_class"] = np.bytes_("uint8")
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Wed Mar 18 2015".ljust(116)
    with open(path, "r+b") as file:
        file.write(text + bytes(8) + b"\x00\x02IM")


def write_5(path: Path, arrays: dict[str, Any], **options: Any) -> None:
    scipy.io.savemat(path, arrays, **({"do_compression": True} | options))


def write(folder: Path, arrays: Arrays, **options: Any) -> Path:
    """Write the three files of a bundle into a folder."""
    folder.mkdir(exist_ok=True)
    write_73(folder / "train.mat", arrays["train"], **options)
    for part in ("valid", "test"):
        write_5(folder / f"{part}.mat", arrays[part])
    return folder


def pack(folder: Path, archive: Path, mode: Any = "w:gz", inside: str = "deepsea_train/") -> Path:
    """Write the files of a folder into a tar."""
    with tarfile.open(archive, mode) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, inside + path.name)
    return archive
