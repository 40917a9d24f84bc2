"""A namespace of the cluster with the chart in it, for each file of tests."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from helpers.cluster import BUCKET, KEYS, NAMESPACE, REQUIRED, chart, kubectl, lacking, run

from motifk8s.store.base import Store
from motifk8s.store.open import open_store


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
            run("kubectl", "delete", kind, NAMESPACE, "--timeout=300s", check=False)


@pytest.fixture
def store(cluster: None, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The bucket, as the machine that runs the tests sees it."""
    service = json.loads(kubectl("get", "service", "motifk8s-s3", "-o", "json"))["spec"]
    endpoint = f"http://{service['clusterIP']}:{service['ports'][0]['port']}"
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ARGO_NAMESPACE", NAMESPACE)
    return open_store(f"{BUCKET}/e2e")
