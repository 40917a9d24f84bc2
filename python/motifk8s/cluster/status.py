"""How a study stands: what the store says of its cells, and what the cluster says of their pods.

The store knows what is done and how far a training is; the cluster knows what runs, what waits and
why. `gather` asks both, `merge` decides, cell by cell, and needs neither.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any, NamedTuple

from motifk8s.cells import progress
from motifk8s.cells.plan import State, plan
from motifk8s.cluster.client import Cluster
from motifk8s.cluster.workflows import CellNode, Workflow
from motifk8s.errors import last_line
from motifk8s.store.base import Store
from motifk8s.study.study import Study

Json = dict[str, Any]

FORMAT = 1
STATES = (
    "done", "running", "waiting", "failed", "missing", "started", "outdated", "damaged",
)  # fmt: skip
# Progress that is older, and than three epochs too, is of a training that has stopped.
SECONDS_STALE = 300.0


class CellStatus(NamedTuple):
    """Where a cell stands.

    Attributes
    ----------
    cell : str
        Its id.
    state : str
        One of `STATES`; "started": stopped, and a checkpoint exists.
    reason : str
        Why it waits, failed, or is not done.
    epoch, epochs : int, optional
        Epochs trained, and the most there can be.
    seconds_left : float, optional
        Of training, at most.
    attempt : int, optional
        From 1.
    node, workflow : str, optional
        Kubernetes' node, and the workflow.
    log : list of str
        Last lines of the log of a failed cell.
    """

    cell: str
    state: str
    reason: str = ""
    epoch: int | None = None
    epochs: int | None = None
    seconds_left: float | None = None
    attempt: int | None = None
    node: str | None = None
    workflow: str | None = None
    log: tuple[str, ...] = ()


class Status(NamedTuple):
    """How a study stands.

    Attributes
    ----------
    study, store : str
        Name and URL.
    namespace : str, optional
        Where the cluster was asked; None if it could not be.
    cells : list of CellStatus
    workflows : list of Workflow
        Those that run, newest first; if none does, the one that ended last.
    remarks : list of str
        What could not be told, and why.
    """

    study: str
    store: str
    namespace: str | None
    cells: list[CellStatus]
    workflows: list[Workflow]
    remarks: list[str]

    def counts(self) -> dict[str, int]:
        """Cells by state."""
        return dict(Counter(cell.state for cell in self.cells))


def workflows_of(study: Study, argument: str, cluster: Cluster) -> list[Workflow]:
    """All workflows of a study, newest first; the user calls it `argument`."""
    found = [Workflow(data) for data in cluster.list()]
    return [workflow for workflow in found if workflow.is_of(study, argument)]


def gather(
    study: Study,
    store: Store,
    workflows: list[Workflow],
    namespace: str | None,
    remarks: list[str],
    now: datetime | None = None,
) -> Status:
    """Ask the store, and put together what it and the workflows say.

    Parameters
    ----------
    study : Study
    store : Store
    workflows : list of Workflow
        The study's, newest first.
    namespace : str, optional
        Where they were asked for; None if the cluster could not be asked.
    remarks : list of str
        What is known so far of what could not be told.
    now : datetime, optional
        With a time zone.
    """
    now = now or datetime.now(UTC)
    shown = [w for w in workflows if w.active] or workflows[:1]
    nodes: dict[str, tuple[Workflow, CellNode]] = {}
    remarks = list(remarks)
    for workflow in shown:
        for cell, node in workflow.cells(study).items():
            if cell not in nodes or _rank(node) < _rank(nodes[cell][1]):
                nodes[cell] = (workflow, node)
        if workflow.offloaded:
            remarks.append(
                f"Argo keeps the steps of workflow {workflow.name} in its database: set "
                "ARGO_SERVER and ARGO_TOKEN to see what waits, and why"
            )
    folder = f"{study.name}/cells"
    files = set(store.list(folder))
    states = plan(study, store, files)

    def look(state: State) -> CellStatus:
        place = f"{folder}/{state.cell.id}"
        told: Json | None = None
        log: tuple[str, ...] = ()
        if state.state != "done":
            if f"{place}/progress.json" in files:
                told = progress.read(store, place)
            if f"{place}/failed.json" in files:
                log = progress.read_failure(store, place).log
        workflow, node = nodes.get(state.cell.id, (None, None))
        return merge(state, told, log, workflow, node, now)

    cells = store.map(look, states)
    elsewhere = [
        c.cell
        for c, s in zip(cells, states, strict=True)
        if c.state == "done" and s.state in ("missing", "started")
    ]
    if elsewhere:
        remarks.append(
            f"the cluster finished {len(elsewhere)} cells that {store.url} lacks, {elsewhere[0]} "
            "among them: is it the store that the chart was given?"
        )
    return Status(study.name, store.url, namespace, cells, shown, remarks)


def _rank(node: CellNode) -> int:
    """Of several workflows, the one that is furthest with a cell tells where it stands."""
    return ("running", "done", "waiting", "failed", "missing", "stopped").index(node.state)


def merge(
    state: State,
    told: Json | None,
    log: tuple[str, ...],
    workflow: Workflow | None,
    node: CellNode | None,
    now: datetime,
) -> CellStatus:
    """Say where one cell stands.

    Parameters
    ----------
    state : State
        In the store.
    told : dict, optional
        Its progress file.
    log : tuple of str
        Last lines of the log of its last failure.
    workflow, node : Workflow and CellNode, optional
        Where the cluster sees it.
    now : datetime
    """
    cell = CellStatus(state.cell.id, state.state, state.reason)
    if state.state == "done":
        return cell
    if workflow and node:
        cell = cell._replace(attempt=node.attempt, node=node.host, workflow=workflow.name)
    if workflow and node and workflow.active:
        if node.state == "running":
            return _running(cell, told, now, node.attempt)
        if node.state == "waiting":
            return cell._replace(state="waiting", reason=node.reason)
    if told and _is_fresh(told, now) and not _ended_since(node, told):
        return _running(cell, told, now, None)
    if node and node.state == "done" and state.state in ("missing", "started"):
        return cell._replace(state="done", reason="")
    if node and node.state in ("failed", "missing"):
        # What the job itself wrote says most, unless it is of an earlier failure.
        same = state.state == "failed" and last_line(state.reason) in node.reason
        return (
            cell._replace(log=log) if same else cell._replace(state=node.state, reason=node.reason)
        )
    if state.state == "failed":
        return cell._replace(log=log)
    if state.state == "missing" and told:  # it began, and has no checkpoint yet
        return cell._replace(state="started")
    return cell


def _running(cell: CellStatus, told: Json | None, now: datetime, attempt: int | None) -> CellStatus:
    cell = cell._replace(state="running", reason="", attempt=attempt or cell.attempt)
    if told is None:
        return cell
    epoch, epochs = told["epoch"], told["epochs"]
    left = told["seconds_per_epoch"] * (epochs - epoch) - max(0.0, _age(told, now))
    return cell._replace(
        epoch=epoch,
        epochs=epochs,
        seconds_left=max(0.0, left),
        attempt=cell.attempt or told.get("attempt"),
        node=cell.node or told.get("node"),
        workflow=cell.workflow or told.get("workflow"),
    )


def _age(told: Json, now: datetime) -> float:
    return (now - datetime.fromisoformat(told["at"])).total_seconds()


def _is_fresh(told: Json, now: datetime) -> bool:
    return _age(told, now) < max(SECONDS_STALE, 3 * told["seconds_per_epoch"])


def _ended_since(node: CellNode | None, told: Json) -> bool:
    """Whether the cluster saw the pod end after it told of its progress for the last time."""
    if node is None or node.finished is None:
        return False
    return datetime.fromisoformat(node.finished) >= datetime.fromisoformat(told["at"])


def to_json(status: Status) -> Json:
    """A status as plain JSON, for machines."""
    return {
        "format": FORMAT,
        "study": status.study,
        "store": status.store,
        "namespace": status.namespace,
        "remarks": status.remarks,
        "counts": {state: status.counts().get(state, 0) for state in STATES},
        "workflows": [
            {
                "name": w.name,
                "phase": w.phase,
                "message": w.message,
                "created": w.created,
                "finished": w.finished,
                "failures": [{"step": step, "reason": why} for step, why in w.failures()],
            }
            for w in status.workflows
        ],
        "cells": [c._asdict() for c in status.cells],
    }
