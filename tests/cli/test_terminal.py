"""What reaches a terminal: text without escape sequences, in the encoding of any locale."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time

import pytest
from helpers.tiny import ROOT, command, one_line, place_of, study_file

from motifk8s.cli import follow, main
from motifk8s.cli.streams import plain
from motifk8s.data import datasets
from motifk8s.study.study import load

# Clipboard, title, colour, cursor, a string without end; the same with C1; bells and directions.
ESCAPES = {
    "a\x1b]52;c;ZXZpbA==\x07b": "ab",
    "a\x1b]52;c;ZXZpbA==\x1b\\b": "ab",
    "a\x1b]0;title\x07b": "ab",
    "a\x9d0;title\x9cb": "ab",
    "a\x1b[31;1mb\x1b[0m": "ab",
    "a\x1b[2J\x1b[Hb": "ab",
    "a\x9b2Jb": "ab",
    "a\x1bP$q\x1b\\b\x1b_x\x1b\\\x1b^y\x07\x1bXz\x9c": "ab",
    "a\x1bcb\x1b(0": "ab",
    "a\x1b]0;no end": "a0;no end",
    "a\rb\x08c\x07\x00\x7f\x85": "abc",
    "a\u202eb\u2066": "ab",
    "a\tb\nü≤": "a\tb\nü≤",
    "a\x1b": "a",
    "\x1b\x1b[31m\x1b]\x1b]0;x\x07": "",
}
LOCALES = [
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"PYTHONIOENCODING": "cp1252"},
]


@pytest.mark.parametrize("text", ESCAPES)
def test_plain_text(text):
    assert plain(text) == ESCAPES[text]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", plain(text * 3))


def test_plain_text_takes_linear_time():
    begun = time.monotonic()
    for text in ("\x1b]", "\x1b[", "\x1b]x\x1b", "\x9d", "\x1bP;"):
        plain(text * 200_000)
    assert time.monotonic() - begun < 5


def evil_store(folder) -> list[str]:
    """Make a study whose cells have failed, with escape sequences in all that is printed."""
    study, store = folder / "tiny.yaml", folder / "store"
    for text, model in zip(("\x1b]52;c;eA==\x07\x1b[2Jno luck", "\x9d0;t\x9c\rno luck"), "ab",
                           strict=True):  # fmt: skip
        place = place_of(store, f"small/{model}/1")
        place.mkdir(parents=True)
        told = {"format": 1, "reason": text, "log": [text, "\x1b]0;log\x07line"]}
        (place / "failed.json").write_text(json.dumps(told))
    study_file(study, {"title": r"\x1b]0;title\x07"})
    return [str(study), "--store", str(store)]


@pytest.mark.parametrize("name", ["plan", "aggregate", "status"])
def test_no_escape_sequence_of_a_store_is_printed(name, tmp_path, here, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    _, out, err = here(name, *evil_store(tmp_path))
    assert "no luck" in out + err
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", out + err)
    assert "52;c" not in out + err and "0;t" not in out + err


def test_no_escape_sequence_of_a_store_is_printed_at_a_terminal(tmp_path):
    """Rich writes escape sequences of its own there: these must stay, and no others."""
    args = [sys.executable, "-m", "motifk8s", "plan", *evil_store(tmp_path)]
    ours, theirs = os.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(args, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                said += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert process.returncode == 0 and b"no luck" in said and b"\x1b[" in said
    assert b"52;c" not in said and b"\x1b]" not in said and b"\x1b[2J" not in said


def test_no_escape_sequence_of_a_cluster_is_printed(capsys):
    with follow.Lines(1) as lines:
        lines.say("cell  failed: \x1b]52;c;eA==\x07\x1b[2Jno luck")
    assert capsys.readouterr().err == "cell  failed: no luck\n"


def test_the_message_of_a_pods_end_is_plain(monkeypatch, here):
    written = []
    monkeypatch.setenv("MOTIFK8S_POD", "1")
    monkeypatch.setattr("pathlib.Path.write_text", lambda path, text, **_: written.append(text))
    assert here("plan", "\x1b]0;x\x07no/study.yaml")[0] == 2
    assert written == ["motifk8s: no/study.yaml: no such file"]


@pytest.mark.parametrize("env", LOCALES, ids=str)
def test_every_encoding_of_stdout(env):
    code = (
        "import sys; from motifk8s.cli import main, terminal;"
        "table = terminal.new_table('≤', title='≥'); table.add_row('ü 文 \\udcff');"
        "main._run = lambda argv: terminal.new_console().print(table) or print('≤ ü 文') or 0;"
        "sys.exit(main.main([]))"
    )
    code = code.encode("ascii", "backslashreplace").decode()
    ran = command(code=code, env=env, encoding="latin-1", errors="replace")
    assert ran.returncode == 0 and ran.stderr == ""
    assert "<= " in ran.stdout and ">=" in ran.stdout and "\\u6587 \\udcff" in ran.stdout


@pytest.mark.parametrize("env", LOCALES, ids=str)
def test_commands_in_every_locale(env, tmp_path):
    """Titles, the rules of tables and names of files are not in Latin-1."""
    study = study_file(tmp_path / "tiny.yaml", {"title": "Größe ≤ 文"})
    args = [study, "--store", tmp_path / "store"]
    for line in (["plan", *args, "--price", "1"], ["aggregate", *args], ["plan", f"{study}≤.yaml"]):
        ran = command(*line, env=env, encoding="latin-1", errors="replace")
        assert "Traceback" not in ran.stderr and ran.returncode in (0, 2, 3)
    assert "文" in (tmp_path / "store/tiny/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("env", LOCALES, ids=str)
def test_an_import_in_every_locale(env, tmp_path):
    for name, base in (("ü", "ACGT"), ("b", "TGCA")):
        sequences = (f">{name}{i}\n{base * i}{'A' * 20}\n" for i in range(1, 21))
        (tmp_path / f"{name}.fa").write_text("".join(sequences), encoding="utf-8")
    args = ["--negatives-from-others", "--length", "20", "--out", "ö.h5", "--study-out", "é.yaml"]
    ran = command("import", "fasta", "Größe=ü.fa", "文=b.fa", *args, env=env, cwd=tmp_path,
                  encoding="latin-1", errors="replace")  # fmt: skip
    assert ran.returncode == 0 and ran.stderr == ""
    study = load(str(tmp_path / "é.yaml"))
    spec = next(iter(study.datasets.values()))
    assert list(spec.motif_ids) == ["Größe", "文"] and spec.path == str(tmp_path / "ö.h5")
    assert datasets.read(spec.path).classes == ("Größe", "文")
    # The path in the study is not ASCII.
    ran = command("dataset", "é.yaml", env=env, cwd=tmp_path, encoding="latin-1", errors="replace")
    assert "Traceback" not in ran.stderr
    assert "Gr" in ran.stdout if ran.returncode == 0 else "codec" in one_line(ran.stderr)


def test_data_on_stdout_is_utf8_in_every_locale(tmp_path):
    row = "0.25 0.25 0.25 0.25\n"
    text = f"MEME version 4\n\nMOTIF Größe文\nletter-probability matrix: w= 2\n{row}{row}"
    (tmp_path / "q.meme").write_text(text, encoding="utf-8")
    args = ["tomtom", tmp_path / "q.meme", "--database", tmp_path / "q.meme", "--evalue", "9"]
    hits = {command(*args, env=env, encoding="utf-8").stdout for env in ({}, *LOCALES)}
    assert len(hits) == 1 and "Größe文" in hits.pop()


def test_a_store_that_looks_like_an_address(tmp_path, monkeypatch, here):
    monkeypatch.chdir(tmp_path)
    for url in ("s3:/bucket/x", "S3://bucket/x", "s3:bucket", "gs://bucket", "file:///x"):
        code, _, err = here("plan", "smoke", "--store", url)
        assert code == 2 and "give a folder or s3://bucket/prefix, not" in one_line(err)
    assert os.listdir() == []
    assert main.main(["plan", "smoke", "--store", "./s3:"]) == 0
