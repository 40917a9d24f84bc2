"""Find the motifs of one trained network with TF-MoDISco, to compare with those of its filters.

    python bench/modisco.py STUDY CELL --store URL --modisco PYTHON [--sequences 400]

PYTHON is an interpreter with the package modisco-lite, which motifk8s does not need. The
contributions are gradient times input: of the logit of a class, at the test sequences with this
class, gradients centred at each position. TF-MoDISco runs for each class, on positive
contributions. The patterns are trimmed, clustered as filters are, and matched with the study's
database. The script prints the motifs, and how many of the classes they match.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from motifk8s.cells.keys import cell_folder
from motifk8s.cells.marker import fetch, read_done
from motifk8s.data.datasets import Dataset
from motifk8s.data.stored import load_dataset
from motifk8s.motifs.clusters import cluster
from motifk8s.motifs.database import read_database
from motifk8s.motifs.motif import Motif, consensus, trim
from motifk8s.motifs.tomtom import tomtom
from motifk8s.store.open import open_store
from motifk8s.study.study import load

# Run by the other interpreter: from contributions of each class to the probabilities of patterns.
MODISCO = """
import sys
import numpy as np
from modiscolite.tfmodisco import TFMoDISco
data, out, limit = np.load(sys.argv[1]), {}, int(sys.argv[2])
for name in data["classes"]:
    x, grads = data[f"x-{name}"].astype(float), data[f"g-{name}"].astype(float)
    found, _ = TFMoDISco(
        hypothetical_contribs=grads, one_hot=x, max_seqlets_per_metacluster=limit, n_leiden_runs=2
    )
    for i, pattern in enumerate(found or []):
        out[f"{name}-{i}-{len(pattern.seqlets)}"] = pattern.sequence
    print(name, len(found or []), "patterns", file=sys.stderr, flush=True)
np.savez(sys.argv[3], **out)
"""


def contributions(model_file: Path, data: Dataset, most: int) -> dict[str, np.ndarray]:
    """Compute one-hot sequences and gradients of each class; (N, L, 4) each."""
    import keras
    import tensorflow as tf

    model = keras.models.load_model(model_file, compile=False)
    codes, labels = data.part("test")
    result: dict[str, np.ndarray] = {"classes": np.array(data.classes)}
    for i, name in enumerate(data.classes):
        rows = np.flatnonzero(labels[:, i] == 1)[:most]
        x = tf.one_hot(codes[rows], 4)  # an N has the code 4: no base
        with tf.GradientTape() as tape:
            tape.watch(x)
            p = model(x, training=False)[:, i]
            logit = tf.math.log(p) - tf.math.log1p(-tf.minimum(p, 1 - 1e-6))
        gradient = tape.gradient(logit, x).numpy()
        result[f"x-{name}"] = x.numpy().astype(np.int8)
        result[f"g-{name}"] = gradient - gradient.mean(axis=2, keepdims=True)
    return result


def main() -> None:
    """Print the motifs of a cell's network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("cell")
    parser.add_argument("--store", default="./store")
    parser.add_argument("--modisco", required=True, metavar="PYTHON")
    parser.add_argument("--sequences", type=int, default=400, help="of a class, at most")
    parser.add_argument("--seqlets", type=int, default=1000, help="of a class, at most")
    args = parser.parse_args()
    study, store = load(args.study), open_store(args.store)
    cell = study.cell(args.cell)
    place = cell_folder(study, cell)
    done = read_done(store, place)
    if done is None:
        parser.error(f"{cell.id} is not finished")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("model.keras", "in.npz", "out.npz")]
        paths[0].write_bytes(fetch(store, place, done, "model.keras"))
        data = load_dataset(study, cell.dataset, store)
        np.savez(paths[1], **contributions(paths[0], data, args.sequences))
        command = [args.modisco, "-c", MODISCO, str(paths[1]), str(args.seqlets), str(paths[2])]
        subprocess.run(command, check=True, env={})
        with np.load(paths[2]) as patterns:
            found = {name: patterns[name] for name in patterns.files}
    trimmed = [ppm[trim(ppm, 0.5, 0)] for ppm in found.values()]
    names = list(found)
    known = study.datasets[cell.dataset].motif_ids
    class_of = {target: name for name, ids in known.items() for target in ids}
    groups = cluster(trimmed)
    motifs = [Motif(str(i), group.ppm) for i, group in enumerate(groups)]
    hits = tomtom(motifs, read_database(study.matches.database), study.matches.evalue)
    matched = set()
    for motif, group in zip(motifs, groups, strict=True):
        targets = list(hits["Target_ID"][hits["Query_ID"] == motif.name])
        classes = list(dict.fromkeys(class_of[t] for t in targets if t in class_of))
        matched |= set(classes)
        of = " ".join(names[member.number] for member in group.members)
        print(f"{consensus(motif.ppm):24} {classes or targets[:1] or 'no match'}  {of}")
    print(
        f"{len(found)} patterns, {len(groups)} motifs, {len(matched)} of {len(known)} classes, "
        f"{time.perf_counter() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
