"""Plain English: words and phrases of a private idiom stay out of what people read.

docs/design.md has the glossary. Where one of these words is right, say the same with another.
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.tiny import ROOT

IDIOM = re.compile(
    r"\b(told|tells?|stands?(?!-| for\b)|bears?|beside|whatever|anew|mend(s|ed)?"
    r"|ask(s|ed)? (for|about)|com(e|es|ing) to|go(es)? on|went on|(in|of) a line|as it was"
    r"|where it was|at hand|of yours|without a word"
    r"|(?<!there )(is|are) no (?!longer|more\b)[a-z]+)\b",
    re.IGNORECASE,
)
PAGES = ("*.md", "docs/*.md", "docs/results/*.md", "helm/motifk8s/*.md", "argo/*.md")
OTHERS = (
    "Makefile", "argo/*.yaml", "helm/motifk8s/values.yaml", "helm/motifk8s/templates/NOTES.txt",
    "python/motifk8s/report/report.html", "examples/*.yaml", "python/motifk8s/study/builtin/*.yaml",
)  # fmt: skip
pytestmark = pytest.mark.skipif(
    not (ROOT / "docs").is_dir(), reason="the pages are not part of an image"
)


def sentences(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line number and text of all prose in a file: of Python, strings and comments."""
    if path.suffix != ".py":
        yield from enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        return
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from enumerate(node.value.splitlines(), node.lineno)
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def files() -> list[Path]:
    named = [path for pattern in (*PAGES, *OTHERS) for path in ROOT.glob(pattern)]
    folders = ("python", "jobs", "bench", "packaging")
    code = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted({*named, *code})


def idioms() -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}: {line.strip()}"
        for path in files()
        for number, line in sentences(path)
        for match in IDIOM.finditer(line)
    ]


def test_prose_is_plain() -> None:
    found = idioms()
    assert not found, "\n".join(found)


def test_the_idiom_is_recognized() -> None:
    said = ["it is told in a line", "what stands there", "the name is no text", "it goes on"]
    assert all(map(IDIOM.search, said))
    plain = ["there is no cell", "the standard output", "a stand-in", "it is no longer used"]
    assert not any(map(IDIOM.search, plain))
