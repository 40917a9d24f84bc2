"""The whole system on a real cluster: Kubernetes, Argo, Helm, an S3 server.

Needs kubectl, argo and helm, a cluster with Argo Workflows that KUBECONFIG leads to, and in
MOTIFK8S_TEST_IMAGE an image that it can run (`make image`, then load it). The namespace is made
here, enforces the restricted Pod Security Standard, and goes at the end.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import bundles
from helpers.tiny import ROOT, study_file, weights

from motifk8s.cells import progress
from motifk8s.data import datasets, stored
from motifk8s.store.base import Store
from motifk8s.store.open import open_store
from motifk8s.study.study import load

REQUIRED = bool(os.environ.get("MOTIFK8S_REQUIRE_CLUSTER"))
IMAGE = os.environ.get("MOTIFK8S_TEST_IMAGE", "")
NAMESPACE = f"motifk8s-test-{secrets.token_hex(3)}"
KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}
BUCKET = "s3://results"
GPUS = 2  # of the cluster, or more
pytestmark = pytest.mark.timeout(900)


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


def wait_for(what: str, true: Callable[[], Any], seconds: float = 180) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.3)
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
        "retry.backoff.duration=1s",
        "deepsea=s3://results/none.tar.gz",
        "plan.resources.requests.cpu=50m",
        "prepare.resources.requests.cpu=50m",
        "prepare.resources.requests.memory=1Gi",
        "aggregate.resources.requests.cpu=50m",
        "cell.resources.requests.cpu=50m",
        "cell.resources.requests.memory=1Gi",
        *values,
    ]
    run(
        "helm", "upgrade", "--install", release, ROOT / "helm/motifk8s", "-n", NAMESPACE, "--wait",
        "--timeout", "3m", *[word for value in settings for word in ("--set", value)],
    )  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if missing := lacking():
        if REQUIRED:
            pytest.fail(f"MOTIFK8S_REQUIRE_CLUSTER is set, but {missing}")
        pytest.skip(f"needs a cluster: {missing}")
    volume = tmp_path_factory.mktemp("s3")
    volume.chmod(0o777)
    manifests = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAMESPACE,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "keys", "namespace": NAMESPACE},
            "stringData": KEYS,
        },
        # The S3 server's files must outlive its pod, which a test takes away.
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": NAMESPACE},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": str(volume)},
                "claimRef": {"namespace": NAMESPACE, "name": "motifk8s-s3"},
            },
        },
    ]
    try:
        everything = {"apiVersion": "v1", "kind": "List", "items": manifests}
        run("kubectl", "apply", "-f", "-", input=json.dumps(everything))
        chart("study", "s3.size=1Gi")
        yield
    finally:
        run("helm", "uninstall", "study", "-n", NAMESPACE, "--wait", check=False)
        for kind in ("namespace", "persistentvolume"):
            run("kubectl", "delete", kind, NAMESPACE, "--timeout=120s", check=False)


@pytest.fixture
def store(cluster: None, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The bucket, as the machine that runs the tests sees it."""
    service = json.loads(kubectl("get", "service", "motifk8s-s3", "-o", "json"))["spec"]
    endpoint = f"http://{service['clusterIP']}:{service['ports'][0]['port']}"
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ARGO_NAMESPACE", NAMESPACE)
    return open_store(f"{BUCKET}/e2e")


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

    return dict(wait_for(f"the end of {name}", ended, seconds))


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
    motifk8s("run", study, "--store", folder, "--jobs", cores, check=True)
    return open_store(folder)


# --- a study from nothing to its tables


@pytest.fixture(scope="module")
def smoke(cluster: None) -> dict[str, Any]:
    """The smoke study, run to its end, watched for how many cells run at a time."""
    name = submit("smoke-study.yaml")
    most = 0
    while not (found := workflow(name)).get("status", {}).get("finishedAt"):
        running = pods(name, "cell")
        for pod in running:
            [main] = [c for c in pod["spec"]["containers"] if c["name"] == "main"]
            assert main["resources"]["limits"]["nvidia.com/gpu"] == "1"
        most = max(most, len(running))
        time.sleep(0.5)
    return {**found, "most": most}


def test_the_smoke_study_gives_the_tables_of_a_local_run(smoke, store, tmp_path):
    assert smoke["status"]["phase"] == "Succeeded", smoke["status"]
    done, _, of = smoke["status"]["progress"].partition("/")
    assert done == of and int(of) >= 6  # pods, or epochs where Argo read them
    ours, theirs = table(store, "smoke"), table(locally("smoke", tmp_path / "store"), "smoke")
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert len(ours) == 4 and (ours["match_truth"] > 0).any() and (ours["match_any"] > 0).any()
    assert store.read("smoke/report.html").startswith(b"<!doctype html>")


def test_cells_are_scheduled_by_gpu(smoke):
    assert 1 <= smoke["most"] <= GPUS
    assert len(nodes(smoke, "cell")) == 3


def test_each_cell_knows_where_it_ran_and_what_it_cost(smoke, store):
    for node in nodes(smoke, "cell"):
        told = provenance(store, "smoke", cell_of(node))
        where = told["deployment"]
        assert where["image"] == IMAGE and where["workflow"] == smoke["metadata"]["name"]
        assert where["node"] == node["hostNodeName"] and where["spot"] is True
        assert where["attempt"] == 1 and where["pod"].startswith(smoke["metadata"]["name"])
        assert told["device"] == "cpu" and told["gpu"] is None and told["threads"] == 1
        assert all(seconds > 0 for seconds in told["stages"].values())
        stages = {name: round(seconds, 1) for name, seconds in told["stages"].items()}
        outside = sum(stages.values()) - stages["training"]
        begun = first_step(store, "smoke", cell_of(node)) - pd.Timestamp(node["startedAt"])
        print(f"{cell_of(node)}: {outside:.1f} s outside training: {stages}")
        print(f"  {begun.total_seconds():.0f} s from the pod to the first training step")


def test_a_finished_study_starts_no_training_pod(smoke, store):
    before = time.monotonic()
    found = finished(submit("smoke-study.yaml"))
    assert found["status"]["phase"] == "Succeeded"
    assert nodes(found, "cell") == nodes(found, "prepare") == []
    assert time.monotonic() - before < 60
    print(f"a finished study, submitted again: {time.monotonic() - before:.0f} s")


def test_the_pods_may_do_no_more_than_they_must(smoke):
    account = f"system:serviceaccount:{NAMESPACE}:motifk8s"
    may = kubectl("auth", "can-i", "--list", f"--as={account}")
    own = ("selfsubject", "/", "localsubject")  # what every account may ask of itself
    [rights] = [
        line.split()
        for line in may.splitlines()[1:]
        if line.strip() and not line.startswith((*own, " "))
    ]
    assert rights == ["workflowtaskresults.argoproj.io", "[]", "[]", "[create", "patch]"]
    for verb, kind in [
        ("get", "secrets"), ("get", "pods"), ("list", "nodes"), ("create", "pods"),
        ("get", "workflows.argoproj.io"), ("delete", "workflowtaskresults.argoproj.io"),
    ]:  # fmt: skip
        answer = run("kubectl", "auth", "can-i", verb, kind, "-n", NAMESPACE, f"--as={account}",
                     check=False)  # fmt: skip
        assert answer.stdout.strip() == "no", (verb, kind)


def test_helm_test_tries_the_bucket(cluster):
    out = run("helm", "test", "study", "-n", NAMESPACE, "--logs", "--timeout", "3m").stdout
    assert "files can be listed, written, read and deleted" in out


# --- what preempts


SLOW: dict[str, Any] = {
    "name": "slow",
    "extends": "smoke",
    "trials": 3,
    "datasets": {"tiny": {"n_sequences": 6000, "length": 100}},
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


def resumable(store: Store, study: str, cell: str) -> int:
    """How many epochs the checkpoint of a cell holds."""
    path = f"{study}/cells/{cell}/checkpoint"
    if not store.exists(path):
        return 0
    with np.load(io.BytesIO(store.read(path))) as saved:
        return len(json.loads(str(saved["meta"]))["rows"])


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


# --- what fails


def test_a_cell_that_fails_stops_no_other_and_is_all_that_runs_when_mended(store, tmp_path):
    base = load(str(study_file(tmp_path / "base.yaml")))
    own = tmp_path / "own.h5"  # of this machine alone: submit uploads it
    datasets.write(datasets.synthesize(base.datasets["small"], 1), own, {})
    hot = {"kind": "file", "path": str(own), "length": 40,
           "classes": {"SRF": ["MA0083.3"], "MAX": ["MA0058.3"]},
           "training": {"learning_rate": 1e30}}  # fmt: skip
    path = study_file(
        tmp_path / "mixed.yaml", {"name": "mixed", "datasets": {"hot": hot}, "models": {"b": None}}
    )
    done = motifk8s("submit", path, "--store", store.url, "--wait")
    assert done.returncode == 3, done
    assert "hot/a/1" in done.stdout + done.stderr and "not a number" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert list(table(store, "mixed")["dataset"]) == ["small"]
    [found] = [w for w in objects("workflows") if w["metadata"]["name"].startswith("mixed")]
    assert found["status"]["phase"] == "Failed"
    assert len(nodes(found, "cell")) == 2  # the failure was not tried again
    [last] = nodes(found, "aggregate")
    assert "1 of 2 cells are missing" in last["message"] and "hot/a/1" in last["message"]
    told = motifk8s("status", path, "--store", store.url).stdout
    assert "hot/a/1" in told and "the loss is not a number at epoch 1" in " ".join(told.split())
    mended = study_file(
        tmp_path / "mixed.yaml",
        {"name": "mixed", "models": {"b": None},
         "datasets": {"hot": {**hot, "training": {"learning_rate": 1e-3}}}},
    )  # fmt: skip
    again = motifk8s("submit", mended, "--store", store.url, "--wait")
    assert again.returncode == 0, again
    newest = max(
        (w for w in objects("workflows") if w["metadata"]["name"].startswith("mixed")),
        key=lambda w: w["metadata"]["creationTimestamp"],
    )
    assert [cell_of(node) for node in nodes(newest, "cell")] == ["hot/a/1"]
    assert list(table(store, "mixed")["dataset"]) == ["small", "hot"]


@pytest.fixture(scope="module")
def half(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A workflow of which one data set cannot be made; it runs while others are refused."""
    bundle = {"kind": "deepsea", "length": 1000, "classes": {"SRF": {"column": 361, "motifs": []}}}
    text = study_file(
        tmp_path_factory.mktemp("half") / "half.yaml",
        {"name": "half", "datasets": {"genome": bundle}, "models": {"b": None}},
    ).read_text()
    return submit("smoke-study.yaml", "-p", f"study={text}")


# Each ends with the plan, so they run side by side: template, study, cap, and what is said.
REFUSED = {
    "no such study": ("motifk8s", "smok", "", "built-in study"),
    "a wrong key": ("motifk8s", "---\nname: mine\nextends: smoke\ntrialz: 3\n", "", "trialz"),
    "no such object": ("motifk8s", f"{BUCKET}/e2e/none.yaml", "", "there is no such file"),
    "above the cap": ("motifk8s", "koo2019", "0.01", "the cap is 0.01"),
    "no such bucket": ("bucket", "smoke", "", "no bucket 'nowhere'"),
    "a wrong secret": ("secret", "smoke", "", "check AWS_SECRET_ACCESS_KEY"),
}


@pytest.fixture(scope="module")
def refused(half: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Workflows that must end before a GPU is asked for."""
    wrong = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "wrong"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wrong"}}
    kubectl("apply", "-f", "-", input=json.dumps({**secret, "stringData": wrong}))
    # Templates of their own: the server keeps its bucket and its keys.
    template = kubectl("get", "workflowtemplate", "motifk8s", "-o", "json")
    for name, old, new in [
        ("bucket", f"{BUCKET}/e2e", "s3://nowhere/e2e"),
        ("secret", '"name": "keys"', '"name": "wrong"'),
    ]:
        changed = {**json.loads(template.replace(old, new)), "metadata": {"name": name}}
        assert old in template
        kubectl("apply", "-f", "-", input=json.dumps(changed))
    text = (ROOT / "argo/smoke-study.yaml").read_text()
    names = {}
    for case, (name, study, cap, _) in REFUSED.items():
        file = tmp_path_factory.mktemp("refused") / "workflow.yaml"
        file.write_text(text.replace("{name: motifk8s}", f"{{name: {name}}}"))
        names[case] = submit(file, "-p", f"study={study}", "-p", f"max-gpu-hours={cap}")
    return {case: finished(name, 180) for case, name in names.items()}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_run_is_told_before_any_gpu_is_asked_for(refused, case):
    found = refused[case]
    assert found["status"]["phase"] == "Failed"
    [plan] = nodes(found, "plan")  # one attempt: no storm
    assert REFUSED[case][3] in plan["message"]
    assert nodes(found, "prepare") == nodes(found, "cell") == []
    begun, ended = (pd.Timestamp(found["status"][key]) for key in ("startedAt", "finishedAt"))
    assert (ended - begun).total_seconds() < 60


def test_data_that_cannot_be_made_stop_no_other_data_set(half, store):
    found = finished(half)
    assert found["status"]["phase"] == "Failed"
    assert [cell_of(node) for node in nodes(found, "cell")] == ["small/a/1"]
    assert list(table(store, "half")["dataset"]) == ["small"]
    [failed] = [n for n in nodes(found, "prepare") if n["phase"] == "Failed"]
    assert "motifk8s import deepsea" in failed["message"]


# --- the in vivo data


def test_a_bundle_in_the_bucket_is_imported_and_trained_on(store, tmp_path):
    arrays = bundles.make(0, {"train": 400, "valid": 80, "test": 120}, 1000)
    files = bundles.write(tmp_path / "files", arrays, chunks=(1000, 4, 100))
    archive = bundles.pack(files, tmp_path / "bundle.tar.gz")
    store.upload(archive, "bundle.tar.gz")
    chart("study", "s3.size=1Gi", f"deepsea={BUCKET}/e2e/bundle.tar.gz")
    classes = {"SRF": {"column": 361, "motifs": ["MA0083.3"]},
               "MAX": {"column": 636, "motifs": ["MA0058.3"]}}  # fmt: skip
    path = study_file(
        tmp_path / "vivo.yaml",
        {"name": "vivo", "models": {"b": None}, "training": {"epochs": 1},
         "datasets": {"small": None, "genome": {"kind": "deepsea", "classes": classes}}},
    )  # fmt: skip
    before = time.monotonic()
    done = motifk8s("submit", path, "--store", store.url, "--wait")
    assert done.returncode == 0, done
    print(f"a bundle, imported, and a cell: {time.monotonic() - before:.0f} s")
    here = tmp_path / "store"
    motifk8s("import", "deepsea", archive, "--study", path, "--store", here, check=True)
    pd.testing.assert_frame_equal(
        table(store, "vivo"), table(locally(path, here), "vivo"), check_exact=True
    )
    hashes = {stored.data_hash(load(str(path)), "genome", place)
              for place in (store, open_store(here))}  # fmt: skip
    assert len(hashes) == 1 and None not in hashes


# --- several at a time


def test_two_workflows_of_one_study_at_the_same_time(store, smoke, tmp_path):
    text = study_file(
        tmp_path / "two.yaml", {"name": "twins"}, base={"extends": "smoke"}
    ).read_text()
    names = [submit("smoke-study.yaml", "-p", f"study={text}") for _ in range(2)]
    assert {finished(name)["status"]["phase"] for name in names} == {"Succeeded"}
    pd.testing.assert_frame_equal(table(store, "twins"), table(store, "smoke"), check_exact=True)
    plan = motifk8s("plan", f" {text}", "--json", "--store", store.url)
    assert plan.stdout == "[]\n"


# --- the person who runs it


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


# --- and away


KINDS = (
    "workflowtemplate,serviceaccount,role,rolebinding,networkpolicy,deployment,service,pvc,"
    "configmap,secret,pod,job"
)


def test_upgrade_and_uninstall_leave_nothing(cluster):
    def there() -> str:
        return kubectl("get", KINDS, "-l", "app.kubernetes.io/instance=study", "-o", "name")

    chart("study", "s3.size=1Gi", "networkPolicy.enabled=true", "queue=research")
    assert "networkpolicy" in there() and len(there().split()) >= 6
    chart("study", "s3.size=1Gi")
    assert "networkpolicy" not in there()
    run("helm", "uninstall", "study", "-n", NAMESPACE, "--wait")
    wait_for("everything to be gone", lambda: there() == "", 60)
