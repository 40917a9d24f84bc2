"""Charts: numbers in their cells, legible; names whole and apart; the same bytes each time."""

import re

import numpy as np
import pandas as pd
import pytest
from helpers.studies import check_png
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps

from motifk8s.report import charts

BLUES = colormaps["Blues"]


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


@given(st.floats(0, 1))
def test_numbers_can_be_read_on_every_colour(x):
    behind = luminance(BLUES(x)[:3])
    on = 1.0 if charts.ink(BLUES(x)[:3]) == "white" else 0.0
    high, low = max(on, behind), min(on, behind)
    assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG, level AA


def test_light_and_dark():
    assert charts.ink((1, 1, 1)) == "black" and charts.ink((0, 0, 0.3)) == "white"


def draw(tmp_path, values, framed=None, marked=None, **more):
    paths = [tmp_path / "h.png", tmp_path / "h.svg"]
    values = np.asarray(values, float)
    rows = [f"row{i}" for i in range(len(values))]
    columns = [f"column{j}" for j in range(values.shape[1])]
    heat = charts.Map("A $title$", columns, values, framed, marked)
    style = charts.HeatStyle(axis="the axis", cell=0.5, **more)
    charts.heat_maps(rows, [heat], paths, style)
    check_png(paths[0], dark=0.001)
    return paths[1].read_text()


def test_every_number_stands_in_its_cell_and_nothing_where_there_is_none(tmp_path):
    svg = draw(tmp_path, [[0.125, 0.5], [np.nan, 1], [-0.25, -0.001]])
    words = re.findall(r">([^<>]*\d[^<>]*)</text>", svg)
    assert [w for w in words if re.fullmatch(r"−?\d\.\d\d", w)] == [
        "0.12", "0.50", "1.00", "−0.25", "0.00",
    ]  # fmt: skip
    assert "nan" not in svg.lower()
    for name in ("A $title$", "the axis", "row2", "column1"):
        assert f">{name}</text>" in svg


def test_the_study_s_own_value_is_framed_and_bold(tmp_path):
    plain, framed = (draw(tmp_path, [[0.1, 0.2]], framed=at) for at in (None, 1))
    assert re.search(r"font-weight: (?:bold|700)[^>]*>column1<", framed)
    assert not re.search(r"font-weight: (?:bold|700)[^>]*>column[01]<", plain)
    assert not re.search(r"font-weight: (?:bold|700)[^>]*>column0<", framed)


def test_marked_cells_are_bold(tmp_path):
    svg = draw(tmp_path, [[0.1, 0.2]], marked=np.array([[False, True]]))
    assert re.search(r"font-weight: (?:bold|700)[^>]*>0.20<", svg)
    assert not re.search(r"font-weight: (?:bold|700)[^>]*>0.10<", svg)


@pytest.mark.parametrize("slanted", [False, True])
def test_same_chart_same_bytes(tmp_path, slanted):
    assert draw(tmp_path, [[0.3]], slanted=slanted) == draw(tmp_path, [[0.3]], slanted=slanted)


def test_a_name_is_cut_where_it_would_leave_no_room(tmp_path):
    name = "x" * 200
    path = tmp_path / "h.svg"
    style = charts.HeatStyle(axis="", cell=0.5)
    charts.heat_maps([name], [charts.Map("", ["a"], np.eye(1))], path, style)
    assert name not in path.read_text() and "x" * 25 + "…" in path.read_text()
    assert charts.short("x" * 26) == "x" * 26


def importance():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "row": ["CNN-1 conv1"] * 50 + ["CNN-25"] * 30,
            "class": [""] * 50 + ["SRF"] * 20 + [""] * 10,
            "loss_increase": rng.normal(0.001, 0.01, 80),
        }
    )


def test_importance_has_a_row_for_each_layer(tmp_path):
    paths = [tmp_path / "i.png", tmp_path / "i.svg"]
    charts.importance_plot(importance(), paths)
    check_png(paths[0], dark=0.001)
    svg = paths[1].read_text()
    for words in ("CNN-1 conv1", "CNN-25", "matches a class", "does not", "median"):
        assert f">{words}</text>" in svg
    assert len(svg) < 100_000  # dots are pixels: there are thousands of them in a whole study
    charts.importance_plot(importance(), tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == svg


def test_importance_of_filters_that_do_nothing(tmp_path):
    frame = importance().assign(loss_increase=0.0)
    charts.importance_plot(frame, tmp_path / "i.png")
    check_png(tmp_path / "i.png", dark=0.001)


def test_firing_shows_chance(tmp_path):
    frame = pd.DataFrame(
        {
            "row": ["CNN-25"] * 3,
            "precision": [0.9, 0.8, np.nan],
            "expected": [0.02] * 3,
            "recall": [0.5, np.nan, 0.4],
        }
    )
    paths = [tmp_path / "f.png", tmp_path / "f.svg"]
    charts.firing_plot(frame, paths)
    check_png(paths[0], dark=0.001)
    for words in ("CNN-25", "chance (of precision)", "mean"):
        assert f">{words}</text>" in paths[1].read_text()
