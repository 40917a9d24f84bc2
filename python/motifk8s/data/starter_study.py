"""Write a first study of a data set: motifs of each class, and architectures for its length."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence

from motifk8s.errors import InputError
from motifk8s.motifs.jaspar import jaspar, jaspar_motif, releases
from motifk8s.study.study import loads

RELEASE = "JASPAR2016"


def lookup_motifs(class_name: str, release: str = RELEASE) -> list[str]:
    """Return the JASPAR ids (CORE vertebrates) of a transcription factor by name, in any case.

    NAME(var.2) is a variant of the same factor; dimers such as A::B do not count. An unknown
    release raises InputError.
    """
    wanted = class_name.casefold()
    return [
        motif.name
        for motif in jaspar(release)
        if re.sub(r"\(var\.\d+\)$", "", motif.alt).casefold() == wanted
    ]


def near_motifs(class_name: str, release: str = RELEASE) -> list[str]:
    """Return up to five motifs, as "ID NAME", with names similar to a class: dimers, family."""
    wanted = class_name.casefold()
    names = {f"{motif.name} {motif.alt}": motif.alt.casefold() for motif in jaspar(release)}
    dimers = [text for text, name in names.items() if wanted in name.split("::")]
    similar = difflib.get_close_matches(wanted, names.values(), n=5, cutoff=0.7)
    others = [text for text, name in names.items() if name in similar and text not in dimers]
    return [*dimers, *sorted(others, key=lambda text: similar.index(names[text]))][:5]


def class_motifs(
    classes: Sequence[str], given: Mapping[str, Sequence[str]], release: str = RELEASE
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the motif ids of each class, given or found by name, and remarks on the others.

    Raise InputError if the release, a class or an id is unknown.
    """
    jaspar(release)
    for name, ids in given.items():
        if name not in classes:
            raise InputError(
                f"--motifs {name}={','.join(ids)}: no class {name}; the classes are "
                f"{', '.join(classes)}"
            )
        for identifier in ids:
            jaspar_motif(identifier, release)
    motifs = {
        name: list(given[name]) if name in given else lookup_motifs(name, release)
        for name in classes
    }
    return motifs, {name: _remark(name, release) for name in classes if not motifs[name]}


def _remark(class_name: str, release: str) -> str:
    """Return a remark that a release has no motif of this name, with similar ones."""
    remark = f"no motif has this name; give ids: --motifs {class_name}=ID,ID"
    if near := near_motifs(class_name, release):
        remark += f"; similar names: {', '.join(near)}"
    newest = releases()[-1]
    if newest != release and (newer := lookup_motifs(class_name, newest)):
        remark += f"; --release {newest} has {', '.join(newer)}"
    return remark


def starter_study(
    name: str, path: str, length: int, motifs: Mapping[str, Sequence[str]], release: str = RELEASE
) -> str:
    """Return a study file (YAML) of a data set, with architectures for its length in bp.

    Parameters
    ----------
    name : str
        Any text; the study's name is made from it.
    path : str
        The HDF5 file, relative to the study file.
    motifs : mapping of class to ids
    release : str
        Of JASPAR, to compare filters with.
    """
    slug = re.sub("[^a-z0-9]+", "-", name.lower())[:40].strip("-") or "own"
    slug = "own" if slug == "datasets" else slug
    lines = [
        "# Written by motifk8s import as a first study; edit it as you like. The ids after each",
        "# class are its relevant motifs. The models differ in the size of their pools.",
        "format: 1",
        f'name: "{slug}"',
        f"title: {_quoted(name)}",
        "trials: 3",
        "datasets:",
        f'  "{slug}":',
        "    kind: file",
        f"    path: {_quoted(path)}  # relative to this file",
        f"    length: {length}",
        "    classes:",
        *(f"      {_quoted(label)}: [{', '.join(ids)}]" for label, ids in motifs.items()),
        "models:",
        *_models(length),
        f"matches: {{database: {release}}}",
    ]
    if length < 19:  # The window of the preset is 19 bp.
        lines.append(f"motifs: {{preset: as-run, window: {length}}}")
    text = "\n".join(lines) + "\n"
    loads(text, "the study of these data")  # Check that the study is valid.
    return text


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # YAML does not allow surrogates.


def _models(length: int) -> list[str]:
    """Return the YAML lines of models for sequences of `length` bp.

    As in the paper, two models have a small first pool and one a large. Their second pools make
    the number of positions, and so of parameters, about equal.
    """
    # The two pools multiply to 100, as in the paper; in sequences below 200 bp to half the length,
    # so that two or three positions are left.
    total = 100 if length >= 200 else max(1, length // 2)
    lines = []
    for pool in sorted({min(pool, total) for pool in (2, 4, 25)}):
        second = min(max(1, total // pool), -(-length // pool))
        lines += [
            f"  cnn-{pool}:",
            f"    label: CNN-{pool}",
            f"    conv: [{{filters: 30, width: {min(19, length)}, pool: {pool}}}, "
            f"{{filters: 128, width: {min(5, length)}, pool: {second}}}]",
        ]
    return lines
