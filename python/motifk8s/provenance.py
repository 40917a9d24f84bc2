"""The code, libraries and machine of this process."""

from __future__ import annotations

import math
import os
import resource
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

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
CGROUPS = "/sys/fs/cgroup"
# Files with the quota and the period of a container's CPU time, of cgroups 2 and 1.
CPU_LIMITS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
GPU_FACTS = ("name", "driver_version", "memory.total")


def version() -> str:
    """Return the version of the installed package; "0" in a source tree that is not installed."""
    try:
        return metadata.version("motifk8s")
    except metadata.PackageNotFoundError:
        return "0"


@cache
def code_version() -> str:
    """Return version and commit: ``0.1.0+g1a2b3c4d5e6f``, with ``.dirty`` if files were changed.

    The commit is from ``MOTIFK8S_COMMIT``, which images set, or from the checkout.
    """
    commit = os.environ.get("MOTIFK8S_COMMIT", "")
    root = Path(__file__).parents[2]
    if not commit and (root / ".git").exists():
        describe = ["git", "-C", str(root), "describe", "--always", "--dirty=.dirty", "--abbrev=12"]
        with suppress(OSError):  # git is not installed
            answer = subprocess.run(
                [*describe, "--exclude=*"], capture_output=True, text=True, check=False
            )
            commit = answer.stdout.strip()
    return f"{version()}+g{commit}" if commit else version()


def library_versions() -> dict[str, str]:
    """Return the versions of the installed libraries that can change a number."""
    versions = {}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def cores() -> int:
    """Count the cores that this process may use; a container may have a limit of CPU time."""
    if hasattr(os, "sched_getaffinity"):
        number = len(os.sched_getaffinity(0))
    else:
        number = os.cpu_count() or 1
    for names in CPU_LIMITS:
        with suppress(OSError, ValueError):  # no such file, or the quota "max" or -1
            texts = [Path(CGROUPS, name).read_text(encoding="ascii") for name in names]
            quota, period = map(int, " ".join(texts).split())
            if quota > 0:
                number = min(number, math.ceil(quota / period))
    return number


def process_age() -> float:
    """Return the seconds since this process began, imports included; 0 if not known."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        begun = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - begun)
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def deployment() -> dict[str, Any]:
    """Return where this process runs; what is not known is None.

    `image` (with its digest, if the chart sets one), `node`, `pod`, `workflow`; `attempt`, from 1;
    `spot`, True or False.
    """
    attempt = os.environ.get("MOTIFK8S_ATTEMPT", "")
    spot = os.environ.get("MOTIFK8S_SPOT", "").lower()
    return {
        **{
            name: os.environ.get(f"MOTIFK8S_{name.upper()}") or None
            for name in ("image", "node", "pod", "workflow")
        },
        "attempt": int(attempt) + 1 if attempt.isdecimal() else None,  # Argo counts retries
        "spot": {"true": True, "false": False}.get(spot),
    }


@cache
def gpu() -> dict[str, str] | None:
    """Return name, driver and memory of the first GPU, from ``nvidia-smi``; None without a GPU."""
    query = ["nvidia-smi", f"--query-gpu={','.join(GPU_FACTS)}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20)
        values = answer.stdout.splitlines()[0].split(", ")
        return dict(zip(GPU_FACTS, values, strict=True))
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None
