"""Make program/: query files and a database, and what the real Tomtom (MEME 4.12.0) says of them.

``python tests/motifs/golden/make_program.py [--force] [TOMTOM]``

Writes QUERY.meme, database.meme, rna.db.meme and bfile.txt. With TOMTOM, the path of that program,
it also runs it and writes what it prints as QUERY.tsv:

    tomtom -text -verbosity 1 -evalue -thresh 10 [-bfile bfile.txt] QUERY.meme database.meme

and, as FOLDER/QUERY.tsv, with the options in `MORE` of that folder in place of -evalue -thresh 10.

The motifs are JASPAR motifs with noise and five decimals. The files differ in what stands before
the motifs. The test compares every row.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

from motifk8s.motifs.jaspar import jaspar

FOLDER = Path(__file__).parent / "program"
TARGETS, QUERIES = 60, 3
HEAD = "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\n"
RNA = HEAD.replace("ACGT", "ACGU")
DREME = """# DREME 4.12.0

MEME version 4.12.0

ALPHABET "DNA" DNA-LIKE
A "Adenine" CC0000 ~ T "Thymine" 008000
C "Cytosine" 0000CC ~ G "Guanine" FFB300
N "Any base" = ACGT
X = ACGT
. = ACGT
V "Not T" = ACG
H "Not G" = ACT
D "Not C" = AGT
B "Not A" = CGT
M "Amino" = AC
R "Purine" = AG
W "Weak" = AT
S "Strong" = CG
Y "Pyrimidine" = CT
K "Keto" = GT
U = T
END ALPHABET

strands: + -

"""
TITLE = "Background letter frequencies"
HUMAN = "A 0.295 C 0.205 G 0.205 T 0.295 \n"
CHIP = "A 0.30312 C 0.18309 G 0.20911 T 0.30468\n"
HEADERS = {
    "dreme": f"{DREME}{TITLE} (from dataset):\n{HUMAN}",
    "streme": f"{HEAD}{TITLE}\n{HUMAN}",
    "meme": f"{HEAD}{TITLE} (from dataset with add-one prior applied):\n{CHIP}",
    "two-lines": f"{HEAD}{TITLE} (from file hg38.bg):\nA 0.303 C 0.183\nG 0.209 T 0.305\n",
    "rich-in-gc": f"{HEAD}{TITLE} (from x):\nA 0.05\nC 0.45\nG 0.45\nT 0.05\n",
    "no-c": f"{HEAD}{TITLE} (from x):\nA 0.4 C 0 G 0.2 T 0.4\n",
    "sum": f"{HEAD}{TITLE} (from x):\nA 0.30 C 0.18 G 0.17 T 0.30\n",
    "bare": f"{HEAD}{TITLE}:\n{CHIP}",
    "none": HEAD,
    "spaced": f"{HEAD.replace('ACGT', 'A C G T')}{TITLE}\n{CHIP}",
    "no-alphabet": f"MEME version 4\n\n{TITLE}\n{CHIP}",
    "one-strand": f"{HEAD.replace('+ -', '+')}{TITLE}\n{CHIP}",
    "keys": f"{HEAD}{TITLE}\n{CHIP}",
    "twice": f"{HEAD}{TITLE}\n{CHIP}",
    "log-odds": f"{HEAD}{TITLE}\n{CHIP}",
    "bfile": f"{HEAD}{TITLE}\n{HUMAN}",
    "rna": f"{RNA}{TITLE}\n{CHIP.replace('T', 'U')}",
}
MORE = {
    "pearson": ["-dist", "pearson", "-thresh", "0.1"],  # the largest q-value
    "q-value": ["-dist", "ed", "-thresh", "0.2"],
}
OF_MORE = ("dreme", "none", "rich-in-gc", "rna", "sum", "twice")
BFILE = "# order 0\nA 3.1213e-01\nC 1.8787e-01\nG 1.8787e-01\nT 3.1213e-01\n# order 1\nAA 0.1\n"


def block(name: str, ppm: np.ndarray, nsites: int) -> str:
    head = f"letter-probability matrix: alength= 4 w= {len(ppm)} nsites= {nsites} E= 1.2e-010\n"
    rows = "".join(" " + "  ".join(f"{p:.5f}" for p in row) + "\n" for row in ppm.tolist())
    return f"\nMOTIF {name}\n{head}{rows}"


def motifs(rng: np.random.Generator, number: int, prefix: str) -> list[str]:
    known = [motif for motif in jaspar("JASPAR2016") if len(motif.ppm) < 11]
    chosen = rng.choice(len(known), number, replace=False)
    blocks = []
    for i in sorted(chosen.tolist()):
        noise = rng.dirichlet(np.full(4, 0.5), size=len(known[i].ppm))
        ppm = 0.85 * known[i].ppm + 0.15 * noise
        blocks.append(block(prefix + known[i].name, ppm, int(rng.integers(5, 500))))
    return blocks


def query(rng: np.random.Generator, name: str) -> str:
    blocks = motifs(rng, QUERIES, "q")
    if name == "twice":
        blocks += blocks[:2]
    text = HEADERS[name] + "".join(blocks)
    if name == "keys":
        text = text.replace("nsites=", "NSITES=").replace(" w=", " W =")
    if name == "log-odds":
        lines = []
        for line in text.replace("letter-probability", "log-odds").splitlines():
            if line.startswith(" "):
                bits = 100 * np.log2(np.array([float(p) for p in line.split()]) / 0.25 + 0.01)
                line = " " + " ".join(f"{b:.0f}" for b in bits)
            lines.append(line)
        text = "\n".join(lines) + "\n"
    return text


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--force"]
    if FOLDER.exists() and "--force" not in sys.argv[1:]:
        sys.exit(f"{FOLDER}: folder exists; --force overwrites its files")
    FOLDER.mkdir(exist_ok=True)
    random = np.random.default_rng(412)
    targets = "".join(motifs(random, TARGETS, ""))
    (FOLDER / "database.meme").write_text(f"{HEAD}{TITLE}\nA 0.1 C 0.4 G 0.4 T 0.1\n{targets}")
    (FOLDER / "rna.db.meme").write_text(RNA + targets)
    (FOLDER / "bfile.txt").write_text(BFILE)
    for name in HEADERS:
        (FOLDER / f"{name}.meme").write_text(query(random, name))
        database = "rna.db.meme" if name == "rna" else "database.meme"
        runs = {".": ["-evalue", "-thresh", "10"], **(MORE if name in OF_MORE else {})}
        for folder, options in runs.items() if arguments else ():
            command = [*arguments, "-text", "-verbosity", "1", *options]
            command += ["-bfile", "bfile.txt"] if name == "bfile" else []
            ran = subprocess.run(
                [*command, f"{name}.meme", database], cwd=FOLDER, check=True, capture_output=True
            )
            (FOLDER / folder).mkdir(exist_ok=True)
            (FOLDER / folder / f"{name}.tsv").write_bytes(ran.stdout)
