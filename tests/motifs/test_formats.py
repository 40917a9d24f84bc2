import io

import numpy as np
import pytest
from Bio import motifs as biopython
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from motifk8s.motifs import formats
from motifk8s.motifs.jaspar import jaspar
from motifk8s.motifs.meme import read_meme

SOME = jaspar()[::40]


@pytest.mark.parametrize("name", ["jaspar", "transfac"])
def test_biopython_reads_the_counts(name):
    text = formats.FORMATS[name](SOME)
    for ours, read in zip(SOME, biopython.parse(io.StringIO(text), name), strict=True):
        table = np.array([read.counts[letter] for letter in "ACGT"]).T
        assert (table == formats.counts(ours.ppm, ours.nsites)).all()
        if name == "jaspar":
            assert (read.matrix_id, read.name) == (ours.name, ours.alt)
        else:
            assert (read["ID"], read["NA"]) == (ours.name, ours.alt)
            assert str(read.consensus)


def test_meme_has_all_digits():
    read = read_meme(formats.meme(SOME))
    assert [motif.name for motif in read] == [motif.name for motif in SOME]
    assert all((a.ppm == b.ppm).all() for a, b in zip(read, SOME, strict=True))


def test_a_name_with_spaces_stays_one_field():
    odd = SOME[0]._replace(name="synthetic-1", alt="a b\nc")
    assert formats.jaspar([odd]).splitlines()[0] == ">synthetic-1\ta_b_c"
    assert "NA  a_b_c\n" in formats.transfac([odd])
    nameless = SOME[0]._replace(name="synthetic-1", alt="")
    assert formats.jaspar([nameless]).startswith(">synthetic-1\tsynthetic-1\n")
    assert "NA" not in formats.transfac([nameless])


@given(
    arrays(float, (5, 4), elements=st.floats(0.01, 1)),
    st.floats(0, 1e6),
)
def test_counts_sum_to_the_sites_and_are_near(matrix, nsites):
    ppm = matrix / matrix.sum(axis=1, keepdims=True)
    total = max(100, round(nsites))
    table = formats.counts(ppm, nsites)
    assert (table.sum(axis=1) == total).all()
    assert np.abs(table - ppm * total).max() <= 1 + 1e-6 * total


@pytest.mark.parametrize(
    ("row", "letter"),
    [
        ([1, 0, 0, 0], "A"),
        ([0.1, 0.1, 0.1, 0.7], "T"),
        ([0.5, 0, 0.5, 0], "R"),
        ([0.05, 0.55, 0.35, 0.05], "S"),
        ([0.4, 0.3, 0.3, 0], "V"),
        ([0.25, 0.25, 0.25, 0.25], "N"),
    ],
)
def test_iupac(row, letter):
    assert formats.iupac(np.array([row])) == letter
