"""Write the pages of the site into build/docs, from which zensical makes site/.

``make docs`` runs it. The pages are the Markdown files of the repository. Their links lead from
file to file, so that they work where the repository is browsed; here each becomes a link to a page
of the site, or to a copy of the file.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "docs"
PAGES = BUILD / "pages"
REPORT = "report/smoke.html"

# The pages in the order of the site. Those of docs/ that are not listed come last.
NAV = {
    "": ["README.md"],
    "Studies": ["docs/studies.md", "docs/own-data.md", "docs/invivo.md", "docs/store.md"],
    "Clusters": [
        "docs/slurm.md",
        "docs/kubernetes.md",
        "docs/cloud.md",
        "docs/troubleshooting.md",
        "helm/motifk8s/README.md",
        "argo/README.md",
    ],
    "Results": [
        "docs/results/README.md",
        "docs/report.md",
        "docs/archive.md",
        "docs/tracking.md",
        "docs/paper.md",
        "docs/performance.md",
    ],
    "Reference": [
        "docs/cli.md",
        "docs/api.md",
        "examples/motifs_from_fasta.ipynb",
        "docs/reference.md",
        "docs/versions.md",
    ],
    "Project": ["docs/design.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"],
}
# Where the file of a page is not its place on the site.
PLACES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "docs/results/README.md": "results/index.md",
    "helm/motifk8s/README.md": "chart.md",
    "argo/README.md": "workflows.md",
}
REPORT_PAGE = f"""\
# A report

`motifk8s run` and `motifk8s report` write one HTML file with all tables and figures, without
scripts and without files of its own.

[Open the report of the study smoke]({REPORT}){{ .md-button .md-button--primary }}

`smoke` runs every step in about a minute. Its networks are tiny and see few sequences, so its
numbers mean nothing. [Measured results](results/index.md) has those of real studies.
"""
REFERENCE_HEAD = """\
# Python reference

Made from the docstrings. Arrays of sequences have the shape (N, L, 4) in the order A C G T,
position probability matrices (W, 4).
"""
# What a notebook imports, until the package itself has names; then those alone.
MODULES = {
    "Studies": ["study.study"],
    "Motifs": ["motifs.motif", "motifs.meme", "motifs.jaspar", "motifs.tomtom", "motifs.logos"],
    "Filters of any model": ["filters.any_model"],
}
LINK = re.compile(r'(\]\(|src=")([^)"\s]+)')


def place(source: str) -> str:
    """Return where the page made from a file of the repository is on the site."""
    plain = source.removeprefix("docs/").replace(".ipynb", ".md")
    return PLACES.get(source, re.sub(r"(^|/)\.", r"\1", plain))  # zensical skips names with a dot


def sources() -> dict[str, list[str]]:
    """Return the files of the pages that exist, by section."""
    listed = {name for names in NAV.values() for name in names}
    found = {
        section: [name for name in names if (ROOT / name).exists() or name in made()]
        for section, names in NAV.items()
    }
    rest = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))
    if more := [name for name in rest if name not in listed]:
        found["More"] = more
    return found


def made() -> dict[str, str]:
    """Return the pages that are not files of the repository, by the name they would have."""
    return {"docs/report.md": REPORT_PAGE, "docs/reference.md": reference()}


def reference() -> str:
    """Return the page of the Python reference."""
    if "__all__" in (ROOT / "python" / "motifk8s" / "__init__.py").read_text(encoding="utf-8"):
        return f"{REFERENCE_HEAD}\n::: motifk8s\n"
    parts = [REFERENCE_HEAD]
    for title, modules in MODULES.items():
        parts += [f"## {title}\n", *(f"::: motifk8s.{name}\n" for name in modules)]
    return "\n".join(parts)


def page(source: str, pages: set[str]) -> str:
    """Return the text of the page of a file; copy the files that it links to."""
    text = (ROOT / source).read_text(encoding="utf-8")
    if source.endswith(".ipynb"):
        return "\n\n".join(notebook(json.loads(text)["cells"], source, pages))
    return with_links(text, source, pages)


def with_links(text: str, source: str, pages: set[str]) -> str:
    """Return a text of a file with the links of the site; copy the files that it links to."""
    folder, here = (ROOT / source).parent, (PAGES / place(source)).parent

    def link(found: re.Match[str]) -> str:
        path, anchor, fragment = found[2].partition("#")
        if "://" in found[2] or not path:
            return found[0]
        if not (folder / path).exists():
            raise SystemExit(f"{source}: no such file: {path}")
        target = str((folder / path).resolve().relative_to(ROOT))
        to = place(target) if target in pages else copy(target, pages)
        return found[1] + os.path.relpath(PAGES / to, here) + anchor + fragment

    return LINK.sub(link, text)


def notebook(cells: list[dict[str, Any]], source: str, pages: set[str]) -> Iterator[str]:
    """Yield the Markdown of an executed notebook's cells and of their outputs."""
    for number, cell in enumerate(cells):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield with_links(text, source, pages)
            continue
        yield f"```python\n{text}\n```"
        for output in cell["outputs"]:
            data = {kind: "".join(lines) for kind, lines in output.get("data", {}).items()}
            if "image/png" in data:
                picture = (PAGES / place(source)).with_suffix(f".{number}.png")
                picture.parent.mkdir(parents=True, exist_ok=True)
                picture.write_bytes(base64.b64decode(data["image/png"]))
                yield f"![Output]({picture.name})"
            elif "text/html" in data:
                # Tables without a class get the look of the site, and scroll on a narrow screen.
                plain = re.sub(r"<style.*?</style>\s*", "", data["text/html"], flags=re.DOTALL)
                yield re.sub(r"<table [^>]*>", "<table>", plain)
            else:
                shown = data.get("text/plain") or "".join(output.get("text", ""))
                yield f"```text\n{shown.rstrip()}\n```"


def copy(source: str, pages: set[str]) -> str:
    """Copy a file to the site, or list the files of a folder on a page; return its place."""
    path, to = ROOT / source, place(source)
    if path.suffix in (".md", ".ipynb"):
        pages.add(source)
        write(to, page(source, pages))
        return to
    if path.is_file():
        (PAGES / to).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, PAGES / to)
        return to
    names = sorted(file.name for file in path.iterdir() if file.is_file())
    for name in names:
        copy(f"{source}/{name}", pages)
    write(f"{to}/index.md", f"# {source}\n\n" + "".join(f"- [{n}]({n})\n" for n in names))
    return f"{to}/index.md"


def write(to: str, text: str) -> None:
    """Write a page of the site."""
    (PAGES / to).parent.mkdir(parents=True, exist_ok=True)
    (PAGES / to).write_text(text, encoding="utf-8")


def nav(sections: dict[str, list[str]]) -> Iterator[str]:
    """Yield the lines of the navigation in TOML, where JSON's lists and strings are the same."""
    for section, names in sections.items():
        places = json.dumps([place(name) for name in names])
        yield f"{{ {json.dumps(section)} = {places} }}" if section else places[1:-1]


def main(report: Path) -> None:
    """Write all pages and the configuration; `report` is the HTML report to show."""
    shutil.rmtree(BUILD, ignore_errors=True)
    sections = sources()
    pages = {name for names in sections.values() for name in names}
    for source in sorted(pages):
        write(place(source), made().get(source) or page(source, pages))
    (PAGES / REPORT).parent.mkdir()
    shutil.copyfile(report, PAGES / REPORT)
    for name in ("favicon.svg", "site.css"):
        shutil.copyfile(ROOT / "docs" / name, PAGES / name)
    config = (ROOT / "docs" / "zensical.toml").read_text(encoding="utf-8")
    lines = ",\n  ".join(nav(sections))
    (BUILD / "zensical.toml").write_text(
        config.replace("[project]\n", f"[project]\nnav = [\n  {lines},\n]\n", 1), encoding="utf-8"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
