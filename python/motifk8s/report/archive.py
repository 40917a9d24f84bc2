"""Write a finished study into one file that people can keep, publish and cite: an RO-Crate."""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from motifk8s.cells import marker
from motifk8s.cells.finished import CellFiles, list_by_reason, read_finished
from motifk8s.cells.keys import cell_folder
from motifk8s.cells.marker import Done
from motifk8s.data import stored
from motifk8s.errors import IncompleteError, InputError, Problem, command
from motifk8s.report import crate, page, tables
from motifk8s.report.aggregate import output_paths
from motifk8s.store.base import DamagedError, MissingError, Store
from motifk8s.store.files import replacing
from motifk8s.store.folder import FolderStore
from motifk8s.study.study import Cell, Study

MODEL = "model.keras"
REPORT = "report.html"
PICTURES = (".png", ".svg", REPORT)  # ends of paths; the report has the figures in it


class Archived(NamedTuple):
    """What `archive` has written."""

    cells: int
    files: int


def archive(
    study: Study,
    store: Store,
    out: Path,
    *,
    models: bool = False,
    pictures: bool = True,
    license: str = "",
    authors: Sequence[str] = (),
    inputs: Iterable[str | Path] = (),
) -> Archived:
    """Write study file, report, tables, figures, motifs and cells of a finished study to a ZIP.

    `crate.metadata` describes them in ``ro-crate-metadata.json``, the last file. The same store
    and arguments give the same bytes, as long as the same zlib compresses them.

    Parameters
    ----------
    models : bool
        Include the trained networks; otherwise the metadata has their hashes alone.
    pictures : bool
        Include the logos of each cell, the figures and the report.
    license : str
        An SPDX id such as ``"CC-BY-4.0"``, or a URL.
    authors : sequence of str
        ``"Name"`` or ``"Name <ORCID>"``.
    inputs : iterable of paths
        Files that must not be overwritten.

    Raises
    ------
    IncompleteError
        Cells are missing.
    InputError
        The licence or an author cannot be read, or `out` cannot be written or is in the store.
    Problem
        Tables or report are missing, or not those of the study and its cells.
    """
    people = [crate.parse_author(text) for text in authors]
    url = crate.license_url(license) if license else ""
    _check_place(out, store)
    finished, missing = read_finished(study, store)
    if missing:
        raise _incomplete(study, store, missing)
    known = stored.pinned(study, store)
    _check_tables(study, known, store, finished)
    cells = study.cells()
    runs = store.map(partial(_run, study, store, finished), cells)
    last = max(_utc(run.ended) for run in runs)
    found = {n: own for n in study.datasets if (own := stored.find(study, n, store))}
    day = last.date().isoformat()
    content = crate.Content(known, runs, found, {}, people, url, day)
    with replacing(out, inputs) as file:
        done = {cell: files.done for cell, files in finished.items()}
        files = _files(study, known, store, done, models, pictures)
        n_files = _write(file, files, content, last)
    return Archived(len(runs), n_files)


def _check_place(out: Path, store: Store) -> None:
    """Raise `InputError` if `out` is in the store, where it could replace a result."""
    if isinstance(store, FolderStore):
        folder = Path(os.path.realpath(store.folder))
        if Path(os.path.realpath(out)).is_relative_to(folder):
            raise InputError(
                f"cannot write {out}: it is inside the store {store.url}; choose another folder"
            )


def _incomplete(study: Study, store: Store, missing: Mapping[str, str]) -> Problem:
    cells = len(study.cells())
    run = command("run", stored.study_argument(study), store=store.url)
    if set(missing.values()) == {"missing"} and len(missing) == cells:
        return InputError(
            f"store {store.url} has no finished cell of study {study.name}; run the study "
            f"({run}), or give its store"
        )
    return IncompleteError(
        f"study {study.name} is incomplete: {len(missing)} of {cells} cells are missing: "
        f"{list_by_reason(missing)}; finish it ({run}), or archive a study file of the same name "
        "that has only the finished cells"
    )


def _check_tables(
    study: Study, known: Study, store: Store, finished: Mapping[str, CellFiles]
) -> None:
    """Raise `Problem` unless tables and report are those of the finished cells, and of the study.

    Compares contents: times of files change when a store is copied. The report shows the study as
    it was given, or with the hashes of the user's files.
    """
    again = command("aggregate", stored.study_argument(study), store=store.url)
    try:
        results = store.read(f"{study.name}/tables/results.csv")
        report = store.read(f"{study.name}/{REPORT}").decode(errors="replace")
    except MissingError:
        text = f"study {study.name} has no tables or no report yet; make them: {again}"
        raise Problem(text) from None
    now = tables.csv_text(tables.results((c.metrics for c in finished.values()), study))
    if results != now.encode():
        raise Problem(
            f"the tables of study {study.name} are not those of its cells; make them again: {again}"
        )
    shown = html.unescape(report)
    if not any(page.yaml_text(each) in shown for each in (study, known)):
        raise Problem(
            f"the report of study {study.name} is of other settings, titles or labels than the "
            f"study has now; make it again: {again}"
        )


def _run(study: Study, store: Store, finished: Mapping[str, CellFiles], cell: Cell) -> crate.Run:
    """Describe the run that finished a cell.

    Earlier versions wrote its times to the log alone, without the time zone.
    """
    files, place = finished[cell.id], cell_folder(study, cell)
    facts, mark = files.provenance, files.done
    times = [facts.get("started"), facts.get("ended")]
    if None in times:
        text = marker.fetch(store, place, mark, "log.txt").decode(errors="replace")
        found = re.findall(r"^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d),", text, re.MULTILINE)
        times = ["T".join(found[i]) for i in (0, -1) if found]
    try:
        started, ended = map(str, times)
        _utc(ended)
    except ValueError:
        raise DamagedError(f"{place}/{mark.run} has no times of its run") from None
    return crate.Run(cell, facts, started, ended, (mark.files | mark.absent).get(MODEL, ""))


def _utc(text: str) -> datetime:
    """Parse a time; without a zone it is UTC."""
    time = datetime.fromisoformat(text)
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _files(
    study: Study,
    known: Study,
    store: Store,
    done: Mapping[str, Done],
    models: bool,
    pictures: bool,
) -> Iterator[tuple[str, bytes]]:
    """Yield path in the archive and content of each file but the metadata, in a fixed order."""

    def wanted(name: str) -> bool:
        return (models or name != MODEL) and (pictures or not name.endswith(PICTURES))

    yield crate.STUDY, page.yaml_text(known).encode()
    prefix = f"{study.name}/"
    paths = [path for path in output_paths(study, store) if wanted(path)]
    for path, data in zip(paths, store.map(store.read, paths), strict=True):
        yield path.removeprefix(prefix), data
    for cell, mark in sorted(done.items()):
        # A cell from an archive without networks has none to include: `fetch` says so.
        names = sorted({*filter(wanted, mark.files), *([MODEL] if models else [])})
        read = partial(marker.fetch, store, f"{prefix}cells/{cell}", mark)
        for name, data in zip(names, store.map(read, names), strict=True):
            yield f"cells/{cell}/{name}", data


def _write(
    out: BinaryIO, files: Iterable[tuple[str, bytes]], content: crate.Content, time: datetime
) -> int:
    """Write a ZIP of the files and, at the end, of their metadata; return their number."""
    described: dict[str, crate.File] = {}
    folders: set[str] = set()
    with zipfile.ZipFile(out, "w") as target:
        for path, data in files:
            folder = path.rpartition("/")[0]
            if folder and folder not in folders:
                folders.add(folder)
                _add(target, f"{folder}/", b"", time)
            _add(target, path, data, time)
            described[path] = crate.File(len(data), hashlib.sha256(data).hexdigest())
        metadata = crate.metadata(content._replace(files=described))
        text = json.dumps(metadata, indent=1, ensure_ascii=False)
        _add(target, crate.METADATA, f"{text}\n".encode(), time)
    return len(described) + 1


def _add(target: zipfile.ZipFile, path: str, data: bytes, time: datetime) -> None:
    """Add a file, or a folder if `path` ends in '/', that anybody may read, of a given time."""
    info = zipfile.ZipInfo(path, time.timetuple()[:6])
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3  # Unix, on every machine
    info.external_attr = (0o040755 if info.is_dir() else 0o100644) << 16
    target.writestr(info, data)
