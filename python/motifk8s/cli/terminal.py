"""Output of the commands: progress bars, tables, and the paths of the results."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import rich.console
from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from motifk8s.cells import events
from motifk8s.cli.streams import plain, raw
from motifk8s.errors import last_line

if TYPE_CHECKING:
    import pandas as pd

    from motifk8s.cells.estimate import Cost, Estimate
    from motifk8s.cells.plan import State
    from motifk8s.report.aggregate import Aggregate
    from motifk8s.report.compare import Comparison
    from motifk8s.store.base import Store
    from motifk8s.study.study import Study

SECONDS_BETWEEN_LINES = 30.0  # per cell, if stderr is not a terminal
Cells = Sequence[tuple[str, str, str]]  # id, state, reason
STATES = ("done", "started", "missing", "outdated", "damaged", "failed")


class Console(rich.console.Console):
    """A console that writes escape sequences of rich, but none that are in a text."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(plain(text), **options)

    # This cleans other objects, such as the columns of bars.
    def render(self, *args: Any, **options: Any) -> Iterator[Segment]:
        for segment in super().render(*args, **options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


def new_console(stderr: bool = False) -> Console:
    """Return a console; it has 100 columns if stdout is not a terminal."""
    file = raw(sys.stderr if stderr else sys.stdout)
    console = Console(file=file, highlight=False, emoji=False, markup=False)
    if not stderr and not console.is_terminal:
        console.width = 100
    return console


def new_table(*headers: str, numbers: Sequence[str] = (), **options: Any) -> Table:
    """Return a table whose only rule is below its headers; `numbers` are aligned to the right."""
    table = Table(*headers, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, **options)
    for header in numbers:
        table.add_column(header, justify="right")
    return table


def _add_rows(table: Table, rows: Iterable[Sequence[str]]) -> None:
    """Add rows that begin with a data set, which only its first row shows."""
    above = ""
    for dataset, *texts in rows:
        if above and dataset != above:
            table.add_section()
        table.add_row("" if dataset == above else dataset, *texts)
        above = dataset


def new_bars() -> Bars:
    """Return bars on stderr, each with a field `info`; disabled if stderr is not a terminal."""
    console = new_console(stderr=True)
    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[info]}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class Progress:
    """A bar for the study and one for each running cell; without a terminal, plain lines."""

    def __init__(self) -> None:
        self.bars = new_bars()
        self.console = self.bars.console
        self.tasks: dict[str, Any] = {}
        self.printed_at: dict[str, float] = {}  # monotonic time of the last line of a cell
        self.all: Any = None

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def __call__(self, event: events.Event) -> None:
        """Show an event of a run."""
        match event:
            case events.Begun(cells) if cells:
                self.all = self.bars.add_task("cells", total=cells, info="")
            case events.Started(cell):
                self.tasks[cell] = self.bars.add_task(cell, total=None, info="starting")
                self.printed_at[cell] = time.monotonic()
            case events.Epoch(cell, number, most, row):
                self._epoch(cell, number, most, row)
            case events.Note(cell, text):
                self._say(cell, text, style="yellow")
            case events.Finished(cell, metrics):
                self._end(cell, _summary(metrics))
            case events.Failed(name, reason):
                self._end(name, f"failed: {last_line(reason)}", style="red")

    def _epoch(self, cell: str, epoch: int, epochs: int, row: dict[str, float]) -> None:
        info = f"loss {row['val_loss']:.4f} AUROC {row['val_auroc']:.3f}"
        self.bars.update(self.tasks[cell], completed=epoch, total=epochs, info=info)
        now = time.monotonic()
        if self.bars.disable and now - self.printed_at[cell] >= SECONDS_BETWEEN_LINES:
            self.printed_at[cell] = now
            self._say(cell, f"epoch {epoch} of at most {epochs}, validation {info}")

    def _end(self, cell: str, text: str, style: str = "") -> None:
        self._say(cell, text, style)
        if cell in self.tasks:
            self.bars.remove_task(self.tasks.pop(cell))
            if self.all is not None:
                self.bars.advance(self.all)

    def _say(self, cell: str, text: str, style: str = "") -> None:
        self.console.print(f"{cell}  {text}", style=style, soft_wrap=True)


def _summary(metrics: dict[str, Any]) -> str:
    """Summarize a finished cell in one line."""
    layers = ", ".join(
        f"{name} {layer['match_truth']:.3f}" for name, layer in metrics["layers"].items()
    )
    return (
        f"AUROC {metrics['auroc']:.3f}, truth match {layers}, best epoch "
        f"{metrics['best_epoch']} of {metrics['epochs']}, {metrics['seconds']:.0f} s"
    )


def print_plan(study: Study, store: Store, states: Sequence[State]) -> None:
    """Print how many trials of each model are done or missing, and why."""
    console = new_console()
    cells = [(s.cell.id, s.state, s.reason) for s in states]
    title = f"{study.name} in {store.url}"
    console.print(counts_table(title, cells, STATES, always=("done", "missing")))
    for line in reasons(cells):
        console.print(line, soft_wrap=True)


def counts_table(title: str, cells: Cells, states: Sequence[str], always: Collection[str]) -> Table:
    """Return a table that counts the cells of each data set and model by state.

    `states` are all states in the order of the columns. A state without cells has a column only if
    it is in `always`.
    """
    totals = Counter(state for _, state, _ in cells)
    shown = [state for state in states if totals[state] or state in always]
    table = new_table("data set", "model", numbers=shown, title=title)
    groups: dict[str, Counter[str]] = {}
    for cell, state, _ in cells:
        groups.setdefault(cell.rpartition("/")[0], Counter())[state] += 1
    _add_rows(
        table,
        (
            [*name.split("/"), *(str(counts[state] or "") for state in shown)]
            for name, counts in groups.items()
        ),
    )
    table.add_section()
    table.add_row("all", "", *(str(totals[state]) for state in shown))
    return table


def reasons(cells: Cells) -> Iterator[str]:
    """Yield one line per state and reason, with the first cell and the number of others."""
    groups: dict[tuple[str, str], list[str]] = {}
    for cell, state, reason in cells:
        if reason:
            groups.setdefault((state, last_line(reason)), []).append(cell)
    for (state, reason), (first, *others) in groups.items():
        more = f" and {len(others)} more" if others else ""
        yield f"{state}: {first}{more}: {reason}"


def print_dataset(name: str, place: str, facts: dict[str, Any]) -> None:
    """Print the size of a data set, its positives by class, and its path."""
    console = new_console()
    counts = facts["sequences"]
    console.print(
        f"{name}: {counts['train']} training, {counts['valid']} validation, {counts['test']} test "
        f"sequences of {facts['length']} bp, {facts['sequences_with_n']} with N",
        soft_wrap=True,
    )
    table = new_table("positives", numbers=("training", "validation", "test"))
    for label, parts in facts["positives"].items():
        table.add_row(label, *(str(parts[part]) for part in ("train", "valid", "test")))
    console.print(table)
    console.print(place, soft_wrap=True)


def print_layers(layers: dict[str, Any], out: Path) -> None:
    """Print which motifs the filters of each layer match."""
    console = new_console()
    for name, layer in layers.items():
        console.print(
            f"{name}: {layer['n_filters']} filters, {layer['match_any']:.3f} match a known motif, "
            f"{layer['dead']} dead"
        )
        for motif, label in layer["labels"].items():
            console.print(f"  {motif}  {label['target']}  E {label['evalue']:.2g}")
    console.print(f"motifs, hits and logos: {out}", soft_wrap=True)


def print_results(study: Study, made: Aggregate) -> None:
    """Print the results of the finished cells, then the paths of table and report."""
    console = new_console()
    finished = made.table[made.table.trials > 0]
    for dataset in dict.fromkeys(finished.dataset):
        rows = finished[finished.dataset == dataset].to_dict("records")
        console.print(_results(study, dataset, rows), "")
    for path in ("tables/results.csv", "report.html"):
        console.print(made.outputs[path], soft_wrap=True)


def _results(study: Study, dataset: str, rows: list[Any]) -> Table:
    """Return one data set's table; for the paper's architectures it fits 80 columns."""
    from motifk8s.report.words import plus_minus, published, truth_word

    title = f"{study.name}, {dataset}: filters that match a motif, share of all, n trials"
    if study.best:
        title += f", mean of the best {study.best} by AUPR"
    table = new_table(title=title, padding=(0, 1, 0, 0))
    deeper = any(row["layer"] != "conv1" for row in rows)
    partial = any(row["trials"] != row["planned"] for row in rows)
    paper = any(row["published_match_truth_kind"] for row in rows)
    word = {"ground-truth": "truth"}.get(word := truth_word(study, dataset), word)
    table.add_column("", no_wrap=True)
    if deeper:
        table.add_column("layer")
    for header in ("n", "AUROC", "any", word):
        table.add_column(header, justify="right", no_wrap=True)
    if paper:
        table.add_column(f"{word}, paper")
    for row in rows:
        first = row["layer"] == "conv1"
        n = f"{row['trials']}/{row['planned']}" if partial else str(row["trials"])
        number = [row[f"published_match_truth_{key}"] for key in ("kind", "mean", "sd")]
        # Scores of the model are printed only with its first layer.
        model = [row["label"], n, plus_minus(row["auroc_mean"])] if first else [""] * 3
        table.add_row(
            model[0],
            *[row["layer"]] * deeper,
            *model[1:],
            plus_minus(row["match_any_mean"], row["match_any_sd"]),
            plus_minus(row["match_truth_mean"], row["match_truth_sd"]),
            *[published(*number)] * paper,
        )
    return table


def print_comparison(names: Sequence[str], compared: Comparison) -> None:
    """Print the fractions and the motifs of two studies side by side; `names` has their names."""
    console = new_console()
    console.print(f"a: {names[0]}\nb: {names[1]}\n", soft_wrap=True)
    console.print(_compared_fractions(compared.fractions), "")
    tests = sorted({*compared.fractions.test} - {""})
    if tests:
        console.print(f"p: {' and '.join(tests)} t-test, after Holm's correction\n")
    else:
        console.print("no tests: a network needs three trials in both studies\n")
    motifs = compared.motifs
    counts = Counter(motifs.found_in)
    console.print(
        f"{counts['both']} motifs of both, {counts['a']} of a alone, {counts['b']} of b alone"
    )
    stable = motifs[(motifs[["trials_a", "trials_b"]] > 1).any(axis=1)]
    shown = motifs if stable.empty else stable
    if len(shown) < len(motifs):
        console.print(f"not shown: {len(motifs) - len(shown)} motifs of one trial alone")
    if len(shown):
        console.print("", _compared_motifs(shown))


def _compared_fractions(fractions: pd.DataFrame) -> Table:
    from motifk8s.report.words import plus_minus, signed

    words = {"auroc": "AUROC", "match_any": "any match", "match_truth": "match of a class"}
    table = new_table("", "layer", "", numbers=["a", "b", "b − a", "p"])
    several = len({*fractions.dataset_a, *fractions.dataset_b} - {""}) > 1
    above = None
    for row in fractions.to_dict("records"):
        names = [
            "/".join([row[f"dataset_{side}"]] * several + [row[f"model_{side}"]])
            for side in "ab"
            if row[f"model_{side}"]
        ]
        model = " and ".join(dict.fromkeys(names))
        place = model, row["layer"]
        if above and place[0] != above[0]:
            table.add_section()
        known = row["difference"] == row["difference"]
        table.add_row(
            model if not above or model != above[0] else "",
            row["layer"] if place != above else "",
            words[row["measure"]],
            *(plus_minus(row[f"mean_{side}"], row[f"sd_{side}"]) for side in "ab"),
            signed(row["difference"]) if known else "",
            f"{row['p_holm']:.2g}" if row["p_holm"] == row["p_holm"] else "",
        )
        above = place
    return table


def _compared_motifs(motifs: pd.DataFrame) -> Table:
    table = new_table("motif", "consensus", numbers=["trials a", "trials b"])
    above = ""
    for row in motifs.to_dict("records"):
        if above and row["found_in"] != above:
            table.add_section()
        above = row["found_in"]
        side = "b" if above == "b" else "a"
        trials = [
            f"{row[f'trials_{s}']} of {row[f'of_trials_{s}']}" if above in ("both", s) else ""
            for s in "ab"
        ]
        table.add_row(row[f"factor_{side}"] or "no match", row[f"consensus_{side}"], *trials)
    return table


def print_estimate(
    expected: Estimate,
    price: float | None = None,
    cap: float | None = None,
    attempts: int | None = None,
) -> None:
    """Print the GPU hours of the missing cells by data set and model, the sum, and their basis.

    `price` is that of a GPU hour, in any currency; `cap` is in GPU hours; `attempts` are those of a
    cell. Without any measured time there is no estimate: then only the upper bound is printed, and
    only if there is a cap.
    """
    console = new_console()
    bound = expected.machine is None and expected.costs
    if expected.costs and not bound:
        console.print(_costs(expected), "")
    kind = "upper bound" if bound else "left"
    gpus = "one GPU" if expected.gpus == 1 else f"{expected.gpus} GPUs"
    total = f"{kind}: {expected.hours:.2f} GPU hours, {gpus} a cell"
    if price is not None and not bound:
        total += f"; {expected.hours * price:,.2f} at {price:g} an hour"
    if cap is not None:
        total += f"; the cap is {cap:g}"
    if cap is not None or not bound:
        console.print(total, soft_wrap=True)
        if attempts is not None and attempts > 1 and expected.costs:
            more = f"{expected.retry_hours(attempts):.2f} GPU hours"
            console.print(
                f"retries are not counted: up to {attempts} attempts a cell can add {more}, if "
                "each resumes from its checkpoint",
                soft_wrap=True,
            )
    console.print(expected.basis, soft_wrap=True)


def _costs(expected: Estimate) -> Table:
    """Return the table of the missing cells, with one row per data set and model."""
    table = new_table("data set", "model", numbers=("cells", "epochs", "s/epoch", "GPU hours"))
    table.add_column("basis")
    groups: dict[tuple[str, str], list[Cost]] = {}
    for cost in expected.costs:
        groups.setdefault((cost.cell.dataset, cost.cell.model), []).append(cost)
    rows = []
    for (dataset, model), group in groups.items():
        at_most = "≤ " if any(cost.at_most for cost in group) else ""
        epochs = f"{at_most}{sum(cost.epochs for cost in group):.0f}"
        hours = f"{expected.gpus * sum(cost.total for cost in group) / 3600:.2f}"
        seconds = f"{group[0].seconds:.3g}"
        rows.append([dataset, model, str(len(group)), epochs, seconds, hours, group[0].basis])
    _add_rows(table, rows)
    return table
