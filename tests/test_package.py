"""The package: what it says of itself, and that its files have no traces of who built them.

``make dist`` builds the wheel and tries it.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import subprocess
import tarfile
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ruamel.yaml import YAML

import motifk8s

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / "packaging").is_dir(), reason="the build is not part of an image"
)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_dist", ROOT / "packaging" / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sdist(path: Path, names: list[str], user: str, time: int) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uname, member.mode = 4, time, user, 0o664
            if name.endswith(".sh"):
                member.mode = 0o775
            archive.addfile(member, io.BytesIO(b"text"))
    return path


def test_an_sdist_has_no_times_users_or_order(build: ModuleType, tmp_path: Path) -> None:
    one = sdist(tmp_path / "one.tar.gz", ["p/a.py", "p/b.sh"], "me", 1_700_000_000)
    two = sdist(tmp_path / "two.tar.gz", ["p/b.sh", "p/a.py"], "you", 1_800_000_000)
    assert one.read_bytes() != two.read_bytes()
    for path in (one, two):
        build.without_traces(path, 1_600_000_000)
    assert one.read_bytes() == two.read_bytes()
    with tarfile.open(one) as archive:
        members = archive.getmembers()
        assert [(m.name, m.mode, m.mtime, m.uname) for m in members] == [
            ("p/a.py", 0o644, 1_600_000_000, ""),
            ("p/b.sh", 0o755, 1_600_000_000, ""),
        ]
        text = archive.extractfile("p/a.py")
        assert text is not None and text.read() == b"text"


def test_one_version_everywhere(project: dict[str, Any]) -> None:
    for name in ("CITATION.cff", "helm/motifk8s/Chart.yaml"):
        assert YAML(typ="safe").load(ROOT / name)["version"] == project["version"], name


def test_classifiers_are_the_supported_versions(project: dict[str, Any]) -> None:
    said = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    first, last = re.findall(r"3\.(\d+)", project["requires-python"])  # >=3.11,<3.14
    assert said == [f"3.{minor}" for minor in range(int(first), int(last))]


def test_types_are_for_users_too() -> None:
    assert (Path(motifk8s.__file__).parent / "py.typed").is_file()


PIP = """#!/bin/sh
case "$*" in
  *config*) echo "$SETTINGS" ;;
  *uv.txt*) exit "$NO_UV" ;;
  *) echo pip "$@" | sed 's/-m pip --disable-pip-version-check //' ;;
esac
"""
UV = """#!/bin/sh
test "$FAILS" = 0 && echo uv "$@"
"""


@pytest.mark.parametrize(
    ("changes", "by"),
    [
        ({}, "uv"),
        ({"SETTINGS": ":env:.find-links='/wheels'\nglobal.cert='/ca.crt'"}, "uv"),
        ({"SETTINGS": "global.index-url='https://mirror/simple'"}, "pip"),
        ({"SETTINGS": ":env:.proxy='proxy:80'"}, "pip"),
        ({"NO_UV": "1"}, "pip"),
        ({"FAILS": "1"}, "pip"),
    ],
)
def test_pip_installs_where_uv_cannot(tmp_path: Path, changes: dict[str, str], by: str) -> None:
    for name, program in {"python": PIP, "uv": UV}.items():
        file = tmp_path / ".venv" / "bin" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(program)
        file.chmod(0o755)
    (tmp_path / "requirements").symlink_to(ROOT / "requirements")
    settings = {"PATH": os.environ["PATH"], "SETTINGS": "", "NO_UV": "0", "FAILS": "0", **changes}
    command = [ROOT / "packaging/install.sh", "requirements/cpu.txt"]
    done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    packages, here = done.stdout.splitlines()
    assert {packages.split()[0], here.split()[0]} == {by}
    assert "--no-deps --require-hashes -r requirements/cpu.txt" in packages
    assert here.endswith("--no-deps --no-build-isolation --editable .")
    if by == "uv":
        first, *hashes = (tmp_path / ".venv/uv.txt").read_text().splitlines()
        assert first.startswith("uv==") and all("--hash=sha256:" in line for line in hashes)
