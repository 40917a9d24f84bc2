"""The key of each stage of a cell, and the cell's folder in the store."""

from __future__ import annotations

from typing import Any

from motifk8s.motifs.database import database_version
from motifk8s.study.study import Cell, Study, content_hash

# Raise a number when new code gives other results, so that the stage is computed again.
RESULTS_VERSION = {"training": 1, "filters": 1, "matches": 1, "analysis": 1}

STAGES = tuple(RESULTS_VERSION)


def cell_folder(study: Study, cell: Cell) -> str:
    """Return a cell's folder in the store."""
    return f"{study.name}/cells/{cell.id}"


def trained_as(study: Study, cell: Cell) -> dict[str, Any]:
    """Return the architecture and the training settings, which all trials share, as plain JSON."""
    return {
        "model": study.models[cell.model].trained_as(),
        "settings": study.training_for(cell.dataset).model_dump(mode="json"),
    }


def stage_keys(study: Study, cell: Cell, data_hash: str) -> dict[str, str]:
    """Return the key of each stage: a hash of its settings and of the stage before it."""
    settings = {
        "training": {
            "data": data_hash,
            **trained_as(study, cell),
            "seed": study.seed_of(cell.id),
        },
        "filters": {
            **study.motifs.model_dump(mode="json"),
            **study.models[cell.model].filters_as(),
        },
        "matches": {
            **study.matches.model_dump(mode="json"),
            "database": database_version(study.matches.database),
            "classes": study.datasets[cell.dataset].motif_ids,
        },
        "analysis": {
            **study.analysis.model_dump(mode="json"),
            "databases": [database_version(name) for name in study.analysis.databases],
        },
    }
    keys: dict[str, str] = {}
    before = ""
    for stage in STAGES:
        before = keys[stage] = content_hash([RESULTS_VERSION[stage], before, settings[stage]])
    return keys
