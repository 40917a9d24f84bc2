"""The state of a study: from workflows, from the store, and from both."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from helpers.fakeargo import FakeArgo, Flow, by_kubeconfig, by_server, isolate, parameters
from helpers.tiny import one_line, study_file

import motifk8s.cluster.workflows
import motifk8s.study.file
import motifk8s.study.study
from motifk8s.cells.plan import State
from motifk8s.cli import status_table
from motifk8s.cluster.status import STATES, Status, gather, merge, to_json
from motifk8s.cluster.workflows import (
    CellNode,
    Workflow,
    failure,
    study_text,
    waiting,
    workflows_of,
)
from motifk8s.store.folder import FolderStore
from motifk8s.study.study import Cell, load

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
CELLS = ["small/a/1", "small/a/2", "small/b/1", "small/b/2"]
DONE, RUNNING = ("Succeeded", ""), ("Running", "")
EXIT_75 = ("Failed", "main: Error (exit code 75): motifk8s: stopped; the same command goes on")


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch, tmp_path):
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def study(tmp_path):
    return load(str(study_file(tmp_path / "tiny.yaml", {"trials": 2})))


def flow(phase="Running", message="", cells=CELLS):
    return Flow("w", "tiny", phase, message).plan(DONE).prepare(DONE, cells=cells)


# Workflows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "Unschedulable: 0/3 nodes are available: 1 node(s) had untolerated taint {a: b}, 2 "
            "Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available",
            "no free GPU",
        ),
        ("Unschedulable: 0/1 nodes: 1 Insufficient nvidia.com/mig-1g.5gb", "no free GPU"),
        ("Unschedulable: 0/1 nodes are available: 1 Insufficient amd.com/gpu.", "no free GPU"),
        (
            "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.",
            "no node has enough free CPU and memory",
        ),
        (
            "Unschedulable: 0/1 nodes are available: 1 Insufficient ephemeral-storage.",
            "no node has enough free disk",
        ),
        (
            "Unschedulable: 0/1 nodes are available: 1 node(s) didn't match Pod's node "
            "affinity/selector.",
            "no node matches the node selector or affinity",
        ),
        (
            "Unschedulable: 0/1 nodes are available: 1 node(s) had untolerated taint "
            "{nvidia.com/gpu: present}.",
            "nodes have a taint that the pod does not tolerate",
        ),
        ("Unschedulable: 0/1 nodes are available: 1 Too many pods.", "no node fits the pod"),
        ('ImagePullBackOff: Back-off pulling image "m:1": not found', "image cannot be pulled"),
        ("ErrImagePull: rpc error: code = NotFound", "image cannot be pulled"),
        ("ErrImageNeverPull: Container image is not present", "image cannot be pulled"),
        (
            'pods "w-cell-1" is forbidden: exceeded quota: gpus, requested: '
            "requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=4, limited: "
            "requests.nvidia.com/gpu=4",
            "quota",
        ),
        (
            'CreateContainerConfigError: secret "s3" not found',
            "its Secret or ConfigMap is missing, or lacks a key",
        ),
        ("Waiting for bio/Mutex/x lock. Lock status: 0/1", "another workflow has its lock"),
    ],
)  # fmt: skip
def test_reasons_to_wait(message, words):
    theirs = message.removeprefix("Unschedulable: ").removeprefix('pods "w-cell-1" is forbidden: ')
    assert waiting(message) == f"{words}: {theirs}"


def test_starting_pods_and_unknown_reasons():
    for message in ("ContainerCreating", "PodInitializing"):
        assert waiting(message) == "its pod is starting"
    assert waiting("") == "its pod is starting, or held in a queue"
    assert waiting("Something\nnew: x") == "Something new: x"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("main: Error (exit code 1): epoch 1\nmotifk8s: no\nbye", "no (exit code 1)"),
        ("main: Error (exit code 1): Traceback\nValueError: x", "ValueError: x (exit code 1)"),
        ("main: Error (exit code 3)", "exit code 3"),
        (
            'main: Error (exit code 1): time=2026-11-24T13:34:41.225Z level=INFO msg="waiting for '
            'signals" argo=true signalPath=/var/run/argo/ctr/main/signal\nValueError: x\n'
            'time=2026-11-24T13:34:42.228Z level=ERROR msg="cannot save" argo=true src=/a\n'
            "Error: exit status 1\n",
            "ValueError: x (exit code 1)",
        ),
        ("main: Error (exit code 1): Error: exit status 1\n", "exit code 1"),
        ("OOMKilled (exit code 137)", None),
        ("main: OOMKilled (exit code 137): epoch 7", None),
        ("pod deleted", "pod deleted"),
        ("The node was low on resource: memory.", "The node was low on resource: memory."),
        ("", "unknown reason"),
    ],
)
def test_reasons_of_failures(message, told):
    assert failure(message) == (
        told or "out of memory: raise its memory limit (OOMKilled, exit code 137)"
    )


@pytest.mark.parametrize("name", ["init", "wait", "supervisor"])
def test_failures_of_containers_of_argo_are_named(name):
    container = f"Argo's container {name}"
    memory = (
        f"out of memory in {container}: raise executor.resources in the controller's ConfigMap "
        "(OOMKilled, exit code 137)"
    )
    assert failure(f"{name}: OOMKilled (exit code 137)") == memory
    assert failure(f"{name}: Error (exit code 143)") == f"{container}: exit code 143"
    log = "time=2026-11-24T13:34:41.225Z level=INFO argo=true\nError: no template\n"
    assert failure(f"{name}: Error (exit code 64): {log}") == (
        f"{container}: Error: no template (exit code 64)"
    )


def test_a_job_that_its_supervisor_did_not_begin():
    log = "time=2026-11-24T13:34:41.225Z level=ERROR argo=true\nError: supervisor presumed dead\n"
    for message in ("main: Error (exit code 65)", f"main: Error (exit code 65): {log}"):
        assert failure(message) == (
            "Argo's container supervisor failed before the job began (exit code 65)"
        )


def test_before_the_plan_every_cell_waits_for_it(study):
    def why(flow):
        cells = Workflow(flow.json()).cells(study)
        assert sorted(cells) == CELLS
        [place] = set(cells.values())
        assert place.state == "waiting"
        return place.reason

    assert "controller" in why(Flow("w", "tiny", ""))
    assert why(Flow("w", "tiny")) == "for the plan"
    assert why(Flow("w", "tiny", "Pending", "too many are running")) == (
        "for the plan (too many are running)"
    )
    assert why(Flow("w", "tiny").plan(RUNNING)) == "for the plan"
    assert why(Flow("w", "tiny").plan(("Pending", "ErrImagePull: x"))) == (
        "for the plan (image cannot be pulled: ErrImagePull: x)"
    )


def test_before_its_cells_a_data_set_is_made(study):
    def places(flow):
        return {p for p in Workflow(flow.json()).cells(study).values()}

    planned = Flow("w", "tiny").plan(DONE)
    assert places(planned) == {CellNode("waiting", "for data set small")}
    assert places(planned.prepare(RUNNING)) == {CellNode("waiting", "for data set small")}
    failed = (
        Flow("w", "tiny").plan(DONE).prepare(("Failed", "main: Error (exit code 2): motifk8s: bad"))
    )
    assert places(failed) == {CellNode("missing", "data set small: bad (exit code 2)")}
    assert Workflow(failed.json()).failures() == [("prepare small", "bad (exit code 2)")]
    nothing = Flow("w", "tiny", "Succeeded").plan(DONE, datasets=[])
    assert places(nothing) == set()


def test_only_unfinished_cells_are_listed(study):
    cells = Workflow(flow(cells=CELLS[2:]).cell(CELLS[2], RUNNING).json()).cells(study)
    assert cells == {
        CELLS[2]: CellNode("running", "", 1, "gpu-1"),
        CELLS[3]: CellNode("waiting", "for other cells of the workflow, which run first"),
    }


def test_attempts(study):
    def place(*attempts, **more):
        data = flow().cell(CELLS[0], *attempts, **more).json()
        return Workflow(data).cells(study)[CELLS[0]]

    ended = "2026-11-24T10:05:00Z"
    assert place(DONE) == CellNode("done", "", 1, "gpu-1", ended)
    assert place(EXIT_75, RUNNING) == CellNode("running", "", 2, "gpu-1")
    assert place(EXIT_75, ("Pending", "")).attempt == 2
    again = place(EXIT_75, phase="Running")
    assert again.state == "waiting" and again.attempt == 1
    assert "attempt 1" in again.reason and "stopped; the same command" in again.reason
    for phase in ("Failed", "Error"):
        gone = place(*[(phase, "pod deleted")] * 10, message="No more retries left")
        assert gone == CellNode(
            "failed", "pod deleted; given up after attempt 10", 10, "gpu-1", ended
        )
    stopped = place(("Failed", "workflow shutdown with strategy:  Terminate"))
    assert stopped.state == "stopped"
    ended = flow("Failed", "Stopped with strategy 'Terminate'").cell(CELLS[0], RUNNING)
    assert Workflow(ended.json()).cells(study)[CELLS[0]].state == "stopped"  # as Argo leaves it
    assert place(phase="Running").state == "waiting"  # no free place for its first pod
    assert place(phase="Error", message="cannot make a pod").reason == "cannot make a pod"


def test_packed_and_offloaded_nodes(study):
    made = flow().cell(CELLS[0], RUNNING)
    plain, packed = Workflow(made.json()), Workflow(made.json(packed=True))
    assert packed.cells(study) == plain.cells(study) and len(packed.nodes) > 5
    offloaded = Workflow(made.json(offloaded=True))
    assert offloaded.offloaded and offloaded.cells(study) == {}
    status = gather(study, FolderStore("/nowhere"), [offloaded])
    assert len(status.remarks) == 1 and "ARGO_SERVER" in status.remarks[0]


def test_steps_without_retry(study):
    made = flow()
    inputs = parameters({"cell": CELLS[0]})
    made.node("w.x", "Pod", "cell", "Pending", inputs=inputs, message="ErrImagePull: x")
    place = Workflow(made.json()).cells(study)[CELLS[0]]
    assert (place.state, place.attempt) == ("waiting", 1) and "pulled" in place.reason


def test_failures_of_the_workflow_itself(study):
    missing = Flow("w", "tiny", "Error", 'workflowtemplates.argoproj.io "motifk8s" not found')
    assert Workflow(missing.json()).failures() == [("workflow", missing.message)]
    errored = flow("Failed", "child 'w-123' failed")
    errored.node("w.datasets", "Skipped", "dataset", "Error", message="withParam: invalid")
    assert Workflow(errored.json()).failures() == [("datasets", "withParam: invalid")]
    partial = flow("Failed").aggregate(("Failed", "main: Error (exit code 3)"), code="3")
    assert Workflow(partial.json()).incomplete and not Workflow(partial.json()).failures()
    broken = flow("Failed").aggregate(("Failed", "main: Error (exit code 1): motifk8s: no store"))
    assert Workflow(broken.json()).failures() == [("aggregate", "no store (exit code 1)")]


def test_whose_workflow_it_is(study, tmp_path):
    path = tmp_path / "tiny.yaml"

    def is_of(flow, argument=str(path)):
        return bool(workflows_of([flow.json()], study, argument))

    assert is_of(Flow("w", "s3://x/y.yaml").plan(DONE))
    assert not is_of(Flow("w", str(path)).plan(DONE, study="other"))  # the plan's name counts
    for known in (study_text(study), str(path), "tiny", path.read_text(), path.read_text().strip()):
        assert is_of(Flow("w", known))
    assert is_of(Flow("w", "s3://x/y.yaml", **{"motifk8s/study": "tiny"}))
    assert is_of(Flow("w", "s3://x/y.yaml"), "s3://x/y.yaml")
    assert is_of(Flow("w", " a: 1\nb: 2"), "a: 1\nb: 2\n")
    for other in ("smoke", "no such study", "", "s3://x/z.yaml", f"{path.read_text()}seed: 2\n"):
        assert not is_of(Flow("w", other))


@pytest.mark.parametrize(
    "theirs",
    [
        "s3://theirs/study.yaml",
        "name: tiny\nextends: s3://theirs/base.yaml\n",
        '{"name": "tiny", "matches": {"database": "s3://theirs/motifs.meme"}}',
        "name: tiny\nextends: /etc/hostname\n",
        "name: tiny\na: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "{" * 100_000,
        "name: \x00 tiny",
    ],
)
def test_a_study_in_the_cluster_is_compared_and_not_loaded(study, theirs, tmp_path, monkeypatch):
    path = str(tmp_path / "tiny.yaml")

    def loads(*args, **more):
        raise AssertionError(f"loaded: {args}")

    for module in (motifk8s.study.study, motifk8s.study.file, motifk8s.cluster.workflows):
        for name in ("load", "loads", "read", "read_url"):
            monkeypatch.setattr(module, name, loads, raising=False)
    mine, other = Flow("mine", path).json(), Flow("theirs", theirs).json()
    assert [w.name for w in workflows_of([other, mine], study, path)] == ["mine"]


# Merging --------------------------------------------------------------------------------------

AT = NOW - timedelta(seconds=20)
TOLD = {
    "format": 1, "epoch": 3, "epochs": 10, "seconds_per_epoch": 60.0, "at": AT.isoformat(),
    "attempt": 4, "node": "gpu-9", "pod": "w-cell-1", "workflow": "w",
}  # fmt: skip


def merged(state, told=None, node=None, reason="", log=()):
    node = node and node._replace(workflow="w")
    return merge(State(Cell("small", "a", 1), state, reason), told, log, node, NOW)


def test_done_is_done():
    for node in (None, CellNode("failed", "x"), CellNode("running")):
        assert merged("done", TOLD, node).state == "done"


def test_running_in_the_cluster():
    node = CellNode("running", "", 2, "gpu-1")
    for state in ("missing", "started", "failed", "outdated", "damaged"):
        cell = merged(state, TOLD, node, reason="old")
        assert (cell.state, cell.reason, cell.epoch, cell.epochs) == ("running", "", 3, 10)
        assert (cell.attempt, cell.node, cell.workflow) == (2, "gpu-1", "w")
        assert cell.seconds_left == 7 * 60 - 20
    assert merged("missing", None, node).epoch is None  # still starting
    stale = {**TOLD, "at": (NOW - timedelta(hours=5)).isoformat()}
    assert merged("started", stale, node).state == "running"
    assert merged("started", stale, node).seconds_left == 0


def test_waiting_in_the_cluster():
    node = CellNode("waiting", "no free GPU", 2)
    for state in ("missing", "started", "failed", "outdated"):
        assert merged(state, TOLD, node)[:3] == ("small/a/1", "waiting", "no free GPU")


@pytest.mark.parametrize(
    ("per_epoch", "age", "state"),
    [(1, 299, "running"), (1, 301, "started"), (200, 599, "running"), (200, 601, "started"),
     # The clock of the machine that wrote it is ahead: a little, and so far that it is wrong.
     (1, -299, "running"), (1, -301, "started"), (1, -10**8, "started"), (1e8, 10**5, "started")],
)  # fmt: skip
def test_running_without_the_cluster(per_epoch, age, state):
    at = (NOW - timedelta(seconds=age)).isoformat()
    told = {**TOLD, "seconds_per_epoch": per_epoch, "at": at}
    for before in ("missing", "started"):
        assert merged(before, told).state == state
    cell = merged("started", told)
    assert (cell.attempt, cell.node) == ((4, "gpu-9") if state == "running" else (None, None))


@pytest.mark.parametrize("text", ["[]", "7", '{"format": 1, "at": "2026-11-24T12:00:00"}'])
def test_odd_progress_is_a_line(study, tmp_path, text):
    store = FolderStore(tmp_path / "s")
    store.write("tiny/cells/small/a/1/progress.json", text.encode())
    cell, other, *_ = gather(study, store, [], NOW).cells
    assert (cell.state, other.state, other.reason) == ("missing", "missing", "")
    assert cell.reason == "its progress.json cannot be read, so it may be running"


def test_fresh_progress_of_a_pod_that_has_died():
    before, after = ((AT + timedelta(seconds=s)).isoformat() for s in (-5, 5))
    killed = CellNode("failed", "out of memory", 1, "gpu-1", after.replace("+00:00", "Z"))
    assert merged("started", TOLD, killed)[1:3] == ("failed", "out of memory")
    # Another run has continued since.
    assert merged("started", TOLD, killed._replace(finished=before)).state == "running"


def test_failed():
    node = CellNode("failed", "the loss is NaN (exit code 1)", 1, "gpu-1", NOW.isoformat())
    cell = merged("failed", None, node, reason="Traceback\nthe loss is NaN", log=("x",))
    assert (cell.state, cell.reason, cell.log) == ("failed", "Traceback\nthe loss is NaN", ("x",))
    # The failure in the store is an earlier one.
    cell = merged("failed", None, node, reason="other", log=("x",))
    assert (cell.state, cell.reason, cell.log) == ("failed", node.reason, ())
    assert merged("failed", reason="other", log=("x",)).log == ("x",)
    assert merged("outdated", None, node).state == "failed"


def test_of_several_workflows_the_furthest_counts(study, tmp_path):
    waits, fails = ("Pending", "ErrImagePull: x"), ("Failed", "main: Error (exit code 1)")
    one = flow().cell(CELLS[0], RUNNING).cell(CELLS[1], fails).cell(CELLS[2], waits)
    two = flow().cell(CELLS[0], waits).cell(CELLS[1], waits).cell(CELLS[2], fails)
    for order in ([one, two], [two, one]):
        found = [Workflow(each.json()) for each in order]
        status = gather(study, FolderStore(tmp_path / "s"), found, NOW)
        assert [c.state for c in status.cells] == ["running", "waiting", "waiting", "waiting"]


def test_stopped_and_missing():
    stopped = CellNode("stopped", "stopped with its workflow", 1, None, NOW.isoformat())
    assert merged("started", TOLD, stopped).state == "started"
    assert merged("missing", None, stopped).state == "missing"
    lost = CellNode("missing", "data set small: no such file")
    assert merged("missing", None, lost)[1:3] == ("missing", "data set small: no such file")


def test_cell_that_the_store_lacks(study, tmp_path):
    done = Workflow(flow("Succeeded").cell(CELLS[0], DONE).json())
    status = gather(study, FolderStore(tmp_path / "s"), [done], NOW)
    assert status.counts() == {"done": 1, "missing": 3}
    assert CELLS[0] in status.remarks[0] and "store.url" in status.remarks[0]


# The command ----------------------------------------------------------------------------------


@pytest.fixture
def fake():
    fake = FakeArgo()
    yield fake
    fake.close()


@pytest.fixture
def store(tmp_path):
    """A store in which one cell trains and one has failed."""
    store = FolderStore(tmp_path / "store")
    told = {**TOLD, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    store.write("tiny/cells/small/a/1/progress.json", json.dumps(told).encode())
    failed = {
        "format": 1,
        "reason": "Traceback\nValueError: bad",
        "log": [f"line {i}" for i in range(9)],
    }
    store.write("tiny/cells/small/b/1/failed.json", json.dumps(failed).encode())
    return store


@pytest.mark.parametrize("way", [by_kubeconfig, by_server])
def test_status(here, study, store, fake, way, monkeypatch, tmp_path):
    way(monkeypatch, tmp_path, f"http://{fake.address}")
    no_gpu = "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    fake.add(
        flow()
        .cell(CELLS[0], EXIT_75, RUNNING)
        .cell(CELLS[1], ("Pending", no_gpu))
        .cell(CELLS[2], ("Failed", "main: Error (exit code 1): Traceback\nValueError: bad")),
        packed=True,
    )
    fake.add(
        Flow("old", "tiny", "Failed").plan(("Failed", "main: Error (exit code 2): motifk8s: x"))
    )
    code, out, err = here("status", tmp_path / "tiny.yaml", "--store", store.url)
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "data set model done running waiting failed missing" in lines
    assert "small a 1 1" in lines and "b 1 1" in lines and "all 0 1 2 1 0" in lines
    assert any(line.startswith("workflow w: Running, begun") for line in lines)
    [running] = [line for line in lines if line.startswith("running:")]
    assert running == (
        "running: small/a/1: epoch 3 of 10, at most 7 min of training left, attempt 2, on gpu-1"
    )
    assert (
        "waiting: small/a/2: no free GPU: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    ) in lines
    assert "waiting: small/b/2: for other cells of the workflow, which run first" in lines
    at = lines.index("failed: small/b/1: ValueError: bad")
    assert lines[at + 1 : at + 6] == [f"line {i}" for i in range(4, 9)]
    assert "old" not in out and "note:" not in out

    code, out, err = here("status", tmp_path / "tiny.yaml", "--store", store.url, "--json")
    found = json.loads(out)
    assert (code, err, found["format"], found["namespace"]) == (0, "", 1, "bio")
    assert found["counts"] == {
        **dict.fromkeys(STATES, 0), "running": 1, "waiting": 2, "failed": 1,
    }  # fmt: skip
    assert [w["name"] for w in found["workflows"]] == ["w"]
    cells = {c["cell"]: c for c in found["cells"]}
    assert list(cells) == CELLS
    assert cells[CELLS[0]]["epochs"] == 10 and cells[CELLS[0]]["attempt"] == 2
    assert no_gpu.removeprefix("Unschedulable: ") in cells[CELLS[1]]["reason"]
    assert cells[CELLS[2]]["log"][-1] == "line 8"


def test_status_of_what_has_ended(here, store, study, fake, monkeypatch, tmp_path):
    by_kubeconfig(monkeypatch, tmp_path, f"http://{fake.address}")
    refused = ("Failed", "main: Error (exit code 2): motifk8s: too many GPU hours")
    fake.add(Flow("w", "tiny", "Failed", **{"motifk8s/study": "tiny"}).plan(refused))
    code, out, _ = here("status", tmp_path / "tiny.yaml", "--store", store.url)
    assert code == 0
    assert "workflow w: Failed, begun" in out and ", ended " in out
    assert "plan failed: too many GPU hours (exit code 2)" in out


def test_status_without_a_cluster(here, store, study, tmp_path):
    code, out, err = here("status", tmp_path / "tiny.yaml", "--store", store.url)
    assert (code, err) == (0, "")
    [note] = [line for line in out.splitlines() if line.startswith("note:")]
    assert "no cluster" in note and "waiting cells" in note
    assert "on gpu-9" in out and "failed: small/b/1: ValueError: bad" in out
    out = here("status", tmp_path / "tiny.yaml", "--store", store.url, "--json")[1]
    assert json.loads(out)["namespace"] is None and len(json.loads(out)["remarks"]) == 1


def test_status_of_a_bad_study(here, fake):
    code, _, err = here("status", "no-such-study")
    assert code == 2 and one_line(err) and not fake.asked


def test_a_thousand_cells_are_quick(tmp_path):
    study = load(str(study_file(tmp_path / "t.yaml", {"trials": 500})))
    store = FolderStore(tmp_path / "store")
    made = flow(cells=[c.id for c in study.cells()])
    for cell in study.cells()[:600]:
        made.cell(cell.id, EXIT_75, RUNNING)
    data = made.json(packed=True)
    began = time.monotonic()
    status = gather(study, store, [Workflow(data)], NOW)
    to_json(status)
    status_table.print_status(status, NOW)
    assert time.monotonic() - began < 5
    assert status.counts() == {"running": 600, "waiting": 400}


def test_cells_are_listed_once(study, store, monkeypatch):
    listed = []
    monkeypatch.setattr(store, "list", lambda path: listed.append(path) or [])
    gather(study, store, [], NOW)
    assert listed == ["tiny/cells"]


def test_long_lists_are_cut(capsys, study):
    cells = [merged("failed", reason="x")] * 60
    status_table.print_status(Status("tiny", "store", None, cells, [], []), NOW)
    out = capsys.readouterr().out
    assert out.count("failed: small/a/1: x") == 50 and "failed: 10 more; --json lists all" in out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (-3, "0 s"), (59, "59 s"), (90, "2 min"), (3600, "1 h"), (12000, "3 h 20 min"),
     (86400, "1 d"), (187200, "2 d 4 h")],
)  # fmt: skip
def test_durations(seconds, text):
    assert status_table.duration(seconds) == text
