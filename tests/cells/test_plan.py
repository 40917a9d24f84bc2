"""A study on one machine: states of cells, running them, signals, and the results."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from helpers.tiny import CORES, command, one_line, provenance, results, run_folder, study_file

from motifk8s import signals
from motifk8s.cells import finished, run, workers
from motifk8s.cells.events import Epoch, Note, Started
from motifk8s.cells.plan import plan
from motifk8s.cells.run import run_study
from motifk8s.cli import terminal
from motifk8s.errors import RESUME, InputError, Interrupted
from motifk8s.report import tables
from motifk8s.store.folder import FolderStore
from motifk8s.study.study import load

OUTPUTS = {
    "report.html", "tables/results.csv", "tables/comparison.csv", "tables/table1.csv",
    "tables/table1.md", "tables/table1.html",
}  # fmt: skip


def states(study: Path) -> dict[str, tuple[str, str]]:
    store = FolderStore(study.parent / "store")
    return {s.cell.id: (s.state, s.reason) for s in plan(load(str(study)), store)}


def runs(store: Path) -> set[Path]:
    return set(store.glob("*/cells/*/*/*/runs/*"))


# States of cells ------------------------------------------------------------------------------


def test_done(tiny):
    assert states(tiny) == {"small/a/1": ("done", ""), "small/b/1": ("done", "")}


def test_missing_and_started(tiny):
    cells = tiny.parent / "store/tiny/cells/small"
    (cells / "a/1/done.json").unlink()  # files of a run that no marker names count for nothing
    shutil.rmtree(cells / "b")
    (cells / "b/1").mkdir(parents=True)
    (cells / "b/1/checkpoint").write_bytes(b"")
    assert states(tiny) == {"small/a/1": ("missing", ""), "small/b/1": ("started", "")}


@pytest.mark.parametrize(
    "change, stage",
    [
        ({"analysis": "none"}, "analysis"),
        ({"matches": {"evalue": 1}}, "matches"),
        ({"motifs": "as-written"}, "filters"),
        ({"training": {"epochs": 6}}, "training"),
    ],
)
def test_outdated(tiny, change, stage):
    study_file(tiny, change)
    reason = f"its {stage} settings, data or code have changed"
    assert set(states(tiny).values()) == {("outdated", reason)}


def test_outdated_without_its_data(tiny):
    shutil.rmtree(tiny.parent / "store/datasets")
    assert set(states(tiny).values()) == {("outdated", "data set small is not in the store")}


@pytest.mark.parametrize("name", ["model.keras", "metrics.json", "logos-conv1.png", "done.json"])
@pytest.mark.parametrize("how", ["gone", "changed"])
def test_damaged(tiny, here, name, how):
    store = tiny.parent / "store"
    folder = run_folder(store, "small/a/1")
    path = folder.parents[1] / name if name == "done.json" else folder / name
    path.unlink() if how == "gone" else path.write_bytes(path.read_bytes()[:-9])
    if name == "done.json" and how == "gone":
        assert states(tiny)["small/a/1"] == ("missing", "")
        return
    state, reason = states(tiny)["small/a/1"]
    assert state == "damaged" and name in reason
    assert states(tiny)["small/b/1"] == ("done", "")
    code, out, _ = here("plan", tiny, "--store", store)
    assert code == 0 and re.search(rf"damaged: small/a/1: \S+{name} ", out)
    code, out, err = here("aggregate", tiny, "--store", store)
    assert code == 3 and "1 of 2 cells are missing" in one_line(err)
    assert re.search(rf"small/a/1 \(damaged: \S+{name} ", err)
    table = pd.read_csv(store / "tiny/tables/results.csv")
    assert table.model.tolist() == ["b", "b"]


def test_failed(tiny):
    place = tiny.parent / "store/tiny/cells/small/a/1"
    (place / "failed.json").write_text('{"format": 1, "reason": "no luck"}')
    assert states(tiny)["small/a/1"] == ("done", "")  # a later success, killed just after it
    (place / "done.json").unlink()
    assert states(tiny)["small/a/1"] == ("failed", "no luck")
    (place / "failed.json").write_text("{")
    assert states(tiny)["small/a/1"] == ("failed", "unknown reason")


def test_a_future_format_is_an_error_and_is_kept(tiny, here):
    store = tiny.parent / "store"
    marker = store / "tiny/cells/small/a/1/done.json"
    marker.write_text(marker.read_text().replace('"format": 1', '"format": 9'))
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    for name in ("plan", "run", "aggregate"):
        code, _, err = here(name, tiny, "--store", store)
        assert code == 1
        assert "done.json has format 9, this version reads 1: use the version" in one_line(err)
    assert before == {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}


# Results --------------------------------------------------------------------------------------


def test_aggregate(tiny, here):
    store = tiny.parent / "store"
    code, out, err = here("aggregate", tiny, "--store", store)
    assert code == 0 and err == ""
    paths = [Path(line) for line in out.splitlines()]
    assert all(path.is_file() for path in paths)
    names = {str(path.relative_to(store / "tiny")) for path in paths}
    assert names >= OUTPUTS and any(name.startswith("figures/") for name in names)
    table = pd.read_csv(store / "tiny/tables/results.csv", float_precision="round_trip")
    assert table.columns.tolist() == tables.RESULTS
    assert list(zip(table.model, table.layer, strict=True)) == [
        ("a", "conv1"), ("b", "conv1"), ("b", "conv2"),
    ]  # fmt: skip
    for row in table.to_dict("records"):
        cell = f"{row['dataset']}/{row['model']}/{row['trial']}"
        metrics = json.loads((run_folder(store, cell) / "metrics.json").read_text())
        both = {**metrics["layers"][row["layer"]], **metrics}
        for key in set(tables.RESULTS) - {"layer"}:
            assert row[key] == both[key], key  # to the last digit
    page = (store / "tiny/report.html").read_text()
    assert not re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="(?!data:)', page)
    assert "@import" not in page and "url(http" not in page


def test_outputs_of_former_settings_are_deleted(tiny, here):
    own = tiny.parent / "store/tiny"
    former = [own / name for name in ("tables/claims.csv", "figures/mine.png", "figures/my.svg")]
    kept = own / "figures/notes.txt"  # no output of ours
    for path in (*former, kept):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    code, out, _ = here("aggregate", tiny, "--store", own.parent)
    assert code == 0 and not any(path.exists() for path in former) and kept.exists()
    assert all(Path(line).is_file() for line in out.splitlines())


@pytest.mark.parametrize("change", ["other settings", "another run", "deleted"])
def test_a_cell_that_changes_while_it_is_read(tiny, monkeypatch, change):
    """The files are those that the plan checked, or the cell is missing."""
    study, store = load(str(tiny)), FolderStore(tiny.parent / "store")
    cell = tiny.parent / "store/tiny/cells/small/a/1"
    before, _ = finished.read_finished(study, store)

    def plan_and_change(study, store):
        states = plan(study, store)
        done = json.loads((cell / "done.json").read_text())
        if change == "deleted":
            shutil.rmtree(cell)
        elif change == "another run":
            (cell / "done.json").write_text(json.dumps(done | {"run": "runs/other"}))
        else:
            (cell / "done.json").write_text(json.dumps(done | {"keys": {"training": "other"}}))
        return states

    monkeypatch.setattr(finished, "plan", plan_and_change)
    cells, missing = finished.read_finished(study, store)
    if change == "deleted":
        assert set(cells) == {"small/b/1"} and "damaged" in missing["small/a/1"]
    else:
        assert not missing and cells["small/a/1"].metrics == before["small/a/1"].metrics


def test_report_goes_to_a_folder_of_the_users_choice(tiny, here):
    store, out = tiny.parent / "store", tiny.parent / "out"
    before = set(store.rglob("*"))
    code, said, _ = here("report", tiny, "--store", store, "--out", out)
    assert code == 0 and str(out / "report.html") in said.splitlines()
    assert {str(p.relative_to(out)) for p in out.rglob("*.*")} >= OUTPUTS
    assert set(store.rglob("*")) == before
    (tiny.parent / "file").write_text("")
    code, _, err = here("report", tiny, "--store", store, "--out", tiny.parent / "file")
    assert code == 2 and "is a file" in one_line(err)


def test_nothing_to_aggregate(tmp_path, here):
    study = study_file(tmp_path / "tiny.yaml")
    code, _, err = here("aggregate", study, "--store", tmp_path / "store")
    assert code == 3
    assert "2 of 2 cells are missing" in one_line(err) and "small/a/1, small/b/1 (missing)" in err


def test_results_that_cannot_be_written(tiny, here, monkeypatch):
    import errno

    store = tiny.parent / "store"
    assert here("aggregate", tiny, "--store", store)[0] == 0
    before = (store / "tiny/report.html").read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = here("aggregate", tiny, "--store", store)
    assert code == 1 and "no space left on its disk" in one_line(err)
    assert (store / "tiny/report.html").read_bytes() == before
    assert not list(store.rglob("*.tmp"))


# Running --------------------------------------------------------------------------------------


def test_errors_before_anything_runs(tiny, here, monkeypatch):
    monkeypatch.setattr(run, "run_in_parallel", lambda *_: pytest.fail("ran"))
    store = FolderStore(tiny.parent / "store")
    with pytest.raises(InputError, match=r"'large/\*'; .* is small/a/1"):
        run_study(load(str(tiny)), store, terminal.Progress(), only="large/*")
    (tiny.parent / "bad.meme").write_text("no motifs here")
    for database, reason in (("bad.meme", "bad.meme"), ("JASPAR1990", "neither a MEME file nor")):
        study_file(tiny, {"matches": {"database": str(tiny.parent / database)}})
        code, _, err = here("run", tiny, "--store", store.url)
        assert code == 2 and reason in one_line(err)


def test_threads_do_not_depend_on_what_is_left_to_do(tiny, monkeypatch):
    # The number of threads can change the last digits; resuming a run must not change it.
    asked = []
    monkeypatch.setattr(run, "run_in_parallel", lambda *args: asked.append(args[1:]))
    monkeypatch.setattr("motifk8s.cells.run.cores", lambda: 4)
    study, store = load(str(tiny)), FolderStore(tiny.parent / "store")
    (tiny.parent / "store/tiny/cells/small/a/1/done.json").unlink()
    for jobs in (None, 1, 2, 3, 9):
        run_study(study, store, terminal.Progress(), jobs=jobs)
    todo, _, _, jobs, threads = asked[0]
    assert [cell.id for cell in todo] == ["small/a/1"] and (jobs, threads) == (4, 1)
    assert [(a[3], a[4]) for a in asked[1:]] == [(1, 4), (2, 2), (3, 1), (9, 1)]


def test_a_missing_data_set_does_not_stop_other_data_sets(tiny, here):
    vivo = {"kind": "deepsea", "length": 40, "classes": {"YY1": {"column": 1, "motifs": []}}}
    study_file(tiny, {"datasets": {"vivo": vivo}})
    code, out, err = here("run", tiny, "--store", tiny.parent / "store")
    assert code == 3
    assert "vivo  failed: data set vivo is not in the store and cannot be made; import it" in err
    assert err.count("Traceback") == 0
    assert "vivo/a/1, vivo/b/1 (missing: data set vivo is not in the store" in err
    assert out.splitlines()[-1].endswith("report.html")


def at_first(kind: type, monkeypatch, act) -> None:
    """Do something the first time that the terminal shows an event of this kind."""
    show = terminal.Progress.__call__
    done = []

    def watch(self, event):
        show(self, event)
        if isinstance(event, kind) and not done:
            done.append(act())

    monkeypatch.setattr(terminal.Progress, "__call__", watch)


def children() -> set[int]:
    import multiprocessing

    return {process.pid for process in multiprocessing.active_children()}


def test_stopped_and_resumed_a_run_gives_what_cells_give(finished, tmp_path, here, monkeypatch):
    store, study = tmp_path / "store", finished.parent / "tiny.yaml"
    args = ["run", study, "--store", store, "--jobs", CORES]
    with monkeypatch.context() as patch:
        at_first(Epoch, patch, lambda: os.kill(os.getpid(), signal.SIGTERM))
        code, _, err = here(*args)
    assert code == 75
    assert one_line(err) == f"motifk8s: stopped; {RESUME}"
    assert not children()
    assert list(store.glob("tiny/cells/small/*/1/checkpoint"))
    assert not list(store.rglob("done.json"))[1:] and not list(store.rglob("failed.json"))

    ran = command(*args)
    assert ran.returncode == 0, ran.stderr
    # A slow machine also prints a line of progress, every half a minute.
    lines = [line for line in ran.stderr.splitlines() if " of at most " not in line]
    assert len(lines) == 2 and {line.split()[0] for line in lines} == {"small/a/1", "small/b/1"}
    shown = ran.stdout.splitlines()
    assert shown[-1] == f"{store}/tiny/report.html"
    assert any(re.match(r"a +conv1 +1 +0\.\d{3}", line) for line in shown)
    for cell in ("small/a/1", "small/b/1"):
        assert results(store, cell) == results(finished, cell)
    assert any(
        at > 0
        for cell in ("small/a/1", "small/b/1")
        for at in provenance(store, cell)["resumed_at_epochs"]
    )

    # Except for times, the tables are the same as without an interruption.
    (tmp_path / "undisturbed").mkdir()
    shutil.copytree(finished, tmp_path / "undisturbed/store")
    assert here("aggregate", study, "--store", tmp_path / "undisturbed/store")[0] == 0
    ours, theirs = (
        pd.read_csv(folder / "tiny/tables/results.csv", float_precision="round_trip")
        for folder in (store, tmp_path / "undisturbed/store")
    )
    pd.testing.assert_frame_equal(
        ours.drop(columns="seconds"), theirs.drop(columns="seconds"), check_exact=True
    )

    # The next run has nothing to do and writes the same files.
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    monkeypatch.setattr(workers, "_start", lambda process: pytest.fail("it ran a cell"))
    assert here(*args)[0] == 0
    after = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    assert before.keys() == after.keys()
    assert [path for path in before if before[path] != after[path]] == []


ORPHANS = """
import multiprocessing, os, signal, sys
from motifk8s.cells.events import Epoch
from motifk8s.cli import terminal
from motifk8s.cli.main import main

def killing(self, event):
    if not isinstance(event, Epoch):
        return
    pids = [str(process.pid) for process in multiprocessing.active_children()]
    with open(sys.argv[-1], "w") as file:
        file.write(" ".join(pids))
    os.kill(os.getpid(), signal.SIGKILL)

terminal.Progress.__call__ = killing
sys.exit(main(sys.argv[1:-1]))
"""


def test_a_killed_run_leaves_no_running_process(finished, tmp_path):
    store, study, pids = tmp_path / "store", finished.parent / "tiny.yaml", tmp_path / "pids"
    args = ["run", study, "--store", store, "--jobs", CORES, "--cells", "small/a/*"]
    # If its children kept our pipes open, this test would wait for them.
    code = f"import os; os.close(2); os.close(1)\n{ORPHANS}"
    killed = command(*args, pids, code=code, env={"TMPDIR": str(tmp_path)})
    assert killed.returncode == -signal.SIGKILL
    [orphan] = map(int, pids.read_text().split())
    end = time.monotonic() + 60
    while Path(f"/proc/{orphan}/cmdline").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not Path(f"/proc/{orphan}/cmdline").exists()
    place = store / "tiny/cells/small/a/1"
    # It is not a failure.
    assert sorted(path.name for path in place.iterdir()) == ["checkpoint", "progress.json"]


def test_a_failed_cell_does_not_stop_others(tiny, finished, here, monkeypatch):
    store = tiny.parent / "store"
    shutil.rmtree(store / "tiny/cells/small/a")
    hot = {"kind": "synthetic", "n_sequences": 100, "length": 40, "classes": {"SRF": ["MA0083.3"]},
           "motifs_per_sequence": [1, 1]}  # fmt: skip
    hot = {**hot, "classes": {"SRF": ["MA0083.3"], "MAX": ["MA0058.3"]}}
    grid_of = {"small": ["a", "b"], "hot": ["a"]}
    burnt = {"datasets": {"hot": {**hot, "training": {"learning_rate": 1e30}}}, "grid": grid_of}
    study_file(tiny, burnt)
    args = ["run", tiny, "--store", store, "--jobs", CORES]
    code, out, err = here(*args)
    assert code == 3 and "Traceback" not in err
    assert re.search(r"^hot/a/1  failed: the loss is not a number at epoch 1 .*learning_rate$", err,
                     re.MULTILINE)  # fmt: skip
    assert re.search(r"^small/a/1  AUROC", err, re.MULTILINE)
    assert "1 of 3 cells are missing" in err and "hot/a/1 (failed: the loss is not a number" in err
    assert results(store, "small/a/1") == results(finished, "small/a/1")
    assert states(tiny)["hot/a/1"][0] == "failed"
    assert "failed: hot/a/1: the loss is not a number" in here("plan", tiny, "--store", store)[1]
    assert "hot/a/1" in (store / "tiny/report.html").read_text()
    assert out.splitlines()[-1].endswith("report.html")

    # With the cause fixed, only that cell runs. If its process is killed, its cell fails.
    study_file(tiny, {"datasets": {"hot": hot}, "grid": grid_of})
    others = runs(store)
    with monkeypatch.context() as patch:
        at_first(Started, patch, lambda: [os.kill(pid, signal.SIGKILL) for pid in children()])
        code, _, err = here(*args)
    assert code == 3
    assert "hot/a/1  failed: its process was ended by SIGKILL (out of memory?)" in err
    assert runs(store) == others
    code, _, err = here(*args)
    assert code == 0
    assert re.fullmatch(r"hot/a/1  AUROC .*\n", err)
    assert len(runs(store)) == len(others) + 1
    assert states(tiny)["hot/a/1"] == ("done", "")


# Signals, without a cell ----------------------------------------------------------------------


def test_a_second_signal_kills(monkeypatch):
    class Process:
        ended: list[str] = []

        def terminate(self):
            self.ended.append("terminate")

        def kill(self):
            self.ended.append("kill")

    def waiting(pipes, timeout):
        if "kill" in Process.ended:
            raise StopIteration
        os.kill(os.getpid(), signal.SIGINT)
        return []

    class Context:
        Process = staticmethod(lambda **_: Process())
        Pipe = staticmethod(lambda duplex: (object(), type("Pipe", (), {"close": lambda _: 0})()))

    Process.join = lambda self: None
    monkeypatch.setattr(signals, "SECONDS_OF_ONE", 0)  # here they come within microseconds
    monkeypatch.setattr(workers.multiprocessing, "get_context", lambda kind: Context)
    monkeypatch.setattr(workers, "_start", lambda process: None)
    monkeypatch.setattr(workers, "wait", waiting)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(StopIteration):
        workers.run_in_parallel(None, [load("smoke").cells()[0]], "", terminal.Progress(), 1, 1)
    assert Process.ended[:3] == ["terminate", "terminate", "kill"]
    assert signal.getsignal(signal.SIGINT) == before


def test_events_of_an_orphan_are_ignored(tmp_path):
    import multiprocessing

    ours, theirs = multiprocessing.Pipe(duplex=False)
    send = workers._sender(theirs)
    send(Epoch("small/a/1", 1, 2, {"val_loss": 0.5}))
    assert ours.recv() == Epoch("small/a/1", 1, 2, {"val_loss": 0.5})
    ours.close()
    send(Note("small/a/1", "nobody listens"))


def test_an_orphan_stops(finished, tmp_path, monkeypatch, one_thread):
    reader, writer = os.pipe()
    ended = []

    class Dead:
        sentinel = reader

    def watch(event):
        if not ended:
            ended.append(event)
            os.close(writer)  # as the end of the parent process does

    monkeypatch.setattr(signals, "SECONDS_TO_STOP", 300)  # it would end this process, too
    monkeypatch.setattr(workers.multiprocessing, "parent_process", lambda: Dead)
    shutil.copytree(finished / "datasets", tmp_path / "store/datasets")
    study = load(str(finished.parent / "tiny.yaml"))
    with pytest.raises(Interrupted, match="small/a/1: stopped"):
        workers.run_cell(study, study.cells()[0], FolderStore(tmp_path / "store"), watch)
    os.close(reader)
