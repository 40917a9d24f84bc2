"""The paper's tables and figures by name: what is made, what is missing and why, Fig 1's claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.studies import metrics
from PIL import Image

from motifk8s.cells.finished import CellFiles
from motifk8s.data import datasets, deepsea, stored
from motifk8s.errors import InputError
from motifk8s.filters.extract import Filters
from motifk8s.report import fig1, figures, paper
from motifk8s.store.folder import FolderStore
from motifk8s.study.specs import FigureSpec
from motifk8s.study.study import Study, load

SYNTHETIC = ["table1", "fig1", "fig2", "fig3", "s1-fig", "deeper-layers"]


LABELS = {
    "filter0": {"target": "MA0083.3", "evalue": 1e-8, "class": "SRF"},
    "filter2": {"target": "MA0615.1", "evalue": 0.008, "class": ""},
    "filter3": {"target": "MA0083.3", "evalue": 1e-9, "class": "SRF"},
}
HISTORY = pd.DataFrame(
    {"epoch": [1, 2], "loss": [1, 0.5], "val_loss": [1, 0.7], "val_auroc": [0.6, 0.9]}
)


def filters(n: int = 5) -> Filters:
    ppm = np.random.default_rng(n).dirichlet([0.2] * 4, size=(n, 19)).astype(np.float32)
    return Filters(ppm, np.ones(n, int), np.ones(n), "observed", np.arange(n) == 4)


def cells(*names: str, layers: tuple[int, ...] = (5,)) -> dict[str, CellFiles]:
    """Made-up finished cells such as cnn-2/1, with so many filters in their layers."""
    made = {}
    for name in names:
        model, trial = name.split("/")
        found = {f"conv{i}": filters(n) for i, n in enumerate(layers, 1)}
        values = metrics(model, int(trial), labels=LABELS)
        values["layers"] = dict.fromkeys(found, values["layers"]["conv1"])
        made[f"synthetic/{name}"] = CellFiles(values, HISTORY, found, {}, {})
    return made


@pytest.fixture
def have(monkeypatch):
    """Say which cells are finished."""

    def set_to(found: dict[str, CellFiles]) -> None:
        monkeypatch.setattr(paper, "read_finished", lambda study, store: (found, {}))

    return set_to


def svg(path: Path) -> str:
    return path.read_text(encoding="utf-8")


# --- names


def test_names_are_those_that_a_study_has():
    assert paper.names(load("koo2019-synthetic")) == SYNTHETIC
    assert paper.names(load("koo2019")) == [
        "table1", "table2", "s1-table", "fig1", "fig2", "fig3", "fig4", "s1-fig", "s2-fig",
        "deeper-layers",
    ]  # fmt: skip
    assert paper.names(load("demo")) == ["table1", "fig1", "fig2"]
    assert paper.names(load("smoke")) == ["fig1"]


def test_unknown_names_are_refused_before_anything_is_made(here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = here("paper", "demo", "fig1", "fig3")
    assert (code, out) == (2, "")
    assert err == (
        "motifk8s: study demo has no table or figure 'fig3'; it has table1, fig1, fig2\n"
    )
    code, _, err = here("paper", "fig9")  # of the paper's own study
    assert code == 2 and "study koo2019 has no table or figure 'fig9'; it has table1, " in err
    code, _, err = here("paper", "no-such.yaml")
    assert code == 2 and "no-such.yaml: no such file" in err
    assert not list(tmp_path.iterdir())


def test_a_study_in_the_store_is_found_by_its_name(here, tiny, tmp_path):
    study = json.loads(tiny.read_text())
    study["figures"] = {"mine": {"dataset": "small", "panels": ["a"]}}
    store = tmp_path / "store"
    for name in ("tiny", "fig1"):  # the second one has the name of a figure of the paper
        tiny.write_text(json.dumps({**study, "name": name}))
        assert here("plan", tiny, "--store", store, "--outputs", tmp_path / name)[0] == 0
    tiny.unlink()
    for line in (["tiny", "mine"], ["fig1"]):
        out = tmp_path / f"out-{line[-1]}"
        code, out_text, err = here("paper", *line, "--store", store, "--out", out)
        assert (code, err) == (0, "")
        assert out_text.splitlines() == [f"{out}/{line[-1]}.{kind}" for kind in ("png", "svg")]


def test_a_partial_store(here, have, tmp_path):
    have(cells("cnn-2/2", "cnn-2/1", "cnn-25/1") | cells("cnn-1/1", layers=(5, 6)))
    out = tmp_path / "out"
    code, out_text, err = here("paper", "koo2019-synthetic", "--store", tmp_path, "--out", out)
    assert code == 3
    assert out_text.splitlines() == [
        f"{out}/{name}"
        for name in (
            "table1.csv", "table1.html", "table1.md", "fig1.png", "fig1.svg", "fig2.png",
            "fig2.svg", "s1-fig.png", "s1-fig.svg",
        )
    ]  # fmt: skip
    assert sorted(p.name for p in out.iterdir()) == sorted(Path(p).name for p in out_text.split())
    assert err.splitlines() == [
        "motifk8s: table1: partial, because 4 of 90 cells are finished",
        "motifk8s: fig2: partial, because no cell of CNN-4 on synthetic is finished",
        "motifk8s: fig3: not made, because no cell of CNN9-4, CNN9-25, CNN-50-2 and CNN19-1-2 on "
        "synthetic is finished",
        "motifk8s: deeper-layers: not made, because no cell of CNN-1-1-100 on synthetic is "
        "finished",
    ]


def test_an_empty_store(here, tmp_path):
    code, out_text, err = here(
        "paper", "koo2019", "table2", "fig4", "s1-table", "--store", tmp_path / "no", "--out",
        tmp_path / "out",
    )  # fmt: skip
    assert code == 3
    assert [Path(path).name for path in out_text.split()] == ["s1-table.csv", "s1-table.md"]
    assert err.splitlines()[:2] == [
        "motifk8s: table2: not made, because no cell of data set invivo is finished",
        "motifk8s: fig4: not made, because no cell of CNN-2, CNN-4 and CNN-25 on invivo is "
        "finished",
    ]
    assert "s1-table: without counts of our own, because data set invivo is not in the" in err


def test_a_whole_study_leaves_nothing_to_say(here, tiny, tmp_path):
    figure = {"dataset": "small", "panels": ["a", "b/conv2"]}
    study = json.loads(tiny.read_text()) | {"figures": {"mine": figure}}
    tiny.write_text(json.dumps(study))
    out = tmp_path / "out"
    code, out_text, err = here("paper", tiny, "--store", tmp_path / "store", "--out", out)
    assert (code, err) == (0, "")
    names = [Path(path).name for path in out_text.split()]
    assert names == ["fig1.png", "fig1.svg", "mine.png", "mine.svg"]
    assert ">b, conv2, trial 1<" in svg(out / "mine.svg")


def test_a_folder_that_cannot_be_written(here, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = here("paper", "demo", "fig1", "--out", tmp_path / "file")
    assert code == 2 and "is a file" in err


# --- tables


def test_table_1_has_every_architecture_and_layer_beside_the_paper(have, tmp_path):
    study = load("koo2019-synthetic")
    have(cells("cnn-25/1"))
    paper.make(study, FolderStore(tmp_path), ["table1"], tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "table1.csv")
    assert list(dict.fromkeys(table.label)) == [model.label for model in study.models.values()]
    layers = {m: spec.layers_before_pooling() for m, spec in study.models.items()}
    assert list(zip(table.model, table.layer, strict=True)) == [
        (model, layer) for model in layers for layer in layers[model]
    ]
    row = table[table.model == "cnn-25"].iloc[0]
    assert (row.match_truth_mean, row.published_match_truth_mean) == (0.5, 0.98)
    page = (tmp_path / "out" / "table1.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and 'charset="utf-8"' in page
    assert "0.980 ± 0.027" in page and page.count("<h1>") == 1
    text = (tmp_path / "out" / "table1.md").read_text(encoding="utf-8")
    assert text.startswith("# Table 1. ") and "| CNN-1-1-100 | conv3 | 0 of 5 |" in text


def test_notes_are_of_the_table_alone(have, tmp_path):
    files = cells("cnn-1/1", layers=(5, 6))["synthetic/cnn-1/1"]
    metrics = {**files.metrics, "dataset": "invivo", "cell": "invivo/cnn-1/1"}
    have({"invivo/cnn-1/1": files._replace(metrics=metrics)})
    made = paper.make(load("koo2019"), FolderStore(tmp_path), ["table2"], tmp_path / "out")
    assert made.lacking == ["table2: partial, because 1 of 90 cells are finished"]
    text = (tmp_path / "out" / "table2.md").read_text(encoding="utf-8")
    assert "Data set invivo" in text and "synthetic" not in text and "0.625 ± 0.030" in text


def test_s1_table_as_published():
    table = paper.s1_table(load("koo2019"), {})
    assert list(table["index"]) == list(range(12))
    assert dict(zip(table.column, table.published_training_sequences, strict=True)) == (
        deepsea.POSITIVES
    )
    row = table[table.tf == "STAT1"].iloc[0]
    assert (row.cell_type, row.track, row.column) == ("K562", "K562 STAT1, IFNa30", 661)
    assert row.published_training_sequences == 4516
    assert table.training_sequences.isna().all()
    assert set(table.encode_file) == {paper.ABSENT}


def test_s1_table_counts_the_training_part_of_the_data_set(tmp_path):
    classes = {"SRF": {"column": 361, "track": "K562 SRF", "motifs": []},
               "mine": {"column": 0, "motifs": []}}  # fmt: skip
    study = Study.model_validate(
        {
            "name": "s",
            "datasets": {"invivo": {"kind": "deepsea", "length": 20, "classes": classes}},
            "models": {"m": {"conv": [{"filters": 2, "width": 3}]}},
        }
    )
    train = [[1, 0], [1, 1], [1, -1], [0, 1], [0, 0]]
    labels = np.array([*train, [1, 1], [0, 1], [1, 0]], np.int8)
    split = np.array([0, 0, 0, 0, 0, 1, 2, 2], np.uint8)
    made = datasets.Dataset(np.zeros((8, 20), np.uint8), labels, split, ("SRF", "mine"))
    file, store = tmp_path / "data.h5", FolderStore(tmp_path / "store")
    datasets.write(made, file, {})
    stored.publish(study, "invivo", store, file, datasets.describe(made))
    found = paper.make(study, store, ["s1-table"], tmp_path / "out")
    assert found.lacking == []
    table = pd.read_csv(tmp_path / "out" / "s1-table.csv")
    assert list(table.training_sequences) == [3, 2]
    text = (tmp_path / "out" / "s1-table.md").read_text(encoding="utf-8")
    assert "| 0 | SRF | K562 | K562 SRF | 361 | 3 | 7,528 |" in text
    assert "| 1 | mine |  |  | 0 | 2 |  |" in text


# --- figures of filters


def test_a_panel_without_a_result_says_so(tmp_path):
    study = load("koo2019-synthetic")
    path = tmp_path / "fig2.svg"
    found = cells("cnn-2/3", "cnn-2/2", "cnn-25/1")
    panels = figures.draw_figure(study, study.figures["fig2"], found, [path])
    assert [(panel.title, panel.note) for panel in panels] == [
        ("CNN-2, trial 2", ""), ("CNN-4", "no result yet"), ("CNN-25, trial 1", ""),
    ]  # fmt: skip
    text = svg(path)
    assert text.count(">no result yet<") == 1 and ">CNN-4<" in text
    assert text.count(">SRF<") == 2 * 2 + 1  # two filters of each model, and the motif itself
    nothing = tmp_path / "fig3.svg"
    assert all(p.note for p in figures.draw_figure(study, study.figures["fig3"], {}, [nothing]))
    assert not nothing.exists()


def test_the_report_draws_the_figures_of_its_study(tmp_path):
    from motifk8s.report import tables

    study = load("koo2019-synthetic")
    found = cells("cnn-2/1", "cnn-25/1")
    results = tables.results((files.metrics for files in found.values()), study)
    table = tables.table1(results, study)
    drawn = figures.draw(study, table, found, tmp_path)["synthetic"]
    names = [picture.files[0].stem for picture in drawn]
    assert names == ["synthetic-fractions", "fig2", "synthetic-loss", "synthetic-auroc"]
    assert drawn[1].caption.startswith("Fig 2. ") and "CNN-25, trial 1" in drawn[1].caption
    # A grid that has none of the figures: chosen as for a study without figures.
    other = Study.model_validate({**study.resolved(), "grid": {"synthetic": ["cnn-2", "cnn-25"]}})
    drawn = figures.draw(other, table, found, tmp_path)["synthetic"]
    assert drawn[1].files[0].name == "synthetic-logos.png"
    assert len(drawn[1].files) == 2 and drawn[1].files[1].exists()


@pytest.mark.parametrize(
    ("sizes", "lines"),
    [
        ([30], [{0: 6}]),
        ([30, 30, 30], [{0: 2, 1: 2, 2: 2}]),  # Fig 2
        ([30, 30, 30, 30], [{0: 3, 1: 3}, {2: 3, 3: 3}]),  # Fig 3
        ([30, 128], [{0: 2, 1: 6}]),  # S1 Fig
        ([30, 128, 128], [{0: 2, 1: 6}, {2: 8}]),
        ([60, 60, 60], [{0: 2, 1: 2, 2: 2}]),
        ([300], [{0: 8}]),
        ([1, 1], [{0: 1, 1: 1}]),
    ],
)
def test_columns_by_panel(sizes: list[int], lines: list[dict[int, int]]):
    assert figures.arranged(sizes) == lines


def test_a_layer_of_128_beside_one_of_30_is_large_enough_for_print(tmp_path):
    study, found = load("koo2019-synthetic"), cells("cnn-1/1", layers=(30, 128))
    paths = figures.both(tmp_path, "s1-fig")
    figures.draw_figure(study, study.figures["s1-fig"], found, paths)
    with Image.open(paths[0]) as image:
        width, height = (n / 200 for n in image.size)  # in
    assert width == 7.5 and height < 14
    text = svg(paths[1])
    assert text.count(">127<") == 1 and text.count(">29<") == 2
    again = [tmp_path / "again.svg"]
    figures.draw_figure(study, study.figures["s1-fig"], found, again)
    assert again[0].read_bytes() == paths[1].read_bytes()


def test_figures_are_validated_by_themselves():
    figure = FigureSpec(dataset="d", panels=["a", "b/conv12"])
    assert figure.layers() == [("a", "conv1"), ("b", "conv12")]
    with pytest.raises(InputError, match="has no table or figure"):
        paper.make(load("smoke"), FolderStore("unused"), ["table1"], Path("unused"))


# --- Fig 1


@pytest.fixture(scope="module")
def scans(keras: Any) -> dict[str, fig1.Scan]:
    return {half: fig1.compute(pool) for half, pool in fig1.POOLS.items()}


def places(letters: str) -> list[int]:
    return [i for i in range(60) if fig1.SEQUENCE.startswith(letters, i)]


def test_the_sequence_holds_the_patterns_and_no_other_part_of_them():
    assert len(fig1.SEQUENCE) == 60
    for pattern, start in fig1.PATTERNS.items():
        there = fig1.SEQUENCE[start : start + len(pattern)]
        assert all(a == b or a == "N" for a, b in zip(pattern, there, strict=True))
        assert start // 20 == (start + len(pattern) - 1) // 20
    assert places("GTG") == [10, 27, 52] and places("CAC") == [7, 30, 46]


def test_with_small_pools_the_second_layer_tells_the_patterns_apart(scans):
    scan = scans["A"]
    signatures = {scan.signatures[:, :, i].tobytes() for i in range(3)}
    assert len(signatures) == 3
    # Each second-layer filter is on once, at its own pattern.
    assert [np.flatnonzero(on).tolist() for on in scan.second.T] == [[2], [9], [16]]
    for i, (pattern, start) in enumerate(fig1.PATTERNS.items()):
        [at] = np.flatnonzero(scan.second[:, i])
        assert start <= 3 * at + 1 < start + len(pattern)
    # By hand: an activation lies at the middle of its three letters.
    for i, letters in enumerate(fig1.FILTERS):
        expected = [(place + 1) // 3 for place in places(letters)]
        assert np.flatnonzero(scan.pooled[:, i]).tolist() == expected


def test_with_large_pools_it_cannot(scans):
    scan = scans["B"]
    signatures = {scan.signatures[:, :, i].tobytes() for i in range(3)}
    assert len(signatures) == 1
    assert scan.second.shape == (3, 3) and (scan.second == 1).all()
    assert (scan.pooled == 1).all()


def test_fig_1_is_drawn_the_same_each_time(scans, tmp_path):
    paths = figures.both(tmp_path, "fig1")
    fig1.draw(scans, paths)
    text = svg(paths[1])
    assert "max-pooling with a window of 20" in text and text.count(">CACNNNGTG<") == 2
    assert "9 nt and 26 nt wide" in " ".join(text.split()) and "sequence is our own" in text
    fig1.draw(scans, [tmp_path / "again.svg"])
    assert (tmp_path / "again.svg").read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as image:
        assert image.width == 1500
