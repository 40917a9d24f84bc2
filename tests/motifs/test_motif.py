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
from motifk8s.motifs.database import database_version, read_database
from motifk8s.motifs.jaspar import jaspar, jaspar_motif, releases
from motifk8s.motifs.meme import read_meme, write_meme
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
    "RNA": (ONE.replace("ACGT", "ACGU") + ROWS, "line 3: alphabet ACGU"),
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
    "twice": (ONE + ROWS + "MOTIF m1\n", "line 9: .*m1.*line 5"),
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
        assert motif.nsites == np.floor(counts.sum(axis=1).mean() + 0.5)


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
    before = database_version(str(path))
    path.write_text(ONE + ROWS.replace("1 0 0 0", "0 1 0 0"))
    assert database_version(path) != before and before.startswith("sha256:")
