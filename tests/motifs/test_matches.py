"""Tomtom, compared with outputs of the real program, with brute force, and with a golden file."""

import itertools
import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from motifk8s.errors import InputError
from motifk8s.motifs import tomtom as tomtom_module
from motifk8s.motifs.database import read_database
from motifk8s.motifs.jaspar import jaspar_motif
from motifk8s.motifs.matches import null_targets, summarize
from motifk8s.motifs.meme import read_meme, read_meme_file, write_meme
from motifk8s.motifs.motif import Motif, consensus, reverse_complement
from motifk8s.motifs.tomtom import COLUMNS, run_tomtom, to_tsv, tomtom

GOLDEN = Path(__file__).parent / "golden"
PROGRAM = GOLDEN / "program"
REAL = Path(__file__).parents[3] / "shared" / "data" / "tomtom"
FLAT = Motif("flat", np.full((19, 4), 0.25))


@pytest.fixture(scope="module")
def jaspar2016():
    return read_database("JASPAR2016")


def random_motif(rng, name, width):
    return Motif(name, rng.dirichlet(np.full(4, 0.4), size=width), nsites=int(rng.integers(1, 60)))


# --- the real program ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", ["invivo-cnn_10-30b2384", "synthetic-cnn_25-30b2384", "synthetic-cnn_4-a3e081d"]
)
def test_real_outputs_come_out_character_for_character(case, jaspar2016):
    if not (REAL / case).is_dir():
        pytest.skip("outputs of the real Tomtom are not part of the repository")
    hits = tomtom(read_meme(REAL / case / "query.meme"), jaspar2016)
    ours = to_tsv(hits).splitlines()[1:]
    theirs = (REAL / case / "tomtom.txt").read_text().splitlines()[1:]
    # The requirement: at most 0.3% of hits missing or extra, the same filters with any hit.
    pairs = [{tuple(row.split("\t")[:2]) for row in rows} for rows in (ours, theirs)]
    assert len(pairs[0] ^ pairs[1]) <= 0.003 * len(pairs[1])
    assert {query for query, _ in pairs[0]} == {query for query, _ in pairs[1]}
    # In fact all rows and their order are the same.
    assert ours == theirs


@pytest.mark.parametrize("case", sorted(path.stem for path in PROGRAM.glob("*.tsv")))
def test_files_with_backgrounds_as_in_the_real_program(case):
    """Rows and their order; `make_program.py` says how the program was run."""
    database = PROGRAM / ("rna.db.meme" if case == "rna" else "database.meme")
    background = PROGRAM / "bfile.txt" if case == "bfile" else None
    hits, n = run_tomtom(PROGRAM / f"{case}.meme", str(database), 10.0, background=background)
    theirs = (PROGRAM / f"{case}.tsv").read_text().splitlines()[1:]
    assert to_tsv(hits).splitlines()[1:] == theirs
    assert len(theirs) > 20 and n == 3  # also where two motifs are given twice


@pytest.mark.parametrize("case", sorted(path.stem for path in PROGRAM.glob("*/*.tsv")))
@pytest.mark.parametrize(
    ("folder", "distance", "qvalue"), [("pearson", "pearson", 0.1), ("q-value", "euclidean", 0.2)]
)
def test_distances_and_q_value_cutoffs_as_in_the_real_program(folder, distance, qvalue, case):
    database = PROGRAM / ("rna.db.meme" if case == "rna" else "database.meme")
    options = {"distance": distance, "qvalue": qvalue}
    hits, _ = run_tomtom(PROGRAM / f"{case}.meme", str(database), **options)
    theirs = (PROGRAM / folder / f"{case}.tsv").read_text().splitlines()[1:]
    assert to_tsv(hits).splitlines()[1:] == theirs
    assert len(theirs) >= 3


def test_the_background_matters():
    """Without it, rows of these files are wrong; so the test above can fail."""
    for case in ("dreme", "two-lines", "rich-in-gc", "bfile"):
        file = read_meme_file(PROGRAM / f"{case}.meme")
        hits = tomtom(file.motifs, read_database(PROGRAM / "database.meme"), 10.0)
        assert (
            to_tsv(hits).splitlines()[1:] != (PROGRAM / f"{case}.tsv").read_text().splitlines()[1:]
        )


@pytest.mark.parametrize("case", ["dreme", "none", "rich-in-gc"])
def test_the_background_of_the_database_is_not_used(case, tmp_path):
    text = (PROGRAM / "database.meme").read_text()
    (tmp_path / "db.meme").write_text(text.replace("A 0.1 C 0.4 G 0.4 T 0.1", "A 1 C 0 G 0 T 0"))
    both = [
        run_tomtom(PROGRAM / f"{case}.meme", str(path), 10.0).hits
        for path in (PROGRAM / "database.meme", tmp_path / "db.meme")
    ]
    pd.testing.assert_frame_equal(*both)


def test_rna_is_not_compared_with_dna():
    for query, database in [("rna", "database"), ("meme", "rna.db")]:
        with pytest.raises(InputError, match=r"motifs of ACG[TU], .* of ACG[TU]; .*replace U by T"):
            run_tomtom(PROGRAM / f"{query}.meme", str(PROGRAM / f"{database}.meme"))
    with pytest.raises(InputError, match="motifs of ACGU, JASPAR2016 of ACGT"):
        run_tomtom(PROGRAM / "rna.meme")
    with pytest.raises(InputError, match="expected DNA"):
        read_database(PROGRAM / "rna.db.meme")


def test_warnings_of_the_program(tmp_path, caplog):
    head, *blocks = (PROGRAM / "database.meme").read_text().split("\nMOTIF ")
    few = [*blocks[:8], *blocks[:7], blocks[3]]
    (tmp_path / "few.meme").write_text("\nMOTIF ".join([head, *few]))
    assert len(read_database(tmp_path / "few.meme")) == 8
    names, small = (record.getMessage() for record in caplog.records)
    first = blocks[0].split()[0]
    assert "few.meme: left out motifs whose name an earlier one has: " + first in names
    assert names.endswith(" and 3 more")
    assert "few.meme: a database of 8 motifs is small; p-values are accurate from 50" in small
    caplog.clear()
    read_database(PROGRAM / "database.meme")
    assert not caplog.records
    run_tomtom(PROGRAM / "twice.meme", str(PROGRAM / "database.meme"))
    (record,) = caplog.records
    assert "twice.meme: left out motifs whose name" in record.getMessage()


def test_the_command_counts_the_motifs_that_it_read(tmp_path, here):
    flat = "MOTIF flat\nletter-probability matrix: w= 3\n" + "0.25 0.25 0.25 0.25\n" * 3
    text = (PROGRAM / "bfile.meme").read_text() + flat
    (tmp_path / "q.meme").write_text(text)
    args = ["--database", PROGRAM / "database.meme", "--evalue", "1e-3", "--out", tmp_path / "hits"]
    for more in ([], ["--background", PROGRAM / "bfile.txt"]):
        code, out, _ = here("tomtom", tmp_path / "q.meme", *args, *more)
        hits = pd.read_csv(tmp_path / "hits", sep="\t")
        assert (code, out) == (0, f"{len(hits)} hits of 4 motifs: {tmp_path / 'hits'}\n")
        assert hits["Query_ID"].nunique() < 4
    code, _, err = here("tomtom", tmp_path / "q.meme", "--background", tmp_path / "none")
    assert code == 2 and "none" in err and err.count("\n") == 1


def test_a_motif_that_needs_too_much_memory_is_one_line(monkeypatch):
    wide = random_motif(np.random.default_rng(7), "wide", 30000)
    message = r"motif wide of 30000 positions: the comparison needs \d+ GiB of memory, more than 4"
    with pytest.raises(InputError, match=message):
        tomtom([wide], [FLAT, wide])
    query = random_motif(np.random.default_rng(8), "q", 12)
    assert len(tomtom([query], [FLAT, wide], 1e6)) == 2
    monkeypatch.setattr(tomtom_module, "_MEMORY", 2**14)
    with pytest.raises(InputError, match="motif middle of 60 positions: .* narrower motif"):
        tomtom([random_motif(np.random.default_rng(9), "middle", 60)], [FLAT])


def test_a_flat_filter_hits_gmeb1_alone(jaspar2016):
    hits = tomtom([FLAT], jaspar2016)
    assert list(hits["Target_ID"]) == ["MA0615.1"]
    assert hits["E-value"].item() == pytest.approx(0.008, abs=0.001)
    assert null_targets(19, jaspar2016, 0.1) == {"MA0615.1"}
    assert null_targets(12, jaspar2016, 0.1) == frozenset()


# --- brute force -----------------------------------------------------------------------------


def by_hand(query, targets):
    """Compute Tomtom by its definition, for small motifs: all alignments and tuples of columns."""

    def smooth(motif):
        n = int(motif.nsites)
        return [[(p * n + 0.025) / (n + 0.1) for p in row] for row in motif.ppm]

    q = smooth(query)
    strands = []
    for target in targets:
        t = smooth(target)
        strands += [t, [row[::-1] for row in t[::-1]]]
    columns = [row for t in strands for row in t]
    w = len(q)

    def distance(a, b):
        return -(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5)

    raw = [[distance(a, b) for b in columns] for a in q]
    shifted = [[x - sorted(row)[len(row) // 2 - 1] for x in row] for row in raw]
    low = np.floor(min(map(min, shifted)))
    scale = np.floor(100 / (max(map(max, shifted)) - low))
    score = [[int((x - low) * scale + 0.5) + int(low * scale) for x in row] for row in shifted]

    def alignments(width):
        for offset in range(1 - w, width):
            yield offset, range(max(0, -offset), min(w, width - offset))

    rows, first = [], 0
    for t in strands:
        width = len(t)
        _, overlap, _, offset = max(
            (sum(score[i][first + i + o] for i in span), len(span), -o, o)
            for o, span in alignments(width)
        )
        best = max(sum(score[i][first + i + o] for i in s) for o, s in alignments(width))
        below = 1.0
        for _, span in alignments(width):
            sums = [sum(x) for x in itertools.product(*(score[i] for i in span))]
            below *= sum(x < best for x in sums) / len(sums)
        rows.append((1 - below**2, offset, overlap))
        first += width
    return rows


@pytest.mark.parametrize("seed", range(8))
def test_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    targets = [random_motif(rng, f"t{i}", int(rng.integers(1, 5))) for i in range(3)]
    query = random_motif(rng, "q", int(rng.integers(1, 4)))
    rows = by_hand(query, targets)
    hits = tomtom([query], targets, evalue=1e6).set_index("Target_ID")
    for i, target in enumerate(targets):
        choices = list(zip(rows[2 * i : 2 * i + 2], "+-", strict=True))
        (p, offset, overlap), strand = min(
            choices, key=lambda c: (np.float32(c[0][0]), -c[0][2], c[1])
        )
        hit = hits.loc[target.name]
        assert hit["p-value"] == pytest.approx(p, rel=1e-6)  # single precision
        assert hit["E-value"] == pytest.approx(3 * p, rel=1e-6)
        assert (hit["Optimal_offset"], hit["Overlap"]) == (offset, overlap)
        assert hit["Orientation"] == strand
        # Few targets: Benjamini and Hochberg's q-value over both strands.
        ps = sorted(row[0] for row in rows)
        q = min(min(ps[j] * 6 / (j + 1), 1.0) for j in range(6) if ps[j] >= p * (1 - 1e-6))
        assert hit["q-value"] == pytest.approx(q, rel=1e-6)


# --- properties ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MA0083.3", "MA0079.3", "MA0139.1"])
def test_a_motif_is_its_own_best_hit(name, jaspar2016):
    ppm = jaspar_motif(name).ppm
    query = Motif("q", ppm, jaspar_motif(name).nsites)
    best = tomtom([query], jaspar2016).iloc[0]
    assert (best["Target_ID"], best["Overlap"]) == (name, len(ppm))
    assert best["Optimal_offset"] == 0
    turned = tomtom([query._replace(ppm=reverse_complement(ppm))], jaspar2016)
    assert turned["Target_ID"].iloc[0] == name
    # Distances are summed in the reverse order of letters, so a score may round differently.
    straight = tomtom([query], jaspar2016)
    assert len(set(straight["Target_ID"]) ^ set(turned["Target_ID"])) <= 1


def test_offset_is_where_the_query_begins_on_the_target():
    rng = np.random.default_rng(0)
    targets = [random_motif(rng, f"t{i}", 10) for i in range(60)]
    inside = Motif("inside", targets[7].ppm[3:9], targets[7].nsites)
    longer = np.concatenate([np.full((2, 4), 0.25), targets[7].ppm])
    other = reverse_complement(targets[7].ppm)[2:]
    queries = [inside, Motif("longer", longer, targets[7].nsites), Motif("other", other, 50)]
    best = tomtom(queries, targets).groupby("Query_ID", sort=False).first()
    assert list(best["Target_ID"]) == ["t7"] * 3
    assert list(best["Optimal_offset"]) == [3, -2, 2]
    assert list(best["Overlap"]) == [6, 10, 8]
    assert list(best["Orientation"]) == ["+", "+", "-"]
    assert best["Target_consensus"]["other"] == consensus(reverse_complement(targets[7].ppm))
    assert best["Query_consensus"]["other"] == best["Target_consensus"]["other"][2:]


def test_a_stricter_cutoff_keeps_the_head_of_each_list(jaspar2016):
    queries = [jaspar_motif("MA0083.3"), jaspar_motif("MA0079.3")]
    loose, strict = tomtom(queries, jaspar2016, 10), tomtom(queries, jaspar2016, 0.01)
    kept = loose[loose["E-value"] <= 0.01].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, strict)
    assert (loose["E-value"] <= 10).all() and loose["p-value"].between(0, 1).all()
    assert loose["q-value"].between(0, 1).all()
    assert not loose.duplicated(["Query_ID", "Target_ID"]).any()
    for _, own in loose.groupby("Query_ID"):
        assert own["p-value"].is_monotonic_increasing and own["q-value"].is_monotonic_increasing


def test_widths_at_the_edges(jaspar2016):
    rng = np.random.default_rng(1)
    one, wide = random_motif(rng, "one", 1), random_motif(rng, "wide", 60)
    hits = tomtom([one, wide], jaspar2016, 1e6)
    assert hits.groupby("Query_ID").size().to_dict() == {"one": 519, "wide": 519}
    assert (hits.loc[hits["Query_ID"] == "one", "Overlap"] == 1).all()


def test_an_all_zero_column_counts_as_flat(jaspar2016):
    ppm = jaspar_motif("MA0083.3").ppm
    zero = np.concatenate([np.zeros((1, 4)), ppm])
    flat = np.concatenate([np.full((1, 4), 0.25), ppm])
    left, right = (tomtom([Motif("q", x)], jaspar2016) for x in (zero, flat))
    pd.testing.assert_frame_equal(left, right)


def test_same_input_same_output_and_each_query_alone(jaspar2016):
    rng = np.random.default_rng(2)
    queries = [random_motif(rng, f"q{i}", 9) for i in range(3)] + [jaspar_motif("MA0083.3")]
    together = tomtom(queries, jaspar2016)
    pd.testing.assert_frame_equal(together, tomtom(queries, jaspar2016))
    alone = tomtom(queries[-1:], jaspar2016)
    own = together[together["Query_ID"] == "MA0083.3"].reset_index(drop=True)
    # Only q-values depend on the other queries, through the random stream.
    pd.testing.assert_frame_equal(alone.drop(columns="q-value"), own.drop(columns="q-value"))


@pytest.mark.parametrize("evalue", [1e-9, 1e-3, 0.1, 10, 100, 1e4])
def test_without_q_values_no_hit_is_missed(evalue, jaspar2016):
    rng = np.random.default_rng(6)
    queries = [random_motif(rng, f"q{width}", width) for width in (1, 2, 5, 8, 14, 19, 30)]
    queries += [FLAT, *(motif._replace(name=f"own{i}") for i, motif in enumerate(jaspar2016[:5]))]
    narrow = [random_motif(rng, f"t{width}", width) for width in (1, 2, 3, 40)]
    for targets in (jaspar2016, narrow, jaspar2016[:60] + narrow):
        whole = tomtom(queries, targets, evalue)
        quick = tomtom(queries, targets, evalue, q_values=False)
        pd.testing.assert_frame_equal(
            whole.drop(columns="q-value"), quick.drop(columns="q-value"), check_exact=True
        )


def test_nothing_to_compare(jaspar2016):
    empty = tomtom([], jaspar2016)
    assert list(empty.columns) == COLUMNS and empty.empty
    assert empty["p-value"].dtype == float and empty["Overlap"].dtype == int
    with pytest.raises(InputError, match="no motif"):
        tomtom([FLAT], [])


@pytest.mark.parametrize("evalue", [0, -1, float("nan"), float("inf")])
def test_bad_cutoff(evalue, jaspar2016):
    with pytest.raises(InputError, match="E-value"):
        tomtom([FLAT], jaspar2016, evalue)


@pytest.mark.parametrize("qvalue", [0, -1, float("nan"), float("inf")])
def test_bad_q_value_cutoff(qvalue, jaspar2016):
    with pytest.raises(InputError, match="q-value"):
        tomtom([FLAT], jaspar2016, qvalue=qvalue)


def test_a_flat_motif_correlates_with_nothing(jaspar2016):
    assert tomtom([FLAT], jaspar2016, distance="pearson").empty
    assert null_targets(19, jaspar2016, distance="pearson", qvalue=0.1) == frozenset()


def test_thirty_filters_take_under_a_second(jaspar2016):
    rng = np.random.default_rng(4)
    queries = [random_motif(rng, f"filter{i}", 19) for i in range(30)]
    took = []
    for _ in range(3):
        start = time.process_time()  # other processes may be busy
        tomtom(queries, jaspar2016)
        took.append(time.process_time() - start)
    assert min(took) < 1.0


# --- golden ----------------------------------------------------------------------------------


def test_golden(tmp_path):
    hits, _ = run_tomtom(GOLDEN / "tomtom-queries.meme", "JASPAR2016", 10.0, tmp_path / "hits.tsv")
    golden = pd.read_csv(GOLDEN / "tomtom-hits.tsv", sep="\t")
    ours = pd.read_csv(tmp_path / "hits.tsv", sep="\t")
    # %g has six digits, so its relative error is at most 5e-6. Below 1e-40 a number of single
    # precision has few digits.
    pd.testing.assert_frame_equal(ours, golden, rtol=1e-5, atol=1e-40)
    assert to_tsv(hits) == (tmp_path / "hits.tsv").read_text()


def test_golden_is_not_overwritten(monkeypatch):
    import runpy

    before = (GOLDEN / "tomtom-hits.tsv").read_bytes()
    monkeypatch.setattr(sys, "argv", ["make_tomtom.py"])
    with pytest.raises(SystemExit, match="--force"):
        runpy.run_path(str(GOLDEN / "make_tomtom.py"), run_name="__main__")
    assert (GOLDEN / "tomtom-hits.tsv").read_bytes() == before


# --- files and summaries ---------------------------------------------------------------------


def test_tsv():
    row = ("filter0", "MA0083.3", -3, 5.7142512e-12, 2.9657e-09, 1.0, 13, "CC", "TG", "-")
    text = to_tsv(pd.DataFrame([row], columns=COLUMNS))
    assert text == (
        "Query_ID\tTarget_ID\tOptimal_offset\tp-value\tE-value\tq-value\tOverlap\t"
        "Query_consensus\tTarget_consensus\tOrientation\n"
        "filter0\tMA0083.3\t-3\t5.71425e-12\t2.9657e-09\t1\t13\tCC\tTG\t-\n"
    )


def test_run_with_files(tmp_path):
    rng = np.random.default_rng(5)
    targets = [random_motif(rng, f"t{i}", 8) for i in range(60)]
    write_meme(targets, tmp_path / "db.meme")
    write_meme([targets[4]._replace(name="q")], tmp_path / "q.meme")
    hits, n = run_tomtom(tmp_path / "q.meme", str(tmp_path / "db.meme"), 0.1, tmp_path / "hits.tsv")
    pd.testing.assert_frame_equal(hits, tomtom([targets[4]._replace(name="q")], targets))
    assert n == 1 and hits["Target_ID"].iloc[0] == "t4"
    assert (tmp_path / "hits.tsv").read_text() == to_tsv(hits)


def test_bad_input_writes_nothing(tmp_path):
    (tmp_path / "bad.meme").write_text("nothing")
    write_meme([FLAT], tmp_path / "good.meme")
    good, out = tmp_path / "good.meme", tmp_path / "hits.tsv"
    before = sorted(os.listdir(tmp_path))
    for args, message in [
        ((tmp_path / "none.meme", "JASPAR2016", 0.1, out), "cannot read"),
        ((tmp_path / "bad.meme", "JASPAR2016", 0.1, out), "not a MEME motif file"),
        ((good, "JASPAR1999", 0.1, out), "JASPAR2016"),
        ((good, str(tmp_path / "bad.meme"), 0.1, out), "not a MEME motif file"),
        ((good, "JASPAR2016", -1, out), "E-value"),
        ((good, "JASPAR2016", 0.1, good / "hits.tsv"), "hits.tsv|good.meme"),
    ]:
        with pytest.raises(InputError, match=message):
            run_tomtom(*args)
    assert sorted(os.listdir(tmp_path)) == before


def hit(query, target, evalue=0.01):
    return (query, target, 0, evalue / 519, evalue, 0.1, 9, "A", "A", "+")


def test_summary():
    hits = pd.DataFrame(
        [
            hit("filter0", "T1", 1e-9),  # a motif of class one, not its best hit
            hit("filter0", "A1", 1e-5),
            hit("filter1", "A2", 1e-3),
            hit("filter2", "N1"),  # a flat filter of this width hits it too
            hit("filter3", "N1"),  # a flat filter of this width does not
            hit("filter4", "N1"),
            hit("filter4", "T2"),  # a flat filter does not hit this one
        ],
        columns=COLUMNS,
    )
    truth = {"one": ["A1", "A2"], "two": ["B1"], "three": ["C1", "A1"]}
    null = {19: frozenset({"N1"}), 12: frozenset()}
    widths = [19, 19, 19, 12, 19, 5]
    queries = [Motif(f"filter{i}", np.full((w, 4), 0.25)) for i, w in enumerate(widths)]
    dead = np.arange(8) > 5
    out = summarize(hits, queries, dead, truth, null)
    assert out["match_any"] == 5 / 8 and out["match_truth"] == 2 / 8
    assert out["match_null"] == 1 / 8 and out["dead"] == 2
    assert out["coverage"] == pytest.approx(2 / 3)
    assert out["labels"] == {
        "filter0": {"target": "A1", "evalue": 1e-5, "class": "one"},
        "filter1": {"target": "A2", "evalue": 1e-3, "class": "one"},
        "filter2": {"target": "N1", "evalue": 0.01, "class": ""},
        "filter3": {"target": "N1", "evalue": 0.01, "class": ""},
        "filter4": {"target": "N1", "evalue": 0.01, "class": ""},
    }


def test_summary_without_hits(jaspar2016):
    out = summarize(tomtom([], jaspar2016), [], np.ones(30, bool), {"one": ["A1"]}, {})
    assert out == {
        "match_any": 0.0,
        "match_truth": 0.0,
        "match_null": 0.0,
        "dead": 30,
        "coverage": 0.0,
        "labels": {},
    }
