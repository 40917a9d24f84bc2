"""Cells that are killed, stopped or without their store go on, and end as if undisturbed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.cluster import (
    IMAGE,
    cell_of,
    chart,
    finished,
    kubectl,
    locally,
    motifk8s,
    nodes,
    objects,
    pods,
    provenance,
    resumable,
    run_folder,
    submit,
    table,
    trained,
    wait_for,
)
from helpers.tiny import study_file

from motifk8s.cells import progress
from motifk8s.store.base import Store

pytestmark = pytest.mark.timeout(1200)

SLOW: dict[str, Any] = {
    "name": "slow",
    "extends": "smoke",
    "trials": 3,
    "datasets": {"tiny": {"n_sequences": 15_000, "length": 100}},  # epochs of about a second
    "models": {"large-pool": None, "no-pool": None},
    "training": {"preset": "as-run", "epochs": 24, "patience": None, "batch_size": 50},
}


@pytest.fixture(scope="module")
def undisturbed(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The slow study, run on this machine without any disturbance."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return locally(slow(folder), folder / "store")


def slow(folder: Path, **changes: Any) -> Path:
    return study_file(folder / "slow.yaml", changes, base=SLOW)


def delete(pod: str) -> None:
    kubectl("delete", "pod", pod, "--wait=false")


def delete_at_once(pod: str) -> None:
    kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false", check=False)


def kill_9(pod: str) -> None:
    code = """
import os, signal
for pid in filter(str.isdecimal, os.listdir("/proc")):
    with open(f"/proc/{pid}/cmdline") as file:
        words = file.read().split("\\0")
        if words[1:2] == ["jobs/cell.py"]:
            os.kill(int(pid), signal.SIGKILL)
            print("killed")
"""
    assert "killed" in kubectl("exec", pod, "-c", "main", "--", "python", "-c", code)


def test_preempted_cells_go_on_and_end_as_if_nothing_had_happened(store, undisturbed, tmp_path):
    text = slow(tmp_path).read_text()
    name = submit("smoke-study.yaml", "-p", f"study={text}")
    ways = {"1": delete, "2": kill_9, "3": delete_at_once}
    reached: dict[str, int] = {}

    def disturbed() -> bool:
        for pod in pods(name, "cell"):
            [trial] = [t for t in ways if pod["metadata"]["labels"]["motifk8s/cell"][-1] == t]
            cell = f"tiny/small-pool/{trial}"
            if trial not in reached and (epochs := resumable(store, "slow", cell)) >= 3:
                ways[trial](pod["metadata"]["name"])
                reached[trial] = epochs
        return len(reached) == len(ways)

    wait_for("three cells in mid-training", disturbed, 400)
    found = finished(name)
    assert found["status"]["phase"] == "Succeeded", found["status"].get("message")
    for trial, epochs in reached.items():
        cell = f"tiny/small-pool/{trial}"
        told = provenance(store, "slow", cell)
        # Not a second of what was saved is done again, and nothing is done twice.
        assert told["resumed_at_epochs"] and told["resumed_at_epochs"][0] >= epochs > 0
        # A pod that is gone at once may be made again under its own name, as the same attempt.
        assert told["deployment"]["attempt"] in ((1, 2) if ways[trial] is delete_at_once else (2,))
        log = store.read(f"{run_folder(store, 'slow', cell)}/log.txt").decode()
        assert f"resumed at epoch {told['resumed_at_epochs'][0]}" in log
        print(f"{ways[trial].__name__}: resumed at epoch {told['resumed_at_epochs']} of 24")
        assert trained(store, "slow", cell, tmp_path) == trained(
            undisturbed, "slow", cell, tmp_path
        )
    pd.testing.assert_frame_equal(
        table(store, "slow"), table(undisturbed, "slow"), check_exact=True
    )
    attempts = {cell_of(n): n["message"] for n in nodes(found, "cell") if n["phase"] != "Succeeded"}
    assert len(attempts) >= 2, attempts


def test_a_store_that_fails_and_is_gone_for_half_a_minute(store, undisturbed, tmp_path):
    chart("study", "s3.size=1Gi", "gpu.count=0")  # both cells train at the same time, GPUs or not
    text = slow(tmp_path, name="outage", trials=2).read_text()
    name = submit("smoke-study.yaml", "-p", f"study={text}")
    wait_for(
        "two cells in mid-training",
        lambda: sum(resumable(store, "outage", f"tiny/small-pool/{t}") > 2 for t in (1, 2)) == 2,
        400,
    )
    kubectl("apply", "-f", "-", input=json.dumps(FAILING))
    kubectl("wait", "pod/failing", "--for=condition=Ready", "--timeout=60s")
    kubectl("scale", "deployment/motifk8s-s3", "--replicas=0")
    service = ["patch", "service", "motifk8s-s3", "--type=json", "-p"]
    selector = json.loads(kubectl("get", "service", "motifk8s-s3", "-o", "json"))["spec"][
        "selector"
    ]
    swap = [{"op": "replace", "path": "/spec/selector", "value": {"app": "failing"}}]
    kubectl(*service, json.dumps(swap))
    time.sleep(15)  # answers 503
    kubectl("delete", "pod", "failing", "--grace-period=0", "--force")
    time.sleep(30)  # answers nothing
    swap[0]["value"] = selector
    kubectl(*service, json.dumps(swap))
    kubectl("scale", "deployment/motifk8s-s3", "--replicas=1")
    found = finished(name)
    assert found["status"]["phase"] == "Succeeded", found["status"].get("message")
    assert len(nodes(found, "cell")) == 2  # no attempt was lost
    wanted = table(undisturbed, "slow")
    wanted = wanted[wanted["trial"] <= 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(table(store, "outage"), wanted, check_exact=True)
    log = store.read(f"{run_folder(store, 'outage', 'tiny/small-pool/1')}/log.txt").decode()
    assert "trying again for 270 s" in log


SERVER = """
import http.server
class Failing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_PUT = do_HEAD = do_DELETE = do_POST = do_GET
http.server.ThreadingHTTPServer(("", 7070), Failing).serve_forever()
"""
FAILING = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "failing", "labels": {"app": "failing"}},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "main",
                "image": IMAGE,
                "command": ["python", "-c", SERVER],
                "ports": [{"name": "s3", "containerPort": 7070}],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    },
}


def test_submit_status_cancel_and_go_on(store, undisturbed, tmp_path):
    chart("study", "s3.size=1Gi", "checkpointSeconds=3600")  # none before SIGTERM
    path = slow(tmp_path, name="stopped")
    done = motifk8s("submit", path, "--store", store.url, check=True)
    [found] = [w for w in objects("workflows") if w["metadata"]["name"].startswith("stopped")]
    name = found["metadata"]["name"]
    assert name in done.stdout
    told = wait_for(
        "a cell that waits for a GPU",
        lambda: (
            (out := motifk8s("status", path, "--store", store.url).stdout)
            and "no free GPU" in out
            and out
        ),
        200,
    )
    assert name in told and "tiny/small-pool/" in told
    first = "stopped/cells/tiny/small-pool/1"
    wait_for("the end of an epoch", lambda: progress.read(store, first), 400)
    assert not store.exists(f"{first}/checkpoint")
    assert name in motifk8s("cancel", path, check=True).stdout
    assert finished(name)["status"]["phase"] == "Failed"
    # Argo does not wait for its pods, which have their grace period to save.
    saved = wait_for(
        "a checkpoint after SIGTERM", lambda: resumable(store, "stopped", "tiny/small-pool/1"), 60
    )
    assert saved < 24
    again = motifk8s("submit", path, "--store", store.url, "--wait")
    assert again.returncode == 0, again
    told_by = provenance(store, "stopped", "tiny/small-pool/1")
    assert told_by["resumed_at_epochs"][0] >= saved
    pd.testing.assert_frame_equal(
        table(store, "stopped"), table(undisturbed, "slow"), check_exact=True
    )
