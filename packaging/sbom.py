"""Print the parts of an environment, or of an image, as CycloneDX 1.6 (an SBOM).

    python packaging/sbom.py NAME [--image] >NAME.cdx.json      (make sbom, make dist)

The Python that runs it is the environment: its packages and their licences are what pip recorded.
--image adds what dpkg recorded. It needs the standard library alone, because it runs in the image.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

DPKG, DOC = Path("/var/lib/dpkg/status"), Path("/usr/share/doc")
Component = dict[str, Any]


def component(kind: str, name: str, version: str, purl: str, licences: list[Any]) -> Component:
    """Return a component of CycloneDX; its package URL is also its reference."""
    found = {"type": kind, "name": name, "version": version, "purl": purl, "bom-ref": purl}
    return {**found, **({"licenses": licences} if licences else {})}


def named(names: list[str]) -> list[Any]:
    """Return licences that have names which need not be SPDX's, each once."""
    return [{"license": {"name": name}} for name in dict.fromkeys(names)]


def python_licences(package: Distribution) -> list[Any]:
    """Return the licences in a package's metadata: an SPDX expression, classifiers or a name."""
    if expression := package.metadata.get("License-Expression"):
        return [{"expression": expression}]
    classifiers = package.metadata.get_all("Classifier") or []
    names = [c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License :: OSI")]
    text = (package.metadata.get("License") or "").strip()
    return named(names or [text] * (0 < len(text) < 80))  # some have the whole text there


def is_there(package: Distribution) -> bool:
    """Return whether a package has a file besides its metadata; images/slim.sh deletes some."""
    files = [file for file in package.files or () if not file.parts[0].endswith(".dist-info")]
    return not files or any(Path(str(file.locate())).exists() for file in files)


def python_parts() -> Iterator[Component]:
    """Yield Python itself and the packages of its environment."""
    version = platform.python_version()
    yield component("application", "python", version, f"pkg:generic/python@{version}", [])
    for package in filter(is_there, distributions()):
        name = re.sub(r"[-_.]+", "-", package.name).lower()
        purl = f"pkg:pypi/{name}@{quote(package.version)}"
        yield component("library", name, package.version, purl, python_licences(package))


def debian_parts(status: str, doc: Path, release: str) -> Iterator[Component]:
    """Yield the packages in dpkg's status file, with the licences in their copyright files.

    The package URL has the source package as `upstream`, by which Debian lists vulnerabilities.
    """
    for paragraph in status.strip().split("\n\n"):
        fields = dict(re.findall(r"^(\S+): (.*)$", paragraph, re.MULTILINE))
        if not fields.get("Status", "").endswith(" installed"):
            continue
        name, version = fields["Package"], fields["Version"]
        purl = f"pkg:deb/debian/{name}@{quote(version, safe=':~')}?arch={fields['Architecture']}"
        source = fields.get("Source", name).partition(" ")[0]
        purl += f"&distro=debian-{release}" + (f"&upstream={source}" if source != name else "")
        file = doc / name / "copyright"
        text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        licences = named(re.findall(r"^License: *(\S.*)$", text, re.MULTILINE))
        yield component("library", name, version, purl, licences)


def bill(kind: str, name: str, parts: Iterable[Component]) -> Component:
    """Return the document: each part once, in the order of the package URLs."""
    components = {part["purl"]: part for part in parts}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": kind, "name": name, "bom-ref": name}},
        "components": [components[purl] for purl in sorted(components)],
    }


def main(name: str, image: bool) -> None:
    """Print the document."""
    parts = list(python_parts())
    if image:
        release = platform.freedesktop_os_release()["VERSION_ID"]
        parts += debian_parts(DPKG.read_text(encoding="utf-8"), DOC, release)
    json.dump(bill("container" if image else "application", name, parts), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main(sys.argv[1], "--image" in sys.argv)
