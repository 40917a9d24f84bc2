"""Writing local files: through links, into pipes and devices, and never over an input."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.tiny import ROOT

from motifk8s.errors import InputError, Problem
from motifk8s.store.files import refuse_inputs, replacing, write_text
from motifk8s.store.folder import FolderStore

PACKAGE = ROOT / "python" / "motifk8s"


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    scratch, here = tmp_path / "scratch", tmp_path / "here"
    scratch.mkdir(), here.mkdir()
    (scratch / "a").write_text("old")
    before = (scratch / "a").stat().st_ino
    (here / "second").symlink_to(scratch / "a")
    (here / "first").symlink_to("second")
    write_text(here / "first", "new")
    assert (scratch / "a").read_text() == "new" and (scratch / "a").stat().st_ino != before
    assert os.readlink(here / "first") == "second" and (here / "second").is_symlink()
    (here / "dangling").symlink_to(scratch / "b")
    write_text(here / "dangling", "made")
    assert (scratch / "b").read_text() == "made" and (here / "dangling").is_symlink()
    assert sorted(os.listdir(here)) == ["dangling", "first", "second"]  # no .tmp
    assert sorted(os.listdir(scratch)) == ["a", "b"]


def test_a_failure_leaves_the_target_of_a_link(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(RuntimeError), replacing(tmp_path / "link") as file:
        file.write(b"half")
        raise RuntimeError
    assert (tmp_path / "a").read_text() == "old" and len(os.listdir(tmp_path)) == 2


def test_links_that_lead_to_each_other(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InputError, match="links lead to each other"):
        write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").is_symlink() and (tmp_path / "b").is_symlink()


def test_a_pipe_is_written_into(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        got = []
        reader = threading.Thread(target=lambda got=got: got.append(pipe.read_bytes()))
        reader.start()
        write_text(tmp_path / name, "motif\n")
        reader.join(10)
        assert got == [b"motif\n"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_pipe_whose_reader_is_gone(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(Problem, match="Broken pipe"), replacing(pipe) as file:
        os.close(reader)
        file.write(b"x")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_into(tmp_path):
    number = os.stat("/dev/null").st_rdev
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("/dev/null", tmp_path / "null"):
        write_text(Path(name), "x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode) and os.stat("/dev/null").st_rdev == number
    with pytest.raises(Problem, match="no space left"):
        write_text(Path("/dev/full"), "x")


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_descriptors_keep_what_the_shell_has_written(name, tmp_path):
    code = (
        "from pathlib import Path; from motifk8s.store.files import write_text;"
        f"print('first'); write_text(Path({name!r}), 'second\\n'); print('third')"
    )
    (tmp_path / "log").write_text("before\n")
    with open(tmp_path / "log", "a") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, check=True)
    assert (tmp_path / "log").read_text() == "before\nfirst\nsecond\nthird\n"
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert piped.stdout == b"first\nsecond\nthird\n"


def test_an_output_that_is_an_input(tmp_path):
    data, other = tmp_path / "data", tmp_path / "other"
    data.write_text("x"), other.write_text("y")
    os.link(data, tmp_path / "hard")
    (tmp_path / "soft").symlink_to("data")
    (tmp_path / "folder").symlink_to(".")
    for name in ("data", "./data", "hard", "soft", "folder/data", "folder/soft"):
        path = Path(f"{tmp_path}/{name}")
        with pytest.raises(InputError, match="it is an input .*choose another file"):
            refuse_inputs([None, path], [other, str(data)])
        with pytest.raises(InputError, match="it is an input"), replacing(path, [data]):
            raise AssertionError
        assert data.read_text() == "x"
    refuse_inputs([tmp_path / "new", other], [data, "JASPAR2016", "s3://bucket/x", "a\0b", ""])
    refuse_inputs([Path("/dev/null"), Path("/dev/null")], ["/dev/null"])
    (tmp_path / "late").symlink_to("new")
    for one, two in (("new", "new"), ("new", "folder/new"), ("late", "new"), ("hard", "data")):
        with pytest.raises(InputError, match="it is another output"):
            refuse_inputs([tmp_path / one, tmp_path / two], [])


def test_a_folder_of_outputs_keeps_the_inputs(tmp_path):
    (tmp_path / "x").write_text("mine")
    (tmp_path / "new").write_text("new")
    store = FolderStore(tmp_path, [tmp_path / "x"])
    with pytest.raises(InputError, match="it is an input"):
        store.upload(tmp_path / "new", "x")
    assert (tmp_path / "x").read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["s3:/b/x", "s3:b", "S3://b/x", "gs://b", "GS:b/x", "file:///x", "az:/b", "http://h/x"]
)
def test_an_address_is_not_a_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="give a local path, not an address"):
        write_text(Path(name), "x")
    with pytest.raises(InputError, match="give a folder or s3://bucket/prefix, not"):
        FolderStore(name)
    assert os.listdir(tmp_path) == []
    write_text(Path("chr1:2-3"), "x")
    write_text(Path("a") / name, "x")
    FolderStore("chr1:2-3x")
    FolderStore(tmp_path / name).write("a", b"")  # an absolute path, as the docs say


def test_text_is_utf8_in_every_locale(tmp_path):
    code = "from pathlib import Path; from motifk8s.store.files import write_text;"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = [sys.executable, "-c", f"{code}write_text(Path('x'), '\\u2264 \\udcff')"]
    subprocess.run(run, cwd=tmp_path, env={**os.environ, **plain}, check=True)
    assert (tmp_path / "x").read_bytes() == "≤ \\udcff".encode()


# Modules that write by themselves, each with the reason.
ELSEWHERE = {
    "store/files.py": "the one place",
    "cells/progress.py": "the progress of a step, a file that Argo reads",
    "cli/arguments.py": "the message of a pod's end, a file that Kubernetes mounts",
    "data/bundle.py": "unpacks into a temporary folder of its own",
    "data/download.py": "appends to an unfinished download",
}


def calls(path: Path) -> list[ast.Call]:
    return [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]


def writes(call: ast.Call) -> bool:
    """Return whether a call writes a local file by itself."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    first = call.args[0] if call.args else None
    if name in ("open", "fdopen", "File"):
        modes = [a.value for a in call.args[:2] if isinstance(a, ast.Constant)]
        image = isinstance(first, ast.Name) and first.id == "image"  # in memory
        return not image and any(set(str(mode)) & set("wxa+") for mode in modes if len(mode) < 4)
    if name in ("to_csv", "savefig"):
        return first is not None and not (isinstance(first, ast.Name) and first.id == "file")
    return name in ("write_bytes", "savetxt", "mkstemp", "NamedTemporaryFile") or (
        name == "write_text" and isinstance(call.func, ast.Attribute)
    )


def test_everything_is_written_in_one_place():
    files = {p.relative_to(PACKAGE).as_posix(): calls(p) for p in PACKAGE.rglob("*.py")}
    assert {name for name, found in files.items() if any(map(writes, found))} == ELSEWHERE.keys()


def test_no_text_file_is_in_the_encoding_of_the_locale():
    for path in PACKAGE.rglob("*.py"):
        for call in calls(path):
            if isinstance(call.func, ast.Attribute) and call.func.attr in (
                "read_text", "write_text",
            ):  # fmt: skip
                assert "encoding" in {k.arg for k in call.keywords}, f"{path}:{call.lineno}"
