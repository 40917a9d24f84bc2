"""Render the report of a study: one HTML page that needs no other file."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from motifk8s.cells.finished import CellFiles, by_reason
from motifk8s.motifs import clusters
from motifk8s.motifs.logos import svg_letters
from motifk8s.report import claims, comparison, found, paired, prediction, tables
from motifk8s.report.answer import WHOLE, answer
from motifk8s.report.charts import short
from motifk8s.report.figures import Picture, attempt, layer_logos, motif_database, trials_of
from motifk8s.report.topics import LEVEL, Rows, Topic
from motifk8s.report.words import label, plus_minus, truth_word
from motifk8s.study.specs import CustomModel, Model
from motifk8s.study.study import Study

JASPAR = "https://jaspar.elixir.no/matrix/{}"
# Headings of the values in a cell's provenance, by key.
PROVENANCE = {
    "code_version": "Code",
    "trained_by": "Code that trained",
    "python": "Python",
    "machine": "Machine",
    "device": "Device",
    "threads": "Threads",
}


class Content(NamedTuple):
    """The content of a study's page."""

    cells: Mapping[str, CellFiles]  # the finished cells, by id
    missing: Mapping[str, str]  # the reason for each missing cell, by id
    table: pd.DataFrame  # as from `tables.table1`
    compared: pd.DataFrame  # as from `comparison.comparisons`
    tested: pd.DataFrame  # as from `claims.claims`
    motifs: found.Found
    pictures: Mapping[str, list[Picture]]  # as from `figures.draw`
    topics: Mapping[str, Topic]  # as from `topics.topics`
    notes: list[str]  # a line for each picture that could not be drawn


def render(study: Study, content: Content) -> str:
    """Render the report as one HTML page; it loads nothing, only its links lead to other pages."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cells, table, compared = content.cells, content.table, content.compared
    planned = study.cells()
    names = list(dict.fromkeys(cell.dataset for cell in planned))
    factors = {motif.name: motif.alt for motif in motif_database(study.matches.database)}
    failed = {cell: why for cell, why in content.missing.items() if why.startswith("failed")}
    others = {cell: why for cell, why in content.missing.items() if cell not in failed}
    return environment.get_template("report.html").render(
        study=study,
        title=study.title or study.name,
        done=len(cells),
        planned=len(planned),
        answers={name: answer(table, compared, study, name) for name in names},
        table=tables.to_html(table, comparison.footnotes(compared, study), study),
        published=claims.published_rows(compared, study, cells),
        claims=claims.claim_rows(content.tested),
        hold=claims.summary(compared, content.tested),
        found=found.sections(content.motifs, study),
        letters=svg_letters(),
        jaspar=lambda identifier: JASPAR.format(identifier) if is_jaspar(identifier) else "",
        pictures=content.pictures,
        topics=content.topics,
        architectures={name: _architectures(study, name, content, factors) for name in names},
        notes=content.notes,
        failed=by_reason(failed),
        missing=by_reason(others),
        words={name: truth_word(study, name) for name in names},
        whole=WHOLE,
        level=LEVEL,
        least_trials=paired.LEAST,
        prediction=prediction,
        rule=study.motifs,
        similarity=clusters.LEAST,
        bits=found.trimming(study).bits,
        provenance=_provenance(list(cells.values())),
        resolved=yaml_text(study),
    )


def yaml_text(study: Study) -> str:
    """Write a study, with all its defaults, as YAML."""
    import ruamel.yaml

    yaml = ruamel.yaml.YAML()
    yaml.width = 100
    buffer = io.StringIO()
    yaml.dump(study.resolved(), buffer)
    return buffer.getvalue()


def _architectures(
    study: Study, dataset: str, content: Content, factors: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return each architecture's section: its shape, trials, logos, matches and classes."""
    sections = []
    for data, name in comparison.planned_trials(study):
        trials = trials_of(content.cells, dataset, name)
        if data != dataset or not trials:
            continue
        first = trials[0]
        layers = [
            {
                "name": layer,
                "logos": attempt(
                    f"of {layer} of {label(study, name)}",
                    partial(layer_logos, first, layer, f"{short(label(study, name))}, {layer}"),
                    None,
                    content.notes,
                ),
                "maximum": values["maximum"],
                "hits": hits(values["labels"], factors),
            }
            for layer, values in first.metrics["layers"].items()
        ]
        sections.append(
            {
                "anchor": f"{dataset}-{name}",
                "label": label(study, name),
                "shape": describe(study.models[name]),
                "parameters": _parameters(study, dataset, name, first),
                "trials": [_trial(files.metrics, truth_word(study, dataset)) for files in trials],
                "shown": first.metrics["trial"],
                "layers": layers,
                "classes": _classes(trials),
            }
        )
    return sections


def _parameters(study: Study, dataset: str, name: str, cell: CellFiles) -> int | None:
    """Return the number of trainable parameters; a custom model's is in the results of a cell."""
    model, data = study.models[name], study.datasets[dataset]
    if isinstance(model, CustomModel):
        return cell.provenance.get("network", {}).get("parameters")
    return model.n_parameters(data.length, data.n_classes)


def _trial(metrics: Mapping[str, Any], word: str) -> dict[str, str]:
    """Make a row of an architecture's table of trials."""
    row = {
        "Trial": str(metrics["trial"]),
        "AUROC": f"{metrics['auroc']:.3f}",
        "AUPR": f"{metrics['aupr']:.3f}",
        "Best epoch": f"{metrics['best_epoch']} of {metrics['epochs']}",
    }
    for layer, values in metrics["layers"].items():
        for heading, key in ((word, "truth"), ("any", "any"), ("null", "null")):
            row[f"{layer}: {heading}"] = f"{values[f'match_{key}']:.3f}"
        row[f"{layer}: dead"] = str(values["dead"])
        row[f"{layer}: coverage"] = f"{values['coverage']:.3f}"
    row["Time"] = f"{metrics['seconds']:.0f} s"
    return row


def describe(model: Model | CustomModel) -> str:
    """Describe an architecture in one line."""
    if isinstance(model, CustomModel):
        options = ", ".join(f"{name}={value!r}" for name, value in model.options.items())
        return f"{PurePath(model.file).name}: {model.function}({options})"
    steps = []
    for i, conv in enumerate(model.conv):
        steps.append(f"{conv.filters} filters of {conv.width}{' bp' if i == 0 else ''}")
        steps[-1] += "" if conv.activation == "relu" else f" ({conv.activation})"
        if conv.pool > 1:
            stride = "" if conv.step == conv.pool else f", stride {conv.step}"
            steps.append(f"max-pool {conv.pool}{stride}")
    return " → ".join([*steps, *(f"dense {units}" for units in model.dense)])


def hits(labels: Mapping[str, Any], factors: Mapping[str, str]) -> list[dict[str, Any]]:
    """Group the labels of a layer by motif; motifs of the classes come first."""
    rows: dict[str, dict[str, Any]] = {}
    for name, hit in sorted(labels.items(), key=lambda item: int(item[0].removeprefix("filter"))):
        row = rows.setdefault(
            hit["target"],
            {
                "target": hit["target"],
                "factor": factors.get(hit["target"], ""),
                "url": JASPAR.format(hit["target"]) if is_jaspar(hit["target"]) else "",
                "class": hit["class"],
                "filters": [],
                "evalue": np.inf,
            },
        )
        row["filters"].append(name.removeprefix("filter"))
        row["evalue"] = min(row["evalue"], hit["evalue"])
    return sorted(rows.values(), key=lambda r: (not r["class"], -len(r["filters"]), r["target"]))


def is_jaspar(identifier: str) -> bool:
    """Return whether an id has the form of JASPAR's ids, such as MA0083.3."""
    return re.fullmatch(r"MA\d{4}\.\d+", identifier) is not None


def _classes(cells: Sequence[CellFiles]) -> Rows:
    """Make a row for each class: its AUROC and AUPR, mean and sd over trials."""
    auroc, aupr = (
        pd.DataFrame([files.metrics[f"{measure}_by_class"] for files in cells])
        for measure in ("auroc", "aupr")
    )
    return [
        {
            "Class": str(name),
            "AUROC": plus_minus(*comparison.mean_sd(auroc[name])),
            "AUPR": plus_minus(*comparison.mean_sd(aupr[name])),
        }
        for name in auroc
    ]


def _provenance(cells: Sequence[CellFiles]) -> list[tuple[str, str]]:
    """Return headings and values of the cells' software, devices, data and costs."""
    if not cells:
        return []
    records = [files.provenance for files in cells]
    rows = [
        (heading, _counted(record[key] for record in records if record.get(key) is not None))
        for key, heading in PROVENANCE.items()
    ]
    libraries = sorted({name for record in records for name in record.get("libraries") or {}})
    rows += [
        (name, _counted((record.get("libraries") or {}).get(name, "none") for record in records))
        for name in libraries
    ]
    hashes: dict[str, list[Any]] = {}
    for files in cells:
        hashes.setdefault(files.metrics["dataset"], []).append(files.provenance.get("data_hash"))
    rows += [(f"Data {name}, SHA-256", _counted(values)) for name, values in hashes.items()]
    stages: Counter[str] = Counter()
    for record in records:
        stages.update(record.get("stages") or {})
    rows += [(f"Seconds, {stage}, all cells", f"{s:,.1f}") for stage, s in stages.items()]
    peak = max(record.get("peak_memory_bytes") or 0 for record in records)
    rows.append(("Largest peak memory of a cell", f"{peak / 2**20:,.0f} MiB"))
    resumed = sum(bool(record.get("resumed_at_epochs")) for record in records)
    rows.append(("Cells that resumed from a checkpoint", str(resumed)))
    return [(heading, value) for heading, value in rows if value]


def _counted(values: Iterable[Any]) -> str:
    """Return the common value, or each value with its number of cells."""
    counts = Counter(str(value) for value in values)
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{value} ({n} cells)" for value, n in counts.most_common())
