"""Compare rules that cluster the motifs of filters, on filters of known motifs.

    python bench/clusters.py [--seeds 5] [--scale]

The filters are made from JASPAR's motifs: a window of 19 bp that has at least 70 % of the motif's
information, on either strand, sharpened as by a threshold, of 5 to 2,000 sites; and filters of
noise. The truth is the motif of each filter. The rules:

- correlation: that of motifs/clusters.py, at several cut-offs;
- Tomtom: average linkage on log10 of the larger of both p-values;
- RSAT: average linkage on the normalized correlation of Castro-Mondragon et al. 2017, the rule of
  RSAT matrix-clustering, on trimmed motifs.

Errors: a motif is wrongly joined if a cluster has it and another one, and wrongly split if it is in
several clusters. With --scale the script measures the CPU time for 1,000 to 10,000 filters instead,
and for 90 layers of 300.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np
import pandas as pd
from pyjaspar import jaspardb
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from motifk8s.motifs.clusters import cluster, cluster_groups, similarities
from motifk8s.motifs.jaspar import jaspar, jaspar_motif
from motifk8s.motifs.motif import Motif, information, reverse_complement, trim
from motifk8s.motifs.tomtom import tomtom
from motifk8s.study.study import load

WIDTH = 19
LEAST_WIDTH = 5  # of an overlap in RSAT's rule
NOISE = 20  # filters without a motif
SITES = (5, 2000)


class Case(NamedTuple):
    """Filters (N of (W, 4)) and the number of each one's motif, -1 for noise."""

    filters: list[np.ndarray]
    truth: np.ndarray


def embedded() -> list[Motif]:
    """Return the twelve motifs of the paper's synthetic data."""
    classes = load("koo2019-synthetic").datasets["synthetic"].motif_ids
    return [jaspar_motif(ids[0]) for ids in classes.values()]


def families(n: int, rng: np.random.Generator) -> list[Motif]:
    """Return a motif of each of n families of factors; families, too, can have one motif."""
    with closing(jaspardb(release="JASPAR2016").conn) as connection:
        family = dict(
            connection.execute(
                "SELECT m.BASE_ID || '.' || m.VERSION, a.VAL FROM MATRIX m "
                "JOIN MATRIX_ANNOTATION a ON a.ID = m.ID WHERE a.TAG = 'family'"
            ).fetchall()
        )
    groups: dict[str, list[Motif]] = {}
    for motif in jaspar():
        if motif.name in family and information(motif.ppm).sum() >= 8:
            groups.setdefault(family[motif.name], []).append(motif)
    chosen = rng.permutation(sorted(groups))[:n]
    return [groups[name][rng.integers(len(groups[name]))] for name in chosen]


def as_filter(ppm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make a filter that has learned a motif."""
    bits = information(ppm)
    places = [
        start
        for start in range(4 - len(ppm), WIDTH - 3)
        if bits[max(0, -start) : WIDTH - start].sum() >= 0.7 * bits.sum()
    ]
    start = places[rng.integers(len(places))] if places else (WIDTH - len(ppm)) // 2
    sharp = (ppm + 1e-3) ** rng.uniform(0.8, 2)
    sharp /= sharp.sum(axis=1, keepdims=True)
    result = np.full((WIDTH, 4), 0.25)
    inside = slice(max(0, start), min(WIDTH, start + len(ppm)))
    result[inside] = sharp[inside.start - start : inside.stop - start]
    sites = int(np.exp(rng.uniform(*np.log(SITES))))
    result = np.array([rng.multinomial(sites, row) / sites for row in result])
    return reverse_complement(result) if rng.random() < 0.5 else result


def noise(rng: np.random.Generator) -> np.ndarray:
    """Make a filter that has learned nothing."""
    sites = int(np.exp(rng.uniform(np.log(3), np.log(500))))
    return np.array([rng.multinomial(sites, rng.dirichlet([5] * 4)) / sites for _ in range(WIDTH)])


def make(motifs: Sequence[Motif], each: int, rng: np.random.Generator) -> Case:
    """Make `each` filters of each motif, and noise."""
    filters = [as_filter(motif.ppm, rng) for motif in motifs for _ in range(each)]
    truth = np.repeat(np.arange(len(motifs)), each)
    return Case(
        [*filters, *(noise(rng) for _ in range(NOISE))], np.append(truth, np.full(NOISE, -1))
    )


# --------------------------------------------------------------------------------- similarities


def by_tomtom(filters: Sequence[np.ndarray]) -> np.ndarray:
    """Compute -log10 of the larger p-value of both comparisons, at most 20."""
    motifs = [Motif(str(i), ppm) for i, ppm in enumerate(filters)]
    hits = tomtom(motifs, motifs, 1e9, q_values=False)
    p = np.ones((len(filters), len(filters)))
    p[hits["Query_ID"].astype(int), hits["Target_ID"].astype(int)] = hits["p-value"]
    return -np.log10(np.maximum(np.maximum(p, p.T), 1e-20))


def by_rsat(filters: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the correlation of the overlap times its width over the width of both."""
    trimmed = [ppm[trim(ppm, 0.25, 0)] - 0.25 for ppm in filters]
    n, width = len(trimmed), max(map(len, trimmed))
    x, y, here, there = (np.zeros(shape) for shape in [(n, width, 4)] * 2 + [(n, width)] * 2)
    for i, one in enumerate(trimmed):
        x[i, : len(one)], here[i, : len(one)] = one, 1
    result = np.full((n, n), -1.0)
    for strand in (1, -1):
        y, there = x[:, ::strand, ::strand], here[:, ::strand]
        for offset in range(1 - width, width):
            left = slice(max(0, offset), width + min(0, offset))
            right = slice(max(0, -offset), width - max(0, offset))
            a, b, in_a, in_b = x[:, left], y[:, right], here[:, left], there[:, right]
            norm = ((a**2).sum(2) @ in_b.T) * (in_a @ (b**2).sum(2).T)
            both = in_a @ in_b.T
            product = a.reshape(n, -1) @ b.reshape(n, -1).T
            total = here.sum(1)[:, None] + here.sum(1) - both
            score = product / np.sqrt(np.maximum(norm, 1e-12)) * both / total
            result = np.maximum(result, np.where(both >= LEAST_WIDTH, score, -1))
    return np.maximum(result, result.T)


RULES: dict[str, tuple[Callable[[Sequence[np.ndarray]], np.ndarray], list[float]]] = {
    "correlation": (similarities, [0.5, 0.6, 0.65, 0.7, 0.75, 0.8]),
    "Tomtom, -log10 p": (by_tomtom, [1, 2, 3, 4, 5]),
    "RSAT, Ncor": (by_rsat, [0.3, 0.4, 0.5, 0.6]),
}


def clusters(similar: np.ndarray, least: float) -> np.ndarray:
    """Return the cluster of each filter by average linkage."""
    distance = similar.max() - similar.astype(float)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    return fcluster(tree, similar.max() - least, "distance")


def errors(label: np.ndarray, truth: np.ndarray) -> tuple[int, int, int]:
    """Count motifs wrongly joined, motifs wrongly split, and noise in a cluster of a motif."""
    real = truth >= 0
    joined = sum(max(0, len({*truth[real & (label == c)]}) - 1) for c in {*label})
    split = sum(len({*label[truth == k]}) - 1 for k in {*truth[real]})
    return joined, split, int(np.isin(label[~real], label[real]).sum())


def compare(seeds: int) -> pd.DataFrame:
    """Return the mean errors of each rule and cut-off."""
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        cases = {
            "12 embedded": make(embedded(), 15, rng),
            "50 families": make(families(50, rng), 10, rng),
        }
        for name, case in cases.items():
            for rule, (similarity, values) in RULES.items():
                similar = similarity(case.filters)
                for least in values:
                    found = errors(clusters(similar, least), case.truth)
                    rows.append((rule, least, name, *found))
    columns = ["rule", "at least", "motifs", "joined", "split", "noise"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.pivot_table(["joined", "split", "noise"], ["rule", "at least"], "motifs")


def scale() -> pd.DataFrame:
    """Return CPU seconds and clusters for numbers of filters."""
    rows = []
    for n in (1_000, 2_700, 5_000, 10_000):
        rng = np.random.default_rng(n)
        filters = make(families(50, rng), n // 50, rng).filters[:n]
        start = time.process_time()
        found = cluster(filters)
        rows.append((n, time.process_time() - start, len(found)))
    rng = np.random.default_rng(0)
    motifs = families(50, rng)
    layers = [make(motifs, 6, rng).filters[:300] for _ in range(90)]
    start = time.process_time()
    found = cluster_groups(layers)
    rows.append((27_000, time.process_time() - start, len(found)))
    return pd.DataFrame(rows, columns=["filters", "seconds", "clusters"])


def main() -> None:
    """Print the table of errors, or of seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--scale", action="store_true")
    args = parser.parse_args()
    table = scale() if args.scale else compare(args.seeds)
    print(table.round(1).to_string())


if __name__ == "__main__":
    main()
