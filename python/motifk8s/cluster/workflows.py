"""What a workflow of ours says: its steps, where each cell stands in it, and why one waits.

Argo keeps a node for every step of a workflow. A step that may be tried again has a node of type
Retry, whose children are its attempts, pods. `tests/fakeargo.py` has their shape.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any, NamedTuple

from motifk8s.errors import Problem
from motifk8s.study.study import Study, load

Json = dict[str, Any]

STUDY_LABEL = "motifk8s/study"
FINISHED = ("Succeeded", "Failed", "Error")
FAILED = ("Failed", "Error")
# What Argo's own process in the container adds to a job's log.
ARGOS = re.compile(r"time=\S+ level=.* argo=true|Error: exit status \d+$")
STOPPED = re.compile(r"(shutdown|stopped) with strategy", re.IGNORECASE)
# What Kubernetes says of a pod that waits, in plain words; the first that fits.
WAITING = (
    (r"Insufficient \S*(gpu|nvidia|/mig-)", "no free GPU"),
    (r"exceeded quota", "quota"),
    (r"^Unschedulable.*Insufficient (cpu|memory)", "no node has enough free CPU and memory"),
    (r"^Unschedulable.*(affinity|selector)", "no node is of the kind that is asked for"),
    (r"^Unschedulable.*taint", "no node admits it"),
    (r"^Unschedulable", "no node can take it"),
    (r"^(ImagePullBackOff|ErrImage\w+|InvalidImageName|RegistryUnavailable|ImageInspectError)",
     "image cannot be pulled"),
    (r"^CreateContainerConfigError", "its Secret or ConfigMap is not as it should be"),
    (r"^(CreateContainerError|RunContainerError|CrashLoopBackOff)", "container cannot be started"),
    (r"^Waiting for .* lock", "another workflow holds its lock"),
)  # fmt: skip
STARTING = "its pod is starting"


class CellNode(NamedTuple):
    """Where a cell stands in a workflow.

    Attributes
    ----------
    state : str
        "done", "running", "waiting", "failed"; "stopped" (with its workflow); "missing" (its data
        set could not be made).
    reason : str
        Why, in plain words with Kubernetes' own after a colon; empty for done and running.
    attempt : int, optional
        From 1.
    host : str, optional
        Kubernetes' node that the last attempt ran on.
    finished : str, optional
        ISO time.
    """

    state: str
    reason: str = ""
    attempt: int | None = None
    host: str | None = None
    finished: str | None = None


class Workflow:
    """A workflow as the cluster describes it.

    Attributes
    ----------
    name, phase, message : str
        The phase is Argo's, "Pending" if no controller has looked at it yet.
    created, finished : str, optional
        ISO time.
    labels : dict
    nodes : dict
        Argo's nodes by id.
    argument : str
        The study, as it was submitted.
    untouched : bool
        Whether no controller has looked at it yet.
    active, stopped : bool
        Whether it has not come to its end; whether it was made to.
    offloaded : bool
        Whether its nodes are kept in Argo's database alone.
    """

    def __init__(self, data: Json):
        status = data.get("status") or {}
        self.name: str = data["metadata"]["name"]
        self.created: str | None = data["metadata"].get("creationTimestamp")
        self.labels: Json = data["metadata"].get("labels") or {}
        self.phase: str = status.get("phase") or "Pending"
        self.message: str = status.get("message") or ""
        self.finished: str | None = status.get("finishedAt")
        self.active = self.phase not in FINISHED
        self.stopped = not self.active and bool(STOPPED.search(self.message))
        self.untouched = not status.get("phase")
        self.nodes = _nodes(status)
        self.offloaded = bool(status.get("offloadNodeStatusVersion")) and not self.nodes
        parameters = ((data.get("spec") or {}).get("arguments") or {}).get("parameters") or []
        self.argument: str = next(
            (p.get("value", "") for p in parameters if p["name"] == "study"), ""
        )
        self._attempts = {
            child
            for n in self.nodes.values()
            if n["type"] == "Retry"
            for child in n.get("children", ())
        }

    def is_of(self, study: Study, argument: str) -> bool:
        """Whether it runs this study, which the user calls `argument`."""
        name = next((_output(n, "name") for n in self._steps("plan")), None)
        name = name or self.labels.get(STUDY_LABEL)
        if name:
            return name == study.name
        if self.argument in (argument, study.name):
            return True
        try:
            return load(self.argument).name == study.name
        except Problem:  # a study that this version or this user cannot read
            return False

    @property
    def planned(self) -> bool:
        """Whether it is known which cells were unfinished at its start."""
        return any(n["phase"] == "Succeeded" for n in self._steps("plan"))

    @property
    def incomplete(self) -> str:
        """Which cells are missing, if the tables were written all the same; else empty."""
        of = [node for node in self._steps("aggregate") if self._exit_code(node) == "3"]
        return self._place(of[0]).reason.removesuffix(" (exit code 3)") if of else ""

    def failures(self) -> list[tuple[str, str]]:
        """Each step other than a cell that failed, such as "prepare synthetic", and why."""
        found: list[tuple[str, str]] = []
        for step in ("plan", "prepare", "aggregate"):
            for node in self._steps(step):
                place = self._place(node)
                if place.state == "failed" and not (step == "aggregate" and self.incomplete):
                    name = f"{step} {_input(node, 'dataset') or ''}".strip()
                    found.append((name, place.reason))
        # What failed before it could become a step: parameters that cannot be read, say.
        for node in self.nodes.values():
            if node["type"] == "Skipped" and node["phase"] in FAILED and node.get("message"):
                found.append((node.get("displayName", ""), _line(node["message"])))
        said = self.message and not re.match(r"child '.*' failed$", self.message)
        if self.phase in FAILED and said and not (found or self.incomplete or self.stopped):
            found.append(("workflow", _line(self.message)))
        return found

    def cells(self, study: Study) -> dict[str, CellNode]:
        """Where its cells stand, by id; those that were done when it began are not among them."""
        found = {
            cell: self._place(node)
            for node in self._steps("cell")
            if (cell := _input(node, "cell")) and node["phase"] not in ("Skipped", "Omitted")
        }
        if self.offloaded:
            return found
        for cell, reason in self._without_nodes(study).items():
            found.setdefault(cell, reason)
        return found

    def _without_nodes(self, study: Study) -> dict[str, CellNode]:
        """The cells that are to be run, each with why it is not yet; and those that cannot be."""
        of = {name: [c.id for c in study.cells() if c.dataset == name] for name in study.datasets}
        every = [cell for cells in of.values() for cell in cells]
        if not self.planned:
            plan = next(iter(self._steps("plan")), None)
            if plan is None:
                return self._waiting(every, self._before())
            return self._waiting(every, self._why(plan, "the plan"))
        unfinished = json.loads(next(_output(n, "datasets") or "[]" for n in self._steps("plan")))
        found: dict[str, CellNode] = {}
        for name in unfinished:
            step = next((n for n in self._steps("prepare") if _input(n, "dataset") == name), None)
            cells = of.get(name, [])
            if step is None:
                found |= self._waiting(cells, f"data set {name}")
            elif step["phase"] == "Succeeded":
                listed = json.loads(_output(step, "cells") or "[]")
                found |= self._waiting(listed, "a place: other cells of the workflow go first")
            elif step["phase"] in FAILED:
                state = self._place(step)
                reason = f"data set {name}: {state.reason}"
                kind = "stopped" if state.state == "stopped" else "missing"
                found |= dict.fromkeys(cells, CellNode(kind, reason))
            else:
                found |= self._waiting(cells, self._why(step, f"data set {name}"))
        return found

    def _before(self) -> str:
        if self.untouched:
            return "Argo's controller, which has not looked at the workflow yet"
        return f"the plan ({_line(self.message)})" if self.message else "the plan"

    def _waiting(self, cells: list[str], what: str) -> dict[str, CellNode]:
        ended = CellNode("stopped", "stopped with its workflow")
        return dict.fromkeys(cells, CellNode("waiting", f"for {what}") if self.active else ended)

    def _why(self, step: Json, what: str) -> str:
        state = self._place(step)
        told = state.state == "waiting" and not state.reason.startswith(STARTING)
        return f"{what} ({state.reason})" if told else what

    def _steps(self, template: str) -> list[Json]:
        """Nodes of a template, attempts not among them, in the order in which they began."""
        found = [
            n
            for id, n in self.nodes.items()
            if n.get("templateName") == template
            and n["type"] in ("Retry", "Pod")
            and id not in self._attempts
        ]
        return sorted(found, key=lambda n: n.get("startedAt") or "")

    def _pods(self, node: Json) -> list[Json]:
        """The attempts at a step."""
        if node["type"] != "Retry":
            return [node]
        attempts = [self.nodes[c] for c in node.get("children", ()) if c in self.nodes]
        return [n for n in attempts if n["type"] == "Pod"]

    def _exit_code(self, node: Json) -> str | None:
        codes = [(n.get("outputs") or {}).get("exitCode") for n in (node, *self._pods(node))]
        return next((code for code in reversed(codes) if code), None)

    def _place(self, node: Json) -> CellNode:
        """Where a step stands, which is mostly where its last attempt does."""
        attempts = self._pods(node)
        last = attempts[-1] if attempts else node
        message = last.get("message") or ""
        at = CellNode(
            "running", "", len(attempts) or None, last.get("hostNodeName"), node.get("finishedAt")
        )
        if node["phase"] == "Succeeded":
            return at._replace(state="done")
        if node["phase"] in FAILED:
            if STOPPED.search(message) or STOPPED.search(node.get("message") or ""):
                return at._replace(state="stopped", reason="stopped with its workflow")
            reason = failure(message or node.get("message") or "")
            if node.get("message") == "No more retries left":
                reason = f"{reason}; given up after attempt {len(attempts)}"
            return at._replace(state="failed", reason=reason)
        if not self.active:
            return at._replace(state="stopped", reason="stopped with its workflow")
        if last["phase"] == "Pending":
            return at._replace(state="waiting", reason=waiting(message))
        if last["phase"] in FAILED:
            reason = f"to be tried again, for attempt {len(attempts)} ended: {failure(message)}"
            return at._replace(state="waiting", reason=reason)
        if not attempts:
            return at._replace(state="waiting", reason="for a place: other cells go first")
        return at


def waiting(message: str) -> str:
    """Say in plain words why a pod waits, then what Kubernetes says."""
    # Without the pod's name, by which the same reason would differ from cell to cell.
    text = re.sub(r'^pods "\S+" is forbidden: ', "", _line(message))
    if text in ("ContainerCreating", "PodInitializing"):
        return STARTING
    if not text:  # the scheduler has not looked, or Kueue or another gate holds it
        return f"{STARTING}, or held in a queue"
    for pattern, words in WAITING:
        if re.search(pattern, text):
            rest = text.removeprefix("Unschedulable: ")
            return f"{words}: {rest}" if rest else words
    return text


def failure(message: str) -> str:
    """Say in a line why a pod failed, given what Argo says: the job's own last words, if any."""
    found = re.match(r"(?:\w+: )?(\w+) \(exit code (\d+)\)(?:: (.*))?$", message.strip(), re.DOTALL)
    if found is None:
        return _line(message) or "no reason is known"
    kind, code, said = found[1], found[2], (found[3] or "").strip()
    if kind == "OOMKilled":
        return f"out of memory: raise its memory limit (OOMKilled, exit code {code})"
    lines = [line.strip() for line in said.splitlines() if line.strip() and not ARGOS.match(line)]
    ours = [line for line in lines if line.startswith("motifk8s: ")]
    told = (ours or lines or [""])[-1].removeprefix("motifk8s: ")
    return f"{told} (exit code {code})" if told else f"exit code {code}"


def _nodes(status: Json) -> dict[str, Json]:
    """Nodes by id; Argo packs them where they are many."""
    if packed := status.get("compressedNodes"):
        return dict(json.loads(gzip.decompress(base64.b64decode(packed))))
    return status.get("nodes") or {}


def _input(node: Json, name: str) -> str | None:
    return _parameter(node.get("inputs"), name)


def _output(node: Json, name: str) -> str | None:
    return _parameter(node.get("outputs"), name)


def _parameter(puts: Json | None, name: str) -> str | None:
    parameters = (puts or {}).get("parameters") or []
    return next((p.get("value") for p in parameters if p["name"] == name), None)


def _line(text: str) -> str:
    return " ".join(text.split())
