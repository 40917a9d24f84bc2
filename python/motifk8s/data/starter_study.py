"""A study to begin with: the known motifs of each class, and architectures that fit the length."""

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
    """JASPAR ids (CORE vertebrates) of a transcription factor, by its exact name in any case.

    Variants that JASPAR calls NAME(var.2) are of the same factor; dimers such as A::B are not.

    Raises
    ------
    InputError
        For an unknown release.
    """
    wanted = class_name.casefold()
    return [
        motif.name
        for motif in jaspar(release)
        if re.sub(r"\(var\.\d+\)$", "", motif.alt).casefold() == wanted
    ]


def near_motifs(class_name: str, release: str = RELEASE) -> list[str]:
    """Up to five motifs, as "ID NAME", whose names are like that of a class: dimers, family."""
    wanted = class_name.casefold()
    names = {f"{motif.name} {motif.alt}": motif.alt.casefold() for motif in jaspar(release)}
    dimers = [text for text, name in names.items() if wanted in name.split("::")]
    like = difflib.get_close_matches(wanted, names.values(), n=5, cutoff=0.7)
    others = [text for text, name in names.items() if name in like and text not in dimers]
    return [*dimers, *sorted(others, key=lambda text: like.index(names[text]))][:5]


def class_motifs(
    classes: Sequence[str], given: Mapping[str, Sequence[str]], release: str = RELEASE
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the motif ids of each class, given or looked up by name; and why some have none.

    Raises
    ------
    InputError
        For an unknown release or class, or an id that the release does not have.
    """
    jaspar(release)
    for name, ids in given.items():
        if name not in classes:
            raise InputError(
                f"--motifs {name}={','.join(ids)}: no class {name}; known: {', '.join(classes)}"
            )
        for identifier in ids:
            jaspar_motif(identifier, release)
    motifs = {
        name: list(given[name]) if name in given else lookup_motifs(name, release)
        for name in classes
    }
    return motifs, {name: _remark(name, release) for name in classes if not motifs[name]}


def _remark(class_name: str, release: str) -> str:
    """Say that a release has no motif of a class's name, and what is near."""
    remark = f"none is called so; name them: --motifs {class_name}=ID,ID"
    if near := near_motifs(class_name, release):
        remark += f"; like it: {', '.join(near)}"
    newest = releases()[-1]
    if newest != release and (newer := lookup_motifs(class_name, newest)):
        remark += f"; --release {newest} has {', '.join(newer)}"
    return remark


def starter_study(
    name: str, path: str, length: int, motifs: Mapping[str, Sequence[str]], release: str = RELEASE
) -> str:
    """Write a study file (YAML) of a data set in a file, with architectures that fit its length.

    Parameters
    ----------
    name : str
        Turned into a name that studies may have.
    path : str
        Of the HDF5 file, relative to the study file.
    length : int
        Of sequences, in bp.
    motifs : mapping of class to ids
    release : str
        Of JASPAR, which filters are compared with.
    """
    slug = re.sub("[^a-z0-9]+", "-", name.lower())[:40].strip("-") or "own"
    slug = "own" if slug == "datasets" else slug
    lines = [
        "# Written by motifk8s import, to begin with: change what you like. The ids after each",
        "# class are the motifs that count as its own; models differ in how much they pool.",
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
    if length < 19:  # the preset's window is 19 bp
        lines.append(f"motifs: {{preset: as-run, window: {length}}}")
    text = "\n".join(lines) + "\n"
    loads(text, "the study of these data")  # what is written can be read
    return text


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # YAML has no surrogates


def _models(length: int) -> list[str]:
    """Lines of models for sequences of `length` bp.

    Two pool little in their first layer and one a lot, as in the paper; the second layer pools
    so much more that all end in about as many positions, and have as many parameters.
    """
    # The paper's pools multiply to 100 at 200 bp and more; shorter sequences are left with two
    # or three positions.
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
