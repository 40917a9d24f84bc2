"""Submit, follow and cancel workflows, through both APIs; every error is one line."""

from __future__ import annotations

import datetime
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

import h5py
import numpy as np
import pytest
from helpers.fakeargo import FakeArgo, Flow, by_kubeconfig, by_server, isolate
from helpers.tiny import ROOT, TINY, one_line, study_file

from motifk8s.cli import follow
from motifk8s.cluster import client
from motifk8s.cluster.submit import study_argument
from motifk8s.cluster.workflows import Workflow, study_text
from motifk8s.errors import IncompleteError, InputError, Interrupted, Problem
from motifk8s.study.study import load, loads

EXIT_75 = "main: Error (exit code 75): motifk8s: stopped after epoch 3, which is saved"


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch, tmp_path):
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def fake():
    fake = FakeArgo()
    yield fake
    fake.close()


WAYS = {"kubeconfig": by_kubeconfig, "server": by_server}


@pytest.fixture(params=WAYS)
def way(request):
    """The API: Kubernetes, or the Argo Server."""
    return WAYS[request.param]


@pytest.fixture
def reached(way, monkeypatch, tmp_path, fake):
    """A fake cluster, reached through either API."""
    way(monkeypatch, tmp_path, f"http://{fake.address}")
    return fake


@pytest.fixture
def study(tmp_path):
    return study_file(tmp_path / "tiny.yaml", {"trials": 2})


def created(fake):
    [body] = [body for method, _, body in fake.asked if method == "POST"]
    return body.get("workflow", body)


def arguments(workflow):
    return {p["name"]: p["value"] for p in workflow["spec"]["arguments"]["parameters"]}


# Submitting -----------------------------------------------------------------------------------


def test_builtin_study_goes_by_its_name(here, reached):
    code, out, err = here("submit", "smoke", "--max-gpu-hours", "2.5")
    assert (code, err) == (0, "")
    workflow = created(reached)
    assert workflow["metadata"] == {
        "generateName": "smoke-",
        "labels": {"app.kubernetes.io/part-of": "motifk8s", "motifk8s/study": "smoke"},
    }
    assert workflow["spec"]["workflowTemplateRef"] == {"name": "motifk8s"}
    assert arguments(workflow) == {"study": "smoke", "max-gpu-hours": "2.5"}
    first, *hints, attempts = out.splitlines()
    assert attempts == (
        "a preempted cell resumes: up to 10 attempts on 1 GPU, each of at most 24 h; a cap on GPU "
        "hours does not count repeated work"
    )
    assert first == f"workflow smoke-x0zzz in namespace bio of http://{reached.address}"
    commands = [hint.partition(":")[2].strip() for hint in hints]
    store = "--store ./store"
    assert commands == [f"motifk8s status smoke {store}", f"motifk8s cancel smoke {store}"]


def test_the_printed_commands_find_the_study(here, reached, tmp_path):
    """Also a study that only the store has."""
    store = tmp_path / "my store"
    file = study_file(tmp_path / "tiny.yaml")
    assert here("plan", file, "--store", store, "--outputs", tmp_path / "outputs")[0] == 0
    file.unlink()
    code, out, err = here("submit", "tiny", "--store", store, "--namespace", "bio")
    assert (code, err) == (0, "")
    _, *hints, _ = out.splitlines()
    lines = [shlex.split(hint.partition(":")[2]) for hint in hints]
    assert [line[:2] for line in lines] == [["motifk8s", "status"], ["motifk8s", "cancel"]]
    for _, *args in lines:
        code, out, err = here(*args)
        assert (code, err) == (0, "")
    assert out.startswith("stopping workflow tiny-")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"retryStrategy": {"limit": "2"}}, "up to 3 attempts on 1 GPU, each of at most 24 h"),
        ({"activeDeadlineSeconds": "5400"}, "up to 10 attempts on 1 GPU, each of at most 1.5 h"),
        ({"container": {}}, "up to 10 attempts, each of at most 24 h"),
        (
            {"container": {"resources": {"limits": {"cpu": "1", "nvidia.com/mig-1g.10gb": "4"}}}},
            "up to 10 attempts on 4 GPUs, each of at most 24 h",
        ),
        ({"activeDeadlineSeconds": None}, ""),
        ({"retryStrategy": {"limit": "{{x}}"}}, ""),
        ({"name": "other"}, ""),
    ],
)
def test_attempts_are_those_of_the_template(here, reached, change, line):
    reached.cell_template |= change
    code, out, err = here("submit", "smoke")
    assert (code, err) == (0, "")
    assert (line in out) if line else "attempts" not in out


def test_study_file_goes_as_its_text(here, reached, study):
    code, out, _ = here("submit", study, "--namespace", "bio")
    assert code == 0 and f"status {study} --namespace bio" in out
    text = arguments(created(reached))["study"]
    assert loads(text, "text") == load(str(study)) == load(text)
    assert "max-gpu-hours" not in arguments(created(reached))


def test_argo_finds_no_variable_in_the_text(tmp_path):
    path = study_file(tmp_path / "t.yaml", {"title": "{{workflow.name}} {{{x", "description": "}}"})
    text = study_argument(load(str(path)), str(path))
    assert "{{" not in text and load(text) == load(str(path))


def test_too_large_a_study_is_refused(here, reached, tmp_path):
    path = study_file(tmp_path / "large.yaml", {"description": "é" * 70_000})
    code, _, err = here("submit", path)
    assert code == 2 and "131,071" in one_line(err) and "s3://" in err
    path = study_file(tmp_path / "small.yaml", {"description": "é" * 60_000})
    assert here("submit", path)[0] == 0


@pytest.mark.parametrize("change", [{"trials": 0}, {"models": {"a": {"wrong": 1}}}])
def test_bad_study_is_refused_before_any_request(here, reached, tmp_path, change):
    code, _, err = here("submit", study_file(tmp_path / "bad.yaml", change))
    assert code == 2 and "bad.yaml" in one_line(err)
    assert reached.asked == []


def test_database_that_pods_cannot_read_is_refused(here, reached, tmp_path):
    (tmp_path / "my.meme").write_text("MEME version 4\n")
    path = study_file(tmp_path / "t.yaml", {"matches": {"database": "./my.meme"}})
    code, _, err = here("submit", path)
    assert code == 2 and "my.meme" in one_line(err) and "s3://" in err and not reached.asked


@pytest.fixture
def with_file(tmp_path):
    """A study with a data set that is a local file."""
    codes = np.random.default_rng(0).integers(0, 4, (40, 40)).astype("int8")
    with h5py.File(tmp_path / "own.h5", "w") as file:
        for part, n in (("train", 20), ("valid", 10), ("test", 10)):
            file[f"X_{part}"] = np.eye(4, dtype="float32")[codes[:n]].transpose(0, 2, 1)
            file[f"Y_{part}"] = np.eye(2, dtype="float32")[np.arange(n) % 2]
    classes = TINY["datasets"]["small"]["classes"]
    own = {"kind": "file", "path": "own.h5", "length": 40, "classes": classes}
    return study_file(tmp_path / "t.yaml", {"datasets": {"small": None, "own": own}})


def test_file_is_uploaded_to_the_clusters_store(here, reached, with_file, monkeypatch, tmp_path):
    code, _, err = here("submit", with_file)
    assert code == 2 and "own.h5" in one_line(err) and "--store s3://" in err
    from motifk8s.cluster import submit
    from motifk8s.store.folder import FolderStore

    bucket = FolderStore(tmp_path / "bucket")
    monkeypatch.setattr(submit, "open_store", lambda url: bucket)
    code, out, err = here("submit", with_file, "--store", "s3://bucket/p")
    assert (code, err) == (0, "") and "uploading data set own" in out
    assert [p for p in bucket.list() if p.endswith("data.h5")]
    # A pod finds it under the same name without the file.
    from motifk8s.data import stored

    (tmp_path / "own.h5").rename(tmp_path / "elsewhere.h5")
    assert stored.is_ready(load(arguments(created(reached))["study"]), "own", bucket)
    (tmp_path / "elsewhere.h5").rename(tmp_path / "own.h5")
    assert "uploading" not in here("submit", with_file, "--store", "s3://bucket/p")[1]
    # A file that changed is uploaded, and pods of both workflows find the data of their own.
    with h5py.File(tmp_path / "own.h5", "a") as file:
        file["Y_train"][:4] = file["Y_train"][:4][::-1]
    out = here("submit", with_file, "--store", "s3://bucket/p")[1]
    assert "uploading data set own" in out and "own.h5 has changed since" in out


def test_another_active_workflow_of_the_study_is_reported(here, reached):
    reached.add(Flow("smoke-old", "smoke", "Succeeded"))
    reached.add(Flow("tiny-a", "x").plan(("Succeeded", "")))
    reached.add(Flow("smoke-b", "smoke"))
    code, out, _ = here("submit", "smoke")
    assert code == 0
    assert out.splitlines()[0].startswith("study smoke is already running: smoke-b; ")


# Errors ---------------------------------------------------------------------------------------


def test_no_chart(here, reached):
    reached.template = False
    code, _, err = here("submit", "smoke")
    assert code == 1
    assert "helm install motifk8s helm/motifk8s --namespace bio" in one_line(err)
    assert not [method for method, *_ in reached.asked if method == "POST"]


def test_no_argo(here, reached, way):
    reached.installed = False
    if way is by_server:
        reached.answer = (200, "<html>welcome</html>")
    code, _, err = here("submit", "smoke")
    assert code == 1
    assert ("Argo Workflows" if way is by_kubeconfig else "check ARGO_SERVER") in one_line(err)


@pytest.mark.parametrize("command", ["submit", "cancel"])
def test_permission_denied(here, reached, command):
    told = 'workflows.argoproj.io is forbidden: User "ada" cannot list resource "workflows"'
    reached.answer = (403, json.dumps({"message": told, "code": 403}))
    code, _, err = here(command, "smoke")
    assert code == 1 and told in one_line(err)
    needs = {"submit": "get workflowtemplates", "cancel": "list workflows"}[command]
    assert needs in err and "namespace bio" in err


def test_wrong_credentials(here, way, monkeypatch, tmp_path, fake):
    way(monkeypatch, tmp_path, f"http://{fake.address}", token="bad")
    code, _, err = here("cancel", "smoke")
    hint = "log in to the cluster again" if way is by_kubeconfig else "ARGO_TOKEN is not valid"
    assert code == 1 and hint in one_line(err)


def test_failed_login_program_is_reported_in_the_same_line(here, monkeypatch, tmp_path, fake):
    program = {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "/no/such/login",
        "interactiveMode": "Never",
    }  # fmt: skip
    by_kubeconfig(monkeypatch, tmp_path, f"http://{fake.address}", exec=program)
    code, _, err = here("cancel", "smoke")
    assert code == 1 and "/no/such/login" in one_line(err)
    assert err.count("\n") == 1


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_unreachable_cluster(here, way, monkeypatch, tmp_path):
    way(monkeypatch, tmp_path, f"http://127.0.0.1:{free_port()}")
    began = time.monotonic()
    code, _, err = here("submit", "smoke")
    assert code == 1 and "does not answer" in one_line(err) and "refused" in err
    assert "HTTPConnection" not in err and time.monotonic() - began < 10


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate for localhost, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def test_untrusted_certificate(here, way, monkeypatch, tmp_path, certificate):
    fake = FakeArgo(certificate)
    way(monkeypatch, tmp_path, f"https://{fake.address}")
    code, _, err = here("cancel", "smoke")
    hint = "certificate-authority" if way is by_kubeconfig else "ARGO_INSECURE_SKIP_VERIFY=true"
    assert code == 1 and "certificate" in err and hint in one_line(err)
    if way is by_server:
        monkeypatch.setenv("ARGO_INSECURE_SKIP_VERIFY", "true")
        code, _, err = here("cancel", "smoke")
        assert (code, err) == (0, "")
    fake.close()


def test_https_to_a_server_without_it(here, monkeypatch, tmp_path, fake):
    by_server(monkeypatch, tmp_path, f"https://{fake.address}")
    assert "ARGO_SECURE=false" in one_line(here("cancel", "smoke")[2])


def test_no_kubeconfig(here, monkeypatch, tmp_path):
    code, _, err = here("submit", "smoke")
    assert code == 1 and "KUBECONFIG" in one_line(err) and "ARGO_SERVER" in err
    with monkeypatch.context() as patch:
        patch.setenv("KUBECONFIG", "~no-such-user/config")
        assert here("submit", "smoke") == (code, "", err)
    (tmp_path / ".kube").mkdir()
    for text in ("", "[]", "clusters: {", "apiVersion: v1"):
        (tmp_path / ".kube/config").write_text(text)
        code, _, err = here("submit", "smoke")
        assert code == 1 and "kubeconfig ~/.kube/config" in one_line(err), text


def test_pod_uses_its_own_account(here, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    assert "service account" in one_line(here("submit", "smoke")[2])


@pytest.mark.parametrize("server", ["http://localhost:2746", "localhost", "a b:1"])
def test_malformed_server(here, monkeypatch, server):
    monkeypatch.setenv("ARGO_SERVER", server)
    code, _, err = here("submit", "smoke")
    assert code == 2 and "host:port" in one_line(err)


def test_no_such_namespace(here, reached):
    code, _, err = here("cancel", "smoke", "--namespace", "Bio")
    assert code == 2 and "'Bio'" in one_line(err)
    monkey = client.connect("other")
    with pytest.raises(InputError, match="no namespace other"):
        monkey.create({"metadata": {"generateName": "x"}})


def test_namespace(reached, way, monkeypatch):
    monkeypatch.delenv("ARGO_NAMESPACE", raising=False)
    assert client.connect().namespace == ("bio" if way is by_kubeconfig else "default")
    monkeypatch.setenv("ARGO_NAMESPACE", "env")
    assert client.connect().namespace == "env"
    assert client.connect("option").namespace == "option"


def test_other_answers(reached):
    found = client.connect()
    with pytest.raises(client.GoneError, match="there-is-none"):
        found.get("there-is-none")
    reached.answer = (503, "upstream is away")
    with pytest.raises(client.NoAnswerError, match="answered 503: upstream is away"):
        found.workflows()
    reached.answer = (500, json.dumps({"message": "etcdserver: timed\nout"}))
    with pytest.raises(Problem, match="answered 500: etcdserver: timed out"):
        found.workflows()


def test_all_pages_are_read(monkeypatch, tmp_path, fake):
    by_kubeconfig(monkeypatch, tmp_path, f"http://{fake.address}")
    pages = [Flow(f"w-{i}", "smoke").json() for i in range(3)]
    for i, page in enumerate(pages):
        page["metadata"]["creationTimestamp"] = f"2026-11-24T1{i}:00:00Z"

    def serve(method, path, body):
        i = len(fake.asked) - 1
        return 200, {"metadata": {"continue": f"token{i}" if i < 2 else ""}, "items": [pages[i]]}

    fake.serve = serve
    assert [w["metadata"]["name"] for w in client.connect().workflows()] == ["w-2", "w-1", "w-0"]
    asked = [path for _, path, _ in fake.asked]
    assert "labelSelector=app.kubernetes.io" in asked[0].replace("%2F", "/")
    assert "continue=token1" in asked[2]


# Waiting --------------------------------------------------------------------------------------


class Script:
    """A cluster whose answers are successive states of one workflow."""

    def __init__(self, *moments):
        self.moments = list(moments)

    def get(self, name):
        moment = self.moments.pop(0)
        if isinstance(moment, BaseException):
            raise moment
        return moment.json()


CELLS = ["small/a/1", "small/a/2", "small/b/1", "small/b/2"]
DONE = ("Succeeded", "")


def flow(phase="Running", message="", cells=CELLS):
    return Flow("w", "tiny", phase, message).plan(DONE).prepare(DONE, cells=cells)


def watch(capsys, study, *moments):
    lines = follow.Lines(4, between=0)
    error = None
    try:
        follow.follow(Script(*moments), "w", load(str(study)), lines, sleep=lambda seconds: None)
    except Problem as raised:
        error = raised
    return error, capsys.readouterr().err.splitlines()


def test_waiting_prints_changes(capsys, study):
    failed = ("Failed", "main: Error (exit code 1): epoch 3\nmotifk8s: the loss is NaN")
    no_gpu = "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    partial = "study tiny is incomplete: 1 of 4 cells are missing, and the tables partial"
    error, said = watch(
        capsys,
        study,
        Flow("w", "tiny", ""),
        Flow("w", "tiny").plan(("Running", "")),
        flow().cell(CELLS[0], ("Pending", no_gpu)),
        flow().cell(CELLS[0], ("Running", "")),
        flow().cell(CELLS[0], ("Running", "")),
        flow().cell(CELLS[0], DONE).cell(CELLS[1], failed),
        flow("Failed")
        .cell(CELLS[0], DONE).cell(CELLS[1], failed).cell(CELLS[2], DONE).cell(CELLS[3], DONE)
        .aggregate(("Failed", f"main: Error (exit code 3): motifk8s: {partial}"), code="3"),
    )  # fmt: skip
    untouched, planned = Workflow(Flow("w", "tiny", "").json()), Workflow(flow().json())
    assert said == [
        f"waiting for {untouched._before_plan()}",
        "0 done, 4 waiting",
        "waiting for the plan",
        f"waiting {planned.cells(load(str(study)))[CELLS[1]].reason}",
        "waiting: no free GPU: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        "0 done, 1 running, 3 waiting",
        "small/a/2  failed: the loss is NaN (exit code 1)",
        "1 done, 2 waiting, 1 failed",
        "3 done, 1 failed",
    ]
    assert isinstance(error, IncompleteError) and error.exit_code == 3
    assert str(error).startswith(f"{partial}; ")


def test_a_bar_at_a_terminal(capsys, study, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    failed = ("Failed", "main: Error (exit code 1): motifk8s: the loss is NaN")
    now = flow().cell(CELLS[0], DONE).cell(CELLS[1], failed)
    error, said = watch(capsys, study, now, KeyboardInterrupt())
    assert error.exit_code == 75
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", "\n".join(said))
    assert "small/a/2  failed: the loss is NaN (exit code 1)" in text
    assert "1/4" in text and "1 done, 2 waiting, 1 failed" in text


def test_success(capsys, study):
    ended = flow("Succeeded", cells=CELLS[:1]).cell(CELLS[0], DONE).aggregate(DONE)
    assert watch(capsys, study, ended) == (None, ["4 done"])


def test_refused_plan(capsys, study):
    ended = Flow("w", "tiny", "Failed").plan(
        ("Failed", "main: Error (exit code 2): motifk8s: the study takes 90 GPU hours, more than 2")
    )
    error, said = watch(capsys, study, ended)
    assert error.exit_code == 1
    assert str(error) == (
        "workflow w failed: plan: the study takes 90 GPU hours, more than 2 (exit code 2)"
    )
    assert said[-1] == "0 done, 4 missing"


def test_stopped_by_someone_else(capsys, study):
    message = "Stopped with strategy 'Terminate'"
    ended = flow("Failed", message).cell(
        CELLS[0], ("Failed", "workflow shutdown with strategy:  Terminate")
    )
    error, said = watch(capsys, study, ended)
    assert error.exit_code == 1 and "stopped" in str(error) and "submit" in str(error)
    assert not [line for line in said if "failed" in line]


def test_cluster_that_is_away_for_a_while(capsys, study, monkeypatch):
    away = client.NoAnswerError("cannot read workflow w: it does not answer")
    ended = flow("Succeeded", cells=[]).aggregate(DONE)
    error, said = watch(capsys, study, away, away, ended)
    assert error is None
    assert said == ["cannot read workflow w: it does not answer; trying again", "4 done"]
    monkeypatch.setattr(follow, "PATIENCE", 0)
    assert str(watch(capsys, study, away)[0]).startswith(f"{away}; workflow w ")


def test_login_that_expires_meanwhile(capsys, study):
    error, _ = watch(capsys, study, flow(), Problem("cannot read workflow w: permission denied"))
    assert str(error).startswith("cannot read workflow w: permission denied; workflow w ")


def test_deleted_workflow(capsys, study):
    error, _ = watch(capsys, study, client.GoneError("cannot read workflow w: not found"))
    assert error.exit_code == 1 and "motifk8s status" in str(error)


def test_interrupted_waiting(capsys, study):
    error, _ = watch(capsys, study, flow(), KeyboardInterrupt())
    assert isinstance(error, Interrupted) and error.exit_code == 75
    assert "workflow w " in str(error) and "motifk8s cancel" in str(error)


def test_counts_are_not_printed_too_often(capsys, study):
    lines = follow.Lines(4, between=1000)
    moments = [flow().cell(CELLS[0], ("Running", "")), flow().cell(CELLS[0], DONE)]
    ended = flow("Succeeded", cells=[]).aggregate(DONE)
    script = Script(*moments, ended)
    follow.follow(script, "w", load(str(study)), lines, sleep=lambda seconds: None)
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "done" in line] == ["0 done, 1 running, 3 waiting", "4 done"]


def ends(fake, flow):
    """Let the next submitted workflow end in the state of `flow`."""
    create = fake.create

    def replaced(namespace, body):
        status, made = create(namespace, body)
        name = made["metadata"]["name"]
        fake.workflows[name] = {**made, "status": flow.json()["status"]}
        return status, made

    fake.create = replaced


@pytest.mark.parametrize(
    ("phase", "exit", "code"), [("Succeeded", "", 0), ("Failed", "3", 3), ("Failed", "1", 1)]
)
def test_wait_ends_with_the_workflow(here, reached, study, phase, exit, code):
    last = ("Failed", f"main: Error (exit code {exit})") if exit else DONE
    ends(reached, flow(phase, cells=[]).aggregate(last, code=exit))
    got, out, err = here("submit", study, "--wait")
    assert got == code
    assert ("all 4 cells are done" in out) == (code == 0)
    assert (err == "4 done\n") if code == 0 else one_line(err)


def test_ctrl_c_stops_waiting_alone(reached):
    command = [sys.executable, "-m", "motifk8s", "submit", "smoke", "--wait"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    process = subprocess.Popen(
        command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # Processes in the background ignore Ctrl-C by default.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    threading.Timer(120, process.kill).start()
    assert "workflow smoke-x0zzz" in process.stdout.readline()
    while not [1 for method, path, _ in reached.asked if path.endswith("smoke-x0zzz")]:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 75
    assert "workflow smoke-x0zzz" in one_line(err)
    assert "shutdown" not in reached.workflows["smoke-x0zzz"]["spec"]


# Cancelling -----------------------------------------------------------------------------------


def test_cancel_stops_all_of_the_study_and_no_other(here, reached, study):
    reached.add(Flow("tiny-a", "s3://b/x.yaml").plan(DONE))
    reached.add(Flow("tiny-b", str(study), **{"motifk8s/study": "tiny"}))
    reached.add(Flow("tiny-c", study_text(load(str(study))), ""))
    reached.add(Flow("tiny-old", "x", "Failed").plan(DONE))
    reached.add(Flow("other", "smoke"))
    code, out, err = here("cancel", study)
    assert (code, err) == (0, "")
    stopped = {n for n, w in reached.workflows.items() if w["spec"].get("shutdown") == "Terminate"}
    assert stopped == {"tiny-a", "tiny-b", "tiny-c"}
    assert all(name in out for name in stopped) and "submit" in out


def test_nothing_to_cancel(here, reached):
    reached.add(Flow("smoke-old", "smoke", "Succeeded"))
    code, out, err = here("cancel", "smoke")
    assert (code, err) == (0, "") and "smoke" in out and "smoke-old" not in out


def test_workflow_that_ends_while_it_is_stopped(here, reached, monkeypatch):
    reached.add(Flow("smoke-a", "smoke"))
    ended = Flow("smoke-a", "smoke", "Succeeded")
    look = Workflow.is_of

    def ends(self, *args):
        reached.add(ended)
        return look(self, *args)

    monkeypatch.setattr(Workflow, "is_of", ends)
    code, out, err = here("cancel", "smoke")
    assert (code, err) == (0, "") and "stopping" not in out


def test_help_loads_no_client():
    code = (
        "import sys; from motifk8s.cli.main import main\n"
        "try: main(['submit', '--help'])\nexcept SystemExit as left: assert left.code == 0\n"
        "assert not {'kubernetes', 'argo_workflows', 'rich', 'pydantic'} & set(sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, stdout=subprocess.DEVNULL)


# Invalid settings of users --------------------------------------------------------------------


@pytest.mark.parametrize("token", ["Bearer s3cret\nx", "Bearer s3crét€"])
def test_a_token_that_cannot_be_sent_is_not_shown(here, monkeypatch, tmp_path, fake, token):
    by_server(monkeypatch, tmp_path, f"http://{fake.address}")
    monkeypatch.setenv("ARGO_TOKEN", token)
    code, _, err = here("submit", "smoke")
    assert code == 2 and "characters" in one_line(err)
    assert "s3cr" not in err


def test_a_proxy_without_a_scheme(here, monkeypatch, tmp_path, fake):
    by_kubeconfig(monkeypatch, tmp_path, f"http://{fake.address}")
    monkeypatch.setenv("HTTP_PROXY", "proxy:3128")
    monkeypatch.setenv("HTTPS_PROXY", "proxy:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    code, _, err = here("submit", "smoke")
    assert code == 2 and "HTTPS_PROXY" in one_line(err)


def test_what_never_began_is_not_done_when_a_workflow_is_stopped(study):
    stopped = flow("Failed").cell(CELLS[0], ("Failed", EXIT_75)).json()
    counts = follow.count(load(str(study)), w := Workflow(stopped), w.cells(load(str(study))))
    assert counts["done"] == 0 and counts["missing"] + counts["failed"] == 4
