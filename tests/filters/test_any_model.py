"""The command filters: models and data of other people."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
from helpers import toy
from helpers.tiny import one_line

from motifk8s.filters import layer_motifs
from motifk8s.filters.extract import Filters
from motifk8s.motifs.meme import write_meme
from motifk8s.motifs.motif import Motif

LENGTH = 20


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file of nothing but test sequences."""
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["X_test"] = np.eye(5, 4, dtype="float32")[toy.codes(40, 2, LENGTH)]
    return path


@pytest.fixture
def filters(here: Any, tmp_path: Path, data: Path) -> Any:
    """Run the command on a model, with a database of one motif."""
    database = tmp_path / "one.meme"
    write_meme([Motif("M1", np.eye(4)[[0, 1, 2, 3, 0, 1]], 20)], database)

    def run(model: Any, data: Path = data) -> tuple[int, str, str, Path]:
        model.save(tmp_path / "model.keras")
        out = tmp_path / "out"
        args = [tmp_path / "model.keras", "--data", data, "--database", database, "--out", out]
        return (*here("filters", *args), out)

    return run


def network(keras: ModuleType, name: str = "first", *before: Any) -> Any:
    kinds = keras.layers
    keras.utils.set_random_seed(1)
    conv = kinds.Conv1D(3, 5, activation="relu", name=name)
    more = [kinds.GlobalMaxPooling1D(), kinds.Dense(1)]
    return keras.Sequential([keras.Input((LENGTH, 4)), *before, conv, *more])


@pytest.mark.parametrize("name", ["conv 1", "ü", "conv<1>", "[bold]", "a.b", "=x"])
def test_a_layer_of_any_name_is_read(keras: ModuleType, filters: Any, name: str) -> None:
    code, said, err, out = filters(network(keras, name))
    assert (code, err) == (0, "")
    assert said.startswith(f"{name}: 3 filters, ")
    assert {path.name for path in out.iterdir()} == {
        "filters.h5", f"hits-{name}.tsv", f"logos-{name}.png", f"motifs-{name}.meme",
    }  # fmt: skip
    motifs = (out / f"motifs-{name}.meme").read_text()
    assert filters(network(keras))[0] == 0
    assert (out / "motifs-first.meme").read_text() == motifs  # names change no motif
    assert set(layer_motifs.read_filters(out / "filters.h5")) == {"first"}


@pytest.mark.parametrize("labels", ["none", "regression", "two heads", "one kind", "ours"])
def test_labels_and_other_parts_are_not_read(
    keras: ModuleType, filters: Any, data: Path, tmp_path: Path, labels: str
) -> None:
    model = network(keras)
    *_, out = filters(model)
    motifs = (out / "motifs-first.meme").read_text()
    other = tmp_path / "other.h5"
    codes = toy.codes(40, 2, LENGTH)
    with h5py.File(other, "w") as file:
        if labels == "ours":
            file.attrs["format"] = "motifk8s-dataset"
            file["codes"] = np.concatenate([codes[:7] * 0, codes])
            file["split"] = np.repeat([0, 2], [7, 40]).astype("u1")
            file["labels"] = np.random.default_rng(0).normal(size=(47, 1))
        else:
            file["X_test"] = np.eye(5, 4)[codes].transpose(0, 2, 1)
        if labels == "regression":
            file["Y_test"] = np.linspace(-3, 9, 40)[:, None]
        if labels == "two heads":
            file["Y_test/a"], file["Y_test/b"] = np.zeros((40, 2)), np.zeros((40, 3))
        if labels == "one kind":
            file["Y_test"] = np.ones((40, 1))
            file["X_train"] = np.zeros((0, 4, LENGTH))
    code, _, err, _ = filters(model, other)
    assert (code, err) == (0, "")
    assert (out / "motifs-first.meme").read_text() == motifs


def test_data_without_usable_test_sequences(
    keras: ModuleType, filters: Any, tmp_path: Path
) -> None:
    model = network(keras)
    contents: dict[str, tuple[dict[str, Any], str]] = {
        "absent": ({"X_train": np.zeros((2, 4, LENGTH))}, "has no dataset X_test"),
        "empty": ({"X_test": np.zeros((0, 4, LENGTH))}, "has no sequences in the test part"),
        "odd": ({"X_test": np.full((2, 4, LENGTH), 7.0)}, "X_test: sequence 0, position 0 is not"),
        "wide": ({"X_test": np.zeros((2, 5, LENGTH))}, "X_test is (2, 5, 20), not (N, 4, L)"),
    }
    for title, (arrays, words) in contents.items():
        path = tmp_path / f"{title}.h5"
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
        code, _, err, out = filters(model, path)
        assert code == 2
        assert words in one_line(err)
        assert not out.exists()


def test_a_changed_data_set_of_ours_is_refused(
    finished: Path, here: Any, keras: ModuleType, filters: Any, tmp_path: Path
) -> None:
    path = tmp_path / "changed.h5"
    path.write_bytes(next((finished / "datasets").glob("*/data.h5")).read_bytes())
    with h5py.File(path, "r+") as file:
        file["codes"][0, 0] = 3 - file["codes"][0, 0]
    code, _, err, _ = filters(network(keras), path)
    assert code == 2
    assert "the content does not match data_hash" in one_line(err)


def test_the_layer_that_ends_the_reading_is_named(keras: ModuleType, filters: Any) -> None:
    kinds = keras.layers
    code, said, err, _ = filters(network(keras, "first", kinds.LSTM(4, return_sequences=True)))
    assert (code, said) == (2, "")
    assert "(LSTM) mixes positions" in one_line(err)
    layers = [keras.Input((LENGTH, 4)), kinds.Conv1D(3, 5, name="first")]
    layers += [kinds.GroupNormalization(3, name="norm"), kinds.GlobalMaxPooling1D()]
    code, said, err, _ = filters(keras.Sequential(layers))
    assert code == 0
    assert said.startswith("first: 3 filters")
    assert "not read: layer 'norm' (GroupNormalization)" in one_line(err)


def test_a_model_never_runs_code(keras: ModuleType, filters: Any, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    layer = keras.layers.Lambda(
        lambda x, path=str(mark): (open(path, "w").close(), x)[1], output_shape=(LENGTH, 4)
    )
    model = network(keras, "first", layer)
    mark.unlink(missing_ok=True)
    code, _, err, _ = filters(model)
    assert code == 2
    assert "keras cannot load it" in one_line(err)
    assert not mark.exists()


def test_a_network_that_has_diverged(keras: ModuleType, filters: Any) -> None:
    model = network(keras)
    model.layers[0].set_weights([np.full((5, 4, 3), np.nan), np.zeros(3)])
    code, _, err, out = filters(model)
    assert code == 2 and "layer first: filter 0 has an activation that is not a" in one_line(err)
    assert not out.exists() or not list(out.iterdir())


def test_dead_layers_are_told(keras: ModuleType, filters: Any) -> None:
    model = network(keras)
    model.get_layer("first").set_weights([np.full((5, 4, 3), -1.0), np.zeros(3)])
    code, said, err, out = filters(model)
    assert (code, err) == (0, "")
    assert said.startswith("first: 3 filters, 0.000 match a known motif, 3 dead\n")
    assert layer_motifs.read_filters(out / "filters.h5")["first"].dead.all()


def test_a_picture_that_fails_costs_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(ppm: Any, labels: Any, path: Path, **more: Any) -> None:
        path.write_text("half")
        raise ValueError("no such\nfont")

    monkeypatch.setattr(layer_motifs, "logo_grid", fail)
    one = Filters(np.full((1, 3, 4), 0.25), np.zeros(1), np.zeros(1), "observed", np.ones(1, bool))
    notes: list[str] = []
    layer_motifs.draw_layers({"a": one}, {"a": {"labels": {}}}, "t", tmp_path, notes.append)
    assert notes == ["logos-a.png was not drawn: no such font"]
    assert not list(tmp_path.iterdir())
    with caplog.at_level(logging.INFO, "motifk8s"):
        layer_motifs.draw_layers({"a": one}, {"a": {"labels": {}}}, "t", tmp_path)
    assert "logos-a.png was not drawn" in caplog.text
