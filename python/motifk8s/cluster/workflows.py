"""Read the state of a workflow: its steps, its cells, and why one waits or failed.

Argo has a node for every step of a workflow. A step with retries has a node of type Retry; its
children are the attempts, which are pods. `tests/helpers/fakeargo.py` shows their format.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from motifk8s.errors import InputError, one_line
from motifk8s.study.file import locate, read_text
from motifk8s.study.study import Study

Json = dict[str, Any]

STUDY_LABEL = "motifk8s/study"
FINISHED = ("Succeeded", "Failed", "Error")
FAILED = ("Failed", "Error")
# Containers that Argo adds to a pod: init and wait, or with its setting initlessPod supervisor.
ARGO_CONTAINERS = ("init", "wait", "supervisor")
NOT_BEGUN = "65"  # exit code of the job's container if the supervisor failed before the job
# Lines that Argo's process in the container adds to the log of a job.
ARGO_LINE = re.compile(r"time=\S+ level=.* argo=true|Error: exit status \d+$")
STOPPED = re.compile(r"(shutdown|stopped) with strategy", re.IGNORECASE)
# Kubernetes' reasons why a pod waits, in plain words; the first match is used.
WAITING = (
    (r"Insufficient \S*(gpu|nvidia|/mig-)", "no free GPU"),
    (r"exceeded quota", "quota"),
    (r"^Unschedulable.*Insufficient (cpu|memory)", "no node has enough free CPU and memory"),
    (r"^Unschedulable.*Insufficient ephemeral-storage", "no node has enough free disk"),
    (r"^Unschedulable.*(affinity|selector)", "no node matches the node selector or affinity"),
    (r"^Unschedulable.*taint", "nodes have a taint that the pod does not tolerate"),
    (r"^Unschedulable", "no node fits the pod"),
    (r"^(ImagePullBackOff|ErrImage\w+|InvalidImageName|RegistryUnavailable|ImageInspectError)",
     "image cannot be pulled"),
    (r"^CreateContainerConfigError", "its Secret or ConfigMap is missing, or lacks a key"),
    (r"^(CreateContainerError|RunContainerError|CrashLoopBackOff)", "container cannot be started"),
    (r"^Waiting for .* lock", "another workflow has its lock"),
)  # fmt: skip
STARTING = "its pod is starting"
WITH_WORKFLOW = "stopped with its workflow"


class CellNode(NamedTuple):
    """The state of a cell, or of another step, in a workflow."""

    state: str  # done, running, waiting, failed, stopped, or missing (its data set failed)
    reason: str = ""  # in plain words, then Kubernetes' message; empty if done or running
    attempt: int | None = None  # from 1
    host: str | None = None  # Kubernetes' node of the last attempt
    finished: str | None = None  # ISO time
    workflow: str | None = None  # name of the workflow, if several are compared


class Workflow:
    """A workflow, from the cluster's JSON."""

    def __init__(self, data: Json):
        status = data.get("status") or {}
        self.name: str = data["metadata"]["name"]
        self.created: str | None = data["metadata"].get("creationTimestamp")  # ISO time
        self.labels: Json = data["metadata"].get("labels") or {}
        self.phase: str = status.get("phase") or "Pending"  # of Argo
        self.message: str = status.get("message") or ""
        self.finished: str | None = status.get("finishedAt")  # ISO time
        self.active = self.phase not in FINISHED
        self.stopped = not self.active and bool(STOPPED.search(self.message))  # by a user
        self.untouched = not status.get("phase")  # no controller has processed it yet
        self.nodes = _nodes(status)  # Argo's nodes by id
        # Argo can keep the nodes of large workflows in a database instead.
        self.offloaded = bool(status.get("offloadNodeStatusVersion")) and not self.nodes
        # STUDY of the submit command, or what pods get instead.
        argument = _parameter((data.get("spec") or {}).get("arguments"), "study")
        self.argument = "" if argument is None else str(argument)
        retries = [node for node in self.nodes.values() if node["type"] == "Retry"]
        self._attempts = {child for node in retries for child in node.get("children", ())}

    def is_of(self, study: Study, texts: set[str]) -> bool:
        """Return whether it runs this study, which the user knows by `texts` (`known_as`).

        The study of another user's workflow is only compared: to load it could read the addresses
        in it with this user's keys.
        """
        plan = self._step("plan")
        name = (plan and _output(plan, "name")) or self.labels.get(STUDY_LABEL)
        return name == study.name if name else self.argument.strip() in texts

    @property
    def planned(self) -> bool:
        """Whether the plan step succeeded, so that the unfinished cells are known."""
        return any(node["phase"] == "Succeeded" for node in self._steps("plan"))

    @property
    def incomplete(self) -> str:
        """The message about missing cells if only partial tables were written; else empty."""
        for node in self._steps("aggregate"):
            if self._exit_code(node) == "3":
                return self._state(node).reason.removesuffix(" (exit code 3)")
        return ""

    def failures(self) -> list[tuple[str, str]]:
        """Return each failed step other than a cell, such as "prepare synthetic", and why."""
        failures: list[tuple[str, str]] = []
        for step in ("plan", "prepare", "aggregate"):
            for node in self._steps(step):
                state, reason, *_ = self._state(node)
                if state == "failed" and not (step == "aggregate" and self.incomplete):
                    name = f"{step} {_input(node, 'dataset') or ''}".strip()
                    failures.append((name, reason))
        # Failures before a step begins: parameters that cannot be read, for example.
        for node in self.nodes.values():
            if node["type"] == "Skipped" and node["phase"] in FAILED and node.get("message"):
                failures.append((node.get("displayName", ""), one_line(node["message"])))
        explained = failures or self.incomplete or self.stopped
        own_reason = self.message and not re.match(r"child '.*' failed$", self.message)
        if self.phase in FAILED and own_reason and not explained:
            failures.append(("workflow", one_line(self.message)))
        return failures

    def cells(self, study: Study) -> dict[str, CellNode]:
        """Return the state of its cells by id, without those that were done before it began."""
        cells = {
            cell: self._state(node)
            for node in self._steps("cell")
            if (cell := _input(node, "cell")) and node["phase"] not in ("Skipped", "Omitted")
        }
        if self.offloaded:
            return cells
        for cell, state in self._without_nodes(study).items():
            cells.setdefault(cell, state)
        return cells

    def _without_nodes(self, study: Study) -> dict[str, CellNode]:
        """Return the state of the cells without nodes, from the plan and the data sets."""
        by_dataset = {
            name: [cell.id for cell in study.cells() if cell.dataset == name]
            for name in study.datasets
        }
        plan = self._step("plan")
        if plan is None or not self.planned:
            what = self._why(plan, "the plan") if plan else self._before_plan()
            return self._waiting([id for ids in by_dataset.values() for id in ids], what)
        prepared = {_input(node, "dataset"): node for node in self._steps("prepare")}
        cells: dict[str, CellNode] = {}
        for name in json.loads(_output(plan, "datasets") or "[]"):
            cells |= self._of_dataset(name, prepared.get(name), by_dataset.get(name, []))
        return cells

    def _of_dataset(self, name: str, step: Json | None, cells: list[str]) -> dict[str, CellNode]:
        """Return the state of a data set's cells, from the step that makes it."""
        if step is None:
            return self._waiting(cells, f"data set {name}")
        if step["phase"] == "Succeeded":
            unfinished = json.loads(_output(step, "cells") or "[]")
            return self._waiting(unfinished, "other cells of the workflow, which run first")
        if step["phase"] in FAILED:
            made = self._state(step)
            state = "stopped" if made.state == "stopped" else "missing"
            return dict.fromkeys(cells, CellNode(state, f"data set {name}: {made.reason}"))
        return self._waiting(cells, self._why(step, f"data set {name}"))

    def _before_plan(self) -> str:
        if self.untouched:
            return "Argo's controller, which has not processed the workflow yet"
        return f"the plan ({one_line(self.message)})" if self.message else "the plan"

    def _waiting(self, cells: list[str], what: str) -> dict[str, CellNode]:
        waits, ended = CellNode("waiting", f"for {what}"), CellNode("stopped", WITH_WORKFLOW)
        return dict.fromkeys(cells, waits if self.active else ended)

    def _why(self, step: Json, what: str) -> str:
        """Add to `what` why the step waits, unless its pod is starting."""
        state, reason, *_ = self._state(step)
        known = state == "waiting" and not reason.startswith(STARTING)
        return f"{what} ({reason})" if known else what

    def _step(self, template: str) -> Json | None:
        """Return the first node of a template, or None."""
        return next(iter(self._steps(template)), None)

    def _steps(self, template: str) -> list[Json]:
        """Return the nodes of a template, without attempts, by start time."""
        steps = [
            node
            for id, node in self.nodes.items()
            if node.get("templateName") == template
            and node["type"] in ("Retry", "Pod")
            and id not in self._attempts
        ]
        return sorted(steps, key=lambda node: node.get("startedAt") or "")

    def _pods(self, node: Json) -> list[Json]:
        """Return the attempts of a step."""
        if node["type"] != "Retry":
            return [node]
        attempts = [self.nodes[id] for id in node.get("children", ()) if id in self.nodes]
        return [attempt for attempt in attempts if attempt["type"] == "Pod"]

    def _exit_code(self, node: Json) -> str | None:
        codes = [(n.get("outputs") or {}).get("exitCode") for n in (node, *self._pods(node))]
        return next((code for code in reversed(codes) if code), None)

    def _state(self, node: Json) -> CellNode:
        """Return the state of a step, from its last attempt."""
        attempts = self._pods(node)
        last = attempts[-1] if attempts else node
        state, reason = self._state_and_reason(node, last, attempts)
        return CellNode(
            state, reason, len(attempts) or None, last.get("hostNodeName"), node.get("finishedAt")
        )

    def _state_and_reason(self, node: Json, last: Json, attempts: list[Json]) -> tuple[str, str]:
        message, own_message = last.get("message") or "", node.get("message") or ""
        if node["phase"] == "Succeeded":
            return "done", ""
        if node["phase"] in FAILED:
            if STOPPED.search(message) or STOPPED.search(own_message):
                return "stopped", WITH_WORKFLOW
            reason = failure(message or own_message)
            if own_message == "No more retries left":
                reason = f"{reason}; given up after attempt {len(attempts)}"
            return "failed", reason
        if not self.active:
            return "stopped", WITH_WORKFLOW
        if last["phase"] == "Pending":
            return "waiting", waiting(message)
        if last["phase"] in FAILED:
            reason = f"for a retry, because attempt {len(attempts)} ended: {failure(message)}"
            return "waiting", reason
        if not attempts:
            return "waiting", "for other cells, which run first"
        return "running", ""


def workflows_of(workflows: Iterable[Json], study: Study, argument: str) -> list[Workflow]:
    """Return the workflows of a study, which the user gives as `argument`, in their order."""
    texts = known_as(study, argument)
    return [w for data in workflows if (w := Workflow(data)).is_of(study, texts)]


def known_as(study: Study, argument: str) -> set[str]:
    """Return what a workflow of the study can have as its parameter `study`.

    These are the argument, the name, what `motifk8s submit` passes, and the text of the study's
    file (``-p study="$(cat FILE)"``).
    """
    texts = {argument.strip(), study.name, study_text(study)}
    with suppress(InputError, ValueError):  # the argument is an address or a text
        texts.add(read_text(locate(argument)).strip())
    return texts


def study_text(study: Study) -> str:
    """Return the study as JSON that Argo passes to pods unchanged."""
    text = json.dumps(study.resolved(), separators=(",", ":"), ensure_ascii=False)
    # Argo would replace {{...}} as a variable of its own. In JSON only strings can contain it.
    return text.replace("{{", "{\\u007b")


def waiting(message: str) -> str:
    """Return why a pod waits: plain words, then Kubernetes' message."""
    # Without the name of the pod, the reason is the same for every cell.
    text = re.sub(r'^pods "\S+" is forbidden: ', "", one_line(message))
    if text in ("ContainerCreating", "PodInitializing"):
        return STARTING
    if not text:  # the scheduler has not processed it, or a gate such as Kueue's holds it
        return f"{STARTING}, or held in a queue"
    for pattern, words in WAITING:
        if re.search(pattern, text):
            rest = text.removeprefix("Unschedulable: ")
            return f"{words}: {rest}" if rest else words
    return text


def failure(message: str) -> str:
    """Return in one line why a pod failed: the last line of its log if Argo's message has it."""
    parts = re.match(
        r"(?:(\w+): )?(\w+) \(exit code (\d+)\)(?:: (.*))?$", message.strip(), re.DOTALL
    )
    if parts is None:
        return one_line(message) or "unknown reason"
    container, kind, code, log = parts[1] or "main", parts[2], parts[3], parts[4] or ""
    if kind == "OOMKilled" and container in ARGO_CONTAINERS:
        return (
            f"out of memory in Argo's container {container}: raise executor.resources in the "
            f"controller's ConfigMap (OOMKilled, exit code {code})"
        )
    if kind == "OOMKilled":
        return f"out of memory: raise its memory limit (OOMKilled, exit code {code})"
    if container == "main" and code == NOT_BEGUN:
        return f"Argo's container supervisor failed before the job began (exit code {code})"
    lines = [line.strip() for line in log.splitlines()]
    lines = [line for line in lines if line and not ARGO_LINE.match(line)]
    ours = [line for line in lines if line.startswith("motifk8s: ")]
    reason = (ours or lines or [""])[-1].removeprefix("motifk8s: ")
    reason = f"{reason} (exit code {code})" if reason else f"exit code {code}"
    return f"Argo's container {container}: {reason}" if container in ARGO_CONTAINERS else reason


def _nodes(status: Json) -> dict[str, Json]:
    """Return nodes by id; Argo compresses them if there are many."""
    if packed := status.get("compressedNodes"):
        return dict(json.loads(gzip.decompress(base64.b64decode(packed))))
    return status.get("nodes") or {}


def _input(node: Json, name: str) -> str | None:
    return _parameter(node.get("inputs"), name)


def _output(node: Json, name: str) -> str | None:
    return _parameter(node.get("outputs"), name)


def _parameter(puts: Json | None, name: str) -> str | None:
    """Return the value of a parameter among a node's inputs or outputs."""
    parameters = (puts or {}).get("parameters") or []
    return next((p.get("value") for p in parameters if p["name"] == name), None)
