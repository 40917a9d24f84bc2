"""Make tomtom-queries.meme and tomtom-hits.tsv.

``python tests/motifs/golden/make_tomtom.py [--force]``

The queries are JASPAR motifs with noise, cut or extended, random motifs, and a flat one. The hits
are from this project; they detect changes. Other tests show that hits are correct: by brute force
and with outputs of the real program.
"""

import sys
from pathlib import Path

import numpy as np

from motifk8s.motifs.jaspar import jaspar_motif
from motifk8s.motifs.meme import write_meme
from motifk8s.motifs.motif import Motif, normalize
from motifk8s.motifs.tomtom import run_tomtom

FOLDER = Path(__file__).parent
QUERIES, HITS = FOLDER / "tomtom-queries.meme", FOLDER / "tomtom-hits.tsv"
SOURCES = ["MA0083.3", "MA0079.3", "MA0062.2", "MA0137.3", "MA0496.1", "MA0095.2"]


def queries() -> list[Motif]:
    rng = np.random.default_rng(3)
    ppms = []
    for i, source in enumerate(SOURCES):
        ppm = jaspar_motif(source).ppm
        noise = rng.dirichlet(np.full(4, 0.5), size=len(ppm))
        ppm = (1 - 0.1 * i) * ppm + 0.1 * i * noise
        ppms.append(ppm[i:] if i % 2 else np.concatenate([noise[:i], ppm]))
    ppms += [rng.dirichlet(np.ones(4), size=width) for width in (1, 8, 25)]
    ppms.append(np.full((19, 4), 0.25))
    return [
        Motif(f"filter{i}", normalize(np.round(ppm, 3)), nsites=len(ppm))
        for i, ppm in enumerate(ppms)
    ]


if __name__ == "__main__":
    existing = [str(path) for path in (QUERIES, HITS) if path.exists()]
    if existing and "--force" not in sys.argv[1:]:
        sys.exit(f"{', '.join(existing)}: file exists; --force overwrites it")
    write_meme(queries(), QUERIES)
    run_tomtom(QUERIES, "JASPAR2016", 10.0, HITS)
