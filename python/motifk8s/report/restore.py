"""Put the cells of an archive back into a store."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from motifk8s.cells import marker
from motifk8s.cells.keys import cell_folder
from motifk8s.errors import InputError, Problem
from motifk8s.report import crate
from motifk8s.report.archive import MODEL
from motifk8s.store.base import DamagedError, Store
from motifk8s.store.files import checked, local_problem, replacing
from motifk8s.study.study import Cell, Study, loads

# What zipfile and json raise for a file that is missing, damaged, encrypted or of another kind.
UNREADABLE = (
    KeyError, ValueError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class Restored(NamedTuple):
    """What `restore` has done."""

    study: Study  # of the archive
    cells: int  # restored
    kept: int  # that the store had


def restore(file: Path, store: Store) -> Restored:
    """Put each cell of an archive into a store, unless the store has it finished.

    A restored cell counts as finished for the settings and data that it was computed with. If a
    study has other settings for it, or the archive has no networks and the filters of the study
    are other ones, the next run computes it again. Data sets are not in an archive: the next run
    makes them, or you import them.

    Memory: the largest file of a cell.

    Raises
    ------
    InputError
        `file` cannot be read, is not an archive of motifk8s, or its study has mistakes.
    Problem
        A file in it is missing or not the one that its metadata describe. Cells before it are
        restored, and no cell is in part.
    """
    try:
        archived = zipfile.ZipFile(file)
    except UNREADABLE:
        raise InputError(
            f"{file} is not an archive of motifk8s: it is not a complete ZIP file"
        ) from None
    except OSError as error:
        raise local_problem(error, "read", file) from error
    with archived:
        return _restore(_Archive(file, archived), store)


class _Archive:
    """The files of an archive; each is checked when it is read."""

    def __init__(self, file: Path, archived: zipfile.ZipFile) -> None:
        self.file = file
        self.archived = archived
        try:
            graph = json.loads(archived.read(crate.METADATA))["@graph"]
            self.hashes = {  # SHA-256 by path; of networks that are not in the archive by id
                unquote(entity["@id"]): str(entity["sha256"])
                for entity in graph
                if "sha256" in entity
            }
            archived.getinfo(crate.STUDY)
        except UNREADABLE:
            raise InputError(
                f"{file} is not an archive of motifk8s: it has no readable {crate.METADATA} or no "
                f"{crate.STUDY}"
            ) from None

    def read(self, path: str) -> bytes:
        """Read a file; raise `Problem` if it is missing or not as described."""
        try:
            data = self.archived.read(path)
        except UNREADABLE:
            raise self.damaged(path) from None
        if hashlib.sha256(data).hexdigest() != self.hashes.get(path):
            raise self.damaged(path)
        return data

    def damaged(self, path: str) -> Problem:
        """Return the error of a file that is not as described."""
        return Problem(
            f"{self.file} is damaged: {path} is missing, or not the file that its metadata "
            "describe; get the archive again"
        )


def _restore(archived: _Archive, store: Store) -> Restored:
    text = archived.read(crate.STUDY).decode(errors="replace")
    study = loads(text, f"{archived.file}: {crate.STUDY}")
    cells = study.cells()
    finished = store.map(partial(_has, study, store), cells)
    for cell, has in zip(cells, finished, strict=True):
        if not has:
            _restore_cell(archived, study, store, cell)
    return Restored(study, len(cells) - sum(finished), sum(finished))


def _has(study: Study, store: Store, cell: Cell) -> bool:
    """Return whether the store has a cell finished and whole, with these or other settings."""
    try:
        return marker.read_intact(store, cell_folder(study, cell)) is not None
    except DamagedError:
        return False


def _restore_cell(archived: _Archive, study: Study, store: Store, cell: Cell) -> None:
    """Check all files of a cell, then publish them as a run of the cell."""
    place = f"cells/{cell.id}"
    with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder:
        for path in archived.hashes:
            parent, _, name = path.rpartition("/")
            if parent == place:
                with replacing(Path(folder) / checked(name)) as file:
                    file.write(archived.read(path))
        keys = _keys(archived, f"{place}/provenance.json")
        model = archived.hashes.get(crate.model_id(cell))
        absent = {MODEL: model} if model else {}
        marker.publish(store, cell_folder(study, cell), keys, Path(folder), absent)


def _keys(archived: _Archive, path: str) -> dict[str, str]:
    """Return the keys of a cell's stages, which its provenance has."""
    try:
        keys = json.loads(archived.read(path))["keys"]
        if not isinstance(keys["training"], str):
            raise TypeError
        return {str(stage): str(key) for stage, key in keys.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise archived.damaged(path) from None
