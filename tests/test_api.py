"""The public API: its names and signatures, what it imports, what it accepts and refuses."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import toy
from helpers.tiny import ROOT, TINY
from hypothesis import given
from hypothesis import strategies as st

import motifk8s
from motifk8s.data.sequences import decode
from motifk8s.motifs.meme import read_meme
from motifk8s.motifs.motif import Motif

PACKAGE = Path(motifk8s.__file__).parent
GOLDEN = Path(__file__).parent / "golden"
PAGE = ROOT / "docs" / "api.md"
NOTEBOOK = ROOT / "examples" / "motifs_from_fasta.ipynb"
needs_pages = pytest.mark.skipif(not NOTEBOOK.exists(), reason="the pages are not part of an image")
LENGTH = 20
SITE = np.eye(4)[[1, 1, 0, 3, 0, 3, 0, 3, 2, 2]]


def python(code: str, *args: object, **more: Any) -> str:
    """Run code in a fresh Python; return what it prints."""
    path = {"PYTHONPATH": str(ROOT / "python"), "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [sys.executable, *(["-c", code] if code else []), *map(str, args)],
        capture_output=True,
        text=True,
        env={**os.environ, **path},
        **more,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- names


def test_names_and_signatures_change_only_on_purpose() -> None:
    spec = importlib.util.spec_from_file_location("make_api", GOLDEN / "make_api.py")
    assert spec and spec.loader
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    assert (GOLDEN / "api.txt").read_text() == make.signatures(), (
        "docs/api.md says how the API may change; then run tests/golden/make_api.py --force"
    )


def test_type_checkers_see_every_name() -> None:
    """They read the imports under TYPE_CHECKING, which never run."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block, _ = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        (alias.name, node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {name for name, _ in seen} | {"__version__"} == set(motifk8s.__all__)
    for name, module in seen:
        assert getattr(sys.modules[str(module)], name) is getattr(motifk8s, name)
    assert set(motifk8s.__all__) <= set(dir(motifk8s))
    assert (PACKAGE / "py.typed").exists()
    with pytest.raises(AttributeError, match="no attribute 'tomtam'"):
        _ = motifk8s.tomtam


@needs_pages
def test_every_name_is_described() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in motifk8s.__all__ if name not in page] == ["__version__"]
    functions = [getattr(motifk8s, name) for name in motifk8s.__all__]
    assert [f.__name__ for f in functions if callable(f) and not f.__doc__] == []


def test_a_library_is_imported_when_it_is_needed() -> None:
    code = """
import sys, motifk8s
heavy = ["numpy", "pandas", "matplotlib", "keras", "tensorflow", "h5py", "pydantic", "boto3"]
def new():
    print([name for name in heavy if name in sys.modules])
new()
motif = motifk8s.jaspar("JASPAR2016")[0]; new()
motifk8s.one_hot("ACGT"); new()
motifk8s.tomtom([motif]); new()
motifk8s.extract_motifs([[[1.0]] * 15] * 2, ["ACGT" * 5] * 2); new()
"""
    assert python(code).splitlines() == [
        "[]",
        "['numpy']",
        "['numpy']",
        "['numpy', 'pandas']",
        "['numpy', 'pandas', 'h5py', 'pydantic']",
    ]


# --- sequences


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.text("ACGTN", min_size=n, max_size=n), min_size=1)
    )
)
def test_all_forms_of_sequences_are_equal(texts: list[str]) -> None:
    x = motifk8s.one_hot(texts)
    assert x.dtype == np.float32 and x.shape == (len(texts), len(texts[0]), 4)
    codes = np.where(x.sum(axis=2) > 0, x.argmax(axis=2), 4)
    assert decode(codes) == texts
    forms = [
        codes,
        codes.astype("int8"),
        [row.lower() for row in texts],
        pd.Series(texts),
        iter(texts),
    ]
    if len(texts[0]) != 4:  # (N, 4, 4) counts as (N, 4, L)
        forms += [x, x.astype(bool), x.tolist(), x.transpose(0, 2, 1)]
    for form in forms:
        np.testing.assert_array_equal(motifk8s.one_hot(form), x)
    np.testing.assert_array_equal(motifk8s.one_hot(texts[0]), x[:1])


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "there are none"),
        ("", "sequence 0 is empty"),
        (["ACG", "ACGUA"], "sequence 1, column 4: 'U' is not a base; this is RNA"),
        (["AC-G"], "column 3: '-' is not a base; a gap"),
        (["ACé"], "column 3: 'é' is not a base"),
        (["ACGT", "ACG"], "sequence 1 has 3 bp, the others before it 4"),
        (["ACGT", None], "sequence 1 is of type NoneType"),
        (None, "cannot be read as an array"),
        (7, "cannot be read as an array"),
        ([[0, 1], [2]], "cannot be read as an array"),
        (np.array([[0, 9]]), "codes range from 0 to 9"),
        (np.array([[-1, 0]]), "codes range from -1 to 0"),
        (np.zeros((2, 3)), "not float64 of shape .2, 3."),
        (np.zeros((2, 3, 5)), "one-hot sequences must have shape"),
        (np.full((2, 3, 4), 0.7), "sequence 0, position 0 is not one-hot"),
    ],
)
def test_wrong_sequences(sequences: Any, message: str) -> None:
    with pytest.raises(motifk8s.InputError, match=message):
        motifk8s.one_hot(sequences)


def test_data_sets_from_fasta_and_hdf5(finished: Path, tmp_path: Path) -> None:
    texts = decode(toy.codes(60, 1, LENGTH) % 4)
    fasta = tmp_path / "a.fa"
    fasta.write_text("".join(f">{i}\n{text.lower()}\n" for i, text in enumerate(texts)))
    assert motifk8s.read_fasta(fasta) == texts
    data = motifk8s.read_dataset({"A": str(fasta)}, negatives="dinucleotide", length=18)
    assert isinstance(data, motifk8s.Dataset)
    assert (data.classes, data.codes.shape) == (("A",), (120, 18))
    both = {"A": fasta, "B": fasta}
    negative = tmp_path / "n.fa"
    negative.write_text("".join(f">{i}\n{text[::-1]}\n" for i, text in enumerate(texts)))
    for negatives in (negative, {"A": negative, "B": str(negative)}):
        assert len(motifk8s.read_dataset(both, negatives=negatives).codes) == 120
    path = next((finished / "datasets").glob("*/data.h5"))
    assert motifk8s.read_dataset(path).classes == ("SRF", "MAX")
    with pytest.raises(motifk8s.InputError, match="of FASTA, give the file of each class"):
        motifk8s.read_dataset(fasta)
    with pytest.raises(motifk8s.InputError, match="no such data set file"):
        motifk8s.read_dataset(tmp_path / "none.h5")


# --- motifs


@pytest.fixture
def meme(tmp_path: Path) -> Path:
    path = tmp_path / "two.meme"
    noisy = (SITE + 0.1) / 1.4
    motifk8s.write_meme([Motif("one", noisy, 50, "Uno"), Motif("two", noisy[::-1], 9)], path)
    return path


def test_tomtom_is_that_of_the_command(meme: Path, here: Any, tmp_path: Path) -> None:
    assert here("tomtom", meme, "--evalue", 10)[0] == 0
    out = tmp_path / "hits.tsv"
    here("tomtom", meme, "--evalue", 10, "--out", out)
    motifs = motifk8s.read_meme(meme)
    database = motifk8s.jaspar("JASPAR2016")
    from motifk8s.motifs.tomtom import to_tsv

    for queries in (meme, str(meme), motifs, tuple(motifs)):
        for targets in ("JASPAR2016", database):
            hits = motifk8s.tomtom(queries, targets, evalue=10)
            assert to_tsv(hits) == out.read_text()
    factors = {motif.name: motif.alt for motif in database}
    assert hits["Target_name"].tolist() == [factors[name] for name in hits["Target_ID"]]
    assert motifk8s.tomtom([], meme).empty
    alone = motifk8s.tomtom(motifs[0].ppm, meme)
    assert alone.iloc[0][["Query_ID", "Target_ID", "Target_name"]].tolist() == [
        "motif0",
        "one",
        "Uno",
    ]
    counts = motifk8s.tomtom(np.round(1400 * motifs[0].ppm), meme)
    np.testing.assert_allclose(counts["p-value"], alone["p-value"])


@pytest.mark.parametrize(
    ("queries", "targets", "options", "message"),
    [
        (3, "JASPAR2016", {}, "queries: expected motifs, not int"),
        ([SITE[:, :3]], "JASPAR2016", {}, r"queries: motif0: a PPM must be an array \(W, 4\)"),
        ([-SITE], "JASPAR2016", {}, "non-negative"),
        ([np.where(SITE > 0, np.inf, 0)], "JASPAR2016", {}, "not a finite number"),
        (["x"], "JASPAR2016", {}, "queries: motif0: "),
        ([Motif("a", SITE), Motif("a", SITE)], "JASPAR2016", {}, "two motifs have one name"),
        (SITE, [], {}, "has no motif"),
        (SITE, "JASPAR1999", {}, "neither a MEME file nor a JASPAR release"),
        ("none.meme", "JASPAR2016", {}, "none.meme: cannot read"),
        (SITE, "JASPAR2016", {"evalue": 0}, "E-value threshold"),
        (SITE, "JASPAR2016", {"distance": "kl"}, "distance: expected 'euclidean' or 'pearson'"),
    ],
)  # fmt: skip
def test_wrong_motifs(queries: Any, targets: Any, options: Any, message: str) -> None:
    with pytest.raises(motifk8s.InputError, match=message):
        motifk8s.tomtom(queries, targets, **options)


def test_motifs_are_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "m.meme"
    motifk8s.write_meme(SITE, path)
    [motif] = motifk8s.read_meme(path)
    assert motif.name == "motif0"
    np.testing.assert_array_equal(motif.ppm, SITE)
    for wrong in ([Motif("a b", SITE)], [Motif("a", SITE)] * 2, [Motif("a", SITE[0])]):
        with pytest.raises(motifk8s.InputError):
            motifk8s.write_meme(wrong, path)
    assert len(motifk8s.jaspar("JASPAR2016", "plants")) > 100
    with pytest.raises(motifk8s.InputError, match="unknown JASPAR release"):
        motifk8s.jaspar("2016")


def test_logos() -> None:
    figure = motifk8s.plot_logo([Motif("a$", SITE, alt="b"), np.full((3, 4), 0.25)], columns=2)
    first, second = figure.axes
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("a$ b", "")
    assert first.get_ylim() == (0, 2)
    assert first.get_xlim() == second.get_xlim() == (0.5, 10.5)
    [letters] = first.collections  # 2 bits at each position
    heights = [path.vertices[:, 1].max() for path in letters.get_paths()]
    np.testing.assert_allclose(heights, 2)
    assert [len(c.get_paths()) for c in second.collections] == [0]
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    axes = figure.axes[1]
    assert motifk8s.plot_logo(SITE * 7, ax=axes) is figure
    for wrong, options, message in [
        ([], {}, "none to draw"),
        ([SITE, SITE], {"ax": axes}, "2 motifs do not fit one"),
        (SITE, {"columns": 0}, "columns"),
        (SITE[0], {}, "PPM must be an array"),
        ("JASPAR2016", {}, "expected motifs, not str"),
    ]:
        with pytest.raises(motifk8s.InputError, match=message):
            motifk8s.plot_logo(wrong, **options)


# --- filters


@pytest.fixture(scope="module")
def network(keras: ModuleType) -> Any:
    kinds = keras.layers
    keras.utils.set_random_seed(1)
    layers = [
        kinds.Conv1D(3, 5, activation="relu", name="first", padding="same"),
        kinds.Conv1D(2, 3, activation="relu", name="second"),
    ]
    more = [kinds.GlobalMaxPooling1D(), kinds.Dense(1)]
    return keras.Sequential([keras.Input((LENGTH, 4)), *layers, *more])


def test_a_model_gives_the_motifs_of_the_command(network: Any, here: Any, tmp_path: Path) -> None:
    import h5py

    codes = toy.codes(40, 2, LENGTH)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["X_test"] = motifk8s.one_hot(codes)
    network.save(tmp_path / "model.keras")
    args = [tmp_path / "model.keras", "--data", tmp_path / "data.h5", "--out", tmp_path / "out"]
    assert here("filters", *args)[0] == 0
    for layer, chosen in (("first", {}), ("second", {"layer": "second"})):
        expected = read_meme(tmp_path / "out" / f"motifs-{layer}.meme")
        found = motifk8s.extract_motifs(network, decode(codes), **chosen)
        assert [motif.name for motif in found] == [motif.name for motif in expected]
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours.ppm, theirs.ppm)


@pytest.mark.parametrize("settings", [{}, {"preset": "as-written", "maximum": "observed"}])
def test_activations_give_the_motifs_of_the_model(
    keras: ModuleType, network: Any, settings: dict[str, Any]
) -> None:
    codes = toy.codes(40, 2, LENGTH)
    for layer, width in (("first", 5), ("second", 7)):
        inner = keras.Model(network.inputs[0], network.get_layer(layer).output)
        y = np.asarray(inner(motifk8s.one_hot(codes)))
        expected = motifk8s.extract_motifs(network, codes, layer=layer, **settings)
        offset = 2  # of the padding before the first layer
        for values in (y, y.astype("float64"), y.tolist()):
            found = motifk8s.extract_motifs(values, codes, width=width, offset=offset, **settings)
            assert [motif.name for motif in found] == [motif.name for motif in expected]
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_allclose(ours.ppm, theirs.ppm, atol=1e-5)


def test_a_planted_site_is_found_without_a_width() -> None:
    codes = toy.codes(200, 4, 40) % 4
    codes[::2, 12:22] = SITE.argmax(axis=1)
    x = motifk8s.one_hot(codes)
    y = np.stack([(x[:, i : i + 10] * SITE).sum(axis=(1, 2)) for i in range(31)], axis=1)
    [motif] = motifk8s.extract_motifs(y[..., None], codes, window=None, threshold=0.9, trim=None)
    np.testing.assert_array_equal(motif.ppm, SITE)
    assert motifk8s.extract_motifs(-y[..., None], codes) == []  # it never fires


class Tensor:
    """Behaves like a tensor of PyTorch that has a gradient."""

    def __init__(self, values: np.ndarray, free: bool = False) -> None:
        self.values, self.free, self.shape = values, free, values.shape

    def detach(self) -> Tensor:
        return Tensor(self.values, True)

    def cpu(self) -> Tensor:
        return self

    def float(self) -> Tensor:
        return Tensor(self.values.astype("float32"), self.free)

    def __getitem__(self, rows: slice) -> Tensor:
        return Tensor(self.values[rows], self.free)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if not self.free:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return self.values.astype(dtype or self.values.dtype)


def test_tensors_of_pytorch_are_read() -> None:
    codes = toy.codes(30, 4, 40)
    y = np.random.default_rng(0).random((30, 36, 2))
    [found, expected] = [motifk8s.extract_motifs(a, codes) for a in (Tensor(y), y)]
    np.testing.assert_array_equal(found[1].ppm, expected[1].ppm)


Y = np.random.default_rng(0).random((30, 36, 2))


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (Y.transpose(0, 2, 1), {}, r"PyTorch has \(N, F, P\): give y.transpose\(1, 2\)"),
        (Y[:, :20], {}, "give activations before any pooling"),
        (Y[:, :20], {"width": 5}, "filters of width 5 have 36 to 44 positions"),
        (np.ones((30, 40, 2)), {}, "40 positions, .* give the width of the filter"),
        (Y, {"width": 41}, "filters of width 41"),
        (Y, {"width": 5, "offset": 1}, "offset 1: expected 0 to 0, the padding"),
        (Y[:10], {}, r"an array \(N, P, F\) of 30 sequences, got shape \(10, 36, 2\)"),
        (Y[..., 0], {}, "an array"),
        (Y[..., :0], {}, "an array"),
        (Y * np.nan, {}, "filter 0 has an activation that is not a finite number"),
        (Y.astype(str), {}, "expected a Keras model or activations"),
        (None, {}, "expected a Keras model or activations .*, not NoneType"),
        ("model.keras", {}, "not str"),
        ([[1], [2, 3]], {}, "not list"),
        (Y, {"layer": "conv1"}, "only a model has layers"),
        (Y, {"window": 41}, "41 bp is longer than the sequences"),
        (Y, {"treshold": 0.7}, 'treshold: unknown key; did you mean "threshold"?'),
        (Y, {"threshold": 7}, "threshold: should be less than 1"),
        (Y, {"preset": "best"}, 'no preset "best"'),
    ],
)
def test_wrong_activations(y: Any, options: Any, message: str) -> None:
    with pytest.raises(motifk8s.InputError, match=message):
        motifk8s.extract_motifs(y, toy.codes(30, 4, 40), **options)


def test_wrong_models(keras: ModuleType, network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = toy.codes(30, 4, LENGTH)
    for sequences, options, message in [
        (codes, {"layer": "third"}, "no layer 'third' before the first pooling; first, second"),
        (codes, {"width": 5}, "describe activations"),
        (codes[:, 1:], {}, "it reads 20 bp, but the sequences have 19 bp"),
    ]:
        with pytest.raises(motifk8s.InputError, match=message):
            motifk8s.extract_motifs(network, sequences, **options)
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    with pytest.raises(motifk8s.InputError, match="give the activations"):
        motifk8s.extract_motifs(network, codes)


def test_networks_are_built(keras: ModuleType) -> None:
    spec = {"conv": [{"filters": 3, "width": 5, "pool": 4}], "dense": [2]}
    model = motifk8s.build_model(spec, 20, 2)
    assert (model.input_shape, model.output_shape) == ((None, 20, 4), (None, 2))
    named = motifk8s.build_model("a", 40, 2, study=TINY, seed=5)
    assert named.get_layer("conv1").filters == 6
    for args, message in [
        (("cnn-9", 200, 1), 'study koo2019 has no model "cnn-9"'),
        (({"conv": [{"filters": 3}]}, 200, 1), r"conv\[0\].width: missing"),
        (("cnn-25", 10, 1), "wider than the sequences"),
        (("cnn-25", 0, 1), "length: expected an integer"),
        (("cnn-25", 200, "x"), "n_classes: expected an integer"),
        ((3, 200, 1), "should be a mapping"),
    ]:
        with pytest.raises(motifk8s.InputError, match=message):
            motifk8s.build_model(*args)  # type: ignore[arg-type]


# --- studies


def test_studies_are_loaded(tiny: Path) -> None:
    study = motifk8s.load_study(tiny)
    for same in (study, str(tiny), TINY, json.dumps(TINY)):
        assert motifk8s.load_study(same) == study  # type: ignore[arg-type]
    for wrong, message in [
        ("dem", "did you mean"),
        ({"name": "x"}, "datasets: missing"),
        (5, "expected a name, path, mapping or Study, not int"),
        ({"name": np}, "not plain JSON"),
    ]:
        with pytest.raises(motifk8s.InputError, match=message):
            motifk8s.load_study(wrong)  # type: ignore[arg-type]


def test_plan_and_results(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tiny.parent / "store"
    states = motifk8s.plan(tiny, store)
    assert states.to_dict("list") == {
        "cell": ["small/a/1", "small/b/1"],
        "dataset": ["small"] * 2,
        "model": ["a", "b"],
        "trial": [1, 1],
        "state": ["done"] * 2,
        "reason": [""] * 2,
    }
    found = motifk8s.results(TINY, str(store))
    assert found[["model", "layer"]].to_numpy().tolist() == [
        ["a", "conv1"], ["b", "conv1"], ["b", "conv2"],
    ]  # fmt: skip
    monkeypatch.setenv("MOTIFK8S_STORE", str(store))
    pd.testing.assert_frame_equal(motifk8s.results(tiny), found)
    with pytest.raises(motifk8s.InputError, match="no finished cell of study tiny; run the study"):
        motifk8s.results(tiny, tiny.parent / "elsewhere")
    with pytest.raises(motifk8s.InputError, match="no such|no built-in"):
        motifk8s.plan("tiny-one", store)


def test_run_refuses_what_it_cannot_do(tiny: Path) -> None:
    with pytest.raises(motifk8s.InputError, match="no cell matches 'c/"):
        motifk8s.run(tiny, cells="c/*", quiet=True)
    with pytest.raises(motifk8s.InputError, match="jobs: expected"):
        motifk8s.run(tiny, jobs=0)
    caught: list[motifk8s.Problem] = []

    def other() -> None:
        try:
            motifk8s.run(tiny)
        except motifk8s.Problem as error:
            caught.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_a_failure_in_a_run_is_raised(tmp_path: Path) -> None:
    lacking = {
        "kind": "file",
        "path": str(tmp_path / "none.h5"),
        "length": 40,
        "classes": {"A": []},
    }
    study = {**TINY, "datasets": {"lost": lacking}}
    with pytest.raises(motifk8s.IncompleteError, match=r"study tiny: 1 failed: lost: .*none\.h5"):
        motifk8s.run(study, tmp_path / "store", quiet=True)


def test_a_script_without_a_guard_runs_a_study_once(tmp_path: Path) -> None:
    """A process of a study must not run the script again: it would start another study."""
    few = {"epochs": 1, "preset": "as-run", "batch_size": 50}
    study = {**TINY, "training": few, "analysis": "none", "grid": {"small": ["a"]}}
    script = tmp_path / "script.py"
    script.write_text(
        "import motifk8s\n"
        "print('begun')\n"
        f"table = motifk8s.run({study!r}, 'store', quiet=True, jobs=1)\n"
        "print(table.shape[0], table.layer[0])\n"
    )
    assert python("", script, cwd=tmp_path).splitlines() == ["begun", "1 conv1"]
    assert (tmp_path / "store" / "tiny" / "report.html").exists()


# --- the page and the notebook


def run_code_of(page: Path, folder: Path, more: str) -> str:
    """Run the Python of a page or notebook as one script, then `more`; return its last line."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    else:
        cells = json.loads(text)["cells"]
        blocks = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    script = folder / "script.py"
    script.write_text("\n".join([*blocks, more]), encoding="utf-8")
    return python("", script, cwd=folder).splitlines()[-1]


@needs_pages
@pytest.mark.slow
def test_the_examples_of_the_page_run(tmp_path: Path) -> None:
    said = run_code_of(PAGE, tmp_path, "print(len(motifs), table.model.tolist())")
    assert said == "8 ['wide']"
    assert (tmp_path / "srf.png").stat().st_size > 1000


@needs_pages
@pytest.mark.slow
def test_the_notebook_finds_the_motifs_that_it_plants(tmp_path: Path) -> None:
    """The seeds are fixed, but the numbers may differ between machines."""
    found = run_code_of(NOTEBOOK, tmp_path, "print(*table['Target_name'])").split()
    assert "SRF" in found
    assert [name for name in found if name.startswith(("ELK", "ETV", "ETS", "ERF", "ERG", "GABP"))]


@needs_pages
def test_the_notebook_shows_its_results() -> None:
    """Run in order, without errors, warnings or paths of a machine, and small."""
    text = NOTEBOOK.read_text(encoding="utf-8")
    code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"execute_result", "stream"}
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}
    assert [output for output in outputs if "image/png" in output.get("data", {})]
    assert "/home/" not in text and "/tmp/" not in text
    assert len(text) < 150_000
