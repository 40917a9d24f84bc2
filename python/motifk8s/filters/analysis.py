"""What is asked of a finished cell's filters beyond the paper: three tables, and nothing trained.

How far the fractions depend on settings (`sensitivity`), what the model loses without a filter
(`importance`), and whether filters fire where the motifs are (`firing`).
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from motifk8s.data.datasets import Dataset
from motifk8s.filters import firing, importance, sensitivity
from motifk8s.filters.extract import Filters
from motifk8s.motifs.database import database_version
from motifk8s.study.specs import Synthetic
from motifk8s.study.study import Study

if TYPE_CHECKING:
    from collections.abc import Mapping

    import keras
    import pandas as pd


# Columns by table.
TABLES = {
    "sensitivity": sensitivity.COLUMNS,
    "importance": importance.COLUMNS,
    "firing": firing.COLUMNS,
}
# Columns that are text whatever they look like; the others are numbers.
TEXT = {"layer", "setting", "value", "filter", "target", "class", "worst_class"}


def check(study: Study) -> None:
    """Raise `InputError` if a release that is asked for is not known."""
    for name in sensitivity.values(study)["database"]:
        database_version(name)


def own_values(study: Study) -> dict[str, str]:
    """The study's own value of each setting, as in the column ``value`` of the sensitivity."""
    return {setting: sensitivity.text(value) for setting, value in sensitivity.own(study).items()}


def run(
    study: Study,
    name: str,
    dataset: Dataset,
    model: keras.Model,
    found: Mapping[str, Filters],
    labels_of: Mapping[str, Mapping[str, Any]],
) -> dict[str, pd.DataFrame]:
    """Make the tables of a cell.

    Parameters
    ----------
    study : Study
    name : str
        Of the data set, in the study.
    dataset : Dataset
    model : keras.Model
    found : dict of layer to Filters
        By the study's own rule.
    labels_of : dict of layer to labels
        What each layer's filters match, as ``labels`` in ``metrics.json``.

    Returns
    -------
    dict of DataFrame
        By the names of `TABLES`; without rows where the study, or the data set, has none.
    """
    truth = study.datasets[name].motif_ids
    codes, _ = dataset.part("test")
    return {
        "sensitivity": sensitivity.measure(model, codes, found, study, truth),
        "importance": _importance(study, dataset, model, labels_of),
        "firing": _firing(study, name, dataset, model, found, labels_of),
    }


def _importance(
    study: Study,
    dataset: Dataset,
    model: keras.Model,
    labels_of: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    import pandas as pd

    if not study.analysis.importance:
        return pd.DataFrame(columns=list(importance.COLUMNS))
    codes, labels = dataset.part("test")
    # Spread over the whole test set, which may be sorted, by chromosome say.
    rows = np.linspace(0, len(codes) - 1, min(study.analysis.sequences, len(codes))).astype(int)
    return pd.concat(
        [
            importance.ablate(model, layer, codes[rows], labels[rows], of, dataset.classes)
            for layer, of in labels_of.items()
        ],
        ignore_index=True,
    )


def _firing(
    study: Study,
    name: str,
    dataset: Dataset,
    model: keras.Model,
    found: Mapping[str, Filters],
    labels_of: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    import pandas as pd

    spec = study.datasets[name]
    empty = pd.DataFrame(columns=list(firing.COLUMNS))
    if not (study.analysis.firing and isinstance(spec, Synthetic) and dataset.embedded is not None):
        return empty
    codes, _ = dataset.part("test")
    embedded, widths = firing.in_part(dataset, "test"), firing.motif_widths(spec)
    tables = [
        firing.measure(
            model, layer, codes, embedded, dataset.classes, widths, of, study.motifs,
            labels_of[layer],
        )
        for layer, of in found.items()
    ]  # fmt: skip
    return pd.concat([table for table in tables if len(table)] or [empty], ignore_index=True)


def read(data: bytes) -> pd.DataFrame:
    """Read the content of one of the tables of a cell, numbers to the last digit."""
    import pandas as pd

    columns = list(pd.read_csv(BytesIO(data), nrows=0).columns)
    numbers = [column for column in columns if column not in TEXT]
    return pd.read_csv(
        BytesIO(data),
        dtype=dict.fromkeys(TEXT.intersection(columns), str),
        keep_default_na=False,  # a class may be called NA
        na_values={column: [""] for column in numbers},
        float_precision="round_trip",
    )
