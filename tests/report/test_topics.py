"""What the report shows beyond the paper: the numbers of each table by hand, and the charts."""

import pandas as pd
import pytest
from helpers.studies import analysis_of, cell_files, study

from motifk8s.filters import analysis
from motifk8s.report import tables, topics
from motifk8s.study.study import Study, load


def made(of, cells, folder, change=None):
    """The tables by topic, of the data set "synthetic", and the names of the charts."""
    results = tables.results((files.metrics for files in cells.values()), of)
    frames = topics.frames(of, cells, results, tables.table1(results, of))
    frames |= change(frames) if change else {}
    found = topics.topics(of, results, frames, folder)
    assert list(found) == list(topics.TOPICS)
    rows = {name: topic.tables.get("synthetic") for name, topic in found.items()}
    return rows, sorted(path.stem for path in folder.glob("*.png"))


def values(rows):
    """The rows of a table without their headings."""
    return [list(row.values()) for row in rows]


def cells_of(shares):
    return {
        f"synthetic/{model}/{trial}": cell_files(model, trial, share)
        for model, trials in shares.items()
        for trial, share in enumerate(trials, 1)
    }


TWO = {"cnn-4": [0.1], "cnn-25": [0.9]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three trials of two architectures: their tables and charts."""
    shares = {"cnn-4": [0.1, 0.15, 0.2], "cnn-25": [0.9, 1.0, 0.95]}
    return made(study(trials=3), cells_of(shares), tmp_path_factory.mktemp("beyond"))


def test_every_chart_is_drawn(whole):
    charts = ["coverage", "firing", "importance", "paired", "sensitivity-database",
              "sensitivity-threshold", "sensitivity-trim_bits"]  # fmt: skip
    assert whole[1] == [f"synthetic-{name}" for name in charts]


def test_null(tmp_path):
    cells = cells_of(TWO)
    for cell, null in zip(cells.values(), (2 / 6, 0), strict=True):
        cell.metrics["layers"]["conv1"] |= {"match_any": 4 / 6, "match_null": null}
    rows = made(study(), cells, tmp_path)[0]["null"]
    assert rows == [
        {"Architecture": "cnn-4", "Any match": "0.667", "Null match": "0.333",
         "Any match without null matches": "0.333"},
        {"Architecture": "cnn-25", "Any match": "0.667", "Null match": "0.000",
         "Any match without null matches": "0.667"},
    ]  # fmt: skip


def test_coverage(tmp_path):
    classes = {"SRF": ["MA0083.3"], "YY1": ["MA0095.2"]}
    of = Study.model_validate(
        {**study().resolved(), "datasets": {"synthetic": {"kind": "synthetic", "classes": classes}}}
    )
    cells = cells_of({"cnn-4": [0.1], "cnn-25": [0.9, 0.9]})
    for name in ("cnn-4/1", "cnn-25/2"):
        cells[f"synthetic/{name}"].metrics["layers"]["conv1"]["labels"] = {}
    rows = made(of, cells, tmp_path)[0]["coverage"]
    # Of two trials one finds SRF, with two filters; no trial finds YY1.
    assert values(rows) == [["cnn-4", "0.0 of 2", ""], ["cnn-25", "0.5 of 2", "2.0"]]
    assert list(rows[0]) == ["Architecture", "Classes found", "Filters of a found class"]


def test_paired(whole):
    rows = whole[0]["paired"]
    # With 3 trials the exact test gives 2 / 2**3 at least; all AUROCs and matches are alike.
    assert values(rows) == [
        ["AUROC", "3", "1", "0", "0", "1"],
        ["Any match", "3", "1", "0", "0", "1"],
        ["Ground-truth match", "3", "1", "1", "0", "0.25"],
    ]
    assert list(rows[0])[2:] == [
        "Pairs", "Pairs that differ", "Pairs without p", "Smallest p of the exact test",
    ]  # fmt: skip


def test_differences_without_variance_have_no_p(tmp_path):
    cells = cells_of({"cnn-4": [0.25] * 3, "cnn-25": [0.75] * 3})
    rows = made(study(trials=3), cells, tmp_path)[0]["paired"]
    assert values(rows)[2] == ["Ground-truth match", "3", "1", "0", "1", "0.25"]


@pytest.mark.parametrize("trials", [1, 5])
def test_no_tests_without_trials(tmp_path, trials):
    rows, charts = made(study(trials=trials), cells_of(TWO), tmp_path)
    assert rows["paired"] == [] and "synthetic-paired" not in charts


def test_sensitivity(whole):
    rows = whole[0]["sensitivity"]
    # Means of 0.15 and 0.95, times 0.4 and 1 (`analysis_of`); any match is 0.1 more, at most 1.
    assert values(rows) == [
        ["Threshold", "0.3", "0.220", "0.625", "0 of 2"],
        ["Threshold", "0.5", "0.550", "0.625", "1 of 2"],
        ["Trimming", "none", "0.220", "0.625", "0 of 2"],
        ["Trimming", "0.5", "0.550", "0.625", "1 of 2"],
        ["JASPAR release", "2016", "0.220", "0.625", "0 of 2"],
        ["JASPAR release", "2020", "0.550", "0.625", "1 of 2"],
    ]
    assert list(rows[0])[2:] == ["Ground-truth match", "Any match", "Layers at 0.5 or more"]


def test_sensitivity_of_a_single_layer(tmp_path):
    rows = made(study(), cells_of({"cnn-4": [0.1]}), tmp_path)[0]["sensitivity"]
    assert values(rows)[:2] == [
        ["Threshold", "0.3", "0.040", "0.200", "0 of 1"],
        ["Threshold", "0.5", "0.100", "0.200", "0 of 1"],
    ]


def test_importance(whole):
    rows = whole[0]["importance"]
    # In each of three trials filters 0 and 3 match a class (0.02); the others lose 0.001 i.
    assert values(rows) == [
        ["cnn-4", "6", "0.02", "12", "0.003", "6 of 6"],
        ["cnn-25", "6", "0.02", "12", "0.003", "6 of 6"],
    ]
    assert list(rows[0])[1:] == [
        "Filters that match a class", "Median rise (nats)", "Other filters",
        "Median rise, others (nats)", "Own class rises most",
    ]  # fmt: skip


def test_importance_that_contradicts_is_shown(tmp_path):
    def change(frames):
        frame = frames["importance"]
        worse = (frame["class"] != "") & (frame.model == "cnn-4")
        rise = frame.loss_increase.mask(worse, -0.1)
        worst = frame.worst_class.mask(worse & (frame["filter"] == "filter0"), "other")
        return {"importance": frame.assign(loss_increase=rise, worst_class=worst)}

    rows = made(study(), cells_of(TWO), tmp_path, change)[0]["importance"]
    assert values(rows) == [
        ["cnn-4", "2", "−0.1", "4", "0.003", "1 of 2"],
        ["cnn-25", "2", "0.02", "4", "0.003", "2 of 2"],
    ]


def test_importance_where_nothing_matches(tmp_path):
    def change(frames):
        return {"importance": frames["importance"].assign(**{"class": ""})}

    rows = made(study(), cells_of({"cnn-4": [0.1]}), tmp_path, change)[0]["importance"]
    assert values(rows) == [["cnn-4", "0", "", "6", "0.0045", "0 of 0"]]


def test_firing(whole):
    rows = whole[0]["firing"]
    # Filters 0 and 3 of each trial: precision 0.80 and 0.83, chance 0.05, recall 0.4.
    numbers = ["6", "0.815", "0.050", "0.400", "1.5", "0.5"]
    assert values(rows) == [["cnn-4", *numbers], ["cnn-25", *numbers]]
    assert list(rows[0]) == [
        "Architecture", "Filters", "Precision", "Chance", "Recall", "Distance (bp)",
        "sd of the distance (bp)",
    ]  # fmt: skip


def test_filters_that_never_fire_are_left_out(tmp_path):
    def change(frames):
        frame = frames["firing"]
        never = frame["filter"] == "filter3"
        return {"firing": frame.assign(precision=frame.precision.mask(never))}

    rows = made(study(), cells_of({"cnn-4": [0.1]}), tmp_path, change)[0]["firing"]
    assert values(rows) == [["cnn-4", "1", "0.800", "0.050", "0.400", "1.5", "0.5"]]


def nothing(cells):
    """Cells without an analysis, because the study excludes it or it failed."""
    empty = analysis_of({}, 0, 0)
    none = {name: frame.iloc[:0] for name, frame in empty.items()}
    return {name: files._replace(analysis=none) for name, files in cells.items()}


def test_what_was_not_computed_has_no_rows(tmp_path):
    of = Study.model_validate({**study().resolved(), "analysis": "none"})
    rows, charts = made(of, nothing(cells_of({"cnn-4": [0.1]})), tmp_path)
    for name in ("sensitivity", "importance", "firing"):
        assert rows[name] == []
    assert charts == ["synthetic-coverage"]


def test_without_known_motifs_nothing_is_said_of_classes(tmp_path):
    own = {"kind": "file", "path": "x.h5", "length": 200, "classes": {"A": [], "B": []}}
    of = Study.model_validate({**study(trials=3).resolved(), "datasets": {"synthetic": own}})
    cells = cells_of({"cnn-4": [0.0, 0.0, 0.0], "cnn-25": [0.0, 0.0, 0.0]})
    rows, charts = made(of, cells, tmp_path)
    assert rows["coverage"] == []
    assert list(rows["sensitivity"][0]) == ["Setting", "Value", "Any match"]
    assert [row["Measure"] for row in rows["paired"]] == ["AUROC", "Any match"]
    assert "synthetic-paired" in charts and "synthetic-coverage" not in charts
    assert {row["Learned"] for row in rows["prediction"]} == {""}
    assert {row["Right"] for row in rows["prediction"]} == {"", "no result yet"}


def test_prediction(tmp_path):
    shares = {"cnn-4": [0.6], "cnn-25": [0.9]}
    rows = made(study(trials=1), cells_of(shares), tmp_path)[0]["prediction"]
    none = ["", "no result yet", ""]
    assert values(rows) == [
        ["cnn-1", "conv1", "parts", *none, "19 bp", "1 bp", "parts", ""],
        ["cnn-1", "conv2", "whole", *none, "23 bp", "no later convolution", "whole", ""],
        ["cnn-4", "conv1", "parts", "whole", "no", "0.600", "19 bp", "4 bp", "parts", "no"],
        ["cnn-25", "conv1", "whole", "whole", "yes", "0.900", "19 bp", "25 bp", "whole", "yes"],
    ]
    assert list(rows[0])[2:] == [
        "Rule says", "Learned", "Right", "Ground-truth match", "Receptive field",
        "Places uncertain by", "Pool alone says", "Right by pool",
    ]  # fmt: skip


def test_nothing_finished_leaves_the_rule_alone(tmp_path):
    rows, charts = made(study(), {}, tmp_path)
    assert [name for name, table in rows.items() if table is not None] == ["prediction"]
    assert not charts


def test_two_architectures_with_one_label_stay_two(tmp_path):
    of = study(labels={"cnn-4": "CNN", "cnn-25": "CNN"})
    rows = made(of, cells_of(TWO), tmp_path)[0]
    assert [row["Architecture"] for row in rows["null"]] == ["cnn-4", "cnn-25"]
    assert rows["sensitivity"][0]["Layers at 0.5 or more"] == "0 of 2"


def test_an_architecture_with_several_layers_names_them(tmp_path):
    rows = made(study(), cells_of({"cnn-1": [0.1]}), tmp_path)[0]
    assert [row["Architecture"] for row in rows["null"]] == ["cnn-1 conv1"]


def test_rows_are_in_the_order_of_the_study(tmp_path):
    of = study(trials=2)
    cells = dict(reversed(cells_of({"cnn-4": [0.1, 0.2], "cnn-25": [0.9]}).items()))
    results = tables.results((files.metrics for files in cells.values()), of)
    frames = topics.frames(of, cells, results, tables.table1(results, of))
    for name in ("sensitivity", "importance", "firing"):
        frame = frames[name][["model", "trial"]].drop_duplicates()
        assert [*map(tuple, frame.values)] == [("cnn-4", 1), ("cnn-4", 2), ("cnn-25", 1)]


def test_the_value_of_a_built_in_study_is_framed():
    own = analysis.own_values(load("koo2019-synthetic"))
    assert [own[setting] for setting in topics.SETTINGS] == ["0.5", "0.5", "0.1", "JASPAR2016"]


def test_frames_without_cells_have_their_columns():
    of = study()
    results = tables.results([], of)
    frames = topics.frames(of, {}, results, tables.table1(results, of))
    assert isinstance(frames["firing"], pd.DataFrame) and "recall" in frames["firing"].columns
