"""Make tables, figures and report of a study, and put them where they belong."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from motifk8s.cells.finished import read_finished
from motifk8s.report import page, tables
from motifk8s.store.base import Store
from motifk8s.store.files import local_problem
from motifk8s.store.folder import FolderStore
from motifk8s.study.study import Study


class Aggregate(NamedTuple):
    """What `aggregate` wrote.

    Attributes
    ----------
    outputs : dict
        Where each output is, by its relative path.
    table : pandas.DataFrame
        One row per architecture and layer, as in ``tables/table1.csv``.
    missing : str
        Which cells are missing, and why; empty for a complete study.
    """

    outputs: dict[str, str]
    table: pd.DataFrame
    missing: str


def aggregate(study: Study, store: Store, out: Path | None = None) -> Aggregate:
    """Make tables, figures and report of all finished cells, whether or not some are missing.

    Parameters
    ----------
    study : Study
    store : Store
    out : Path, optional
        A local folder to write to; by default the study's folder in the store.
    """
    found, missing = read_finished(study, store)
    target, prefix = (store, f"{study.name}/") if out is None else (FolderStore(out), "")
    outputs: dict[str, str] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="motifk8s-") as folder:
            written = page.aggregate_outputs(study, found, missing, Path(folder))
            for name, path in written.items():
                target.upload(path, prefix + name)
                outputs[name] = f"{target.url.rstrip('/')}/{prefix}{name}"
    except OSError as error:
        raise local_problem(error, "write to", Path(tempfile.gettempdir())) from error
    results = tables.results((files.metrics for files in found.values()), study)
    table = tables.table1(results, study)
    return Aggregate(outputs, table, _missing_text(study, missing) if missing else "")


def _missing_text(study: Study, missing: dict[str, str]) -> str:
    by_reason: dict[str, list[str]] = {}
    for name, reason in missing.items():
        by_reason.setdefault(reason, []).append(name)
    names = "; ".join(f"{', '.join(cells)} ({reason})" for reason, cells in by_reason.items())
    return (
        f"study {study.name} is incomplete: {len(missing)} of {len(study.cells())} cells are "
        f"missing, and the tables partial: {names}"
    )
