"""The store: the contract of both kinds, then the errors of each."""

# ruff: noqa: F811 (fixtures are imported)

from __future__ import annotations

import errno
import hashlib
import http.server
import os
import socket
import threading
import time
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from helpers.stores import aws, leave_unfinished, moto_url, s3, store  # noqa: F401
from hypothesis import given
from hypothesis import strategies as st

from motifk8s.errors import AwayError, InputError, Problem
from motifk8s.store.base import DamagedError, FormatError, MissingError
from motifk8s.store.files import checked
from motifk8s.store.folder import FolderStore
from motifk8s.store.open import open_store
from motifk8s.store.s3 import SMALL, S3Store

# Contract ------------------------------------------------------------------------------------


def test_write_read(store):
    for data in (b"one", b"", b"another \x00\xff"):
        store.write("a/b/c.json", data)
        assert store.read("a/b/c.json") == data
    assert store.exists("a/b/c.json")


def test_missing(store, tmp_path):
    store.write("a/file.json", b"x")
    for path in ("b", "a", "a/fil", "a/file.jsonx", "a/file.json/c"):
        assert not store.exists(path)
        with pytest.raises(MissingError, match=path):
            store.read(path)
        with pytest.raises(MissingError):
            store.download(path, tmp_path / "out" / "file")
    assert not list((tmp_path / "out").rglob("*")), "nothing half-written"


@pytest.mark.parametrize("size", [0, 1000, SMALL, 2 * SMALL + 12345])
def test_upload_download(store, tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "in").write_bytes(data)
    store.upload(tmp_path / "in", "x/y")
    target = tmp_path / "new folder" / "out"
    store.download("x/y", target)
    assert target.read_bytes() == data
    store.upload(tmp_path / "in", "x/y")
    store.download("x/y", target)  # replaces
    assert [p.name for p in target.parent.iterdir()] == ["out"]


def test_local(store, tmp_path):
    store.write("a/data.h5", b"x")
    with store.local("a/data.h5") as file:
        assert file.name == "data.h5" and file.read_bytes() == b"x"
    assert file.exists() == isinstance(store, FolderStore)


def test_map(store):
    for name in "abc":
        store.write(name, name.encode())
    assert store.map(store.read, ["c", "a", "b"]) == [b"c", b"a", b"b"]
    with pytest.raises(MissingError):
        store.map(store.read, ["a", "d"])


def test_json(tmp_path):
    store = FolderStore(tmp_path)

    def read():
        return store.read_json("a.json", 2, lambda content: content["x"])

    assert read() is None
    store.write_json("a.json", {"format": 2, "x": [1]})
    assert read() == [1]
    for text in (b"", b"[]", b"7", b"{}", b'{"format": 2}', b"\xff"):
        store.write("a.json", text)
        with pytest.raises(DamagedError, match=r"^a\.json is damaged$"):
            read()
    store.write_json("a.json", {"format": 3})
    with pytest.raises(FormatError, match=r"^a\.json has format 3, this version reads 2: use the"):
        read()


def test_upload_of_nothing(store, tmp_path):
    with pytest.raises(Problem, match=r"cannot read .*nothing"):
        store.upload(tmp_path / "nothing", "x")
    assert store.list() == []


def test_list(store):
    assert store.list() == store.list("nothing") == []
    names = ["a/1/x", "a/1/y/z", "a/10/x", "a/2", "a-b", "ab", "done.json"]
    for name in reversed(names):
        store.write(name, b"")
    assert store.list() == sorted(names)
    assert store.list("a") == ["a/1/x", "a/1/y/z", "a/10/x", "a/2"]
    assert store.list("a/1") == ["a/1/x", "a/1/y/z"]
    assert store.list("a/2") == store.list("a/1/x/deeper") == []


def test_foreign_names_are_not_listed(store, tmp_path):
    store.write("a/b", b"1")
    for name in ("a\\b", "a\tb", ".x.tmp"):
        if isinstance(store, FolderStore):
            (tmp_path / "store" / "a" / name).write_bytes(b"")
            (tmp_path / "store" / name).mkdir()
            (tmp_path / "store" / name / "c").write_bytes(b"")
        else:
            for key in (f"a/{name}", f"{name}/c", "a//b"):
                store._client.put_object(Bucket=store.bucket, Key=store.prefix + key)
    assert store.list() == store.list("a") == ["a/b"]
    assert list(store.infos()) == ["a/b"]


def test_version(store, tmp_path):
    versions = []
    for content in (b"1", b"2"):
        store.write("a", content)
        versions.append(store.version("a"))
        assert versions[-1][1] == hashlib.sha256(content).hexdigest()
    assert versions[0][0] != versions[1][0]
    with pytest.raises(MissingError):
        store.version("b")


def test_unfinished_files(store, tmp_path):
    store.write("a/b", b"1")
    store.write("ab/c", b"1")
    for folder in ("a", "ab"):
        leave_unfinished(store, f"{folder}/big")
    [found] = store.unfinished("a")
    assert found.path.startswith("a/") and abs(found.modified - time.time()) < 60
    assert found.size == (5 << 20 if isinstance(store, S3Store) else 5)
    store.discard(found)
    store.discard(found)
    assert not list(store.unfinished("a")) and len(list(store.unfinished("ab"))) == 1
    assert store.list() == ["a/b", "ab/c"]


def test_delete(store):
    for name in ("a/1/x", "a/1/done.json", "a/10/x", "b"):
        store.write(name, b"")
    store.delete("a/1")
    assert store.list() == ["a/10/x", "b"]
    store.delete("b")
    store.delete("b")
    store.delete("a/10/x/beneath a file")
    store.delete("never/was")
    assert store.list() == ["a/10/x"]


def test_delete_markers_first(store, monkeypatch):
    for name in ("a/1/data", "a/1/done.json", "a/2/data", "a/2/done.json"):
        store.write(name, b"")
    fails = OSError(errno.EIO, "stopped half way")
    if isinstance(store, FolderStore):
        monkeypatch.setattr("shutil.rmtree", raises(fails))
    else:
        remove = store._client.delete_object
        monkeypatch.setattr(
            store._client,
            "delete_object",
            lambda **a: remove(**a) if a["Key"].endswith("done.json") else raises(Problem("x"))(),
        )
    with pytest.raises(Problem):
        store.delete("a")
    assert store.list() == ["a/1/data", "a/2/data"]


BAD_PATHS = ["", "/a", "a/", "a//b", "..", "a/../../b", "./a", "a\\..\\b", "a\0b", "a\nb", ".x.tmp"]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_path_escapes(store, tmp_path, path):
    (tmp_path / "file").write_bytes(b"")
    for act in (
        lambda: store.read(path),
        lambda: store.write(path, b""),
        lambda: store.upload(tmp_path / "file", path),
        lambda: store.download(path, tmp_path / "file"),
        lambda: store.exists(path),
        lambda: store.delete(path),
        lambda: store.list(path or "/"),  # "" is the whole store here
    ):
        with pytest.raises(InputError, match="cannot name a file"):
            act()


@given(st.text(alphabet="ab./\\\0 \n~", max_size=12))
def test_no_path_leaves_the_store(path):
    try:
        checked(path)
    except InputError:
        return
    root = Path("/mnt/of/store")
    assert Path(os.path.normpath(root / path)).parts[: len(root.parts)] == root.parts
    assert os.path.normpath(root / path) != str(root)


def test_a_failed_write_keeps_the_old_content(store, monkeypatch, tmp_path):
    store.write("a", b"old")
    (tmp_path / "new").write_bytes(b"new")
    if isinstance(store, FolderStore):
        monkeypatch.setattr(os, "replace", raises(OSError(errno.EIO, "Input/output error")))
    else:
        monkeypatch.setattr(store._client, "put_object", raises(Problem("Input/output error")))
    for act in (lambda: store.write("a", b"new"), lambda: store.upload(tmp_path / "new", "a")):
        with pytest.raises(Problem, match="Input/output error"):
            act()
        assert store.read("a") == b"old"


def raises(err):
    def call(*args, **kwargs):
        raise err

    return call


# URLs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "s3://bucket/prefix"),
        ("s3://", "give s3://bucket/prefix"),
        ("s3:///prefix", "give s3://bucket/prefix"),
        ("s3://a b/c", "is not a valid bucket name"),
        ("s3://user:password@host/c", "is not a valid bucket name"),
        ("s3://bucket/a/../b", "cannot name a file"),
        ("gs://bucket/prefix", "folder or s3://bucket/prefix, not gs://"),
        ("http://host/bucket", "folder or s3://bucket/prefix, not http://"),
        (__file__, "is a file"),
        (__file__ + "/store", "folder"),
        ("a\0b", "give a folder"),
        ("~nobody-of-this-name/x", "home"),
    ],
)
def test_wrong_url(url, says, tmp_path):
    with pytest.raises(InputError, match=says) as told:
        open_store(url).write("a", b"")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("./store", "store"),
        ("/a/b/", "/a/b"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket//a/b/", "s3://bucket/a/b"),
    ],
)
def test_url(url, normal):
    assert open_store(url).url == normal


def test_bucket_without_prefix(s3):
    whole = S3Store(s3.bucket)
    whole.write("a", b"1")
    s3.write("b", b"2")
    assert whole.list() == ["a", "pre/fix/b"]
    assert s3.list() == ["b"]


# A folder's own ------------------------------------------------------------------------------


def test_disk_full(tmp_path, monkeypatch):
    store = FolderStore(tmp_path)
    store.write("a/b", b"old")
    monkeypatch.setattr(os, "fsync", raises(OSError(errno.ENOSPC, "No space left on device")))
    for act in (
        lambda: store.write("a/b", b"new"),
        lambda: store.upload(Path(__file__), "a/b"),
        lambda: store.download("a/b", tmp_path / "a" / "c"),
    ):
        with pytest.raises(Problem, match="no space left.*free some") as told:
            act()
        assert told.value.exit_code == 1
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]
    assert store.read("a/b") == b"old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_not_writable(tmp_path):
    (tmp_path / "store").mkdir(mode=0o555)
    with pytest.raises(InputError, match="change the folder's permissions or choose another"):
        FolderStore(tmp_path / "store").write("a/b", b"")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_not_permitted(tmp_path, monkeypatch, number):
    store = FolderStore(tmp_path / "store")
    monkeypatch.setattr(Path, "mkdir", raises(OSError(number, os.strerror(number))))
    with pytest.raises(InputError, match="change the folder's permissions or choose another"):
        store.write("a/b", b"")


def test_a_file_where_a_folder_must_be(tmp_path):
    store = FolderStore(tmp_path)
    store.write("a", b"")
    store.write("c/d", b"")
    for path in ("a/b", "c"):
        with pytest.raises(InputError, match="choose another folder"):
            store.write(path, b"")
    assert store.list() == ["a", "c/d"]


def test_unfinished_files_are_not_listed_and_are_deleted_with_their_folder(tmp_path):
    store = FolderStore(tmp_path)
    store.write("a/b", b"")
    (tmp_path / "a" / ".0123456789abcdef.tmp").write_bytes(b"left by a kill")
    assert store.list() == ["a/b"]
    store.delete("a")
    assert not (tmp_path / "a").exists()


def test_delete_does_not_follow_links(tmp_path):
    store = FolderStore(tmp_path / "store")
    FolderStore(tmp_path / "elsewhere").write("done.json", b"")
    store.write("a/b", b"")
    (tmp_path / "store" / "a" / "link").symlink_to(tmp_path / "elsewhere")
    assert store.list("a") == ["a/b", "a/link/done.json"]
    store.delete("a")
    assert store.list() == []
    assert (tmp_path / "elsewhere" / "done.json").exists()


def test_links_that_loop_or_lead_nowhere(tmp_path):
    store = FolderStore(tmp_path / "store")
    store.write("a/b/c", b"1")
    store.write("d/e", b"2")
    folder = tmp_path / "store"
    for link, target in {
        "a/up": "..", "a/b/self": ".", "loop": "loop", "gone": "nothing", "a/x": "../d",
        "d/y": "../a", "a/file": "b/c",
    }.items():  # fmt: skip
        (folder / link).symlink_to(target)
    names = store.list()
    assert {"a/b/c", "a/file", "a/x/e", "d/e", "d/y/b/c"} <= set(names) and len(names) < 20
    assert list(store.infos()) == names
    assert not store.exists("loop")
    with pytest.raises(MissingError):
        store.read("loop")


def test_modes_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        FolderStore(tmp_path).write("a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_readers_never_see_half_a_file(tmp_path):
    store = FolderStore(tmp_path)
    contents = [bytes([i]) * 200_000 for i in range(4)]
    store.write("a", contents[0])
    writers = [
        threading.Thread(target=lambda c=c: [store.write("a", c) for _ in range(10)])
        for c in contents
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert store.read("a") in contents
    assert os.listdir(tmp_path) == ["a"]


# S3's own ------------------------------------------------------------------------------------


class FakeS3(http.server.ThreadingHTTPServer):
    """Answers each request with the next entry of `script`; repeats the last entry."""

    def __init__(self, *script):
        super().__init__(("127.0.0.1", 0), Answer)
        self.script, self.requests = list(script), []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __exit__(self, *args):
        self.shutdown()
        super().__exit__(*args)


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # else uploads wait a second for "100 Continue"

    def do_GET(self):
        server = self.server
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.requests.append((self.command, self.path, dict(self.headers)))
        answer = server.script.pop(0) if len(server.script) > 1 else server.script[0]
        if callable(answer):
            return answer(self)
        status, code, message = answer
        body = (
            f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{escape(message)}</Message>"
            "</Error>"
        ).encode()
        return send(self, status, body)

    do_PUT = do_DELETE = do_POST = do_GET

    def log_message(self, *args):
        pass


def send(handler, status, body, length=None, **headers):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in {"Connection": "close", **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def fine(handler):
    send(handler, 200, b"data" if handler.command == "GET" else b"", ETag='"e"')


def cut(handler):
    send(handler, 200, b"da", length=4, ETag='"e"')


def damaged(handler):
    send(handler, 200, b"data", ETag='"e"', x_amz_meta_sha256="0" * 64)


def impatient(patience=0.0, **settings):
    return S3Store("bucket", "pre", patience=patience, **settings)


@pytest.fixture
def quick(monkeypatch):
    """Make botocore's and our own pauses between attempts short."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))


DENIED = (403, "AccessDenied", "Access Denied.")


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (DENIED, Problem, "permission denied; these credentials need s3:PutObject"),
        (
            (400, "ExpiredToken", "The provided token\nhas expired."),
            AwayError,
            "have expired; renew",
        ),
        ((403, "InvalidAccessKeyId", "no"), Problem, "check AWS_ACCESS_KEY_ID"),
        ((403, "SignatureDoesNotMatch", "no"), Problem, "check AWS_SECRET_ACCESS_KEY"),
        ((403, "RequestTimeTooSkewed", "no"), AwayError, "clock"),
        ((404, "NoSuchBucket", "no"), InputError, "no bucket 'bucket'; create it, or correct"),
        ((404, "XAdminUserNotFound", "no"), Problem, "check AWS_ACCESS_KEY_ID"),
        ((404, "404", "Not Found"), Problem, "answered 404: Not Found; check AWS_ENDPOINT_URL"),
        ((301, "PermanentRedirect", "eu-1"), InputError, "AWS_REGION"),
        ((400, "EntityTooLarge", "too\nlarge"), Problem, "answered EntityTooLarge: too large"),
    ],
)
def test_permanent_failures_are_not_retried(monkeypatch, answer, kind, says):
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with FakeS3(answer) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        with pytest.raises(Problem, match=says) as told:
            S3Store("bucket", "pre").write("a", b"data")
        assert pauses == []
        assert type(told.value) is kind
        assert "\n" not in str(told.value)
        assert "s3://bucket/pre/a" in str(told.value)
        # botocore follows a redirect; before that it requests the bucket's region.
        assert len(server.requests) <= (3 if answer[0] == 301 else 1)


@pytest.mark.parametrize(
    ("act", "needs"),
    [
        (lambda s, t: s.read("a"), "s3:GetObject"),
        (lambda s, t: s.download("a", t / "x"), "s3:GetObject"),
        (lambda s, t: s.exists("a"), "s3:ListBucket"),
        (lambda s, t: s.list("a"), "s3:ListBucket"),
        (lambda s, t: s.upload(Path(__file__), "a"), "s3:PutObject"),
    ],
)
def test_permission_denied_names_the_permission(monkeypatch, tmp_path, act, needs):
    with FakeS3(DENIED) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        with pytest.raises(Problem, match=needs):
            act(impatient(), tmp_path)
    assert not any(p.suffix == ".tmp" or p.name == "x" for p in tmp_path.iterdir())


def test_every_method_reports_a_wrong_bucket(moto_url, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    store = open_store("s3://no-such-bucket/x")
    (tmp_path / "big").write_bytes(bytes(SMALL + 1))
    for act in (
        lambda: store.read("a"),
        lambda: store.write("a", b""),
        lambda: store.upload(tmp_path / "big", "a"),
        lambda: store.download("a", tmp_path / "out"),
        lambda: store.exists("a"),
        lambda: store.list(),
        lambda: store.delete("a"),
    ):
        with pytest.raises(InputError, match="no bucket 'no-such-bucket'"):
            act()


BUSY = (503, "SlowDown", "Please reduce your request rate.")


@pytest.mark.parametrize(
    ("answer", "kind", "retried"),
    [
        (BUSY, AwayError, True),
        ((500, "InternalError", "-"), AwayError, True),
        ((502, "502", "Bad Gateway"), AwayError, True),
        ((408, "408", "Request Timeout"), AwayError, True),
        ((429, "TooManyRequests", "-"), AwayError, True),
        (cut, AwayError, True),
        ((400, "ExpiredToken", "-"), AwayError, False),
        ((403, "RequestTimeTooSkewed", "-"), AwayError, False),
        ((501, "NotImplemented", "-"), Problem, False),
        ((507, "XMinioStorageFull", "-"), Problem, False),
        ((403, "QuotaExceeded", "-"), Problem, False),
        ((405, "MethodNotAllowed", "read-only"), Problem, False),
        (DENIED, Problem, False),
    ],
)
def test_what_may_pass_has_another_exit_code(monkeypatch, quick, answer, kind, retried):
    with FakeS3(answer) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        store = impatient(0.5)
        assert store._client  # connecting takes time, too
        with pytest.raises(Problem) as told:
            store.read("a")
        assert type(told.value) is kind and told.value.exit_code == (75 if kind is AwayError else 1)
        assert (len(server.requests) > 1) == retried


def test_no_name_and_no_server_may_pass(monkeypatch, quick):
    for url in ("http://no-such-host.invalid", "http://127.0.0.1:9"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(AwayError, match="does not answer"):
            impatient(0.1).read("a")


def test_an_answer_that_cannot_be_read(monkeypatch, quick):
    from botocore.parsers import ResponseParserError

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store = impatient(0.1)
    for answered, kind in ((False, Problem), (True, AwayError)):
        store._answered = answered  # then it is from a proxy, or cut
        with pytest.raises(Problem, match=r"cannot be read \(no XML\); check AWS_END") as told:
            store._call("list", "a", raises(ResponseParserError("no XML")))
        assert type(told.value) is kind


def test_the_time_to_wait_is_for_all_requests_together(monkeypatch, quick):
    with FakeS3(fine, *[BUSY] * 500) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        store = impatient(0.1)
        store.write("a", b"data")
        start = time.monotonic()
        with pytest.raises(AwayError):
            store.write("a", b"data")
        assert time.monotonic() - start >= 0.6
        before = len(server.requests)
        for _ in range(3):
            with pytest.raises(AwayError):
                store.write("failed.json", b"data")
        assert len(server.requests) == before + 3
        server.script = [BUSY, fine]
        with pytest.raises(AwayError):
            store.write("a", b"data")
        store.write("a", b"data")  # it answers again
        server.script = [BUSY, BUSY, fine]
        store.write("a", b"data")


def test_a_long_upload_that_fails_is_not_a_long_outage(monkeypatch, quick):
    from botocore.exceptions import ConnectTimeoutError

    now = [0.0]

    def upload():
        if now[0]:
            return "done"
        now[0] = 1000.0
        raise ConnectTimeoutError(endpoint_url="http://127.0.0.1:9")

    monkeypatch.setattr("motifk8s.store.s3.time.monotonic", lambda: now[0])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert impatient(45)._call("write", "a", upload) == "done"


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ESTALE, 75), (errno.ETIMEDOUT, 75), (errno.ENOTCONN, 75), (errno.ENOSPC, 1),
     (errno.EDQUOT, 1), (errno.EIO, 1), (errno.EROFS, 2), (errno.EACCES, 2)],
)  # fmt: skip
def test_exit_codes_of_a_folder(tmp_path, monkeypatch, number, code):
    store = FolderStore(tmp_path)
    monkeypatch.setattr(os, "fsync", raises(OSError(number, "-")))
    with pytest.raises(Problem) as told:
        store.write("a", b"data")
    assert told.value.exit_code == code


def test_temporary_errors_are_retried(monkeypatch, quick, caplog, tmp_path):
    troubles = [BUSY] * 7 + [(500, "InternalError", "no")] * 3 + [cut, (400, "RequestTimeout", "-")]
    with FakeS3(*troubles, fine) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        assert impatient(30).read("a") == b"data"
        assert len(server.requests) == len(troubles) + 1
        server.script = [*troubles, fine]
        impatient(30).download("a", tmp_path / "a")
        server.script = [*troubles[:-2], fine]
        impatient(30).write("a", b"data")
    assert (tmp_path / "a").read_bytes() == b"data"
    assert os.listdir(tmp_path) == ["a"]
    assert len(caplog.records) == 3, "one line each"
    assert "too busy (SlowDown)" in caplog.text
    assert "trying again for 30 s" in caplog.text


def test_too_busy_for_too_long(monkeypatch, quick):
    with FakeS3(BUSY) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        start = time.monotonic()
        with pytest.raises(Problem, match="too busy.*fewer cells"):
            impatient(0.3).write("a", b"")
        assert 0.3 <= time.monotonic() - start < 3


def test_pauses_grow(monkeypatch):
    slept = []
    now = [0.0]

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    from botocore.exceptions import ConnectTimeoutError

    monkeypatch.setattr("motifk8s.store.s3.time.sleep", sleep)
    monkeypatch.setattr("motifk8s.store.s3.time.monotonic", lambda: now[0])
    monkeypatch.setattr("motifk8s.store.s3.random.uniform", lambda a, b: b)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store = S3Store("bucket")
    with pytest.raises(Problem, match="does not answer"):
        store._call("read", "a", raises(ConnectTimeoutError(endpoint_url="http://127.0.0.1:9")))
    assert slept[:6] == [0.5, 1, 2, 4, 5, 5]
    assert 45 <= now[0] <= 51, "a server may be gone for half a minute; all ends within one"
    assert len(slept) < 15


def test_no_server(monkeypatch):
    with socket.socket() as sock:  # bound, so nobody else's, but not listening
        sock.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{sock.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(Problem, match=r"127\.0\.0\.1:\d+ does not answer.*AWS_ENDPOINT_URL"):
            impatient(0.1).exists("a")
        assert time.monotonic() - start < 10


def test_a_server_that_does_not_answer(monkeypatch, quick):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{sock.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(Problem, match="does not answer"):
            impatient(0.1, read_timeout=0.1, connect_timeout=0.1).read("a")
        assert time.monotonic() - start < 5


def test_a_server_that_restarts(s3, monkeypatch, tmp_path):
    """Upload a large file to a server that starts later: the whole file arrives."""
    data = os.urandom(SMALL + 1)
    (tmp_path / "big").write_bytes(data)
    endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
    s3._client.meta.events.register("before-send.s3.*", gone := Gone())
    s3.upload(tmp_path / "big", "a")
    assert gone.refused == 5 and s3._client.meta.endpoint_url == endpoint
    assert s3.read("a") == data


class Gone:
    refused = 0

    def __call__(self, request, **kwargs):
        from botocore.exceptions import EndpointConnectionError

        if self.refused < 5:
            self.refused += 1
            raise EndpointConnectionError(endpoint_url=request.url)


def test_damage_is_an_error(monkeypatch, tmp_path):
    with FakeS3(damaged) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        with pytest.raises(Problem, match="damaged"):
            impatient().read("a")
        with pytest.raises(Problem, match="damaged"):
            impatient().download("a", tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_what_others_uploaded_has_no_hash_and_is_read(s3):
    s3._client.put_object(Bucket=s3.bucket, Key="pre/fix/theirs", Body=b"x")
    s3._client.put_object(Bucket=s3.bucket, Key="pre/fix/folder/", Body=b"")
    assert s3.read("theirs") == b"x"
    assert s3.list() == ["theirs"]


def test_large_files_are_uploaded_in_parts(s3, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(3 * SMALL))
    s3.upload(tmp_path / "big", "big")
    assert s3._client.head_object(Bucket=s3.bucket, Key="pre/fix/big")["ETag"].endswith('-2"')


def test_a_large_file_that_changes_during_its_upload(s3, tmp_path, monkeypatch):
    big = tmp_path / "big"
    big.write_bytes(bytes(SMALL + 1))
    upload = s3._client.upload_fileobj

    def meanwhile(*args, **kwargs):
        upload(*args, **kwargs)
        big.write_bytes(b"other")

    monkeypatch.setattr(s3._client, "upload_fileobj", meanwhile)
    with pytest.raises(Problem, match="changed while"):
        s3.upload(big, "big")
    assert s3.list() == []


def test_a_killed_upload_is_unfinished(s3, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(3 * SMALL))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3._client, "complete_multipart_upload", raises(OSError("killed")))
        patch.setattr(s3._client, "abort_multipart_upload", lambda **_: None)
        with pytest.raises(Problem, match="killed"):
            s3.upload(tmp_path / "big", "a/big")
    [found] = s3.unfinished("a")
    assert (found.path, found.size) == ("a/big", 3 * SMALL)


def test_more_files_than_one_page_of_a_listing(s3):
    names = [f"n/{i}" for i in range(12)]
    for name in names:
        s3.write(name, b"")
    s3._client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: {**params, "MaxKeys": 5}
    )
    assert s3.list("n") == sorted(names)


def test_no_credentials(monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Problem, match="no credentials.*AWS_ACCESS_KEY_ID"):
        impatient().read("a")
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(Problem, match="absent"):
        impatient().read("a")


def test_wrong_endpoint(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "127.0.0.1:9000")
    with pytest.raises(InputError, match="AWS_ENDPOINT_URL .* https://host:port"):
        impatient().read("a")


def test_other_servers_get_no_aws_trailers(monkeypatch):
    with FakeS3(fine) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        impatient().write("a", b"data")
        _, path, headers = server.requests[-1]
        assert path == "/bucket/pre/a", "path-style: no wildcard DNS needed"
        assert "x-amz-trailer" not in {name.lower() for name in headers}
        assert headers["X-Amz-Content-SHA256"] == headers["x-amz-meta-sha256"]
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
        impatient().write("a", b"data")
        assert any("crc" in name.lower() for name in server.requests[-1][2])


def test_aws_itself_gets_its_checksums_and_the_region(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    client = impatient()._client
    assert client.meta.endpoint_url == "https://s3.eu-central-1.amazonaws.com"
    assert client.meta.config.request_checksum_calculation == "when_supported"


def test_retries_last_longer_after_the_server_has_answered(monkeypatch, quick, caplog):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("motifk8s.store.s3.time.monotonic", lambda: next(clock))
    gone = (503, "InternalError", "no")
    with FakeS3(fine, *[gone] * 90) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        store = impatient(45)
        store.write("a", b"data")
        with pytest.raises(Problem):
            store.write("a", b"data")
        used = len(server.requests)
    with FakeS3(*[gone] * 90) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        with pytest.raises(Problem):
            impatient(45).write("a", b"data")
        assert used > 2 * len(server.requests)
    assert [m.rpartition("again ")[2] for m in caplog.messages] == ["for 270 s", "for 45 s"]


def test_a_404_is_temporary_after_the_server_has_answered(monkeypatch, quick):
    with FakeS3(fine, *[(404, "404", "Not Found")] * 3, fine) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        store = impatient(45)
        store.write("a", b"data")
        store.write("a", b"data")
        assert len(server.requests) == 5


@pytest.mark.parametrize("size", [4, SMALL + 1])
def test_uploads_set_the_encryption(monkeypatch, tmp_path, s3, size):
    monkeypatch.setenv("MOTIFK8S_SSE", "aws:kms")
    monkeypatch.setenv("MOTIFK8S_SSE_KMS_KEY", "key-1")
    (tmp_path / "file").write_bytes(bytes(size))
    s3.upload(tmp_path / "file", "a")
    facts = s3._client.head_object(Bucket=s3.bucket, Key=s3.prefix + "a")
    assert facts["ServerSideEncryption"] == "aws:kms" and facts["SSEKMSKeyId"].endswith("key-1")
    monkeypatch.setenv("MOTIFK8S_SSE", "rot13")
    with pytest.raises(InputError, match="MOTIFK8S_SSE is 'rot13'; known: AES256, aws:kms"):
        s3.write("b", b"")


def test_a_study_and_its_files_in_a_store(monkeypatch, s3, tmp_path):
    from helpers.tiny import study_file

    from motifk8s.cells.plan import keep_study
    from motifk8s.data import datasets, stored
    from motifk8s.motifs.database import database_version, read_database
    from motifk8s.motifs.jaspar import jaspar
    from motifk8s.motifs.meme import write_meme
    from motifk8s.study.study import load

    spec = {"kind": "file", "path": "own.h5", "length": 40, "classes": {"SRF": [], "MAX": []}}
    text = study_file(
        tmp_path / "own.yaml",
        {"datasets": {"small": None, "own": spec}, "matches": {"database": "known.meme"}},
    ).read_text()
    s3.write("studies/own.yaml", text.encode())
    study = load(f"{s3.url}/studies/own.yaml")
    assert study.datasets["own"].path == f"{s3.url}/studies/own.h5"
    assert load(keep_study(study, s3)) == study
    here = load(str(study_file(tmp_path / "here.yaml", {"datasets": {"small": None, "own": spec}})))
    assert load(keep_study(here, s3)) == here, "a path of another machine stays what it was"
    with pytest.raises(InputError, match="no such file"):
        stored.prepare(study, "own", s3)
    tiny = load(str(study_file(tmp_path / "tiny.yaml")))
    made = datasets.synthesize(tiny.datasets["small"], 1)
    datasets.write(made, tmp_path / "own.h5", {})
    s3.upload(tmp_path / "own.h5", "studies/own.h5")
    assert stored.prepare(study, "own", s3)["length"] == 40
    assert stored.load_dataset(study, "own", s3).data_hash == made.data_hash
    write_meme(jaspar()[:3], tmp_path / "known.meme")
    s3.upload(tmp_path / "known.meme", "studies/known.meme")
    assert len(read_database(study.matches.database)) == 3
    local = database_version(tmp_path / "known.meme")
    assert database_version(study.matches.database) == local
    with pytest.raises(InputError, match="there is no such file"):
        load(f"{s3.url}/studies/none.yaml")
    s3.write("studies/more.yaml", b"name: more\nextends: ./own.yaml\n")
    with pytest.raises(InputError, match="can only extend a built-in one"):
        load(f"{s3.url}/studies/more.yaml")
