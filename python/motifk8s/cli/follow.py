"""Follow a workflow to its end: with a bar in a terminal, otherwise one line per change."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

from motifk8s.cli.terminal import SECONDS_BETWEEN_LINES, new_bars
from motifk8s.cluster.client import Cluster, GoneError, NoAnswerError
from motifk8s.cluster.workflows import STARTING, CellNode, Workflow
from motifk8s.errors import IncompleteError, Interrupted, Problem
from motifk8s.study.study import Study

SECONDS = 5.0  # between two requests; Argo updates a workflow every 10 s
PATIENCE = 600.0  # seconds without an answer from the cluster, then following fails


class Lines:
    """Prints the progress of a workflow with `cells` cells, each line once.

    Without a terminal, lines of counts are at least `between` seconds apart.
    """

    def __init__(self, cells: int, between: float = SECONDS_BETWEEN_LINES):
        self.bar = new_bars()
        self.console = self.bar.console
        self.between = between
        self.task = self.bar.add_task("cells", total=cells, info="")
        self.counts: dict[str, int] = {}
        self.counts_at = -between
        self.printed: set[str] = set()

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def show(self, counts: dict[str, int], last: bool = False) -> None:
        """Show the number of cells by state: in the bar, or as a line if it has changed."""
        text = ", ".join(f"{n} {state}" for state, n in counts.items() if n or state == "done")
        self.bar.update(self.task, completed=counts["done"], info=text)
        now = time.monotonic()
        due = last or now - self.counts_at >= self.between
        if self.bar.disable and due and counts != self.counts:
            self.counts, self.counts_at = counts, now
            self.console.print(text, soft_wrap=True)

    def say(self, text: str, style: str = "") -> None:
        """Print a line, unless it was printed before."""
        if text not in self.printed:
            self.printed.add(text)
            self.console.print(text, style=style, soft_wrap=True)


def follow(
    cluster: Cluster,
    name: str,
    study: Study,
    lines: Lines,
    sleep: Callable[[float], Any] = time.sleep,
) -> None:
    """Wait for the end of a workflow, and print its progress.

    Raises
    ------
    IncompleteError
        It ended and wrote the tables, but cells are missing.
    Problem
        It failed, was stopped or deleted, or the cluster has not answered for 10 minutes.
    Interrupted
        Ctrl-C or SIGTERM; the workflow continues.
    """
    try:
        with lines:
            workflow = _watch(cluster, name, study, lines, sleep)
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped waiting; workflow {name} continues: motifk8s status shows its state, "
            "motifk8s cancel stops it"
        ) from None
    _check_success(workflow)


def _watch(
    cluster: Cluster, name: str, study: Study, lines: Lines, sleep: Callable[[float], Any]
) -> Workflow:
    """Print the progress of a workflow until it ends; return it."""
    answered = time.monotonic()
    while True:
        try:
            workflow = Workflow(cluster.get(name))
            answered = time.monotonic()
            _show(workflow, study, lines)
            if not workflow.active:
                return workflow
        except GoneError as error:
            raise Problem(
                f"{error}; a user or the chart's ttlStrategy deleted it: motifk8s status shows the "
                "state of the study"
            ) from None
        except Problem as error:
            lost = time.monotonic() - answered >= PATIENCE
            if lost or not isinstance(error, NoAnswerError):
                raise Problem(f"{error}; workflow {name} continues") from error
            lines.say(f"{error}; trying again", "yellow")
        sleep(SECONDS)


def _show(workflow: Workflow, study: Study, lines: Lines) -> None:
    cells = workflow.cells(study)
    failed = [(cell, node.reason) for cell, node in cells.items() if node.state == "failed"]
    for what, reason in [*failed, *workflow.failures()]:
        lines.say(f"{what}  failed: {reason}", "red")
    counts = count(study, workflow, cells)
    if not counts["running"] and workflow.active:
        for reason in sorted({n.reason for n in cells.values() if n.state == "waiting"}):
            if not reason.startswith(STARTING):
                lines.say(f"waiting {reason}" if reason[:4] == "for " else f"waiting: {reason}")
    lines.show(counts, last=not workflow.active)


def count(study: Study, workflow: Workflow, cells: dict[str, CellNode]) -> dict[str, int]:
    """Count the cells of a study by state; cells that the plan did not list were done before."""
    counts = Counter(node.state for node in cells.values())
    counts["done" if workflow.planned else "missing"] += len(study.cells()) - len(cells)
    counts["missing"] += counts.pop("stopped", 0)
    return {state: counts[state] for state in ("done", "running", "waiting", "failed", "missing")}


def _check_success(workflow: Workflow) -> None:
    """Raise unless the workflow succeeded."""
    if workflow.phase == "Succeeded":
        return
    if workflow.incomplete:
        raise IncompleteError(f"{workflow.incomplete}; submit again to run only these")
    why = "; ".join(f"{step}: {reason}" for step, reason in workflow.failures())
    if workflow.stopped:
        why = "it was stopped; run the same submit command to resume from the checkpoints"
    raise Problem(f"workflow {workflow.name} {workflow.phase.lower()}: {why or workflow.message}")
