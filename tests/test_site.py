"""The pages of the site: each link of the repository's files leads to a page or a copied file.

``make docs`` builds the site from them; it finds dead links between pages and in docstrings.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / "docs").is_dir(), reason="the pages are not part of an image"
)


def script(name: str) -> ModuleType:
    """Import a script of docs/."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """docs/site.py, which has written the pages to a temporary folder."""
    module = script("site")
    folder = tmp_path_factory.mktemp("docs")
    module.BUILD, module.PAGES = folder, folder / "pages"
    report = folder.parent / "report.html"
    report.write_text("<title>A report</title>")
    module.main(report)
    return module


def test_every_link_leads_to_a_page_or_a_file_of_the_site(site: ModuleType) -> None:
    pages = list(site.PAGES.rglob("*.md"))
    assert len(pages) > 20
    for page in pages:
        for _, target in site.LINK.findall(page.read_text(encoding="utf-8")):
            if "://" not in target and (path := target.partition("#")[0]):
                assert (page.parent / path).exists(), f"{page.name}: {target}"


def test_the_start_page_is_the_readme_and_its_links_are_pages(site: ModuleType) -> None:
    text = (site.PAGES / "index.md").read_text(encoding="utf-8")
    assert "[docs/cli.md](cli.md)" in text and 'src="fig2.png"' in text
    assert "[docs/results](results/index.md)" in text
    assert "(contributing.md)" in text and "](docs/" not in text
    assert (site.PAGES / "github" / "workflows" / "ci.yml").exists()  # of a link in CONTRIBUTING
    design = (site.PAGES / "design.md").read_text(encoding="utf-8")
    assert "[README](index.md#code)" in design


def test_every_page_of_docs_is_in_the_navigation(site: ModuleType) -> None:
    config = tomllib.loads((site.BUILD / "zensical.toml").read_text(encoding="utf-8"))
    listed = re.findall(r"[\w/-]+\.md", str(config["project"]["nav"]))
    assert len(listed) == len(set(listed))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= set(listed)
    assert all((site.PAGES / name).exists() for name in listed)


def test_the_reference_is_of_modules_that_exist(site: ModuleType) -> None:
    named = re.findall(r"^::: (\S+)$", site.reference(), re.MULTILINE)
    assert named
    for name in named:
        assert importlib.import_module(name).__doc__


def test_a_notebook_is_a_page_with_its_outputs(
    site: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = [
        {"name": "stdout", "text": ["one\n", "two\n"]},
        {
            "data": {
                "text/html": ['<style>\n a\n</style>\n<table class="a"></table>'],
                "text/plain": "no",
            }
        },
        {"data": {"image/png": "iVBORw==\n", "text/plain": "no"}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Motifs\n", "[page](../README.md)"]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": outputs},
    ]
    monkeypatch.setattr(site, "ROOT", tmp_path)
    monkeypatch.setattr(site, "PAGES", tmp_path / "pages")
    (tmp_path / "README.md").touch()
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "a.ipynb").write_text(json.dumps({"cells": cells}))
    assert site.page("examples/a.ipynb", {"README.md"}) == (
        "# Motifs\n[page](../index.md)\n\n```python\nprint(1)\n```\n\n"
        "```text\none\ntwo\n```\n\n<table></table>\n\n![Output](a.1.png)"
    )
    assert (tmp_path / "pages" / "examples" / "a.1.png").read_bytes() == b"\x89PNG"


def test_a_link_to_a_missing_file_is_an_error(
    site: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("[gone](docs/gone.md)")
    with pytest.raises(SystemExit, match=r"README\.md: no such file: docs/gone\.md"):
        site.page("README.md", {"README.md"})


def test_dead_links_of_a_built_site_are_found(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "index.html").write_text('<h1 id="here"> <a href="../data%20x.csv">')
    (tmp_path / "data x.csv").touch()
    page = tmp_path / "a.html"
    page.write_text('<a href="sub/#here"> <a href="https://x.org/y"> <img src="data:image/png,">')
    dead = script("links").dead_links
    assert list(dead(tmp_path)) == []
    page.write_text('<a href="sub/#there"> <a href="#no"> <img src="no.png"> <a href="/sub/">')
    assert list(dead(tmp_path)) == ["a.html: #no", "a.html: no.png", "a.html: sub/#there"]
