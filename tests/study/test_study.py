"""Study files: what is read, what is refused, and the messages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from motifk8s.cells.keys import stage_keys
from motifk8s.errors import InputError
from motifk8s.study import file
from motifk8s.study import study as study_module
from motifk8s.study.file import FOLDER, builtin_names
from motifk8s.study.schema import json_schema
from motifk8s.study.specs import Conv, DeepSea, File, Model, MotifSettings, TrainingSettings, Trim
from motifk8s.study.study import Cell, Study, content_hash, load, loads, parse_cell

BUILTINS = ["demo", "ghotra2021", "koo2019", "koo2019-as-written", "koo2019-synthetic", "smoke"]

SMALL = """\
name: small
trials: 2
datasets:
  syn: {kind: synthetic, length: 100, classes: {SRF: [MA0083.3], YY1: [MA0095.2]}}
  own: {kind: file, path: data.h5, length: 80, classes: {a: [], b: [MA0095.2]}}
models:
  cnn-4: {conv: [{filters: 5, width: 9, pool: 4}, {filters: 6, width: 3, pool: 5}]}
  cnn-1: {label: One, conv: [{filters: 5, width: 9}], dense: [], dense_dropout: 0}
"""


def small(*lines: str) -> Study:
    return loads(SMALL + "\n".join(lines), "small.yaml")


def changed(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new)


def refusal(text: str) -> str:
    """The error of a study text, without the file's name, which it must begin with."""
    with pytest.raises(InputError) as info:
        loads(text, "small.yaml")
    message = str(info.value)
    assert message.startswith("small.yaml: ")
    assert all(len(line) < 300 for line in message.splitlines())
    return message.removeprefix("small.yaml: ")


def mistakes(text: str) -> dict[str, str]:
    """What is wrong with a study text: reasons by key, in order."""
    lines = refusal(text).split("\n  ")
    if len(lines) > 1:
        assert lines[0].endswith(f" (and {len(lines) - 1} more)")
    result = dict(line.split(": ", 1) for line in lines)
    assert len(result) == len(lines)
    assert not any("\n" in line for line in lines)
    return result


def assert_refused(text: str, key: str, words: list[str]) -> None:
    """The first mistake is at this key, and its reason has these words."""
    [first, reason], *_ = mistakes(text).items()
    assert first == key
    for word in words:
        assert word in reason


# --- the built-in studies


def test_builtin_names() -> None:
    assert builtin_names() == BUILTINS


@pytest.mark.parametrize("name", BUILTINS)
def test_builtins_load_and_come_back_from_plain_json(name: str) -> None:
    study = load(name)
    assert study.name == name
    resolved = study.resolved()
    assert Study.model_validate(json.loads(json.dumps(resolved))) == study
    assert "extends" not in resolved
    text = (FOLDER / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert max(map(len, text.splitlines())) <= 100


PLAIN = ["cnn-1", "cnn-2", "cnn-4", "cnn-10", "cnn-25", "cnn-50", "cnn-100"]
OTHERS = {
    "cnn-25-f60": "CNN-25 (60)",
    "cnn-25-f90": "CNN-25 (90)",
    "cnn-25-f120": "CNN-25 (120)",
    "cnn9-4": "CNN9-4",
    "cnn9-25": "CNN9-25",
    "cnn3-2": "CNN3-2",
    "cnn3-50": "CNN3-50",
    "cnn-50-s2": "CNN-50-2",
    "cnn-50-s2-64": "CNN-50-2 (64)",
    "cnn19-1-2": "CNN19-1-2",
    "cnn-1-1-100": "CNN-1-1-100",
}


def test_koo2019_is_the_paper() -> None:
    study = load("koo2019")
    labels = {name: model.label for name, model in study.models.items()}
    assert labels == {name: name.upper() for name in PLAIN} | OTHERS
    assert len(study.cells()) == 18 * 2 * 5
    assert study.training == TrainingSettings.model_validate("as-run") == TrainingSettings()
    assert study.motifs == MotifSettings.model_validate("as-run") == MotifSettings()
    assert study.training_for("synthetic") == study.training
    assert study.training_for("invivo").batch_size == 100
    assert study.datasets["synthetic"].motif_ids == study.datasets["invivo"].motif_ids
    ids = study.datasets["synthetic"].motif_ids
    assert " ".join(ids) == "Arid3a CEBPB FOSL1 Gabpa MAFK MAX MEF2A NFYB SP1 SRF STAT1 YY1"
    assert ids["MEF2A"] == ["MA0052.3", "MA0660.1", "MA0773.1"]
    assert ids["STAT1"] == ["MA0137.3"]
    assert sum(map(len, ids.values())) == 16
    for name, model in study.models.items():
        pools = [conv.pool for conv in model.conv]
        product = 2500 if name.startswith("cnn-50-s2") else 100
        assert pools[0] * pools[-1] == product, name
        assert model.lengths(200)[-1] == 2
        assert model.lengths(1000)[-1] == 10


def test_koo2019_columns() -> None:
    invivo = load("koo2019").datasets["invivo"]
    assert isinstance(invivo, DeepSea)
    columns = [spec.column for spec in invivo.classes.values()]
    assert columns == [592, 602, 344, 345, 635, 636, 349, 642, 359, 361, 661, 369]


@pytest.mark.parametrize(
    ("names", "length", "count"),
    [
        ([*PLAIN, "cnn-50-s2"], 200, 160_048),
        ([*PLAIN, "cnn-50-s2"], 1000, 684_336),
        (["cnn-50-s2-64"], 200, 25_712),  # that of the authors' code
        (["cnn9-4", "cnn9-25"], 200, 158_848),
        (["cnn3-2", "cnn3-50"], 200, 158_128),
    ],
)
def test_published_parameter_counts(names: list[str], length: int, count: int) -> None:
    models = load("koo2019").models
    assert {models[name].n_parameters(length, 12) for name in names} == {count}


def test_parameters_by_hand() -> None:
    model = Model(conv=[Conv(filters=2, width=3)], dense=[])
    assert model.n_parameters(10, 1) == 3 * 4 * 2 + 2 * 2 + 10 * 2 * 1 + 1
    model = Model(conv=[Conv(filters=2, width=3, pool=4)], dense=[5, 6])
    assert model.n_parameters(10, 3) == 28 + (6 * 5 + 10) + (5 * 6 + 12) + 6 * 3 + 3


def test_published_numbers() -> None:
    rows = load("koo2019").expected
    assert len(rows) == 27
    by = {(r.dataset, *r.models, r.layer, r.measure): (r.kind, r.mean, r.sd, r.over) for r in rows}
    assert len(by) == 27
    small_pools, large_pools = (
        ("cnn-1", "cnn-2", "cnn-4"),
        ("cnn-10", "cnn-25", "cnn-50", "cnn-100"),
    )
    t = "trials"
    for key, value in {
        ("synthetic", *small_pools, "conv1", "match_any"): ("at-most", 0.453, 0.131, t),
        ("synthetic", *small_pools, "conv1", "match_truth"): ("at-most", 0.127, 0.080, t),
        ("synthetic", *large_pools, "conv1", "match_truth"): ("at-least", 0.880, 0.034, t),
        ("synthetic", "cnn-25", "conv1", "match_truth"): ("exact", 0.980, 0.027, t),
        ("synthetic", "cnn-25-f120", "conv1", "match_truth"): ("exact", 0.887, 0.025, t),
        ("synthetic", "cnn9-4", "conv1", "match_truth"): ("value", 0, None, t),
        ("synthetic", "cnn3-50", "conv1", "auroc"): ("exact", 0.652, 0.060, "classes"),
        ("synthetic", "cnn-1-1-100", "conv1", "match_truth"): ("value", 0, None, t),
        ("synthetic", "cnn-1-1-100", "conv3", "match_truth"): ("exact", 0.891, 0.030, t),
        ("invivo", "cnn-1", "conv2", "match_truth"): ("exact", 0.625, 0.030, t),
    }.items():
        assert by[key] == value
    assert all(row.source for row in rows)


def test_as_written_differs_only_where_it_says() -> None:
    run, written = load("koo2019").resolved(), load("koo2019-as-written").resolved()
    assert {key for key in run if run[key] != written[key]} == {
        "name",
        "title",
        "description",
        "training",
        "motifs",
        "datasets",
    }
    assert written["training"] == TrainingSettings.model_validate("as-written").model_dump()
    assert written["motifs"]["trim"] is None
    own = [
        {key: study["datasets"]["synthetic"].pop(key, None) for key in ("placement", "seed")}
        for study in (run, written)
    ]
    assert own == [{"placement": "reference", "seed": 33}, {"placement": None, "seed": None}]
    assert run["datasets"] == written["datasets"]


def test_ghotra2021_is_their_networks_on_the_data_of_koo2019() -> None:
    study = load("ghotra2021")
    assert study.datasets == load("koo2019-synthetic").datasets
    assert (len(study.cells()), study.best) == (4 * 10, 3)
    layers = {
        name: [(c.filters, c.width, c.pool, c.activation) for c in model.conv]
        for name, model in study.models.items()
    }
    second = (32, 7, 6, "relu")
    assert layers == {
        "cnn-relu": [(32, 19, 24, "relu")],
        "cnn-exponential": [(32, 19, 24, "exponential")],
        "cnn2-relu": [(32, 19, 4, "relu"), second],
        "cnn2-exponential": [(32, 19, 4, "exponential"), second],
    }
    assert study.matches.model_dump() == {
        "database": "JASPAR2016", "evalue": 0.1, "qvalue": 0.1, "distance": "pearson",
    }  # fmt: skip
    published = {(row.models[0], row.measure): (row.mean, row.sd) for row in study.expected}
    assert len(published) == 12
    assert published["cnn2-exponential", "match_truth"] == (0.844, 0.026)
    assert published["cnn2-relu", "match_false"] == (0.094, 0.051)


NEW = {  # settings that were added when results existed, by the stage whose key they change
    "training: {plateau: {factor: 0.2}}": "training",
    "training: {monitor: auroc}": "training",
    "matches: {qvalue: 0.1}": "matches",
    "matches: {distance: pearson}": "matches",
    "best: 3": None,
}


@pytest.mark.parametrize("text", NEW)
def test_settings_added_later_change_no_key_unless_given(text: str) -> None:
    before = load("koo2019-synthetic")
    after = loads(f"name: x\nextends: koo2019-synthetic\n{text}\n", "x.yaml")
    cell, stages = before.cells()[0], ["training", "filters", "matches", "analysis"]
    old, new = (stage_keys(study, cell, "") for study in (before, after))
    changed = [stage for stage in stages if old[stage] != new[stage]]
    assert changed == (stages[stages.index(NEW[text]) :] if NEW[text] else [])
    dumped = json.dumps(before.resolved())
    assert not any(f'"{key}"' in dumped for key in ("plateau", "qvalue", "distance", "best"))
    assert Study.model_validate(after.resolved()) == after


def test_a_model_may_have_its_own_number_of_trials() -> None:
    text = "name: x\nextends: koo2019-synthetic\nmodels: {cnn-4: {trials: 7}}\n"
    study = loads(text, "x.yaml")
    counts = Counter(cell.model for cell in study.cells())
    assert counts.pop("cnn-4") == 7
    assert set(counts.values()) == {5}
    assert study.cell("synthetic/cnn-4/7") in study.cells()
    with pytest.raises(InputError, match="no cell synthetic/cnn-4/8; its trials are 7"):
        study.cell("synthetic/cnn-4/8")
    # More trials repeat none.
    whole = load("koo2019-synthetic")
    for cell in whole.cells():
        assert stage_keys(study, cell, "") == stage_keys(whole, cell, "")


def test_presets_are_those_of_the_paper() -> None:
    assert TrainingSettings.model_validate("as-run").model_dump() == {
        "learning_rate": 1e-3,
        "beta_1": 0.95,
        "beta_2": 0.999,
        "epsilon": 1e-8,
        "batch_size": 100,
        "epochs": 100,
        "patience": 20,
        "l2": 1e-6,
        "initializer": "glorot_uniform",
        "output_bias": {"uniform": 0.9306, "l2": True},
        "batch_norm_momentum": 0.99,
        "batch_norm_epsilon": 1e-8,
        "monitor": "loss",
    }
    assert TrainingSettings.model_validate("as-written").model_dump() == {
        "learning_rate": 3e-4,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-8,
        "batch_size": 100,
        "epochs": 100,
        "patience": None,
        "l2": 1e-6,
        "initializer": "he_normal",
        "output_bias": 0.0,
        "batch_norm_momentum": 0.99,
        "batch_norm_epsilon": 1e-3,
        "monitor": "cross-entropy",
    }
    assert MotifSettings.model_validate("as-run").model_dump() == {
        "threshold": 0.5,
        "maximum": "observed",
        "windows": "all",
        "weighted": True,
        "ends": "pad",
        "window": 19,
        "nsites": "width",
        "trim": {"bits": 0.5, "pad": 3},
    }
    as_run = MotifSettings.model_validate("as-run").model_dump()
    older = MotifSettings.model_validate("as-2019-04").model_dump()
    assert older == as_run | {"trim": {"bits": 0.5, "pad": 3, "sharpen": 3.0}}
    assert MotifSettings.model_validate("as-written").model_dump() == {
        "threshold": 0.7,
        "maximum": "achievable",
        "windows": "best",
        "weighted": False,
        "ends": "drop",
        "window": None,
        "nsites": "windows",
        "trim": None,
    }


def test_synthetic_alone() -> None:
    study = load("koo2019-synthetic")
    assert list(study.datasets) == ["synthetic"]
    assert {row.dataset for row in study.expected} == {"synthetic"}
    assert len(study.expected) == 23
    # The same data and the same cells as koo2019.
    whole = load("koo2019")
    assert study.datasets["synthetic"] == whole.datasets["synthetic"]
    assert [study.seed_of(c.id) for c in study.cells()] == [
        whole.seed_of(c.id) for c in whole.cells() if c.dataset == "synthetic"
    ]


def test_smoke_is_small() -> None:
    study = load("smoke")
    assert len(study.cells()) <= 3
    assert any(len(model.layers_before_pooling()) > 1 for model in study.models.values())


# --- architectures


@pytest.mark.parametrize(
    ("name", "layers", "fields", "lengths"),
    [
        ("cnn-1", ["conv1", "conv2"], [19, 23], [200, 2]),
        ("cnn-4", ["conv1"], [19], [50, 2]),
        ("cnn-25", ["conv1"], [19], [8, 2]),
        ("cnn9-25", ["conv1"], [9], [8, 2]),
        ("cnn-50-s2", ["conv1"], [19], [100, 2]),
        ("cnn-1-1-100", ["conv1", "conv2", "conv3"], [19, 23, 27], [200, 200, 2]),
    ],
)
def test_geometry(name: str, layers: list[str], fields: list[int], lengths: list[int]) -> None:
    model = load("koo2019").models[name]
    assert model.layers_before_pooling() == layers
    assert [model.receptive_field(i) for i in range(len(layers))] == fields
    assert model.lengths(200) == lengths
    for index in (-1, len(layers)):
        with pytest.raises(ValueError, match="before the first pooling"):
            model.receptive_field(index)


def test_pools_pad_like_same() -> None:
    model = Model(
        conv=[Conv(filters=1, width=1, pool=4), Conv(filters=1, width=1, pool=3, stride=2)]
    )
    assert model.lengths(201) == [51, 26]


def test_no_pooling_at_all() -> None:
    model = small().models["cnn-1"]
    assert model.layers_before_pooling() == ["conv1"]
    assert model.lengths(100) == [100]


# --- cells, seeds, hashes


def test_cells_and_grid() -> None:
    study = small()
    assert [cell.id for cell in study.cells()] == [
        f"{d}/{m}/{t}" for d in ("syn", "own") for m in ("cnn-4", "cnn-1") for t in (1, 2)
    ]
    study = small("grid: {own: [cnn-1]}")
    assert study.cells() == [Cell("own", "cnn-1", 1), Cell("own", "cnn-1", 2)]
    assert study.cell("own/cnn-1/2") == Cell("own", "cnn-1", 2)
    for text, reason in {
        "own/cnn-4/1": 'no cell "own/cnn-4"; did you mean "own/cnn-1"?',
        "own/cnn-1/3": "its trials are 2",
    }.items():
        with pytest.raises(InputError, match="study small has no cell") as info:
            study.cell(text)
        assert reason in str(info.value)


def test_parse_cell() -> None:
    assert parse_cell("synthetic/cnn-25/3") == Cell("synthetic", "cnn-25", 3)
    assert parse_cell("synthetic/cnn-25/3").id == "synthetic/cnn-25/3"
    for text in ("", "a/b", "a/b/0", "a/b/-1", "a/b/x", "a/b/1/2", "../b/1", "A/b/1", "a/b/1\n"):
        with pytest.raises(InputError, match="DATASET/MODEL/TRIAL"):
            parse_cell(text)


def test_seeds_are_hashes() -> None:
    study = small()
    assert study.seed_of("synthetic/cnn-25/3") == 100554691  # sha256("2019/synthetic/cnn-25/3")
    seeds = {study.seed_of(cell.id) for cell in study.cells()} | {study.seed_of("syn")}
    assert len(seeds) == 9
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert small("seed: 1").seed_of("syn") != study.seed_of("syn")
    more = loads(SMALL + "  cnn-2: {conv: [{filters: 5, width: 9}]}\n", "more.yaml")
    assert more.seed_of("syn/cnn-4/1") == study.seed_of("syn/cnn-4/1")


def test_content_hash() -> None:
    assert content_hash({"b": 1, "a": [1.5, None]}) == content_hash({"a": [1.5, None], "b": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 2})
    assert (
        content_hash({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )  # sha256 of {}
    with pytest.raises(ValueError, match="JSON"):
        content_hash(float("nan"))


# --- settings


def test_defaults() -> None:
    study = small()
    assert study.training == TrainingSettings()
    assert study.seed == 2019
    assert study.datasets["syn"].n_classes == 2
    assert study.datasets["own"].motif_ids == {"a": [], "b": ["MA0095.2"]}
    assert study.models["cnn-4"].label == "cnn-4"
    assert study.models["cnn-1"].label == "One"
    assert study.models["cnn-4"].conv[0].activation == "relu"


def test_numbers() -> None:
    study = small("training: {learning_rate: 3e-4, l2: 0}", "matches: {evalue: 1}")
    assert study.training.learning_rate == 0.0003
    assert study.training.l2 == 0.0
    assert isinstance(study.training.l2, float)
    assert study.matches.evalue == 1.0


def test_presets_with_overrides() -> None:
    study = small(
        "training: {preset: as-written, epochs: 7}",
        "motifs: {preset: as-written, trim: {pad: 2}}",
    )
    assert (study.training.learning_rate, study.training.epochs) == (3e-4, 7)
    assert study.motifs.trim == Trim(bits=0.5, pad=2)
    assert study.motifs.threshold == 0.7
    assert small("training: as-written", "motifs: {trim: null}").motifs.trim is None
    assert small("training: {patience: null}").training.patience is None


def test_training_of_a_data_set() -> None:
    text = changed("length: 80,", "length: 80, training: {batch_size: 7},") + "training: as-written"
    study = loads(text, "x")
    assert study.training_for("own").batch_size == 7
    assert study.training_for("own").learning_rate == 3e-4
    assert study.training_for("syn") == study.training
    study = loads(text.replace("{batch_size: 7}", "{preset: as-run, epochs: 2}"), "x")
    assert study.training_for("own") == TrainingSettings(epochs=2)
    assert Study.model_validate(study.resolved()) == study


def test_a_study_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        small().trials = 3


# --- what is refused

REFUSED = [  # a line, the key that is wrong, what its reason holds
    ("seeed: 1", "seeed", ["unknown key", '"seed"']),
    ("nonsense: 1", "nonsense", ["unknown key", "known: format, name,"]),
    ("training: {learning-rate: 1}", "training.learning-rate", ["unknown key", '"learning_rate"']),
    ("training: {1: 2}", "training.1", ["unknown key"]),
    ("motifs: {trim: {bit: 1}}", "motifs.trim.bit", ["unknown key", '"bits"']),
    ("seed: '1'", "seed", ["integer", '"1"']),
    ("seed: 1.0", "seed", ["integer", "1.0"]),
    ("seed: true", "seed", ["integer", "true"]),
    ("title: 2019", "title", ["text", "2019"]),
    ("title: 2019-01-01", "title", ["text", '"2019-01-01"']),
    ("training: {l2: true}", "training.l2", ["number", "true"]),
    ("training: {l2: '1e-6'}", "training.l2", ["number", '"1e-6"']),
    ("training: {l2: .inf}", "training.l2", ["finite", "Infinity"]),
    ("training: 5", "training", ["mapping", "5"]),
    ("motifs: {weighted: 1}", "motifs.weighted", ["true or false", "1"]),
    ("motifs: {weighted: yes}", "motifs.weighted", ["true or false", '"yes"']),
    ("grid: [syn]", "grid", ["mapping", "list"]),
    ("expected: {}", "expected", ["mapping", "list"]),
    ("format: 2", "format", ["format 1", "not 2"]),
    ("format: true", "format", ["integer", "true"]),
    ("seed: -1", "seed", ["greater than or equal to 0", "not -1"]),
    ("training: as-runn", "training", ["no preset", '"as-runn"', '"as-run"']),
    ("training: {preset: 5}", "training", ["known: ", "no preset", '"5"']),
    ("training: {beta_1: 1}", "training.beta_1", ["less than 1", "not 1"]),
    ("training: {learning_rate: 0}", "training.learning_rate", ["greater than 0", "not 0"]),
    ("training: {epochs: 0}", "training.epochs", ["greater than or equal to 1", "not 0"]),
    ("training: {patience: 0}", "training.patience", ["greater than or equal to 1", "not 0"]),
    (
        "training: {monitor: los}",
        "training.monitor",
        ["'loss', 'cross-entropy' or 'auroc'", '"los"', 'did you mean "loss"'],
    ),
    ("motifs: {window: 0}", "motifs.window", ["greater than or equal to 1", "not 0"]),
    ("motifs: {window: 90}", "motifs.window", ["90", "longer", "own (80 bp)"]),
    ("motifs: {threshold: 1.5}", "motifs.threshold", ["less than 1", "not 1.5"]),
    ("motifs: {trim: {bits: 2}}", "motifs.trim.bits", ["less than 2", "not 2"]),
    ("matches: {evalue: 0}", "matches.evalue", ["greater than 0", "not 0"]),
    ("matches: {database: ''}", "matches.database", ["at least 1"]),
    ("grid: {}", "grid", ["at least 1"]),
    ("grid: {syn: []}", "grid.syn", ["at least 1"]),
    ("grid: {sym: [cnn-4]}", "grid.sym", ["no data set", '"sym"', '"syn"']),
    ("grid: {syn: [cnn-44]}", "grid.syn[0]", ["no model", '"cnn-44"', '"cnn-4"']),
    ("grid: {syn: [cnn-4, cnn-4]}", "grid.syn[1]", ["cnn-4", "twice"]),
    ("figures: []", "figures", ["mapping", "list"]),
    ("figures: {Fig: {dataset: syn, panels: [cnn-4]}}", "figures.Fig", ["lower-case", '"Fig"']),
    ("figures: {f: {dataset: syn}}", "figures.f.panels", ["missing"]),
    ("figures: {f: {dataset: syn, panels: []}}", "figures.f.panels", ["at least 1"]),
    ("figures: {f: {dataset: syn, panels: [cnn-4/2]}}", "figures.f.panels[0]", ['"cnn-4/2"']),
    (
        "figures: {f: {dataset: sym, panels: [cnn-4]}}",
        "figures.f.dataset",
        ["no data set", '"sym"'],
    ),
    (
        "figures: {f: {dataset: syn, panels: [cnn-4, cnn-5]}}",
        "figures.f.panels[1]",
        ["no model", '"cnn-5"', '"cnn-4"'],
    ),
    (
        "figures: {f: {dataset: syn, panels: [cnn-4/conv2]}}",
        "figures.f.panels[0]",
        ["conv2 of cnn-4", "known: conv1"],
    ),
    ("figures: {fig1: {dataset: syn, panels: [cnn-4]}}", "figures.fig1", ["taken"]),
    (
        "figures: {syn-loss: {dataset: syn, panels: [cnn-4]}}",
        "figures.syn-loss",
        ["data set", "choose another"],
    ),
    ("figures: {f: {panel: [cnn-4]}}", "figures.f.panel", ["unknown key", '"panels"']),
    (
        "expected: [{dataset: syn, models: [x], measure: auroc, kind: value, mean: 1}]",
        "expected[0].models[0]",
        ["no model", '"x"', "known: cnn-4, cnn-1"],
    ),
    (
        "expected: [{dataset: sym, models: [cnn-4], measure: auroc, kind: value, mean: 1}]",
        "expected[0].dataset",
        ["no data set", '"sym"'],
    ),
    (
        "expected: [{dataset: syn, models: [cnn-4], measure: auroc, kind: value, mean: 2}]",
        "expected[0].mean",
        ["less than or equal to 1", "not 2"],
    ),
    (
        "expected: [{dataset: syn, models: [cnn-4], measure: auroc, kind: exact, mean: 1}]",
        "expected[0].sd",
        ["exact", "above 0"],
    ),
    (
        "expected: [{dataset: syn, models: [cnn-4, cnn-1], measure: auroc, kind: value, mean: 1}]",
        "expected[0].models",
        ["one model"],
    ),
    (
        "expected: [{dataset: syn, models: [cnn-4], layer: conv2, measure: match_any, "
        "kind: value, mean: 1}]",
        "expected[0].layer",
        ["conv2 of cnn-4", "known: conv1"],
    ),
    ("expected: [{dataset: syn}]", "expected[0].models", ["missing"]),
]


@pytest.mark.parametrize(("line", "key", "words"), REFUSED)
def test_refused_settings(line: str, key: str, words: list[str]) -> None:
    assert_refused(SMALL + line + "\n", key, words)


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("name: small", "name: Small", "name", ["lower-case", '"Small"']),
        ("name: small", "name: a_b", "name", ["lower-case", '"a_b"']),
        ("name: small", "name: a-", "name", ["lower-case", '"a-"']),
        ("name: small", "name: " + "a" * 41, "name", ["40 characters"]),
        ("name: small", "name: datasets", "name", ["data sets", "choose another"]),
        ("name: small", "", "name", ["missing"]),
        ("  syn:", "  Syn:", "datasets.Syn", ["lower-case", '"Syn"']),
        ("  cnn-4:", "  a/b:", "models.a/b", ["lower-case", '"a/b"']),
        ("  cnn-4:", "  4:", "models[4]", ["text", "quotes", "4"]),
        ("trials: 2", "trials: 0", "trials", ["greater than or equal to 1", "not 0"]),
        ("trials: 2", "trials: five", "trials", ["integer", '"five"']),
        ("trials: 2", "trials: 5000", "trials", ["20,000 cells", "5,000"]),
        (
            "kind: synthetic",
            "kind: synthetc",
            "datasets.syn.kind",
            ['"synthetc"', "synthetic, file, deepsea"],
        ),
        ("kind: synthetic, ", "", "datasets.syn.kind", ["missing", "synthetic, file, deepsea"]),
        ("kind: synthetic", "kind: deepsea", "datasets.syn.classes.SRF", ["mapping"]),
        ("length: 100", "lenght: 100", "datasets.syn.lenght", ["unknown key", '"length"']),
        (
            "length: 100",
            "length: 0",
            "datasets.syn.length",
            ["greater than or equal to 1", "not 0"],
        ),
        ("path: data.h5, ", "", "datasets.own.path", ["missing"]),
        ("length: 80, ", "", "datasets.own.length", ["missing"]),
        ("SRF: [MA0083.3]", "SRF: []", "datasets.syn.classes.SRF", ["at least 1"]),
        ("SRF: [MA0083.3]", "SRF: MA0083.3", "datasets.syn.classes.SRF", ["list"]),
        ("SRF: [MA0083.3]", "SRF: [83]", "datasets.syn.classes.SRF[0]", ["text", "83"]),
        ("{SRF: [MA0083.3], YY1: [MA0095.2]}", "{}", "datasets.syn.classes", ["at least 1"]),
        ("length: 100", "split: [0.7, 0.1, 0.1]", "datasets.syn.split", ["sum", "1", "0.9"]),
        ("length: 100", "split: [0.9, 0.1]", "datasets.syn.split", ["at least 3", "not 2"]),
        (
            "length: 100",
            "split: [0.9, 0.1, 0]",
            "datasets.syn.split[2]",
            ["greater than 0", "not 0"],
        ),
        (
            "length: 100",
            "motifs_per_sequence: []",
            "datasets.syn.motifs_per_sequence",
            ["at least 1"],
        ),
        (
            "length: 100",
            "motifs_per_sequence: [0, 0]",
            "datasets.syn.motifs_per_sequence",
            ["weights are 0"],
        ),
        (
            "length: 100",
            "motifs_per_sequence: [-1]",
            "datasets.syn.motifs_per_sequence[0]",
            ["greater than or equal to 0", "not -1"],
        ),
        (
            "length: 80",
            "length: 80, training: {epoch: 1}",
            "datasets.own.training.epoch",
            ["unknown key", '"epochs"'],
        ),
        (
            "length: 80",
            "length: 80, training: {epochs: 0}",
            "datasets.own.training.epochs",
            ["greater than or equal to 1", "not 0"],
        ),
        (
            "length: 80",
            "length: 80, training: {preset: x}",
            "datasets.own.training",
            ["no preset", '"x"'],
        ),
        (
            "filters: 6",
            "filters: 0",
            "models.cnn-4.conv[1].filters",
            ["greater than or equal to 1", "not 0"],
        ),
        ("filters: 6, ", "", "models.cnn-4.conv[1].filters", ["missing"]),
        ("pool: 5", "pol: 5", "models.cnn-4.conv[1].pol", ["unknown key", '"pool"']),
        (
            "pool: 5",
            "pool: 0",
            "models.cnn-4.conv[1].pool",
            ["greater than or equal to 1", "not 0"],
        ),
        ("pool: 5", "pool: 4.0", "models.cnn-4.conv[1].pool", ["integer", "4.0"]),
        (
            "pool: 5",
            "pool: 26",
            "models.cnn-4.conv[1].pool",
            ["26", "larger", "25 positions", "syn (100 bp)"],
        ),
        (
            "pool: 5",
            "pool: 25",
            "models.cnn-4.conv[1].pool",
            ["25", "larger", "20 positions", "own (80 bp)"],
        ),
        ("pool: 4", "pool: 101", "models.cnn-4.conv[0].pool", ["101", "larger", "100 positions"]),
        (
            "pool: 5",
            "pool: 5, stride: 6",
            "models.cnn-4.conv[1].stride",
            ["6", "larger than the pool (5)"],
        ),
        (
            "pool: 5",
            "pool: 5, stride: 0",
            "models.cnn-4.conv[1].stride",
            ["greater than or equal to 1", "not 0"],
        ),
        (
            "pool: 5",
            "pool: 5, dropout: 1",
            "models.cnn-4.conv[1].dropout",
            ["less than 1", "not 1"],
        ),
        ("pool: 5", "activation: relo", "models.cnn-4.conv[1].activation", ['"relo"']),
        (
            "width: 9, pool",
            "width: 81, pool",
            "models.cnn-4.conv[0].width",
            ["81", "wider", "own (80 bp)"],
        ),
        (
            "dense_dropout: 0",
            "dense_dropout: -0.1",
            "models.cnn-1.dense_dropout",
            ["greater than or equal to 0", "not -0.1"],
        ),
        (
            "dense: []",
            "dense: [0]",
            "models.cnn-1.dense[0]",
            ["greater than or equal to 1", "not 0"],
        ),
        ("dense: []", "dense: 5", "models.cnn-1.dense", ["list", "5"]),
        ("conv: [{filters: 5, width: 9}]", "conv: []", "models.cnn-1.conv", ["at least 1"]),
        ("conv: [{filters: 5, width: 9}], ", "", "models.cnn-1.conv", ["missing"]),
        ("label: One", "label: null", "models.cnn-1.label", ["text", "null"]),
    ],
)
def test_refused_parts(old: str, new: str, key: str, words: list[str]) -> None:
    assert_refused(changed(old, new), key, words)


def test_a_grid_without_the_pair_lifts_its_limit() -> None:
    text = changed("pool: 5", "pool: 25")
    refusal(text)
    assert loads(text + "grid: {syn: [cnn-4], own: [cnn-1]}", "x").cells()


def test_all_mistakes_at_once() -> None:
    text = """\
name: small
trails: 2
seed: one
datasets: {syn: {kind: synthetic, length: 100}}
models:
  cnn-4: {conv: [{filters: 5, width: 9, pool: 200}]}
  cnn-1: {conv: [{filters: 5, widht: 9}]}
grid: {syn: [cnn-4, cnn-44], sin: [cnn-1]}
figures: {f: {dataset: syn, panels: [cnn-4/conv2, cnn-1/conv2]}}
motifs: {windw: 3}
training: {epochs: 0, batch: 3}
"""
    found = mistakes(text)
    assert set(found) == {
        "trails",
        "seed",
        "datasets.syn.classes",
        "models.cnn-4.conv[0].pool",
        "models.cnn-1.conv[0].widht",
        "models.cnn-1.conv[0].width",
        "grid.syn[1]",
        "grid.sin",
        "figures.f.panels[0]",  # none for cnn-1, whose layers are unknown
        "motifs.windw",
        "training.epochs",
        "training.batch",
    }
    assert found["datasets.syn.classes"].startswith("missing")
    assert "200" in found["models.cnn-4.conv[0].pool"]


def test_what_is_wrong_is_not_held_against_the_rest() -> None:
    for old, new, key in (
        ("length: 80, ", "", "datasets.own.length"),
        ("kind: file", "kind: fil", "datasets.own.kind"),
        ("width: 3, ", "", "models.cnn-4.conv[1].width"),
        ("name: small", "name: Small", "name"),
        ("name: small", "name: small\nmotifs: {window: x}", "motifs.window"),
        ("length: 80, ", "length: 8, training: {epochs: x}, ", "datasets.own.training.epochs"),
    ):
        rest = "grid: {syn: [cnn-4], own: [cnn-1]}\nmatches: {evalue: 0.2}\n"
        rest += "figures: {f: {dataset: own, panels: [cnn-4, cnn-1]}}\n"
        text = changed(old, new) + rest
        assert list(mistakes(text))[0] == key
        others = {"motifs.window", "models.cnn-1.conv[0].width"} if "8, t" in new else {key}
        assert set(mistakes(text)) == {key} | others
    assert set(mistakes(SMALL + "grid: {syn: []}\nseed: x")) == {"seed", "grid.syn"}
    assert set(mistakes("name: x\nmodels: 5\ndatasets: {}\ngrid: {a: [b]}")) == {
        "models",
        "datasets",
    }


def test_very_many_mistakes_are_cut() -> None:
    lines = refusal(SMALL + f"expected: [{'5, ' * 200}]").split("\n  ")
    assert lines[0].endswith("(and 199 more)") and len(lines) < 60
    assert lines[-1] == "... and 149 more"


# --- what is not a study


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1: empty"),
        ("# nothing\n", "line 1: empty"),
        ("- a\n", "line 1: a list; a study is a mapping"),
        ("hello\n", "line 1: a single value; a study is a mapping"),
        ("name: x\nname: y\n", 'line 2: not YAML: found duplicate key "name"'),
        ("name: x\nmodels: {a: [}\n", "line 2: not YAML: "),
        ("name: x\n\tseed: 1\n", "line 2: not YAML: "),
        ("name: *x\n", "line 1: not YAML: found undefined alias"),
        ("name: x\n---\nname: y\n", "line 2: not YAML: "),
        ("name: !!python/object:os.system x\n", "line 1: not YAML: could not determine a constr"),
        ("name: x\ntitle: \x07\n", "line 2: not YAML: a control character"),
        ("name: x\nmodels: " + "[" * 1200, "not a study: nested too deeply"),
        ("extends: koo2019\n", "name: missing"),
        ("name: x\nextends: [koo2019]\n", "extends: "),
        (
            "name: x\nextends: koo2091\n",
            'extends: no built-in study (or path that ends in .yaml) "koo2091"; did you mean "koo2',
        ),
        ("name: x\nextends: ./none.yaml\n", "extends: none.yaml: no such file"),
        ("name: x\nextends: koo2019\nmodels: &a {b: *a}\n", "a YAML alias contains itself"),
        ("name: x\nmodels: &a [*a]\n", "a YAML alias contains itself"),
    ],
)
def test_not_a_study(text: str, reason: str) -> None:
    assert refusal(text).startswith(reason)


LAUGHS = {  # of 9 lines, of which each has the line above nine times
    "lists": ("[x]", "[{}]", "*a{}"),
    "mappings": ("{k: v}", "{{{}}}", "k{1}: *a{0}"),
    "merge keys": ("{k: v}", "{{<<: [{}]}}", "*a{}"),
}


@pytest.mark.parametrize("kind", LAUGHS)
@pytest.mark.parametrize("head", ["name: x\n", "name: x\nextends: smoke\n"])
def test_a_billion_laughs(kind: str, head: str) -> None:
    first, line, item = LAUGHS[kind]
    lines = [f"a0: &a0 {first}"]
    for i in range(1, 10):
        items = ", ".join(item.format(f"{i - 1}", j) for j in range(9))
        lines.append(f"a{i}: &a{i} {line.format(items)}")
    begun = time.monotonic()
    assert refusal(head + "\n".join(lines)).startswith("more than 200,000 values, counting")
    assert time.monotonic() - begun < 10


def test_merged_studies_have_a_limit_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MOST_VALUES", 100)
    model = "{conv: [{filters: 2, width: 3}, {filters: 2, width: 3}]}"

    def text(number: int) -> str:
        extends = f"extends: ./{number - 1}.yaml\n" if number else ""
        models = "".join(f"  m{number}{i}: {model}\n" for i in range(4))
        return f"name: y\n{extends}models:\n{models}"

    for number in range(9):
        (tmp_path / f"{number}.yaml").write_text(text(number))
        file.parse(text(number), "y")  # each alone is small enough
    with pytest.raises(InputError, match="more than 100 values"):
        file.read(text(8), "y", tmp_path)


def test_aliases_may_be_used(tmp_path: Path) -> None:
    text = """
name: x
extends: smoke
models:
  a: &a {conv: [&c {filters: 4, width: 5, pool: 4}]}
  b: *a
  c: {<<: *a, dense: [4]}
grid: {tiny: [a, b, c]}
"""
    study = loads(text, "x")
    assert study.models["a"].conv == study.models["b"].conv == study.models["c"].conv
    assert study.models["c"].dense == [4]


def test_not_a_file(tmp_path: Path) -> None:
    def error(path: Path) -> str:
        with pytest.raises(InputError) as info:
            load(str(path))
        assert "\n" not in str(info.value)
        return str(info.value)

    path = tmp_path / "study.yaml"
    assert error(path) == f"{path}: no such file"
    assert error(tmp_path).startswith(f"{tmp_path}: is a folder")
    for address in ("S3://b/x.yaml", "gs://b/x", "file:///x.yaml"):
        with pytest.raises(InputError, match="is an address; give the path of a file"):
            load(address)
    path.write_bytes(b"name: x\ntitle: \xe9t\xe9\n")
    assert error(path) == f"{path}: line 2: not UTF-8; save the file as UTF-8"
    path.write_bytes(b"# " + b"x" * 2**20)
    assert "1,048,576 bytes" in error(path)
    assert "1,048,576 bytes" in error(Path("/dev/zero"))
    path.write_bytes(b"")
    assert error(path).startswith(f"{path}: line 1: empty")
    path.write_text(changed("pool: 5", "pool: 26"))
    assert error(path).startswith(f"{path}: models.cnn-4.conv[1].pool: 26")


def test_unknown_name() -> None:
    with pytest.raises(InputError, match='study .* "koo2018"; did you mean "koo2019"'):
        load("koo2018")
    with pytest.raises(InputError, match="known: demo, ghotra2021, koo2019, koo2019-as-written"):
        load("zzz")


def nodes(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of plain JSON."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    return [(value, key) for key in keys] + [node for key in keys for node in nodes(value[key])]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 200) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data(), JSON)
def test_any_change_is_taken_or_refused_in_a_line_each(data: st.DataObject, value: Any) -> None:
    resolved = small("training: {preset: as-written}").resolved()
    container, key = data.draw(st.sampled_from(nodes(resolved)))
    container[key] = value
    extends = data.draw(st.booleans())
    text = json.dumps({**resolved, "extends": "koo2019"} if extends else resolved)
    try:
        loads(text, "x.yaml")
    except InputError as error:
        first, *others = str(error).splitlines()
        assert first.startswith("x.yaml: ")
        assert all(re.match(r"  \S", line) for line in others)


@pytest.mark.parametrize(
    "text",
    [
        "seed: &a [*a]",
        "grid: &a {syn: *a}",
        "expected: &a [*a]",
        "models: &a {cnn-4: *a}",
        "training: &a {trim: *a}",
        "datasets: {synthetic: {training: &a {l2: *a}}}",
    ],
)
def test_what_contains_itself(text: str) -> None:
    refusal("name: x\n" + text)
    refusal("name: x\nextends: koo2019\n" + text)


def test_a_base_with_slips_in_its_published_numbers(tmp_path: Path) -> None:
    for rows in ("[5]", "[{models: [[a]]}]", "[{models: 5, dataset: [a]}]", "{}"):
        write(tmp_path, "base.yaml", f"{SMALL}expected: {rows}\n")
        path = write(tmp_path, "mine.yaml", "name: mine\nextends: base.yaml\n")
        with pytest.raises(InputError, match="mine.yaml: expected"):
            load(path)
    write(tmp_path, "base.yaml", "name: base\nmodels: 5\ndatasets: [a]\nexpected: [{models: [a]}]")
    with pytest.raises(InputError, match="mine.yaml: "):
        load(path)


# --- files and what they extend


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def path_of(study: Study, name: str) -> str:
    dataset = study.datasets[name]
    assert isinstance(dataset, File)
    return dataset.path


def test_a_file_is_read_with_its_folder(tmp_path: Path) -> None:
    text = SMALL + "matches: {database: mine.meme}\n"
    study = load(write(tmp_path, "small.yaml", "\ufeff" + text))
    assert path_of(study, "own") == str(tmp_path / "data.h5")
    assert study.matches.database == str(tmp_path / "mine.meme")
    assert load(write(tmp_path, "small.json", json.dumps(study.resolved()))) == study
    url = load(write(tmp_path, "u.yaml", changed("data.h5", "s3://bucket/data.h5")))
    assert path_of(url, "own") == "s3://bucket/data.h5"
    assert small("matches: {database: JASPAR2018}").matches.database == "JASPAR2018"


def test_extends(tmp_path: Path) -> None:
    write(tmp_path, "base/small.yaml", SMALL + "training: as-written\nseed: 7\n")
    study = load(
        write(
            tmp_path,
            "mine.yaml",
            """\
name: mine
extends: base/small.yaml
training: {epochs: 3, patience: null}
motifs: {window: null, trim: null}
datasets: {syn: {length: 120, classes: {SRF: null}}}
models:
  cnn-1: null
  cnn-8: {conv: [{filters: 3, width: 5, pool: 8}]}
""",
        )
    )
    assert study.name == "mine"
    assert study.seed == 7
    assert study.training.learning_rate == 3e-4
    assert (study.training.epochs, study.training.patience) == (3, None)
    assert (study.motifs.window, study.motifs.trim, study.motifs.threshold) == (None, None, 0.5)
    assert study.datasets["syn"].length == 120
    assert study.datasets["syn"].motif_ids == {"YY1": ["MA0095.2"]}
    assert path_of(study, "own") == str(tmp_path / "base" / "data.h5")
    assert list(study.models) == ["cnn-4", "cnn-8"]


def test_a_preset_or_another_kind_starts_afresh() -> None:
    text = "name: x\nextends: koo2019\n"
    study = loads(text + "training: {preset: as-written, epochs: 5}", "x")
    assert study.training == TrainingSettings.model_validate({"preset": "as-written", "epochs": 5})
    study = loads(text + "motifs: {trim: {pad: 1}}", "x")
    assert study.motifs == MotifSettings(trim=Trim(bits=0.5, pad=1))
    study = loads(
        text + "datasets: {invivo: {kind: file, path: a.h5, length: 300, classes: {a: []}}}", "x"
    )
    assert study.datasets["invivo"].training == {}
    assert study.datasets["invivo"].length == 300


def test_what_is_expected_of_the_deleted_goes_too() -> None:
    text = "name: x\nextends: koo2019\n"
    study = loads(text + "models: {cnn-2: null, cnn-25: null}", "x")
    assert len(study.expected) == 27 - 4
    # But a slip in rows of one's own is an error.
    assert "no model" in refusal(
        text + "models: {cnn-2: null}\n"
        "expected: [{dataset: synthetic, models: [cnn-2], measure: auroc, kind: value, mean: 1}]"
    )


def test_figures_of_the_paper() -> None:
    figures = load("koo2019").figures
    assert list(figures) == ["fig2", "fig3", "fig4", "s1-fig", "s2-fig", "deeper-layers"]
    assert figures["fig2"].layers() == [(name, "conv1") for name in ("cnn-2", "cnn-4", "cnn-25")]
    assert figures["s1-fig"].layers() == [("cnn-1", "conv1"), ("cnn-1", "conv2")]
    assert list(load("koo2019-synthetic").figures) == ["fig2", "fig3", "s1-fig", "deeper-layers"]
    assert list(load("demo").figures_of("synthetic")) == ["fig2"]
    assert load("smoke").figures == {}


def test_figures_of_the_deleted_go_too() -> None:
    text = "name: x\nextends: koo2019\n"
    study = loads(text + "models: {cnn9-4: null, cnn-1: null}", "x")
    assert list(study.figures) == ["fig2", "fig4", "deeper-layers"]
    mine = "figures: {fig2: {panels: [cnn-100]}, fig3: null}\n"
    study = loads(text + mine, "x")
    assert study.figures["fig2"].panels == ["cnn-100"] and study.figures["fig2"].title
    assert "fig3" not in study.figures
    # But a slip in a figure of one's own is an error.
    assert "no model" in refusal(text + mine + "models: {cnn-100: null}")


def test_figures_and_tracks_decide_no_number() -> None:
    from motifk8s.cells.keys import stage_keys
    from motifk8s.data import stored

    before = load("koo2019")
    plain = before.resolved()
    plain["figures"] = {}
    for label in plain["datasets"]["invivo"]["classes"].values():
        label["track"] = ""
    after = Study.model_validate(plain)
    assert after != before
    for one in (Cell("synthetic", "cnn-2", 1), Cell("invivo", "cnn-2", 1)):
        assert stage_keys(before, one, "h") == stage_keys(after, one, "h")
        assert stored.place(before, one.dataset) == stored.place(after, one.dataset)


def test_errors_of_an_extended_study_name_the_given_file(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", changed("pool: 5", "pool: 26"))
    path = write(tmp_path, "mine.yaml", "name: mine\nextends: base.yaml\n")
    with pytest.raises(InputError) as info:
        load(path)
    assert str(info.value).startswith(f"{path}: models.cnn-4.conv[1].pool: 26 is larger")
    write(tmp_path, "base.yaml", "name: [")
    with pytest.raises(InputError) as info:
        load(path)
    assert str(info.value).startswith(f"{path}: extends: {tmp_path}/base.yaml: line 1: not YAML")


@pytest.mark.parametrize("links", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "b"}])
def test_a_circle(tmp_path: Path, links: dict[str, str]) -> None:
    for name, base in links.items():
        write(tmp_path, f"{name}.yaml", f"name: {name}\nextends: {base}.yaml\n")
    with pytest.raises(InputError, match="extends itself, directly or through others"):
        load(str(tmp_path / "a.yaml"))


# --- the schema


def plain(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(json.dumps(json_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", BUILTINS)
def test_schema_takes_the_builtins(name: str, validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(plain((FOLDER / f"{name}.yaml").read_text()))
    validator.validate(load(name).resolved())


@pytest.mark.parametrize(
    "text",
    [
        SMALL,
        SMALL + "training: {preset: as-written, epochs: 3}\nmotifs: {trim: null, window: null}",
        SMALL + "training: {l2: 0, patience: null}\ngrid: null",
        SMALL + "analysis: none",
        SMALL + "analysis: {preset: none, trim_bits: [null, 0.5], evalues: [1]}",
        "name: x\nextends: koo2019\nanalysis: {importance: false, databases: []}",
        changed("length: 80", "length: 80, training: {preset: as-run, epochs: 3}"),
        "name: x\nextends: koo2019",
        "name: x\nextends: koo2019\nmodels: {cnn-1: null, cnn-2: {label: two}}\ngrid: null",
        "name: x\nextends: koo2019\ndatasets: {synthetic: {classes: {SRF: null}}}",
        "name: x\nextends: koo2019\ndatasets: {invivo: {classes: {SRF: {column: 3}}}}",
        "name: x\nextends: koo2019\nfigures: {fig2: {title: mine}, fig3: null}",
        SMALL + "figures: {f: {dataset: syn, panels: [cnn-1/conv1, cnn-4]}}",
    ],
)
def test_schema_and_loader_take(text: str, validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(plain(text))
    loads(text, "x")


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "name: x",
        "extends: koo2019",
        "name: x\nextends: 5",
        "name: X\nextends: koo2019",
        "name: x\nextends: koo2019\nseeed: 1",
        "name: x\nextends: koo2019\nmodels: {a: {conv: [{filters: 3}]}}",
        "name: x\nextends: koo2019\nmodels: {cnn-1: {dense: 5}}",
        "name: x\nextends: koo2019\nmodels: {CNN: {label: a}}",
        "name: x\nextends: koo2019\ntraining: {batch: 5}",
        SMALL + "seeed: 1",
        SMALL + "seed: '1'",
        SMALL + "format: 2",
        SMALL + "training: as-runn",
        SMALL + "training: {preset: as-runn}",
        SMALL + "motifs: {trim: {bit: 1}}",
        SMALL + "analysis: nun",
        SMALL + "analysis: {threshold: 0.5}",
        SMALL + "analysis: {thresholds: [1.5]}",
        SMALL + "analysis: {trim_bits: [2]}",
        SMALL + "analysis: {databases: [mine.meme]}",
        SMALL + "grid: {}",
        SMALL + "figures: {f: {dataset: syn}}",
        SMALL + "figures: {f: {dataset: syn, panels: [cnn-4/2]}}",
        SMALL + "figures: {F: {dataset: syn, panels: [cnn-4]}}",
        changed("filters: 6", "filters: 0"),
        changed("pool: 5", "activation: relo"),
        changed("pool: 5", "pool: 5, dropout: 1"),
        changed("kind: file", "kind: fil"),
        changed("length: 80", "length: 80, training: {epoch: 1}"),
        changed("SRF: [MA0083.3]", "SRF: []"),
        changed("  cnn-4:", "  CNN-4:"),
        changed("conv: [{filters: 5, width: 9}], ", ""),
    ],
)
def test_schema_and_loader_refuse(text: str, validator: jsonschema.Draft202012Validator) -> None:
    assert not validator.is_valid(plain(text))
    with pytest.raises(InputError):
        loads(text, "x")


def test_schema_describes_its_fields() -> None:
    parts = json_schema()["$defs"]
    assert "pooling" in parts["Conv"]["properties"]["stride"]["description"]
    own, training = (parts[name]["properties"] for name in ("File", "Study"))
    assert own["training"]["description"] and "description" not in training["training"]


# --- the module


def test_import_is_light() -> None:
    code = (
        "import sys, motifk8s.study.study; "
        "print([m for m in ('numpy', 'pandas', 'keras', 'ruamel.yaml') if m in sys.modules])"
    )
    path = str(Path(study_module.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr
