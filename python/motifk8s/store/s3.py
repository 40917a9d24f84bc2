"""A store in an S3 bucket. This is the only module that uses boto3.

It works with any server that speaks the S3 protocol. Endpoint, region, credentials, proxy and CA
bundle are from the usual AWS variables and files. The SHA-256 of each object is in its metadata,
and reading checks it.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from motifk8s import signals
from motifk8s.errors import AwayError, InputError, Problem, one_line
from motifk8s.store.base import MARKER, DamagedError, Info, MissingError, Paths, Store, Unfinished
from motifk8s.store.files import (
    checked,
    is_path,
    is_unfinished,
    local_problem,
    replacing,
    sha256_of,
)

T = TypeVar("T")
log = logging.getLogger(__name__)

MEGABYTE = 1 << 20
SMALL = 8 * MEGABYTE  # larger files are uploaded in parts

ATTEMPTS = 3  # of each part of a large file, before the upload starts again

# Error codes of wrong credentials; what to do about each.
UNKNOWN = "the server does not know the access key; check AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL"
CREDENTIALS = {
    "InvalidToken": "the session token is not valid; renew it or unset AWS_SESSION_TOKEN",
    "InvalidAccessKeyId": UNKNOWN,
    "XAdminUserNotFound": UNKNOWN,  # versitygw's, with a 404
    "SignatureDoesNotMatch": "the secret key does not fit the access key; check"
    " AWS_SECRET_ACCESS_KEY",
}
EXPIRED = "the credentials have expired; renew them and run the same command again"
# Codes of what this process cannot solve, but a later one may: in a pod, it reads the Secret again,
# or runs on another node.
LATER = {
    "ExpiredToken": EXPIRED,
    "ExpiredTokenException": EXPIRED,
    "TokenRefreshRequired": EXPIRED,
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
}
LONGER = 6  # factor of the patience with a server that has answered before
ENCRYPTIONS = ("AES256", "aws:kms", "aws:kms:dsse")
REDIRECTS = ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocation")
DENIED = ("AccessDenied", "AllAccessDisabled", "Forbidden", "403")
BUSY = ("SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "429", "503")
# Codes with a 4xx status that are retried, as a 5xx is unless it is in `NEVER` or `FULL`.
AGAIN = ("RequestTimeout", "408", "IncompleteBody", "BadDigest", "OperationAborted", *BUSY)
NEVER = (501, 505)  # the server cannot do this
FULL = ("XMinioStorageFull", "InsufficientStorage", "QuotaExceeded", "507")
# Of an SSL error: what no later attempt changes.
UNTRUSTED = ("CERTIFICATE", "WRONG_VERSION_NUMBER", "UNSUPPORTED_PROTOCOL", "HTTP_REQUEST")
NEEDS = {  # the permission that each operation needs
    "read": "s3:GetObject",
    "write": "s3:PutObject",
    "list": "s3:ListBucket",
    "delete": "s3:DeleteObject",
    "list unfinished uploads of": "s3:ListBucketMultipartUploads",
    "list the parts of": "s3:ListMultipartUploadParts",
    "abort the upload of": "s3:AbortMultipartUpload",
}


class S3Store(Store):
    """A store under a prefix of a bucket, which must exist.

    Temporary failures (no answer, 5xx, slow-down) are retried with growing pauses for `patience`
    seconds, and six times as long after the server has answered once. So a wrong address fails
    within a minute, and a server may restart for minutes. Then they raise `AwayError`. All requests
    wait for the same server: once the time is over, a request fails at its first failure, until
    the server answers again. Other failures are not retried.

    Parameters
    ----------
    bucket, prefix : str
        As in ``s3://bucket/prefix``.
    patience : float
        Seconds after the first failure in which to retry.
    connect_timeout, read_timeout : float
        Seconds to wait for a connection, and for the next bytes of an answer.
    """

    verifies = True

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        patience: float = 45,
        connect_timeout: float = 5,
        read_timeout: float = 20,
    ):
        if not bucket:
            raise InputError("store 's3://': the bucket is missing; give s3://bucket/prefix")
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{1,253}[A-Za-z0-9]", bucket, re.ASCII):
            raise InputError(f"store 's3://{bucket}': {bucket!r} is not a valid bucket name")
        self.bucket = bucket
        self.prefix = checked(prefix.strip("/")) + "/" if prefix.strip("/") else ""
        self.url = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self.patience, self.connect_timeout = patience, connect_timeout
        self.read_timeout = read_timeout
        self._answered = False
        self._away: float | None = None  # since when the server does not answer

    def __repr__(self) -> str:
        return f"S3Store({self.url!r})"

    def hasty(self) -> S3Store:
        return S3Store(self.bucket, self.prefix, patience=0, connect_timeout=2, read_timeout=5)

    def read(self, path: str) -> bytes:
        key = self._key(path)

        def get() -> bytes:
            answer = self._client.get_object(Bucket=self.bucket, Key=key)
            data: bytes = answer["Body"].read()
            self._verify(path, answer, hashlib.sha256(data).hexdigest())
            return data

        return self._call("read", path, get)

    def write(self, path: str, data: bytes) -> None:
        wanted = {
            "Bucket": self.bucket,
            "Key": self._key(path),
            **self._with(hashlib.sha256(data).hexdigest()),
        }
        self._call("write", path, lambda: self._client.put_object(Body=data, **wanted))

    def upload(self, file: Path, path: str) -> None:
        key = self._key(path)
        try:
            # Read a small file at once, because it may change during the upload, as a log does.
            if file.stat().st_size <= SMALL:
                self.write(path, file.read_bytes())
                return
            before = file.stat()
            extra = self._with(sha256_of(file))

            def put() -> None:
                with open(file, "rb") as body:
                    self._client.upload_fileobj(body, self.bucket, key, extra, Config=self._parts)

            self._call("write", path, put)
            after = file.stat()
        except OSError as err:
            raise local_problem(err, "read", file) from err
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            self.delete(path)
            raise Problem(f"{file} changed while it was uploaded to {self._where(path)}")

    def download(self, path: str, file: Path) -> None:
        key = self._key(path)

        def get() -> None:
            # Parallel ranges could be of different versions of the object; one stream is not.
            answer = self._client.get_object(Bucket=self.bucket, Key=key)
            digest = hashlib.sha256()
            with replacing(file) as copy:
                for chunk in answer["Body"].iter_chunks(MEGABYTE):
                    copy.write(chunk)
                    digest.update(chunk)
                self._verify(path, answer, digest.hexdigest())

        self._call("read", path, get)

    def version(self, path: str) -> tuple[str, str | None]:
        key = self._key(path)

        def get() -> tuple[str, str | None]:
            answer = self._client.get_object(Bucket=self.bucket, Key=key)  # as for `exists`
            answer["Body"].close()
            return answer["ETag"], answer.get("Metadata", {}).get("sha256")

        return self._call("read", path, get)

    def exists(self, path: str) -> bool:
        # HeadObject answers 404 for a wrong bucket too, and 403 without a reason. In a list, a key
        # is before all longer keys that start with it.
        key = self._key(path)
        answer = self._call(
            "list",
            path,
            lambda: self._client.list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1),
        )
        return any(entry["Key"] == key for entry in answer.get("Contents", ()))

    def delete(self, path: str) -> None:
        # Markers first: a half-deleted run must never look finished.
        names = sorted(self.list(path), key=lambda name: not name.endswith(MARKER))
        for name in [*names, path]:  # one by one: some servers lack DeleteObjects
            remove = partial(self._client.delete_object, Bucket=self.bucket, Key=self._key(name))
            with contextlib.suppress(MissingError):
                self._call("delete", name, remove)

    def list(self, path: str = "") -> Paths:
        return sorted(self.infos(path))

    def infos(self, path: str = "") -> dict[str, Info]:
        prefix = self._key(path) + "/" if path else self.prefix

        def pages() -> dict[str, Info]:
            paginator = self._client.get_paginator("list_objects_v2")
            return {
                entry["Key"].removeprefix(self.prefix): Info(
                    entry["Size"], entry["LastModified"].timestamp()
                )
                for page in paginator.paginate(Bucket=self.bucket, Prefix=prefix)
                for entry in page.get("Contents", ())
            }

        infos = self._call("list", path, pages)
        # Some consoles create an empty object for a folder; its key ends in '/'.
        return {
            name: info for name, info in infos.items() if is_path(name) and not is_unfinished(name)
        }

    def unfinished(self, path: str) -> Iterator[Unfinished]:
        where = {"Bucket": self.bucket, "Prefix": self._key(path) + "/"}

        def uploads() -> builtins.list[dict[str, Any]]:
            pages = self._client.get_paginator("list_multipart_uploads").paginate(**where)
            return [upload for page in pages for upload in page.get("Uploads", ())]

        for upload in self._call("list unfinished uploads of", path, uploads):
            name = upload["Key"].removeprefix(self.prefix)
            if is_path(name):
                handle = f"{upload['UploadId']} {name}"
                parts = self._call("list the parts of", name, partial(self._parts_of, upload))
                modified = [part["LastModified"] for part in parts] + [upload["Initiated"]]
                size = sum(part["Size"] for part in parts)
                yield Unfinished(name, size, max(modified).timestamp(), handle)

    def _parts_of(self, upload: dict[str, Any]) -> builtins.list[dict[str, Any]]:
        """Return the parts of an upload; none if it has ended in the meantime."""
        which = {"Bucket": self.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
        try:
            pages = self._client.get_paginator("list_parts").paginate(**which)
            return [part for page in pages for part in page.get("Parts", ())]
        except self._client.exceptions.NoSuchUpload:
            return []

    def discard(self, unfinished: Unfinished) -> None:
        number, _, name = unfinished.handle.partition(" ")
        which = {"Bucket": self.bucket, "Key": self._key(name), "UploadId": number}

        def abort() -> None:
            with contextlib.suppress(self._client.exceptions.NoSuchUpload):
                self._client.abort_multipart_upload(**which)

        self._call("abort the upload of", name, abort)

    def _with(self, sha256: str) -> dict[str, Any]:
        """Return the arguments of every upload: the hash, and how the server must encrypt."""
        extra: dict[str, Any] = {"Metadata": {"sha256": sha256}}
        if kind := os.environ.get("MOTIFK8S_SSE"):
            if kind not in ENCRYPTIONS:
                raise InputError(f"MOTIFK8S_SSE is {kind!r}; known: {', '.join(ENCRYPTIONS)}")
            extra["ServerSideEncryption"] = kind
        if key := os.environ.get("MOTIFK8S_SSE_KMS_KEY"):
            extra["SSEKMSKeyId"] = key
        return extra

    def _key(self, path: str) -> str:
        return self.prefix + checked(path)

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        settings: dict[str, Any] = {
            "connect_timeout": self.connect_timeout,
            "read_timeout": self.read_timeout,
            "retries": {"mode": "standard", "total_max_attempts": 1},  # `_call` retries
            "user_agent_extra": "motifk8s",
        }
        session = boto3.session.Session()
        # Clusters set AWS_REGION, which boto3 ignores.
        region = os.environ.get("AWS_REGION") or session.region_name or "us-east-1"
        try:
            client = session.client("s3", region_name=region, config=Config(**settings))
        except ValueError as err:
            hint = "set AWS_ENDPOINT_URL to an address such as https://host:port"
            raise InputError(f"{_reason(err)}; {hint}") from err
        host = client.meta.endpoint_url.partition("://")[2].partition("/")[0].partition(":")[0]
        if not host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws")):
            client = self._client_of_others(session, region, settings)
        client.meta.events.register("needs-retry.s3.UploadPart", _pause_of_part)
        return client

    @staticmethod
    def _client_of_others(session: Any, region: str, settings: dict[str, Any]) -> Any:
        """Return a client for servers other than those of AWS."""
        from botocore.config import Config

        # AWS sends its newer checksums in trailers, which GCS and others reject. Without them, the
        # SHA-256 in the request's signature protects the upload.
        for name in ("request_checksum_calculation", "response_checksum_validation"):
            if f"AWS_{name.upper()}" not in os.environ:
                settings[name] = "when_required"
        return session.client("s3", region_name=region, config=Config(**settings))

    @cached_property
    def _parts(self) -> Any:
        from boto3.s3.transfer import TransferConfig

        return TransferConfig(
            multipart_threshold=SMALL,
            multipart_chunksize=16 * MEGABYTE,
            max_concurrency=4,
            preferred_transfer_client="classic",
        )

    def _verify(self, path: str, answer: dict[str, Any], sha256: str) -> None:
        # Objects that other programs uploaded have no hash in their metadata.
        wanted = answer.get("Metadata", {}).get("sha256", sha256)
        if sha256 != wanted:
            raise DamagedError(
                f"{self._where(path)} is damaged: its SHA-256 is {sha256[:12]}..., but"
                f" {wanted[:12]}... was uploaded; delete it and run the same command again"
            )

    def _call(self, doing: str, path: str, request: Callable[[], T]) -> T:
        """Send a request, again after a temporary failure, and return its answer."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        failed: float | None = None  # since when
        pause = 0.5
        # If the server never answered, the address may be wrong; else it may be restarting.
        patience = self.patience * (LONGER if self._answered else 1)
        while True:
            begun = time.monotonic()
            try:
                result = request()
                self._answered, self._away = True, None
                return result
            except (BotoCoreError, ClientError, ResponseParserError) as err:
                problem, temporary = self._diagnose(err, doing, path)
                if not temporary:
                    self._away = None
                    raise problem from err
                now = time.monotonic()
                if failed is None:  # an upload may have run for long before the server went away
                    failed = max(begun, now - self.connect_timeout - self.read_timeout)
                if now - min(failed, self._away or failed) >= patience:
                    raise problem from err
                if self._away is None:
                    self._away = failed
                    log.warning("%s; trying again for %.0f s", problem, patience)
            signals.sleep(pause * random.uniform(0.5, 1))  # pods must not all retry at once
            pause = min(2 * pause, 5)

    def _diagnose(self, err: Exception, doing: str, path: str) -> tuple[Problem, bool]:
        """Describe an error and how to fix it; return also whether it is temporary."""
        from botocore import exceptions as boto
        from botocore.parsers import ResponseParserError

        what = f"cannot {doing} {self._where(path)}"
        if isinstance(err, boto.ClientError):
            return self._diagnose_answer(err, what, NEEDS[doing])
        if isinstance(err, boto.SSLError) and any(word in str(err) for word in UNTRUSTED):
            hint = "set AWS_CA_BUNDLE to the file of the certificates to trust"
            return Problem(f"{what}: no trusted connection ({err}); {hint}"), False
        no_answer = boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError
        if isinstance(err, (*no_answer, boto.ChecksumError, boto.FlexibleChecksumError)):
            server = self._client.meta.endpoint_url
            hint = "check the network and AWS_ENDPOINT_URL"
            return AwayError(f"{what}: {server} does not answer ({_reason(err)}); {hint}"), True
        if isinstance(err, (boto.CredentialRetrievalError, boto.MetadataRetrievalError)):
            hint = "the service that gives them may be away; run the same command again"
            return AwayError(f"{what}: no credentials ({_reason(err)}); {hint}"), True
        if isinstance(err, ResponseParserError):
            server, hint = self._client.meta.endpoint_url, "check AWS_ENDPOINT_URL"
            text = f"{what}: the answer of {server} cannot be read ({_reason(err)[:200]}); {hint}"
            return (AwayError if self._answered else Problem)(text), self._answered
        if isinstance(err, (boto.ParamValidationError, boto.ValidationError)):
            return InputError(f"{what}: {_reason(err)}"), False
        if "redential" in type(err).__name__ + str(err) or isinstance(
            err, (boto.ProfileNotFound, boto.SSOError, boto.LoginError, boto.TokenRetrievalError)
        ):
            hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or an identity"
            return Problem(f"{what}: no credentials ({_reason(err)}); {hint}"), False
        return Problem(f"{what}: {_reason(err)}"), False

    def _diagnose_answer(self, err: Any, what: str, needs: str) -> tuple[Problem, bool]:
        """Describe an error that the server has answered with."""
        code = err.response.get("Error", {}).get("Code", "")
        status = err.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        message = _reason(err.response.get("Error", {}).get("Message") or code)
        server = self._client.meta.endpoint_url
        if code == "NoSuchBucket":
            hint = "create it, or correct the store's URL"
            return InputError(f"{what}: {server} has no bucket {self.bucket!r}; {hint}"), False
        if code == "InvalidBucketName":
            return InputError(f"{what}: {self.bucket!r} is not a valid bucket name"), False
        if code == "NoSuchKey":  # other 404s may be from a server that does not speak S3
            return MissingError(f"{what}: there is no such file"), False
        if code in BUSY:
            hint = "run fewer cells at once, or later"
            return AwayError(f"{what}: {server} is too busy ({code}); {hint}"), True
        if code in LATER:
            return AwayError(f"{what}: {LATER[code]} ({code})"), False
        if code in FULL:
            return Problem(f"{what}: {server} has no space left ({code}); free some"), False
        # If the server has answered before, a 404 is from a proxy, or the server is stopping.
        gone = status == 404 and self._answered and code not in CREDENTIALS
        if gone or code in AGAIN or (status >= 500 and status not in NEVER):
            return AwayError(f"{what}: {server} answered {code}: {message}"), True
        if code in CREDENTIALS or err.operation_name.startswith("AssumeRole"):
            return Problem(f"{what}: {CREDENTIALS.get(code, message)} ({code})"), False
        if code in REDIRECTS:
            hint = "set AWS_REGION to the bucket's region"
            return InputError(f"{what}: the bucket is in another region ({message}); {hint}"), False
        if code in DENIED:
            hint = f"these credentials need {needs} on it"
            return Problem(f"{what}: permission denied; {hint} ({message})"), False
        hint = "; check AWS_ENDPOINT_URL" if status == 404 else ""
        return Problem(f"{what}: {server} answered {code}: {message}{hint}"), False


def _pause_of_part(attempts: int, response: Any, **_: Any) -> float | None:
    """Return the seconds to wait before a part is sent again; None to give up, or if it arrived."""
    failed = response is not None and response[0].status_code >= 500
    return float(attempts) if failed and attempts < ATTEMPTS else None


def _reason(err: object) -> str:
    return one_line(err).rstrip(".")
