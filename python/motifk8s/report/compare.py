"""Compare the motifs and the fractions of two studies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from motifk8s.cells.finished import CellFiles, read_finished
from motifk8s.errors import IncompleteError
from motifk8s.motifs.clusters import LEAST, similarities
from motifk8s.motifs.motif import Motif
from motifk8s.report import found, paired, tables
from motifk8s.report.comparison import mean_sd
from motifk8s.report.figures import motif_database
from motifk8s.store.base import Store
from motifk8s.store.files import refuse_inputs, write_text
from motifk8s.study.study import Study

SIDE = ["dataset", "model"]  # columns that the sides a and b have in both tables
FRACTIONS = [
    "dataset_a", "model_a", "dataset_b", "model_b", "layer", "measure", "trials_a", "mean_a",
    "sd_a", "trials_b", "mean_b", "sd_b", "difference", "test", "p", "p_holm",
]  # fmt: skip
OF_A_MOTIF = [
    "dataset", "motif", "consensus", "factor", "class", "trials", "of_trials", "filters",
    "importance",
]  # fmt: skip
MOTIFS = [
    "found_in", "similarity", *(f"{name}_{side}" for side in "ab" for name in OF_A_MOTIF),
]  # fmt: skip
SHARED, ONLY_A, ONLY_B = "both", "a", "b"


class Side(NamedTuple):
    """The finished cells of a study."""

    study: Study
    cells: Mapping[str, CellFiles]
    missing: int  # number of cells that are not finished


class Comparison(NamedTuple):
    """The result of `compare`."""

    fractions: pd.DataFrame  # `FRACTIONS`
    motifs: pd.DataFrame  # `MOTIFS`


def read_side(study: Study, store: Store) -> Side:
    """Read the finished cells of a study.

    Raises
    ------
    IncompleteError
        If no cell is finished.
    """
    cells, missing = read_finished(study, store)
    if not cells:
        raise IncompleteError(
            f"study {study.name} has no finished cell in {store.url}; run it first, or give the "
            "store that has it (--store, --store2)"
        )
    return Side(study, cells, len(missing))


def compare(a: Side, b: Side) -> Comparison:
    """Compare two studies: what their networks reach, and which motifs both have.

    Data sets and models are paired by name; if both studies have one data set, or one model, these
    are paired too.

    Returns
    -------
    Comparison
        ``fractions`` has a row for each paired layer and each of `paired.MEASURES`. ``difference``
        is the mean of b minus that of a. If cells of the same name, and so of the same seed, were
        trained on the same data, their differences are tested (``test`` is paired), else the means
        (Welch). ``p`` is two-sided; nan with fewer than three trials, or if it is not defined.
        ``p_holm`` is corrected for all rows. Sides without a partner have rows too.

        ``motifs`` has a row for each motif of either study, those of both first. A motif of a and
        one of b are the same if their similarity is at least that of the members of a motif
        (`clusters.LEAST`); each is in one pair, and the sum of the similarities is largest.
    """
    return Comparison(_fractions(a, b), _motifs(a, b))


def write(compared: Comparison, folder: Path, inputs: Sequence[str | Path] = ()) -> list[Path]:
    """Write fractions.csv and motifs.csv; return their paths."""
    paths = [folder / f"{name}.csv" for name in compared._fields]
    refuse_inputs(paths, inputs)
    for path, frame in zip(paths, compared, strict=True):
        write_text(path, tables.csv_text(frame))
    return paths


def _partners(a: Sequence[str], b: Sequence[str]) -> dict[str, str]:
    """Pair names of a with equal ones of b, or the only ones."""
    if len(a) == len(b) == 1:
        return {a[0]: b[0]}
    return {name: name for name in a if name in b}


# ------------------------------------------------------------------------------------ fractions


def _fractions(a: Side, b: Side) -> pd.DataFrame:
    left, right = (_results(side) for side in (a, b))
    rows: list[dict[str, Any]] = []
    datasets = _partners(*(list(dict.fromkeys(frame.dataset)) for frame in (left, right)))
    done = set()
    for data_a, data_b in datasets.items():
        of_a, of_b = left[left.dataset == data_a], right[right.dataset == data_b]
        models = _partners(*(list(dict.fromkeys(frame.model)) for frame in (of_a, of_b)))
        for model_a, model_b in models.items():
            one, two = of_a[of_a.model == model_a], of_b[of_b.model == model_b]
            done |= {("a", data_a, model_a), ("b", data_b, model_b)}
            same = (data_a, model_a) == (data_b, model_b) and _same_data(a, b, data_a)
            rows += _layers(one, two, same)
    for side, frame in (("a", left), ("b", right)):
        for data, model in dict.fromkeys(zip(frame.dataset, frame.model, strict=True)):
            if (side, data, model) not in done:
                part = frame[(frame.dataset == data) & (frame.model == model)]
                nothing = part.iloc[:0]
                rows += _layers(*((part, nothing) if side == "a" else (nothing, part)), same=False)
    for row, p in zip(rows, paired.holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    return pd.DataFrame(rows, columns=FRACTIONS)


def _results(side: Side) -> pd.DataFrame:
    return tables.results((files.metrics for files in side.cells.values()), side.study)


def _same_data(a: Side, b: Side, dataset: str) -> bool:
    hashes = [
        {
            files.provenance.get("data_hash")
            for files in side.cells.values()
            if files.metrics["dataset"] == dataset
        }
        for side in (a, b)
    ]
    return hashes[0] == hashes[1] and len(hashes[0]) == 1 and None not in hashes[0]


def _layers(a: pd.DataFrame, b: pd.DataFrame, same: bool) -> list[dict[str, Any]]:
    """Make the rows of two models, of which one may have no result."""
    rows = []
    for layer in dict.fromkeys([*a.layer, *b.layer]):
        for measure in paired.MEASURES:
            if measure == "auroc" and layer != paired.LAYER:  # it belongs to the model
                continue
            row: dict[str, Any] = {"layer": layer, "measure": measure}
            values = []
            for side, frame in (("a", a), ("b", b)):
                part = frame[frame.layer == layer].set_index("trial")[measure].dropna()
                values.append(part.astype(float))
                for name in SIDE:
                    row[f"{name}_{side}"] = str(frame[name].iloc[0]) if len(frame) else ""
                row[f"trials_{side}"] = len(part)
                row[f"mean_{side}"], row[f"sd_{side}"] = mean_sd(part)
            row["difference"] = row["mean_b"] - row["mean_a"]
            row["test"], row["p"] = _test(values[0], values[1], same)
            rows.append(row)
    return rows


def _test(a: pd.Series, b: pd.Series, same: bool) -> tuple[str, float]:
    """Test values by trial; return the name of the test and its p."""
    common = a.index.intersection(b.index)
    if same and len(common) >= paired.LEAST:
        return "paired", paired.t_test((b[common] - a[common]).to_numpy())[1]
    if min(len(a), len(b)) < paired.LEAST:
        return "", math.nan
    return "Welch", welch(a.to_numpy(), b.to_numpy())


def welch(a: np.ndarray, b: np.ndarray) -> float:
    """Return the two-sided p of the difference of two means (Welch 1947); nan without variance."""
    from scipy.special import stdtr  # not scipy.stats, whose import takes a second

    squares = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if sum(squares) == 0:
        return 1.0 if a.mean() == b.mean() else math.nan
    t = (b.mean() - a.mean()) / math.sqrt(sum(squares))
    parts = squares[0] ** 2 / (len(a) - 1) + squares[1] ** 2 / (len(b) - 1)
    return float(2 * stdtr(sum(squares) ** 2 / parts, -abs(t)))


# --------------------------------------------------------------------------------------- motifs


def _motifs(a: Side, b: Side) -> pd.DataFrame:
    sides = [_found(side) for side in (a, b)]
    names = [list(dict.fromkeys(side.table.dataset)) for side in sides]
    pairs: dict[str, tuple[str, float]] = {}
    for data_a, data_b in _partners(*names).items():
        pairs |= _same_motifs(_of(sides[0], data_a), _of(sides[1], data_b))
    rows = [{row["motif"]: row for _, row in side.table.iterrows()} for side in sides]
    taken = {name for name, _ in pairs.values()}
    result = []
    for name, row in rows[0].items():
        other, similarity = pairs.get(name, ("", math.nan))
        where = SHARED if other else ONLY_A
        result.append(_row(where, similarity, row, rows[1].get(other)))
    result.sort(key=lambda row: row["found_in"] != SHARED)
    result += [_row(ONLY_B, math.nan, None, row) for n, row in rows[1].items() if n not in taken]
    table = pd.DataFrame(result, columns=MOTIFS)
    whole = [f"{name}_{side}" for name in ("trials", "of_trials", "filters") for side in "ab"]
    return table.astype(dict.fromkeys(whole, "Int64"))  # whole numbers or nothing


def _found(side: Side) -> found.Found:
    return found.find(side.study, side.cells, motif_database(side.study.matches.database))


def _of(side: found.Found, dataset: str) -> list[Motif]:
    names = set(side.table.motif[side.table.dataset == dataset])
    return [motif for motif in side.motifs if motif.name in names]


def _same_motifs(a: Sequence[Motif], b: Sequence[Motif]) -> dict[str, tuple[str, float]]:
    """Return for motifs of a the name of the same motif of b, and their similarity."""
    from scipy.optimize import linear_sum_assignment

    similar = similarities([motif.ppm for motif in [*a, *b]])[: len(a), len(a) :]
    least = np.float32(LEAST)
    pairs = zip(*linear_sum_assignment(np.where(similar >= least, similar, 0), True), strict=True)
    return {
        a[i].name: (b[j].name, float(similar[i, j])) for i, j in pairs if similar[i, j] >= least
    }


def _row(where: str, similarity: float, a: Any, b: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"found_in": where, "similarity": similarity}
    for side, motif in (("a", a), ("b", b)):
        row |= {f"{n}_{side}": motif[n] for n in OF_A_MOTIF} if motif is not None else {}
    return row
