"""The motifs of a study, from made-up cells whose filters are known motifs."""

import random

import numpy as np
import pandas as pd
import pytest
from helpers.studies import cell_files, study

from motifk8s.filters import analysis
from motifk8s.filters.extract import Filters
from motifk8s.motifs.jaspar import jaspar, jaspar_motif
from motifk8s.motifs.motif import reverse_complement
from motifk8s.motifs.tomtom import tomtom
from motifk8s.report import found

SRF, YY1, GABPA = "MA0083.3", "MA0095.2", "MA0062.2"


def window(name, start=2, minus=False):
    ppm = np.full((19, 4), 0.25)
    known = jaspar_motif(name).ppm
    ppm[start : start + len(known)] = known[: 19 - start]
    return reverse_complement(ppm) if minus else ppm


def cell(model, trial, ppms, rise=0.01):
    """Make a cell of live filters, a dead one at the end, and the tables of filter 0 alone."""
    files = cell_files(model, trial, 0.5)
    n = len(ppms) + 1
    ppm = np.array([*ppms, np.full((19, 4), 0.25)], np.float32)
    windows = np.append(np.full(len(ppms), 50), 0)
    layer = Filters(ppm, windows, np.ones(n, np.float32), "observed", windows == 0)
    rows = {
        "importance": [
            (
                *("conv1", f"filter{i}", "", "", rise * (i + 1), 0.0),
                *("SRF" if i == 0 else "YY1", 0.1, np.nan),
            )
            for i in range(n)
        ],
        "firing": [("conv1", "filter0", SRF, "SRF", 100, 80, 0.8, 0.05, 60, 24, 0.4, 0.0, 0.5)],
    }
    tables = {
        name: pd.DataFrame(own, columns=list(analysis.TABLES[name])) for name, own in rows.items()
    }
    return files._replace(filters={"conv1": layer}, analysis=files.analysis | tables)


@pytest.fixture(scope="module")
def cells():
    flat = np.full((19, 4), 0.25)
    return {
        "synthetic/cnn-4/1": cell("cnn-4", 1, [window(SRF, minus=True), flat]),
        "synthetic/cnn-25/1": cell("cnn-25", 1, [window(SRF), window(YY1)]),
        "synthetic/cnn-25/2": cell("cnn-25", 2, [window(SRF, 1), window(SRF, 3), window(GABPA)]),
    }


def find(cells):
    return found.find(study(trials=2), cells, jaspar())


def test_table(cells):
    table = find(cells).table.set_index("motif")
    assert list(table.index) == ["synthetic-1", "synthetic-2", "synthetic-3"]
    srf = table.loc["synthetic-1"]
    assert (srf.trials, srf.of_trials, srf.architectures, srf.of_architectures) == (3, 3, 2, 2)
    assert (srf.filters, srf.found_in) == (4, "cnn-4:1/1 cnn-25:2/2")
    assert (srf.match, srf.factor, srf["class"]) == (SRF, "SRF", "SRF")
    # Filters 0, 0, 0 and 1, of three cells.
    assert srf.importance == pytest.approx((0.01 * 3 + 0.02) / 3)
    assert srf.worst_class == "SRF"
    assert (srf.firings, srf.on_motif) == (300, 0.8)
    # Both others are of one trial; the more important one is first.
    assert list(table.factor[1:]) == ["Gabpa", "YY1"] and list(table.trials[1:]) == [1, 1]
    assert (table["class"][1:] == "").all() and table.firings[1:].isna().all()
    known = tomtom([jaspar_motif(SRF)], jaspar(), q_values=False)
    assert set(srf.other_matches.split()) <= {
        f"{i}({jaspar_motif(i).alt})" for i in known["Target_ID"]
    }


def test_consensus_and_strand_are_the_databases(cells):
    result = find(cells)
    assert "CCATATATGG" in result.table.consensus[0].replace("W", "A").replace("Y", "C")
    [query] = [motif for motif in result.motifs if motif.alt == "YY1"]
    hits = tomtom([query], [jaspar_motif("MA0095.2")], evalue=1)
    assert list(hits.Orientation) == ["+"]


def test_filters_lie_where_the_table_says(cells):
    result = find(cells)
    motifs = {motif.name: motif.ppm for motif in result.motifs}
    assert len(result.filters) == 6
    for row in result.filters.to_dict("records"):
        layer = cells[f"synthetic/{row['model']}/{row['trial']}"].filters[row["layer"]]
        ppm = layer.ppm[int(row["filter"].removeprefix("filter"))]
        ppm = reverse_complement(ppm) if row["strand"] < 0 else ppm
        motif = motifs[row["motif"]]
        first = max(0, row["offset"])
        last = min(len(motif), row["offset"] + 19)
        part = ppm[first - row["offset"] : last - row["offset"]]
        assert np.abs(part - motif[first:last]).mean() < 0.05


def test_dead_and_flat_filters_are_counted(cells):
    counts = find(cells).counts
    assert counts.to_dict("records") == [
        {"dataset": "synthetic", "filters": 10, "dead": 3, "flat": 1, "left_out": 0}
    ]


def test_the_order_of_cells_changes_nothing(cells):
    names = list(cells)
    expected = find(cells)
    random.Random(1).shuffle(names)
    again = find({name: cells[name] for name in reversed(names)})
    assert again.table.equals(expected.table) and again.filters.equals(expected.filters)


def test_nothing_finished(cells):
    nothing = find({})
    assert list(nothing.table.columns) == found.COLUMNS and nothing.table.empty
    assert found.sections(nothing, study()) == {}
    dead = cell("cnn-4", 1, [])
    only = find({"synthetic/cnn-4/1": dead})
    assert only.table.empty and only.motifs == []
    assert found.sections(only, study())["synthetic"].summary == [
        "0 of 1 filters (1 dead) form 0 motifs."
    ]


def test_sections(cells):
    of = study(trials=2)
    result = find(cells)
    section = found.sections(result, of)["synthetic"]
    assert " ".join(section.summary) == (
        "6 of 10 filters (3 dead, 1 without information) form 3 motifs. 1 of them were found in "
        "two or more of the 3 trials, 2 in one trial alone. Of 1 classes with a known motif, 1 are "
        "found, 1 in two or more trials."
    )
    assert [row["single"] for row in section.rows] == [False, True, True]
    assert section.rows[0]["logo"].count("<use") > 20 and section.hidden == 0
