"""A study from nothing to its tables, once and several times."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import pandas as pd
import pytest
from helpers.cluster import (
    GPUS,
    IMAGE,
    cell_of,
    finished,
    first_step,
    locally,
    motifk8s,
    nodes,
    objects,
    pods,
    provenance,
    submit,
    table,
    workflow,
)
from helpers.tiny import ROOT, study_file

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def smoke(cluster: None) -> dict[str, Any]:
    """The smoke study, run to its end, watched for how many cells run at a time."""
    name = submit("smoke-study.yaml")
    most, seen = 0, {}
    while not (found := workflow(name)).get("status", {}).get("finishedAt"):
        running = pods(name, "cell")
        for pod in running:
            [main] = [c for c in pod["spec"]["containers"] if c["name"] == "main"]
            assert main["resources"]["limits"]["nvidia.com/gpu"] == "1"
            seen = pod["spec"]
        most = max(most, len(running))
        time.sleep(1)
    return {**found, "most": most, "seen": seen}


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


def test_only_argo_has_a_token_and_every_pod_its_limits(smoke):
    """What Kubernetes and Argo made of the template: the workflow ran to its end with it."""
    spec = smoke["seen"]
    with_token = {
        container["name"]
        for container in [*spec["initContainers"], *spec["containers"]]
        for mount in container["volumeMounts"]
        if mount["mountPath"].startswith("/var/run/secrets/kubernetes.io")
    }
    assert with_token == {"init", "wait"}
    assert spec["serviceAccountName"] == "motifk8s"
    assert spec["activeDeadlineSeconds"] == 86400
    [tmp] = [volume for volume in spec["volumes"] if volume["name"] == "tmp"]
    assert tmp["emptyDir"] == {"sizeLimit": "10Gi"}
    [main] = [container for container in spec["containers"] if container["name"] == "main"]
    assert main["resources"]["limits"]["ephemeral-storage"] == "10Gi"


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


def test_a_network_of_the_user_trains_as_it_does_locally(store, smoke, tmp_path):
    """`submit` takes the Python file along, and the workflow first tries the network."""
    shutil.copy(ROOT / "examples/networks.py", tmp_path)
    own = {"build": "networks.py:both_strands", "options": {"filters": 4, "width": 9, "pool": 10}}
    study = tmp_path / "custom.yaml"
    study.write_text(
        json.dumps(
            {
                "extends": "smoke",
                "name": "custom",
                "models": {"own": own},
                "grid": {"tiny": ["own"]},
            }
        )
    )
    done = motifk8s("submit", study, "--store", store.url, "--wait")
    assert done.returncode == 0, done
    ours = table(store, "custom")
    assert list(ours["model"]) == ["own"] and list(ours["n_filters"]) == [8]
    theirs = table(locally(study, tmp_path / "store"), "custom")
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    broken = (tmp_path / "networks.py").read_text().replace("import keras\n", "import kreas\n", 1)
    (tmp_path / "networks.py").write_text(broken)
    done = motifk8s("submit", study, "--store", store.url, "--wait")
    assert done.returncode == 1 and "No module named 'kreas'" in done.stdout + done.stderr
    newest = max(objects("workflows"), key=lambda w: w["metadata"]["creationTimestamp"])
    assert nodes(newest, "cell") == nodes(newest, "prepare") == []  # no GPU was asked for


def test_two_workflows_of_one_study_at_the_same_time(store, smoke, tmp_path):
    text = study_file(
        tmp_path / "two.yaml", {"name": "twins"}, base={"extends": "smoke"}
    ).read_text()
    names = [submit("smoke-study.yaml", "-p", f"study={text}") for _ in range(2)]
    assert {finished(name)["status"]["phase"] for name in names} == {"Succeeded"}
    pd.testing.assert_frame_equal(table(store, "twins"), table(store, "smoke"), check_exact=True)
    plan = motifk8s("plan", f" {text}", "--json", "--store", store.url)
    assert plan.stdout == "[]\n"
