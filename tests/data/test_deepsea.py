"""The import of DeepSEA's bundle, tested on small bundles in its formats."""

from __future__ import annotations

import errno
import hashlib
import http.server
import io
import json
import re
import shutil
import struct
import tarfile
import threading
import zlib
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.io
from helpers.broken_bundles import (
    BROKEN,
    CLASSES,
)
from helpers.bundles import LENGTH, SIZES, make, pack, write, write_5, write_73
from scipy.io.matlab import MatReadError

from motifk8s.data import bundle, deepsea, files, matlab, stored
from motifk8s.data.datasets import PARTS, read
from motifk8s.data.download import download
from motifk8s.errors import InputError, Problem
from motifk8s.store.folder import FolderStore
from motifk8s.study.specs import DeepSea
from motifk8s.study.study import load, loads


def spec_of(classes=CLASSES, length=LENGTH):
    wanted = {name: {"column": column, "motifs": ["MA0083.3"]} for name, column in classes.items()}
    return DeepSea.model_validate({"kind": "deepsea", "length": length, "classes": wanted})


def expected(arrays, spec):
    """Return the expected arrays, computed sequence by sequence."""
    codes, labels, split = [], [], []
    for number, part in enumerate(PARTS):
        for y, x in zip(arrays[part][f"{part}data"], arrays[part][f"{part}xdata"], strict=True):
            row = [int(y[label.column]) for label in spec.classes.values()]
            if any(row):
                text = ["AGCT"[list(base).index(1)] if base.any() else "N" for base in x.T]
                codes.append(["ACGTN".index(base) for base in text])
                labels.append(row)
                split.append(number)
    return np.array(codes, np.uint8), np.array(labels, np.int8), np.array(split, np.uint8)


def check(out, arrays, spec):
    found = read(out, list(spec.classes))
    for name, right in zip(("codes", "labels", "split"), expected(arrays, spec), strict=True):
        np.testing.assert_array_equal(getattr(found, name), right, name)
    return found


@pytest.fixture(scope="module")
def arrays():
    return make()


@pytest.fixture(scope="module")
def folder(arrays, tmp_path_factory):
    """A good bundle; tests change copies of it."""
    return write(tmp_path_factory.mktemp("bundle") / "mats", arrays)


def refused(source, tmp_path, spec=None, kind=InputError, **options):
    """Run an import that must fail and leave no file; return the message, one line."""
    out = tmp_path / "out" / "data.h5"
    out.parent.mkdir(exist_ok=True)
    with pytest.raises(kind) as caught:
        deepsea.import_bundle(str(source), spec or spec_of(), out, **options)
    assert "\n" not in str(caught.value)
    assert not list(out.parent.iterdir())
    return str(caught.value)


# What is kept -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chunks",
    [(7, 4, 16), (23, 1, 9), (1, 3, 61), (23, 4, 1), (5, 4, 40), None],
    ids=str,
)
@pytest.mark.parametrize("block", [1, 900, 2**25])
def test_against_brute_force(chunks, block, arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "BLOCK", block)
    source = write(tmp_path / "mats", arrays, chunks=chunks)
    # Not in the order of the file, and one label twice.
    spec = spec_of({"b": 636, "a": 0, "again": 636, "last": 918})
    seen = []
    facts = deepsea.import_bundle(
        str(source), spec, tmp_path / "out.h5", progress=lambda *step: seen.append(step)
    )
    found = check(tmp_path / "out.h5", arrays, spec)
    assert facts["read"] == SIZES
    assert facts["data_hash"] == found.data_hash
    assert facts["sequences"] == {
        part: int((found.split == number).sum()) for number, part in enumerate(PARTS)
    }
    for name in ("train.mat", "valid.mat", "test.mat"):
        done = [(have, total) for what, have, total in seen if what == name]
        assert done == sorted(done)
        assert done[-1][0] <= done[-1][1] == 4 * LENGTH * SIZES[name[:-4]]


@pytest.mark.parametrize(
    "options", [{"compression": None}, {"shuffle": True}, {"fletcher32": True}]
)
def test_filters_of_hdf5(options, arrays, tmp_path):
    if options.get("compression", "") is None:
        options = {"compression": None, "compression_opts": None}
    source = write(tmp_path / "mats", arrays, **options)
    deepsea.import_bundle(str(source), spec_of(), tmp_path / "out.h5")
    check(tmp_path / "out.h5", arrays, spec_of())


def test_chunks_are_read_once_and_only_if_needed(tmp_path, monkeypatch):
    """Two of 10 columns of chunks have kept rows; each of their 3 x 2 chunks is read once."""
    monkeypatch.setattr(matlab, "BLOCK", 1)
    x = np.zeros((100, 4, 30), np.uint8)
    write_73(tmp_path / "x.mat", {"trainxdata": x}, chunks=(10, 2, 10))
    with matlab.open_arrays(tmp_path / "x.mat") as found:
        places = [place[:2] for place in found["trainxdata"].blocks(np.array([3, 9, 55]))]
    numbers = [(p.start, p.stop, r.start, r.stop) for p, r in places]
    assert numbers == [(p, p + 10, r, r + 10) for r in (0, 50) for p in (0, 10, 20)]


def test_big_blocks_join_neighbours_only(tmp_path):
    x = np.zeros((100, 4, 30), np.uint8)
    write_73(tmp_path / "x.mat", {"trainxdata": x}, chunks=(10, 4, 10))
    with matlab.open_arrays(tmp_path / "x.mat") as found:
        kept = np.array([3, 15, 55, 99])
        places = [place[:2] for place in found["trainxdata"].blocks(kept)]
        assert [list(range(100))[r] for _, r in places] == [
            list(range(20)), list(range(50, 60)), list(range(90, 100))
        ]  # fmt: skip
        assert {(p.start, p.stop) for p, _ in places} == {(0, 30)}
        assert not list(found["trainxdata"].blocks(np.array([], int)))


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, bool])
def test_version_5_as_scipy_reads_it(compressed, dtype, arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "BLOCK", 1000)
    test = {name: array.astype(dtype) for name, array in arrays["test"].items()}
    # Other arrays are before and between: not numeric, or stored in the tag itself.
    mixed = {"a": "text", "b": {"c": 1.5}, "d": np.array([[1]], np.uint8), "e": 1j}
    write_5(tmp_path / "t.mat", mixed | dict(reversed(test.items())), do_compression=compressed)
    loaded = scipy.io.loadmat(tmp_path / "t.mat")
    with matlab.open_arrays(tmp_path / "t.mat") as found:
        assert {"testdata", "testxdata", "a", "b", "d", "e"} <= set(found)
        rows = found["testdata"].rows(np.array([0, 5, 918]))
        np.testing.assert_array_equal(rows, loaded["testdata"].T[[0, 5, 918]])
        whole = np.concatenate([b for _, _, b in found["testxdata"].blocks(np.array([2]))])
        np.testing.assert_array_equal(whole.transpose(2, 1, 0), loaded["testxdata"])


def test_version_5_stores_large_numbers_in_small_types(arrays, tmp_path):
    """MATLAB does so with whole numbers of class double."""
    write_5(tmp_path / "t.mat", {"x": arrays["test"]["testdata"]}, do_compression=False)
    content = bytearray((tmp_path / "t.mat").read_bytes())
    content[128 + 16] = 6  # the class, in the flags of the array
    (tmp_path / "t.mat").write_bytes(content)
    with matlab.open_arrays(tmp_path / "t.mat") as found:
        assert found["x"].dtype == np.uint8
        np.testing.assert_array_equal(found["x"].rows(np.arange(919)).T, arrays["test"]["testdata"])


@pytest.mark.parametrize(
    "error",
    [MemoryError(), struct.error("x"), zlib.error("x"), IndexError("x"), MatReadError("x")],
    ids=repr,
)
def test_version_5_that_scipy_cannot_read(error, folder, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(scipy.io, "loadmat", fail)
    line = refused(folder, tmp_path, kind=Problem)
    assert "test.mat: " in line or "valid.mat: " in line
    assert "validdata: " in line or "testdata: " in line


def test_real_study(tmp_path):
    """The study of the paper with its length and all labels, and the table of differences."""
    spec = load("koo2019").datasets["invivo"]
    arrays = make(1, {"train": 90, "valid": 30, "test": 40}, 1000)
    source = write(tmp_path / "mats", arrays, chunks=(200, 4, 50))
    facts = deepsea.import_bundle(str(source), spec, tmp_path / "out.h5")
    found = check(tmp_path / "out.h5", arrays, spec)
    assert facts["paper"]["sequences"] == {"train": 270_382, "test": 23_768}
    rows = deepsea.compare(facts)
    assert len(rows) == 15
    n, (_, labels) = facts["sequences"], found.part("train")
    assert rows[0] == {
        "what": "training sequences", "here": n["train"], "paper": 270_382,
        "difference": n["train"] - 270_382,
    }  # fmt: skip
    assert rows[1] | {"here": 0} == {
        "what": "validation sequences", "here": 0, "paper": None, "difference": None
    }  # fmt: skip
    assert rows[3]["what"] == "Arid3a training positives"
    assert rows[3]["here"] == int(labels[:, 0].sum()) == rows[3]["difference"] + 27_652
    assert sum(row["paper"] for row in rows[3:]) == sum(deepsea.POSITIVES.values()) == 390_932
    # The paper has no such totals of other labels.
    other = deepsea.import_bundle(str(source), spec_of(length=1000), tmp_path / "other.h5")
    assert [row["paper"] for row in deepsea.compare(other)] == [None] * 3 + [7_528, 27_652, 87_290]


# Where it comes from ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_archive(mode, folder, arrays, tmp_path):
    archive = pack(folder, tmp_path / "bundle.any", mode, "../../a/./b/")
    deepsea.import_bundle(str(archive), spec_of(), tmp_path / "out.h5")
    check(tmp_path / "out.h5", arrays, spec_of())


def test_folder_below(folder, arrays, tmp_path):
    shutil.copytree(folder, tmp_path / "a" / "deepsea_train")
    deepsea.import_bundle(str(tmp_path / "a"), spec_of(), tmp_path / "out.h5")
    check(tmp_path / "out.h5", arrays, spec_of())


class Remote:
    """A store like S3, which is not a local folder."""

    def __init__(self, folder):
        self._inner = FolderStore(folder)
        self.url = "s3://bucket/some"

    def __getattr__(self, name):
        return getattr(self._inner, name)


@pytest.mark.parametrize("kind", [FolderStore, Remote])
def test_in_a_store(kind, folder, arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = kind(tmp_path / "store")
    for path in folder.iterdir():
        store.upload(path, f"bundles/v0.9/{path.name}")
    pack(folder, tmp_path / "b.tar.gz")
    store.upload(tmp_path / "b.tar.gz", "bundles/b.tar.gz")
    for source in ("bundles/v0.9", "bundles/b.tar.gz"):
        deepsea.import_bundle(source, spec_of(), tmp_path / "out.h5", store=store)
        check(tmp_path / "out.h5", arrays, spec_of())
    assert "bundles/none" in refused("bundles/none", tmp_path, store=store)


def test_s3_address(folder, arrays, tmp_path, monkeypatch):
    urls = []
    store = Remote(tmp_path / "store")
    pack(folder, tmp_path / "b.tar.gz")
    store.upload(tmp_path / "b.tar.gz", "b.tar.gz")
    monkeypatch.setattr(bundle, "open_store", lambda url: urls.append(url) or store)
    for source, opened in (
        ("s3://lab/x/y/b.tar.gz", "s3://lab/x/y"),
        ("s3://lab/b.tar.gz", "s3://lab/"),
    ):
        deepsea.import_bundle(source, spec_of(), tmp_path / "out.h5")
        check(tmp_path / "out.h5", arrays, spec_of())
        assert urls[-1] == opened
    assert "not ftp" in refused("ftp://host/b.tar.gz", tmp_path)


def test_prepare(folder, arrays, tmp_path):
    classes = {name: label.model_dump() for name, label in spec_of().classes.items()}
    text = {
        "name": "mine",
        "datasets": {"invivo": {"kind": "deepsea", "length": LENGTH, "classes": classes}},
        "models": {"one": {"conv": [{"filters": 2, "width": 3}]}},
    }
    study = loads(json.dumps(text), "mine.yaml")
    spec, store = study.datasets["invivo"], FolderStore(tmp_path / "store")
    with pytest.raises(InputError, match="kind deepsea; its data sets of this kind: invivo"):
        deepsea.prepare(study, "synthetic", store, str(folder))
    with pytest.raises(InputError, match="mats2"):
        deepsea.prepare(study, "invivo", store, f"{folder}2")
    longer = study.model_copy(update={"datasets": {"invivo": spec_of(length=1000)}})
    with pytest.raises(InputError, match="because data set invivo of study mine has length: 1000"):
        deepsea.prepare(longer, "invivo", store, str(folder))
    assert store.list() == []
    facts = deepsea.prepare(study, "invivo", store, str(folder))
    found = stored.load_dataset(study, "invivo", store)
    np.testing.assert_array_equal(found.codes, expected(arrays, spec)[0])
    assert stored.data_hash(study, "invivo", store) == facts["data_hash"]
    again = deepsea.prepare(study, "invivo", store)  # The store has it, so nothing is downloaded.
    assert again == {key: facts[key] for key in again}
    assert set(facts) - set(again) == {"source", "read"}


def test_an_archive_has_the_hash_that_is_given(folder, arrays, tmp_path, monkeypatch):
    archive = pack(folder, tmp_path / "b.tar.gz")
    right = hashlib.sha256(Path(archive).read_bytes()).hexdigest()
    store = FolderStore(tmp_path / "store")
    store.upload(archive, "b.tar.gz")
    for given in (right, right.upper(), ""):
        monkeypatch.setenv("MOTIFK8S_DEEPSEA_HASH", given)
        for source in (str(archive), "b.tar.gz"):
            deepsea.import_bundle(source, spec_of(), tmp_path / "out.h5", store=store)
            check(tmp_path / "out.h5", arrays, spec_of())
    monkeypatch.setenv("MOTIFK8S_DEEPSEA_HASH", "0" * 64)
    told = refused(str(archive), tmp_path)
    assert right in told and "0" * 64 in told and "deepseaSha256" in told
    assert "b.tar.gz" in refused("b.tar.gz", tmp_path, store=store)
    assert "a folder has no hash" in refused(str(folder), tmp_path)


# HTTP -------------------------------------------------------------------------------------------

Answer = namedtuple("Answer", "cut ranges etag size status", defaults=(None, True, '"1"', None, 0))


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server that gives the `answers` one after the other, then only good ones."""
    monkeypatch.setenv("no_proxy", "*")
    state = SimpleNamespace(content=b"", answers=[], requests=[])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = state.answers.pop(0) if state.answers else Answer()
            state.requests.append({k: self.headers.get(k) for k in ("Range", "If-Range")})
            content, first, status = state.content, 0, answer.status or 200
            if answer.status:
                content = b"no"
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            same = self.headers.get("If-Range") in (None, answer.etag)
            if wanted and answer.ranges and same and not answer.status:
                first, status = int(wanted[1]), 206
                if first >= len(content):
                    status, content, first = 416, b"", 0
            self.send_response(status)
            if status == 206:
                total = answer.size or len(content)
                self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
            if answer.etag:
                self.send_header("ETag", answer.etag)
            self.send_header("Content-Length", str((answer.size or len(content)) - first))
            self.end_headers()
            self.wfile.write(content[first : answer.cut])

        def log_message(self, *_):
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{served.server_port}/b.tar.gz"
    yield state
    served.shutdown()
    served.server_close()
    thread.join()


def test_bundle_over_http(server, folder, arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "PAUSES", (0, 0))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    server.content = pack(folder, tmp_path / "b.tar.gz").read_bytes()
    size = len(server.content)
    server.answers = [Answer(cut=size // 3), Answer(cut=size // 2)]
    seen = []
    facts = deepsea.import_bundle(
        server.url, spec_of(), tmp_path / "out.h5", progress=lambda *step: seen.append(step)
    )
    check(tmp_path / "out.h5", arrays, spec_of())
    assert facts["source"] == server.url
    assert [request["Range"] for request in server.requests] == [
        None, f"bytes={size // 3}-", f"bytes={size // 2}-"
    ]  # fmt: skip
    loaded = [step for step in seen if step[0] == "download"]
    assert loaded == sorted(loaded)
    assert loaded[-1] == ("download", size, size)
    assert list((tmp_path / "cache" / "motifk8s").iterdir()) == []
    # A damaged download is deleted too.
    server.content = server.content[:-30]
    assert "truncated" in refused(server.url, tmp_path)
    assert list((tmp_path / "cache" / "motifk8s").iterdir()) == []


@pytest.mark.parametrize("mistake", ["length", "positives", "memory"])
def test_a_users_mistake_keeps_the_download(mistake, server, folder, arrays, tmp_path, monkeypatch):
    """The next try, without the mistake, does not download the bundle again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    server.content = pack(folder, tmp_path / "b.tar.gz").read_bytes()
    absent = next(n for n in range(919) if not arrays["test"]["testdata"][:, n].any())
    spec, message = {
        "length": (spec_of(length=1000), "has length: 1000; correct it"),
        "positives": (spec_of({**CLASSES, "none": absent}), "class none has no positive sequence"),
        "memory": (spec_of(), "the budget is 100"),
    }[mistake]
    with monkeypatch.context() as patch:
        if mistake == "memory":
            patch.setattr(files, "budget", lambda: 100)
        assert message in refused(server.url, tmp_path, spec)
    assert [f.read_bytes() for f in (tmp_path / "cache/motifk8s").iterdir()] == [server.content]
    deepsea.import_bundle(server.url, spec_of(), tmp_path / "out.h5")
    check(tmp_path / "out.h5", arrays, spec_of())
    assert len(server.requests) == 1
    assert list((tmp_path / "cache/motifk8s").iterdir()) == []


CONTENT = bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("answers", "requests"),
    [
        ([], 1),
        ([Answer(cut=5000)], 2),
        (
            [Answer(cut=n) for n in range(1000, 9000, 1000)],
            9,
        ),  # A retry that receives bytes does not count.
        ([Answer(cut=5000, ranges=False), Answer(ranges=False)], 2),  # from the beginning
        ([Answer(cut=5000, etag=None), Answer(etag=None)], 2),  # trusted by its size
        ([Answer(cut=5000), Answer(etag='"2"')], 2),  # another file by now: all of it
        ([Answer(cut=5000), Answer(size=9999)], 3),  # another size: all of it, once more
        ([Answer(status=503), Answer(cut=100), Answer(status=502)], 4),
    ],
)
def test_download(answers, requests, server, tmp_path):
    server.content, server.answers = CONTENT, list(answers)
    download(server.url, tmp_path / "f", pauses=(0, 0), timeout=5)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert len(server.requests) == requests


def test_download_resumes_in_another_process(server, tmp_path):
    server.content, server.answers = CONTENT, [Answer(cut=5000)]
    with pytest.raises(
        Problem, match="cut, after 5,000 of 10,240 bytes; run the same command again"
    ):
        download(server.url, tmp_path / "f", pauses=(), timeout=5)
    assert not (tmp_path / "f").exists()
    download(server.url, tmp_path / "f", pauses=())
    assert server.requests[-1] == {"Range": "bytes=5000-", "If-Range": '"1"'}
    assert (tmp_path / "f").read_bytes() == CONTENT
    # All bytes are there, but the file is not yet renamed.
    (tmp_path / "f").rename(tmp_path / "f.part")
    about = f'{{"url": "{server.url}", "size": {len(CONTENT)}, "version": null}}'
    (tmp_path / "f.part.json").write_text(about)
    download(server.url, tmp_path / "f", pauses=())
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([Answer(status=404)], "the server answered 404 Not Found; check the URL"),
        ([Answer(status=403)], "403 Forbidden"),
        ([Answer(status=501)], "501"),
        ([Answer(status=503)] * 9, "503 .* after 0 bytes"),
        ([Answer(cut=100, ranges=False)] * 9, "cut, after 100 of 10,240"),
        ([Answer(cut=100)] + [Answer(cut=0)] * 9, "cut, after 100 of 10,240"),
        ([Answer(size=99_999)] + [Answer(size=99_999)] * 9, "after 10,240 of 99,999"),
    ],
)
def test_download_fails(answers, message, server, tmp_path):
    server.content, server.answers = CONTENT, list(answers)
    with pytest.raises(Problem, match=message) as caught:
        download(server.url, tmp_path / "f", pauses=(0, 0), timeout=5)
    assert isinstance(caught.value, InputError) == (answers[0].status in (403, 404))
    assert not (tmp_path / "f").exists()


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(Problem, match="refused, after 0 bytes"):
        download("http://127.0.0.1:1/x", tmp_path / "f", pauses=(0,))
    with pytest.raises(InputError, match="not a valid URL"):
        download("http://127.0.0.1:x/", tmp_path / "f", pauses=(0,))


def test_no_space(server, folder, tmp_path, monkeypatch):
    archive = pack(folder, tmp_path / "b.tar.gz")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    line = refused(archive, tmp_path, kind=Problem)
    assert re.search(r"test.mat needs [\d,]+ bytes, but its disk has 1,000; .*TMPDIR", line)
    server.content = CONTENT
    with pytest.raises(Problem, match="XDG_CACHE_HOME"):
        download(server.url, tmp_path / "f", pauses=())


def test_full_disk(folder, tmp_path, monkeypatch):
    archive = pack(folder, tmp_path / "b.tar.gz")

    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(path, mode):
        return Full() if "x" in mode else open(path, mode)  # noqa: SIM115

    monkeypatch.setattr(bundle, "open", full, False)
    assert "no space left" in refused(archive, tmp_path, kind=Problem)


# Bad bundles --------------------------------------------------------------------------------


@pytest.mark.parametrize("what", BROKEN)
def test_refused(what, folder, arrays, tmp_path):
    breaks, message = BROKEN[what]
    copy = shutil.copytree(folder, tmp_path / "copy")
    breaks(copy, arrays)
    assert re.search(message, refused(copy, tmp_path))


def test_other_length(folder, tmp_path):
    assert "(61, 4, 1000)" in refused(folder, tmp_path, spec_of(length=1000))


def declared(path, kind, name):
    """Make a file declare 3 billion rows of an array that were never written."""
    if kind == 7.3:
        with h5py.File(path, "r+") as file:
            shape = (*file[name].shape[:-1], 3 * 10**9)
            del file[name]
            file.create_dataset(name, shape, "u1", chunks=True)
    else:
        mats = {key: x for key, x in scipy.io.loadmat(path).items() if key[0] != "_"}
        write_5(path, mats, do_compression=False)
        content = path.read_bytes()
        for rows, *others in (array.shape for array in mats.values()):  # their numbers must fit
            dims = np.array([[rows, *others], [rows * 10**6, *others]], "<i4")
            assert content.count(dims[0].tobytes()) == 1
            content = content.replace(*(each.tobytes() for each in dims))
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("kind", "part", "name"),
    [(7.3, "train", "data"), (7.3, "train", "xdata"), (5, "valid", "data"), (5, "test", "data")],
)
def test_declared_sizes_are_not_trusted(folder, tmp_path, kind, part, name):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    declared(copy / f"{part}.mat", kind, f"{part}{name}")
    line = refused(copy, tmp_path)
    assert re.search(
        rf"{part}.mat: {part}{name} declares [0-9,]+ bytes; the budget is 67,108", line
    )


def test_arrays_in_other_files_are_not_read(folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    with h5py.File(copy / "train.mat", "r+") as file:
        del file["traindata"]
        file["traindata"] = h5py.ExternalLink(str(folder / "train.mat"), "/traindata")
    assert "train.mat: traindata is a link; links are not followed" in refused(copy, tmp_path)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_sparse_file_in_a_tar(tmp_path, mode):
    archive = tmp_path / "b.tar"
    with tarfile.open(archive, mode, format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("train.mat")
        member.pax_headers = {
            "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "train.mat",
            "GNU.sparse.realsize": str(10**13),
        }  # fmt: skip
        content = f"1\n{10**13}\n0\n".encode().ljust(512, b"\0")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    line = refused(archive, tmp_path)
    assert "b.tar: train.mat declares 10,000,000,000,000 bytes; the budget is 67,108,864" in line


def test_a_bundle_that_does_not_fit_into_memory(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "budget", lambda: 100)
    assert "needs" in (line := refused(folder, tmp_path)) and "the budget is 100, half" in line


def test_archives_refused(folder, tmp_path):
    archive = pack(folder, tmp_path / "b.tar.gz")
    good = archive.read_bytes()
    for share in (0.2, 0.9, 0.9999):
        archive.write_bytes(good[: int(len(good) * share)])
        assert "truncated or damaged" in refused(archive, tmp_path)
    archive.write_bytes(good[:-8] + bytes(8))
    assert "CRC" in refused(archive, tmp_path)
    plain = pack(folder, tmp_path / "b.tar", "w")
    plain.write_bytes(plain.read_bytes()[:20_000])
    assert "truncated or damaged" in refused(plain, tmp_path)
    for other in (b"", b"PK\x03\x04" * 500, b"\x1f\x8b"):
        archive.write_bytes(other)
        assert re.search("truncated or damaged|has no train.mat", refused(archive, tmp_path))
    (folder.parent / "none").mkdir(exist_ok=True)
    assert "has no train.mat and no" in refused(pack(folder.parent / "none", archive), tmp_path)
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("a/train.mat", "b/train.mat", "valid.mat", "test.mat"):
            tar.add(folder / Path(name).name, name)
    assert "more than one train.mat" in refused(archive, tmp_path)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "valid.mat", "valid.mat")
        tar.add(folder / "test.mat", "test.mat")
        name = tarfile.TarInfo("train.mat")
        name.type, name.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(name)
    assert "has no train.mat" in refused(archive, tmp_path)
    assert "no such file or folder" in refused(tmp_path / "none.tar.gz", tmp_path)


def test_public_address():
    assert bundle.URL.startswith("https://deepsea.princeton.edu/media/code/deepsea_train_bundle")
    assert deepsea.URL is bundle.URL
