"""Find the motifs of a study: clusters of the filters of all finished cells of a data set.

All readable layers count, not the first ones alone: a network that pools late has its whole motifs
in a later layer (CNN-1 in the second). Every filter has the same weight, so that a motif is not
that of the one filter with the lowest threshold.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from motifk8s.cells.finished import CellFiles
from motifk8s.motifs.clusters import Cluster, cluster_groups, reverse
from motifk8s.motifs.formats import iupac
from motifk8s.motifs.logos import svg_logo
from motifk8s.motifs.motif import Motif, information, trim
from motifk8s.motifs.tomtom import tomtom
from motifk8s.report.comparison import planned_trials
from motifk8s.study.specs import Trim
from motifk8s.study.study import Study

COLUMNS = [
    "dataset", "motif", "consensus", "width", "information", "trials", "of_trials",
    "architectures", "of_architectures", "filters", "found_in", "match", "factor", "evalue",
    "class", "other_matches", "importance", "worst_class", "firings", "on_motif",
]  # fmt: skip
FILTERS = ["dataset", "motif", "model", "trial", "layer", "filter", "offset", "strand"]
COUNTS = ["dataset", "filters", "dead", "flat", "left_out"]
OTHERS = 4  # more matches of a motif in its row, at most
SHOWN = 40  # motifs of a data set on the page, at most; the table has all


class Found(NamedTuple):
    """The motifs of a study."""

    table: pd.DataFrame  # `COLUMNS`: a row for each motif
    filters: pd.DataFrame  # `FILTERS`: a row for each filter of a motif
    counts: pd.DataFrame  # `COUNTS`: a row for each data set with a finished cell
    motifs: list[Motif]  # trimmed, in the order of the table


class _Filter(NamedTuple):
    dataset: str
    model: str
    trial: int
    layer: str
    number: int
    ppm: np.ndarray  # (W, 4)
    windows: int

    @property
    def key(self) -> tuple[str, str, int, str, str]:
        """The data set, model, trial, layer and name of the filter."""
        return *self[:4], f"filter{self.number}"


def find(study: Study, cells: Mapping[str, CellFiles], database: Sequence[Motif]) -> Found:
    """Cluster the filters of each data set's finished cells into motifs.

    Dead filters, and those without a column above the bits of the trimming rule, are left out.
    The result does not depend on the order of `cells`.

    Parameters
    ----------
    cells : dict of cell id to CellFiles
    database : sequence of Motif
        The study's; without motifs there are no matches.

    Returns
    -------
    Found
        Rows of ``table`` by data set; then by trials, importance and filters, largest first. Its
        columns:

        - ``motif``: the name, DATASET-NUMBER; ``consensus``: letters of IUPAC; ``width`` in bp;
          ``information`` in bits.
        - ``trials``, ``architectures``: finished cells, and models, with a filter of the motif;
          ``of_trials``, ``of_architectures``: all finished ones. ``found_in``: by model.
        - ``match``, ``factor``, ``evalue``: the best match in the database, by Tomtom with the
          study's settings; ``class``: the class whose known motif it is. A match to a known motif
          of a class comes first. ``other_matches``: the next best.
        - ``importance``: rise of the loss (nats) without a filter, summed over the filters of a
          cell; mean over the cells with the motif. ``worst_class``: the class whose loss rises
          most without the filters.
        - ``firings``, ``on_motif``: of the filters that match a class, number of firings and the
          share of these on an embedded motif of this class; nan if the positions are not known.
    """
    order = {pair: i for i, pair in enumerate(planned_trials(study))}

    def place(files: CellFiles) -> tuple[int, int]:
        cell = files.metrics
        return order[cell["dataset"], cell["model"]], cell["trial"]

    by_dataset: dict[str, list[CellFiles]] = {}
    for files in sorted(cells.values(), key=place):
        by_dataset.setdefault(files.metrics["dataset"], []).append(files)
    facts = _Facts(study, cells, database)
    results = [_of_dataset(name, ordered, facts) for name, ordered in by_dataset.items()]

    def joined(frames: Iterable[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
        some = [frame for frame in frames if len(frame)]
        return pd.concat(some, ignore_index=True) if some else pd.DataFrame(columns=columns)

    return Found(
        joined((result.table for result in results), COLUMNS),
        joined((result.filters for result in results), FILTERS),
        joined((result.counts for result in results), COUNTS),
        [motif for result in results for motif in result.motifs],
    )


def trimming(study: Study) -> Trim:
    """Return the study's rule for trimming, or the default one if it trims no motif."""
    return study.motifs.trim or Trim()


class _Facts:
    """What is known of filters and motifs from elsewhere."""

    def __init__(
        self, study: Study, cells: Mapping[str, CellFiles], database: Sequence[Motif]
    ) -> None:
        self.study = study
        self.trim = trimming(study)
        self.database = database
        self.factors = {motif.name: motif.alt for motif in database}
        ablated = ["loss_increase", "worst_class", "worst_class_loss_increase"]
        self.importance = _by_filter(cells, "importance", ablated)
        self.firing = _by_filter(cells, "firing", ["firings", "on_motif"])

    def matches(self, dataset: str, motifs: Sequence[Motif]) -> dict[str, dict[str, Any]]:
        """Return the columns of each motif's matches, by the motif's name."""
        known = self.study.datasets[dataset].motif_ids
        class_of = {target: name for name, ids in reversed(known.items()) for target in ids}
        settings = self.study.matches
        options: dict[str, Any] = {"distance": settings.distance, "qvalue": settings.qvalue}
        if not self.database or not motifs:
            return {}
        hits = tomtom(
            motifs,
            self.database,
            settings.evalue,
            q_values=settings.qvalue is not None,
            **options,
        )
        result = {}
        for name, rows in hits.groupby("Query_ID", sort=False):
            columns = (rows[key] for key in ("Target_ID", "E-value", "Orientation"))
            found = sorted(zip(*columns, strict=True), key=lambda hit: hit[0] not in class_of)
            others = " ".join(f"{i}({self.factors[i]})" for i, *_ in found[1 : 1 + OTHERS])
            best, evalue, orientation = found[0]
            result[str(name)] = {
                "orientation": orientation,
                "match": best,
                "factor": self.factors[best],
                "evalue": float(evalue),
                "class": class_of.get(best, ""),
                "other_matches": others,
            }
        return result


def _by_filter(
    cells: Mapping[str, CellFiles], table: str, columns: list[str]
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Return some columns of a table of all cells, by the keys of the filters."""
    result = {}
    for files in cells.values():
        cell = tuple(files.metrics[name] for name in ("dataset", "model", "trial"))
        rows = files.analysis[table][["layer", "filter", *columns]]
        for layer, name, *values in rows.itertuples(index=False, name=None):
            result[(*cell, layer, name)] = tuple(values)
    return result


def _of_dataset(dataset: str, ordered: Sequence[CellFiles], facts: _Facts) -> Found:
    """Find the motifs of the cells of a data set, which are in the order of the study."""
    counts: Counter[str] = Counter()
    groups: list[list[_Filter]] = []
    for files in ordered:
        cell = files.metrics["model"], files.metrics["trial"]
        for layer, filters in sorted(files.filters.items()):
            live = []
            for i in np.flatnonzero(~filters.dead):
                ppm = filters.ppm[i].astype(np.float64)
                if information(ppm).max() > facts.trim.bits:
                    live.append(
                        _Filter(dataset, *cell, layer, int(i), ppm, int(filters.windows[i]))
                    )
            groups.append(live)
            counts["filters"] += len(filters.dead)
            counts["dead"] += int(filters.dead.sum())
            counts["flat"] += int((~filters.dead).sum()) - len(live)
    every = [one for group in groups for one in group]
    clusters = cluster_groups([[one.ppm for one in group] for group in groups if group])
    counts["left_out"] = len(every) - sum(len(c.members) for c in clusters)
    number = pd.DataFrame([{"dataset": dataset, **{name: counts[name] for name in COUNTS[1:]}}])
    drafts = [_Draft(found, [every[m.number] for m in found.members], facts) for found in clusters]
    drafts.sort(key=lambda draft: draft.place)
    motifs = [draft.motif(f"{dataset}-{i}") for i, draft in enumerate(drafts, start=1)]
    matches = facts.matches(dataset, motifs)
    for k, motif in enumerate(motifs):  # on the strand of the database's motif
        if matches.get(motif.name, {}).pop("orientation", "+") == "-":
            drafts[k] = drafts[k].reversed()
            motifs[k] = drafts[k].motif(motif.name)
    finished = Counter(files.metrics["model"] for files in ordered)
    rows, members = [], []
    for draft, motif in zip(drafts, motifs, strict=True):
        match = matches.get(motif.name, {})
        rows.append({"dataset": dataset, "motif": motif.name, **draft.row(finished), **match})
        members += draft.filters(motif.name)
    table = pd.DataFrame(rows, columns=COLUMNS)
    texts = ["match", "factor", "class", "other_matches"]
    table[texts] = table[texts].astype(object).fillna("")
    named = [motif._replace(alt=matches.get(motif.name, {}).get("factor", "")) for motif in motifs]
    return Found(table, pd.DataFrame(members, columns=FILTERS), number, named)


class _Draft:
    """A motif before it has its number."""

    def __init__(self, found: Cluster, filters: Sequence[_Filter], facts: _Facts) -> None:
        self.members, self.of, self.facts = filters, found, facts
        self.trimmed = trim(found.ppm, facts.trim.bits, facts.trim.pad)
        self.core = trim(found.ppm, facts.trim.bits, 0)
        self.cells = {(one.model, one.trial) for one in filters}
        self.importance, self.worst_class = _importance(filters, len(self.cells), facts)
        known = [facts.firing[one.key] for one in filters if one.key in facts.firing]
        self.firings = sum(float(firings) for firings, _ in known)
        on = sum(float(on_motif) for _, on_motif in known)
        self.on_motif = on / self.firings if self.firings else math.nan

    @property
    def place(self) -> tuple[Any, ...]:
        """The key to sort by: the most stable and important motif is first."""
        rise = 0.0 if math.isnan(self.importance) else self.importance
        return -len(self.cells), -rise, -len(self.members), self.of.members[0].number

    def motif(self, name: str) -> Motif:
        """Return the trimmed motif; its number of sites is the mean of its filters'."""
        sites = float(np.mean([one.windows for one in self.members]))
        return Motif(name, self.of.ppm[self.trimmed], max(1.0, round(sites)))

    def reversed(self) -> _Draft:
        """Return the motif on the other strand."""
        return _Draft(
            reverse(self.of, [len(one.ppm) for one in self.members]), self.members, self.facts
        )

    def row(self, finished: Mapping[str, int]) -> dict[str, Any]:
        """Return the columns that need no database; `finished` has each model's trials."""
        models = Counter(model for model, _ in self.cells)
        ppm = self.of.ppm[self.core]
        return {
            "consensus": iupac(ppm),
            "width": len(ppm),
            "information": float(information(ppm).sum()),
            "trials": len(self.cells),
            "of_trials": sum(finished.values()),
            "architectures": len(models),
            "of_architectures": len(finished),
            "filters": len(self.members),
            "found_in": " ".join(
                f"{name}:{models[name]}/{n}" for name, n in finished.items() if models[name]
            ),
            "importance": self.importance,
            "worst_class": self.worst_class,
            "firings": self.firings if self.firings else math.nan,
            "on_motif": self.on_motif,
        }

    def filters(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of the motif's filters."""
        return [
            dict(zip(FILTERS[2:6], one.key[1:], strict=True))
            | {"dataset": one.dataset, "motif": name}
            | {
                "offset": member.offset - self.trimmed.start,
                "strand": -1 if member.minus else 1,
            }
            for one, member in zip(self.members, self.of.members, strict=True)
        ]


def _importance(filters: Sequence[_Filter], n_cells: int, facts: _Facts) -> tuple[float, str]:
    """Return the rise of the loss without the filters, and the class whose loss rises most."""
    known = [facts.importance[one.key] for one in filters if one.key in facts.importance]
    by_class: dict[str, float] = defaultdict(float)
    for _, name, rise in known:
        if name:
            by_class[name] += rise
    worst = max(sorted(by_class), key=lambda name: by_class[name], default="")
    return sum(loss for loss, _, _ in known) / n_cells if known else math.nan, worst


class Section(NamedTuple):
    """The motifs of a data set on the page."""

    summary: list[str]  # sentences
    rows: list[dict[str, Any]]  # one for each motif that is shown
    hidden: int  # motifs that only the table has


def sections(found: Found, study: Study) -> dict[str, Section]:
    """Return the part of the page of each data set with a finished cell."""
    ppms = {motif.name: motif.ppm for motif in found.motifs}
    result = {}
    for dataset, counts in found.counts.set_index("dataset").iterrows():
        table = found.table[found.table.dataset == dataset]
        shown: list[dict[str, Any]] = [dict(row) for _, row in table.head(SHOWN).iterrows()]
        for row in shown:
            row["logo"] = svg_logo(ppms[row["motif"]], row["consensus"])
            row["single"] = row["trials"] == 1 < row["of_trials"]
        result[str(dataset)] = Section(
            _summary(table, counts, study), shown, len(table) - len(shown)
        )
    return result


def _summary(table: pd.DataFrame, counts: pd.Series, study: Study) -> list[str]:
    excluded = {
        "dead": counts.dead, "without information": counts.flat,
        "left out because of their number": counts.left_out,
    }  # fmt: skip
    used = counts.filters - sum(excluded.values())
    rest = ", ".join(f"{n:,} {why}" for why, n in excluded.items() if n)
    texts = [
        f"{used:,} of {counts.filters:,} filters"
        + (f" ({rest})" if rest else "")
        + f" form {len(table):,} {'motif' if len(table) == 1 else 'motifs'}."
    ]
    if table.empty:
        return texts
    trials = int(table["of_trials"].iloc[0])
    if trials > 1:
        several = int((table.trials > 1).sum())
        texts.append(
            f"{several:,} of them were found in two or more of the {trials} trials, "
            f"{len(table) - several:,} in one trial alone."
        )
    known = [name for name, ids in study.datasets[table.dataset.iloc[0]].motif_ids.items() if ids]
    if known:
        hits = table[table["class"] != ""].groupby("class")["trials"].max()
        stable = f", {int((hits > 1).sum())} in two or more trials" if trials > 1 else ""
        texts.append(f"Of {len(known)} classes with a known motif, {len(hits)} are found{stable}.")
    return texts
