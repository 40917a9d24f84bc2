"""Make tables of cells: one row per cell and layer, then one per architecture and layer.

Only the two renderers round numbers.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from motifk8s.errors import InputError
from motifk8s.report.comparison import SO_FAR, averaged, comparisons, mean_sd, planned_trials
from motifk8s.report.words import label, plus_minus, published, signed, truth_word
from motifk8s.study.study import Study

FORMAT = 1
RESULTS = [
    "dataset", "model", "trial", "layer", "n_filters", "auroc", "aupr", "match_any",
    "match_truth", "match_null", "dead", "coverage", "val_loss", "epochs", "seconds",
]  # fmt: skip
MEASURES = (
    "auroc", "aupr", "match_any", "match_truth", "match_false", "match_null", "dead", "coverage",
)  # fmt: skip
OF_THE_MODEL = ("auroc", "aupr")  # the other measures belong to a layer
COMPARED = ("auroc", "aupr", "match_any", "match_truth", "match_false")
PUBLISHED = ("kind", "mean", "sd", "difference", "verdict", "footnotes")
# The first characters of a text that a spreadsheet takes for a formula.
COMPUTED = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
KINDS = ("exact", "value", "at-most", "at-least")


def results(metrics: Iterable[Mapping[str, Any]], study: Study) -> pd.DataFrame:
    """Make one row per cell and layer, in the order of the study.

    Parameters
    ----------
    metrics : iterable of dict
        Contents of the cells' ``metrics.json``, in any order.

    Returns
    -------
    DataFrame, columns `RESULTS`
        ``dead`` is a number of filters; matches and coverage are fractions, 0 to 1.

    Raises
    ------
    InputError
        A metrics file has another format version, or a value is missing.
    """
    rows: list[dict[str, Any]] = []
    for cell in metrics:
        rows += _rows(cell)
    order = {pair: i for i, pair in enumerate(planned_trials(study))}

    def place(row: dict[str, Any]) -> tuple[int, int, tuple[int, str]]:
        pair = order.get((row["dataset"], row["model"]), len(order))
        return pair, row["trial"], _natural(row["layer"])

    rows.sort(key=place)
    return pd.DataFrame(rows, columns=RESULTS)


def _rows(cell: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Make the rows of one cell, a row for each layer."""
    name = cell.get("cell", "a cell")
    if cell.get("format") != FORMAT:
        raise InputError(
            f"{name}: metrics.json has format {cell.get('format')!r}, but this version of motifk8s "
            f"reads {FORMAT}; run the cell again"
        )
    rows = []
    for layer, values in cell.get("layers", {}).items():
        row = {**values, **cell, "layer": layer}
        absent = [column for column in RESULTS if column not in row]
        if absent:
            raise InputError(f"{name}: metrics.json has no {', '.join(absent)}; run the cell again")
        rows.append({column: row[column] for column in RESULTS})
    return rows


def csv_text(frame: pd.DataFrame) -> str:
    """Write a table as CSV; a text that a spreadsheet would compute gets an apostrophe in front.

    These are names from the study and motif ids, such as ``=cmd()``. Numbers stay as they are.
    """

    def plain(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        one_row = value.replace("\r", " ")  # pandas does not quote it, but reads a new row
        if not value.startswith(COMPUTED):
            return one_row
        try:
            float(value)
        except ValueError:
            return f"'{one_row}"
        return one_row

    texts = frame.select_dtypes(exclude="number")
    return frame.assign(**{str(name): texts[name].map(plain) for name in texts}).to_csv(index=False)


def _natural(layer: str) -> tuple[int, str]:
    digits = re.search(r"\d+$", layer)
    return (int(digits.group()) if digits else 0, layer)


def table1(results: pd.DataFrame, study: Study, dataset: str | None = None) -> pd.DataFrame:
    """Make one row per architecture and layer: mean and sd over trials, and the paper's number.

    This is Table 1 (synthetic) and Table 2 (in vivo) of the paper. The sd is that of the
    population, nan for one trial. Architectures without a finished cell have a row too. If the
    study says `best`, the mean is over these trials only; ``trials`` counts all.

    Parameters
    ----------
    results : DataFrame
        As from `results`.
    dataset : str, optional
        Only this data set; default: all.

    Returns
    -------
    DataFrame
        dataset, model, label, layer, trials, planned; ``X_mean`` and ``X_sd`` for each of
        `MEASURES`; ``published_X_`` kind, mean, sd, difference, verdict and footnotes for each of
        `COMPARED`, as from `comparison.comparisons`. Of several published numbers the row has an
        exact number rather than a value, and either rather than a bound. ``footnotes`` has the
        letters of all bounds that include the row.
    """
    # Results that exist have no columns of these, so only studies that need them do.
    needed = {row.measure for row in study.expected}
    measures = [m for m in MEASURES if m != "match_false" or m in needed]
    theirs_of = [m for m in COMPARED if m not in ("aupr", "match_false") or m in needed]
    compared = comparisons(results, study)
    chosen = averaged(results, study)
    rows = []
    for (data, model), planned in planned_trials(study).items():
        if dataset not in (None, data):
            continue
        ours = results[(results.dataset == data) & (results.model == model)]
        in_group = compared.models.map(lambda models, model=model: model in models.split())
        theirs = compared[(compared.dataset == data) & in_group]
        layers = {*study.models[model].layers_before_pooling(), *ours.layer, *theirs.layer}
        for layer in sorted(layers, key=_natural):
            averages = chosen[
                (chosen.dataset == data) & (chosen.model == model) & (chosen.layer == layer)
            ]
            row: dict[str, Any] = {
                "dataset": data,
                "model": model,
                "label": label(study, model),
                "layer": layer,
                "trials": int((ours.layer == layer).sum()),
                "planned": planned,
            }
            for measure in measures:
                row[f"{measure}_mean"], row[f"{measure}_sd"] = mean_sd(averages[measure])
            for measure in theirs_of:
                numbers = theirs[(theirs.layer == layer) & (theirs.measure == measure)]
                for key, value in _published(numbers).items():
                    row[f"published_{measure}_{key}"] = value
            rows.append(row)
    columns = ["dataset", "model", "label", "layer", "trials", "planned"]
    columns += [f"{m}_{x}" for m in measures for x in ("mean", "sd")]
    columns += [f"published_{m}_{x}" for m in theirs_of for x in PUBLISHED]
    return pd.DataFrame(rows, columns=columns)


def _published(numbers: pd.DataFrame) -> dict[str, Any]:
    """Select the published number to print for one measure of one row."""
    if numbers.empty:
        return dict(zip(PUBLISHED, ("", math.nan, math.nan, math.nan, "", ""), strict=True))
    first = min(numbers.to_dict("records"), key=lambda row: KINDS.index(row["kind"]))
    return {
        "kind": first["kind"],
        "mean": first["published_mean"],
        "sd": first["published_sd"],
        "difference": first["difference"],
        "verdict": first["verdict"],
        "footnotes": " ".join(letter for letter in numbers.footnote if letter),
    }


# ----------------------------------------------------------------------------------- renderers

LEGEND = (
    "Matches and coverage are fractions, 0 to 1; the total of a "
    "match fraction is all filters of the layer, including dead ones. Dead filters are a number. "
    "Paper: the published number, then our number minus it. If the paper gives mean and sd over "
    "trials, yes or no says whether our number is within two of its sd. ≤ and ≥ are bounds over "
    "several architectures; a bound is held or not held as a whole (see the notes)."
)


def legend(study: Study) -> str:
    """Write what the numbers of a table mean."""
    trials = "trials"
    if study.best:
        trials = (
            f"the trials of each architecture with the highest AUPR, at most {study.best} of the "
            "finished ones"
        )
    false = "False match: any match minus the match of the classes' own motifs. "
    used = any(row.measure == "match_false" for row in study.expected)
    return f"Mean ± population sd over {trials}. {false if used else ''}{LEGEND}"


class Shown(NamedTuple):
    """A cell of a rendered table; `notes` has letters of footnotes, `style` CSS classes."""

    text: str
    remark: str = ""
    notes: str = ""
    style: str = ""


def _shown(part: pd.DataFrame, study: Study) -> tuple[list[str], list[list[Shown]]]:
    """Make header and cells of one data set's table: three decimals, text not escaped."""
    truth = f"{truth_word(study, part.dataset.iloc[0]).capitalize()} match"
    names = dict(
        auroc="AUROC", aupr="AUPR", match_any="Any match", match_truth=truth,
        match_false="False match", match_null="Null match",
        dead="Dead filters", coverage="Coverage",
    )  # fmt: skip
    kinds = {m: part.get(f"published_{m}_kind", pd.Series(dtype=object)) for m in COMPARED}
    paper = [m for m, kind in kinds.items() if (kind != "").any()]
    header = ["Architecture", "Layer", "Trials"]
    measures = [m for m in MEASURES if m != "match_false" or m in paper]
    for measure in measures:
        header += [names[measure], f"{names[measure]}, paper"][: 1 + (measure in paper)]
    rows = []
    for row in part.to_dict("records"):
        complete = row["trials"] == row["planned"]
        trials = f"{row['trials']}" if complete else f"{row['trials']} of {row['planned']}"
        cells = [Shown(row["label"]), Shown(row["layer"])]
        cells.append(Shown(trials, style="" if complete else "partial"))
        for measure in measures:
            # A model's score is printed once, in the row of its first layer.
            repeated = measure in OF_THE_MODEL and row["layer"] != "conv1"
            mean, sd = row[f"{measure}_mean"], row[f"{measure}_sd"]
            digits = 1 if measure == "dead" else 3
            cells.append(Shown("" if repeated else plus_minus(mean, sd, digits)))
            if measure in paper:
                cells.append(_paper({key: row[f"published_{measure}_{key}"] for key in PUBLISHED}))
        rows.append(cells)
    return header, rows


def _paper(number: Mapping[str, Any]) -> Shown:
    """Show a published number, ours minus it, and the verdict unless results are missing."""
    verdict = "" if number["verdict"].endswith(SO_FAR) else number["verdict"]
    # The difference of a bound belongs to its group, so the footnote has it.
    exact = number["kind"] in ("exact", "value") and not math.isnan(number["difference"])
    remarks = [signed(number["difference"])] * exact + [verdict] * bool(verdict)
    style = {"yes": " good", "held": " good", "no": " bad", "not held": " bad"}.get(verdict, "")
    text = published(number["kind"], number["mean"], number["sd"])
    return Shown(text, ", ".join(remarks), number["footnotes"], f"paper{style}" if text else "")


def _parts(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(name, table[table.dataset == name]) for name in dict.fromkeys(table.dataset)]


def to_markdown(table: pd.DataFrame, notes: Mapping[str, str], study: Study) -> str:
    """Render the table as GitHub-flavoured Markdown, a section for each data set.

    `table` is as from `table1`, `notes` as from `comparison.footnotes`.
    """
    out = []
    for dataset, part in _parts(table):
        header, rows = _shown(part, study)
        out += [f"## Data set {_md(dataset)}", "", "| " + " | ".join(map(_md, header)) + " |"]
        out.append("|" + " --- |" * 2 + " ---: |" * (len(header) - 2))
        for row in rows:
            cells = (
                _md(cell.text)
                + (f" <sup>{cell.notes}</sup>" if cell.notes else "")
                + (f" ({_md(cell.remark)})" if cell.remark else "")
                for cell in row
            )
            out.append("| " + " | ".join(cells) + " |")
        out.append("")
    out += [legend(study), ""]
    for letter, text in notes.items():
        out += [f"<sup>{letter}</sup> {_md(text)}", ""]
    return "\n".join(out)


def _md(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|&])", r"\\\1", " ".join(text.split()))


def to_html(table: pd.DataFrame, notes: Mapping[str, str], study: Study) -> str:
    """Render the table as an HTML fragment: a ``table`` for each data set, then legend and notes.

    The CSS classes are ``paper``, ``good``, ``bad`` and ``partial``.
    """
    out = []
    for dataset, part in _parts(table):
        header, rows = _shown(part, study)
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in header)
        out.append(
            f'<div class="wide"><table class="numbers"><caption>Data set {html.escape(dataset)}'
            f"</caption><thead><tr>{head}</tr></thead><tbody>"
        )
        for first, *rest in rows:
            cells = "".join(map(_td, rest))
            out.append(f'<tr><th scope="row">{html.escape(first.text)}</th>{cells}</tr>')
        out.append("</tbody></table></div>")
    out.append(f'<p class="legend">{html.escape(legend(study))}</p>')
    for letter, text in notes.items():
        out.append(f'<p class="footnote"><sup>{letter}</sup> {html.escape(text)}</p>')
    return "\n".join(out)


def _td(cell: Shown) -> str:
    style = f' class="{cell.style}"' if cell.style else ""
    notes = f"<sup>{html.escape(cell.notes)}</sup>" if cell.notes else ""
    remark = f" <small>{html.escape(cell.remark)}</small>" if cell.remark else ""
    text = html.escape(cell.text)
    if not cell.style.startswith("paper"):  # narrower with the sd on its own line
        text = re.sub(r" (± [\d.]+)$", r" <small>\1</small>", text)
    return f"<td{style}>{text}{notes}{remark}</td>"
