"""Make own-data.h5 for own-study.yaml: ``python examples/make_own_data.py [FILE.h5]``.

The sequences are random. About half of them contain SRF's consensus, and about half YY1's. Replace
`sequences`, `labels` and `split` with your own data.
"""

import random
import sys
from pathlib import Path

import numpy as np

from motifk8s.data.datasets import Dataset, write
from motifk8s.data.sequences import encode

CLASSES = {"SRF": "CCATATAAGG", "YY1": "CAAGATGGCGGC"}
N, LENGTH = 2_000, 101

dice = random.Random(1)
sequences, labels = [], []
for _ in range(N):
    row = [dice.random() < 0.5 for _ in CLASSES]
    sequence = "".join(dice.choices("ACGT", k=LENGTH))
    for present, first, motif in zip(row, (10, 60), CLASSES.values(), strict=True):
        if present:
            start = first + dice.randrange(25)
            sequence = sequence[:start] + motif + sequence[start + len(motif) :]
    sequences.append(sequence)  # equal lengths; any letter but A C G T is an unknown base
    labels.append(row)  # 1 bound, 0 not, -1 unknown

split = np.repeat([0, 1, 2], [1_400, 200, 400])  # training, validation, test

path = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "own-data.h5")
write(
    Dataset(
        codes=encode(sequences),  # (N, L)
        labels=np.array(labels, np.int8),  # (N, C)
        split=split.astype(np.uint8),  # (N,)
        classes=tuple(CLASSES),
    ),
    path,
    None,
)
print(path)
