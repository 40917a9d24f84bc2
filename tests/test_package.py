"""The package: what it says of itself, and that its files have no traces of who built them.

``make dist`` builds the wheel and tries it.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import subprocess
import sys
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


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "packaging" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])


@pytest.fixture(scope="module")
def build() -> ModuleType:
    return script("build")


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


# --- lists of parts

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc (2.36-9)
Version: 2.36-9+deb12u10
Description: GNU C Library
 Version: not a field

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: tzdata
Status: hold ok installed
Architecture: all
Version: 1:2026a~rc1-0
"""


def test_packages_of_debian_have_the_urls_that_scanners_know(tmp_path: Path) -> None:
    (tmp_path / "libc6").mkdir()
    (tmp_path / "libc6" / "copyright").write_text(
        "License: LGPL-2.1+\n text\nLicense: GPL-2\nLicense: LGPL-2.1+\nLicense:\n x\n"
    )
    libc, tzdata = script("sbom").debian_parts(STATUS, tmp_path, "12")
    assert libc["purl"] == (
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12&upstream=glibc"
    )
    assert [each["license"]["name"] for each in libc["licenses"]] == ["LGPL-2.1+", "GPL-2"]
    assert tzdata["purl"] == "pkg:deb/debian/tzdata@1:2026a~rc1-0?arch=all&distro=debian-12"
    assert "licenses" not in tzdata


def test_packages_of_python_have_what_pip_recorded(tmp_path: Path) -> None:
    def package(name: str, *lines: str, module: bool = True) -> None:
        info = tmp_path / f"{name}-1.0+x.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("\n".join((f"Name: {name}", "Version: 1.0+x", *lines, "")))
        (info / "RECORD").write_text(f"{info.name}/METADATA,,\n{name}.py,,\n")
        (tmp_path / f"{name}.py").write_text("") if module else None

    package("Under_score", "License-Expression: MIT OR BSD-2-Clause", "License: MIT")
    package("classified", "Classifier: License :: OSI Approved :: MIT License", "License: MIT")
    package("named", "License: Apache 2.0")
    package("texts", "License: " + "word " * 40)
    package("slimmed", module=False)
    code = "import json, sbom; print(json.dumps(list(sbom.python_parts())))"
    paths = os.pathsep.join(map(str, (tmp_path, ROOT / "packaging")))
    done = subprocess.run(
        [sys.executable, "-S", "-B", "-c", code],
        env={"PYTHONPATH": paths}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    python, *parts = json.loads(done.stdout)
    assert python["name"] == "python"
    assert {part["purl"]: part.get("licenses") for part in parts} == {
        "pkg:pypi/under-score@1.0%2Bx": [{"expression": "MIT OR BSD-2-Clause"}],
        "pkg:pypi/classified@1.0%2Bx": [{"license": {"name": "MIT License"}}],
        "pkg:pypi/named@1.0%2Bx": [{"license": {"name": "Apache 2.0"}}],
        "pkg:pypi/texts@1.0%2Bx": None,
    }


# --- the newcomer


def test_the_newcomer_runs_the_commands_of_the_readme() -> None:
    newcomer = script("newcomer")
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    found = list(newcomer.commands(page))
    assert found[:2] == ["apt install python3-venv make", "make study"]
    assert "pip install 'dist/motifk8s-0.1.0-py3-none-any.whl[cpu]'" in found
    assert all(any(c.startswith(start) for c in found) for start in newcomer.READER)
    assert all(re.search(rf"^{re.escape(start)}", page, re.MULTILINE) for start in newcomer.NOT_RUN)
    assert not [c for c in found if c.startswith(("helm", "argo", "make image", *newcomer.NOT_RUN))]
    subprocess.run(["bash", "-n"], input=newcomer.script(page), check=True, text=True)
