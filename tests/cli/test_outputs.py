"""What the commands write: never over an input, and not to an address."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import one_line

from motifk8s.data import datasets
from motifk8s.motifs.jaspar import jaspar_motif
from motifk8s.motifs.meme import write_meme

FASTA = "import fasta A=A.fa B=B.fa --negatives-from-others --out "
BED = (
    "import bed A=A.bed --genome g.fa --length 200 --valid chr7 --test chr8 --negatives bins --out "
)


@pytest.fixture
def here_in(tmp_path, monkeypatch, here):
    """The command in a folder with an input of every kind, each also under other names."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in "AB":
        texts = ("".join(rng.choice(list("ACGT"), 40)) for _ in range(40))
        Path(f"{name}.fa").write_text("".join(f">s{i}\n{t}\n" for i, t in enumerate(texts)))
    lines = "".join(f">chr{n}\n{''.join(rng.choice(list('ACGT'), 3000))}\n" for n in (1, 7, 8))
    Path("g.fa").write_text(lines)
    Path("A.bed").write_text("".join(f"chr{n}\t600\t800\n" for n in (1, 7, 8)))
    write_meme([jaspar_motif("MA0083.3", "JASPAR2016")], "q.meme")
    write_meme([jaspar_motif("MA0058.3", "JASPAR2016")], "db.meme")
    assert here(*FASTA.split(), "own.h5")[0] == 0
    os.link("A.fa", "hard.fa")
    Path("soft.fa").symlink_to("A.fa")
    os.link("g.fa", "genome.h5")
    Path("link.yaml").symlink_to("B.fa")
    return here


def content() -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in Path().iterdir() if p.is_file()}


@pytest.mark.parametrize(
    "line",
    [
        *(FASTA + name for name in ("A.fa", "./A.fa", "B.fa", "hard.fa", "soft.fa")),
        FASTA + "new.h5 --study-out link.yaml",
        "import fasta A=A.fa --valid B.fa --out B.fa",
        "import fasta A=A.fa --test B.fa --out B.fa",
        "import fasta A=A.fa --negatives B.fa --out B.fa",
        "import fasta {}.fa --out B.fa",
        BED + "g.fa",
        BED + "A.bed",
        BED + "genome.h5",
        BED + "new.h5 --bins-out g.fa",
        BED + "new.h5 --bins-out new.h5",
        "import hdf5 own.h5 --classes A,B --out own.h5",
        "tomtom q.meme --out q.meme",
        "tomtom q.meme --out ./q.meme",
        "tomtom q.meme --database db.meme --out db.meme",
    ],
)
def test_an_input_is_not_overwritten(line, here_in):
    before = content()
    code, _, err = here_in(*line.split())
    assert code == 2
    assert "cannot write" in one_line(err) and "choose another file" in err
    assert content() == before  # not one byte of the others either


@pytest.mark.parametrize(
    "line", [FASTA + "/dev/null", BED + "new.h5 --bins-out /dev/null", "tomtom q.meme --out null"]
)
def test_devices_stay(line, here_in):
    Path("null").symlink_to("/dev/null")
    assert here_in(*line.split())[0] == 0
    assert Path("/dev/null").is_char_device() and Path("null").is_symlink()


def test_a_link_to_scratch_stays(here_in):
    Path("scratch").mkdir()
    Path("new.h5").symlink_to("scratch/own.h5")
    for _ in range(2):  # the second time, it exists
        assert here_in(*FASTA.split(), "new.h5", "--study-out", "own.yaml")[0] == 0
        assert Path("new.h5").is_symlink()
        assert datasets.read("scratch/own.h5").classes == ("A", "B")


@pytest.mark.parametrize("out", ["s3://bucket/x", "s3:/bucket/x", "S3://b/x", "gs://b/x"])
def test_addresses_are_refused(out, here_in, capsys):
    before = sorted(os.listdir())
    for line in (FASTA, BED + "a.h5 --bins-out ", "tomtom q.meme --out ", "report demo --out ",
                 "filters x.keras --data own.h5 --out ", "paper demo fig1 --out "):  # fmt: skip
        with pytest.raises(SystemExit) as left:
            here_in(*line.split(), out)
        assert left.value.code == 2 and "not an address" in capsys.readouterr().err
    assert sorted(os.listdir()) == before


def test_filters_keep_their_database(finished, tmp_path, here):
    """Hits against the motifs of an earlier run, which has the same names, in the same folder."""
    data = next((finished / "datasets").rglob("*.h5"))
    model = next(finished.rglob("model.keras"))
    first = ["filters", model, "--data", data, "--out", tmp_path / "out"]
    assert here(*first)[0] == 0
    [database] = sorted((tmp_path / "out").glob("motifs-*.meme"))[:1]
    before = database.read_bytes()
    code, _, err = here(*first, "--database", database)
    assert code == 2 and "it is an input" in one_line(err)
    assert database.read_bytes() == before


@pytest.mark.parametrize("name", ["report.html", "tables/results.csv"])
def test_a_report_keeps_its_study(name, tiny, here):
    study = tiny.parent / "out" / name
    study.parent.mkdir(parents=True)
    study.symlink_to(tiny)
    before = tiny.read_bytes()
    store = tiny.parent / "store"
    code, _, err = here("report", tiny, "--store", store, "--out", tiny.parent / "out")
    assert code == 2 and "it is an input" in one_line(err) and tiny.read_bytes() == before


def test_outputs_of_a_step_keep_the_study(tiny, here):
    shutil.copy(tiny, tiny.parent / "study")
    before = tiny.read_bytes()
    args = [tiny.parent / "study", "--store", tiny.parent / "store", "--outputs", tiny.parent]
    code, _, err = here("plan", *args)
    assert code == 2 and "it is an input" in one_line(err)
    assert (tiny.parent / "study").read_bytes() == before
