"""A store that goes away, and signals in every stage: real processes, exit codes, and seconds."""

from __future__ import annotations

import multiprocessing
import signal
import time
from pathlib import Path

import pytest
from helpers.away import IMPATIENT, STAGES, Gate, Running
from helpers.stores import aws, moto_url, s3  # noqa: F401 (fixtures)
from helpers.tiny import command, one_line, study_file

from motifk8s.cells import workers
from motifk8s.data import stored
from motifk8s.errors import AwayError
from motifk8s.study.study import load

CELL = "small/a/1"
PLACE = f"tiny/cells/{CELL}"
# Far more than it takes, because the machine may be busy, and less than it took without the fix.
SOON = 30
LONG = {"training": {"epochs": 100_000, "learning_rate": 1e-6}}


@pytest.fixture
def gate(moto_url):  # noqa: F811
    gate = Gate(moto_url)
    yield gate
    gate.end()


class At:
    """A store behind a gate, with the data set, and commands on it."""

    def __init__(self, store, gate: Gate, folder: Path) -> None:
        self.store, self.gate, self.folder = store, gate, folder
        self.study = study_file(folder / "tiny.yaml")
        stored.prepare(load(str(self.study)), "small", store)

    def __call__(self, command: str, *args: object, code: str = "", before: tuple = ()) -> Running:
        return Running(
            self.folder,
            *before,
            command,
            self.study,
            *args,
            "--store",
            self.store.url,
            code=code,
            AWS_ENDPOINT_URL_S3=self.gate.url,
            MOTIFK8S_CHECKPOINT_SECONDS="0",
        )

    def files(self) -> set[str]:
        return {path.removeprefix(f"{PLACE}/") for path in self.store.list(PLACE)}


@pytest.fixture
def at(s3, gate, tmp_path):  # noqa: F811
    return At(s3, gate, tmp_path)


def stopped(running: Running) -> str:
    """Return what a command says that was stopped."""
    assert running.process.returncode == 75, running.said()
    said = one_line("\n".join(x for x in running.said().splitlines() if "trying again" not in x))
    assert "run the same command again to resume" in said
    return said


# Signals --------------------------------------------------------------------------------------


DESTRUCTOR = """
import os, signal, sys, time
from motifk8s import signals

class Held:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(10):
            time.sleep(0.01)

class Broken:
    def __del__(self):
        raise ValueError("of another kind")

try:
    with signals.handled():
        Broken()
        Held()
        time.sleep(30)
except KeyboardInterrupt:
    sys.exit(75)
"""


def test_a_signal_in_a_destructor_is_not_swallowed() -> None:
    done = command(code=DESTRUCTOR)
    assert done.returncode == 75
    assert "of another kind" in done.stderr and "KeyboardInterrupt" not in done.stderr


@pytest.mark.parametrize(
    "stage, function",
    [("setup", "code_version"), ("matches", "match_layers"), ("analysis", "_analyse")],
)
def test_a_signal_stops_every_stage(at, stage, function):
    study_file(at.study, {"analysis": None})  # takes ten seconds and more
    running = at("cell", CELL, code=STAGES, before=(function,))
    running.until(lambda: running.out.read_text())
    time.sleep(0.3)
    running.signal()
    running.ended(SOON)
    stopped(running)
    assert not {"done.json", "failed.json"} & at.files()


@pytest.mark.parametrize(
    "mode, request_", [("hang", "GET .*/data.h5"), ("refuse", "PUT .*/metrics.json")]
)
def test_a_signal_stops_a_wait_for_the_store(at, gate, mode, request_):
    running = at("cell", CELL)
    gate.close(mode, request_)
    running.until(gate.closed.is_set)
    time.sleep(1)
    running.signal()
    running.ended(SOON)
    stopped(running)
    assert not {"done.json", "failed.json"} & at.files()


def test_a_signal_in_training_while_the_store_is_away(at, gate):
    study_file(at.study, LONG)
    running = at("cell", CELL)
    gate.close("busy", "PUT .*/checkpoint")
    running.until(gate.closed.is_set)
    running.signal()
    assert running.ended(2 * SOON) > 5, "it tries for a while to save"
    assert "stopped while waiting for the store" in stopped(running)


def test_a_checkpoint_is_saved_if_the_store_answers_again(at, gate):
    study_file(at.study, LONG)
    running = at("cell", CELL)
    gate.close("busy", "PUT .*/checkpoint")
    running.until(gate.closed.is_set)
    running.signal()
    time.sleep(2)
    gate.open()
    running.ended(SOON)
    assert " epochs are saved; " in stopped(running) and "checkpoint" in at.files()


def test_a_second_signal_ends_it_at_once(at, gate):
    study_file(at.study, LONG)
    running = at("cell", CELL)
    gate.close("hang", "PUT .*/checkpoint")
    running.until(gate.closed.is_set)
    running.signal()
    time.sleep(2)
    running.signal(signal.SIGINT)
    assert running.ended(SOON) < 10, "an answer is waited for 20 s"
    stopped(running)


def test_in_a_pod_a_second_signal_is_the_first(at, gate, monkeypatch):
    monkeypatch.setenv("MOTIFK8S_POD", "pod")
    study_file(at.study, LONG)
    running = at("cell", CELL)
    gate.close("busy", "PUT .*/checkpoint")
    running.until(gate.closed.is_set)
    for _ in range(3):
        running.signal()
        time.sleep(1)
    gate.open()
    running.ended(SOON)
    stopped(running)
    assert "checkpoint" in at.files()


def test_a_run_of_several_cells_stops_too(at, gate):
    running = at("run", "--jobs", "2")
    gate.close("hang", "PUT .*/metrics.json")
    running.until(gate.closed.is_set)
    time.sleep(1)
    running.signal()
    running.ended(SOON)
    stopped(running)
    assert not {"done.json", "failed.json"} & at.files()


def children(process: int) -> list[int]:
    """Return the processes of cells, which are children."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    names = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in found}
    return [pid for pid, name in names.items() if b"spawn_main" in name]


def test_a_cell_ends_with_its_run_and_publishes_nothing(at, gate):
    running = at("run", "--jobs", "1", "--cells", CELL)
    gate.close("busy", "PUT .*/metrics.json")
    running.until(gate.closed.is_set)
    [worker] = children(running.process.pid)
    running.signal(signal.SIGKILL)
    running.ended(SOON)
    time.sleep(2)
    gate.open()
    end = time.monotonic() + SOON
    while Path(f"/proc/{worker}/cmdline").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}/cmdline").exists()
    assert "done.json" not in at.files()


# A store that is away -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["hang", "refuse"])
def test_a_store_that_is_away_is_waited_for_once(at, gate, mode):
    running = at("cell", CELL, code=IMPATIENT)
    gate.close(mode, "PUT .*/metrics.json")
    running.until(gate.closed.is_set)
    start = time.monotonic()
    running.ended(60)
    assert time.monotonic() - start > 8
    assert f"{CELL}: cannot write" in stopped(running)
    gone = [r for r in gate.requests[gate.requests.index(gate.last) :] if "metrics.json" not in r]
    assert not gone, "no request for failed.json"
    assert not {"done.json", "failed.json"} & at.files()


def test_a_run_starts_no_other_cell_while_the_store_is_away(monkeypatch):
    started = []

    class Process:
        exitcode = 75

        def join(self):
            pass

    def new_process(context, study, cell, url, threads):
        started.append(cell)
        ours, theirs = multiprocessing.Pipe(duplex=False)
        theirs.close()
        return ours, Process()

    monkeypatch.setattr(workers, "_new_process", new_process)
    cells = load("smoke").cells()
    with pytest.raises(AwayError, match="could not reach the store; run the same command again"):
        workers.run_in_parallel(None, cells, "", lambda event: None, 1, 1)
    assert started == cells[:1]
