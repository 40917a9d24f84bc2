"""The finished cells of a study, as an experiment tracker wants them; used by to_*.py."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from motifk8s.cells.finished import CellFiles, read_finished
from motifk8s.errors import InputError, Problem
from motifk8s.store.base import Store
from motifk8s.store.open import default_url
from motifk8s.study.find import open_study
from motifk8s.study.study import Cell, Study

LONGEST = 500  # characters of a parameter
MEASURES = "n_filters", "match_any", "match_truth", "match_null", "dead", "coverage"


class Run(NamedTuple):
    """A finished cell."""

    cell: Cell
    key: str  # another one if data, network or settings change
    params: dict[str, Any]
    metrics: dict[str, float]  # final scores
    history: list[dict[str, float]]  # a row per epoch, from 1
    tags: dict[str, str]
    started: datetime | None  # None for cells of early versions
    ended: datetime | None


def read(name: str, url: str) -> tuple[Study, Store, list[Run]]:
    """Open a study and its store; read its finished cells."""
    study, store = open_study(name, url)
    finished, _ = read_finished(study, store)
    if not finished:
        raise InputError(f"store {store.url} has no finished cell of study {study.name}")
    return study, store, [as_run(study, study.cell(i), files) for i, files in finished.items()]


def as_run(study: Study, cell: Cell, files: CellFiles) -> Run:
    """Convert the files of a cell; docs/store.md describes them."""
    facts, metrics = files.provenance, files.metrics
    model = study.models[cell.model].model_dump(mode="json", exclude={"source", "trials"})
    final: dict[str, Any] = {
        **{name: metrics.get(name) for name in ("auroc", "aupr", "epochs", "best_epoch")},
        **{f"best.{name}": metrics.get(name) for name in ("val_loss", "val_cross_entropy")},
        "seconds.cell": metrics.get("seconds"),
    }
    for layer, values in metrics["layers"].items():
        final |= {f"{layer}.{name}": values.get(name) for name in MEASURES}
    rows = files.history.rename(columns={"seconds": "seconds.epoch"}).to_dict("records")
    return Run(
        cell=cell,
        key=facts["keys"]["analysis"],  # covers the stages before it
        params={
            **cell._asdict(),
            **flat("model", model),
            **flat("training", study.training_for(cell.dataset).model_dump(mode="json")),
            **flat("motifs", study.motifs.model_dump(mode="json")),
            **flat("matches", study.matches.model_dump(mode="json")),
        },
        metrics=numbers(final),
        history=[numbers(row) for row in rows],
        tags={
            "study": study.name,
            "code": facts["code_version"],
            "trained_by": facts.get("trained_by") or facts["code_version"],
            "data_hash": facts["data_hash"],
            "device": str(facts.get("device")),
        },
        started=time(facts.get("started")),
        ended=time(facts.get("ended")),
    )


def flat(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Name settings ``prefix.key``; lists and mappings become JSON, long texts are cut."""
    texts = {
        f"{prefix}.{key}": json.dumps(value) if isinstance(value, list | dict) else value
        for key, value in values.items()
    }
    return {key: v[:LONGEST] if isinstance(v, str) else v for key, v in texts.items()}


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers."""
    return {
        str(name): float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def time(text: str | None) -> datetime | None:
    """Parse a time of provenance.json."""
    return datetime.fromisoformat(text) if text else None


def report_files(study: Study, store: Store) -> Iterator[str]:
    """Yield the path in the study's folder of the report and of each table."""
    if not store.exists(f"{study.name}/report.html"):
        raise Problem(f"study {study.name} has no report yet; run motifk8s aggregate first")
    for path in (f"{study.name}/report.html", *store.list(f"{study.name}/tables")):
        yield path.removeprefix(f"{study.name}/")


def parser(description: str) -> argparse.ArgumentParser:
    """Make a parser with the arguments of both programs."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("study", metavar="STUDY", help="as for motifk8s aggregate")
    made.add_argument("--store", metavar="URL", default=default_url(), help="default: %(default)s")
    return made


def exit_code(main: Callable[[], None]) -> int:
    """Call `main`; print its error in one line."""
    try:
        main()
    except Problem as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0
