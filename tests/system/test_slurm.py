"""A study on a real Slurm: the example's array gives the local results, also when preempted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import slurm
from helpers.cluster import locally, provenance, resumable, table, trained
from helpers.tiny import ROOT, study_file

from motifk8s.store.open import open_store

pytestmark = pytest.mark.timeout(1200)

SUBMIT = ROOT / "examples" / "slurm" / "submit.sh"
# The smoke study with epochs of about a second: two cells that can be stopped in mid-training.
STUDY: dict[str, Any] = {
    "name": "array",
    "extends": "smoke",
    "datasets": {"tiny": {"n_sequences": 10_000, "length": 100}},
    "models": {"no-pool": None},
    "training": {"preset": "as-run", "epochs": 30, "patience": None, "batch_size": 50},
}
CELLS = ("tiny/small-pool/1", "tiny/large-pool/1")
Jobs = dict[str, str]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """The environment of a running Slurm."""
    if missing := slurm.lacking():
        if slurm.REQUIRED:
            pytest.fail(f"MOTIFK8S_REQUIRE_SLURM is set, but {missing}")
        pytest.skip(f"needs Slurm: {missing}")
    with slurm.running(tmp_path_factory.mktemp("slurm")) as environment:
        yield {**environment, "MOTIFK8S": f"{sys.executable} -m motifk8s"}


def submit(
    cluster: Jobs, folder: Path, *args: object, **settings: str
) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in (SUBMIT, *args)]
    environment = {**cluster, **settings}
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120
    )


def wait_for(what: str, true: Callable[[], Any], seconds: float = 400) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.3)
    return found


def ended(cluster: Jobs) -> bool:
    return not slurm.slurm(cluster, "squeue", "--noheader").strip()


def test_a_preempted_array_ends_as_the_study_does_locally(cluster, tmp_path):
    study = study_file(tmp_path / "array.yaml", base=STUDY)
    undisturbed = locally(study, tmp_path / "undisturbed")
    store = open_store(tmp_path / "store")
    often = {"MOTIFK8S_CHECKPOINT_SECONDS": "1"}
    told = submit(cluster, tmp_path, study, "store", "--cpus-per-task=1", **often)
    assert told.returncode == 0, told.stderr
    assert "array: 2 cells in the array" in told.stdout
    study.write_text("{}")  # jobs read the copy in the store
    wait_for(
        "two cells in mid-training",
        lambda: all(resumable(store, "array", cell) >= 3 for cell in CELLS),
    )
    # A job of a better partition wants the whole node: Slurm stops both cells with SIGTERM.
    first = ["sbatch", "--parsable", "--partition=first", "--exclusive", "--output=/dev/null"]
    slurm.slurm(cluster, *first, "--wrap=sleep 1")
    wait_for("the end of all jobs", lambda: ended(cluster), 700)
    for cell in CELLS:
        resumed = provenance(store, "array", cell)["resumed_at_epochs"]
        assert resumed and resumed[0] >= 3
        assert trained(store, "array", cell, tmp_path) == trained(
            undisturbed, "array", cell, tmp_path
        )
    pd.testing.assert_frame_equal(
        table(store, "array"), table(undisturbed, "array"), check_exact=True
    )
    assert (tmp_path / "store" / "array" / "report.html").exists()
    logs = list((tmp_path / "slurm-logs").glob("array-*_*.log"))
    assert len(logs) == 2
    assert all(" epochs are saved; run the same command" in log.read_text() for log in logs)


FAKE = """#!/bin/sh
# Stands for motifk8s: a cell exits with the code that its trial names.
echo "$*" >>calls
case $1 in
plan) mkdir -p out; for last; do :; done; echo kept >$last/study; echo fake >$last/name
      echo '["tiny/a/75", "tiny/a/1", "tiny/a/0"]' ;;
cell) exit ${3##*/} ;;
esac
"""


def test_a_stopped_cell_is_queued_again_a_failed_one_is_not(cluster, tmp_path):
    fake = tmp_path / "fake"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    told = submit(
        cluster,
        tmp_path,
        "smoke",
        "my store",
        "--time=5",
        MOTIFK8S=str(fake),
        REQUEUES="2",
        GPUS="0",
    )
    assert told.returncode == 0, told.stderr
    wait_for("the end of all jobs", lambda: ended(cluster), 120)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0].startswith("plan smoke --store my store --json --outputs ")
    assert calls[1] == "dataset kept --store my store"
    assert calls[-1] == "aggregate kept --store my store"  # whatever became of the cells
    counts = pd.Series(calls[2:-1]).value_counts().to_dict()
    assert counts == {
        "cell kept tiny/a/75 --store my store --threads 1": 3,
        "cell kept tiny/a/1 --store my store --threads 1": 1,
        "cell kept tiny/a/0 --store my store --threads 1": 1,
    }


def test_a_mistake_submits_nothing(cluster, tmp_path):
    usage = submit(cluster, tmp_path)
    assert usage.returncode == 2 and "submit.sh STUDY STORE" in usage.stderr
    wrong = submit(cluster, tmp_path, "no-such-study", "store")
    assert wrong.returncode == 2 and "no-such-study" in wrong.stderr
    absent = submit(cluster, tmp_path, "smoke", "store", MOTIFK8S="no-such-command run")
    assert absent.returncode == 2
    assert absent.stderr == "submit.sh: no command no-such-command here\n"
    assert ended(cluster)
    assert not os.listdir(tmp_path)
