"""Names, numbers and files of other programs cost at most their own picture or cell."""

import io
import json

import matplotlib.figure
import pandas as pd
import pytest
from helpers.studies import cell_files, frame, study
from helpers.tiny import one_line, run_folder

from motifk8s.errors import InputError
from motifk8s.report import charts, figures, page, tables
from motifk8s.report.aggregate import write_outputs
from motifk8s.report.words import label
from motifk8s.study.study import Study, load

LONG = "a convolutional network with " * 4 + "end"  # 119 characters


def made(tmp_path, of, models=("cnn-4", "cnn-25"), **more):
    cells = {f"synthetic/{m}/1": cell_files(m, 1, share) for m, share in zip(models, (0.1, 0.9))}  # noqa: B905
    return write_outputs(of, cells, {}, tmp_path, **more)


def test_a_long_label_is_cut_in_pictures_alone(tmp_path):
    notes = []
    of = study(trials=1, labels={"cnn-25": LONG, "cnn-4": "x" * 5000})
    paths, _ = made(tmp_path, of, notes=notes)
    assert notes == []
    assert set(pd.read_csv(paths["tables/table1.csv"]).label) == {LONG, "x" * 5000, "cnn-1"}
    assert LONG in paths["report.html"].read_text()
    svg = paths["figures/synthetic-fractions.svg"].read_text()
    assert charts.short(LONG) in svg and LONG not in svg


@pytest.mark.parametrize("failing", ["fractions_plot", "history_plot", "importance_plot"])
def test_a_picture_that_fails_costs_the_picture(tmp_path, monkeypatch, failing):
    def fail(*args, **more):
        raise RuntimeError("no\nfont")

    (tmp_path / "whole").mkdir()
    (tmp_path / "part").mkdir()
    whole = made(tmp_path / "whole", study(trials=1))[0]
    monkeypatch.setattr(charts, failing, fail)
    notes = []
    part = made(tmp_path / "part", study(trials=1), notes=notes)[0]
    lost = {"fractions_plot": ["fractions"], "history_plot": ["loss", "auroc"]}
    names = [f"synthetic-{name}" for name in lost.get(failing, ["importance"])]
    assert notes == [f"picture {name} was not drawn: RuntimeError: no font" for name in names]
    files = {f"figures/{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert set(whole) - set(part) == files
    for note in notes:
        assert note in part["report.html"].read_text()
    for name in ("results", "table1", "importance"):
        csv = f"tables/{name}.csv"
        assert part[csv].read_text() == whole[csv].read_text()


def test_tables_are_published_before_any_picture(tmp_path, monkeypatch):
    published = []

    def stop(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(figures, "draw", stop)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, study(trials=1), publish=published.extend)
    assert {"tables/results.csv", "tables/table1.csv", "tables/table1.md"} <= set(published)


def test_the_page_stays_without_the_logos_of_a_layer(tmp_path, monkeypatch):
    def fail(*args, **more):
        raise MemoryError

    monkeypatch.setattr(page, "layer_logos", fail)
    notes = []
    paths, _ = made(tmp_path, study(trials=1), notes=notes)
    assert notes[0] == "picture of conv1 of cnn-4 was not drawn: MemoryError: MemoryError"
    assert len(notes) == 2 and notes[1] in paths["report.html"].read_text()


def test_two_models_with_one_label_are_two_panels(tmp_path, monkeypatch):
    titles = []
    true_title = matplotlib.axes.Axes.set_title
    monkeypatch.setattr(
        matplotlib.axes.Axes,
        "set_title",
        lambda self, text, **more: titles.append(text) or true_title(self, text, **more),
    )
    of = study(trials=1, labels={"cnn-25": "CNN", "cnn-4": "CNN"})
    paths, table = made(tmp_path, of)
    assert titles == ["cnn-4", "cnn-25"] * 2  # loss, AUROC
    assert list(dict.fromkeys(table.label)) == ["cnn-1", "cnn-4", "cnn-25"]
    assert "cnn-25" in paths["figures/synthetic-fractions.svg"].read_text()


def test_a_label_never_means_two_models():
    of = study(labels={"cnn-25": "cnn-4", "cnn-1": "CNN-1"})
    assert [label(of, name) for name in of.models] == ["CNN-1", "cnn-4", "cnn-25"]
    assert label(of, "other") == "other"


@pytest.mark.parametrize("text", ["\ud800", "a\x1b]0;x", "\x00", "a\x85", "b\x7f"])
@pytest.mark.parametrize("place", ["title", "label", "class"])
def test_control_characters_and_surrogates_are_refused(tmp_path, text, place):
    content = study().resolved()
    if place == "title":
        content["title"] = text
    elif place == "label":
        content["models"]["cnn-4"]["label"] = text
    else:
        content["datasets"]["synthetic"]["classes"] = {text: ["MA0083.3"]}
    (tmp_path / "odd.yaml").write_text(json.dumps(content))
    with pytest.raises(InputError) as raised:
        load(str(tmp_path / "odd.yaml"))
    message = str(raised.value)
    assert {"title": "title", "label": "models.cnn-4.label", "class": "classes"}[place] in message
    message.encode()
    assert message.isprintable()


def test_texts_of_several_lines_and_of_any_script_stay():
    content = {**study().resolved(), "title": "é日 α\tb", "description": "one\r\ntwo"}
    content["models"]["cnn-4"]["label"] = "a\nb"
    assert Study.model_validate(content).title == "é日 α\tb"


# --- spreadsheets


@pytest.mark.parametrize("text", ["=1+1", "+A1", "-x", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "－1x"])
def test_no_text_of_a_table_is_a_formula(text):
    numbers = [-0.5, 1e-9]
    table = pd.DataFrame({"class": [text, "SRF"], "rise": numbers, "n": [-3, 4]})
    csv = tables.csv_text(table)
    read = pd.read_csv(io.StringIO(csv, newline=""), float_precision="round_trip")
    assert list(read["class"]) == ["'" + text.replace("\r", " "), "SRF"]
    assert list(read.rise) == numbers and list(read.n) == [-3, 4]


def test_texts_that_are_numbers_stay_numbers():
    table = pd.DataFrame({"value": ["-0.5", "+1e-3", "none", "-inf"]})
    assert tables.csv_text(table).split() == ["value", "-0.5", "+1e-3", "none", "-inf"]
    empty = pd.DataFrame(columns=["a", "b"])
    assert tables.csv_text(empty) == "a,b\n"


def test_formulas_in_labels_and_classes_reach_no_table(tmp_path):
    of = study(trials=1, labels={"cnn-25": "=cmd|x", "cnn-4": "-4"})
    paths, table = made(tmp_path, of)
    for name, path in paths.items():
        if name.endswith(".csv"):
            read = pd.read_csv(path, keep_default_na=False)
            for column in read.select_dtypes(exclude="number"):
                assert not read[column].astype(str).str.startswith(("=", "@", "+")).any(), name
    plain = frame(of, {"cnn-25": [0.9]})
    assert tables.csv_text(plain) == plain.to_csv(index=False)
    assert "=cmd|x" in set(table.label)  # only the file has the apostrophe


# --- files of other programs


ODD = [
    ("provenance", {"device": []}, "device: expected str, not '[]'"),
    ("provenance", {"libraries": ["keras"]}, "libraries: expected dict"),
    ("provenance", {"stages": {"training": "long"}}, "stages: expected seconds"),
    ("provenance", {"peak_memory_bytes": float("inf")}, "Infinity is not a number"),
    ("provenance", [], "expected a mapping"),
    ("metrics", {"auroc": float("nan")}, "NaN is not a number"),
    ("metrics", {"layers": []}, "layers: expected dict"),
]


@pytest.mark.parametrize("file, change, words", ODD)
def test_an_odd_file_of_a_cell_is_one_line(tiny, here, file, change, words):
    import hashlib

    store = tiny.parent / "store"
    folder = run_folder(store, "small/a/1")
    path = folder / f"{file}.json"
    content = {**json.loads(path.read_text()), **change} if isinstance(change, dict) else change
    path.write_text(json.dumps(content))
    marker = folder.parents[1] / "done.json"
    done = json.loads(marker.read_text())
    done["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    marker.write_text(json.dumps(done))
    code, _, err = here("aggregate", tiny, "--store", store)
    assert code == 3
    assert "small/a/1" in one_line(err) and words in one_line(err)
    report = (store / "tiny" / "report.html").read_text()
    assert "1 of 2 cells finished" in report
