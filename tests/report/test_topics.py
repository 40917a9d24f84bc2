"""What is said beyond the paper: every sentence by hand, and none that the numbers do not bear."""

import pandas as pd
import pytest
from helpers.studies import asked, cell_files, study

from motifk8s.filters import analysis
from motifk8s.report import tables, topics
from motifk8s.study.study import Study, load


def told(of, cells, folder, change=None):
    """The sentences by topic, and the names of the charts."""
    results = tables.results((files.metrics for files in cells.values()), of)
    made = topics.frames(of, cells, results, tables.table1(results, of))
    made |= change(made) if change else {}
    found = topics.topics(of, results, made, folder)
    assert {topic.name for topic in found} == set(topics.SAY)
    said = {topic.name: " ".join(sum(topic.said.values(), [])) for topic in found}
    return said, sorted(path.stem for path in folder.glob("*.png"))


def cells_of(shares):
    return {
        f"synthetic/{model}/{trial}": cell_files(model, trial, share)
        for model, of in shares.items()
        for trial, share in enumerate(of, 1)
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three trials of two architectures: what is said of them, and their charts."""
    shares = {"cnn-4": [0.1, 0.15, 0.2], "cnn-25": [0.9, 1.0, 0.95]}
    return told(study(trials=3), cells_of(shares), tmp_path_factory.mktemp("beyond"))


def test_every_chart_is_drawn(whole):
    charts = ["coverage", "firing", "importance", "paired", "sensitivity-database",
              "sensitivity-threshold", "sensitivity-trim_bits"]  # fmt: skip
    assert whole[1] == [f"synthetic-{name}" for name in charts]


def test_null(tmp_path):
    cells = cells_of({"cnn-4": [0.1], "cnn-25": [0.9]})
    for cell, null in zip(cells.values(), (2 / 6, 0), strict=True):
        cell.metrics["layers"]["conv1"] |= {"match_any": 4 / 6, "match_null": null}
    text = told(study(), cells, tmp_path)[0]["null"]
    assert text == (
        "2 of 8 filters with a match (0.250) match only what a flat motif matches too. Their share "
        "is largest in cnn-4: without them its any match is 0.333 in place of 0.667."
    )
    for cell in cells.values():
        cell.metrics["layers"]["conv1"]["match_null"] = 0
    assert told(study(), cells, tmp_path)[0]["null"].startswith("None of the 8 filters")
    for cell in cells.values():
        cell.metrics["layers"]["conv1"]["match_any"] = 0
    assert told(study(), cells, tmp_path)[0]["null"] == "No filter matches anything."


def test_coverage(tmp_path):
    classes = {"SRF": ["MA0083.3"], "YY1": ["MA0095.2"]}
    of = Study.model_validate(
        {**study().resolved(), "datasets": {"synthetic": {"kind": "synthetic", "classes": classes}}}
    )
    cells = cells_of({"cnn-4": [0.1], "cnn-25": [0.9]})
    cells["synthetic/cnn-4/1"].metrics["layers"]["conv1"]["labels"] = {}
    text = told(of, cells, tmp_path)[0]["coverage"]
    assert text == (
        "Of 2 classes cnn-25 finds the most, 1.0 in the mean trial; cnn-4 the fewest, 0.0. A class "
        "that is found has 2.0 filters. No layer has a filter for YY1."
    )


def test_paired_tests_tell_what_they_cannot(whole):
    text = whole[0]["paired"]
    assert "1 of 1 in ground-truth match, 0 of 1 in any match and 0 of 1 in AUROC" in text
    assert "With 3 trials the exact test of signs cannot give less than 0.25" in text


def test_differences_without_variance_have_no_p(tmp_path):
    cells = cells_of({"cnn-4": [0.25] * 3, "cnn-25": [0.75] * 3})
    text = told(study(trials=3), cells, tmp_path)[0]["paired"]
    assert "0 of 1 in ground-truth match" in text
    assert "exact test" not in text
    assert "Without a p are 1 comparison, in which all trials differ by the same." in text


@pytest.mark.parametrize(
    ("trials", "why"), [(1, "the study has 1"), (5, "no two have as many in common")]
)
def test_no_tests_without_trials(tmp_path, trials, why):
    said, charts = told(study(trials=trials), cells_of({"cnn-4": [0.1], "cnn-25": [1]}), tmp_path)
    assert said["paired"] == f"No tests: they need 3 trials of two architectures, and {why}."
    assert "synthetic-paired" not in charts


def test_sensitivity(whole):
    text = whole[0]["sensitivity"]
    assert (
        "Threshold (0.3, 0.5): averaged over layers, ground-truth match is 0.220 to 0.550 and any "
        "match is 0.625. cnn-25 moves most, 0.380 to 0.950. cnn-25 lies above 0.5 with some values "
        "and below with others." in text
    )
    assert "JASPAR release (2016, 2020)" in text and "Trimming (none, 0.5)" in text


def test_a_single_layer_is_not_averaged(tmp_path):
    text = told(study(), cells_of({"cnn-4": [0.1]}), tmp_path)[0]["sensitivity"]
    assert "in cnn-4, ground-truth match is 0.040 to 0.100" in text and "moves" not in text
    assert "No layer changes sides of 0.5." in text


def test_importance(whole):
    assert whole[0]["importance"] == (
        "Silencing a filter that matches a class raises the loss by more than silencing another "
        "one (medians) in 2 of 2 layers that have both; in cnn-4 0.02 nats against 0.003. It "
        "hurts most the very class that the filter matches in 12 of 12 filters that match one "
        "(1.000)."
    )


def test_importance_that_contradicts_is_told(tmp_path):
    def change(made):
        frame = made["importance"]
        worse = (frame["class"] != "") & (frame.model == "cnn-4")
        return {"importance": frame.assign(loss_increase=frame.loss_increase.mask(worse, -0.1))}

    cells = cells_of({"cnn-4": [0.1], "cnn-25": [1]})
    text = told(study(), cells, tmp_path, change)[0]["importance"]
    assert "in 1 of 2 layers that have both" in text and "Not in cnn-4." in text


def test_importance_where_nothing_matches(tmp_path):
    def change(made):
        return {"importance": made["importance"].assign(**{"class": ""})}

    text = told(study(), cells_of({"cnn-4": [0.1]}), tmp_path, change)[0]["importance"]
    assert text.startswith("No filter matches a class. Silencing one raises the loss by 0.0045")


def test_firing(whole):
    text = whole[0]["firing"]
    assert "0.815 are on a motif of that class in the mean over filters, 0.050 by chance" in text
    assert "They fire at 0.400 of these motifs" in text
    assert "Their middle lies 1.5 bp from the motif's" in text


def nothing(cells):
    """Cells whose analysis was not asked for, or could not be made."""
    empty = asked({}, 0, 0)
    none = {name: frame.iloc[:0] for name, frame in empty.items()}
    return {name: files._replace(analysis=none) for name, files in cells.items()}


def test_what_was_not_asked_is_said(tmp_path):
    of = Study.model_validate({**study().resolved(), "analysis": "none"})
    said, charts = told(of, nothing(cells_of({"cnn-4": [0.1]})), tmp_path)
    for name in ("sensitivity", "importance", "firing"):
        assert said[name].startswith("Not asked: ")
    assert charts == ["synthetic-coverage"]


def test_without_embedded_motifs_firing_cannot_be_told(tmp_path):
    said, _ = told(study(), nothing(cells_of({"cnn-4": [0.5]})), tmp_path)
    assert said["firing"].startswith("It is not known where the motifs lie")
    said, _ = told(study(), nothing(cells_of({"cnn-4": [0.0]})), tmp_path)
    assert said["firing"] == "No filter matches a class, so none can be asked."


def test_without_known_motifs_nothing_is_said_of_classes(tmp_path):
    own = {"kind": "file", "path": "x.h5", "length": 200, "classes": {"A": [], "B": []}}
    of = Study.model_validate({**study(trials=3).resolved(), "datasets": {"synthetic": own}})
    cells = cells_of({"cnn-4": [0.0, 0.0, 0.0], "cnn-25": [0.0, 0.0, 0.0]})
    said, charts = told(of, cells, tmp_path)
    assert said["coverage"] == "No motif of the classes is known, so none can be found."
    assert "match is" in said["sensitivity"]
    for text in (said["sensitivity"], said["paired"]):
        assert "relevant" not in text and "any match" in text
    assert "synthetic-paired" in charts and "synthetic-coverage" not in charts
    assert said["prediction"].startswith(
        "Nothing to set the rule beside: no motif of the classes is known."
    )


def test_prediction(tmp_path):
    said, _ = told(study(trials=1), cells_of({"cnn-4": [0.6], "cnn-25": [0.9]}), tmp_path)
    assert said["prediction"] == (
        "The rule is right in 1 of 2 layers; wrong in cnn-4 (parts, 0.600). Without a result yet: "
        "2 layers."
    )


def test_nothing_finished_leaves_the_rule_alone(tmp_path):
    said, charts = told(study(), {}, tmp_path)
    assert [name for name, text in said.items() if text] == ["prediction"]
    assert not charts


def test_two_architectures_with_one_label_stay_two(tmp_path):
    of = study(labels={"cnn-4": "CNN", "cnn-25": "CNN"})
    text = told(of, cells_of({"cnn-4": [0.1], "cnn-25": [0.9]}), tmp_path)[0]["sensitivity"]
    assert "averaged over layers" in text and "cnn-25 moves most" in text


def test_rows_are_in_the_order_of_the_study(tmp_path):
    of = study(trials=2)
    cells = dict(reversed(cells_of({"cnn-4": [0.1, 0.2], "cnn-25": [0.9]}).items()))
    results = tables.results((files.metrics for files in cells.values()), of)
    made = topics.frames(of, cells, results, tables.table1(results, of))
    for name in ("sensitivity", "importance", "firing"):
        frame = made[name][["model", "trial"]].drop_duplicates()
        assert [*map(tuple, frame.values)] == [("cnn-4", 1), ("cnn-4", 2), ("cnn-25", 1)]


def test_many_names_are_cut():
    names = [f"m{i}" for i in range(9)]
    assert topics._few(names) == "m0, m1, m2, m3, m4, m5 and 3 more"
    assert topics._few(names[:7]) == "m0, m1, m2, m3, m4, m5 and m6"


def test_the_value_of_a_built_in_study_is_framed():
    own = analysis.own_values(load("koo2019-synthetic"))
    assert [own[setting] for setting in topics.SETTINGS] == ["0.5", "0.5", "0.1", "JASPAR2016"]


def test_frames_without_cells_have_their_columns():
    of = study()
    results = tables.results([], of)
    made = topics.frames(of, {}, results, tables.table1(results, of))
    assert isinstance(made["firing"], pd.DataFrame) and "recall" in made["firing"].columns
