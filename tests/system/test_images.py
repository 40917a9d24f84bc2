"""The images and ``make local``, on a real Docker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from typing import Any

import pytest
from helpers.tiny import ROOT, one_line, provenance, results, run_folder, study_file

IMAGE = "motifk8s-test:test"
NAME, TAG = IMAGE.split(":")
READ_ONLY = ["--read-only", "--tmpfs", "/tmp", "--network", "none", "--user", "12345:6789"]
pytestmark = [
    pytest.mark.slow,  # the first build takes minutes
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not (ROOT / "images").is_dir(), reason="not part of an image"),
]


def run(*command: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=3000, **more
    )


def make(*words: object, **more: Any) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}  # of a make above
    return run("make", *words, f"IMAGE={NAME}", f"TAG={TAG}", **{"env": env, **more})


def docker(*words: object) -> str:
    done = run("docker", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def in_image(*words: object, options: list[str] = READ_ONLY) -> subprocess.CompletedProcess[str]:
    return run("docker", "run", "--rm", *options, IMAGE, *words)


@pytest.fixture(scope="session")
def image() -> dict[str, Any]:
    """What Docker says of the image, which is built."""
    if not shutil.which("docker") or run("docker", "version").returncode:
        reason = "no Docker daemon answers"
        if os.environ.get("MOTIFK8S_REQUIRE_DOCKER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    built = make("image")
    assert built.returncode == 0, built.stdout[-5000:] + built.stderr
    found: list[dict[str, Any]] = json.loads(docker("image", "inspect", IMAGE))
    return found[0]


# The image ------------------------------------------------------------------------------------


def test_it_is_small(image):
    assert image["Size"] <= 1.5e9


def test_its_user_is_a_number_and_not_root(image):
    user, _, group = image["Config"]["User"].partition(":")
    assert int(user) > 0 and int(group) > 0


def test_it_says_which_code_it_is(image):
    described = ["describe", "--always", "--dirty=.dirty", "--abbrev=12", "--exclude=*"]
    commit = run("git", *described).stdout.strip()
    labels = image["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == commit
    version = labels["org.opencontainers.image.version"] + f"+g{commit}" * bool(commit)
    assert version[0].isdigit() and in_image("--version").stdout.strip() == version


def test_it_says_which_base_it_has(image):
    name, label = "python:3.11-slim-bookworm", "org.opencontainers.image.base"
    known = run("docker", "image", "inspect", "--format", '{{join .RepoDigests " "}}', name)
    digests = {digest.partition("@")[2] for digest in known.stdout.split()} or {None}
    labels = image["Config"]["Labels"]
    assert labels[f"{label}.name"] == name and labels.get(f"{label}.digest") in digests


@pytest.mark.parametrize("given", ["python:3.11", "python:3.11@sha256:12ab"])
def test_a_base_is_recorded_with_the_digest_of_its_name(tmp_path, given):
    """For a tag, the digest by which Docker has pulled it; for a base made here, none."""
    fake = tmp_path / "docker"
    for pulled in ("echo python@sha256:34cd", "echo; exit 1"):
        fake.write_text(f"#!/bin/sh\n{pulled}\n")
        fake.chmod(0o755)
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = make("--dry-run", "image", f"BASE={given}", env=env).stdout
        labels = re.findall(r"--label org\.opencontainers\.image\.base\.(\S+)", done)
        digest = "12ab" if "@" in given else "34cd" if "34cd" in pulled else ""
        assert labels == ["name=python:3.11", *([f"digest=sha256:{digest}"] if digest else [])]


def test_its_list_of_parts_is_what_is_in_it(image):
    done = make("--silent", "sbom")
    assert done.returncode == 0, done.stderr
    file = ROOT / done.stdout.strip()
    bill = json.loads(file.read_text())
    file.unlink()
    assert bill["metadata"]["component"]["name"] == IMAGE
    parts = {part["purl"].partition("?")[0]: part for part in bill["components"]}
    ours = "pkg:pypi/motifk8s@" + image["Config"]["Labels"]["org.opencontainers.image.version"]
    assert parts[ours]["licenses"] == [{"expression": "MIT"}]
    listed = re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements" / "cpu.txt").read_text(), re.M)
    pinned = {f"pkg:pypi/{name}@{version}" for name, version in listed}
    of_python = {name for name in parts if name.startswith("pkg:pypi/")}
    assert of_python - pinned == {ours}
    assert f"pkg:pypi/tensorflow-cpu@{dict(listed)['tensorflow-cpu']}" in of_python
    assert "pkg:pypi/aiohttp" not in {name.partition("@")[0] for name in of_python}  # slim.sh
    query = ["--show", "--showformat", "${Version}", "libc6"]
    libc = in_image(*query, options=[*READ_ONLY, "--entrypoint", "dpkg-query"]).stdout
    assert parts["pkg:deb/debian/libc6@" + libc.replace("+", "%2B")]["version"] == libc


def test_it_holds_nothing_that_installs_or_compiles(image):
    tools = "pip pip3 easy_install cc gcc c++ ld strip make git curl wget"
    found = in_image("-c", f"command -v {tools}", options=[*READ_ONLY, "--entrypoint", "sh"])
    # The base may keep a pip for the system's Python, which cannot see our packages.
    assert set(found.stdout.split()) <= {"/usr/bin/pip", "/usr/bin/pip3"}
    code = "import importlib.util as u, sys; sys.exit(bool(u.find_spec('pip')))"
    assert in_image("-c", code, options=[*READ_ONLY, "--entrypoint", "python"]).returncode == 0
    app = in_image("-A", "/app", options=[*READ_ONLY, "--entrypoint", "ls"])
    assert app.stdout.split() == ["jobs"]


def test_what_commands_import_is_compiled(image):
    code = (
        "import keras, sklearn.metrics, tensorflow; "
        "from motifk8s.cells import cell, workers; from motifk8s.cli import main"
    )
    done = in_image("-v", "-c", code, options=[*READ_ONLY, "--entrypoint", "python"])
    lines = [line for line in done.stderr.splitlines() if line.startswith("# code object from ")]
    compiled = [line for line in lines if line.endswith(".pyc'")]
    here = [line for line in lines if line not in compiled]
    assert len(compiled) > 2000 and len(here) < 20, here
    assert not any("motifk8s" in line for line in here)


def test_every_step_runs_on_a_read_only_root_as_anyone(image):
    done = in_image("run", "smoke", "--store", "/tmp/store", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert "/tmp/store/smoke/report.html" in done.stdout


# make local -----------------------------------------------------------------------------------


def test_make_local_leaves_a_finished_cell_of_the_caller(image, tmp_path):
    study = study_file(tmp_path / "tiny.yaml")
    store = tmp_path / "a store"
    done = make("local", f"STUDY={study}", "CELL=small/a/1", f"STORE={store}")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert done.stdout.splitlines()[-1] == str(store / "tiny/cells/small/a/1")
    assert (run_folder(store, "small/a/1") / "model.keras").exists()
    commit = image["Config"]["Labels"]["org.opencontainers.image.revision"]
    of = provenance(store, "small/a/1")
    assert of["code_version"].endswith(commit)
    assert {path.stat().st_uid for path in store.rglob("*")} == {os.getuid()}
    assert {path.stat().st_gid for path in store.rglob("*")} == {os.getgid()}


def test_a_study_beside_its_data_and_in_the_store(image, tmp_path):
    study = study_file(tmp_path / "tiny.yaml")
    for store in (tmp_path, tmp_path / "store"):
        done = make("local", f"STUDY={study}", "CELL=small/a/1", f"STORE={store}")
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr
        assert (run_folder(store, "small/a/1") / "metrics.json").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (["STUDY=nonsense"], "nonsense"),
        (["STUDY=smoke", "CELL=tiny/nonsense/1"], "tiny/nonsense"),
        (["STUDY=smoke", "STORE=gs://bucket"], "gs://"),
    ],
)
def test_a_mistake_is_one_line(image, tmp_path, words, said):
    done = make("--silent", "local", f"STORE={tmp_path / 'store'}", *words)
    assert done.returncode == 2
    assert said in one_line(done.stderr)


def test_a_mistake_has_exit_code_2(image):
    assert in_image("cell", "nonsense", "a/b/1").returncode == 2


def test_without_docker_one_line_says_what_to_install(tmp_path):
    for name in ("sh", "sed", "git"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    done = run(
        str(shutil.which("make")), "--silent", "local", env={**os.environ, "PATH": str(tmp_path)}
    )
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if "***" not in line]
    assert said == ["make: no docker here; install Docker Engine"]


def test_the_authors_sequences_are_made_in_the_image(image: dict[str, Any]) -> None:
    """Their content is pinned in tests/data/test_datasets.py."""
    script = (
        "from motifk8s.data.datasets import synthesize; from motifk8s.study.study import load; "
        "study = load('koo2019-synthetic'); spec = study.datasets['synthetic']; "
        "print(synthesize(spec, study.data_seed('synthetic')).data_hash)"
    )
    there = in_image("-c", script, options=[*READ_ONLY, "--entrypoint", "python"])
    here = run(sys.executable, "-c", script)
    assert there.stdout == here.stdout != "", there.stderr + here.stderr


# Stopping -------------------------------------------------------------------------------------


def test_docker_stop_leaves_a_checkpoint_from_which_the_same_command_goes_on(image, tmp_path):
    long = {"training": {"epochs": 300, "patience": 300}}
    study = study_file(tmp_path / "tiny.yaml", long)
    (tmp_path / "store").mkdir()
    name = f"motifk8s-test-{os.getpid()}"
    mine = ["--read-only", "--tmpfs", "/tmp", "--user", f"{os.getuid()}:{os.getgid()}"]
    folder = ["--volume", f"{tmp_path}:{tmp_path}", "--env", f"MOTIFK8S_STORE={tmp_path / 'store'}"]
    place = tmp_path / "store/tiny/cells/small/a/1"
    assert in_image("dataset", study, options=[*mine, *folder]).returncode == 0
    cell = [*mine, *folder, "--entrypoint", "python", IMAGE, "jobs/cell.py", study, "small/a/1"]
    docker("run", "--detach", "--name", name, *cell)
    try:
        end = time.monotonic() + 120
        while not (place / "progress.json").exists():
            assert time.monotonic() < end, docker("logs", name)
            time.sleep(0.1)
        docker("stop", "--time", "30", name)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", name) == "75"
        log = run("docker", "logs", name).stderr
        assert "run the same command again to resume" in one_line(log)
    finally:
        docker("rm", "--force", name)
    assert (place / "checkpoint").exists() and not (place / "done.json").exists()
    docker("run", "--rm", *cell)
    [resumed] = provenance(tmp_path / "store", "small/a/1")["resumed_at_epochs"]
    assert 0 < resumed < 300
    assert results(tmp_path / "store", "small/a/1")["metrics"]["epochs"] == 300
    assert not (place / "checkpoint").exists()
