"""What `motifk8s status` prints: a table of counts, then what runs, waits and failed, and why."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from rich import box
from rich.table import Table

from motifk8s.cli.terminal import new_console
from motifk8s.cluster.status import STATES, CellStatus, Status
from motifk8s.errors import last_line

ALWAYS = ("done", "running", "waiting", "failed", "missing")
LINES = 5  # of the log of a failed cell
MOST = 50  # running or failed cells, one by one; the JSON has all


def print_status(status: Status, now: datetime | None = None) -> None:
    """Print how a study stands."""
    console = new_console()
    console.print(_table(status))

    def say(text: str, style: str = "") -> None:
        console.print(text, style=style, soft_wrap=True)

    for workflow in status.workflows:
        begun = f", begun {ago(workflow.created, now)} ago" if workflow.created else ""
        ended = f", ended {ago(workflow.finished, now)} ago" if workflow.finished else ""
        why = f": {workflow.message}" if workflow.message and not workflow.failures() else ""
        say(f"workflow {workflow.name}: {workflow.phase}{begun}{ended}{why}")
        for step, reason in workflow.failures():
            say(f"  {step} failed: {reason}", "red")
    running = [c for c in status.cells if c.state == "running"]
    for cell in running[:MOST]:
        say(f"running: {cell.cell}: {progress(cell)}")
    _more(say, "running", running)
    for (state, reason), cells in _by_reason(status).items():
        say(f"{state}: {_names(cells)}: {reason}")
    failed = [c for c in status.cells if c.state == "failed"]
    for cell in failed[:MOST]:
        say(f"failed: {cell.cell}: {last_line(cell.reason)}", "red")
        for line in cell.log[-LINES:]:
            say(f"  {line}")
    _more(say, "failed", failed)
    for remark in status.remarks:
        say(f"note: {remark}", "yellow")


def _more(say, state: str, cells: list[CellStatus]) -> None:  # type: ignore[no-untyped-def]
    if len(cells) > MOST:
        say(f"{state}: {len(cells) - MOST} more; --json names all")


def _table(status: Status) -> Table:
    seen = status.counts()
    shown = [state for state in STATES if state in ALWAYS or seen.get(state)]
    table = Table(
        "data set",
        "model",
        title=f"{status.study} in {status.store}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
    )
    for state in shown:
        table.add_column(state, justify="right")
    groups: dict[tuple[str, str], Counter[str]] = {}
    for cell in status.cells:
        dataset, model, _ = cell.cell.split("/")
        groups.setdefault((dataset, model), Counter())[cell.state] += 1
    above = ""
    for (dataset, model), counts in groups.items():
        if above and dataset != above:
            table.add_section()
        name = dataset if dataset != above else ""
        table.add_row(name, model, *(str(counts[state] or "") for state in shown))
        above = dataset
    table.add_section()
    table.add_row("all", "", *(str(seen.get(state, 0)) for state in shown))
    return table


def progress(cell: CellStatus) -> str:
    """How far a running cell is, and where it runs."""
    if cell.epoch is None:
        parts = ["starting"]
    else:
        parts = [f"epoch {cell.epoch} of {cell.epochs}"]
        if cell.seconds_left is not None:  # early stopping may end it sooner
            parts.append(f"at most {duration(cell.seconds_left)} of training left")
    if cell.attempt is not None:
        parts.append(f"attempt {cell.attempt}")
    if cell.node is not None:
        parts.append(f"on {cell.node}")
    return ", ".join(parts)


def _by_reason(status: Status) -> dict[tuple[str, str], list[str]]:
    """Cells that neither run, failed nor are done, by state and reason, where there is one."""
    found: dict[tuple[str, str], list[str]] = {}
    for state in STATES:
        for cell in status.cells:
            if cell.state == state and state not in ("done", "running", "failed") and cell.reason:
                found.setdefault((state, last_line(cell.reason)), []).append(cell.cell)
    return found


def _names(cells: list[str]) -> str:
    return cells[0] if len(cells) == 1 else f"{cells[0]} and {len(cells) - 1} more"


def ago(time: str, now: datetime | None = None) -> str:
    """Time since an ISO time."""
    return duration(((now or datetime.now(UTC)) - datetime.fromisoformat(time)).total_seconds())


def duration(seconds: float) -> str:
    """Such as 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
