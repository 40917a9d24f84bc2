"""The chart, from its rights and its own test to its upgrade and its end."""

from __future__ import annotations

import time

import pandas as pd
import pytest
from helpers import bundles
from helpers.cluster import (
    BUCKET,
    NAMESPACE,
    chart,
    kubectl,
    locally,
    motifk8s,
    run,
    table,
    wait_for,
)
from helpers.tiny import study_file

from motifk8s.data import stored
from motifk8s.store.open import open_store
from motifk8s.study.study import load

pytestmark = pytest.mark.timeout(900)


def test_the_pods_may_do_no_more_than_they_must(cluster):
    pods, argo = (
        f"system:serviceaccount:{NAMESPACE}:{n}" for n in ("motifk8s", "motifk8s-executor")
    )
    report = [["workflowtaskresults.argoproj.io", "[]", "[]", "[create", "patch]"]]
    for account, expected in ((pods, []), (argo, report)):
        may = kubectl("auth", "can-i", "--list", f"--as={account}")
        own = ("selfsubject", "/", "localsubject")  # what every account may ask of itself
        rights = [
            line.split()
            for line in may.splitlines()[1:]
            if line.strip() and not line.startswith((*own, " "))
        ]
        assert rights == expected
    for account, verb, kind in [
        (pods, "create", "workflowtaskresults.argoproj.io"),
        (argo, "get", "secrets"), (argo, "get", "pods"), (argo, "list", "nodes"),
        (argo, "create", "pods"), (argo, "get", "workflows.argoproj.io"),
        (argo, "delete", "workflowtaskresults.argoproj.io"),
    ]:  # fmt: skip
        answer = run("kubectl", "auth", "can-i", verb, kind, "-n", NAMESPACE, f"--as={account}",
                     check=False)  # fmt: skip
        assert answer.stdout.strip() == "no", (account, verb, kind)


def test_helm_test_tries_the_bucket(cluster):
    out = run("helm", "test", "study", "-n", NAMESPACE, "--logs", "--timeout", "3m").stdout
    assert "files can be listed, written, read and deleted" in out


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
