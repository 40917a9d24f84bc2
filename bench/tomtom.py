"""Compare Tomtom with memelite: seconds and hits of all motifs of a JASPAR release with themselves.

    python bench/tomtom.py [--release JASPAR2024] [--every 1] [--memelite PYTHON]

PYTHON is that of an environment with memelite, which needs numba. Each program runs in a new
process on one core: "cold" is a comparison from the start of the process, with imports and, for
memelite, compilation; "warm" is a second comparison in the same process. memelite has no q-values
and merges similar columns of targets; it also runs without this approximation. Hits have
E <= 0.1. Those of motifk8s are those of MEME's program (tests/motifs).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GROUPS = (
    "vertebrates", "plants", "insects", "nematodes", "fungi", "urochordates", "diatoms",
    "cnidaria", "dictyostelium", "oomycota", "protozoa", "trematodes",
)  # fmt: skip
EVALUE = 0.1
Hits = list[tuple[int, int]]

# --- one program; this part needs no motifk8s where memelite runs


def ours(motifs: list[dict[str, Any]], every: int, q_values: bool) -> Callable[[], Hits]:
    """Prepare a comparison by motifk8s."""
    import numpy as np

    from motifk8s.motifs.motif import Motif
    from motifk8s.motifs.tomtom import tomtom

    made = [Motif(str(i), np.array(m["ppm"]), nsites=m["nsites"]) for i, m in enumerate(motifs)]

    def run() -> Hits:
        hits = tomtom(made[::every], made, EVALUE, q_values=q_values)
        pairs = hits[["Query_ID", "Target_ID"]].astype(int)
        return list(pairs.itertuples(index=False, name=None))

    return run


def memelite(motifs: list[dict[str, Any]], every: int, bins: int | None) -> Callable[[], Hits]:
    """Prepare a comparison by memelite."""
    import numpy as np
    from memelite import tomtom

    ppms = [np.ascontiguousarray(np.array(m["ppm"]).T) for m in motifs]

    def run() -> Hits:
        p = tomtom(ppms[::every], ppms, n_target_bins=bins, n_jobs=1)[0]
        query, target = np.nonzero(p * len(ppms) <= EVALUE)
        return list(zip((query * every).tolist(), target.tolist(), strict=True))

    return run


RUNS: dict[str, Callable[[list[dict[str, Any]], int], Callable[[], Hits]]] = {
    "motifk8s": lambda motifs, every: ours(motifs, every, True),
    "motifk8s, no q-values": lambda motifs, every: ours(motifs, every, False),
    "memelite": lambda motifs, every: memelite(motifs, every, 100),
    "memelite, no merging": lambda motifs, every: memelite(motifs, every, None),
}


def run_one(name: str, file: str, every: int) -> None:
    """Compare twice; print the seconds of the second comparison, and its hits, as JSON."""
    compare = RUNS[name](json.loads(Path(file).read_text()), every)
    compare()
    start = time.perf_counter()
    hits = compare()
    seconds = time.perf_counter() - start
    print(json.dumps({"warm": seconds, "hits": hits}))


# --- all of them


def measure(python: str, name: str, file: Path, every: int) -> dict[str, Any]:
    """Compare in a new process on one core; return seconds and hits."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    command = [python, __file__, "--run", name, str(file), "--every", str(every)]
    start = time.perf_counter()
    env = os.environ | dict.fromkeys(names, "1")
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True)
    except OSError as error:
        raise SystemExit(f"--memelite {python}: {error.strerror}") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no error message"])[-1]
        raise SystemExit(f"{name}, with {python}: {reason}")
    result = json.loads(done.stdout)
    seconds = time.perf_counter() - start - result["warm"]
    return {"cold": seconds, "warm": result["warm"], "hits": set(map(tuple, result["hits"]))}


def main() -> None:
    """Measure each program; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--release", default="JASPAR2024", help="release of JASPAR (%(default)s)")
    add("--every", type=int, default=1, help="take only each N-th motif as a query (%(default)s)")
    add("--memelite", metavar="PYTHON", help="Python of an environment that has memelite")
    add("--run", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.every < 1:
        parser.error("--every: give 1 or more")
    if args.run:
        run_one(*args.run, args.every)
        return
    import machine

    from motifk8s.errors import InputError
    from motifk8s.motifs.jaspar import jaspar, releases

    if args.release not in releases():
        parser.error(f"--release: unknown; known: {', '.join(releases())}")
    motifs = {}
    for group in GROUPS:
        try:
            motifs.update({motif.name: motif for motif in jaspar(args.release, group)})
        except InputError:  # older releases lack some groups
            continue
    content = [{"ppm": m.ppm.tolist(), "nsites": m.nsites} for m in motifs.values()]
    queries = -(-len(content) // args.every)
    print(f"{queries:,} queries, {len(content):,} targets, one core\n")
    print("| | cold, s | warm, s | ms a query | hits | not in motifk8s | only in motifk8s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "motifs.json"
        file.write_text(json.dumps(content))
        first: set[tuple[int, int]] | None = None
        for name in RUNS:
            python = args.memelite if name.startswith("memelite") else sys.executable
            if python is None:
                continue
            found = measure(python, name, file, args.every)
            hits = found["hits"]
            first = hits if first is None else first
            each = found["warm"] / queries * 1000
            print(
                f"| {name} | {found['cold']:.1f} | {found['warm']:.1f} | {each:.1f} "
                f"| {len(hits):,} | {len(hits - first):,} | {len(first - hits):,} |",
                flush=True,
            )
    print(f"\n{machine.markdown(machine.describe('tomtom.py', sys.argv[1:], 1))}")


if __name__ == "__main__":
    main()
