"""Following a workflow to its end: a bar at a terminal, else a line when something has changed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

from motifk8s.cli.terminal import new_bars
from motifk8s.cluster.client import Cluster, GoneError, NoAnswerError
from motifk8s.cluster.workflows import STARTING, CellNode, Workflow
from motifk8s.errors import IncompleteError, Interrupted, Problem
from motifk8s.study.study import Study

SECONDS = 5.0  # between looks; Argo itself looks every 10
SECONDS_BETWEEN_LINES = 30.0
PATIENCE = 600.0  # seconds without an answer from the cluster


class Lines:
    """Says how a workflow goes, each thing once.

    Parameters
    ----------
    cells : int
        Of the study.
    between : float
        Seconds between two lines of counts, where there is no terminal.
    """

    def __init__(self, cells: int, between: float = SECONDS_BETWEEN_LINES):
        self.bar = new_bars()
        self.console = self.bar.console
        self.between = between
        self.task = self.bar.add_task("cells", total=cells, info="")
        self.counts: dict[str, int] = {}
        self.told = -between
        self.said: set[str] = set()

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def show(self, counts: dict[str, int], last: bool = False) -> None:
        """Show cells by state."""
        text = ", ".join(f"{n} {state}" for state, n in counts.items() if n or state == "done")
        self.bar.update(self.task, completed=counts["done"], info=text)
        now = time.monotonic()
        soon = now - self.told < self.between and not last
        if not self.bar.disable or counts == self.counts or soon:
            return
        self.counts, self.told = counts, now
        self.say(text, again=True)

    def say(self, text: str, style: str = "", again: bool = False) -> None:
        """Say something; a second time only if `again`."""
        if again or text not in self.said:
            self.said.add(text)
            self.console.print(text, style=style, soft_wrap=True)


def follow(
    cluster: Cluster,
    name: str,
    study: Study,
    lines: Lines,
    sleep: Callable[[float], Any] = time.sleep,
) -> None:
    """Wait for the end of a workflow, and say how it goes.

    Raises
    ------
    IncompleteError
        If it ended with tables, but cells are missing.
    Problem
        If it failed or was stopped, or the cluster has not answered for ten minutes.
    Interrupted
        After Ctrl-C or SIGTERM; the workflow goes on.
    """
    answered = time.monotonic()
    try:
        with lines:
            while True:
                try:
                    workflow = Workflow(cluster.get(name))
                    answered = time.monotonic()
                    _tell(workflow, study, lines)
                    if not workflow.active:
                        break
                except GoneError as error:
                    raise Problem(
                        f"{error}; someone or its time to live deleted it: motifk8s status tells "
                        "how the study stands"
                    ) from None
                except Problem as error:
                    lost = time.monotonic() - answered >= PATIENCE
                    if lost or not isinstance(error, NoAnswerError):
                        raise Problem(f"{error}; workflow {name} goes on") from error
                    lines.say(f"{error}; trying again", "yellow")
                sleep(SECONDS)
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped waiting; workflow {name} goes on: motifk8s status tells how, motifk8s cancel "
            "stops it"
        ) from None
    _end(workflow)


def _tell(workflow: Workflow, study: Study, lines: Lines) -> None:
    cells = workflow.cells(study)
    for cell, node in cells.items():
        if node.state == "failed":
            lines.say(f"{cell}  failed: {node.reason}", "red")
    for step, reason in workflow.failures():
        lines.say(f"{step}  failed: {reason}", "red")
    counts = count(study, workflow, cells)
    if not counts["running"] and workflow.active:
        for why in sorted({n.reason for n in cells.values() if n.state == "waiting"}):
            if why.startswith(STARTING):
                continue
            lines.say(f"waiting {why}" if why.startswith("for ") else f"waiting: {why}")
    lines.show(counts, last=not workflow.active)


def count(study: Study, workflow: Workflow, cells: dict[str, CellNode]) -> dict[str, int]:
    """Cells of the study by state; what the plan did not list was done before."""
    seen = Counter(node.state for node in cells.values())
    absent = len(study.cells()) - len(cells)
    seen["done" if workflow.planned else "missing"] += absent
    seen["missing"] += seen.pop("stopped", 0)
    return {state: seen[state] for state in ("done", "running", "waiting", "failed", "missing")}


def _end(workflow: Workflow) -> None:
    """Raise unless it succeeded."""
    if workflow.phase == "Succeeded":
        return
    if workflow.incomplete:
        raise IncompleteError(f"{workflow.incomplete}; the same submit does only what is missing")
    why = "; ".join(f"{step}: {reason}" for step, reason in workflow.failures())
    if workflow.stopped:
        why = "it was stopped; the same submit goes on from the checkpoints"
    raise Problem(f"workflow {workflow.name} {workflow.phase.lower()}: {why or workflow.message}")
