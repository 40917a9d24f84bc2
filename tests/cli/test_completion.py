"""Completion in a shell: a real bash completes; the other shells accept their scripts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from motifk8s.cli import main
from motifk8s.study.file import builtin_names

TRY = """
source "$0"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_shtab_motifk8s motifk8s "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
Complete = Callable[..., set[str]]


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main.main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.fixture
def complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Complete:
    """What bash offers for the last of these words, in a folder with two files and a folder."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    (tmp_path / "bash").write_text(script("bash", capsys))
    here = tmp_path / "here"
    (here / "results").mkdir(parents=True)
    (here / "own.yaml").touch()
    (here / "model.keras").touch()

    def words(*line: str) -> set[str]:
        command = [bash, "--norc", "-c", TRY, str(tmp_path / "bash"), "motifk8s", *line]
        done = subprocess.run(command, cwd=here, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return set(done.stdout.split())

    return words


def test_commands_and_options(complete: Complete) -> None:
    assert complete("ru") == {"run"}
    assert complete("plan", "demo", "--max") == {"--max-gpu-hours"}
    assert complete("import", "fa") == {"fasta"}
    assert complete("completion", "") == {"bash", "fish", "zsh"}
    [commands] = [a for a in main.build_parser()._actions if a.metavar == "COMMAND"]
    assert complete("") == set(commands.choices or ())


def test_studies_are_names_and_files(complete: Complete) -> None:
    assert complete("run", "") == {*builtin_names(), "own.yaml", "results"}
    assert complete("plan", "ow") == {"own.yaml"}


def test_files_and_folders(complete: Complete) -> None:
    assert complete("filters", "mod") == {"model.keras"}
    assert complete("run", "demo", "--store", "") == {"results"}


@pytest.mark.parametrize("shell", ["fish", "zsh"])
def test_other_shells_accept_their_scripts(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = script(shell, capsys)
    assert all(name in text for name in builtin_names())
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(text)
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)
