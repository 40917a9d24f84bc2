"""Write the pages that are made from the code: docs/cli.md and the chart's table of values.

``make pages`` runs it; the tests compare its output with the files.
"""

from __future__ import annotations

import argparse
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from motifk8s.cli.main import build_parser

ROOT = Path(__file__).parents[1]
CLI = ROOT / "docs" / "cli.md"
CHART = ROOT / "helm" / "motifk8s"
MARKS = ("<!-- values:begin -->", "<!-- values:end -->")
CLI_HEAD = """\
# Commands

<!-- made by docs/generate.py (make pages); do not edit -->

`make install` installs the command into `.venv/bin/motifk8s`; `python -m motifk8s` is the same.
"""


def cli_page() -> str:
    """The page of all commands, from the parser."""
    top = build_parser()
    [subparsers] = [a for a in top._actions if isinstance(a, argparse._SubParsersAction)]
    summaries = {action.dest: action.help or "" for action in subparsers._choices_actions}
    table = ["| command | what it does |", "| --- | --- |"]
    for name in subparsers.choices:
        table.append(f"| [`{name}`](#{name}) | {_cell(summaries[name])} |")
    notes = "\n".join(f"    {line}".rstrip() for line in (top.epilog or "").splitlines())
    sections = [_section(name, sub) for name, sub in subparsers.choices.items()]
    return "\n".join([CLI_HEAD, *table, "", notes, "", *sections]).rstrip() + "\n"


def _section(name: str, command: argparse.ArgumentParser, level: int = 2) -> str:
    usage = " ".join(command.format_usage().removeprefix("usage: ").split())
    lines = [f"{'#' * level} {name}", "", command.description or "", "", f"    {usage}", ""]
    children = [a for a in command._actions if isinstance(a, argparse._SubParsersAction)]
    rows = [_row(a) for a in command._actions if a not in children and a.dest != "help"]
    if rows:
        lines += ["| argument | meaning |", "| --- | --- |", *rows, ""]
    for child in children:
        lines += [_section(f"{name} {kind}", sub, level + 1) for kind, sub in child.choices.items()]
    return "\n".join(lines)


def _row(action: argparse.Action) -> str:
    value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
    if action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    name = " ".join(filter(None, [", ".join(action.option_strings), str(value)]))
    text = (action.help or "") % {"default": _default(action.default)}
    return f"| `{name}` | {_cell(text)} |"


def _default(value: Any) -> str:
    return str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def values_table() -> str:
    """The table of the chart's values, from the comments in values.yaml."""
    values = YAML().load(CHART / "values.yaml")
    rows = [
        f"| `{path}` | {f'`{_cell(default)}`' if default else ''} | {_cell(comment)} |"
        for path, default, comment in _values(values)
    ]
    return "\n".join(["| value | default | meaning |", "| --- | --- | --- |", *rows])


def _values(mapping: CommentedMap, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Path, default and comment of each value; a mapping on one line is one value."""
    for key, value in mapping.items():
        path = f"{prefix}{key}"
        comment = _comment(mapping, key)
        block = isinstance(value, CommentedMap) and value and not value.fa.flow_style()
        if block:
            if comment:
                yield path, "", comment
            yield from _values(value, f"{path}.")
        else:
            yield path, json.dumps(_plain(value)), comment


def _comment(mapping: CommentedMap, key: str) -> str:
    """The comment behind a value and on the lines that continue it."""
    token = (mapping.ca.items.get(key) or [None] * 3)[2]
    if token is None and isinstance(mapping[key], CommentedMap) and mapping[key].ca.comment:
        token = mapping[key].ca.comment[0]
    lines = token.value.splitlines() if token is not None else []
    kept = lines[:1] + [line for line in lines[1:] if re.match(r"\s{8,}#", line)]
    return " ".join(line.strip().lstrip("#").strip() for line in kept)


def _plain(value: Any) -> Any:
    buffer = io.StringIO()
    YAML().dump({"value": value}, buffer)
    return YAML(typ="safe").load(buffer.getvalue())["value"]


def chart_page() -> str:
    """The chart's README with a new table of values."""
    before, rest = (CHART / "README.md").read_text(encoding="utf-8").split(MARKS[0])
    return f"{before}{MARKS[0]}\n{values_table()}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


if __name__ == "__main__":
    CLI.write_text(cli_page(), encoding="utf-8")
    (CHART / "README.md").write_text(chart_page(), encoding="utf-8")
