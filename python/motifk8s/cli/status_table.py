"""Output of `motifk8s status`: a table of counts, then running, waiting and failed cells."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from motifk8s.cli.terminal import counts_table, new_console, reasons
from motifk8s.cluster.status import STATES, CellStatus, Status
from motifk8s.cluster.workflows import Workflow
from motifk8s.errors import last_line

ALWAYS = ("done", "running", "waiting", "failed", "missing")
LOG_LINES = 5  # printed of the log of a failed cell
MOST = 50  # running or failed cells that are printed; the JSON lists all


def print_status(status: Status, now: datetime | None = None) -> None:
    """Print the state of a study."""
    console = new_console()
    cells = [cell[:3] for cell in status.cells]
    console.print(counts_table(f"{status.study} in {status.store}", cells, STATES, ALWAYS))
    for text, style in _lines(status, now):
        console.print(text, style=style, soft_wrap=True)


def _lines(status: Status, now: datetime | None) -> Iterator[tuple[str, str]]:
    """Yield the lines below the table, each with its style."""
    for workflow in status.workflows:
        yield _workflow(workflow, now), ""
        for step, reason in workflow.failures():
            yield f"  {step} failed: {reason}", "red"

    running = [cell for cell in status.cells if cell.state == "running"]
    for cell in running[:MOST]:
        yield f"running: {cell.cell}: {progress(cell)}", ""
    if len(running) > MOST:
        yield f"running: {len(running) - MOST} more; --json lists all", ""

    others = [cell for cell in status.cells if cell.state not in ("done", "running", "failed")]
    others.sort(key=lambda cell: STATES.index(cell.state))
    for line in reasons([cell[:3] for cell in others]):
        yield line, ""

    failed = [cell for cell in status.cells if cell.state == "failed"]
    for cell in failed[:MOST]:
        yield f"failed: {cell.cell}: {last_line(cell.reason)}", "red"
        for line in cell.log[-LOG_LINES:]:
            yield f"  {line}", ""
    if len(failed) > MOST:
        yield f"failed: {len(failed) - MOST} more; --json lists all", ""

    for remark in status.remarks:
        yield f"note: {remark}", "yellow"


def _workflow(workflow: Workflow, now: datetime | None) -> str:
    begun = f", begun {ago(workflow.created, now)} ago" if workflow.created else ""
    ended = f", ended {ago(workflow.finished, now)} ago" if workflow.finished else ""
    why = f": {workflow.message}" if workflow.message and not workflow.failures() else ""
    return f"workflow {workflow.name}: {workflow.phase}{begun}{ended}{why}"


def progress(cell: CellStatus) -> str:
    """Return epoch, time left, attempt and node of a running cell, as text."""
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


def ago(time: str, now: datetime | None = None) -> str:
    """Format the time since an ISO time."""
    return duration(((now or datetime.now(UTC)) - datetime.fromisoformat(time)).total_seconds())


def duration(seconds: float) -> str:
    """Format a duration, such as 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
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
