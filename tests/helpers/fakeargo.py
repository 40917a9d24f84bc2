"""A cluster with Argo Workflows that fits in a test: its two HTTP interfaces on loopback.

Objects have the shape that Argo 4.0 gives them, as far as anyone here looks at them.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import ssl
import threading
import zlib
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Attempt = tuple[str, str]  # phase, message

KUBERNETES = r"/apis/argoproj.io/v1alpha1/namespaces/([^/]+)/(\w+)(?:/([^/]+))?"
ARGO = r"/api/v1/(workflows|workflow-templates)/([^/]+)(?:/([^/]+))?(/terminate)?"


class Flow:
    """A workflow, to which steps are added as Argo adds nodes."""

    def __init__(
        self, name: str, study: str, phase: str = "Running", message: str = "", **labels: str
    ):
        self.name, self.nodes, self.phase, self.message = name, {}, phase, message
        self.study, self.labels, self.created = study, labels, "2026-11-24T10:00:00Z"
        self.node(name, "DAG", "study", phase)

    def node(self, path: str, type: str, template: str, phase: str, **more: Any) -> str:
        id = f"{self.name}-{zlib.crc32(path.encode())}"
        assert id not in self.nodes, path
        self.nodes[id] = {
            "id": id,
            "name": path,
            "displayName": path.rpartition(".")[2],
            "type": type,
            "templateName": template,
            "templateScope": f"local/{self.name}",
            "phase": phase,
            "startedAt": f"2026-11-24T10:00:00.{len(self.nodes):06}Z",
            "finishedAt": "2026-11-24T10:05:00Z" if phase not in ("Running", "Pending") else None,
            **{key: value for key, value in more.items() if value},
        }
        return id

    def step(
        self,
        task: str,
        template: str,
        attempts: Iterable[Attempt],
        inputs: Json | None = None,
        outputs: Json | None = None,
        code: str = "",
        message: str = "",
        phase: str = "",
        host: str = "gpu-1",
    ) -> None:
        """A step that may be tried again: a Retry node, and a pod for every attempt."""
        path = f"{self.name}.{task}"
        given = parameters(inputs)
        made = {**parameters(outputs), **({"exitCode": code} if code else {})}
        children = []
        last = ""
        for i, (last, why) in enumerate(attempts):
            pod = f"{path}({i})"
            children.append(
                self.node(
                    pod,
                    "Pod",
                    template,
                    last,
                    message=why,
                    inputs=given,
                    outputs=made,
                    nodeFlag={"retried": True},
                    hostNodeName="" if last == "Pending" else host,
                )  # fmt: skip
            )
        ended = last if last in ("Succeeded", "Failed", "Error") else "Running"
        self.node(
            path, "Retry", template, phase or ended, message=message, inputs=given,
            outputs=made if ended != "Running" else None, children=children,
        )  # fmt: skip

    def plan(
        self, *attempts: Attempt, study: str = "tiny", datasets: Iterable[str] = ("small",)
    ) -> Flow:
        done = bool(attempts) and attempts[-1][0] == "Succeeded"
        outputs = {
            "study": "s3://b/p/tiny/studies/1.json",
            "name": study,
            "datasets": json.dumps(list(datasets)),
        }
        self.step("plan", "plan", attempts, {"study": self.study}, outputs if done else None)
        return self

    def prepare(
        self, *attempts: Attempt, cells: Iterable[str] = (), dataset: str = "small"
    ) -> Flow:
        done = bool(attempts) and attempts[-1][0] == "Succeeded"
        task = f"datasets(0:{dataset}).prepare"
        outputs = {"cells": json.dumps(list(cells))} if done else None
        self.step(task, "prepare", attempts, {"dataset": dataset}, outputs)
        if done and cells:  # a fan-out has a node too, of the name of its template
            path = f"{self.name}.datasets(0:{dataset}).cells"
            self.node(path, "TaskGroup", "cell", "Running", nodeFlag={})
        return self

    def cell(self, cell: str, *attempts: Attempt, **more: Any) -> Flow:
        task = f"datasets(0:small).cells({len(self.nodes)}:{cell})"
        self.step(task, "cell", attempts, {"cell": cell, "study": "s3://b/p/1.json"}, **more)
        return self

    def aggregate(self, *attempts: Attempt, code: str = "") -> Flow:
        self.step("aggregate", "aggregate", attempts, code=code)
        return self

    def json(self, packed: bool = False, offloaded: bool = False) -> Json:
        nodes: Json = {"nodes": self.nodes}
        if packed:
            text = gzip.compress(json.dumps(self.nodes).encode())
            nodes = {"compressedNodes": base64.b64encode(text).decode()}
        if offloaded:
            nodes = {"offloadNodeStatusVersion": "fnv:784644189"}
        ended = self.phase in ("Succeeded", "Failed", "Error")
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {
                "name": self.name,
                "namespace": "bio",
                "creationTimestamp": self.created,
                "labels": {"app.kubernetes.io/part-of": "motifk8s", **self.labels},
            },
            "spec": {
                "workflowTemplateRef": {"name": "motifk8s"},
                "arguments": {"parameters": [{"name": "study", "value": self.study}]},
            },
            "status": {
                **({"phase": self.phase} if self.phase else {}),
                **({"message": self.message} if self.message else {}),
                **({"finishedAt": "2026-11-24T11:00:00Z"} if ended else {"finishedAt": None}),
                **(nodes if self.phase else {}),
            },
        }


def parameters(values: Json | None) -> Json:
    if not values:
        return {}
    return {"parameters": [{"name": name, "value": value} for name, value in values.items()]}


class FakeArgo:
    """Serves workflows of the namespace "bio" as the Kubernetes API and as the Argo Server.

    Attributes
    ----------
    workflows : dict
        By name.
    template, installed : bool
        Whether there is the WorkflowTemplate, and Argo at all.
    answer : tuple, optional
        Status and body that every request gets instead.
    asked : list
        Every request: method, path, body.
    """

    def __init__(self, certificate: Path | None = None):
        self.workflows: dict[str, Json] = {}
        self.template = self.installed = True
        self.cell_template: Json = {
            "name": "cell",
            "activeDeadlineSeconds": 86400,
            "retryStrategy": {"limit": 9},
            "container": {"resources": {"limits": {"memory": "8Gi", "nvidia.com/gpu": 1}}},
        }
        self.answer: tuple[int, str] | None = None
        self.asked: list[tuple[str, str, Any]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                path = self.path.partition("?")[0]
                fake.asked.append((self.command, self.path, body))
                if self.headers.get("Authorization") != "Bearer good":
                    status, answer = 401, {"message": "Unauthorized", "code": 16}
                else:
                    status, answer = fake.answer or fake.serve(self.command, path, body)
                text = answer if isinstance(answer, str) else json.dumps(answer)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = do_PATCH = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def add(self, flow: Flow, **how: bool) -> None:
        self.workflows[flow.name] = flow.json(**how)

    def serve(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if found := re.fullmatch(KUBERNETES, path):
            namespace, kind, name = found.groups()
            argo, action = False, ""
        elif found := re.fullmatch(ARGO, path):
            kind, namespace, name, action = found.groups()
            argo, kind = True, kind.replace("workflow-templates", "workflowtemplates")
            body = body["workflow"] if method == "POST" else body
        else:
            return 404, "404 page not found\n"
        if not self.installed and not argo:
            return 404, "404 page not found\n"
        if kind == "workflowtemplates":
            there = self.template and namespace == "bio"
            made = {"metadata": {"name": name}, "spec": {"templates": [self.cell_template]}}
            return (200, made) if there else self.missing(kind, name)
        if method == "POST":
            return self.create(namespace, body)
        if not name:
            items = list(self.workflows.values()) if namespace == "bio" else []
            return 200, {
                "metadata": {"resourceVersion": "1"},
                "items": items or (None if argo else []),
            }
        if name not in self.workflows:
            return self.missing(kind, name)
        workflow = self.workflows[name]
        if action or method == "PATCH":
            if workflow["status"].get("finishedAt"):
                return 500, {
                    "code": 13,
                    "message": f'cannot shutdown a completed workflow: workflow: "{name}"',
                }
            workflow["spec"]["shutdown"] = (
                body["spec"]["shutdown"] if method == "PATCH" else "Terminate"
            )
        return 200, workflow

    def create(self, namespace: str, workflow: Json) -> tuple[int, Any]:
        if namespace != "bio":
            return self.missing("namespaces", namespace, group="")
        name = workflow["metadata"]["generateName"] + f"x{len(self.workflows)}zzz"
        metadata = {
            **workflow["metadata"],
            "name": name,
            "creationTimestamp": "2026-11-24T12:00:00Z",
        }
        self.workflows[name] = {**workflow, "metadata": metadata, "status": {}}
        return 201, self.workflows[name]

    @staticmethod
    def missing(kind: str, name: str, group: str = ".argoproj.io") -> tuple[int, Any]:
        return 404, {
            "kind": "Status",
            "status": "Failure",
            "message": f'{kind}{group} "{name}" not found',
            "reason": "NotFound",
            "details": {"name": name, "kind": kind},
            "code": 404,
        }


def isolate(monkeypatch: Any, home: Path) -> None:
    """See that nobody's own cluster is ever asked, nor a proxy."""
    from motifk8s.cluster import client

    for name in [*os.environ]:
        if name.startswith(("ARGO_", "KUBE")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(client, "ACCOUNT", home / "no-account")
    monkeypatch.setattr(client, "TIMEOUT", (1.0, 5.0))


def by_kubeconfig(
    monkeypatch: Any, tmp_path: Path, url: str, token: str = "good", **user: Any
) -> None:
    """Reach it as kubectl does."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "bio"}}
        ],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user or {"token": token}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(path))


def by_server(monkeypatch: Any, tmp_path: Path, url: str, token: str = "good") -> None:
    """Reach it as argo does."""
    scheme, _, address = url.partition("://")
    monkeypatch.setenv("ARGO_SERVER", address)
    monkeypatch.setenv("ARGO_TOKEN", f"Bearer {token}")
    monkeypatch.setenv("ARGO_NAMESPACE", "bio")
    monkeypatch.setenv("ARGO_SECURE", "true" if scheme == "https" else "false")
