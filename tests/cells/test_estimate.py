"""Estimates against values computed by hand, and what they must never do."""

from __future__ import annotations

import hashlib
import json
from io import BytesIO

import h5py
import numpy as np
import pytest
from helpers.tiny import provenance, study_file
from hypothesis import given
from hypothesis import strategies as st

from motifk8s.cells import estimate, measured, rates
from motifk8s.cells.keys import cell_folder, stage_keys
from motifk8s.cells.measured import Machine
from motifk8s.cells.plan import plan
from motifk8s.cells.rates import Sizes, Work
from motifk8s.cli.terminal import print_estimate
from motifk8s.data import stored
from motifk8s.errors import InputError
from motifk8s.store.base import Info, MissingError, Store
from motifk8s.store.folder import FolderStore
from motifk8s.study.specs import Conv, Model
from motifk8s.study.study import load

CPU, GPU = {"device": "cpu", "threads": 1}, {"device": "NVIDIA H100", "threads": 16}


class Memory(Store):
    """A store in a dictionary, which counts how often it is read."""

    url = "s3://bucket/memory"

    def __init__(self):
        self.files, self.reads = {}, 0

    def read(self, path):
        self.reads += 1
        if path not in self.files:
            raise MissingError(path)
        return self.files[path]

    def write(self, path, data):
        self.files[path] = data

    def upload(self, file, path):
        self.files[path] = file.read_bytes()

    def download(self, path, file):
        file.write_bytes(self.read(path))

    def exists(self, path):
        return path in self.files

    def delete(self, path):
        self.files.pop(path, None)

    def list(self, path=""):
        return sorted(name for name in self.files if name.startswith(f"{path}/" if path else ""))

    def infos(self, path=""):
        return {name: Info(len(self.files[name]), 0.0) for name in self.list(path)}


@pytest.fixture
def make(tmp_path):
    """Loads the tiny study, changed, of three trials."""
    return lambda *changes: load(str(study_file(tmp_path / "study.yaml", {"trials": 3}, *changes)))


@pytest.fixture
def store():
    return Memory()


def finish(store, study, id, seconds, others=4.0, on=CPU, resumed=(), keys=None, wrong=None):
    """Write a finished cell: seconds of its epochs, and of all else."""
    cell = study.cell(id)
    data_marker = {"format": 1, "data_hash": "d" * 64}
    store.write(f"{stored.place(study, cell.dataset)}/done.json", json.dumps(data_marker).encode())
    history = "epoch,seconds\n" + "".join(f"{i},{s}\n" for i, s in enumerate(seconds, 1))
    told = {
        "study": study.resolved(),
        "cell": id,
        "stages": {"training": sum(seconds), "setup": others},
        "resumed_at_epochs": list(resumed),
        **on,
        **(wrong or {}),
    }
    files = {"history.csv": history.encode(), "provenance.json": json.dumps(told).encode()}
    place = cell_folder(study, cell)
    for name, content in files.items():
        store.write(f"{place}/runs/r/{name}", content)
    marker = {
        "format": 1,
        "keys": stage_keys(study, cell, "d" * 64) | (keys or {}),
        "run": "runs/r",
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    store.write(f"{place}/done.json", json.dumps(marker).encode())


def ask(study, store):
    found = estimate.estimate(study, store, plan(study, store))
    return found, {cost.cell.id: cost for cost in found.costs}


# The work of training ------------------------------------------------------------------------

BY_HAND = Model(conv=[Conv(filters=2, width=3, pool=2), Conv(filters=4, width=5)], dense=[3])


def test_work_by_hand():
    n = 8 + 4 * rates.FORWARD  # sequences
    amount = rates.work(BY_HAND, 10, 2, 4, train=8, valid=4)
    expected = Work(
        operations=n
        * (2 * 10 * 3 * 4 * 2 * 2 / 3 + 2 * 5 * 5 * 2 * 4 + 2 * 20 * 3 + 2 * 3 * 2)
        / 1e9,
        activations=n * (10 * 2 + 5 * 4) / 1e9,
        pooled=n * (5 * 2 * 2) / 1e9,
        batches=0.002,
        updates=2 * 150 / 1e9,
        epochs=1,
    )
    assert amount == pytest.approx(expected)
    assert BY_HAND.n_parameters(10, 2) == 150


def test_windows_that_overlap_count_each_input_more_than_once():
    model = Model(conv=[Conv(filters=2, width=3, pool=4, stride=2)])
    assert rates.work(model, 10, 2, 4, train=1e9).pooled == 5 * 4 * 2


def test_smaller_last_batch_is_a_batch():
    assert rates.work(BY_HAND, 10, 2, 4, train=9).batches == 0.003


def test_seconds():
    assert rates.seconds(Work(1, 2, 3, 4, 5, 6), Work(1, 0, 0, 0, 0, 10)) == 61


def test_rates_are_those_of_a_core():
    assert all(rate >= 0 for rate in (*rates.RATES, *rates.RATES_OUTSIDE))
    assert 0.1 < rates.FORWARD < 0.5
    paper = load("koo2019-synthetic")
    each = {
        name: rates.expected(paper, "synthetic", name, Sizes(17_500, 2_500, 5_000))[0]
        for name in paper.models
    }
    # docs/results has 2.8, 6.6 and 45.6 s in all, on another machine.
    for name, took in (("cnn-25", 2.8), ("cnn-2", 6.6), ("cnn-1-1-100", 45.6)):
        assert took / 2 < each[name] < took * 2


LAYER = st.builds(Conv, filters=st.integers(1, 40), width=st.integers(1, 9), pool=st.integers(1, 4))


@given(
    layers=st.lists(LAYER, min_size=1, max_size=4),
    which=st.integers(0, 3),
    more=st.integers(1, 30),
    what=st.sampled_from(["filters", "width", "dense", "length", "train", "valid", "batches"]),
)
def test_more_is_never_cheaper(layers, which, more, what):
    def cost(layers, dense=64, length=100, train=1000, valid=100, batch=50):
        return rates.seconds(
            rates.work(Model(conv=layers, dense=[dense]), length, 3, batch, train, valid)
        )

    before = cost(layers)
    if what in ("filters", "width"):
        i = which % len(layers)
        larger = [*layers]
        larger[i] = layers[i].model_copy(update={what: getattr(layers[i], what) + more})
        assert cost(larger) > before
    elif what == "batches":
        assert cost(layers, batch=max(1, 50 - more)) > before
    else:
        at = {"dense": 64, "length": 100, "train": 1000, "valid": 100}[what] + more
        assert cost(layers, **{what: at}) > before


# Estimates -----------------------------------------------------------------------------------


def test_nothing_measured(make, store):
    study = make()
    found, costs = ask(study, store)
    assert len(costs) == 6 and found.machine is None
    each, outside = rates.expected(study, "small", "a", Sizes(100, 50, 50))
    cost = costs["small/a/2"]
    assert cost[1:] == (5, True, each, outside, "reference")
    assert cost.total == 5 * each + outside
    assert found.hours == pytest.approx(sum(c.total for c in costs.values()) / 3600)
    assert "6 cells by the rates of one CPU core" in found.basis
    assert "finish one cell" in found.basis and "most epochs" in found.basis
    assert "\n" not in found.basis


def test_without_early_stopping_epochs_are_no_bound(make, store):
    study = make({"training": "as-written"})
    assert ask(study, store)[1]["small/a/1"][1:3] == (100, False)
    finish(store, study, "small/a/1", [1.0, 1.0])  # of whatever reason
    assert ask(study, store)[1]["small/a/2"][1:3] == (100, False)


def test_other_trials_take_what_the_first_took(make, store):
    study = make()
    finish(store, study, "small/a/1", [9.0, 1.0, 2.0, 3.0], others=4.0)
    found, costs = ask(study, store)
    # An epoch takes 2 s; 7 of the first one's 9 are compiling, which is outside, as the 4 are.
    assert costs["small/a/2"][1:] == (4, False, 2, 11, "measured")
    assert costs["small/a/2"].total == 9 + 1 + 2 + 3 + 4
    assert "small/a/1" not in costs
    finish(store, study, "small/a/2", [9.0, 4.0, 4.0, 4.0, 4.0, 4.0], others=6.0)
    assert ask(study, store)[1]["small/a/3"][1:] == (5, False, 3, 11, "measured")


def test_compiling_after_a_resumption_is_no_epoch_either(make, store):
    study = make()
    finish(store, study, "small/a/1", [9.0, 1.0, 7.0, 3.0], resumed=[2])
    assert ask(study, store)[1]["small/a/2"].seconds == 2
    finish(store, study, "small/a/1", [6.0], others=1.0)
    assert ask(study, store)[1]["small/a/2"][1:] == (1, False, 6, 1, "measured")


def test_another_architecture_is_scaled(make, store):
    study = make()
    finish(store, study, "small/a/1", [9.0, 2.0, 2.0], others=5.0)
    found, costs = ask(study, store)
    a, b = (rates.expected(study, "small", name, Sizes(100, 50, 50)) for name in "ab")
    cost = costs["small/b/1"]
    assert cost.seconds == pytest.approx(2 * b[0] / a[0])
    assert cost.outside == pytest.approx(12 * b[1] / a[1])
    assert cost[1:3] == (3, False) and cost.basis == "scaled"
    assert found.machine == Machine("cpu", 1)
    assert "2 cells by finished cells" in found.basis and "3 cells scaled" in found.basis
    assert "on cpu, 1 thread a cell" in found.basis and "GPU" not in found.basis


def test_other_training_settings_tell_speed_but_not_epochs(make, store):
    finish(store, make({"training": {"patience": 2}}), "small/a/1", [2.0, 2.0])
    study = make()
    cost = ask(study, store)[1]["small/a/1"]
    assert cost[1:3] == (5, True)
    assert cost.basis == "scaled" and cost.seconds == pytest.approx(2)


def test_a_gpu_counts_before_a_cpu(make, store):
    study = make()
    finish(store, study, "small/a/1", [8.0, 8.0])
    finish(store, study, "small/a/2", [8.0, 8.0], on={"device": "cpu", "threads": 2})
    finish(store, study, "small/b/1", [0.5, 0.5, 0.5, 0.5], on=GPU)
    found, costs = ask(study, store)
    assert found.machine == Machine("NVIDIA H100", None)
    assert costs["small/b/2"].seconds == 0.5
    a, b = (rates.expected(study, "small", name, Sizes(100, 50, 50))[0] for name in "ab")
    assert costs["small/a/3"].basis == "scaled"
    assert costs["small/a/3"].seconds == pytest.approx(0.5 * a / b)
    assert costs["small/a/3"].epochs == 2, "epochs are the same on any device"


def test_another_study_in_the_store_tells_too(make, store):
    finish(store, make({"name": "other", "models": {"b": None}}), "small/a/3", [1.0, 2.0])
    found, costs = ask(make({"models": {"a": {"label": "renamed"}}}), store)
    assert costs["small/a/1"][1:4] == (2, False, 2) and costs["small/a/1"].basis == "measured"
    assert costs["small/b/1"].basis == "scaled" and costs["small/b/1"].epochs == 2
    # Its own cells come first: of those, one on a CPU says more than another study's on a GPU.
    study = make()
    finish(store, make({"name": "other"}), "small/b/1", [0.1, 0.1], on=GPU)
    finish(store, study, "small/a/1", [8.0, 8.0])
    assert ask(study, store)[0].machine == Machine("cpu", 1)


def test_a_finished_study_costs_nothing(make, store, capsys):
    study = make({"trials": 1})
    for name in "ab":
        finish(store, study, f"small/{name}/1", [1.0])
    found, costs = ask(study, store)
    assert found.hours == 0 and costs == {}
    estimate.check_cap(found, 1e-9)
    print_estimate(found, 3.0, 1.0)
    assert capsys.readouterr().out.splitlines() == [
        "left: 0.00 GPU hours, one GPU a cell; 0.00 at 3 an hour; the cap is 1",
        "every cell is done",
    ]


def test_what_is_done_is_not_paid_again(make, store):
    study = make()
    finish(store, study, "small/a/1", [1.0] * 4)
    finish(store, study, "small/a/2", [1.0] * 4, keys={"filters": "of another rule"})
    finish(store, study, "small/a/3", [1.0] * 4, keys={"training": "of other settings"})
    costs = ask(study, store)[1]
    assert costs["small/a/2"][1:3] == (0, False) and costs["small/a/2"].outside > 0
    assert costs["small/a/3"].epochs == 4


def test_a_checkpoint_is_not_believed(make, store):
    """It may be of other settings, and training would begin again."""
    study = make()
    finish(store, study, "small/a/1", [1.0] * 4)
    place = cell_folder(study, study.cell("small/b/1"))
    store.write(f"{place}/checkpoint", b"")
    store.write(f"{place}/progress.json", json.dumps({"format": 1, "epoch": 3}).encode())
    assert ask(study, store)[1]["small/b/1"].epochs == 4


@pytest.mark.parametrize(
    "wrong", [{"study": {"format": 9}}, {"cell": "x"}, {"stages": None}, {"resumed_at_epochs": 3}]
)
def test_what_cannot_be_understood_is_left_out(make, store, wrong):
    study = make()
    finish(store, study, "small/a/1", [1.0, 1.0], wrong=wrong)
    found, costs = ask(study, store)
    assert {cost.basis for cost in costs.values()} == {"reference"}


def test_what_is_damaged_is_left_out(make, store):
    study = make()
    finish(store, study, "small/a/1", [1.0, 1.0])
    store.write(f"{cell_folder(study, study.cell('small/a/1'))}/runs/r/history.csv", b"epoch")
    found, costs = ask(study, store)
    assert {cost.basis for cost in costs.values()} == {"reference"}


def test_factor():
    assert estimate.factor(5, [(1, 3)]) == pytest.approx(3)
    assert estimate.factor(5, [(1, 3), (1, 2), (1, 30)]) == pytest.approx(3)
    pairs = [(1, 2), (100, 50)]  # twice as long, and half as long
    assert estimate.factor(0.1, pairs) == pytest.approx(2)
    assert estimate.factor(10, pairs) == pytest.approx(1)
    assert estimate.factor(1000, pairs) == pytest.approx(0.5)


def test_reading_is_bounded(make, store):
    study = make({"trials": 500})
    for model in "ab":
        for trial in range(1, 251):
            finish(store, study, f"small/{model}/{trial}", [1.0])
    states = plan(study, store)
    store.reads = 0
    found = estimate.estimate(study, store, states)
    assert len(found.costs) == 500
    assert store.reads <= 3 * 2 * measured.TRIALS_READ + 2


def test_real_files(tiny):
    """Of cells that were really trained."""
    path = study_file(tiny, {"trials": 2})
    store, study = FolderStore(tiny.parent / "store"), load(str(path))
    found, costs = ask(study, store)
    assert found.machine == Machine("cpu", 1)
    for model in "ab":
        cost = costs[f"small/{model}/2"]
        stages = provenance(store.folder, f"small/{model}/1")["stages"]
        assert cost.basis == "measured" and cost.epochs == 5
        assert cost.total == pytest.approx(sum(stages.values()))
        assert 0 < cost.seconds < stages["training"] / 5, "compiling is not in every epoch"


# Sizes of data sets --------------------------------------------------------------------------

CLASSES = {"SRF": ["MA0083.3"]}
SPLIT = np.repeat(np.arange(3, dtype=np.uint8), [5, 3, 2])


def h5(split=SPLIT):
    image = BytesIO()
    with h5py.File(image, "w") as file:
        file["split"] = split
    return image.getvalue()


def test_sizes_as_described(make, store):
    assert measured.sizes_of(make(), "small", store) == Sizes(100, 50, 50)
    odd = make({"datasets": {"small": {"n_sequences": 11}}})
    assert measured.sizes_of(odd, "small", store) == Sizes(6, 2, 3)


@pytest.mark.parametrize("there", ["nowhere", "file", "store", "folder", "marker"])
def test_sizes_of_a_file(make, store, tmp_path, there):
    spec = {"kind": "file", "path": str(tmp_path / "x.h5"), "length": 40, "classes": CLASSES}
    study = make({"datasets": {"small": None, "own": spec}})
    place = stored.place(study, "own")
    if there == "file":
        (tmp_path / "x.h5").write_bytes(h5())
    elif there in ("store", "folder"):
        store = FolderStore(tmp_path / "store") if there == "folder" else store
        store.write(f"{place}/done.json", b'{"format": 1, "data_hash": ""}')
        store.write(f"{place}/data.h5", h5())
    elif there == "marker":
        told = {"format": 1, "sequences": {"train": 5, "valid": 3, "test": 2}}
        store.write(f"{place}/done.json", json.dumps(told).encode())
    wanted = None if there == "nowhere" else Sizes(5, 3, 2)
    assert measured.sizes_of(study, "own", store) == wanted


def test_sizes_as_published(make, store):
    paper = load("koo2019")
    assert measured.sizes_of(paper, "invivo", store) == Sizes(270_382, 8_000, 23_768)
    spec = {"kind": "deepsea", "classes": {"X": {"column": 0, "motifs": ["MA0083.3"]}}}
    study = make({"datasets": {"small": None, "other": spec}})
    assert measured.sizes_of(study, "other", store) is None


# The cap, and what is printed ----------------------------------------------------------------


def test_cap(make, store):
    found, _ = ask(make(), store)
    estimate.check_cap(found, None)
    estimate.check_cap(found, found.hours)
    with pytest.raises(InputError, match=r"at most .* GPU hours, and the cap is 0.01") as told:
        estimate.check_cap(found._replace(costs=found.costs * 100), 0.01)
    assert told.value.exit_code == 2
    text = str(told.value)
    assert "\n" not in text and text.startswith("study tiny: its 600 unfinished cells")
    assert "raise --max-gpu-hours, choose fewer trials or models, or finish one cell" in text


def test_cap_of_unknown_cost(make, store):
    spec = {"kind": "file", "path": "/nowhere.h5", "length": 40, "classes": CLASSES}
    found, costs = ask(make({"datasets": {"own": spec}}), store)
    assert costs["own/a/1"].basis == "unknown" and costs["own/a/1"].total == 0
    assert found.absent == ["own"] and "of unknown size: own" in found.basis
    with pytest.raises(InputError, match="unknown size: own; import it first"):
        estimate.check_cap(found, 1e9)
    estimate.check_cap(found, None)


def test_printed(make, store, capsys):
    study = make({"training": {"patience": 3}})
    finish(store, study, "small/a/1", [4000.0, 1800.0, 1800.0], others=0.0, on=GPU)
    found, costs = ask(study, store)
    found = found._replace(costs=[c for c in found.costs if c.cell.model == "a"])
    print_estimate(found, price=2.5, cap=5)
    said = capsys.readouterr().out
    assert ["small", "a", "2", "6", "1.8e+03", "4.22", "measured"] in [
        line.split() for line in said.splitlines()
    ]
    assert "left: 4.22 GPU hours, one GPU a cell; 10.56 at 2.5 an hour; the cap is 5\n" in said
    assert "2 cells by finished cells of their kind; on NVIDIA H100\n" in said
    print_estimate(ask(make({"name": "new", "seed": 9}), Memory())[0])
    assert "≤ 15" in capsys.readouterr().out
