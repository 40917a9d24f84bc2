"""Import the paper's in vivo data: the positives of 12 labels of DeepSEA's training bundle.

Zhou & Troyanskaya 2015, doi:10.1038/nmeth.3547; Koo & Eddy 2019, Methods, "In vivo sequences".
The bundle has ``train.mat`` (MATLAB 7.3), ``valid.mat`` and ``test.mat`` (MATLAB 5): labels
`traindata` (N, 919) and one-hot sequences `trainxdata` (N, 4, 1000), likewise valid and test.
The forward strands are first, then the reverse complements in the same order.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from motifk8s.data import datasets, stored
from motifk8s.data.bundle import URL, located
from motifk8s.data.datasets import PARTS, Dataset
from motifk8s.data.download import Progress, quiet
from motifk8s.data.files import check_budget
from motifk8s.data.matlab import Array, open_arrays
from motifk8s.data.sequences import UNKNOWN
from motifk8s.errors import InputError
from motifk8s.store.base import Store
from motifk8s.study.specs import DeepSea
from motifk8s.study.study import Study

LABELS = 919
ONE_BYTE = ("u1", "i1", "b1")

POSITIVES = {  # in train.mat, by column, of the labels that the paper uses
    592: 27_652, 602: 85_354, 344: 19_724, 345: 34_194, 635: 43_528, 636: 87_290,
    349: 9_792, 642: 22_758, 359: 17_450, 361: 7_528, 661: 4_516, 369: 31_146,
}  # fmt: skip
KEPT = {"train": 270_382, "test": 23_768}
"""Sequences with at least one of these labels, according to the paper."""

# Base code by the channels that are 1: bits 0 to 3 are A G C T, as in the file; 255 is invalid.
CODES = np.full(16, 255, np.uint8)
CODES[[0, 1, 2, 4, 8]] = UNKNOWN, 0, 2, 1, 3


def import_bundle(
    source: str,
    spec: DeepSea,
    out: Path,
    *,
    where: str = "the data set",
    store: Store | None = None,
    progress: Progress = quiet,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Make the data set of a study from DeepSEA's training bundle v0.9.

    Keep both strands of the sequences that are positive in at least one class, in the order and
    the parts of the bundle. Only train.mat is read in blocks; test.mat needs 1.9 GB of memory, so
    allow 4 GiB. Raise InputError if an array has another type, shape or value than expected, and
    the errors of `bundle.located`.

    Parameters
    ----------
    source, store, cache
        See `bundle.located`; `URL` is the public bundle.
    out : path
        The data set, replaced when the new one is complete.
    where : str
        What an error calls `spec`.
    progress : callable
        Called with the name of a step, its bytes done, and its bytes in total (None: unknown).

    Returns
    -------
    dict
        The counts of `datasets.describe`, and `source`, `read` (sequences of the bundle by part)
        and `paper`, the published counts (see `compare`).
    """
    with located(source, store, progress, cache) as files:
        dataset, read = _read(files, spec, where, progress)
        datasets.check(dataset, source)
        datasets.write(dataset, out, spec.model_dump(mode="json"))
    return {**_facts(dataset, spec), "source": source, "read": read}


def prepare(
    study: Study,
    name: str,
    store: Store,
    source: str | None = None,
    progress: Progress = quiet,
    *,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Import the in vivo data set of a study into the store, and return its counts.

    Skip the import if the store has it, unless a source is given. Raise InputError if the study has
    no such data set of this kind, and the errors of `import_bundle`.
    """
    spec = study.datasets.get(name)
    if spec is None or spec.kind != "deepsea":
        known = [key for key, value in study.datasets.items() if value.kind == "deepsea"]
        raise InputError(
            f"study {study.name} has no data set {name!r} of kind deepsea; "
            f"its data sets of this kind: {', '.join(known) or 'none'}"
        )
    if source is None and stored.is_ready(study, name, store):
        return _facts(stored.load_dataset(study, name, store), spec)
    with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder:
        file = Path(folder) / "data.h5"
        where = f"data set {name} of study {study.name}"
        facts = import_bundle(
            source or URL, spec, file, where=where, store=store, progress=progress, cache=cache
        )
        stored.publish(study, name, store, file, facts)
    return facts


def compare(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare the counts of `import_bundle` with the published ones.

    Return rows with `what`, `here`, `paper` and `difference`; the last two are None if the paper
    has no such count.
    """
    paper = facts["paper"]
    rows = [
        (f"{what} sequences", facts["sequences"][part], paper["sequences"].get(part))
        for part, what in zip(PARTS, ("training", "validation", "test"), strict=True)
    ]
    rows += [
        (f"{name} training positives", facts["positives"][name]["train"], published)
        for name, published in paper["positives"].items()
    ]
    return [
        {
            "what": what,
            "here": here,
            "paper": published,
            "difference": None if published is None else here - published,
        }
        for what, here, published in rows
    ]


def _facts(dataset: Dataset, spec: DeepSea) -> dict[str, Any]:
    columns = {name: label.column for name, label in spec.classes.items()}
    paper = {
        "sequences": KEPT if set(columns.values()) == set(POSITIVES) else {},
        "positives": {name: POSITIVES.get(column) for name, column in columns.items()},
    }
    return {**datasets.describe(dataset), "paper": paper}


def _read(
    files: dict[str, Path], spec: DeepSea, where: str, progress: Progress
) -> tuple[Dataset, dict[str, int]]:
    """Read the kept sequences of the three files; also return the number in each file."""
    columns = np.array([label.column for label in spec.classes.values()])
    with contextlib.ExitStack() as stack:
        opened = {part: stack.enter_context(open_arrays(files[part])) for part in PARTS}
        # Reading all labels first finds errors in any file before the long reading.
        arrays = {p: _arrays(opened[p], p, files[p], spec.length, where) for p in PARTS}
        labels, kept = {}, {}
        for part, (y, _) in arrays.items():
            progress(f"labels of {files[part].name}", 0, None)
            labels[part], kept[part] = _labels(y, columns, f"{files[part]}: {part}data")
        split = np.repeat(np.arange(3, dtype=np.uint8), [len(kept[part]) for part in PARTS])
        check_budget(f"{len(split):,} sequences of {spec.length} bp need", len(split) * spec.length)
        codes = np.empty((len(split), spec.length), np.uint8)
        # The training set is by far the largest and read last, so other damage is found early.
        for number, part in reversed(list(enumerate(PARTS))):
            _, x = arrays[part]
            first, last = np.searchsorted(split, (number, number + 1))
            where = f"{files[part]}: {part}xdata"
            _codes(x, kept[part], codes[first:last], where, files[part].name, progress)
    dataset = Dataset(codes, np.concatenate([*labels.values()]), split, tuple(spec.classes))
    return dataset, {part: y.shape[1] for part, (y, _) in arrays.items()}


def _arrays(
    arrays: Mapping[str, Array], part: str, path: Path, length: int, where: str
) -> tuple[Array, Array]:
    """Return labels and sequences of a part; check their types and shapes.

    `length` is that of the data set, which an error calls `where`.
    """
    names = (f"{part}data", f"{part}xdata")
    if lacking := [name for name in names if name not in arrays]:
        others = [other for other in PARTS if f"{other}xdata" in arrays and other != part]
        hint = f"it has {', '.join(sorted(arrays)[:6]) or 'nothing'}"
        if len(lacking) == 1:
            hint += "; if it is truncated, download it again"
        elif others:
            hint = f"these are the data of {others[0]}.mat; are files swapped?"
        raise InputError(f"{path}: has no {' and no '.join(lacking)}; {hint}")
    y, x = (arrays[name] for name in names)
    rows = y.shape[-1] if y.shape else 0
    for name, array, shape, wanted in (
        (f"{part}data", y, (LABELS, rows), f"(N, {LABELS})"),
        (f"{part}xdata", x, (length, 4, rows), f"({rows}, 4, {length})"),
    ):
        kind = array.dtype
        if array.shape != shape or not rows or kind is None or kind.str[1:] not in ONE_BYTE:
            text = (
                f"{path}: {name} is {kind or 'not numeric'}, of shape {array.shape[::-1]} in "
                f"MATLAB's order; expected uint8 of shape {wanted}"
            )
            if array is x and x.shape[1:] == shape[1:] and x.shape[0] != length:
                text += (
                    f", because {where} has length: {length}; correct it, or give another bundle"
                )
            raise InputError(text)
    return y, x


def _labels(y: Array, columns: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels (K, C) of the sequences with at least one, and their rows (K,)."""
    wanted, order = np.unique(columns, return_inverse=True)
    labels = y.rows(wanted)  # (C, N)
    if (invalid := (labels != 0) & (labels != 1)).any():
        row, column = np.argwhere(invalid.T)[0]
        raise InputError(
            f"{where}: sequence {row}, label {wanted[column]} is {labels[column, row]}, not 0 or 1"
        )
    kept = np.flatnonzero(labels.any(axis=0))
    return labels[:, kept].T[:, order].astype(np.int8), kept


def _codes(
    x: Array, kept: np.ndarray, codes: np.ndarray, where: str, name: str, progress: Progress
) -> None:
    """Fill the codes (K, L) of the kept rows (K,)."""
    length, _, total = x.shape
    for positions, rows, block in x.blocks(kept):
        first, last = np.searchsorted(kept, (rows.start, rows.stop))
        on = block.take(kept[first:last] - rows.start, axis=2).view(np.uint8)  # (P, 4, K)
        bases = CODES[(on[:, 0] | on[:, 1] << 1 | on[:, 2] << 2 | on[:, 3] << 3) & 15]  # (P, K)
        if on.max(initial=0) > 1 or bases.max(initial=0) > UNKNOWN:
            position, row = np.argwhere((bases > UNKNOWN) | (on > 1).any(axis=1))[0]
            values = ", ".join(str(value) for value in on[position, :, row])
            raise InputError(
                f"{where}: sequence {kept[first + row]}, position {positions.start + position} is "
                f"not one-hot (A G C T = {values})"
            )
        codes[first:last, positions] = bases.T
        done = rows.start * length + positions.stop * (rows.stop - rows.start)
        progress(name, 4 * done, 4 * total * length)
