"""The report of a study: one page of HTML that needs nothing else, and the files it is made of."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from motifk8s.cells.finished import CellFiles
from motifk8s.report import comparison, tables
from motifk8s.report import topics as beyond
from motifk8s.report.answer import WHOLE, answer
from motifk8s.report.pictures import Picture, draw, layer_logos, motif_database, truth_motifs
from motifk8s.report.words import label, plus_minus, truth_word
from motifk8s.study.study import Study

__all__ = ["CellFiles", "Picture", "aggregate_outputs", "render", "truth_motifs"]


JASPAR = "https://jaspar.elixir.no/matrix/{}"


def aggregate_outputs(
    study: Study, cells: Mapping[str, CellFiles], missing: Mapping[str, str], out_dir: Path
) -> dict[str, Path]:
    """Write tables, figures and report of a study, whatever part of it is finished.

    Parameters
    ----------
    study : Study
    cells : dict of cell id to CellFiles
        The finished cells.
    missing : dict of cell id to str
        Why a cell is not among them; a reason that begins with "failed" is told as a failure.
    out_dir : Path
        ``tables/``, ``figures/`` and ``report.html`` are written here.

    Returns
    -------
    dict of relative path to Path
        Every file written: ``tables/results.csv`` (cell and layer), ``tables/comparison.csv``
        (published number), ``tables/table1.{csv,md,html}``, the tables of `beyond.frames`,
        ``figures/*``, ``report.html``.
    """
    results = tables.results((files.metrics for files in cells.values()), study)
    table = tables.table1(results, study)
    compared = comparison.comparisons(results, study)
    notes = comparison.footnotes(compared, study)
    (out_dir / "tables").mkdir(parents=True, exist_ok=True)
    (out_dir / "figures").mkdir(exist_ok=True)
    pictures = draw(study, table, cells, out_dir / "figures")
    more = beyond.frames(study, cells, results, table)
    topics = beyond.topics(study, results, more, out_dir / "figures")
    texts = {
        "tables/results.csv": results.to_csv(index=False),
        "tables/comparison.csv": compared.to_csv(index=False),
        "tables/table1.csv": table.to_csv(index=False),
        "tables/table1.md": tables.to_markdown(table, notes, study) + "\n",
        "tables/table1.html": tables.to_html(table, notes, study) + "\n",
        **{f"tables/{name}.csv": frame.to_csv(index=False) for name, frame in more.items()},
        "report.html": render(
            study, table, compared, pictures, topics, more["prediction"], cells, missing
        ),
    }
    for name, text in texts.items():
        (out_dir / name).write_text(text, encoding="utf-8")
    drawn = [pictures, *(topic.pictures for topic in topics)]
    written = [path for of in drawn for shown in of.values() for one in shown for path in one.files]
    written += [out_dir / name for name in texts]
    return {path.relative_to(out_dir).as_posix(): path for path in written}


# ---------------------------------------------------------------------------------------- page


def render(
    study: Study,
    table: pd.DataFrame,
    compared: pd.DataFrame,
    pictures: Mapping[str, list[Picture]],
    topics: Sequence[beyond.Topic],
    predictions: pd.DataFrame,
    cells: Mapping[str, CellFiles],
    missing: Mapping[str, str],
) -> str:
    """The report as one page of HTML without any other file; its links alone lead elsewhere.

    Parameters
    ----------
    study : Study
    table : DataFrame
        As from `tables.table1`.
    compared : DataFrame
        As from `published.comparisons`.
    pictures : dict of data set to list of Picture
        As from `draw`.
    topics : sequence of Topic
        As from `beyond.topics`.
    predictions : DataFrame
        As from `prediction.score`.
    cells, missing : dict
        As in `aggregate_outputs`.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    planned = study.cells()
    names = list(dict.fromkeys(cell.dataset for cell in planned))
    factors = {motif.name: motif.alt for motif in motif_database(study.matches.database)}
    failed = {cell: why for cell, why in missing.items() if why.startswith("failed")}
    return environment.get_template("report.html").render(
        study=study,
        title=study.title or study.name,
        done=len(cells),
        planned=len(planned),
        answers={name: answer(table, compared, study, name) for name in names},
        table=tables.to_html(table, comparison.footnotes(compared, study), study),
        pictures=pictures,
        topics=topics,
        predictions=_predictions(predictions),
        architectures={name: _architectures(study, name, cells, factors) for name in names},
        failed=_by_reason(failed),
        missing=_by_reason({cell: why for cell, why in missing.items() if cell not in failed}),
        words={name: truth_word(study, name) for name in names},
        whole=WHOLE,
        rule=study.motifs,
        provenance=_provenance(cells),
        resolved=_yaml(study),
    )


def _by_reason(cells: Mapping[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for cell, why in cells.items():
        reasons.setdefault(why, []).append(cell)
    return reasons


def _yaml(study: Study) -> str:
    import ruamel.yaml

    yaml = ruamel.yaml.YAML()
    yaml.width = 100
    buffer = io.StringIO()
    yaml.dump(study.resolved(), buffer)
    return buffer.getvalue()


def _architectures(
    study: Study, dataset: str, cells: Mapping[str, CellFiles], factors: Mapping[str, str]
) -> list[dict[str, Any]]:
    """What the page says of each architecture: its shape, trials, logos, hits, classes."""
    sections = []
    for data, name in comparison.planned_trials(study):
        mine = [
            f for f in cells.values() if (f.metrics["dataset"], f.metrics["model"]) == (data, name)
        ]
        if data != dataset or not mine:
            continue
        mine.sort(key=lambda files: files.metrics["trial"])
        first = mine[0]
        spec = study.datasets[dataset]
        sections.append(
            {
                "anchor": f"{dataset}-{name}",
                "label": label(study, name),
                "shape": describe(study.models[name]),
                "parameters": study.models[name].n_parameters(spec.length, spec.n_classes),
                "trials": [files.metrics for files in mine],
                "shown": first.metrics["trial"],
                "layers": [
                    {
                        "name": layer,
                        "logos": layer_logos(first, layer, f"{label(study, name)}, {layer}"),
                        "maximum": values["maximum"],
                        "hits": hits(values["labels"], factors),
                    }
                    for layer, values in first.metrics["layers"].items()
                ],
                "classes": _classes(mine),
            }
        )
    return sections


def describe(model: Any) -> str:
    """An architecture in a line."""
    steps = []
    for i, conv in enumerate(model.conv):
        steps.append(f"{conv.filters} filters of {conv.width}{' bp' if i == 0 else ''}")
        steps[-1] += "" if conv.activation == "relu" else f" ({conv.activation})"
        if conv.pool > 1:
            stride = "" if conv.step == conv.pool else f", stride {conv.step}"
            steps.append(f"max-pool {conv.pool}{stride}")
    return " → ".join([*steps, *(f"dense {units}" for units in model.dense)])


def hits(labels: Mapping[str, Any], factors: Mapping[str, str]) -> list[dict[str, Any]]:
    """Matched motifs of a layer, those of the classes first, with the filters that match."""
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
    """Whether an id, such as MA0083.3, can be looked up at JASPAR."""
    return re.fullmatch(r"MA\d{4}\.\d+", identifier) is not None


def _classes(cells: Iterable[CellFiles]) -> list[tuple[str, list[str]]]:
    """Each class with its AUROC and AUPR, mean and sd over trials."""
    scores = [
        pd.DataFrame([files.metrics[f"{measure}_by_class"] for files in cells])
        for measure in ("auroc", "aupr")
    ]
    return [
        (str(name), [plus_minus(*comparison.mean_sd(of[name])) for of in scores])
        for name in scores[0]
    ]


def _predictions(frame: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """By data set, the rows of its table of the rule."""
    shown: dict[str, list[dict[str, Any]]] = {}
    for row in frame.to_dict("records"):
        blur, share = row["uncertainty"], row["match_truth_mean"]
        text = {
            **{str(key): value for key, value in row.items()},
            "uncertainty": "no later convolution" if pd.isna(blur) else f"{blur} bp",
            "share": plus_minus(share) if row["learned"] else "",
        }
        shown.setdefault(row["dataset"], []).append(text)
    return shown


def _provenance(cells: Mapping[str, CellFiles]) -> list[tuple[str, str]]:
    """What the cells were made with and what they cost, each value with its number of cells."""
    records = [files.provenance for files in cells.values()]
    if not records:
        return []

    def each(values: Iterable[Any]) -> str:
        counted = Counter(str(value) for value in values)
        if len(counted) == 1:
            return next(iter(counted))
        return "; ".join(f"{value} ({n} cells)" for value, n in counted.most_common())

    rows = [
        (words, each(r[key] for r in records if r.get(key) is not None))
        for key, words in (
            ("code_version", "Code"), ("trained_by", "Code that trained"), ("python", "Python"),
            ("machine", "Machine"), ("device", "Device"), ("threads", "Threads"),
        )
    ]  # fmt: skip
    libraries = sorted({name for r in records for name in r.get("libraries", {})})
    rows += [
        (f"{name}", each(r["libraries"].get(name, "none") for r in records)) for name in libraries
    ]
    for dataset in dict.fromkeys(files.metrics["dataset"] for files in cells.values()):
        hashes = (
            f.provenance.get("data_hash") for f in cells.values() if f.metrics["dataset"] == dataset
        )
        rows.append((f"Data {dataset}, SHA-256", each(hashes)))
    stages: Counter[str] = Counter()
    for record in records:
        stages.update(record.get("stages", {}))
    rows += [(f"Seconds, {stage}, all cells", f"{s:,.1f}") for stage, s in stages.items()]
    peak = max(record.get("peak_memory_bytes", 0) for record in records)
    rows.append(("Largest peak memory of a cell", f"{peak / 2**20:,.0f} MiB"))
    resumed = sum(bool(record.get("resumed_at_epochs")) for record in records)
    rows.append(("Cells that resumed from a checkpoint", str(resumed)))
    return [(words, value) for words, value in rows if value]
