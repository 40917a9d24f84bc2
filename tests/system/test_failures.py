"""What fails: a cell, a data set, a study that cannot be run."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from helpers.cluster import (
    BUCKET,
    cell_of,
    finished,
    kubectl,
    motifk8s,
    nodes,
    objects,
    submit,
    table,
)
from helpers.tiny import ROOT, study_file

from motifk8s.data import datasets
from motifk8s.study.study import load

pytestmark = pytest.mark.timeout(900)


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
