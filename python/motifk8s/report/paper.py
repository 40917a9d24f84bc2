"""Make the paper's tables and figures by name: ``motifk8s paper``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from motifk8s.cells.finished import CellFiles, read_finished
from motifk8s.data import datasets, deepsea, stored
from motifk8s.errors import InputError
from motifk8s.report import comparison, fig1, figures, tables, words
from motifk8s.report.words import listed
from motifk8s.store.base import Store
from motifk8s.store.files import local_problem, write_text
from motifk8s.store.folder import FolderStore
from motifk8s.study.specs import DeepSea
from motifk8s.study.study import Study
from motifk8s.training import devices

# Data set and heading of each table, by name.
TABLES = {
    "table1": ("synthetic", "Table 1. AUROC and matched filters, synthetic sequences"),
    "table2": ("invivo", "Table 2. AUROC and matched filters, in vivo sequences"),
}
S1_TABLE = "S1 Table. Details of the in vivo data set"
ABSENT = "not available"
STYLE = (
    "body{font:15px/1.5 sans-serif;margin:2rem}table{border-collapse:collapse}"
    "th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd}"
    "td,th[scope=row]{white-space:nowrap}th[scope=row],caption{text-align:left}sup{line-height:0}"
    "td small{display:block;color:#555}"
)


class Made(NamedTuple):
    """Result of `make`."""

    files: list[str]  # paths
    lacking: list[str]  # each missing or partial table or figure, with the reason


def names(study: Study) -> list[str]:
    """Return the names of a study's tables and figures."""
    planned = {cell.dataset for cell in study.cells()}
    made = [name for name, (dataset, _) in TABLES.items() if dataset in planned]
    if isinstance(study.datasets.get("invivo"), DeepSea):
        made.append("s1-table")
    drawn = {name for dataset in study.datasets for name in study.figures_of(dataset)}
    return [*made, "fig1", *(name for name in study.figures if name in drawn)]


def make(
    study: Study,
    store: Store,
    wanted: Iterable[str],
    out: Path,
    inputs: Iterable[str | Path] = (),
) -> Made:
    """Make tables and figures of the paper from the finished cells of a study.

    Parameters
    ----------
    wanted : iterable of str
        Some of `names`; empty: all of them.
    out : Path
        Output folder for ``NAME.{csv,md,html}`` (S1 Table: csv, md) of each table and
        ``NAME.{png,svg}`` of each figure.
    inputs : iterable of paths, optional
        Files in `out` that must not be overwritten.

    Raises
    ------
    InputError
        A name is not one of `names`, or an output is one of `inputs`.
    """
    known = names(study)
    wanted = list(dict.fromkeys(wanted)) or known
    for name in wanted:
        if name not in known:
            raise InputError(
                f"study {study.name} has no table or figure {name!r}; it has {', '.join(known)}"
            )
    need_cells = any(name in TABLES or name in study.figures for name in wanted)
    cells = read_finished(study, store)[0] if need_cells else {}
    target = FolderStore(out, inputs)
    files, lacking = [], []
    try:
        with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder:
            for name in wanted:
                if why := _make_one(study, store, name, cells, Path(folder)):
                    lacking.append(f"{name}: {why}")
            written = sorted(Path(folder).iterdir(), key=lambda p: (wanted.index(p.stem), p.name))
            for path in written:
                target.upload(path, path.name)
                files.append(str(out / path.name))
    except OSError as error:
        raise local_problem(error, "write to", Path(tempfile.gettempdir())) from error
    return Made(files, lacking)


def _make_one(
    study: Study, store: Store, name: str, cells: Mapping[str, CellFiles], folder: Path
) -> str:
    """Write a table or figure; return why it is missing or partial, "" if it is complete."""
    if name in TABLES:
        return _table(study, name, cells, folder)
    if name == "s1-table":
        return _s1_table(study, store, folder)
    if name == "fig1":
        devices.setup()
        scans = {half: fig1.compute(pool) for half, pool in fig1.POOLS.items()}
        fig1.draw(scans, figures.both(folder, "fig1"))
        return ""
    return _figure(study, name, cells, folder)


def _table(study: Study, name: str, cells: Mapping[str, CellFiles], folder: Path) -> str:
    """Write Table 1 or 2; return why it is missing or partial."""
    dataset, title = TABLES[name]
    done = sum(files.metrics["dataset"] == dataset for files in cells.values())
    if not done:
        return f"not made, because no cell of data set {dataset} is finished"
    results = tables.results((files.metrics for files in cells.values()), study)
    table = tables.table1(results, study, dataset)
    compared = comparison.comparisons(results, study)
    notes = comparison.footnotes(compared[compared.dataset == dataset], study)
    body = tables.to_html(table, notes, study)
    page = (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{STYLE}</style>\n<h1>{title}</h1>\n{body}\n</html>\n"
    )
    write_text(folder / f"{name}.csv", tables.csv_text(table))
    write_text(folder / f"{name}.md", f"# {title}\n\n{tables.to_markdown(table, notes, study)}\n")
    write_text(folder / f"{name}.html", page)
    planned = sum(cell.dataset == dataset for cell in study.cells())
    return "" if done == planned else f"partial, because {done} of {planned} cells are finished"


def s1_table(study: Study, counts: Mapping[str, int]) -> pd.DataFrame:
    """Describe each label of the data set ``invivo``, which is of kind deepsea.

    Parameters
    ----------
    counts : dict of class to int
        Positive training sequences of each class in the store's data set; empty without one.

    Returns
    -------
    DataFrame
        ``index`` from 0, ``tf`` (the class), ``cell_type``, ``track``, ``column`` of DeepSEA's
        919 labels (from 0), ``training_sequences``, ``published_training_sequences`` (positive
        in DeepSEA's train.mat, both strands; only the paper's labels), ``encode_file``.
    """
    spec = study.datasets["invivo"]
    assert isinstance(spec, DeepSea)
    rows = [
        {
            "index": i,
            "tf": name,
            "cell_type": label.track.partition(" ")[0],
            "track": label.track,
            "column": label.column,
            "training_sequences": counts.get(name),
            "published_training_sequences": deepsea.POSITIVES.get(label.column),
            "encode_file": ABSENT,
        }
        for i, (name, label) in enumerate(spec.classes.items())
    ]
    numbers = ["training_sequences", "published_training_sequences"]
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, "Int64"))


def _s1_table(study: Study, store: Store, folder: Path) -> str:
    """Write S1 Table; return why it is partial."""
    ready = stored.is_ready(study, "invivo", store)
    counts: dict[str, int] = {}
    if ready:
        facts = datasets.describe(stored.load_dataset(study, "invivo", store))
        counts = {name: parts["train"] for name, parts in facts["positives"].items()}
    table = s1_table(study, counts)
    header = [
        "Class", "TF", "Cell type", "DeepSEA track", "DeepSEA column", "Training sequences",
        "Published",
    ]  # fmt: skip
    lines = [f"# {S1_TABLE}", "", f"| {' | '.join(header)} |"]
    lines.append("| ---: | --- | --- | --- | ---: | ---: | ---: |")
    for *texts, ours, theirs, _ in table.itertuples(index=False):
        numbers = ("" if pd.isna(n) else f"{n:,}" for n in (ours, theirs))
        lines.append(f"| {' | '.join([*map(str, texts), *numbers])} |")
    lines += [
        "",
        "Classes, and columns of DeepSEA's 919 labels, count from 0. Training sequences: the "
        "positive ones in the training part of the store's data set. Published: those in "
        f"DeepSEA's train.mat, both strands. The names of the ENCODE files are {ABSENT}.",
        "",
    ]
    write_text(folder / "s1-table.csv", tables.csv_text(table))
    write_text(folder / "s1-table.md", "\n".join(lines))
    if ready:
        return ""
    return f"without counts of our own, because {stored.absent(study, 'invivo', store)}"


def _figure(study: Study, name: str, cells: Mapping[str, CellFiles], folder: Path) -> str:
    """Draw a figure of the study; return why it is missing or partial."""
    figure = study.figures[name]
    panels = figures.draw_figure(study, figure, cells, figures.both(folder, name))
    models = [m for (m, _), panel in zip(figure.layers(), panels, strict=True) if panel.note]
    if not models:
        return ""
    what = "not made" if len(models) == len(panels) else "partial"
    labels = listed([words.label(study, m) for m in dict.fromkeys(models)])
    return f"{what}, because no cell of {labels} on {figure.dataset} is finished"
