"""Analyse a cell's filters beyond the paper, without training, in three tables.

`sensitivity`: how match fractions depend on settings. `importance`: how predictions worsen without
a filter. `firing`: whether filters fire on the embedded motifs.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from motifk8s.data.datasets import Dataset
from motifk8s.filters import firing, importance, sensitivity
from motifk8s.filters.extract import Filters
from motifk8s.motifs.database import database_version
from motifk8s.study.specs import DataSet, Synthetic
from motifk8s.study.study import Study

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import keras
    import pandas as pd


TABLES = {  # columns by table
    "sensitivity": sensitivity.COLUMNS,
    "importance": importance.COLUMNS,
    "firing": firing.COLUMNS,
}
# These columns are text even if a value looks like a number. All others are numbers.
TEXT = {"layer", "setting", "value", "filter", "target", "class", "worst_class"}


def check(study: Study) -> None:
    """Check that the JASPAR releases of the study are known; raise `InputError` if not."""
    for name in sensitivity.values(study)["database"]:
        database_version(name)


def own_values(study: Study) -> dict[str, str]:
    """Return the study's value of each setting in the format of sensitivity.csv."""
    return {setting: sensitivity.text(value) for setting, value in sensitivity.own(study).items()}


def run(
    study: Study,
    name: str,
    dataset: Dataset,
    model: keras.Model,
    filters: Mapping[str, Filters],
    labels_of: Mapping[str, Mapping[str, Any]],
) -> dict[str, pd.DataFrame]:
    """Make the tables of a cell, by the names of `TABLES`.

    A table has no rows if the study does not select it, or if it does not apply to the data set.

    Parameters
    ----------
    name : str
        The data set's name in the study.
    filters : dict of layer to Filters
        Extracted with the study's rule.
    labels_of : dict of layer to labels
        Matches of each layer's filters, as ``labels`` in ``metrics.json``.
    """
    truth = study.datasets[name].motif_ids
    codes, _ = dataset.part("test")
    return {
        "sensitivity": sensitivity.measure(model, codes, filters, study, truth),
        "importance": _importance(study, dataset, model, labels_of),
        "firing": _firing(study, study.datasets[name], dataset, model, filters, labels_of),
    }


def _importance(
    study: Study,
    dataset: Dataset,
    model: keras.Model,
    labels_of: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    if not study.analysis.importance:
        return _concat([], importance.COLUMNS)
    codes, labels = dataset.part("test")
    # The rows are spread over the whole test set, because it may be sorted by chromosome.
    rows = np.linspace(0, len(codes) - 1, min(study.analysis.sequences, len(codes))).astype(int)
    codes, labels = codes[rows], labels[rows]
    tables = [
        importance.ablate(model, layer, codes, labels, labels_of_layer, dataset.classes)
        for layer, labels_of_layer in labels_of.items()
    ]
    return _concat(tables, importance.COLUMNS)


def _firing(
    study: Study,
    spec: DataSet,
    dataset: Dataset,
    model: keras.Model,
    filters: Mapping[str, Filters],
    labels_of: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    if not (study.analysis.firing and isinstance(spec, Synthetic) and dataset.embedded is not None):
        return _concat([], firing.COLUMNS)
    codes, _ = dataset.part("test")
    embedded = firing.Embedded(
        firing.in_part(dataset, "test"), dataset.classes, firing.motif_widths(spec)
    )
    tables = [
        firing.measure(model, layer, codes, embedded, layer_filters, study.motifs, labels_of[layer])
        for layer, layer_filters in filters.items()
    ]
    return _concat(tables, firing.COLUMNS)


def _concat(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Concatenate the tables of layers; without rows, return an empty table with the columns."""
    import pandas as pd

    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(columns))


def read(data: bytes, name: str) -> pd.DataFrame:
    """Read the CSV content of a cell's table `name`; numbers keep all digits.

    A column that an earlier version did not write is NaN.
    """
    import pandas as pd

    columns = list(pd.read_csv(BytesIO(data), nrows=0).columns)
    numbers = [column for column in columns if column not in TEXT]
    table = pd.read_csv(
        BytesIO(data),
        dtype=dict.fromkeys(TEXT.intersection(columns), str),
        keep_default_na=False,  # a class may be called NA
        na_values={column: [""] for column in numbers},
        float_precision="round_trip",
    )
    return table.reindex(columns=list(TABLES[name]))
