"""Claims: each kind, measure and verdict, from numbers made by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from helpers.studies import metrics, study

from motifk8s.cells.finished import HITS, CellFiles
from motifk8s.errors import InputError
from motifk8s.filters.analysis import TABLES
from motifk8s.filters.extract import Filters
from motifk8s.motifs.motif import Motif
from motifk8s.report import ceiling as module_of_ceiling
from motifk8s.report import claims as module
from motifk8s.report import comparison, tables
from motifk8s.report.aggregate import write_outputs
from motifk8s.report.ceiling import ceiling, false_negatives, likelihood_ratios
from motifk8s.report.claims import (
    COLUMNS,
    claims,
    completeness,
    published_rows,
    summary,
    trials_to_distinguish,
)
from motifk8s.study.specs import Claim, Expected, Synthetic
from motifk8s.study.study import Study, load, loads

CLASSES = {"SRF": ["MA0083.3"], "MAX": ["MA0058.3"], "SP1": ["MA0079.3"]}
TITLES = {  # of the paper's sections
    "Max-pooling influences ability to build hierarchical motif representations",
    "Sensitivity of motif representations to the number of filters",
    "Motif representations are not very sensitive to 1st layer filter size",
    "Motif representations are affected by the ability to assemble whole motifs",
    "Distributed representations build whole motif representations in deeper layers",
    "Generalization to in vivo sequences",
    "Discussion",
}  # fmt: skip


def claim(**fields):
    """Return the text of a claim; its default is a ground-truth match above 0.5."""
    base = {"says": "It is so.", "source": "Results", "dataset": "synthetic", "kind": "above",
            "measure": "match_truth", "models": ["cnn-25"]}  # fmt: skip
    if fields.get("kind", "above") in ("above", "below") and "than" not in fields:
        base["limit"] = 0.5
    return {key: value for key, value in (base | fields).items() if value is not None}


def with_claims(*rows, trials=2):
    text = study(trials=trials).resolved()
    text["datasets"]["synthetic"]["classes"] = CLASSES
    return Study.model_validate(text | {"claims": list(rows)})


def cell(model, trial, importance=(), hits=(), by_class=(0.9,), **values):
    """Return a cell; labels are classes of filter 0, 1, ...; importance has class and rise.

    Without all filters of a class, the loss rises by the sum.
    """
    if "classes" in values:
        values["labels"] = {
            f"filter{i}": {"target": CLASSES[name][0] if name else "x", "evalue": 0, "class": name}
            for i, name in enumerate(values.pop("classes"))
        }
    data = metrics(model, trial, **values)
    data["auroc_by_class"] = dict(zip(CLASSES, by_class, strict=False))
    joint = {name: sum(rise for other, rise in importance if other == name) for name in CLASSES}
    rows = pd.DataFrame(
        [
            ("conv1", f"filter{i}", "", name, rise, 0, "", 0, joint.get(name, math.nan))
            for i, (name, rise) in enumerate(importance)
        ],
        columns=list(TABLES["importance"]),
    )
    aligned = pd.DataFrame(hits, columns=HITS)
    # An informative window of 19 columns; the tests' filters are 19 bp wide.
    ppm = np.tile(np.array([0.97, 0.01, 0.01, 0.01], np.float32), (10, 19, 1))
    filters = {"conv1": Filters(ppm, *[np.ones(10)] * 2, "observed", np.zeros(10, bool))}
    return CellFiles(data, pd.DataFrame(), filters, {}, {"importance": rows}, {"conv1": aligned})


def judged(row, *cells, trials=2):
    """Test one claim; return its verdict and numbers."""
    found = claims(with_claims(row, trials=trials), {f.metrics["cell"]: f for f in cells})
    assert list(found.columns) == COLUMNS
    [first] = found.to_dict("records")
    return first["verdict"], first["ours"]


def of(**trials):
    """Return cells from their match_truth by model (cnn_4) and trial."""
    return [
        cell(model.replace("_", "-"), trial, match_truth=value)
        for model, values in trials.items()
        for trial, value in enumerate(values, 1)
    ]


ALL = ["cnn-1", "cnn-4", "cnn-25"]


@pytest.mark.parametrize(
    ("row", "shares", "verdict"),
    [
        (claim(), [0, 0, 0.51], "held"),
        (claim(), [0, 0, 0.5], "not held"),  # strictly above
        (claim(kind="below"), [0, 0, 0.49], "held"),
        (claim(kind="below"), [0, 0, 0.5], "not held"),
        (claim(than=["cnn-1", "cnn-4"]), [0.2, 0.3, 0.31], "held"),
        (claim(than=["cnn-1", "cnn-4"]), [0.2, 0.3, 0.3], "not held"),
        (claim(models=["cnn-4", "cnn-25"], than=["cnn-1"]), [0.5, 0.4, 0.9], "not held"),
        (claim(models=["cnn-4", "cnn-25"], than=["cnn-1"], by="mean"), [0.5, 0.4, 0.9], "held"),
        (claim(models=["cnn-4", "cnn-25"], by="mean"), [0, 0.4, 0.6], "not held"),
        (claim(kind="below", models=["cnn-1"], than=["cnn-4"]), [0.1, 0.2, 0], "held"),
        (claim(kind="rises", models=ALL), [0.1, 0.2, 0.3], "held"),
        (claim(kind="rises", models=ALL), [0.1, 0.3, 0.3], "not held"),
        (claim(kind="rises", models=ALL), [0.1, 0.3, 0.2], "not held"),
        (claim(kind="falls", models=ALL), [0.3, 0.2, 0.1], "held"),
        (claim(kind="falls", models=ALL), [0.3, 0.2, 0.2], "not held"),
        (claim(kind="similar", models=ALL, limit=0.2), [0.3, 0.1, 0.2], "held"),
        (claim(kind="similar", models=ALL, limit=0.1), [0.3, 0.1, 0.2], "not held"),
        (claim(kind="similar", models=ALL, limit=0.1), [0.8, 0.7, 0.75], "held"),  # the last bit
    ],
)
def test_kinds_that_compare_numbers(row, shares, verdict):
    # Means over two trials, one 0.01 below and one 0.01 above.
    trials = {name: [x - 0.01, x + 0.01] for name, x in zip(ALL, shares, strict=True)}
    cells = of(**{name.replace("-", "_"): values for name, values in trials.items()})
    # Halves are exact only without the noise.
    exact = of(**{n.replace("-", "_"): [x, x] for n, x in zip(ALL, shares, strict=True)})
    assert judged(row, *exact)[0] == verdict
    assert "± 0.010" in judged(row, *cells)[1]


def test_numbers_of_both_sides_are_shown():
    row = claim(than=["cnn-1"])
    verdict = judged(row, *of(cnn_1=[0.1, 0.2], cnn_25=[0.9, 1.0]))
    assert verdict == ("held", "cnn-25 0.950 ± 0.050 / cnn-1 conv1 0.150 ± 0.050")


def test_a_score_belongs_to_the_model_not_to_a_layer():
    verdict = judged(claim(measure="auroc", models=["cnn-1"]), *of(cnn_1=[0.1, 0.2]))
    assert verdict == ("held", "cnn-1 0.950 ± 0.000")


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ({}, "not tested"),
        ({"cnn_25": [0.9]}, "not tested"),
        ({"cnn_25": [0.9], "cnn_4": [0.1]}, "held so far"),
        ({"cnn_25": [0.9, 0.9], "cnn_4": [0.1]}, "held so far"),
        ({"cnn_25": [0.1, 0.1], "cnn_4": [0.9]}, "not held so far"),
        ({"cnn_25": [0.9, 0.9], "cnn_4": [0.1, 0.1]}, "held"),
    ],
)
def test_what_is_missing(cells, verdict):
    assert judged(claim(than=["cnn-4"]), *of(**cells))[0] == verdict


def test_found_in_more_and_missed_in_less_than_half_of_the_trials():
    trials = [["SRF", "MAX"], ["SRF", ""], ["SRF", "SP1"], ["MAX"]]  # SRF 3, MAX 2, SP1 1 of 4
    cells = [cell("cnn-25", i, classes=names) for i, names in enumerate(trials, 1)]

    def verdict(kind, *classes):
        row = claim(kind=kind, measure=None, classes=classes)
        return judged({**row, "classes": list(classes)}, *cells, trials=4)[0]

    assert [verdict("found", name) for name in CLASSES] == ["held", "not held", "not held"]
    assert [verdict("missed", name) for name in CLASSES] == ["not held", "not held", "held"]
    assert verdict("found", "SRF", "SP1") == verdict("missed", "SRF", "SP1") == "not held"
    row = claim(kind="missed", measure=None, classes=["SP1", "SRF"])
    assert judged(row, *cells, trials=4)[1] == "cnn-25: SP1 1 of 4 and SRF 3 of 4"
    assert judged(row)[0] == "not tested"


@pytest.mark.parametrize(
    ("fields", "value", "text"),
    [
        ({"measure": "auroc"}, {"auroc": 0.75}, "0.750"),
        ({"measure": "auroc", "classes": ["SRF", "SP1"]}, {"by_class": [0.9, 0, 0.6]}, "0.750"),
        ({"measure": "auroc_sd"}, {"by_class": [0.9, 0.5]}, "0.200"),
        ({"measure": "aupr"}, {}, "0.800"),
        ({"measure": "match_any"}, {"match_any": 0.25}, "0.250"),
        ({"measure": "dead"}, {"dead": 7}, "7.000"),
        ({"measure": "n_truth"}, {"match_truth": 0.9, "n_filters": 30}, "27.000"),
        ({"measure": "n_unmatched"}, {"match_any": 0.9, "n_filters": 30}, "3.000"),
        ({"measure": "truth_share"}, {"match_truth": 0.1, "match_any": 0.4}, "0.250"),
        ({"measure": "truth_share"}, {"match_truth": 0, "match_any": 0}, "-"),
        (
            {"measure": "importance_ratio"},  # medians 2 of others, 4 of matched
            {"importance": [("", 1), ("", 3), ("SRF", 4), ("MAX", 1), ("SRF", 9)]},
            "0.500",
        ),
        ({"measure": "importance_ratio"}, {"importance": [("SRF", 4)]}, "-"),
        ({"measure": "importance_ratio"}, {}, "-"),
        ({"measure": "importance_ratio"}, {"importance": [("SRF", 0), ("", 1)]}, "-"),
        (
            {"measure": "importance_rank"},  # numbers 1, 2, 3; joint rises 5, 3, 6: ranks 2, 1, 3
            {"importance": [("SRF", 5), *[("MAX", 1.5)] * 2, *[("SP1", 2)] * 3, ("", 9)]},
            "0.500",
        ),
        ({"measure": "importance_rank"}, {"importance": [("SRF", 5), ("MAX", 6)]}, "-"),
        ({"measure": "importance_rank"}, {}, "-"),
    ],
)
def test_measures(fields, value, text):
    verdict, ours = judged(claim(**fields, limit=0.3), cell("cnn-25", 1, **value), trials=1)
    assert ours == f"cnn-25 {text}"
    assert verdict == ("not tested" if text == "-" else "held" if float(text) > 0.3 else "not held")


def test_completeness_is_the_share_of_information_in_the_overlap():
    bits = {"MA0083.3": np.array([2.0, 1, 1, 0]), "MA0058.3": np.array([1.0, 1, 2])}
    names = ["SRF", "SRF", "MAX", ""]
    hits = [
        ("filter0", "MA0083.3", -2, 2, "+"),  # columns 0, 1: 3 of 4 bits
        ("filter1", "MA0083.3", 1, 3, "-"),  # of 0 1 1 2 the last three: 4 of 4
        ("filter1", "MA0058.3", 0, 1, "+"),  # not the label
        ("filter2", "MA0058.3", 2, 1, "+"),  # the last column: 2 of 4
        ("filter3", "x", 0, 1, "+"),  # of no class
        ("filter9", "MA0058.3", 0, 1, "+"),  # without a label
    ]
    of_study, of_cell = with_claims(), cell("cnn-25", 1, classes=names, hits=hits)

    def share(*classes):
        return completeness(of_study, of_cell, "conv1", classes, bits)

    assert share("SRF") == pytest.approx((0.75 + 1) / 2)
    assert share("MAX") == 0.5
    # Each class counts once, whatever its number of filters.
    assert share() == pytest.approx((0.875 + 0.5) / 2)
    assert math.isnan(share("SP1"))
    row = claim(measure="completeness", classes=["MAX"], limit=0.2)
    database = [Motif("MA0058.3", np.array([[1.0, 0, 0, 0], [0.25] * 4]))]
    aligned = cell("cnn-25", 1, classes=["", "MAX"], hits=[("filter1", "MA0058.3", 0, 1, "+")])
    found = claims(with_claims(row, trials=1), {"a": aligned}, database)
    assert list(found.verdict) == ["held"] and list(found.ours) == ["cnn-25 1.000"]


@pytest.mark.parametrize(
    ("trimmed", "offset", "strand", "share"),
    [
        (0, 0, "+", 4 / 19),  # the filter sees columns 8 to 11 of the window
        (0, -9, "+", 3 / 19),  # the target begins at column 9
        (0, 15, "+", 0),  # the target ends at column 3
        (6, 0, "+", 4 / 19),  # three padded columns of the motif are in front
    ],
)
def test_completeness_counts_what_the_filter_sees(trimmed, offset, strand, share):
    text = with_claims().resolved()
    text["models"] = {"cnn-25": {"conv": [{"filters": 10, "width": 4, "pool": 25}]}}
    narrow = Study.model_validate(text | {"grid": None, "claims": [], "figures": {}})
    overlap = min(19, 19 - offset) - max(0, -offset) - max(0, trimmed - 3)
    hits = [("filter0", "MA0083.3", offset, overlap, strand)]
    of_cell = cell("cnn-25", 1, classes=["SRF"], hits=hits)
    of_cell.filters["conv1"].ppm[:, :trimmed] = 0.25
    bits = {"MA0083.3": np.ones(19)}
    found = completeness(narrow, of_cell, "conv1", [], bits)
    assert found == pytest.approx(share)


def test_hits_are_read_from_the_store_if_a_claim_needs_them(tiny, tmp_path):
    from helpers.tiny import TINY

    from motifk8s.cells.finished import read_finished
    from motifk8s.store.folder import FolderStore

    row = {**claim(measure="completeness", models=["a"], limit=0), "dataset": "small"}
    store = FolderStore(tmp_path / "store")
    plain, _ = read_finished(Study.model_validate(TINY), store)
    assert plain and not any(files.hits for files in plain.values())
    with_hits, _ = read_finished(Study.model_validate({**TINY, "claims": [row]}), store)
    for files in with_hits.values():
        assert files.hits.keys() == files.metrics["layers"].keys()
        for name, hits in files.hits.items():
            assert set(files.metrics["layers"][name]["labels"]) == set(hits.Query_ID)


def test_ceiling_by_hand():
    ppm = np.array([[0.5, 0.5, 0, 0], [1, 0, 0, 0]])
    # Ratios are 2 2 0 0 and 4 0 0 0, on the other strand 0 0 0 4 and 0 0 2 2.
    # CAG: CA has 2 * 4. TTC: on the other strand TT has 4 * 2. GCG: none.
    codes = np.array([[1, 0, 2], [3, 3, 1], [2, 1, 2]], np.uint8)
    assert likelihood_ratios(codes, [ppm])[:, 0].tolist() == [8, 8, 0]


def test_sequences_labelled_0_that_look_like_those_labelled_1(monkeypatch):
    labels = np.array([[1, 1], [1, 1], [0, 1], [0, 1], [0, 1]])
    scores = np.array([[1.0, 0], [3, 0], [2, 0], [2.5, 0], [9, 0]])  # the median is 2
    monkeypatch.setattr(module_of_ceiling, "_scored", lambda spec, seed: (labels, scores))
    spec = Synthetic.model_validate({"kind": "synthetic", "classes": CLASSES})
    assert false_negatives(spec, 1) == pytest.approx(2 / 3)  # of the first class alone


@pytest.mark.parametrize("measure", [ceiling, false_negatives])
def test_motifs_arise_by_chance(measure):
    text = {"kind": "synthetic", "n_sequences": 4000, "classes": CLASSES}
    spec = Synthetic.model_validate(text)
    value = measure(spec, 1)
    assert (0.9 < value < 1) if measure is ceiling else (0 < value < 0.1)
    row = claim(kind="below", measure=measure.__name__, models=None, limit=1)
    of_claim = with_claims(row, trials=1)
    spec = of_claim.datasets["synthetic"].model_copy(update={"n_sequences": 4000})
    of_claim = of_claim.model_copy(update={"datasets": {"synthetic": spec}})
    [tested] = claims(of_claim, {"a": cell("cnn-25", 1)}).to_dict("records")
    value = measure(spec, of_claim.data_seed("synthetic"))
    assert (tested["verdict"], tested["ours"]) == ("held", f"synthetic {value:.4f}")
    # Without a finished cell, nothing is computed.
    assert list(claims(of_claim, {}).verdict) == ["not tested"]


def test_a_claim_of_models_that_are_not_planned_is_left_out():
    text = with_claims(claim(than=["cnn-4"]), claim()).resolved()
    of_claim = Study.model_validate({**text, "grid": {"synthetic": ["cnn-25", "cnn-1"]}})
    assert len(claims(of_claim, {})) == 1


@pytest.mark.parametrize(
    ("expected", "difference", "sd", "needed"),
    [
        # Of two trials the unbiased variance is twice sd². 0.1² / 4 - 0.04² / 4 = 0.0021;
        # 2 * 0.07245² / 0.0021 = 4.999.
        ({"mean": 0.5, "sd": 0.04, "trials": 5}, 0.1, 0.07245, 5),
        ({"mean": 0.5, "sd": 0.04, "trials": 5}, -0.1, 0.0725, 6),
        ({"mean": 0.5, "sd": 0.05, "trials": 1}, 0.1, 0.1, math.nan),
        ({"mean": 0.5, "sd": 0.05, "trials": 5}, 0.1, 0.0, 1),
        ({"mean": 0.5, "sd": 0.05, "trials": 5}, 0.04, 0.1, math.inf),
        ({"mean": 0.5, "sd": 0.05, "trials": 5}, 0.1, math.nan, math.nan),
        ({"mean": 0.5, "sd": 0.05}, 0.1, 0.1, math.nan),
        ({"mean": 0.5, "sd": 0.05, "trials": 5, "over": "classes"}, 0.1, 0.1, math.nan),
        ({"mean": 0.5, "kind": "value", "trials": 5}, 0.1, 0.1, math.nan),
    ],
)
def test_trials_that_distinguish(expected, difference, sd, needed):
    row = {"dataset": "x", "models": ["a"], "measure": "match_any", "kind": "exact", **expected}
    found = trials_to_distinguish(Expected.model_validate(row), difference, sd, trials=2)
    assert found == pytest.approx(needed, nan_ok=True)


def test_published_numbers_beside_ours_and_the_count():
    numbers = [
        {"models": ["cnn-25"], "kind": "exact", "mean": 0.9, "sd": 0.04, "trials": 5},
        {"models": ["cnn-4"], "kind": "value", "mean": 0.2, "source": "S; probably one trial"},
        {"models": ["cnn-1", "cnn-4"], "kind": "at-most", "mean": 0.1},
        {"models": ["cnn-4"], "kind": "exact", "mean": 0.6, "sd": 0.1, "over": "classes",
         "measure": "auroc"},
    ]  # fmt: skip
    text = study(numbers, trials=2).resolved()
    rows = [claim(), claim(limit=1), claim(models=["cnn-1"])]
    of_both = Study.model_validate({**text, "claims": rows})
    shares = {"cnn-25": [0.8, 0.9], "cnn-4": [0.2, 0.3]}
    cells = {
        f"{model}/{i}": cell(model, i, auroc=0.7, by_class=[0.9, 0.5], match_truth=share)
        for model, values in shares.items()
        for i, share in enumerate(values, 1)
    }
    results = tables.results((files.metrics for files in cells.values()), of_both)
    compared = comparison.comparisons(results, of_both)
    exact, value, bound, score = published_rows(compared, of_both, cells)
    # 0.05² / 4 - 0.04² / 4 = 0.000225, our variance 2 * 0.05² = 0.005: 22.2.
    assert [exact[key] for key in ("Paper", "Ours", "Verdict", "Trials that distinguish")] == [
        "0.900 ± 0.040", "0.850 ± 0.050", "yes", "23",
    ]  # fmt: skip
    assert (value["Paper"], value["Difference"], value["Verdict"]) == ("0.20", "+0.050", "")
    assert value["Section"] == "S; probably one trial"
    assert bound["Verdict"] == "not held so far" and bound["Trials"] == "2 of 4"
    assert bound["Ours"] == "0.250 ± 0.050 (cnn-4, trials: 2)"
    assert score["Paper"] == "0.600 ± 0.100 over classes"
    assert score["Ours"] == "0.700 ± 0.200 over classes"
    tested = claims(of_both, cells)
    assert list(tested.verdict) == ["held", "not held", "not tested"]
    text = "2 of 3 testable hold: 1 of 1 published numbers and 1 of 2 claims."
    assert summary(compared, tested) == text


def test_the_report_has_a_table_and_a_section_only_with_claims(tmp_path):
    from helpers.studies import cell_files

    cells = {"synthetic/cnn-25/1": cell_files("cnn-25", 1, 0.9)}
    hostile = claim(says="<b>so & so", source="=1+1")
    for rows, name in ([], "none"), ([hostile], "one"):
        of_claim = Study.model_validate({**study(trials=1).resolved(), "claims": rows})
        (tmp_path / name).mkdir()
        paths, _ = write_outputs(of_claim, cells, {}, tmp_path / name)
        page = paths["report.html"].read_text()
        assert ("tables/claims.csv" in paths) == ('id="claims"' in page) == bool(rows)
        assert page.count("#claims") == len(rows)
    assert "&lt;b&gt;so &amp; so" in page and "<b>so" not in page
    table = pd.read_csv(paths["tables/claims.csv"])
    assert table.source[0] == "'=1+1" and table.verdict[0] == "held"


def test_claims_of_the_paper():
    of_paper = load("koo2019")
    assert 18 <= len(of_paper.claims) <= 26
    assert {row.source for row in of_paper.claims} == TITLES
    assert len({row.says for row in of_paper.claims}) == len(of_paper.claims)
    assert all(len(row.says.split()) <= 25 for row in of_paper.claims)
    assert {row.kind for row in of_paper.claims} == {
        "rises", "falls", "above", "below", "similar", "found", "missed",
    }  # fmt: skip
    assert len(claims(of_paper, {})) == len(of_paper.claims)
    assert set(claims(of_paper, {}).verdict) == {"not tested"}
    # Without the in vivo data, and with three models, fewer remain.
    assert {row.dataset for row in load("koo2019-synthetic").claims} == {"synthetic"}
    assert 0 < len(claims(load("demo"), {})) < 5
    deleted = loads("name: x\nextends: koo2019\nmodels: {cnn9-4: null}", "x")
    assert len(deleted.claims) == len(of_paper.claims) - 1


def test_claims_of_the_base_go_with_deleted_classes_and_with_synthetic_data():
    n = len(load("koo2019").claims)
    change = "name: x\nextends: koo2019\ndatasets: "
    assert len(loads(change + "{synthetic: {classes: {SRF: null}}}", "x").claims) == n - 1
    assert len(loads(change + "{invivo: {classes: {SP1: null}}}", "x").claims) == n - 2
    own = "{kind: file, path: a.h5, length: 300, classes: {SRF: [], a: []}}"
    left = loads(change + f"{{synthetic: {own}}}", "x").claims
    assert len(left) == n - 2 and "ceiling" not in {row.measure for row in left}
    # But a slip in one's own claim is an error.
    row = "{says: a, source: b, dataset: invivo, kind: found, models: [cnn-2], classes: [SP1]}"
    with pytest.raises(InputError, match="no class"):
        loads(change + f"{{invivo: {{classes: {{SP1: null}}}}}}\nclaims: [{row}]", "x")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"measure": None}, "measure"),
        ({"models": []}, "models"),
        ({"kind": "rises", "limit": None}, "models"),
        ({"limit": None}, "than"),
        ({"than": ["cnn-1"], "limit": 0.5}, "than"),
        ({"kind": "rises", "models": ALL, "limit": 0.5}, "limit"),
        ({"kind": "similar", "models": ALL}, "limit"),
        ({"kind": "similar", "models": ALL, "limit": 0.1, "by": "mean"}, "by"),
        ({"kind": "found", "measure": None}, "classes"),
        ({"kind": "found", "classes": ["SRF"]}, "measure"),
        ({"classes": ["SRF"]}, "classes"),
        ({"measure": "auroc", "classes": ["XYZ"]}, "classes[0]"),
        ({"models": ["cnn-5"]}, "models[0]"),
        ({"than": ["cnn-1", "cnn-5"]}, "than[1]"),
        ({"models": ["cnn-25/conv2"]}, "models[0]"),
        ({"dataset": "sinthetic"}, "dataset"),
        ({"measure": "ceiling"}, "models"),
        ({"says": ""}, "says"),
        ({"kind": "is"}, "kind"),
        ({"limit": math.inf}, "limit"),
    ],
)
def test_mistakes_in_claims_name_their_key(change, place):
    with pytest.raises(ValueError) as error:
        with_claims(claim(**change))
    places = [".".join(map(str, mistake["loc"])) for mistake in error.value.errors()]
    assert any(
        f"claims.0.{place}".replace("[", ".").replace("]", "") in found for found in places
    ), places


def test_a_mistake_is_one_error_with_its_place():
    text = (
        "name: x\nextends: koo2019\nclaims: [{says: a, source: b, dataset: synthetic, kind: above}]"
    )
    with pytest.raises(InputError, match=r"claims\[0\].measure"):
        loads(text, "x")


def test_ceiling_needs_synthetic_data():
    text = with_claims().resolved()
    data = {"kind": "file", "path": "x.h5", "length": 200, "classes": CLASSES}
    row = claim(measure="ceiling", models=None)
    with pytest.raises(ValueError, match="synthetic"):
        Study.model_validate({**text, "datasets": {"synthetic": data}, "claims": [row]})


def test_what_a_test_compares_is_in_words():
    rows = [
        claim(),
        claim(kind="similar", models=ALL, limit=0.02, measure="auroc"),
        claim(kind="below", models=["cnn-4", "cnn-25"], than=["cnn-1"], by="mean"),
        claim(kind="missed", measure=None, classes=["SRF", "SP1"]),
    ]
    found = module.claim_rows(claims(with_claims(*rows), {}))
    assert [row["Test"] for row in found] == [
        "synthetic: match of a class above 0.5",
        "synthetic: AUROC similar 0.02",
        "synthetic: mean match of a class below",
        "synthetic: (SRF, SP1) missed",
    ]
    names = Claim.model_json_schema()["properties"]["measure"]["anyOf"][0]["enum"]
    assert set(module.MEASURES) == {"", *names}


def test_a_claim_keeps_its_defaults():
    row = Claim.model_validate(claim(models=["cnn-25", "cnn-1/conv2"]))
    assert row.layers() == [("cnn-25", "conv1"), ("cnn-1", "conv2")]
    assert module.claim_rows(claims(with_claims(), {})) == []
