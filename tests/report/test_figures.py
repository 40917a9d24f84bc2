"""Figures: letter heights by hand, and files that hold what they should."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from helpers.studies import check_png, frame, study
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from motifk8s.motifs import logos
from motifk8s.motifs.logos import logo_grid
from motifk8s.motifs.motif import Motif
from motifk8s.report import charts, figures, tables
from motifk8s.report.words import label, listed


def ppms(n, width=19, seed=0):
    return np.random.default_rng(seed).dirichlet([0.2] * 4, size=(n, width)).astype(np.float32)


def test_letter_heights_by_hand():
    ppm = np.array(
        [[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0], [0.5, 0.25, 0.25, 0], [0] * 4]
    )
    expected = [[2, 0, 0, 0], [0] * 4, [0.5, 0.5, 0, 0], [0.25, 0.125, 0.125, 0], [0] * 4]
    assert logos.letter_heights(ppm) == pytest.approx(np.array(expected))


@settings(max_examples=50)
@given(arrays(float, (5, 4), elements=st.integers(0, 128).map(lambda n: n / 64)))
def test_letters_are_stacked_without_gap_smallest_first(heights):
    floors = logos.stacked(heights)
    for column, floor in zip(heights, floors, strict=True):
        at, below = 0.0, 0.0
        for base in sorted(range(4), key=lambda i: (floor[i], column[i])):
            assert floor[base] == at  # sixty-fourths add exactly
            assert column[base] >= below
            at, below = at + column[base], column[base]


def test_outlines_are_as_high_as_their_letters():
    sheet = logos.Sheet(4, 4)
    sheet.logo(np.array([[1, 0, 0, 0], [0, 0.5, 0.5, 0], [0.25] * 4]), x=1, y=3, width=1.5)
    assert sheet.colours == [logos.COLOURS[0], logos.COLOURS[1], logos.COLOURS[2]]
    a, c, g = (outline.get_extents() for outline in sheet.outlines)
    assert a.height == pytest.approx(logos.LOGO)  # 2 bits
    assert a.y1 == pytest.approx(3) and 1 < a.x0 < a.x1 < 1.5
    assert c.height == pytest.approx(logos.LOGO / 4) == g.height  # half of 1 bit
    assert c.y1 == pytest.approx(3) and g.y1 == pytest.approx(c.y0)  # y runs down the page


def test_logo_grid_names_numbers_and_dead_filters(tmp_path):
    dead = np.array([False, True, False, False])
    paths = [tmp_path / "g.png", tmp_path / "g.svg"]
    labels = ["SRF", "", "", "ABCDEFGHIJ"]
    logo_grid(ppms(4), labels, paths, "A $title$ <&>", dead)
    check_png(paths[0])
    svg = paths[1].read_text()
    for words in (">SRF<", ">dead<", ">ABCDEF…<", ">3<", "A $title$ &lt;&amp;&gt;"):
        assert words in svg
    assert svg.count(">dead<") == 1
    assert "ABCDEFGHIJ" not in svg


def test_same_figure_same_bytes(tmp_path):
    digests = set()
    for name in "ab":
        for suffix in ("png", "svg"):
            path = tmp_path / f"{name}.{suffix}"
            logo_grid(ppms(3), [""] * 3, path)
            digests.add((suffix, hashlib.sha256(path.read_bytes()).hexdigest()))
    assert len(digests) == 2


def test_no_letter_is_drawn_for_what_tells_nothing(tmp_path):
    flat, empty = np.full((19, 4), 0.25), np.zeros((19, 4))
    sheet = logos.Sheet(2, 2)
    sheet.logo(flat, 0, 1, 1)
    sheet.logo(empty, 0, 1, 1)
    assert not sheet.outlines


@pytest.mark.parametrize("models", [1, 3])
def test_paper_figure_has_models_and_motifs(tmp_path, models):
    panels = [
        logos.Panel(f"CNN-{i}", ppms(5, seed=i), ["YY1", "", "", "", ""], np.zeros(5, bool))
        for i in range(models)
    ]
    truth = {"SRF": Motif("MA0083.3", ppms(1, 16)[0]), "YY1": Motif("MA0095.2", ppms(1, 12)[0])}
    paths = [tmp_path / "p.png", tmp_path / "p.svg"]
    figures.paper_figure(panels, truth, paths, "Filters")
    check_png(paths[0])
    svg = paths[1].read_text()
    assert svg.count(">YY1<") == models + 1 and svg.count(">SRF<") == 1
    assert ">CNN-0<" in svg


def test_paper_figure_without_motifs(tmp_path):
    panel = logos.Panel("CNN", ppms(2), ["", ""], np.zeros(2, bool))
    figures.paper_figure([panel], {}, tmp_path / "p.svg")
    assert "reverse complement" not in (tmp_path / "p.svg").read_text()


def test_fractions_plot(tmp_path):
    bound = {"models": ["cnn-1", "cnn-4"], "kind": "at-most", "mean": 0.127, "sd": 0.08}
    exact = {"models": ["cnn-25"], "kind": "exact", "mean": 0.98, "sd": 0.027}
    made = study([bound, exact], labels={"cnn-25": "CNN-25 $x$"})
    table = tables.table1(frame(made, {"cnn-25": [0.9, 1.0], "cnn-4": [0.1]}), made)
    paths = [tmp_path / "f.png", tmp_path / "f.svg"]
    charts.fractions_plot(table, made, "synthetic", paths)
    check_png(paths[0], dark=0.001)
    svg = paths[1].read_text()
    for words in ("CNN-25 $x$", "cnn-1, conv2", "no result yet", "published bound", "ground-truth"):
        assert words in svg


@pytest.mark.parametrize("measure", ["loss", "auroc"])
def test_history_plot(tmp_path, measure):
    epochs = np.arange(1, 6)
    history = pd.DataFrame(
        {"epoch": epochs, "loss": 1 / epochs, "val_loss": 2 / epochs, "val_auroc": epochs / 6}
    )
    paths = [tmp_path / "h.png", tmp_path / "h.svg"]
    models = {f"CNN-{i}": {1: history, 2: history} for i in range(5)}
    charts.history_plot(models, paths, measure)
    check_png(paths[0], dark=0.001)
    svg = paths[1].read_text()
    assert ">CNN-4<" in svg
    assert (">training<" in svg) == (measure == "loss")


def test_pyplot_is_not_used(tmp_path):
    import matplotlib.pyplot as plt

    logo_grid(ppms(1), [""], tmp_path / "g.png")
    assert plt.get_fignums() == []


def test_words_of_a_model_and_a_list():
    made = study(labels={"cnn-25": "CNN-25"})
    assert label(made, "cnn-25") == "CNN-25"
    assert label(made, "cnn-4") == "cnn-4"
    assert [listed(list("abc")[:n]) for n in range(4)] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
