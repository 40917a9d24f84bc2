"""Cells wait in a queue of Kueue, and go on after it has stopped them for something urgent."""

from __future__ import annotations

import json
import os
from typing import Any

import pandas as pd
import pytest
from helpers.cluster import (
    IMAGE,
    NAMESPACE,
    chart,
    finished,
    kubectl,
    locally,
    motifk8s,
    pods,
    provenance,
    resumable,
    run,
    submit,
    table,
    wait_for,
)
from helpers.tiny import study_file

pytestmark = pytest.mark.timeout(900)

STUDY: dict[str, Any] = {
    "name": "queued",
    "extends": "smoke",
    "trials": 2,
    "datasets": {"tiny": {"n_sequences": 10_000, "length": 100}},  # epochs of about a second
    "models": {"large-pool": None, "no-pool": None},
    "training": {"preset": "as-run", "epochs": 40, "patience": None, "batch_size": 50},
}
API = "kueue.x-k8s.io/v1beta2"
NAME = {"metadata": {"name": NAMESPACE}}
ENOUGH = ["cpu", "memory", "ephemeral-storage"]
# One GPU for the namespace, although the cluster has two.
QUOTA = [{"name": "nvidia.com/gpu", "nominalQuota": 1}]
QUOTA += [{"name": name, "nominalQuota": "1Ti"} for name in ENOUGH]
QUEUES: list[dict[str, Any]] = [
    {"apiVersion": API, "kind": "ResourceFlavor", **NAME},
    {"apiVersion": API, "kind": "WorkloadPriorityClass", **NAME, "value": 1000},
    {
        "apiVersion": API,
        "kind": "ClusterQueue",
        **NAME,
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [
                {
                    "coveredResources": [resource["name"] for resource in QUOTA],
                    "flavors": [{"name": NAMESPACE, "resources": QUOTA}],
                }
            ],
        },
    },
    {
        "apiVersion": API,
        "kind": "LocalQueue",
        "metadata": {"name": "cells", "namespace": NAMESPACE},
        "spec": {"clusterQueue": NAMESPACE},
    },
]
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
URGENT = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "urgent",
        "labels": {
            "kueue.x-k8s.io/queue-name": "cells",
            "kueue.x-k8s.io/priority-class": NAMESPACE,
        },
    },
    "spec": {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "main",
                "image": IMAGE,
                "command": ["true"],
                "securityContext": RESTRICTED,
                "resources": {"limits": {"nvidia.com/gpu": 1, "cpu": "100m", "memory": "100Mi"}},
            }
        ],
    },
}


@pytest.fixture
def queue(cluster):
    """Queues of Kueue for the namespace of the chart."""
    if run("kubectl", "get", "crd", "clusterqueues.kueue.x-k8s.io", check=False).returncode:
        reason = "the cluster has no Kueue (.ci/kueue installs it)"
        if os.environ.get("MOTIFK8S_REQUIRE_KUEUE"):
            pytest.fail(f"MOTIFK8S_REQUIRE_KUEUE is set, but {reason}")
        pytest.skip(reason)
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": QUEUES})
    run("kubectl", "apply", "-f", "-", input=text)
    run("kubectl", "label", "namespace", NAMESPACE, "kueue-managed=true")
    chart("study", "s3.size=1Gi", "queue=cells")
    yield
    for kind in ("clusterqueue", "resourceflavor", "workloadpriorityclass"):
        run("kubectl", "delete", kind, NAMESPACE, "--wait=false", check=False)


def gated(workflow: str) -> list[str]:
    """Return the cells' pods that Kueue holds back."""
    held = []
    for pod in pods(workflow, "cell", "Pending"):
        gates = [gate["name"] for gate in pod["spec"].get("schedulingGates", [])]
        if "kueue.x-k8s.io/admission" in gates:
            held.append(pod["metadata"]["name"])
    return held


def test_cells_wait_for_their_quota_and_go_on_after_preemption(store, queue, tmp_path):
    study = study_file(tmp_path / "queued.yaml", base=STUDY)
    name = submit("smoke-study.yaml", "-p", f"study={study.read_text()}")
    cells = {f"tiny/small-pool/{trial}" for trial in (1, 2)}

    def in_training() -> str | None:
        return next((cell for cell in cells if resumable(store, "queued", cell) >= 3), None)

    first = wait_for("a cell in mid-training", in_training, 400)
    assert len(gated(name)) == 1  # the quota is one GPU
    [other] = cells - {first}
    assert resumable(store, "queued", other) == 0
    told = motifk8s("status", study, "--store", store.url).stdout
    assert "held in a queue" in told
    kubectl("apply", "-f", "-", input=json.dumps(URGENT))
    kubectl("wait", "pod/urgent", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=180s")
    found = finished(name)
    assert found["status"]["phase"] == "Succeeded", found["status"].get("message")
    resumed = provenance(store, "queued", first)["resumed_at_epochs"]
    assert resumed and resumed[0] >= 3
    undisturbed = locally(study, tmp_path / "undisturbed")
    pd.testing.assert_frame_equal(
        table(store, "queued"), table(undisturbed, "queued"), check_exact=True
    )
