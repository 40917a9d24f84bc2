"""Models that a Python function of the user builds, from the study file to the report."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.tiny import ROOT, command, one_line, provenance, results, run_folder, study_file

from motifk8s.cells import networks
from motifk8s.cells.estimate import longest_first
from motifk8s.cells.keys import stage_keys
from motifk8s.errors import InputError
from motifk8s.filters.layers import numbered_layers, reader
from motifk8s.study.study import Study, load

EXAMPLES = ROOT / "examples"
TOY = {
    "residual": {"filters": 4, "blocks": 2, "width": 7},
    "attention": {"filters": 4, "width": 7, "pool": 10, "heads": 2},
    "both_strands": {"filters": 3, "width": 7, "pool": 10},
}
BODY = """
    x = layers.Conv1D(3, 5, padding="same", activation="relu", name="stem")(s)
    x = layers.GlobalMaxPooling1D()(x)
    return keras.Model(s, layers.Dense(n_classes, "sigmoid")(x))
"""


def custom_study(folder: Path, *functions: str, **more: object) -> Path:
    """Write the tiny study with the example networks at toy size in place of its models."""
    shutil.copy(EXAMPLES / "networks.py", folder)
    models = {
        name.replace("_", "-"): {"build": f"networks.py:{name}", "options": TOY[name]}
        for name in functions or TOY
    }
    return study_file(folder / "tiny.yaml", {"models": {"a": None, "b": None, **models}}, more)


def net(text: str, **more: object) -> Study:
    """Return a study with one network: the text of its file, with a function named net."""
    study = {
        "name": "x",
        "datasets": {
            "d": {"kind": "file", "path": "x", "length": 20, "classes": {"A": [], "B": []}}
        },
        "models": {"m": {"build": "net.py:net", "source": text, **more}},
        "motifs": {"window": 9},
    }
    return Study.model_validate(study)


def plain(body: str = BODY, head: str = "") -> str:
    """Return the text of a file with a small network whose body is given."""
    top = "import keras\nfrom keras import layers, ops\n"
    start = "def net(length, n_classes, **options):\n    s = keras.Input((length, 4))\n"
    return f"{top}{head}\n{start}{body}"


def refused(study: Study) -> str:
    with pytest.raises(InputError) as error:
        networks.try_all(study, study.cells())
    text = str(error.value)
    assert "\n" not in text and text.startswith("study x: models.m: "), text
    return text.removeprefix("study x: models.m: ")


def example(name: str):
    spec = importlib.util.spec_from_file_location("example_networks", EXAMPLES / "networks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


# A cell ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The store of a finished study of the three example networks."""
    folder = tmp_path_factory.mktemp("custom")
    study = custom_study(folder)
    done = command("run", study, "--store", folder / "store", "--jobs", 1)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_example_networks_run_to_the_report(trained, keras):
    table = pd.read_csv(trained / "store/tiny/tables/results.csv")
    assert dict(zip(table.model, table.n_filters, strict=True)) == {
        "residual": 4, "attention": 4, "both-strands": 6,
    }  # fmt: skip
    assert set(table.layer) == {"conv1"}
    report = (trained / "store/tiny/report.html").read_text()
    assert "networks.py: residual(filters=4, blocks=2, width=7)" in report
    network = provenance(trained / "store", "small/residual/1")["network"]
    model = example("residual")(40, 2, **TOY["residual"])
    assert network["parameters"] == sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert network["layers"] == {"conv1": "stem"}
    hits = command("hits", trained / "tiny.yaml", "--store", trained / "store", "--part", "all")
    assert hits.returncode == 0, hits.stderr
    for name in ("residual", "attention", "both-strands"):
        importance = pd.read_csv(
            run_folder(trained / "store", f"small/{name}/1") / "importance.csv"
        )
        assert importance.loss_increase.abs().max() > 0


def test_the_network_goes_with_the_study(trained, tmp_path):
    kept = next((trained / "store/tiny/studies").glob("*.json"), None)
    text = json.dumps(load(str(trained / "tiny.yaml")).resolved())
    moved = tmp_path / "moved.json"
    moved.write_text(kept.read_text() if kept else text)  # without networks.py beside it
    store = trained / "store"
    plan = command("plan", moved, "--store", store, "--json")
    assert json.loads(plan.stdout) == []
    # Another file with the same text is the same network; another text is another one.
    study = load(str(moved))
    changed = json.loads(moved.read_text())
    model = changed["models"]["residual"]
    model["build"] = model["build"].replace("networks.py", "other.py")
    cell = study.cell("small/residual/1")
    keys = [stage_keys(Study.model_validate(changed), cell, "data")["training"]]
    model["source"] += "\n# a comment\n"
    keys.append(stage_keys(Study.model_validate(changed), cell, "data")["training"])
    assert [key == stage_keys(study, cell, "data")["training"] for key in keys] == [True, False]


def test_a_killed_training_resumes_to_the_bit(trained, tmp_path):
    study = custom_study(tmp_path, "residual")
    kill = (
        "import os, signal, sys\n"
        "from motifk8s.training import loop\n"
        "from motifk8s.cli.main import main\n"
        "wait = loop.Checkpoint\n"
        "from motifk8s.cells import events\n"
        "from motifk8s.cli import terminal\n"
        "old = terminal.Progress.__call__\n"
        "def watch(self, event):\n"
        "    old(self, event)\n"
        "    if isinstance(event, events.Epoch) and event.number == 3:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "terminal.Progress.__call__ = watch\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    store = tmp_path / "store"
    shutil.copytree(trained / "store/datasets", store / "datasets")
    args = "cell", study, "small/residual/1", "--store", store, "--threads", 1
    assert command(*args, code=kill).returncode == 75
    assert command(*args).returncode == 0
    assert provenance(store, "small/residual/1")["resumed_at_epochs"] == [3]
    whole, again = (results(s, "small/residual/1") for s in (trained / "store", store))
    assert whole == again


def test_status_and_report_do_not_execute_the_network(trained, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    marker = tmp_path / "executed"
    file = folder / "networks.py"
    file.write_text(f"open({str(marker)!r}, 'w')\n" + file.read_text())
    for args in (("report", folder / "tiny.yaml", "--out", tmp_path / "out"),
                 ("aggregate", folder / "tiny.yaml"), ("clean", folder / "tiny.yaml")):  # fmt: skip
        command(*args, "--store", folder / "store")
    assert not marker.exists()


# Reading the filters -----------------------------------------------------------------------------


def test_both_strands_of_the_example_are_reverse_complements(keras):
    """Filter F + i on a sequence is filter i on its reverse complement, read backwards."""
    model = example("both_strands")(30, 2, **TOY["both_strands"])
    activations = reader(numbered_layers(model)["conv1"], 30)
    x = np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(0, 4, (5, 30))]
    y, z = np.asarray(activations(x)), np.asarray(activations(x[:, ::-1, ::-1]))
    np.testing.assert_allclose(y[..., 3:], z[:, ::-1, :3], atol=1e-6)


def test_the_network_of_the_page_can_be_built(one_thread):
    page = (ROOT / "docs/studies.md").read_text()
    [text] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    study = net(text, build="networks.py:residual", options={"blocks": 2})
    [network] = networks.try_all(study, study.cells()).values()
    assert list(network.layers) == ["conv1"] and network.filters == 30


def test_a_network_may_read_any_length(one_thread):
    fixed, free = (
        networks.try_all(study, study.cells())["d", "m"]
        for study in (net(plain()), net(plain().replace("(length, 4)", "(None, 4)")))
    )
    assert fixed == free


def test_two_layers_can_give_motifs(one_thread):
    study = net(plain(then("layers.Conv1D(4, 3)")), layers=2)
    [network] = networks.try_all(study, study.cells()).values()
    assert list(network.layers) == ["conv1", "conv2"] and network.end == ""
    # Each weight counts once for each position of the output.
    assert network.multiply_adds == 20 * (5 * 4 * 3 + 3) + 18 * (3 * 3 * 4 + 4) + 4 * 2 + 2


# Mistakes ----------------------------------------------------------------------------------------

COUNTS = """
class Counts(layers.Layer):
    def __init__(self):
        super().__init__()
        self.calls = 0
    def call(self, x, training=False):
        self.calls += 1
        return x * self.calls if training else x
"""
WIDE = """
class Wide(layers.Conv1D):
    def call(self, x):
        return super().call(x) + ops.mean(x[..., :1], axis=1, keepdims=True)
"""
UNSAVED = """
class Unsaved(layers.Layer):
    def __init__(self, table, **more):
        super().__init__(**more)
    def call(self, x):
        return x
"""
CLOCK = """
import time
def now(shape, dtype=None):
    return ops.ones(shape) * (time.perf_counter() % 1)
"""
HEAD = "def net(length, n_classes):\n    "


def then(layer: str) -> str:
    """Return the small network with one more layer after its convolution."""
    return BODY.replace("    x = layers.G", f"    x = {layer}(x)\n    x = layers.G")


MISTAKES = {
    "def net(:\n": "net.py, line 1: invalid syntax",
    "import keras\nimport no_such_module\n": (
        "net.py, line 2: No module named 'no_such_module'; install it here and in the image"
    ),
    "x = 1\n": "net.py has no function net",
    "net = 1\n": "net.py has no function net",
    HEAD + "raise KeyError('a\\nb')\n": "net.py, line 2: KeyError: 'a\\nb'",
    HEAD + "raise SystemExit(3)\n": "net.py, line 2: SystemExit: 3",
    "def net(length):\n    pass\n": "net.py: net: TypeError: net() takes 1 positional argument",
    HEAD + "pass\n": "net.py: net returns NoneType; return a keras.Model",
    plain(BODY.replace("n_classes", "7")): (
        "net.py: net returns a model whose output is (N, 7) for input (N, 20, 4)"
    ),
    plain(BODY.replace("keras.Model(s, ", "keras.Model(s, [s, ").replace("(x))", "(x)])")): (
        "net.py: net returns a model whose output is list for input (N, 20, 4)"
    ),
    plain(BODY.replace("(s)", "(ops.mean(s, axis=2, keepdims=True))")): (
        "model: there is no convolution before the first pooling that can be read"
    ),
    plain(BODY.replace('padding="same"', "strides=2")): (
        "model: there is no convolution before the first pooling that can be read: layer 'stem' "
        "(Conv1D) has strides"
    ),
    plain(BODY.replace('"sigmoid"', '"linear"')): "net.py: net: predictions from",
    plain(BODY.replace("activation=", "kernel_initializer=now, activation="), CLOCK): (
        "net.py: net builds another network each time"
    ),
    plain(then("Counts()"), COUNTS): "net.py: net: a training that resumes would differ",
    plain(BODY.replace("layers.Conv1D", "Wide"), WIDE): (
        "layer stem reads bases outside of the 5 bp"
    ),
    plain(then("Unsaved(object())"), UNSAVED): "net.py: net: ",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_line(text, one_thread):
    assert refused(net(text)).startswith(MISTAKES[text])


def test_more_layers_than_can_be_read(one_thread):
    text = refused(net(plain(), layers=2))
    assert text == "layers: 2 are to give motifs, but only stem can be read"


def test_prints_are_not_output(tmp_path):
    study = custom_study(tmp_path, "residual")
    file = tmp_path / "networks.py"
    file.write_text("print('hello')\n" + file.read_text())
    done = command("plan", study, "--store", tmp_path / "store", "--json")
    assert done.returncode == 0 and json.loads(done.stdout) == ["small/residual/1"]


def test_a_network_of_unknown_work_begins_first(tmp_path):
    shutil.copy(EXAMPLES / "networks.py", tmp_path)
    own = {"build": "networks.py:residual"}
    study = load(str(study_file(tmp_path / "tiny.yaml", {"models": {"own": own}})))
    small = {("small", "own"): networks.Network(1, 1, 1.0, {}, "")}

    def order(**known):
        return [cell.model for cell in longest_first(study, None, study.cells(), **known)]

    assert order()[0] == "own" and order(networks=small)[-1] == "own"


@pytest.mark.parametrize(
    "model, expected",
    [
        ({"build": "gone.py:net"}, "gone.py: no such file"),
        ({"build": "net.py"}, "build: should match pattern"),
        ({"build": "networks.py:residual", "conv": []}, 'conv: unknown key; known: label, build'),
        ({"build": 3}, "build: should be text (in quotes), not 3"),
        ({"build": "networks.py:residual", "options": [1]}, "options: should be a mapping"),
    ],
)  # fmt: skip
def test_mistakes_in_the_study(tmp_path, model, expected):
    shutil.copy(EXAMPLES / "networks.py", tmp_path)
    study = study_file(tmp_path / "tiny.yaml", {"models": {"a": None, "b": None, "own": model}})
    done = command("plan", study, "--store", tmp_path / "store")
    assert done.returncode == 2 and expected in one_line(done.stderr), done.stderr
    assert "models.own" in one_line(done.stderr)


def test_a_custom_model_replaces_layers_of_the_base(tmp_path):
    study_file(tmp_path / "base.yaml")
    shutil.copy(EXAMPLES / "networks.py", tmp_path)
    file = tmp_path / "own.yaml"
    file.write_text(
        "name: own\nextends: ./base.yaml\nmodels: {a: {build: 'networks.py:residual'}}\n"
    )
    study = load(str(file))
    assert study.models["a"].layers_before_pooling() == ["conv1"]
    file2 = tmp_path / "again.yaml"
    file2.write_text("name: again\nextends: ./own.yaml\nmodels: {a: {options: {blocks: 1}}}\n")
    assert load(str(file2)).models["a"].options == {"blocks": 1}
    file3 = tmp_path / "back.yaml"
    file3.write_text(
        "name: back\nextends: ./own.yaml\nmodels: {a: {conv: [{filters: 2, width: 3}]}}\n"
    )
    assert load(str(file3)).models["a"].n_filters("conv1") == 2
