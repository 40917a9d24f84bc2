"""Find a study by its name, path or address, and open its store."""

from __future__ import annotations

import re
from pathlib import Path

from motifk8s.errors import InputError
from motifk8s.store.base import Store
from motifk8s.store.open import open_store
from motifk8s.study.file import builtin_names
from motifk8s.study.study import Study, load


def open_study(study: str, url: str | Path) -> tuple[Study, Store]:
    """Load a study, and open the store at `url`.

    A name that is not a built-in study is looked up in the store: the plan step of a workflow
    keeps each submitted study there. Of several versions, the newest is loaded.

    Parameters
    ----------
    study : str
        As for `load`, or the name of a study in the store.

    Raises
    ------
    InputError
        There is no such study or store, or the study has mistakes.
    """
    if study in builtin_names() or not re.fullmatch("[-a-z0-9]+", study):
        return load(study), open_store(url)
    store = open_store(url)
    if kept := newest(study, store):
        return load(kept), store
    try:
        return load(study), store
    except InputError as error:
        raise InputError(f"{error}; store {store.url} has no study of this name") from None


def newest(name: str, store: Store) -> str | None:
    """Return the URL of the newest version of a study that the store keeps; None without any."""
    infos = store.infos(f"{name}/studies")
    path = max(infos, key=lambda each: infos[each].modified, default=None)
    return f"{store.url.rstrip('/')}/{path}" if path else None
