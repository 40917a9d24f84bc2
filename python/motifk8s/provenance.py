"""Which code this is, and which libraries it runs with."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

LIBRARIES = (
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "jax",
    "numpy",
    "h5py",
    "pandas",
    "scikit-learn",
    "pyjaspar",
    "logomaker",
    "matplotlib",
    "boto3",
)


@cache
def code_version() -> str:
    """Version and commit, such as ``0.1.0+g1a2b3c4d5e6f``, with ``.dirty`` for changed files.

    An image carries its commit in ``MOTIFK8S_COMMIT``; a checkout is asked.
    """
    try:
        version = metadata.version("motifk8s")
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        version = "0"
    commit = os.environ.get("MOTIFK8S_COMMIT", "")
    root = Path(__file__).parents[2]
    if not commit and (root / ".git").exists():
        describe = ["git", "-C", str(root), "describe", "--always", "--dirty=.dirty", "--abbrev=12"]
        with suppress(OSError):  # no git here
            found = subprocess.run(
                [*describe, "--exclude=*"], capture_output=True, text=True, check=False
            )
            commit = found.stdout.strip()
    return f"{version}+g{commit}" if commit else version


def library_versions() -> dict[str, str]:
    """Versions of the libraries that can change a number."""
    versions = {}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
