"""The command line: help, errors in one line, exit codes, and output."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.tiny import ROOT, command, one_line, study_file

from motifk8s.cells.events import Begun, Epoch, Failed, Finished, Note, Started
from motifk8s.cli import main, studies, terminal
from motifk8s.data import datasets
from motifk8s.motifs.jaspar import jaspar_motif
from motifk8s.motifs.meme import write_meme
from motifk8s.motifs.tomtom import COLUMNS
from motifk8s.report import tables
from motifk8s.report.aggregate import Aggregate, aggregate
from motifk8s.study.study import load
from motifk8s.training import devices

COMMANDS = {
    "run", "plan", "dataset", "cell", "aggregate", "report", "filters", "tomtom", "schema",
}  # fmt: skip
HEAVY = {"numpy", "pandas", "tensorflow", "keras", "boto3", "matplotlib", "h5py", "pydantic"}


def parsers(parser: argparse.ArgumentParser, name: str = "") -> dict[str, argparse.ArgumentParser]:
    """Return every command by name, with subcommands such as "import fasta"."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, sub in action.choices.items():
                found |= {f"{name}{word}": sub, **parsers(sub, f"{name}{word} ")}
    return found


# Help -----------------------------------------------------------------------------------------


def test_every_command_and_option_has_help(capsys):
    found = parsers(main.build_parser())
    assert found.keys() >= COMMANDS
    for name, parser in found.items():
        assert parser.description.endswith(".") and parser.description[0].isupper(), name
        for action in parser._actions:
            assert action.help or isinstance(action, argparse._SubParsersAction), name
        with pytest.raises(SystemExit) as left:
            main.main([*name.split(), "--help"])
        assert left.value.code == 0
        said = capsys.readouterr().out
        assert said.startswith(f"usage: motifk8s {name}")
        if name in COMMANDS:
            assert "exit codes: 0 done" in said and "MOTIFK8S_STORE" in said


@pytest.mark.parametrize(
    "line",
    ["clean smoke --all", "clean smoke --dry", "plan smoke --max 3", "--vers", "status smoke --js",
     "dataset smoke --ag", "import fasta A=a.fa --ou x.h5", "tomtom q.meme --ev 1"],
)  # fmt: skip
def test_no_option_is_abbreviated(line, capsys):
    parser = main.build_parser()
    for name, each in {"": parser, **parsers(parser)}.items():
        assert not each.allow_abbrev, name
    with pytest.raises(SystemExit) as left:  # clean --all deleted checkpoints of unfinished cells
        main.main(line.split())
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "unrecognized arguments" in said or "required" in said


def test_help_lists_commands_studies_and_exit_codes():
    ran = command("--help")
    assert ran.returncode == 0 and ran.stderr == ""
    for name in [*COMMANDS, "koo2019-as-written", "smoke", "75 stopped by a signal"]:
        assert name in ran.stdout
    ran = command()
    assert ran.returncode == 2 and "COMMAND" in ran.stdout


def test_help_is_quick():
    code = f"""
import sys
from motifk8s.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(sorted({HEAVY!r} & set(sys.modules)))
"""
    for args in (["--help"], ["run", "--help"], ["--version"]):
        ran = command(*args, code=code)
        assert ran.returncode == 0 and ran.stdout.splitlines()[-1] == "[]"


def test_version(capsys, monkeypatch):
    from motifk8s import provenance

    provenance.code_version.cache_clear()
    assert main.main(["--version"]) == 0
    assert re.fullmatch(r"0\.1\.0(\+g[0-9a-f]{12}(\.dirty)?)?\n", capsys.readouterr().out)
    # An image has no checkout, but a variable with its commit.
    provenance.code_version.cache_clear()
    monkeypatch.setenv("MOTIFK8S_COMMIT", "0123456789ab")
    assert provenance.code_version() == "0.1.0+g0123456789ab"
    # Neither commit nor git.
    provenance.code_version.cache_clear()
    monkeypatch.delenv("MOTIFK8S_COMMIT")
    monkeypatch.setenv("PATH", "/nowhere")
    assert provenance.code_version() == "0.1.0"
    provenance.code_version.cache_clear()


# The entry points of pods ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plan", "dataset", "cell", "aggregate"])
def test_jobs_are_the_command(name, monkeypatch, capsys):
    path = ROOT / "jobs" / f"{name}.py"
    assert len(path.read_text().splitlines()) < 12
    seen = []
    monkeypatch.setattr(main, "main", lambda argv: seen.append(argv) or 7)
    monkeypatch.setattr(sys, "argv", [str(path), "demo", "--store", "s3://b"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(path), run_name="__main__")
    assert left.value.code == 7 and seen == [[name, "demo", "--store", "s3://b"]]
    runpy.run_path(str(path))  # an import does not run it
    assert len(seen) == 1
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(path), run_name="__main__")
    assert left.value.code == 0 and f"usage: motifk8s {name}" in capsys.readouterr().out


# Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, words",
    [
        ({"trails": 5}, ["tiny.yaml", "trails"]),
        ({"training": {"lr": 1}}, ["tiny.yaml", "training.lr"]),
        ({"models": {"a": {"conv": [{"filters": 2, "width": 3, "pool": 41}]}}},
         ["models.a.conv[0].pool", "41 is larger than its input, 40 positions"]),
        ({"trials": "two"}, ["trials"]),
    ],
)  # fmt: skip
def test_a_bad_study(tmp_path, here, change, words):
    study = study_file(tmp_path / "tiny.yaml", change)
    for args in (["plan"], ["run"], ["cell", "small/a/1"], ["aggregate"], ["dataset"]):
        code, out, err = here(args[0], study, *args[1:], "--store", tmp_path / "store")
        assert code == 2 and out == ""
        assert all(word in one_line(err) for word in words)
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "store").exists()


def test_all_mistakes_of_a_study(tmp_path, here):
    change = {"trails": 5, "seed": "x", "models": {"a": {"conv": [{"filters": 2}]}}}
    code, _, err = here("plan", study_file(tmp_path / "tiny.yaml", change))
    assert code == 2 and "trails" in one_line(err)
    others = [line.split(": ")[0] for line in err.splitlines()[1:]]
    assert others == ["  seed", "  models.a.conv[0].width"]


def test_a_study_that_is_not_there(here, tmp_path):
    code, _, err = here("plan", "koo2018")
    assert code == 2 and "koo2019" in one_line(err)
    code, _, err = here("plan", tmp_path / "none.yaml")
    assert code == 2 and "none.yaml: no such file" in one_line(err)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"extends": "~no-such-user/x.yaml"}, "extends"),
        (
            {"datasets": {"small": {"kind": "file", "path": "~no-such-user/x"}}},
            "datasets.small.path",
        ),
        ({"models": {"a": {"build": "~no-such-user/x.py:f"}}}, "models.a.build"),
        ({"matches": {"database": "~no-such-user/x.meme"}}, "matches.database"),
        (None, ""),
    ],
)
def test_the_home_of_an_unknown_user(here, tmp_path, change, key):
    study = "~no-such-user/x.yaml"
    if change:
        study = study_file(tmp_path / "tiny.yaml", change)
    code, _, err = here("plan", study, "--store", tmp_path / "store")
    assert code == 2 and f"{key}: ~no-such-user/x" in one_line(err)
    assert "the home directory of this user is not known; give the path without ~" in err


def test_a_submitted_study_is_found_by_its_name(here, tmp_path):
    """The newest version that the store keeps is loaded, also if the file is gone."""
    store = tmp_path / "store"
    file = study_file(tmp_path / "tiny.yaml")
    for age, trials in enumerate((2, 3)):  # of two versions, the first is the newer
        study_file(file, {"trials": trials})
        outputs = tmp_path / f"outputs{age}"
        assert here("plan", file, "--store", store, "--outputs", outputs)[0] == 0
        kept = Path((outputs / "study").read_text())
        os.utime(kept, (time.time() - 100 * age,) * 2)
    file.unlink()
    code, out, err = here("plan", "tiny", "--json", "--store", store)
    assert (code, err) == (0, "") and len(json.loads(out)) == 4
    assert here("status", "tiny", "--store", store)[0] == 0
    code, _, err = here("report", "tiny", "--store", store, "--out", tmp_path / "report")
    assert code == 3 and "tiny" in one_line(err)
    for name, place in (("tine", store), ("tiny", tmp_path / "other")):
        code, _, err = here("plan", name, "--store", place)
        assert code == 2 and name in one_line(err) and str(place) in err


@pytest.mark.parametrize(
    "cell, words",
    [
        ("small/c/1", 'no cell "small/c"'),
        ("small/a/2", "no cell small/a/2; its trials are 1"),
        ("small/a", "a cell is DATASET/MODEL/TRIAL"),
    ],
)
def test_a_cell_that_is_not_there(tmp_path, here, cell, words):
    study = study_file(tmp_path / "tiny.yaml")
    code, _, err = here("cell", study, cell, "--store", tmp_path / "store")
    assert code == 2 and words in one_line(err)
    assert not (tmp_path / "store").exists()


def test_a_cell_without_its_data(tmp_path, here):
    study = study_file(tmp_path / "tiny.yaml")
    code, _, err = here("cell", study, "small/a/1", "--store", tmp_path / "store")
    assert code == 2 and "make it: motifk8s dataset STUDY.yaml small" in one_line(err)


def test_releases_and_databases_that_are_not_there(tmp_path, here):
    study = study_file(tmp_path / "tiny.yaml", {"datasets": {"small": {"release": "JASPAR2015"}}})
    code, _, err = here("dataset", study, "--store", tmp_path / "store")
    assert code == 2 and "JASPAR2016" in one_line(err)
    assert not (tmp_path / "store").exists()
    study = study_file(tmp_path / "tiny.yaml", {"matches": {"database": "JASPAR1999"}})
    for name in ("plan", "run", "aggregate"):
        code, _, err = here(name, study, "--store", tmp_path / "store")
        assert code == 2 and "neither a MEME file nor a JASPAR release" in one_line(err)
    assert not (tmp_path / "store").exists()


def test_stores_that_cannot_be_written(tmp_path, here, monkeypatch):
    study = study_file(tmp_path / "tiny.yaml")
    (tmp_path / "file").write_text("mine")
    code, _, err = here("dataset", study, "--store", tmp_path / "file")
    assert code == 2 and "is a file" in one_line(err)
    code, _, err = here("dataset", study, "--store", tmp_path / "file" / "below")
    assert code == 2 and "choose another folder" in one_line(err)
    code, _, err = here("dataset", study, "--store", "gs://bucket")
    assert code == 2 and "give a folder or s3://bucket/prefix" in one_line(err)

    def forbidden(self, *args, **kwargs):
        if self.is_relative_to(tmp_path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return mkdir(self, *args, **kwargs)

    mkdir = Path.mkdir
    monkeypatch.setattr(Path, "mkdir", forbidden)
    code, _, err = here("dataset", study, "--store", tmp_path / "store")
    assert code == 2 and "change the folder's permissions" in one_line(err)
    assert not (tmp_path / "store").exists() and (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "args, words",
    [
        (["run", "demo", "--jobs", "0"], "--jobs: expected an integer of 1 or more, got '0'"),
        (["run", "demo", "--jobs", "-2"], "--jobs"),
        (["cell", "demo", "synthetic/cnn-4/1", "--threads", "many"], "got 'many'"),
        (["tomtom", "x.meme", "--evalue", "-1"], "--evalue: expected a number above 0, got '-1'"),
        (["tomtom", "x.meme", "--evalue", "nan"], "got 'nan'"),
        (["plan"], "required: STUDY"),
        (["play"], "invalid choice: 'play'"),
    ],
)
def test_usage(capsys, args, words):
    with pytest.raises(SystemExit) as left:
        main.main(args)
    assert left.value.code == 2 and words in capsys.readouterr().err


def test_a_pattern_that_is_like_no_cell(tmp_path, here):
    args = ["demo", "--cells", "invivo/*", "--store", tmp_path / "store"]
    code, _, err = here("run", *args)
    assert code == 2 and "'invivo/*'; one of its cells is synthetic/cnn-" in one_line(err)
    assert not (tmp_path / "store").exists()


def test_unexpected_errors_are_one_line_too(monkeypatch, here):
    def fail(args):
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")

    monkeypatch.setattr(studies, "_schema", fail)
    assert here("schema") == (1, "", "motifk8s: /tmp/x: No space left on device\n")
    stopped = "motifk8s: stopped; run the same command again to resume\n"
    monkeypatch.setattr(studies, "_schema", lambda args: (_ for _ in ()).throw(KeyboardInterrupt))
    assert here("schema") == (75, "", stopped)
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(studies, "_schema", lambda args: os.kill(os.getpid(), signal.SIGTERM))
    assert here("schema") == (75, "", stopped)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_full_disk_for_the_output():
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "motifk8s", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        )
    assert ran.returncode == 1 and "No space left" in one_line(ran.stderr)


@pytest.mark.parametrize("args", [["schema"], ["plan", "koo2019"], ["--help"]])
def test_a_closed_pipe(args, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    store = {"MOTIFK8S_STORE": str(tmp_path / "store"), "PYTHONPATH": str(ROOT / "python")}
    ran = subprocess.run(
        [sys.executable, "-m", "motifk8s", *args],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **store},
    )
    os.close(writer)
    assert ran.stderr == ""


# Commands that need no study ------------------------------------------------------------------


def test_schema(here):
    code, out, _ = here("schema")
    schema = json.loads(out)
    assert code == 0 and schema["$schema"].endswith("2020-12/schema")


def test_plan_as_json(tmp_path, here):
    code, out, err = here("plan", "smoke", "--json", "--store", tmp_path / "store")
    assert code == 0 and err == "" and out.count("\n") == 1
    assert json.loads(out)[0] == "tiny/no-pool/1"
    assert len(json.loads(out)) == 3


def test_plan_as_json_names_the_unfinished(tiny, here):
    (tiny.parent / "store/tiny/cells/small/b/1/done.json").unlink()
    _, out, _ = here("plan", tiny, "--json", "--store", tiny.parent / "store")
    assert json.loads(out) == ["small/b/1"]


def test_plan_counts_by_model(tiny, here):
    study_file(tiny, {"trials": 3})
    (tiny.parent / "store/tiny/cells/small/b/1/done.json").unlink()
    code, out, _ = here("plan", tiny, "--store", tiny.parent / "store")
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["small", "a", "1", "2"] in rows and ["b", "3"] in rows and ["all", "1", "5"] in rows


@pytest.fixture
def query(tmp_path):
    path = tmp_path / "query.meme"
    write_meme([jaspar_motif(i, "JASPAR2016") for i in ("MA0083.3", "MA0058.3")], path)
    return path


def test_tomtom(query, here, tmp_path):
    code, out, err = here("tomtom", query)
    assert code == 0 and err == ""
    header, *rows = [line.split("\t") for line in out.splitlines() if line[:1] not in ("", "#")]
    assert header == COLUMNS
    assert ["MA0083.3", "MA0083.3"] in [row[:2] for row in rows]
    # The file has the same hits. With a MEME file and a lower cut-off there are fewer.
    code, said, _ = here("tomtom", query, "--out", tmp_path / "hits.tsv")
    assert code == 0 and (tmp_path / "hits.tsv").read_text() == out
    assert said == f"{len(rows)} hits of 2 motifs: {tmp_path / 'hits.tsv'}\n"
    code, few, _ = here("tomtom", query, "--database", query, "--evalue", "1e-6")
    pairs = [line.split("\t")[:2] for line in few.splitlines() if line.startswith("MA")]
    assert (
        code == 0
        and pairs == [["MA0058.3"] * 2, ["MA0083.3"] * 2]
        or pairs
        == [
            ["MA0083.3"] * 2,
            ["MA0058.3"] * 2,
        ]
    )


def test_tomtom_of_what_is_not_meme(query, here, tmp_path, monkeypatch):
    (tmp_path / "bad.meme").write_text("not MEME")
    out = tmp_path / "hits.tsv"
    for args, words in [
        ([tmp_path / "bad.meme"], "bad.meme"),
        ([tmp_path / "none.meme"], "none.meme"),
        ([query, "--database", "JASPAR1999"], "neither a MEME file nor a JASPAR release"),
        ([query, "--database", tmp_path / "bad.meme"], "bad.meme"),
    ]:
        code, _, err = here("tomtom", *args, "--out", out)
        assert code == 2 and words in one_line(err)
    assert not out.exists()
    out.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = here("tomtom", query, "--database", query, "--out", out)
    assert code == 1 and "no space left" in one_line(err)
    assert out.read_text() == "old" and not list(tmp_path.glob("*.tmp"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory, finished):
    """Models of other programs: for 40 bp, any length, 30 bp, and one not for sequences."""
    setup = devices.setup
    setup(1)
    import keras

    folder = tmp_path_factory.mktemp("models")
    layers = keras.layers

    def save(name, length):
        keras.utils.set_random_seed(1)
        x = inputs = keras.Input((length, 4))
        x = layers.Conv1D(3, 9, activation="relu", padding="same", name="first")(x)
        x = layers.GlobalMaxPooling1D()(x)
        keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x)).save(folder / name)

    save("fixed.keras", 40)
    save("any.keras", None)
    save("short.keras", 30)
    inputs = keras.Input((5,))
    keras.Model(inputs, layers.Dense(1)(inputs)).save(folder / "other.keras")
    (folder / "broken.keras").write_text("nothing")
    return folder


def test_filters_of_a_model_trained_elsewhere(elsewhere, finished, tmp_path, here):
    data = next((finished / "datasets").glob("*/data.h5"))
    before = None
    for name in ("fixed.keras", "any.keras"):
        out = tmp_path / name
        code, said, err = here("filters", elsewhere / name, "--data", data, "--out", out)
        assert code == 0 and err == ""
        assert re.match(r"first: 3 filters, [01]\.\d{3} match a known motif, \d dead\n", said)
        assert said.splitlines()[-1] == f"motifs, hits and logos: {out}"
        assert {path.name for path in out.iterdir()} == {
            "filters.h5", "hits-first.tsv", "logos-first.png", "motifs-first.meme",
        }  # fmt: skip
        meme = (out / "motifs-first.meme").read_text()
        assert before in (None, meme)  # the same weights, so the same motifs
        before = meme


@pytest.mark.parametrize(
    "name, words",
    [
        ("none.keras", "no such file; give a model saved by keras"),
        ("broken.keras", "keras cannot load it"),
        ("short.keras", "reads 30 bp, but"),
        ("other.keras", "an input of one-hot sequences"),
    ],
)
def test_filters_of_an_invalid_model(elsewhere, finished, tmp_path, here, name, words):
    data = next((finished / "datasets").glob("*/data.h5"))
    args = ["filters", elsewhere / name, "--data", data, "--out", tmp_path / "out"]
    code, _, err = here(*args)
    assert code == 2 and words in one_line(err)
    assert not (tmp_path / "out").exists()


def test_filters_with_wrong_arguments(elsewhere, finished, tmp_path, here):
    model = elsewhere / "fixed.keras"
    data = next((finished / "datasets").glob("*/data.h5"))
    (tmp_path / "file").write_text("")
    for more, words in [
        (["--data", tmp_path / "none.h5"], "none.h5: no such data set file"),
        (["--data", data, "--database", "JASPAR1999"], "neither a MEME file nor"),
        (["--data", data, "--out", tmp_path / "file"], "is a file"),
    ]:
        code, _, err = here("filters", model, *more)
        assert code == 2 and words in one_line(err)


# Output ---------------------------------------------------------------------------------------


def paper(trials: int) -> Aggregate:
    study = load("koo2019")
    rng = np.random.default_rng(0)
    metrics = []
    for cell in study.cells():
        if cell.trial > trials or cell.dataset == "invivo":
            continue
        layers = {
            name: {"n_filters": 30, "match_any": rng.random(), "match_truth": rng.random(),
                   "match_null": 0.1, "dead": 0, "coverage": 1.0}
            for name in study.models[cell.model].layers_before_pooling()
        }  # fmt: skip
        metrics.append(
            {"format": 1, "cell": cell.id, **cell._asdict(), "auroc": 0.97, "aupr": 0.5,
             "val_loss": 0.1, "epochs": 30, "seconds": 1.0, "layers": layers}
        )  # fmt: skip
    table = tables.table1(tables.results(metrics, study), study)
    outputs = {name: f"./store/koo2019/{name}" for name in ("tables/results.csv", "report.html")}
    return Aggregate(outputs, table, "")


@pytest.mark.parametrize("trials", [5, 2])
def test_the_table_of_the_paper_fits_a_terminal(capsys, monkeypatch, trials):
    monkeypatch.setenv("COLUMNS", "80")
    terminal.print_results(load("koo2019"), paper(trials))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["./store/koo2019/tables/results.csv", "./store/koo2019/report.html"]
    rows = [line for line in lines if line.startswith("CNN")]
    assert len(rows) == 18 and all(len(line.rstrip()) <= 80 for line in lines)
    n = "5" if trials == 5 else "2/5"
    [line] = [line for line in rows if line.startswith("CNN-25 (120)")]
    assert re.fullmatch(
        rf"CNN-25 \(120\) +conv1 +{n}(/5)? +0\.970 +0\.\d+ ± 0\.\d+ +0\.\d+ ± 0\.\d+ +"
        r"0\.887 ± 0\.025 *",
        line,
    )
    assert any(re.search(r"≤ 0\.127 ± 0\.080", line) for line in rows)
    assert any(line.rstrip().endswith(" 0.93") for line in rows)


def test_without_a_terminal_progress_is_lines(capsys, monkeypatch):
    row = {"val_loss": 0.25, "val_auroc": 0.9}
    metrics = {"layers": {"conv1": {"match_truth": 0.5}}, "auroc": 0.91, "best_epoch": 2,
               "epochs": 3, "seconds": 61.2}  # fmt: skip
    with terminal.Progress() as progress:
        progress(Begun(1))
        progress(Started("d/m/1"))
        progress(Epoch("d/m/1", 1, 9, row))  # too soon for a line
        progress.printed_at["d/m/1"] -= terminal.SECONDS_BETWEEN_LINES
        progress(Epoch("d/m/1", 2, 9, row))
        progress(Note("d/m/1", "look [here]"))
        progress(Finished("d/m/1", metrics))
        progress(Failed("d", "Traceback:\n  deep\nValueError: [x] is wrong\n"))
        progress(Failed("d/m/2", ""))
    assert capsys.readouterr().err.splitlines() == [
        "d/m/1  epoch 2 of at most 9, validation loss 0.2500 AUROC 0.900",
        "d/m/1  look [here]",
        "d/m/1  AUROC 0.910, truth match conv1 0.500, best epoch 2 of 3, 61 s",
        "d  failed: ValueError: [x] is wrong",
        "d/m/2  failed: ",
    ]


def test_at_a_terminal_there_are_bars(monkeypatch):
    """There is a bar for all cells and one for each running cell."""
    import io

    from rich.console import Console

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(terminal, "Console", lambda **_: console)
    with terminal.Progress() as progress:
        progress(Begun(2))
        progress(Started("synthetic/cnn-25-f120/1"))
        progress(Epoch("synthetic/cnn-25-f120/1", 3, 100, {"val_loss": 0.1, "val_auroc": 0.9}))
        progress.bars.refresh()
        shown = screen.getvalue()
        assert re.search(r"cells +0/2 0:00:0", shown)
        assert re.search(r"cnn-25-f120/1 +╸? +3/100 .* loss 0\.1000 AUROC 0\.900", shown)
        progress(Failed("synthetic/cnn-25-f120/1", "no luck"))
        progress.bars.refresh()
        assert re.search(r"cells +━* +1/2", screen.getvalue())


def test_data_is_described(tmp_path, here):
    study = study_file(tmp_path / "tiny.yaml")
    start = time.monotonic()
    code, out, _ = here("dataset", study, "--store", tmp_path / "store")
    assert code == 0 and time.monotonic() - start < 30
    lines = out.splitlines()
    assert lines[0].startswith("small: 100 training, 50 validation, 50 test sequences of 40 bp")
    file = Path(lines[-1]) / "data.h5"
    positives = datasets.describe(datasets.read(file))["positives"]["SRF"]
    assert ["SRF", *map(str, positives.values())] in [line.split() for line in lines]


def test_aggregate_prints_numbers_that_the_file_has(tiny, here):
    store = tiny.parent / "store"
    here("aggregate", tiny, "--store", store)
    made = aggregate(load(str(tiny)), grid_store(store))
    pd.testing.assert_frame_equal(
        made.table[["model", "layer", "trials", "match_truth_mean"]],
        pd.read_csv(store / "tiny/tables/table1.csv")[
            ["model", "layer", "trials", "match_truth_mean"]
        ],
        check_exact=False,
        check_dtype=False,
    )


def grid_store(path: Path):
    from motifk8s.store.folder import FolderStore

    return FolderStore(path)


@pytest.mark.parametrize(
    "change, place",
    [
        ({"title": "{{=1+1}}"}, "line 1"),
        ({"description": "a {{workflow.name}}"}, "line 1"),
        ({"models": {"a": {"label": "{{x"}}}, "line 1"),
        ({"datasets": {"small": {"classes": {"{{x}}": ["MA0083.3"]}}}}, "line 1"),
        ("# {{x}}\n", "line 1"),
        ("\n\ndescription: '{{x}}'\n", "line 4"),
        # With YAML's escapes the text has no braces, but the study has.
        ('title: "\\x7b{=1+1}}"\n', "title"),
        ('description: "{\\u007b}}"\n', "description"),
    ],
)
def test_argo_evaluates_no_study(change, place, tmp_path, here):
    path = tmp_path / "own.yaml"
    if isinstance(change, dict):
        study_file(path, change)
    else:
        path.write_text(f"{change}name: own\nextends: smoke\n")
        if change.startswith("\n"):
            path.write_text(f"name: own\nextends: smoke{change}")
    words = f'{place}: "{{{{" is not allowed in a study: Argo would evaluate it'
    for line in (["plan", path], ["run", path], ["plan", path.read_text()], ["submit", path]):
        code, _, err = here(*line, "--store", tmp_path / "store")
        assert code == 2 and words in one_line(err)
    (tmp_path / "child.yaml").write_text("name: child\nextends: ./own.yaml\n")
    if not str(change).startswith("#"):  # the comments of a base are never given to Argo
        code, _, err = here("plan", tmp_path / "child.yaml", "--store", tmp_path / "store")
        assert code == 2 and "Argo would evaluate it" in one_line(err)
    assert not (tmp_path / "store").exists()
