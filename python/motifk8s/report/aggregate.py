"""Make tables, figures and report of a study, and upload them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from motifk8s.cells.finished import CellFiles, list_by_reason, read_finished
from motifk8s.motifs.formats import FORMATS
from motifk8s.report import claims, comparison, figures, found, page, tables, topics
from motifk8s.store.base import Store
from motifk8s.store.files import local_problem, write_text
from motifk8s.store.folder import FolderStore
from motifk8s.study.study import Study

ENDINGS = (".csv", ".md", ".html", ".png", ".svg")  # of tables and figures


class Aggregate(NamedTuple):
    """Result of `aggregate`."""

    outputs: dict[str, str]  # path or URL of each output, by relative path
    table: pd.DataFrame  # as from `tables.table1`
    missing: str  # which cells are missing, and why; empty for a complete study
    notes: tuple[str, ...] = ()  # a line for each picture that could not be drawn


def aggregate(
    study: Study, store: Store, out: Path | None = None, inputs: Iterable[str | Path] = ()
) -> Aggregate:
    """Make tables, figures and report of all finished cells, even if some cells are missing.

    In the store, tables and figures of the study that are not made now are deleted: they are of
    settings that it no longer has.

    Parameters
    ----------
    out : Path, optional
        A local folder to write to; default: the study's folder in the store.
    inputs : iterable of paths, optional
        Files in `out` that must not be overwritten; an `InputError` if one would be.
    """
    cells, missing = read_finished(study, store)
    target, prefix = (store, f"{study.name}/") if out is None else (FolderStore(out, inputs), "")
    outputs: dict[str, str] = {}
    notes: list[str] = []

    def publish(files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            target.upload(path, prefix + name)
            outputs[name] = f"{target.url.rstrip('/')}/{prefix}{name}"

    try:
        with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder:
            _, table = write_outputs(study, cells, missing, Path(folder), notes, publish)
    except OSError as error:
        raise local_problem(error, "write to", Path(tempfile.gettempdir())) from error
    if out is None:
        for path in output_paths(study, store):
            if path.removeprefix(prefix) not in outputs:
                store.delete(path)
    text = _missing_text(study, missing) if missing else ""
    return Aggregate(outputs, table, text, tuple(notes))


def output_paths(study: Study, store: Store) -> list[str]:
    """List the paths of the study's report, motifs, tables and figures in the store."""
    names = ["report.html", *(f"motifs.{ending}" for ending in FORMATS)]
    single = [path for name in names if store.exists(path := f"{study.name}/{name}")]
    folders = ("tables", "figures")
    listed = [path for name in folders for path in store.list(f"{study.name}/{name}")]
    return single + [path for path in listed if path.endswith(ENDINGS)]


def write_outputs(
    study: Study,
    cells: Mapping[str, CellFiles],
    missing: Mapping[str, str],
    folder: Path,
    notes: list[str] | None = None,
    publish: Callable[[Mapping[str, Path]], None] = lambda files: None,
) -> tuple[dict[str, Path], pd.DataFrame]:
    """Write tables, then figures and report of the finished cells of a study.

    Parameters
    ----------
    cells : dict of cell id to CellFiles
        The finished cells.
    missing : dict of cell id to str
        The reason for each missing cell. If it begins with "failed", the report lists the cell as
        failed.
    notes : list of str, optional
        Gets a line for each picture that cannot be drawn; everything else is written.
    publish : callable
        Called with the tables as soon as they are written, and with the other files at the end.

    Returns
    -------
    written : dict of relative path to Path
        ``tables/results.csv`` (one row per cell and layer), ``tables/comparison.csv`` (one per
        published number), ``tables/table1.{csv,md,html}``, the tables of `topics.frames`,
        ``tables/motifs.csv`` and ``tables/motif-filters.csv``, ``motifs.{meme,jaspar,transfac}``,
        ``tables/claims.csv`` if the study has claims, ``figures/*`` and ``report.html``.
    table : DataFrame
        As from `tables.table1`.
    """
    results = tables.results((files.metrics for files in cells.values()), study)
    table = tables.table1(results, study)
    compared = comparison.comparisons(results, study)
    notes_of_bounds = comparison.footnotes(compared, study)
    numbers = topics.frames(study, cells, results, table)
    frames = {"results": results, "comparison": compared, "table1": table, **numbers}
    database = figures.motif_database(study.matches.database)
    tested = claims.claims(study, cells, database)
    motifs = found.find(study, cells, database)
    frames |= {"motifs": motifs.table, "motif-filters": motifs.filters}
    if study.claims:
        frames["claims"] = tested
    motif_files = {f"motifs.{ending}": text(motifs.motifs) for ending, text in FORMATS.items()}
    written = _write(
        folder,
        {
            **{f"tables/{name}.csv": tables.csv_text(frame) for name, frame in frames.items()},
            "tables/table1.md": tables.to_markdown(table, notes_of_bounds, study) + "\n",
            "tables/table1.html": tables.to_html(table, notes_of_bounds, study) + "\n",
            **(motif_files if motifs.motifs else {}),  # a MEME file needs a motif
        },
    )
    publish(written)
    notes = [] if notes is None else notes
    pictures = figures.draw(study, table, cells, folder / "figures", notes)
    beyond = topics.topics(study, results, numbers, folder / "figures", notes)
    drawn = {
        path.relative_to(folder).as_posix(): path
        for by_dataset in (pictures, *(topic.pictures for topic in beyond.values()))
        for shown in by_dataset.values()
        for picture in shown
        for path in picture.files
    }
    publish(drawn)
    content = page.Content(cells, missing, table, compared, tested, motifs, pictures, beyond, notes)
    report = _write(folder, {"report.html": page.render(study, content)})
    publish(report)
    return {**drawn, **written, **report}, table


def _write(folder: Path, texts: Mapping[str, str]) -> dict[str, Path]:
    for name, text in texts.items():
        write_text(folder / name, text)
    return {name: folder / name for name in texts}


def _missing_text(study: Study, missing: Mapping[str, str]) -> str:
    return (
        f"study {study.name} is incomplete: {len(missing)} of {len(study.cells())} cells are "
        f"missing, and the tables partial: {list_by_reason(missing)}"
    )
