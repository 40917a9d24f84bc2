"""What a person at a terminal sees: progress bars, tables, and where the results are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

if TYPE_CHECKING:
    from motifk8s.grid import State
    from motifk8s.store import Store
    from motifk8s.study import Cell, Study


class Progress:
    """A bar for the study and one for each running cell; plain lines where there is no terminal."""

    def __init__(self, study: Study, only: Cell | None = None):
        self.total = 1 if only else len(study.cells())
        self.console = Console(stderr=True, highlight=False)
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[info]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.tasks: dict[str, Any] = {}
        self.done = 0

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def started(self, cell: str) -> None:
        """Show a bar for a cell."""
        self.tasks[cell] = self.bars.add_task(cell, total=None, info="starting")

    def epoch(self, cell: str, epoch: int, epochs: int, row: dict[str, float]) -> None:
        """Move a cell's bar."""
        info = f"val loss {row['val_loss']:.4f}  AUROC {row['val_auroc']:.3f}"
        if cell in self.tasks:
            self.bars.update(self.tasks[cell], completed=epoch, total=epochs, info=info)

    def finished(self, cell: str, metrics: dict[str, Any]) -> None:
        """Say in one line what a cell came to."""
        layers = ", ".join(
            f"{name} {layer['match_truth']:.3f}" for name, layer in metrics["layers"].items()
        )
        self._end(
            cell,
            f"AUROC {metrics['auroc']:.3f}, best epoch {metrics['best_epoch']} of "
            f"{metrics['epochs']}, ground-truth fraction {layers}, {metrics['seconds']:.0f} s",
        )

    def failed(self, cell: str, reason: str) -> None:
        """Say in one line why a cell, or a data set, failed."""
        self._end(cell, f"failed: {reason.strip().splitlines()[-1]}", style="red")

    def _end(self, cell: str, text: str, style: str = "") -> None:
        self.done += 1
        self.console.print(f"{cell}  {text}", style=style, markup=False, soft_wrap=True)
        if cell in self.tasks:
            self.bars.remove_task(self.tasks.pop(cell))


def print_plan(study: Study, store: Store, states: list[State]) -> None:
    """Print the grid: for each model how many of its trials stand where."""
    console = Console(highlight=False)
    table = Table(title=f"{study.name} in {store.url}", title_justify="left")
    kinds = ["done", "started", "missing", "outdated", "damaged", "failed"]
    seen = Counter(s.state for s in states)
    shown = [k for k in kinds if seen[k] or k in ("done", "missing")]
    table.add_column("data set")
    table.add_column("model")
    for kind in shown:
        table.add_column(kind, justify="right")
    for pair in dict.fromkeys((s.cell.dataset, s.cell.model) for s in states):
        counts = Counter(s.state for s in states if (s.cell.dataset, s.cell.model) == pair)
        table.add_row(*pair, *(str(counts[k] or "") for k in shown))
    table.add_section()
    table.add_row("all", "", *(str(seen[k]) for k in shown))
    console.print(table)
    for state in states:
        if state.reason:
            line = state.reason.strip().splitlines()[-1]
            console.print(f"{state.cell.id}: {state.state}: {line}", markup=False, soft_wrap=True)


def print_dataset(name: str, place: str, facts: dict[str, Any]) -> None:
    """Print what a data set holds."""
    console = Console(highlight=False)
    counts = facts["sequences"]
    console.print(
        f"{name}: {counts['train']} training, {counts['valid']} validation, {counts['test']} test "
        f"sequences of {facts['length']} bp, {facts['sequences_with_n']} with N\n{place}",
        soft_wrap=True,
        markup=False,
    )
    table = Table("positives", "training", "validation", "test")
    for label, parts in facts["positives"].items():
        table.add_row(label, *(str(parts[part]) for part in ("train", "valid", "test")))
    console.print(table)


def print_layers(layers: dict[str, Any], out: Path) -> None:
    """Print what the filters of each layer match."""
    console = Console(highlight=False)
    for name, layer in layers.items():
        console.print(
            f"{name}: {layer['n_filters']} filters, {layer['match_any']:.3f} match a known motif, "
            f"{layer['dead']} dead",
            markup=False,
        )
        for motif, label in layer["labels"].items():
            console.print(f"  {motif}  {label['target']}  E {label['evalue']:.2g}", markup=False)
    console.print(f"motifs, hits and logos: {out}", markup=False, soft_wrap=True)


def print_results(
    study: Study, store: Store, states: list[State], outputs: dict[str, str], table: str = ""
) -> None:
    """Print the study's table and where its report is."""
    console = Console(highlight=False)
    if table:
        console.print(table, markup=False, soft_wrap=True)
    for path in ("tables/results.csv", "report.html"):
        console.print(f"{store.url}/{study.name}/{path}", markup=False, soft_wrap=True)
