"""What no linter checks of the packages: which may import which is in pyproject.toml."""

from __future__ import annotations

import ast
from pathlib import Path

import motifk8s

PACKAGE = Path(motifk8s.__file__).parent


def private_imports(source: str) -> list[str]:
    """Names with an underscore that a module takes from another."""
    return [
        alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name.startswith("_")
    ]


def test_a_private_name_stays_in_its_module() -> None:
    """Ruff sees ``module._name`` (SLF), but not an import within one package."""
    assert private_imports("from motifk8s.store.s3 import S3Store, _part\n") == ["_part"]
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in sorted(PACKAGE.rglob("*.py"))
        if (names := private_imports(path.read_text(encoding="utf-8")))
    }
    assert found == {}
