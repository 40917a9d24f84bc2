"""Where this process runs: image, node, pod, attempt, spot or not, GPU.

A pod cannot look at itself, and should not have the rights to: the chart gives these by the
downward API and by values, as environment variables. Outside a cluster they are empty.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from typing import Any

GPU_FACTS = ("name", "driver_version", "memory.total")


def deployment() -> dict[str, Any]:
    """Describe where this process runs.

    Returns
    -------
    dict
        `image` as deployed (with its digest, where the chart was given one), `node`, `pod`,
        `workflow`; `attempt` from 1; `spot`, True or False; each None where nothing tells.
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
    """Name, driver and memory of the first GPU, as ``nvidia-smi`` gives them; None without one."""
    query = ["nvidia-smi", f"--query-gpu={','.join(GPU_FACTS)}", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20)
        values = found.stdout.splitlines()[0].split(", ")
        return dict(zip(GPU_FACTS, values, strict=True))
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None
