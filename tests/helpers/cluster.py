"""A real cluster: Kubernetes, Argo, Helm, an S3 server; what the tests of it share.

Needs kubectl, argo and helm, a cluster with Argo Workflows that KUBECONFIG leads to, and in
MOTIFK8S_TEST_IMAGE an image that it can run (`make image`, then load it). The namespace is made by
the fixture `cluster`, enforces the restricted Pod Security Standard, and goes at the end.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from helpers.tiny import ROOT, weights

from motifk8s.store.base import Store
from motifk8s.store.open import open_store

REQUIRED = bool(os.environ.get("MOTIFK8S_REQUIRE_CLUSTER"))
IMAGE = os.environ.get("MOTIFK8S_TEST_IMAGE", "")
NAMESPACE = f"motifk8s-test-{secrets.token_hex(3)}"
KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}
BUCKET = "s3://results"
GPUS = 2  # of the cluster, or more


def lacking() -> str:
    tools = [tool for tool in ("kubectl", "argo", "helm") if not shutil.which(tool)]
    if tools:
        return f"{', '.join(tools)} not found"
    if not IMAGE:
        return "MOTIFK8S_TEST_IMAGE names no image"
    if run("kubectl", "get", "--raw", "/readyz", check=False).returncode:
        return "no cluster answers"
    return ""


def run(*command: object, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=600, **more
    )
    if check and done.returncode:
        raise AssertionError(f"{command} exited {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def kubectl(*args: object, **more: Any) -> str:
    return run("kubectl", "-n", NAMESPACE, *args, **more).stdout


def objects(kind: str, selector: str = "") -> list[dict[str, Any]]:
    found = kubectl("get", kind, "-o", "json", *(["-l", selector] if selector else []))
    return list(json.loads(found)["items"])


def wait_for(what: str, true: Callable[[], Any], seconds: float = 180, every: float = 0.3) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(every)
    argo = run("argo", "list", "-n", NAMESPACE, check=False).stdout
    pods = run("kubectl", "-n", NAMESPACE, "get", "pods,events", check=False).stdout
    raise AssertionError(f"waited {seconds} s for {what}\n{argo}\n{pods}")


# The cluster ----------------------------------------------------------------------------------


def chart(release: str, *values: str) -> None:
    repository, _, tag = IMAGE.rpartition(":")
    settings = [
        f"store.url={BUCKET}/e2e",
        "store.secretName=keys",
        "s3.enabled=true",
        f"image.repository={repository}",
        f"image.tag={tag}",
        f"gpuImage.tag={tag}",
        "threads=1",
        "checkpointSeconds=1",
        "spot=true",
        "gpu.required=false",  # the GPUs of a test cluster may be a mere resource
        "retry.backoff.duration=1s",
        "deepsea=s3://results/none.tar.gz",
        # Where workflows run side by side, what is short goes before what trains.
        "plan.resources.requests.cpu=100m",
        "prepare.resources.requests.cpu=100m",
        "prepare.resources.requests.memory=1Gi",
        "aggregate.resources.requests.cpu=100m",
        "cell.resources.requests.cpu=10m",
        "cell.resources.requests.memory=1Gi",
        *values,
    ]
    run(
        "helm", "upgrade", "--install", release, ROOT / "helm/motifk8s", "-n", NAMESPACE, "--wait",
        "--timeout", "3m", *[word for value in settings for word in ("--set", value)],
    )  # fmt: skip


def motifk8s(*args: object, check: bool = False, **more: Any) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "motifk8s", *args, check=check, **more)


# Workflows ------------------------------------------------------------------------------------


def submit(file: str | Path, *args: str) -> str:
    out = run("argo", "submit", "-n", NAMESPACE, ROOT / "argo" / file, "-o", "name", *args).stdout
    return out.strip()


def workflow(name: str) -> dict[str, Any]:
    return dict(json.loads(kubectl("get", "workflow", name, "-o", "json")))


def finished(name: str, seconds: float = 600) -> dict[str, Any]:
    """Wait for the end of a workflow."""

    def ended() -> dict[str, Any] | None:
        found = workflow(name)
        return found if found.get("status", {}).get("finishedAt") else None

    # Every question is a process, which takes time from the pods.
    return dict(wait_for(f"the end of {name}", ended, seconds, every=2))


def nodes(found: dict[str, Any], template: str, kind: str = "Pod") -> list[dict[str, Any]]:
    every = found["status"].get("nodes", {}).values()
    return [n for n in every if n["templateName"] == template and n["type"] == kind]


def cell_of(node: dict[str, Any]) -> str:
    return next(p["value"] for p in node["inputs"]["parameters"] if p["name"] == "cell")


def pods(name: str, step: str, phase: str = "Running") -> list[dict[str, Any]]:
    found = objects("pods", f"workflows.argoproj.io/workflow={name},motifk8s/step={step}")
    return [pod for pod in found if pod["status"].get("phase") == phase]


def run_folder(store: Store, study: str, cell: str) -> str:
    place = f"{study}/cells/{cell}"
    return f"{place}/{json.loads(store.read(f'{place}/done.json'))['run']}"


def provenance(store: Store, study: str, cell: str) -> dict[str, Any]:
    return dict(json.loads(store.read(f"{run_folder(store, study, cell)}/provenance.json")))


def first_step(store: Store, study: str, cell: str) -> pd.Timestamp:
    """When the training of a cell began, to a second."""
    folder = run_folder(store, study, cell)
    log = store.read(f"{folder}/log.txt").decode()
    [ended] = [line[:19] for line in log.splitlines() if " epoch 1 of at most " in line]
    history = pd.read_csv(io.BytesIO(store.read(f"{folder}/history.csv")))
    return pd.Timestamp(ended, tz="UTC") - pd.Timedelta(seconds=history["seconds"][0])


def resumable(store: Store, study: str, cell: str) -> int:
    """How many epochs the checkpoint of a cell holds."""
    path = f"{study}/cells/{cell}/checkpoint"
    if not store.exists(path):
        return 0
    with np.load(io.BytesIO(store.read(path))) as saved:
        return len(json.loads(str(saved["meta"]))["rows"])


def trained(store: Store, study: str, cell: str, folder: Path) -> dict[str, bytes]:
    """All weights of a finished cell."""
    file = folder / "model.keras"
    file.write_bytes(store.read(f"{run_folder(store, study, cell)}/model.keras"))
    return {name: value.tobytes() for name, value in weights(file).items()}


def table(store: Store, study: str) -> pd.DataFrame:
    data = store.read(f"{study}/tables/results.csv")
    return pd.read_csv(io.BytesIO(data), float_precision="round_trip").drop(columns="seconds")


def locally(study: Path | str, folder: Path) -> Store:
    """Run a study on this machine, a thread a cell as in the cluster."""
    cores = len(os.sched_getaffinity(0))
    # The pods go first, because tests say how long some may take; then this, for which tests wait.
    command = ["nice", "-n", "5", sys.executable, "-m", "motifk8s", "run", study, "--store", folder]
    run(*command, "--jobs", cores)
    return open_store(folder)
