"""The public checks run targets that exist, on the versions that the project supports.

``make lint-workflows`` checks the workflows themselves.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"
pytestmark = pytest.mark.skipif(not WORKFLOWS.is_dir(), reason="the CI is not part of an image")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    return dict(YAML(typ="safe").load(text(".github/workflows/ci.yml"))["jobs"])


def test_what_the_jobs_run_exists(jobs: dict[str, Any]) -> None:
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    targets = set(re.findall(r"^([a-z-]+):.*##", text("Makefile"), re.MULTILINE))
    ran = set(re.findall(r"^\s*make ([a-z-]+)", "\n".join(commands), re.MULTILINE))
    assert {"lint", "lint-workflows", "test", "docs", "dist", "test-cluster"} <= ran <= targets
    scripts = re.findall(r"\.ci/\w+", "\n".join(commands))
    assert scripts and all((ROOT / script).is_file() for script in scripts)


def test_the_house_checks_no_less_than_the_public(jobs: dict[str, Any]) -> None:
    public = set(re.findall(r"make ([a-z-]+)", str(jobs)))
    house = set(re.findall(r"make ([a-z-]+)", text(".ci/run")))
    assert public <= house


def test_all_supported_versions_are_tested(jobs: dict[str, Any]) -> None:
    classifiers = tomllib.loads(text("pyproject.toml"))["project"]["classifiers"]
    supported = re.findall(r"Python :: (3\.\d+)", " ".join(classifiers))
    assert jobs["test"]["strategy"]["matrix"]["python"] == supported


def test_one_version_of_argo() -> None:
    [command] = re.findall(r"\bargo=(\S+)$", text(".ci/tools"), re.MULTILINE)
    [cluster] = re.findall(r"\bargo=(\S+) ", text(".ci/kind"))
    assert command == cluster
    assert f"v4@{command}" in text("tests/system/test_chart.py")
