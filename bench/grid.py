"""How large a grid a cluster takes: plan's output and the Workflow object, by number of cells.

    python bench/grid.py --cells 1000 --namespace NS

The chart is installed in the namespace, and no more GPUs are free than a few, so that most cells
wait: the workflow is stopped once each has a pod. Of the built-in smoke study, with more trials.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import subprocess
import time
from typing import Any

# Kubernetes takes objects up to what etcd takes in a request (1.5 MiB), Argo packs the nodes of a
# workflow above 1 MiB, and refuses it if they are still above 1 MiB then.
LIMIT = 1 << 20


def kubectl(namespace: str, *args: str) -> str:
    """Run kubectl and return what it prints."""
    command = ["kubectl", "-n", namespace, *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def packed(nodes: dict[str, Any]) -> int:
    """Bytes of the nodes as Argo packs them."""
    text = json.dumps(nodes, separators=(",", ":")).encode()
    return len(base64.b64encode(gzip.compress(text)))


def main() -> None:
    """Submit a grid, look how large it is, stop it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--minutes", type=float, default=20)
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
    print(f"Workflow object, as kubectl prints it: {len(text):,} bytes for {len(cells)} cells")
    plain = len(json.dumps(nodes, separators=(",", ":")))
    print(f"its nodes: {plain:,} bytes plain, {packed(nodes):,} packed, of at most {LIMIT:,}")
    print(f"so at most about {LIMIT * len(cells) // max(1, packed(nodes)):,} cells")


if __name__ == "__main__":
    main()
