"""Motifs and MEME files: small cases by hand, properties, and all errors of a file."""

import io
import os
import socket
import sqlite3
import warnings
from types import SimpleNamespace

import numpy as np
import pyjaspar
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from motifk8s.errors import InputError, Problem
from motifk8s.motifs import meme
from motifk8s.motifs.database import database_version, read_database
from motifk8s.motifs.jaspar import jaspar, jaspar_motif, releases
from motifk8s.motifs.meme import read_background, read_meme, read_meme_file, write_meme
from motifk8s.motifs.motif import Motif, consensus, information, normalize, reverse_complement, trim

FLAT, SURE = [0.25] * 4, [0.0, 1.0, 0.0, 0.0]
HALF = [0.5, 0.5, 0.0, 0.0]  # 1 bit

ppms = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 12), st.just(4)), elements=st.floats(0, 1)
).map(lambda x: normalize(x + 1e-9))


def text(body, head="MEME version 4\n\nALPHABET= ACGT\n\n"):
    return head + body


ONE = text("MOTIF m1 SRF\nletter-probability matrix: alength= 4 w= 2 nsites= 7 E= 0\n")
ROWS = "0.1 0.2 0.3 0.4\n1 0 0 0\n"


# --- numbers ---------------------------------------------------------------------------------


def test_information():
    bits = information(np.array([FLAT, SURE, HALF, [0, 0, 0, 0]]))
    np.testing.assert_allclose(bits, [0, 2, 1, 0], atol=1e-15)


@given(ppms)
def test_information_is_between_0_and_2(ppm):
    bits = information(ppm)
    assert bits.shape == (len(ppm),) and (bits >= 0).all() and (bits <= 2).all()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([FLAT] * 5, slice(0, 5)),  # nothing above: untrimmed
        ([FLAT] * 5 + [SURE] + [FLAT] * 6, slice(2, 9)),
        ([FLAT] + [SURE] + [FLAT] * 2, slice(0, 4)),
        ([SURE] + [FLAT] * 9 + [SURE], slice(0, 11)),  # from the first to the last column
    ],
)
def test_trim(rows, expected):
    assert trim(np.array(rows)) == expected


def test_trim_keeps_what_is_above_not_at_the_threshold():
    ppm = np.array([FLAT] * 4 + [HALF] + [FLAT] * 4)
    assert trim(ppm, bits=1.0, pad=0) == slice(0, 9)
    assert trim(ppm, bits=0.99, pad=0) == slice(4, 5)


def test_trim_by_a_sharpened_motif():
    # exp(3 x 0.7) = 8.2, exp(3 x 0.1) = 1.3: 0.67 .11 .11 .11 has 0.56 bits; 0.7 .1 .1 .1 has 0.64.
    sure, likely, weak = [1, 0, 0, 0], [0.7, 0.1, 0.1, 0.1], [0.55, 0.15, 0.15, 0.15]
    ppm = np.array([FLAT, weak, likely, sure, FLAT])
    assert trim(ppm, 0.6, 0) == slice(2, 4)
    assert trim(ppm, 0.6, 0, sharpen=3.0) == slice(3, 4)
    assert trim(ppm, 0.5, 0, sharpen=3.0) == slice(2, 4)
    assert trim(ppm, 0.01, 0, sharpen=3.0) == slice(1, 4)


@given(ppms, st.floats(0, 2), st.integers(0, 4))
def test_trim_loses_no_informative_column(ppm, bits, pad):
    part = trim(ppm, bits, pad)
    outside = np.delete(information(ppm), np.arange(part.start, part.stop))
    assert part.stop > part.start and (outside <= bits).all()


@given(ppms)
def test_reverse_complement_is_its_own_inverse(ppm):
    back = reverse_complement(reverse_complement(ppm))
    np.testing.assert_array_equal(back, ppm)
    bits = information(reverse_complement(ppm))[::-1]
    np.testing.assert_allclose(bits, information(ppm), atol=1e-12)


def test_reverse_complement_of_letters():
    ppm = np.eye(4)[[0, 0, 1, 3]]  # AACT
    assert consensus(ppm) == "AACT" and consensus(reverse_complement(ppm)) == "AGTT"


def test_consensus_breaks_ties_as_tomtom_does():
    # 0.37 rounds up to single precision, so the first letter stays; 0.35 rounds down.
    assert consensus(np.array([[0.37, 0.37, 0.13, 0.13]])) == "A"
    assert consensus(np.array([[0.35, 0.35, 0.15, 0.15]])) == "C"
    assert consensus(np.array([FLAT])) == "A"


def test_normalize_has_memes_tolerance():
    ppm = np.array([[0.5, 0.5, 0, 0], [0.5, 0.500009, 0, 0], [0.5, 0.6, 0, 0], [0, 0, 0, 0]])
    out = normalize(ppm)
    np.testing.assert_array_equal(out[:2], ppm[:2])  # left as they are
    np.testing.assert_array_equal(out[2:], [[0.5 / 1.1, 0.6 / 1.1, 0, 0], FLAT])
    assert ppm[3].sum() == 0  # the argument is not changed


@pytest.mark.parametrize(
    "bad", [np.zeros((0, 4)), np.ones((2, 3)), [[np.nan] * 4], [[-1, 2, 0, 0]]]
)
def test_normalize_refuses_what_is_no_ppm(bad):
    with pytest.raises(ValueError, match="PPM"):
        normalize(bad)


# --- MEME files ------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[!-~]{1,8}", fullmatch=True),
            ppms,
            st.one_of(st.integers(1, 10**9), st.floats(0.01, 1e9)),
            st.from_regex(r"([!-<>-~]{1,8})?", fullmatch=True),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda one: one[0],
    )
)
def test_what_is_written_reads_back_to_the_same(items):
    file = io.StringIO()
    write_meme([Motif(*item) for item in items], file)
    back = read_meme(file.getvalue())
    for item, motif in zip(items, back, strict=True):
        assert (motif.name, motif.nsites, motif.alt) == (item[0], item[2], item[3])
        np.testing.assert_array_equal(motif.ppm, item[1])


def test_an_open_file_is_utf8_in_every_encoding(tmp_path):
    with open(tmp_path / "a.meme", "w", encoding="latin-1") as file:
        write_meme([Motif("Größe文", np.array([SURE]))], file)
    assert [motif.name for motif in read_meme(tmp_path / "a.meme")] == ["Größe文"]


def test_written_file(tmp_path):
    path = tmp_path / "out" / "m.meme"
    write_meme([Motif("filter0", np.array([SURE, [0] * 4]), 12, "two words")], path)
    assert path.read_text() == (
        "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\nBackground letter frequencies\n"
        "A 0.25 C 0.25 G 0.25 T 0.25\n\nMOTIF filter0 two_words\n"
        "letter-probability matrix: alength= 4 w= 2 nsites= 12 E= 0\n"
        "0.0 1.0 0.0 0.0\n0.25 0.25 0.25 0.25\n"
    )
    assert os.listdir(path.parent) == ["m.meme"]


@pytest.mark.parametrize("names", [["a", "a"], ["a b"], [""]])
def test_bad_names_are_not_written(names, tmp_path):
    with pytest.raises(ValueError, match="name"):
        write_meme([Motif(name, np.array([SURE])) for name in names], tmp_path / "m.meme")
    assert not os.listdir(tmp_path)


def test_unwritable_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        write_meme([Motif("a", np.array([SURE]))], tmp_path / "file" / "m.meme")


READABLE = {
    "minimal": ONE + ROWS,
    "CRLF": (ONE + ROWS).replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + ONE + ROWS,
    "no final line break": (ONE + ROWS).rstrip(),
    "strands, background, URL": text(
        "strands: + -\n\nBackground letter frequencies (from uniform background):\n"
        "A 0.3 C 0.2 G 0.2 T 0.3\n\nMOTIF m1 SRF\n\nletter-probability matrix: alength= 4 w= 2 "
        "nsites= 7 E= 4.1e-009\n  0.100000\t  0.200000\t 0.3\t 0.4\t\n 1 0 0 0\n\nURL m1.org\n"
    ),
    "comments": "# a\n" + ONE.replace("MOTIF", "#x 1 2\nMOTIF") + ROWS.replace("\n", "\n# c\n", 1),
    "blank line in the matrix": ONE + ROWS.replace("\n", "\n\n", 1),
    "indented, spaced": (ONE + ROWS)
    .replace("alength= 4 w= 2", "alength=4 w =2")
    .replace("MOTIF", "  MOTIF"),
    "no width": ONE.replace("w= 2 ", "") + ROWS,
    "no width, then a URL": ONE.replace("w= 2 ", "") + ROWS + "URL x\n",
    "custom DNA alphabet": (ONE + ROWS).replace(
        "ALPHABET= ACGT",
        'ALPHABET "DNA" DNA-LIKE\nA "Adenine" CC0000 ~ T "Thymine" 008000\nEND ALPHABET',
    ),
    "spaced alphabet": (ONE + ROWS).replace("ACGT", "A C G T"),
    "alphabet in another form": (ONE + ROWS).replace("ALPHABET= ACGT", "ALPHABET DNA"),
    "alphabet and more": (ONE + ROWS).replace("= ACGT", "= ACGT (DNA)"),
    "lower-case alphabet": (ONE + ROWS).replace("ACGT", "acgt"),
    "upper-case keys": (ONE + ROWS).replace("nsites=", "NSITES=").replace(" w=", " W ="),
    "BL line alone": (ONE + ROWS).replace("MOTIF m1 SRF", "BL   MOTIF m1 SRF width=2 seqs=7"),
    "BL line first": (ONE + ROWS)
    .replace("MOTIF", "BL   MOTIF m1 width=2\nMOTIF", 1)
    .replace("MOTIF m1 width=2", "MOTIF m1 SRF width=2"),
    "scanned sequence named MOTIF": ONE
    + ROWS
    + "\tCombined block diagrams: non-overlapping sites with p-value < 0.0001\nMOTIF  1e-3  20\n",
    "no alphabet line": (ONE + ROWS).replace("ALPHABET= ACGT", ""),
    "MEME 5": (ONE + ROWS).replace("MEME version 4", "MEME version 5.5.7 (Release date: 2024)"),
    "preamble": "*****\nMEME - Motif discovery tool\n*****\n" + ONE + ROWS,
    "full text": text(
        "MOTIF  m1 SRF\twidth =   2  sites =   7  llr = 20\n-----\n\tMotif m1 Description\n"
        "BL   MOTIF m1 width=2 seqs=7\nlog-odds matrix: alength= 4 w= 2 n= 9 bayes= 1 E= 1\n"
        " -120  50  10 -200\n 200 -900 -900 -900\n-----\n"
        "letter-probability matrix: alength= 4 w= 2 nsites= 7 E= 1\n" + ROWS + "-----\n"
        "SEQUENCE NAME   COMBINED P-VALUE  MOTIF DIAGRAM\n"
    ),
}


@pytest.mark.parametrize("content", READABLE.values(), ids=READABLE)
def test_variants_of_the_format(content, tmp_path):
    path = tmp_path / "q.meme"
    path.write_bytes(content.encode())
    (motif,) = read_meme(path)
    assert (motif.name, motif.alt, motif.nsites) == ("m1", "SRF", 7)
    np.testing.assert_array_equal(motif.ppm, [[0.1, 0.2, 0.3, 0.4], [1, 0, 0, 0]])
    assert [m.name for m in read_meme(str(path))] == ["m1"]


@pytest.mark.parametrize(
    ("title", "name", "alt"),
    [
        ("MOTIF 1", "1", ""),
        ("MOTIF 1 width=18 seqs=18", "1", ""),
        ("MOTIF 1 width = 18", "1", ""),
        ("MOTIF MA0083.3 SRF", "MA0083.3", "SRF"),
        ("MOTIF\tMA0083.3\tSRF width=9", "MA0083.3", "SRF"),
    ],
)
def test_names(title, name, alt):
    (motif,) = read_meme(ONE.replace("MOTIF m1 SRF", title) + ROWS)
    assert (motif.name, motif.alt) == (name, alt)


@pytest.mark.parametrize("sites", ["", "nsites= 0"])
def test_nsites_is_20_where_the_file_does_not_say(sites):
    assert read_meme(ONE.replace("nsites= 7", sites) + ROWS)[0].nsites == 20


def test_of_motifs_of_one_name_the_first_is_kept():
    again = ONE[ONE.index("MOTIF") :] + "1 0 0 0\n" * 2
    file = read_meme_file(ONE + ROWS + again + again.replace("m1", "m2") + again)
    assert [(m.name, m.ppm[0, 0]) for m in file.motifs] == [("m1", 0.1), ("m2", 1.0)]
    assert file.repeated == ("m1", "m1")


BACKGROUNDS = {
    "Background letter frequencies\nA 0.303 C 0.183 G 0.209 T 0.305\n": True,
    "Background letter frequencies (from file x.bg):\nA 0.303 C 0.183 G 0.209 T 0.305 \n": True,
    "background  letter frequencies (from x):\na 0.303 c 0.183\ng 0.209 t 0.305\n": True,
    "Background letter frequencies (from x):\n\nA 0.303\nC 0.183\n\nG .209\nT 3.05e-1\n": True,
    "Background letter frequencies (from x):\nA 0.303 C 0.183 G 0.209 U 0.305\n": True,
    "Background letter frequencies:\nA 0.303 C 0.183 G 0.209 T 0.305\n": False,  # MEME skips it
    "Letter frequencies in dataset:\nA 0.303 C 0.183 G 0.209 T 0.305\n": False,
    "": False,
}


@pytest.mark.parametrize(("lines", "found"), BACKGROUNDS.items())
def test_background(lines, found):
    file = read_meme_file(ONE.replace("MOTIF", lines + "\nMOTIF") + ROWS)
    expected = [0.303, 0.183, 0.209, 0.305] if found else [0.25] * 4
    np.testing.assert_array_equal(file.background, expected)


def test_a_background_is_divided_by_its_sum():
    lines = "Background letter frequencies\nA .35 C .2 G .2 T .2\n\n"
    file = read_meme_file(ONE.replace("MOTIF", lines + "MOTIF") + ROWS)
    np.testing.assert_allclose(file.background, np.array([7, 4, 4, 4]) / 19, rtol=1e-15)


def test_rna():
    file = read_meme_file(ONE.replace("ACGT", "ACGU") + ROWS)
    assert file.alphabet == "ACGU" and file.motifs[0].name == "m1"


def test_names_of_latin_1(tmp_path):
    name = "Z\xfcrich\x85\xa0"  # to Python, \x85 breaks lines and \xa0 is a space
    (tmp_path / "m.meme").write_bytes((ONE.replace("m1", name) + ROWS).encode("latin-1"))
    assert [m.name for m in read_meme(tmp_path / "m.meme")] == [name]


def test_log_odds_alone_become_probabilities():
    """2^(s/100) b, less the pseudocount of 0.01 per 100 sites; then divided by the sum."""
    head = ONE.replace("letter-probability", "log-odds").replace("nsites= 7", "n= 99 bayes= 4")
    head = head.replace("MOTIF", "Background letter frequencies\nA .4 C .1 G .1 T .4\n\nMOTIF")
    (motif,) = read_meme(head + "100 -100 -100 -100\n0 0 0 0\n")
    freqs = (np.array([0.8, 0.05, 0.05, 0.2]) * 100.01 - np.array([4, 1, 1, 4]) * 1e-3) / 100
    np.testing.assert_allclose(motif.ppm[0], freqs / freqs.sum(), rtol=1e-12)
    np.testing.assert_allclose(motif.ppm[1], [0.4, 0.1, 0.1, 0.4], rtol=1e-12)
    assert motif.nsites == 20


def test_probabilities_win_over_log_odds():
    both = ONE.replace("letter-probability", "log-odds").replace("nsites= 7 ", "") + "1 2 3 4\n" * 2
    (motif,) = read_meme(both + ONE.splitlines()[-1] + "\n" + ROWS)
    assert motif.nsites == 7 and motif.ppm[0].tolist() == [0.1, 0.2, 0.3, 0.4]


BFILE = "# order 0\nA 3.00e-01\nC 0.2\n\nG 0.2 # comment\nT 0.3\n# order 1\nAA 0.1\nAC 0.1\n"


@pytest.mark.parametrize(
    "content", [BFILE, BFILE.lower(), BFILE.replace("\n", "\r\n"), "t .3\ng .2\nc .2\na .3"]
)
def test_background_file(content, tmp_path):
    (tmp_path / "bg.txt").write_bytes(content.encode())
    np.testing.assert_array_equal(read_background(tmp_path / "bg.txt"), [0.3, 0.2, 0.2, 0.3])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A 0.3\nC 0.2\n", "the probabilities of A, C, G and T"),
        ("A 0.3\nC 0.2\nG 0.2\nT 0.9\n", "which sum to 1"),
        ("A 0.3\nA 0.2\n", "line 2: .*'A 0.2'"),
        ("A 0.5\nC 0\nG 0.25\nT 0.25\n", "line 2: .*'C 0'"),
        ("A 0.3 C 0.2 G 0.2 T 0.3\n", "line 1: .*such as 'A 0.3'"),
        ("MEME version 4\n", "line 1"),
        (">chr1\nACGT\n", "line 1"),
        ("A nan\n", "line 1"),
        ("", "the probabilities of A, C, G and T"),
    ],
)
def test_bad_background_file(content, message, tmp_path):
    (tmp_path / "bg.txt").write_text(content)
    with pytest.raises(InputError, match=f"bg.txt.*{message}"):
        read_background(tmp_path / "bg.txt")


def test_a_file_without_end_is_not_read_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(meme, "MAX_BYTES", 2**20)
    with open(tmp_path / "holes.meme", "wb") as file:
        file.truncate(2**34)
    for path in (tmp_path / "holes.meme", "/dev/zero"):
        with pytest.raises(InputError, match="more than 1 MiB"):
            read_meme(path)


@pytest.mark.parametrize(
    ("row", "divided"),
    [
        ([0.34025, 0.25478, 0.20445, 0.20051], True),
        ([0.10792, 0.12313, 0.01639, 0.75255], False),
        ([0.34025, 0.25478, 0.20445, 0.20053], False),  # |sum - 1| > 1e-5, and yet not divided
        ([0.33345, 0.37186, 0.26967, 0.02503], True),
    ],
)
def test_rows_of_five_decimals_are_divided_where_meme_does(row, divided):
    """Sums of 0.99999 and 1.00001: MEME compares with 1.0 - 1e-5 and 1.0 + 1e-5 in doubles."""
    out = normalize(np.array([row]))[0].tolist()
    total = row[0] + row[1] + row[2] + row[3]
    assert out == ([p / total for p in row] if divided else row)


def test_rows_within_the_tolerance_are_normalized():
    (motif,) = read_meme(ONE + "0.19 0.2 0.3 0.4\n0.3333 0.3333 0.3333 0\n")
    np.testing.assert_allclose(motif.ppm.sum(axis=1), 1, rtol=1e-15)


BAD = {
    "empty": ("", "empty"),
    "blank": ("\n \n", "empty"),
    "not MEME": (">MA0083.3\nACGT\n", "not a MEME motif file"),
    "HTML": ("<html><title>MEME version 5</title></html>", "not a MEME motif file"),
    "no motif": (text(""), "no motif"),
    "protein": (ONE.replace("ACGT", "ACDEFGHIKLMNPQRSTVWY") + ROWS, "line 3: alphabet ACDEF"),
    "RNA": (ONE.replace("ACGT", "ACGU") + ROWS, "alphabet ACGU: expected DNA motifs"),
    "RNA by its background": (
        text("Background letter frequencies\nA .2 C .3 G .3 U .2\n\nMOTIF m1\n", "MEME version 4\n")
        + "letter-probability matrix: w= 2\n"
        + ROWS,
        "alphabet ACGU: expected DNA motifs",
    ),
    "other order": (ONE.replace("ACGT", "TGCA") + ROWS, "line 3: alphabet TGCA.* order; reorder"),
    "other order with spaces": (ONE.replace("ACGT", "A C T G") + ROWS, "line 3: .* order; reorder"),
    "other order of RNA": (ONE.replace("ACGT", "UGCA") + ROWS, "line 3: .* order; reorder"),
    "no letters": (ONE.replace("ACGT", "") + ROWS, "line 3: alphabet : expected DNA"),
    "background in another order": (
        ONE.replace("MOTIF", "Background letter frequencies\nT .3 G .2 C .2 A .3\n\nMOTIF") + ROWS,
        "line 5: .*in this order, got 'TGCA'",
    ),
    "background of two letters": (
        ONE.replace("MOTIF", "Background letter frequencies\nA .5 C .5\n\nMOTIF") + ROWS,
        "line 5: .*got 'AC'",
    ),
    "background that sums to 1.2": (
        ONE.replace("MOTIF", "Background letter frequencies\nA .3 C .3 G .3 T .3\n\nMOTIF") + ROWS,
        "line 5: .*sums to 1, got a sum of 1.2",
    ),
    "background with words": (
        ONE.replace("MOTIF", "Background letter frequencies\nA .3 C .2 G x T .3\n\nMOTIF") + ROWS,
        "line 6: .*got 'G x T .3'",
    ),
    "custom alphabet without end": (ONE.replace("= ACGT", ' "D" DNA-LIKE') + ROWS, "END ALPHABET"),
    "methylated alphabet": (
        ONE.replace("= ACGT", ' "M" DNA-LIKE\nA ~ T\nC ~ G\nm "5mC" 123456 ~ 1\nEND ALPHABET')
        + ROWS,
        "line 3: alphabet 1ACGTm: expected DNA",
    ),
    "custom protein": (ONE.replace("= ACGT", ' "P" PROTEIN-LIKE') + ROWS, "line 3: .*PROTEIN"),
    "protein matrix": (ONE.replace("alength= 4", "alength= 20") + ROWS, "line 6: alength= 20"),
    "sum": (ONE + "0.1 0.2 0.3 0.4\n0.5 0.2 0.2 0.21001\n", "line 8: motif m1.* sum.* 1.11"),
    "sum 0": (ONE + "0 0 0 0\n" + ROWS, "line 7: .* sum.* 0$"),
    "3 columns": (ONE + "0.1 0.2 0.7\n" + ROWS, "line 7: .*, got 3"),
    "5 columns": (ONE + "0.1 0.2 0.3 0.3 0.1\n" + ROWS, "line 7: .*, got 5"),
    "negative": (ONE + "-0.1 0.5 0.3 0.3\n" + ROWS, "line 7: .*probabilit.* -0.1 0.5 0.3 0.3"),
    "NaN": (ONE + "nan 0.2 0.3 0.5\n" + ROWS, "line 7: .*probabilit.* nan 0.2"),
    "infinite": (ONE + "inf 0.2 0.3 0.5\n" + ROWS, "line 7: .*probabilit.* inf 0.2"),
    "counts": (ONE + "3 2 0 1\n" + ROWS, "line 7: .*probabilit.* 3 2 0 1"),
    "words": (ONE + "0.1 0.2 x 0.5\n" + ROWS, "line 7: .*'0.1 0.2 x 0.5'"),
    "cut at the end": (ONE + "0.1 0.2 0.3 0.4\n", "m1: .* 2 rows, got 1"),
    "cut by a motif": (ONE + "1 0 0 0\n\nMOTIF m2\n", "line 9: motif m1: .* 2 rows, got 1"),
    "cut by a URL": (ONE + "1 0 0 0\nURL x\n", "m1: .* 2 rows, got 1"),
    "no rows": (ONE.replace("w= 2 ", ""), "m1: .* rows, got 0"),
    "too many rows": (ONE + ROWS + "1 0 0 0\n", "line 9: motif m1: more rows than w= 2"),
    "no matrix": (text("MOTIF m1\nMOTIF m2\n"), "line 6: motif m1 has no letter-probability"),
    "no matrix at the end": (text("MOTIF m1\n"), "line 5: motif m1 has no letter-probability"),
    "two matrices": (ONE + ROWS + ONE.splitlines()[-1] + "\n" + ROWS, "line 9: second .*m1"),
    "title twice": (ONE + ROWS + "MOTIF m1\n", "line 9: motif m1 has no letter-probability"),
    "keys without =": (ONE.replace("nsites= 7", "nsites 7") + ROWS, "line 6: .*'nsites 7 E= 0'"),
    "width of 60 digits": (ONE.replace("w= 2", "w= " + "9" * 60) + ROWS, "line 6: w= 999"),
    "declared 999,999,999": (ONE.replace("w= 2", "w= 999999999") + ROWS, "999999999 rows, got 2"),
    "log-odds of NaN": (
        ONE.replace("letter-probability", "log-odds") + "nan 1 2 3\n1 2 3 4\n",
        "line 7: .*finite",
    ),
    "log-odds without letters": (
        ONE.replace("letter-probability", "log-odds") + "-9e9 -9e9 -9e9 -9e9\n1 2 3 4\n",
        "line 6: .*log-odds give no probabilities",
    ),
    "MEME XML": (
        "<?xml version='1.0'?>\n<!-- x -->\n<!DOCTYPE MEME[\n<!ELEMENT MEME (x)>\n]>\n<MEME v='5'>",
        "not a MEME motif file but XML; give meme.txt",
    ),
    "DREME XML": ("<dreme version='4.12.0'>\n<model>\n", "XML; give dreme.txt"),
    "STREME XML": ("<STREME version='5.5'>\n<model>\n", "XML; give streme.txt"),
    "MEME HTML": (
        "<!DOCTYPE html>\n<html>\n<pre>\n" + ONE + ROWS + "</pre></html>",
        "not a MEME motif file but HTML; give the text file",
    ),
    "JASPAR": (
        ">MA0004.1\tArnt\nA  [ 4 19 ]\nC  [16 0 ]\n",
        "but JASPAR; convert it with jaspar2m",
    ),
    "JASPAR, bare": (">MA0004.1 Arnt\n4 19\n16 0\n0 1\n0 0\n", "but JASPAR; convert it"),
    "TRANSFAC": ("AC  M1\nXX\nID  x\nP0  A  C  G  T\n1 1 2 3 4\n", "but TRANSFAC; .*transfac2meme"),
    "HOMER": (">ASTT\tAP-1\t6.049\t-1781\t0\n0.4 0.2 0.2 0.2\n", "but HOMER; write its rows below"),
    "CIS-BP": ("TF\tx\nPos\tA\tC\tG\tT\n1\t0.2\t0.3\t0.3\t0.2\n", "but CIS-BP; write its rows"),
    "UniPROBE": ("Gene: Arid3a\nA:\t0.1\t0.2\nC:\t0.1\t0.2\n", "but UniPROBE; .*uniprobe2meme"),
    "FASTA": (">a\nACGT\n>b\nGGGG\n", "not a MEME motif file: no line"),
    "zip": (b"PK\x03\x04", "compressed"),
    "UTF-16": ((ONE + ROWS).encode("utf-16"), "not a text file"),
    "width 0": (ONE.replace("w= 2", "w= 0") + ROWS, "line 6: w= 0"),
    "width word": (ONE.replace("w= 2", "w= two") + ROWS, "line 6: w= two"),
    "nsites word": (ONE.replace("nsites= 7", "nsites= x") + ROWS, "line 6: nsites= x"),
    "nsites NaN": (ONE.replace("nsites= 7", "nsites= nan") + ROWS, "line 6: nsites= nan"),
    "nsites negative": (ONE.replace("nsites= 7", "nsites= -7") + ROWS, "line 6: nsites= -7"),
    "gzip": (b"\x1f\x8b\x08\x00", "compressed"),
    "binary": (b"\xff\xfe\x00M", "not a text file"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_bad_file_is_one_line_naming_it(content, message, tmp_path):
    path = tmp_path / "query.meme"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        read_meme(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.meme", tmp_path, "a\0b"):
        with pytest.raises(InputError, match="cannot read"):
            read_meme(path)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(data):
    whole = READABLE["strands, background, URL"]
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(len(whole), start + 30)))
    damaged = whole[:start] + data.draw(st.text(max_size=5)) + whole[stop:]
    try:
        motifs = read_meme(damaged + "\n")
    except InputError as error:
        assert "\n" not in str(error)
    else:
        for motif in motifs:
            np.testing.assert_allclose(motif.ppm.sum(axis=1), 1, atol=1e-5)


# --- JASPAR ----------------------------------------------------------------------------------


def test_jaspar_2016_without_network_or_noise(monkeypatch, capfd):
    def refuse(*args, **kwargs):
        raise AssertionError("network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        motifs = jaspar()
        with pytest.raises(InputError):
            jaspar_motif("MA9999.9")
    assert len(motifs) == 519 and [m.name for m in motifs] == sorted(m.name for m in motifs)
    for motif in motifs:
        np.testing.assert_allclose(motif.ppm.sum(axis=1), 1, rtol=1e-12)
        assert motif.nsites >= 1 and motif.alt
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("release", ["JASPAR2014", "JASPAR2016", "JASPAR2020"])
def test_releases_are_what_pyjaspar_reads(release):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = pyjaspar.jaspardb(release=release)
        found = source.fetch_motifs(collection="CORE", tax_group=["insects"])
        found += [source.fetch_motif_by_id("MA0079.1")]  # not the latest
        source.conn.close()
    motifs = [*jaspar(release, "Insects"), jaspar_motif("MA0079.1", release)]
    assert len(motifs) > 100
    for motif, other in zip(
        motifs, sorted(found[:-1], key=lambda one: one.matrix_id) + found[-1:], strict=True
    ):
        counts = np.array([other.counts[letter] for letter in "ACGT"]).T
        assert (motif.name, motif.alt) == (other.matrix_id, other.name)
        np.testing.assert_array_equal(motif.ppm, counts / counts.sum(axis=1, keepdims=True))
        sums = counts.sum(axis=1)
        mean, first = np.floor(sums.mean() + 0.5), np.trunc(sums[0])
        assert motif.nsites == (first if release == "JASPAR2020" else mean)


@pytest.mark.parametrize(
    ("release", "identifier", "nsites"),
    [
        ("JASPAR2016", "MA0083.3", 1576),
        ("JASPAR2020", "MA0083.3", 1548),
        ("JASPAR2020", "MA0528.2", 56343),
        ("JASPAR2020", "MA1153.1", 999),  # its first column sums to 999.999
        ("JASPAR2022", "MA1630.2", 999),
    ],
)
def test_nsites_of_the_official_files(release, identifier, nsites):
    assert jaspar_motif(identifier, release).nsites == nsites


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("", "no such table: MATRIX"),
        ("('A', 1), ('C', 1), ('G', 1)", "MA0001.1 has holes"),
        ("('A', 1), ('C', 1), ('G', 1), ('U', 1)", "MA0001.1 has holes"),
        ("('A', 1), ('C', 1), ('G', 1), ('T', NULL)", "MA0001.1 has holes"),
    ],
)
def test_another_layout_of_the_releases_is_an_error_of_one_line(monkeypatch, cells, reason):
    connection = sqlite3.connect(":memory:")
    if cells:
        connection.executescript(
            f"""CREATE TABLE MATRIX (ID, BASE_ID, VERSION INTEGER, NAME);
            INSERT INTO MATRIX VALUES (1, 'MA0001', 1, 'AGL3');
            CREATE TABLE MATRIX_DATA (row, val, ID DEFAULT 1, col DEFAULT 1);
            INSERT INTO MATRIX_DATA (row, val) VALUES {cells};"""
        )
    monkeypatch.setattr(pyjaspar, "jaspardb", lambda release: SimpleNamespace(conn=connection))
    with pytest.raises(Problem, match=f"JASPAR2014.*{reason}.*pyjaspar 4"):
        jaspar_motif("MA0001.1", "JASPAR2014")


def test_jaspar_motif():
    srf = jaspar_motif("MA0083.3", "JASPAR2016")
    assert (srf.name, srf.alt, srf.nsites) == ("MA0083.3", "SRF", 1576)
    assert consensus(srf.ppm) == "TGACCATATATGGTCA"
    same = next(motif for motif in jaspar() if motif.name == "MA0083.3")
    np.testing.assert_array_equal(same.ppm, srf.ppm)
    with pytest.raises(ValueError, match="read-only"):  # it is shared
        srf.ppm[0, 0] = 1


def test_a_callers_list_is_its_own():
    jaspar().clear()
    assert len(jaspar()) == 519


@pytest.mark.parametrize("identifier", ["MA9999.9", "MA0083", "SRF", "", "MA0083.3; --"])
def test_unknown_motif(identifier):
    with pytest.raises(InputError, match="JASPAR2016 has no motif"):
        jaspar_motif(identifier)


@pytest.mark.parametrize("call", [jaspar, read_database, lambda r: jaspar_motif("MA0083.3", r)])
def test_unknown_release_names_the_known_ones(call):
    with pytest.raises(InputError, match="JASPAR1999.*JASPAR2014.*JASPAR2016"):
        call("JASPAR1999")
    assert "JASPAR2016" in releases()


def test_unknown_group():
    with pytest.raises(InputError, match="group 'dragons'"):
        jaspar("JASPAR2016", "dragons")


def test_database_is_a_release_to_six_decimals_or_a_file(tmp_path):
    rounded, full = read_database("JASPAR2016"), jaspar("JASPAR2016")
    for one, other in zip(rounded, full, strict=True):
        assert one.name == other.name
        np.testing.assert_allclose(one.ppm, other.ppm, rtol=0, atol=5.0001e-7)
    path = tmp_path / "own.meme"
    path.write_text(ONE + ROWS)
    assert [motif.name for motif in read_database(path)] == ["m1"]
    assert database_version("JASPAR2016") == "JASPAR2016"
    assert database_version("JASPAR2014") == "JASPAR2014"
    # Matches with nsites of before are not taken for those of now.
    assert database_version("JASPAR2020") != "JASPAR2020"
    before = database_version(str(path))
    path.write_text(ONE + ROWS.replace("1 0 0 0", "0 1 0 0"))
    assert database_version(path) != before and before.startswith("sha256:")
