"""The metadata of an archive: an RO-Crate that says which software made which file from which data.

https://w3id.org/ro/crate/1.1 is the specification, and https://w3id.org/ro/wfrun/process/0.5 the
profile for runs of programs. The metadata is a flat list of entities that refer to each other by
their ``@id``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote

from motifk8s.data.stored import Found
from motifk8s.errors import InputError
from motifk8s.motifs.database import database_version
from motifk8s.study.study import Cell, Study, content_hash

METADATA = "ro-crate-metadata.json"
STUDY = "study.yaml"
TERMS = "https://w3id.org/ro/terms/workflow-run#"
CONTEXT = [
    "https://w3id.org/ro/crate/1.1/context",
    # Of version 1.2; and of the profile, for images.
    {
        "sha256": "http://schema.org/sha256",
        **{key: TERMS + key for key in ("ContainerImage", "containerImage", "registry", "tag")},
    },
]
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
LICENSES = "https://spdx.org/licenses/"
NO_LICENSE = "No licence is given. Ask the authors before you use or share the content."
FORMATS = {
    ".csv": "text/csv", ".h5": "application/x-hdf5", ".html": "text/html",
    ".json": "application/json", ".keras": "application/zip", ".md": "text/markdown",
    ".png": "image/png", ".svg": "image/svg+xml", ".tsv": "text/tab-separated-values",
    ".yaml": "application/yaml",
}  # fmt: skip
# Descriptions of files, by pattern of their path; the first that fits.
ABOUT = {
    STUDY: "The study with all its defaults; motifk8s run study.yaml repeats it",
    "report.html": "Tables, figures and answers on one page",
    "motifs.*": "The motifs of the study: clusters of the filters of all cells",
    "tables/results.csv": "Scores and fractions of filters that match a motif, by cell and layer",
    "tables/table1.*": "Mean and standard deviation over trials, by architecture and layer",
    "tables/comparison.csv": "Results next to published numbers",
    "tables/claims.csv": "Published statements, and whether they hold here",
    "tables/coverage.csv": "Classes whose motif is found, by architecture and layer",
    "tables/paired.csv": "Tests of differences between architectures",
    "tables/prediction.csv": "Whether the architecture alone predicts whole motifs",
    "tables/motifs.csv": "The motifs of the study: how stable they are, and their matches",
    "tables/motif-filters.csv": "The filters of each motif of the study",
    "*sensitivity.csv": "Fractions of matching filters under other settings",
    "*importance.csv": "Rise of the loss without a filter",
    "*firing.csv": "Whether filters fire at embedded motifs of their class",
    "*/metrics.json": "Scores, and what the filters match",
    "*/history.csv": "Losses and scores of each epoch",
    "*/filters.h5": "The motif of every filter, untrimmed",
    "*/motifs-*.meme": "The motifs that were compared with the database",
    "*/hits-*.tsv": "Tomtom's hits of the filters",
    "*/logos-*.png": "Sequence logos of the filters",
    "*/model.keras": "The trained network, with its best weights",
    "*/log.txt": "The log of the run",
    "*/provenance.json": "Code, libraries, machine, times and settings of the run",
}
FOLDERS = {"figures/": "Figures of the study", "tables/": "Tables of the study"}

Json = dict[str, Any]


class Person(NamedTuple):
    """An author of an archive."""

    name: str
    orcid: str = ""  # 0000-0002-1825-0097; empty if not given


class File(NamedTuple):
    """Size in bytes and SHA-256 of a file of the archive."""

    size: int
    sha256: str


class Run(NamedTuple):
    """The run that finished a cell."""

    cell: Cell
    provenance: Mapping[str, Any]
    started: str  # time in ISO 8601; without a zone if it is not known
    ended: str
    model: str  # SHA-256 of model.keras


class Content(NamedTuple):
    """What the metadata describes."""

    study: Study
    runs: Sequence[Run]
    data: Mapping[str, Found]  # by name
    files: Mapping[str, File]  # by path in the archive
    authors: Sequence[Person]
    license: str  # URL; empty if not given
    published: str  # date in ISO 8601


def parse_author(text: str) -> Person:
    """Read "Name" or "Name <ORCID>"; raise `InputError` if it is neither, or a digit is wrong."""
    found = re.fullmatch(r"\s*([^<>]*[^<>\s])\s*(?:<(?:https://orcid\.org/)?([^<>]*)>)?\s*", text)
    if not found:
        raise InputError(f'author {text!r}: expected "Name" or "Name <ORCID>"')
    name, orcid = found[1], found[2]
    if orcid is not None and not _is_orcid(orcid):
        raise InputError(
            f"author {text!r}: {orcid!r} is not an ORCID; expected 16 digits such as "
            "0000-0002-1825-0097, the last one a check digit"
        )
    return Person(name, orcid or "")


def _is_orcid(text: str) -> bool:
    """Return whether a text is an ORCID; its last digit is a checksum (ISO 7064, mod 11-2)."""
    if not re.fullmatch(r"(\d{4}-){3}\d{3}[\dX]", text, re.ASCII):
        return False
    total = 0
    for digit in text.replace("-", "")[:-1]:
        total = (total + int(digit)) * 2
    return "0123456789X"[(12 - total % 11) % 11] == text[-1]


def license_url(text: str) -> str:
    """Return the URL of a licence: `text` is an SPDX id such as CC-BY-4.0, or the URL itself."""
    if re.fullmatch(r"https?://\S+", text):
        return text
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", text):
        return LICENSES + text
    raise InputError(f"licence {text!r}: expected an SPDX id such as CC-BY-4.0, or a URL")


class _Graph:
    """Entities by id. An entity is added once; then others refer to it."""

    def __init__(self) -> None:
        self.entities: dict[str, Json] = {}

    def add(self, name: str, kind: str, /, **values: Any) -> Json:
        """Add an entity without its empty values, unless it exists; return a reference to it."""
        given = {key: value for key, value in values.items() if value not in ("", None, [])}
        self.entities.setdefault(name, {"@id": name, "@type": kind, **given})
        return {"@id": name}

    def flat(self) -> list[Json]:
        """Return the entities; a list of one value is that value, as RO-Crate recommends."""
        return [
            {
                key: value[0] if isinstance(value, list) and len(value) == 1 else value
                for key, value in entity.items()
            }
            for entity in self.entities.values()
        ]


def metadata(content: Content) -> Json:
    """Return the content of ``ro-crate-metadata.json``.

    The root data set has the files, in folders. Each cell is a `CreateAction`: motifk8s, with its
    libraries, made the files of the cell's folder and the network from the study and a data set. A
    network that is not in the archive has its hash. The agent, who started the program, is unknown.
    """
    study, graph = content.study, _Graph()
    graph.add(
        METADATA,
        "CreativeWork",
        conformsTo={"@id": "https://w3id.org/ro/crate/1.1"},
        about={"@id": "./"},
    )
    root = graph.entities["./"] = {"@id": "./", "@type": "Dataset"}
    actions = [_action(graph, content, run) for run in content.runs]
    root |= {
        "name": study.title or study.name,
        "description": _description(content),
        "datePublished": content.published,
        "license": _license(graph, content.license),
        "conformsTo": graph.add(
            PROFILE, "CreativeWork", name="Process Run Crate", version=PROFILE.rpartition("/")[2]
        ),
        "hasPart": _parts(graph, content),
        "mentions": actions,
    }
    if content.authors:
        root["author"] = [_author(graph, person) for person in content.authors]
    return {"@context": CONTEXT, "@graph": graph.flat()}


def _description(content: Content) -> str:
    study = content.study
    models = len({run.cell.model for run in content.runs})
    sets = ", ".join(dict.fromkeys(run.cell.dataset for run in content.runs))
    made = (
        f"The study {study.name} of motifk8s: {len(content.runs)} trainings of {models} "
        f"networks on DNA sequences ({sets}), the motifs that their filters learned, tables, "
        "figures and a report."
    )
    return f"{study.description.strip()} {made}".strip()


def _license(graph: _Graph, url: str) -> Json | str:
    if not url:
        return NO_LICENSE
    name = url.removeprefix(LICENSES)
    return graph.add(url, "CreativeWork", name=name, description=f"The licence {name}")


def _author(graph: _Graph, person: Person) -> Json:
    name = f"https://orcid.org/{person.orcid}" if person.orcid else f"#person/{quote(person.name)}"
    return graph.add(name, "Person", name=person.name)


def _parts(graph: _Graph, content: Content) -> list[Json]:
    """Add folders and files; return references to those that are directly in the archive."""
    parts: dict[str, Json] = {}
    for path, file in content.files.items():
        one = graph.add(
            quote(path),
            "File",
            name=path,
            description=next((text for like, text in ABOUT.items() if fnmatch(path, like)), ""),
            encodingFormat=FORMATS.get(PurePosixPath(path).suffix, "text/plain"),
            contentSize=str(file.size),
            sha256=file.sha256,
        )
        folder = path.rpartition("/")[0]
        if not folder:
            parts[path] = one
            continue
        place = f"{folder}/"
        name = FOLDERS.get(place, f"Files of cell {folder.removeprefix('cells/')}")
        parts[place] = graph.add(quote(place), "Dataset", name=name, hasPart=[])
        graph.entities[quote(place)].setdefault("hasPart", []).append(one)
    return list(parts.values())


def _action(graph: _Graph, content: Content, run: Run) -> Json:
    """Add the run of a cell."""
    cell, facts = run.cell, run.provenance
    folder = f"cells/{cell.id}/"
    device = facts.get("gpu") or {}
    return graph.add(
        f"#cell/{cell.id}",
        "CreateAction",
        name=f"Train {cell.model} on {cell.dataset}, trial {cell.trial}, and match its filters",
        description=f"motifk8s cell {STUDY} {cell.id}, on "
        f"{device.get('name') or facts.get('device')}, {facts.get('machine')}, threads: "
        f"{facts.get('threads')}, {sum((facts.get('stages') or {}).values()):.0f} s",
        startTime=run.started,
        endTime=run.ended,
        instrument=_software(graph, facts),
        object=[
            {"@id": STUDY},
            _data(graph, content, cell.dataset),
            *_databases(graph, content.study),
        ],
        result=[{"@id": folder}, *_model(graph, content, run, folder)],
        containerImage=_image(graph, (facts.get("deployment") or {}).get("image")),
    )


def _software(graph: _Graph, facts: Mapping[str, Any]) -> list[Json]:
    """Add motifk8s with the libraries of a run; and the version that trained, if it is another."""
    version, trained_by = facts.get("code_version", ""), facts.get("trained_by")
    used = {"Python": facts.get("python"), **(facts.get("libraries") or {})}
    libraries = [
        graph.add(_purl(name, number), "SoftwareApplication", name=name, softwareVersion=number)
        for name, number in used.items()
        if number
    ]
    main = graph.add(
        f"{_purl('motifk8s', version)}?libraries={content_hash(used)[:12]}",
        "SoftwareApplication",
        name="motifk8s",
        description=_of_commit(version),
        softwareVersion=version,
        softwareRequirements=libraries,
    )
    if not trained_by or trained_by == version:
        return [main]
    before = graph.add(
        _purl("motifk8s", trained_by),
        "SoftwareApplication",
        name="motifk8s",
        description=f"{_of_commit(trained_by)}, which trained the network",
        softwareVersion=trained_by,
    )
    return [before, main]


def _purl(name: str, version: str) -> str:
    """Return the package URL (purl) of a version: an identifier, without an address."""
    kind = "generic" if name in ("Python", "motifk8s") else "pypi"
    return f"pkg:{kind}/{name.lower()}@{quote(version)}"


def _of_commit(version: str) -> str:
    commit = version.partition("+g")[2]
    if not commit:
        return "The commit is not known"
    changed = ", with uncommitted changes" if commit.endswith(".dirty") else ""
    return f"Git commit {commit.removesuffix('.dirty')}{changed}"


def _data(graph: _Graph, content: Content, name: str) -> Json:
    """Add a data set, which is not in the archive, and the file that it is from."""
    spec, found = content.study.datasets[name], content.data[name]
    made = {
        "synthetic": f"Made from {STUDY}: motifk8s dataset {STUDY} {name}",
        "deepsea": "From the bundle of DeepSEA: motifk8s import deepsea",
        "file": "Imported from a file",
    }[spec.kind]
    sizes = ", ".join(f"{n:,} {part}" for part, n in (found.sequences or {}).items())
    source = None
    if found.sha256:
        source = graph.add(
            f"#data/{name}/source",
            "CreativeWork",
            name=found.source,
            description=f"The file that data set {name} was imported from; not in this archive",
            sha256=found.sha256,
        )
    return graph.add(
        f"#data/{name}",
        "CreativeWork",
        name=f"Data set {name}",
        description=f"{made}. Not in this archive. {len(spec.motif_ids)} classes, {spec.length} bp"
        f"{f'; sequences: {sizes}' if sizes else ''}. The identifier is a hash of its sequences "
        "and labels.",
        identifier=f"sha256:{found.data_hash}",
        isBasedOn=source,
    )


def _databases(graph: _Graph, study: Study) -> Iterable[Json]:
    """Add the databases of motifs that filters are compared with."""
    for name in dict.fromkeys([study.matches.database, *study.analysis.databases]):
        yield graph.add(
            f"#database/{quote(str(name))}",
            "CreativeWork",
            name=f"Motif database {name}",
            version=database_version(name),
        )


def _model(graph: _Graph, content: Content, run: Run, folder: str) -> Iterable[Json]:
    """Add the trained network, by its hash, if the archive does not have its file."""
    path = f"{folder}model.keras"
    if path not in content.files:
        yield graph.add(
            model_id(run.cell),
            "CreativeWork",
            name=f"Trained network of cell {run.cell.id}",
            description="Not in this archive: motifk8s archive --models includes it",
            sha256=run.model,
        )


def model_id(cell: Cell) -> str:
    """Return the id of a network that an archive does not have."""
    return f"#model/{cell.id}"


def _image(graph: _Graph, image: str | None) -> Json | None:
    """Add the image of a pod: [REGISTRY/]NAME[:TAG][@sha256:DIGEST]."""
    if not image:
        return None
    place, _, digest = image.partition("@sha256:")
    host, _, path = place.partition("/")
    if not path or not (set(".:") & set(host) or host == "localhost"):
        host, path = "docker.io", place
    name, _, tag = path.partition(":")
    return graph.add(
        f"#image/{quote(image)}",
        "ContainerImage",
        additionalType={"@id": f"{TERMS}DockerImage"},
        registry=host,
        name=name,
        tag=tag,
        sha256=digest,
    )
