"""The report: self-contained, escaped, honest about what is missing."""

import base64
import io
import re

import pandas as pd
import pytest
from Bio import motifs as biopython
from helpers.studies import HOSTILE, Balanced, cell_files, frame, study
from PIL import Image

from motifk8s.filters import analysis
from motifk8s.motifs.meme import read_meme
from motifk8s.report import comparison, figures, found, tables, topics
from motifk8s.report import page as report
from motifk8s.report.aggregate import write_outputs
from motifk8s.report.answer import answer, pooling_family
from motifk8s.study.study import Study, load


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A partial study with hostile names, aggregated: study, folder, paths."""
    exact = {"models": ["cnn-25"], "kind": "exact", "mean": 0.98, "sd": 0.027}
    of = study([exact], trials=2, labels={"cnn-25": HOSTILE, "cnn-4": "CNN-4"})
    of = Study.model_validate({**of.resolved(), "title": "Tom & <Jerry>"})
    cells = {
        f"synthetic/{model}/{trial}": cell_files(model, trial, share)
        for model, trial, share in [("cnn-25", 1, 1.0), ("cnn-25", 2, 0.9), ("cnn-4", 1, 0.1)]
    }
    missing = {
        "synthetic/cnn-4/2": "failed: loss is NaN at epoch 3",
        "synthetic/cnn-1/1": "not run <yet>",
        "synthetic/cnn-1/2": "not run <yet>",
    }
    folder = tmp_path_factory.mktemp("out")
    (folder / "mine.txt").write_text("not an output")
    return of, folder, write_outputs(of, cells, missing, folder)[0]


@pytest.fixture(scope="module")
def page(made):
    return made[2]["report.html"].read_text()


@pytest.fixture(scope="module")
def parsed(page):
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    return parser


def test_every_file_is_written_and_named(made):
    _, folder, paths = made
    charts = [
        "auroc",
        "coverage",
        "firing",
        "fractions",
        "importance",
        "logos",
        "loss",
        *(f"sensitivity-{setting}" for setting in ("database", "threshold", "trim_bits")),
    ]
    figures = [f"figures/synthetic-{n}.{s}" for n in charts for s in ("png", "svg")]
    names = ["comparison.csv", "coverage.csv", "firing.csv", "importance.csv", "motif-filters.csv",
             "motifs.csv", "paired.csv", "prediction.csv", "results.csv", "sensitivity.csv",
             "table1.csv", "table1.html", "table1.md"]  # fmt: skip
    motifs = [f"motifs.{ending}" for ending in ("jaspar", "meme", "transfac")]
    others = [*motifs, "report.html", *(f"tables/{name}" for name in names)]
    assert sorted(paths) == [*figures, *others]
    for name, path in paths.items():
        assert path == folder / name and path.stat().st_size > 90
    rows = pd.read_csv(paths["tables/results.csv"])
    assert list(rows.columns) == tables.RESULTS and len(rows) == 3
    for name, columns in analysis.TABLES.items():
        rows = pd.read_csv(paths[f"tables/{name}.csv"])
        assert list(rows.columns) == ["dataset", "model", "trial", *columns]
        pairs = list(dict.fromkeys(zip(rows.model, rows.trial, strict=True)))
        assert pairs == [("cnn-4", 1), ("cnn-25", 1), ("cnn-25", 2)]  # the order of the study


def test_the_page_needs_nothing_else(page, parsed):
    for tag, attributes in parsed.seen:
        assert tag not in ("script", "link", "iframe", "object"), tag
        if "src" in attributes:
            assert attributes["src"].startswith("data:image/png;base64,")
        href = attributes.get("href", "#")
        assert tag in ("a", "use") or "href" not in attributes
        assert tag == "a" or href.startswith("#")  # the letters of logos
        assert href.startswith(("#", "https://jaspar.elixir.no/matrix/", "https://doi.org/"))
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_the_motifs_found(made, page):
    _, _, paths = made
    table = pd.read_csv(paths["tables/motifs.csv"])
    assert list(table.columns) == found.COLUMNS
    # The random filters of the first trials are the same, those of the second are others.
    assert list(table.trials) == [2] * 5 + [1] * 5
    assert page.count("one trial alone</small>") == 5 and page.count('<svg class="logo"') == 10
    assert "15 of 18 filters (3 dead) form 10 motifs." in page
    names = [motif.name for motif in read_meme(paths["motifs.meme"])]
    assert names == list(table.motif) == [f"synthetic-{i}" for i in range(1, 11)]
    for ending, key in (("jaspar", "matrix_id"), ("transfac", "ID")):
        with open(paths[f"motifs.{ending}"]) as file:
            read = biopython.parse(file, ending)
        assert [getattr(m, key, None) or m[key] for m in read] == names
    filters = pd.read_csv(paths["tables/motif-filters.csv"])
    assert list(filters.columns) == found.FILTERS and set(filters.motif) == set(names)


def test_links_inside_the_page_lead_somewhere(parsed):
    ids = {a["id"] for _, a in parsed.seen if "id" in a}
    inner = {a["href"][1:] for _, a in parsed.seen if a.get("href", "").startswith("#")}
    assert inner and inner <= ids


def test_every_image_has_words_and_can_be_read(parsed):
    images = [a for tag, a in parsed.seen if tag == "img"]
    # The study's figures, the logos of two architectures, the charts beyond the paper.
    assert len(images) == 4 + 2 + 6
    for image in images:
        assert image["alt"]
        data = base64.b64decode(image["src"].partition(",")[2])
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.width > 400
            assert picture.convert("RGB").getpixel((1, 1)) == (255, 255, 255)


def test_names_are_escaped(page, parsed):
    assert "<Jerry>" not in page and "Tom & <Jerry>" in parsed.text
    assert "<b>mine" not in page and "<b>mine" in parsed.text
    assert "not run <yet>" in parsed.text


def test_missing_cells_are_listed(page, parsed):
    text = " ".join(parsed.text.split())
    assert "3 of 6 cells finished" in text
    assert "3 of 6 cells are missing, 1 of them failed" in text
    assert "failed: loss is NaN at epoch 3: synthetic/cnn-4/2" in text
    assert "not run <yet>: synthetic/cnn-1/1, synthetic/cnn-1/2" in text


def test_hits_by_motif_linked_to_jaspar(page, parsed):
    assert 'href="https://jaspar.elixir.no/matrix/MA0083.3"' in page
    assert "matrix/%3Cb" not in page and "matrix/<b" not in page
    rows = report.hits(
        {
            "filter10": {"target": "MA1.1", "evalue": 0.1, "class": ""},
            "filter3": {"target": "MA0083.3", "evalue": 1e-9, "class": "SRF"},
            "filter0": {"target": "MA0083.3", "evalue": 1e-8, "class": "SRF"},
            "filter2": {"target": "MA1.1", "evalue": 0.2, "class": ""},
        },
        {"MA0083.3": "SRF"},
    )
    assert [(r["target"], r["filters"], r["evalue"]) for r in rows] == [
        ("MA0083.3", ["0", "3"], 1e-9), ("MA1.1", ["2", "10"], 0.1),
    ]  # fmt: skip
    assert (rows[0]["factor"], rows[1]["url"]) == ("SRF", "")


def test_provenance_tells_what_differs(parsed):
    text = " ".join(parsed.text.split())
    assert "3.1 (2 cells); 3.2 (1 cells)" in text
    assert "0.1.0+gabc" in text and "1,024 MiB" in text and "30.0" in text


def test_nothing_finished_still_makes_a_report(tmp_path):
    of = study(trials=1)
    missing = {cell.id: "not run yet" for cell in of.cells()}
    paths, table = write_outputs(of, {}, missing, tmp_path)
    assert set(table.trials) == {0}
    text = paths["report.html"].read_text()
    assert "no cell of synthetic is finished" in text and "0 of 3 cells" in text
    assert not list(tmp_path.glob("figures/*"))
    for name in analysis.TABLES:  # a header, for whoever reads them
        assert pd.read_csv(paths[f"tables/{name}.csv"]).empty
    # What the rule says needs no training.
    assert text.count("no result yet") == 4
    assert text.count("No numbers yet, because no cell is finished.") == 6  # the other topics


def test_what_is_beyond_the_paper_is_shown(page, parsed):
    text = " ".join(parsed.text.split())
    assert "No tests, because two architectures need 3 trials in common." in text
    assert "Framed: the value of the study." in text
    assert '<th scope="row">Threshold</th><td class="text">0.3</td>' in page
    assert '<th scope="row">Largest E-value</th>' not in page  # one value is no comparison
    assert "parts" in text and "no later convolution" in text
    ids = [a["id"] for _, a in parsed.seen if a.get("id", "").startswith("beyond-")]
    assert ids == [f"beyond-{name}" for name in topics.TOPICS]


def test_a_bound_has_a_verdict_only_where_its_group_is_complete(tmp_path):
    bound = {"models": ["cnn-4", "cnn-25"], "kind": "at-most", "mean": 0.5}
    of = study([bound], trials=1)
    cells = {"synthetic/cnn-25/1": cell_files("cnn-25", 1, 0.9)}
    paths, table = write_outputs(of, cells, {"synthetic/cnn-4/1": "not run yet"}, tmp_path)
    text = paths["report.html"].read_text()
    assert "≤ 0.50" in text and "results are missing." in text
    assert 'class="paper bad"' not in text and "so far" not in text and "bounds:" not in text
    assert "so far" not in paths["tables/table1.md"].read_text()
    assert "so far" not in paths["tables/table1.html"].read_text()
    # For a program the verdict as it stands is in the CSV files.
    assert "not held so far" in paths["tables/comparison.csv"].read_text()
    assert "not held so far" in set(table.published_match_truth_verdict)
    cells["synthetic/cnn-4/1"] = cell_files("cnn-4", 1, 0.1)
    text = write_outputs(of, cells, {}, tmp_path)[0]["report.html"].read_text()
    assert text.count('class="paper bad"') == 2 and "Published bounds: 0 of 1 held." in text


def test_real_motifs_of_the_classes():
    found = figures.truth_motifs(load("koo2019-synthetic"), "synthetic")
    assert len(found) == 12
    assert found["SRF"].name == "MA0083.3" and found["SRF"].ppm.shape == (16, 4)


# -------------------------------------------------------------------------------------- answer


def answer_to(shares, of=None):
    of = of or study()
    results = frame(of, {model: [share] for model, share in shares.items()})
    compared = comparison.comparisons(results, of)
    main, remarks = answer(tables.table1(results, of), compared, of, "synthetic")
    return " ".join(main), " ".join(remarks)


def test_answer_when_large_pools_learn_motifs():
    text, remarks = answer_to({"cnn-1": 0.0, "cnn-4": 0.1, "cnn-25": 0.98})
    assert "cnn-25 (first pool 25) learns whole motifs" in text and "0.980 of its filters" in text
    assert "cnn-1 and cnn-4 (first pool 1 and 4) do not: 0.000 to 0.100" in text
    assert "a first pool of 25 or more" in text and "with 4 or less" in text
    assert "Accuracy hardly differs" in remarks


def test_answer_when_the_data_say_otherwise():
    text, _ = answer_to({"cnn-1": 0.9, "cnn-4": 0.1, "cnn-25": 0.98})
    assert "alone does not decide" in text
    text, _ = answer_to({"cnn-1": 0.1, "cnn-4": 0.1, "cnn-25": 0.2})
    assert "none learns whole motifs" in text and "0.100 to 0.200" in text
    text, _ = answer_to({"cnn-1": 0.9, "cnn-4": 0.9, "cnn-25": 0.9})
    assert "do not" not in text and "learn whole motifs" in text


def test_answer_of_a_single_architecture():
    text, remarks = answer_to({"cnn-25": 0.98})
    assert text == "cnn-25 (0.980) learns whole motifs in the first layer."
    assert "mean test AUROC is 0.950" in remarks


def test_answer_counts_published_numbers():
    exact = {"models": ["cnn-25"], "kind": "exact", "mean": 0.98, "sd": 0.027}
    bound = {"models": ["cnn-1", "cnn-4"], "kind": "at-most", "mean": 0.127}
    shares = {"cnn-25": 0.98, "cnn-4": 0.5, "cnn-1": 0.1}
    _, remarks = answer_to(shares, study([exact, bound], trials=1))
    assert "within two sd in 1 of 1." in remarks
    assert "Published bounds: 0 of 1 held." in remarks
    _, remarks = answer_to({"cnn-25": 0.98, "cnn-4": 0.5}, study([exact, bound], trials=1))
    assert "within two sd in 1 of 1." in remarks and "bounds" not in remarks


def test_family_differs_in_pooling_alone():
    family = pooling_family(load("koo2019-synthetic"), "synthetic")
    assert family == [f"cnn-{n}" for n in (1, 2, 4, 10, 25, 50, 100)]


def test_architecture_in_a_line():
    models = load("koo2019-synthetic").models
    assert report.describe(models["cnn-50-s2"]) == (
        "30 filters of 19 bp → max-pool 50, stride 2 → 128 filters of 5 → max-pool 50 → dense 512"
    )
    assert not re.search(r"max-pool 1\b", report.describe(models["cnn-1"]))
