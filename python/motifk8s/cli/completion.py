"""The command that prints a completion script for a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from motifk8s.cli.arguments import STUDIES, Commands, add

SHELLS = ("bash", "fish", "zsh")
NAMES = " ".join(STUDIES)
# STUDY completes to the built-in studies and to files: a function of each shell.
STUDY = {
    "bash": "_motifk8s_study",
    "fish": "(_motifk8s_study)",
    "zsh": "_motifk8s_study",
}
PREAMBLE = {
    "bash": f"""
_motifk8s_study() {{
  compgen -W "{NAMES}" -- "$1"
  compgen -f -X '!*.yaml' -- "$1"
  compgen -d -- "$1"
}}
""",
    "fish": f"""
function _motifk8s_study
  string split ' ' '{NAMES}'
  __fish_complete_suffix .yaml
end
""",
    "zsh": f"""
_motifk8s_study() {{
  _alternative 'studies:built-in study:({NAMES})' 'files:study file:_files -g "*.yaml"'
}}
""",
}
# How metavars of files and of folders begin.
FILES = ("FILE", "FASTA", "BUNDLE", "MODEL.", "QUERY.", "ARCHIVE.")
FOLDERS = ("FOLDER", "URL")


def register(commands: Commands, parser: argparse.ArgumentParser) -> None:
    """Add the command completion. `parser` is that of all commands."""
    text = "print a script that completes commands and options in a shell"
    sub = add(commands, "completion", lambda args: _completion(args.shell, parser), text)
    sub.add_argument("shell", choices=SHELLS, help="the shell that will read the script")


def _completion(shell: str, parser: argparse.ArgumentParser) -> int:
    import shtab

    for action in _actions(parser):
        name = str(action.metavar or "")
        if name == "STUDY":
            action.complete = STUDY  # type: ignore[attr-defined]
        elif name.startswith(FILES):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif name.startswith(FOLDERS):
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    sys.stdout.write(shtab.complete(parser, shell, preamble=PREAMBLE[shell]))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of the commands below it."""
    for action in parser._actions:  # noqa: SLF001 argparse has no public list of them
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from _actions(sub)
        else:
            yield action
