"""Measure how many cells a workflow can have: the size of plan's output and of the Workflow object.

    python bench/grid.py --cells 1000 --namespace NS

It runs the built-in smoke study with more trials, and stops the workflow when each cell has a pod.
The chart must be installed in the namespace, and few GPUs must be free, so that most cells wait.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import subprocess
import time
from typing import Any

# A request to etcd limits a Kubernetes object to 1.5 MiB. Argo compresses the nodes of a workflow
# above 1 MiB. It rejects the workflow if they are still above 1 MiB.
LIMIT = 1 << 20


def kubectl(namespace: str, *args: str) -> str:
    """Run kubectl and return what it prints."""
    command = ["kubectl", "-n", namespace, *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def packed(nodes: dict[str, Any]) -> int:
    """Return the size in bytes of the nodes after Argo's compression."""
    text = json.dumps(nodes, separators=(",", ":")).encode()
    return len(base64.b64encode(gzip.compress(text)))


def main() -> None:
    """Submit a grid, measure its size, and stop it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--cells", type=int, default=1000, help="number of cells (%(default)s)")
    add("--namespace", required=True, help="namespace of the chart")
    add("--minutes", type=float, default=20, help="time limit (%(default)s)")
    args = parser.parse_args()
    trials = -(-args.cells // 3)
    study = f"name: grid-{trials}\nextends: smoke\ntrials: {trials}\n"
    out = subprocess.run(
        ["argo", "submit", "-n", args.namespace, "argo/smoke-study.yaml", "-o", "name",
         "-p", f"study={study}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    name, begun = out.stdout.strip(), time.monotonic()
    cells: list[dict[str, Any]] = []
    while len(cells) < trials * 3 and time.monotonic() - begun < args.minutes * 60:
        time.sleep(10)
        text = kubectl(args.namespace, "get", "workflow", name, "-o", "json")
        status = json.loads(text).get("status", {})
        nodes = status.get("nodes") or {}
        if "compressedNodes" in status:
            nodes = json.loads(gzip.decompress(base64.b64decode(status["compressedNodes"])))
        cells = [n for n in nodes.values() if n["templateName"] == "cell" and n["type"] == "Retry"]
        print(f"{time.monotonic() - begun:.0f} s: {len(cells)} cells have a node", flush=True)
    kubectl(args.namespace, "patch", "workflow", name, "--type=merge", "-p",
            '{"spec":{"shutdown":"Terminate"}}')  # fmt: skip
    outputs = {
        f"{n['templateName']}.{p['name']}": len(p["value"])
        for n in nodes.values()
        if n["type"] == "Retry"
        for p in n.get("outputs", {}).get("parameters", [])
    }
    print(f"outputs in bytes: {outputs}")
    print(f"Workflow object from kubectl: {len(text):,} bytes for {len(cells)} cells")
    plain, size = len(json.dumps(nodes, separators=(",", ":"))), packed(nodes)
    print(f"its nodes: {plain:,} bytes, {size:,} compressed; the limit is {LIMIT:,}")
    print(f"limit of cells: about {LIMIT * len(cells) // max(1, size):,}")


if __name__ == "__main__":
    main()
