"""Fail if a link of a built site leads nowhere: to no page, no file, or no heading.

``make docs`` runs it. zensical checks the links between pages, but not those to other files.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote


def dead_links(site: Path) -> Iterator[str]:
    """Yield each dead link with its page."""
    site = site.resolve()
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    ids = {path: set(re.findall(r'\sid="([^"]*)"', text)) for path, text in pages.items()}
    for page, text in sorted(pages.items()):
        for link in sorted(set(re.findall(r'\s(?:href|src)="([^"]+)"', text))):
            if re.match(r"[a-z]+:", link):  # another site, or data
                continue
            path, _, heading = unquote(link).partition("#")
            folder = site if path.startswith("/") else page.parent
            file = (folder / path.lstrip("/")).resolve() if path else page
            if file.is_dir():
                file /= "index.html"
            if not file.exists() or (heading and heading not in ids.get(file, {heading})):
                yield f"{page.relative_to(site)}: {link}"


if __name__ == "__main__":
    if found := list(dead_links(Path(sys.argv[1]))):
        raise SystemExit("make: dead links:\n" + "\n".join(found))
