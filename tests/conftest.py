"""What several test files share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from helpers.tiny import ORCID, study_file


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """Keep the developer's store and the caller's settings out of every test."""
    for name in os.environ:
        if name.startswith("MOTIFK8S_") and not name.startswith("MOTIFK8S_REQUIRE_"):
            monkeypatch.delenv(name)


class Here:
    """The command in this process, with one thread: TensorFlow takes the number only once."""

    def __init__(self, capsys):
        self.capsys = capsys

    def __call__(self, *args: object) -> tuple[int, str, str]:
        from motifk8s.cli.main import main

        self.capsys.readouterr()
        code = main([str(arg) for arg in args])
        return code, *self.capsys.readouterr()


@pytest.fixture
def one_thread(monkeypatch):
    from motifk8s.training import devices

    setup = devices.setup
    monkeypatch.setattr(devices, "setup", lambda threads=None: setup(1))


@pytest.fixture
def here(capsys, one_thread, monkeypatch):
    # What is printed must not depend on how busy the machine is.
    monkeypatch.setattr("motifk8s.cli.terminal.SECONDS_BETWEEN_LINES", float("inf"))
    return Here(capsys)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A store in which both cells of the tiny study are finished, undisturbed; not to be changed.

    The study file lies beside it: ``tiny.yaml``.
    """
    from motifk8s.cells import cell
    from motifk8s.data import stored
    from motifk8s.store.folder import FolderStore
    from motifk8s.study.study import load
    from motifk8s.training import devices

    folder = tmp_path_factory.mktemp("finished")
    study = load(str(study_file(folder / "tiny.yaml")))
    store = FolderStore(folder / "store")
    stored.prepare(study, "small", store)
    setup, devices.setup = devices.setup, lambda threads=None: setup(1)
    try:
        for each in study.cells():
            cell.run(study, each, store, threads=1)
    finally:
        devices.setup = setup
    return folder / "store"


@pytest.fixture(scope="session")
def whole(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``tiny.yaml``, its aggregated ``store`` and ``tiny.zip``; do not change it."""
    from motifk8s.report.aggregate import aggregate
    from motifk8s.report.archive import archive
    from motifk8s.store.folder import FolderStore
    from motifk8s.study.study import load

    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(finished, folder / "store")
    shutil.copy(finished.parent / "tiny.yaml", folder)
    study, store = load(str(folder / "tiny.yaml")), FolderStore(folder / "store")
    aggregate(study, store)
    archive(study, store, folder / "tiny.zip", license="CC-BY-4.0", authors=[f"Ada <{ORCID}>"])
    return folder


@pytest.fixture
def tiny(finished, tmp_path) -> Path:
    """The tiny study's file; its store, of which this is a copy, lies beside it."""
    shutil.copytree(finished, tmp_path / "store")
    shutil.copy(finished.parent / "tiny.yaml", tmp_path / "tiny.yaml")
    return tmp_path / "tiny.yaml"


@pytest.fixture(scope="session")
def keras() -> ModuleType:
    """Keras, set up once for all tests that use it directly, with one thread as above."""
    from motifk8s.training import devices

    devices.setup(1)
    import keras

    return keras
