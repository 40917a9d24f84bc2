"""Fixtures: a store of each kind, S3 being moto's."""

from __future__ import annotations

import os

import botocore.loaders
import pytest

from motifk8s.store.folder import FolderStore
from motifk8s.store.open import open_store


@pytest.fixture(autouse=True)
def aws(monkeypatch, tmp_path):
    """Keep the developer's own settings and any instance's identity out."""
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("botocore.loaders.create_loader", lambda *_: LOADER)


LOADER = botocore.loaders.Loader()  # reads the description of S3 once, not for every client


@pytest.fixture(scope="session")
def moto_url():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(moto_url, monkeypatch, tmp_path):
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto_url)
    bucket = "b" + tmp_path.name.replace("_", "-").lower()[:40].strip("-")
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=bucket)
    return open_store(f"s3://{bucket}/pre/fix/")


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("s3")
    return open_store(str(tmp_path / "store"))


def leave_unfinished(store, path):
    """Leave what a process leaves that is killed while it writes a file in a folder."""
    if isinstance(store, FolderStore):
        file = store.folder / path
        file.with_name(f".{file.name:0>16}.tmp").write_bytes(b"12345")
        return
    which = {"Bucket": store.bucket, "Key": store.prefix + path}
    upload = store._client.create_multipart_upload(**which)["UploadId"]
    store._client.upload_part(**which, UploadId=upload, PartNumber=1, Body=bytes(5 << 20))
