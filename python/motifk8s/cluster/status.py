"""The state of a study: its cells in the store, and their pods in the cluster.

The store has results and progress; the cluster has running and waiting pods, with reasons.
`gather` reads the store. `merge` combines both for one cell, without any I/O.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any, NamedTuple

from motifk8s.cells import progress
from motifk8s.cells.plan import State, plan
from motifk8s.cluster.workflows import CellNode, Workflow
from motifk8s.errors import last_line
from motifk8s.store.base import Store
from motifk8s.study.study import Study

Json = dict[str, Any]

FORMAT = 1
STATES = (
    "done", "running", "waiting", "failed", "missing", "started", "outdated", "damaged",
)  # fmt: skip
# If several workflows have a cell, the first of these states is used.
FURTHEST_FIRST = ("running", "done", "waiting", "failed", "missing", "stopped")
# Progress older than this and than three epochs is of a training that has stopped.
SECONDS_STALE = 300.0
SECONDS_LONGEST = 86_400.0  # no progress is fresh for longer, however long its epochs


class CellStatus(NamedTuple):
    """The state of a cell."""

    cell: str  # its id
    state: str  # one of STATES; "started": stopped, and a checkpoint exists
    reason: str = ""  # why it waits, failed, or is not done
    epoch: int | None = None  # epochs trained
    epochs: int | None = None  # maximum
    seconds_left: float | None = None  # of training, at most
    attempt: int | None = None  # from 1
    node: str | None = None  # of Kubernetes
    workflow: str | None = None
    log: tuple[str, ...] = ()  # last lines of the log of a failed cell


class Status(NamedTuple):
    """The state of a study."""

    study: str  # name
    store: str  # URL
    namespace: str | None  # None if the cluster did not answer
    cells: list[CellStatus]
    workflows: list[Workflow]  # the active ones, newest first; if there are none, the newest
    remarks: list[str]  # what is unknown, and why

    def counts(self) -> dict[str, int]:
        """Count cells by state."""
        return dict(Counter(cell.state for cell in self.cells))


def gather(
    study: Study, store: Store, workflows: list[Workflow], now: datetime | None = None
) -> Status:
    """Return the state of a study in its store and its workflows; `namespace` is None.

    `workflows` are those of the study, newest first. `now` has a time zone.
    """
    now = datetime.now(UTC) if now is None else now
    shown = [w for w in workflows if w.active] or workflows[:1]
    nodes = _furthest_nodes(study, shown)
    folder = f"{study.name}/cells"
    files = set(store.list(folder))
    states = plan(study, store, files)

    def look(state: State) -> CellStatus:
        place = f"{folder}/{state.cell.id}"
        training = state.state != "done" and f"{place}/progress.json" in files
        saved = progress.read(store, place) if training else None
        log = progress.read_failure(store, place).log if state.state == "failed" else ()
        cell = merge(state, saved, log, nodes.get(state.cell.id), now)
        if training and saved is None and cell.state in ("missing", "started"):
            reason = cell.reason or "its progress.json cannot be read, so it may be running"
            cell = cell._replace(reason=reason)
        return cell

    cells = store.map(look, states)
    remarks = [
        f"Argo keeps the steps of workflow {workflow.name} in its database: set ARGO_SERVER and "
        "ARGO_TOKEN to see waiting cells and their reasons"
        for workflow in shown
        if workflow.offloaded
    ]
    lacking = [
        cell.cell
        for cell, before in zip(cells, states, strict=True)
        if cell.state == "done" and before.state != "done"
    ]
    if lacking:
        remarks.append(
            f"the cluster finished {len(lacking)} cells that {store.url} lacks, for example "
            f"{lacking[0]}: use the store of the chart's value store.url"
        )
    return Status(study.name, store.url, None, cells, shown, remarks)


def _furthest_nodes(study: Study, workflows: list[Workflow]) -> dict[str, CellNode]:
    """Return for each cell the most advanced of its states in several workflows."""
    nodes: dict[str, CellNode] = {}
    for workflow in workflows:
        for cell, node in workflow.cells(study).items():
            rank = FURTHEST_FIRST.index(node.state)
            if cell not in nodes or rank < FURTHEST_FIRST.index(nodes[cell].state):
                nodes[cell] = node._replace(workflow=workflow.name)
    return nodes


def merge(
    state: State, saved: Json | None, log: tuple[str, ...], node: CellNode | None, now: datetime
) -> CellStatus:
    """Combine the state of one cell in the store and in the cluster.

    Parameters
    ----------
    state : State
        In the store.
    saved : dict, optional
        Content of its progress file.
    log : tuple of str
        Last lines of the log of its last failure.
    node : CellNode, optional
        Its state in a workflow. Only an active workflow has running or waiting cells.
    """
    cell = CellStatus(state.cell.id, state.state, state.reason)
    if cell.state == "done":
        return cell
    if node:
        cell = cell._replace(attempt=node.attempt, node=node.host, workflow=node.workflow)
        if node.state == "running":
            return _running(cell, saved, now)
        if node.state == "waiting":
            return cell._replace(state="waiting", reason=node.reason)
    if saved and _is_fresh(saved, now) and not _ended_since(node, saved):
        return _running(cell, saved, now)
    if node and node.state == "done" and cell.state in ("missing", "started"):
        return cell._replace(state="done", reason="")
    # The job's own report has most detail, but it may be of an earlier failure.
    same_failure = node and cell.state == "failed" and last_line(cell.reason) in node.reason
    if node and node.state in ("failed", "missing") and not same_failure:
        return cell._replace(state=node.state, reason=node.reason)
    if cell.state == "failed":
        return cell._replace(log=log)
    if cell.state == "missing" and saved:  # it has begun, but has no checkpoint yet
        return cell._replace(state="started")
    return cell


def _running(cell: CellStatus, saved: Json | None, now: datetime) -> CellStatus:
    cell = cell._replace(state="running", reason="")
    if saved is None:
        return cell
    epoch, epochs = saved["epoch"], saved["epochs"]
    left = saved["seconds_per_epoch"] * (epochs - epoch) - max(0.0, _age(saved, now))
    return cell._replace(
        epoch=epoch,
        epochs=epochs,
        seconds_left=max(0.0, left),
        attempt=cell.attempt or saved.get("attempt"),
        node=cell.node or saved.get("node"),
        workflow=cell.workflow or saved.get("workflow"),
    )


def _age(saved: Json, now: datetime) -> float:
    return (now - datetime.fromisoformat(saved["at"])).total_seconds()


def _is_fresh(saved: Json, now: datetime) -> bool:
    # A time far in the future is of a clock that is wrong: it would be fresh for ever.
    patience = min(3 * saved["seconds_per_epoch"], SECONDS_LONGEST)
    return abs(_age(saved, now)) < max(SECONDS_STALE, patience)


def _ended_since(node: CellNode | None, saved: Json) -> bool:
    """Return whether the cluster saw the pod end after the progress was written."""
    if node is None or node.finished is None:
        return False
    return datetime.fromisoformat(node.finished) >= datetime.fromisoformat(saved["at"])


def to_json(status: Status) -> Json:
    """Return a status as plain JSON."""
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
