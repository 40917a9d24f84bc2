"""Estimates against values computed by hand, and properties that always hold."""

from __future__ import annotations

import hashlib
import json
from io import BytesIO

import h5py
import numpy as np
import pytest
from helpers.tiny import one_line, provenance, study_file
from hypothesis import given
from hypothesis import strategies as st

from motifk8s.cells import estimate
from motifk8s.cells.estimate import BATCH, LONGEST_START, OUTPUT, SLOWEST, Machine
from motifk8s.cells.keys import cell_folder, stage_keys
from motifk8s.cells.plan import plan
from motifk8s.cli.terminal import print_estimate
from motifk8s.data import stored
from motifk8s.data.sizes import Sizes, count_sequences
from motifk8s.errors import InputError
from motifk8s.store.base import Info, MissingError, Store
from motifk8s.store.folder import FolderStore
from motifk8s.study.specs import Conv, Model
from motifk8s.study.study import Cell, load

CPU, GPU = {"device": "cpu", "threads": 1}, {"device": "NVIDIA H100", "threads": 16}


class Memory(Store):
    """A store in a dictionary that counts its reads."""

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
    """Return a function that loads the tiny study with three trials and changes."""
    return lambda *changes: load(str(study_file(tmp_path / "study.yaml", {"trials": 3}, *changes)))


@pytest.fixture
def store():
    return Memory()


def finish(store, study, id, seconds, others=4.0, on=CPU, resumed=(), keys=None, wrong=None):
    """Write a finished cell with the seconds of its epochs, and outside of epochs."""
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
FORWARD = 10 * 2 * (3 * 4 + OUTPUT) + 5 * 4 * (5 * 2 + OUTPUT) + 20 * 3 + 3 * 2


def work_of(study, model, sizes):
    return estimate.count_work(study, study.cell(f"small/{model}/1"), sizes)


def test_work_by_hand(make):
    assert estimate.count_forward(BY_HAND, 10, 2) == FORWARD
    study = make({"models": {"a": BY_HAND.model_dump(mode="json")}, "training": {"batch_size": 4}})
    forward = estimate.count_forward(BY_HAND, 40, 2)
    assert work_of(study, "a", Sizes(8, 4, 99)) == 3 * (8 * forward + 2 * BATCH) + 4 * forward
    assert work_of(study, "a", Sizes(9, 0, 99)) == 3 * (9 * forward + 3 * BATCH), "smaller last one"


def test_the_most_work_first_in_each_trial(make):
    small, large = (
        BY_HAND.model_copy(update={"dense": [n]}).model_dump(mode="json") for n in (1, 9)
    )
    study = make({"models": {"a": small, "b": large, "c": small}, "trials": 2})
    cells = study.cells()
    ordered = [f"{cell.model}{cell.trial}" for cell in estimate.longest_first(study, None, cells)]
    assert ordered == ["b1", "a1", "c1", "b2", "a2", "c2"]


def test_seconds_are_near_the_work():
    """An epoch's seconds are near its work, and far below the bound."""
    paper = load("koo2019-synthetic")
    # docs/results has these seconds, validation included, on another machine.
    took = {"cnn-25": 2.8, "cnn-2": 6.6, "cnn-1-1-100": 45.6}
    work = {
        name: estimate.count_work(
            paper, paper.cell(f"synthetic/{name}/1"), Sizes(17_500, 2_500, 5_000)
        )
        for name in took
    }
    for name in took:
        for other in took:
            ratio = (work[name] / work[other]) / (took[name] / took[other])
            assert 1 / 1.5 < ratio < 1.5
        assert 5 * took[name] < work[name] / SLOWEST < 20 * took[name]


SMOKE = load("smoke")
LAYER = st.builds(Conv, filters=st.integers(1, 40), width=st.integers(1, 9), pool=st.integers(1, 4))


@given(
    layers=st.lists(LAYER, min_size=1, max_size=4),
    which=st.integers(0, 3),
    more=st.integers(1, 30),
    what=st.sampled_from(["filters", "width", "dense", "length", "train", "valid", "batches"]),
)
def test_more_is_never_cheaper(layers, which, more, what):
    def cost(layers, dense=64, length=100, train=1000, valid=100, batch=50):
        model = Model(conv=layers, dense=[dense])
        data = SMOKE.datasets["tiny"].model_copy(update={"length": length})
        study = SMOKE.model_copy(
            update={
                "models": {"m": model},
                "datasets": {"tiny": data},
                "training": SMOKE.training.model_copy(update={"batch_size": batch}),
            }
        )
        return estimate.count_work(study, Cell("tiny", "m", 1), Sizes(train, valid, 0))

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
    each = work_of(study, "a", Sizes(100, 50, 50)) / SLOWEST
    forward = estimate.count_forward(study.models["a"], 40, 2)
    outside = LONGEST_START + (50 + (6 + 8) * 50) * forward / SLOWEST  # each filter is silenced
    cost = costs["small/a/2"]
    assert cost[1:] == (5, True, each, pytest.approx(outside), "bound")
    fewer = ask(make({"analysis": {"sequences": 10}}), store)[1]["small/a/2"].outside
    assert outside - fewer == pytest.approx((6 + 8) * 40 * forward / SLOWEST)
    assert found.hours == pytest.approx(sum(c.total for c in costs.values()) / 3600)
    assert "\n" not in found.basis
    assert "measure one cell: " in found.basis and "GPU hours" not in found.basis


@pytest.mark.parametrize("there", [False, True])
def test_the_command_that_measures_a_cell(make, store, there):
    """The cell has the least work; the command makes the data set if it is missing."""
    study = make({"models": {"a": {"dense": [10_000]}}})
    if there:
        marker = b'{"format": 1, "data_hash": ""}'
        store.write(f"{stored.place(study, 'small')}/done.json", marker)
    cell = "motifk8s cell STUDY.yaml small/b/1 --store s3://bucket/memory"
    data = "motifk8s dataset STUDY.yaml small --store s3://bucket/memory && "
    found, _ = ask(study, store)
    assert f"measure one cell: {'' if there else data}{cell}; in a cluster," in found.basis


def test_the_command_names_a_built_in_study(tmp_path):
    found, _ = ask(load("koo2019"), FolderStore(tmp_path / "my store"))
    assert f" cell koo2019 synthetic/cnn3-50/1 --store '{tmp_path}/my store'" in found.basis


def test_the_command_measures_a_cell(tmp_path, monkeypatch, here):
    """After the printed command, the other cells are estimated from its cell."""
    study = load(str(study_file(tmp_path / "STUDY.yaml", {"training": {"epochs": 1}})))
    store = FolderStore(tmp_path / "store")
    command = ask(study, store)[0].basis.partition("cell: ")[2].partition("; in a cluster")[0]
    monkeypatch.chdir(tmp_path)
    for part in command.split(" && "):
        program, *args = part.split()
        assert program == "motifk8s"
        assert here(*args)[0] == 0
    found, costs = ask(study, store)
    assert found.machine is not None and {cost.basis for cost in costs.values()} == {"scaled"}


def test_without_early_stopping_epochs_are_no_bound(make, store):
    study = make({"training": "as-written"})
    assert ask(study, store)[1]["small/a/1"][1:3] == (100, False)
    finish(store, study, "small/a/1", [1.0, 1.0])  # of whatever reason
    assert ask(study, store)[1]["small/a/2"][1:3] == (100, False)


def test_other_trials_take_what_the_first_took(make, store):
    study = make()
    finish(store, study, "small/a/1", [9.0, 1.0, 2.0, 3.0], others=4.0)
    found, costs = ask(study, store)
    # An epoch takes 2 s. The first takes 9: 7 for compiling, which are outside, as the 4 are.
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
    a, b = (work_of(study, name, Sizes(100, 50, 50)) for name in "ab")
    cost = costs["small/b/1"]
    assert cost.seconds == pytest.approx(2 * b / a)
    assert cost.outside == 12
    assert cost[1:3] == (3, False) and cost.basis == "scaled"
    assert found.machine == Machine("cpu", 1)
    assert "2 cells by finished cells" in found.basis and "3 cells scaled" in found.basis
    assert "on cpu, 1 thread a cell" in found.basis and "GPU" not in found.basis


def test_other_training_settings_give_the_speed_but_not_the_epochs(make, store):
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
    a, b = (work_of(study, name, Sizes(100, 50, 50)) for name in "ab")
    assert costs["small/a/3"].basis == "scaled"
    assert costs["small/a/3"].seconds == pytest.approx(0.5 * a / b)
    assert costs["small/a/3"].epochs == 2, "epochs are the same on any device"


def test_cells_of_another_study_are_used(make, store):
    finish(store, make({"name": "other", "models": {"b": None}}), "small/a/3", [1.0, 2.0])
    found, costs = ask(make({"models": {"a": {"label": "renamed"}}}), store)
    assert costs["small/a/1"][1:4] == (2, False, 2) and costs["small/a/1"].basis == "measured"
    assert costs["small/b/1"].basis == "scaled" and costs["small/b/1"].epochs == 2
    # The study's own cells go first, even if they are on a CPU and another study's on a GPU.
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


def test_done_stages_cost_nothing(make, store):
    study = make()
    finish(store, study, "small/a/1", [1.0] * 4)
    finish(store, study, "small/a/2", [1.0] * 4, keys={"filters": "of another rule"})
    finish(store, study, "small/a/3", [1.0] * 4, keys={"training": "of other settings"})
    costs = ask(study, store)[1]
    assert costs["small/a/2"][1:3] == (0, False) and costs["small/a/2"].outside > 0
    assert costs["small/a/3"].epochs == 4


def test_a_checkpoint_does_not_count(make, store):
    """It may be of other settings; then training starts again."""
    study = make()
    finish(store, study, "small/a/1", [1.0] * 4)
    place = cell_folder(study, study.cell("small/b/1"))
    store.write(f"{place}/checkpoint", b"")
    store.write(f"{place}/progress.json", json.dumps({"format": 1, "epoch": 3}).encode())
    assert ask(study, store)[1]["small/b/1"].epochs == 4


@pytest.mark.parametrize(
    "wrong",
    [{"study": {"format": 9}}, {"cell": "x"}, {"stages": None}, {"resumed_at_epochs": 3},
     {"device": []}, {"device": {}}, {"device": None}, {"device": 7}, {"stages": []},
     {"device": "cpu", "threads": float("inf")}, {"device": "cpu", "threads": float("nan")},
     {"stages": {"a": float("inf")}}, {"stages": {"a": float("nan")}}, {"stages": {"a": "x"}},
     {"resumed_at_epochs": [[]]}, {"cell": []}, {"study": []}],
)  # fmt: skip
def test_unreadable_records_are_skipped(make, store, wrong):
    study = make()
    finish(store, study, "small/a/1", [1.0, 1.0], wrong=wrong)
    found, costs = ask(study, store)
    assert {cost.basis for cost in costs.values()} == {"bound"}


def test_damaged_cells_are_skipped(make, store):
    study = make()
    finish(store, study, "small/a/1", [1.0, 1.0])
    store.write(f"{cell_folder(study, study.cell('small/a/1'))}/runs/r/history.csv", b"epoch")
    found, costs = ask(study, store)
    assert {cost.basis for cost in costs.values()} == {"bound"}


def test_scale():
    """Seconds for each unit of work lie between those of the nearest amounts of work."""

    def seconds(work, *cells):
        near = [
            estimate.Finished("s", None, None, 1, took, outside, amount)
            for amount, took, outside in cells
        ]
        return estimate.scale(work, near)

    assert seconds(5, (1, 3, 7)) == pytest.approx((15, 7))
    assert seconds(5, (1, 3, 7), (1, 2, 8), (1, 30, 9)) == pytest.approx((15, 8))
    pair = (1, 2, 10), (100, 50, 20)  # twice as long as its work, and half as long
    assert seconds(0.1, *pair) == pytest.approx((0.2, 10))
    assert seconds(10, *pair) == pytest.approx((10, 15))
    assert seconds(1000, *pair) == pytest.approx((500, 20))


def test_reading_is_bounded(make, store):
    study = make({"trials": 500})
    for model in "ab":
        for trial in range(1, 251):
            finish(store, study, f"small/{model}/{trial}", [1.0])
    states = plan(study, store)
    store.reads = 0
    found = estimate.estimate(study, store, states)
    assert len(found.costs) == 500
    assert store.reads <= 3 * 2 * estimate.TRIALS_READ + 2


def test_real_files(tiny):
    """The files of trained cells can be read."""
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
    assert count_sequences(make(), "small", store) == Sizes(100, 50, 50)
    odd = make({"datasets": {"small": {"n_sequences": 11}}})
    assert count_sequences(odd, "small", store) == Sizes(6, 2, 3)


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
        told = {"format": 1, "data_hash": "0", "sequences": {"train": 5, "valid": 3, "test": 2}}
        store.write(f"{place}/done.json", json.dumps(told).encode())
    wanted = None if there == "nowhere" else Sizes(5, 3, 2)
    assert count_sequences(study, "own", store) == wanted


def test_a_file_that_changed_is_not_measured(make, store, tmp_path):
    def study(n):
        (tmp_path / "x.h5").write_bytes(h5(np.repeat(SPLIT, n)))
        spec = {"kind": "file", "path": str(tmp_path / "x.h5"), "length": 40, "classes": CLASSES}
        return make({"datasets": {"small": None, "own": spec}})

    finish(store, small := study(1), "own/a/1", [1.0] * 5, wrong={"data_hash": "d" * 64})
    assert ask(small, store)[1]["own/a/2"].basis == "measured"
    large = study(1000)
    cost = ask(large, store)[1]["own/a/2"]
    assert cost.basis != "measured" and cost.seconds != 1.0


def test_sizes_as_published(make, store):
    paper = load("koo2019")
    assert count_sequences(paper, "invivo", store) == Sizes(270_382, 8_000, 23_768)
    spec = {"kind": "deepsea", "classes": {"X": {"column": 0, "motifs": ["MA0083.3"]}}}
    study = make({"datasets": {"small": None, "other": spec}})
    assert count_sequences(study, "other", store) is None


# The cap, and what is printed ----------------------------------------------------------------


def test_cap(make, store):
    study = make()
    finish(store, make({"training": {"patience": 2}}), "small/a/1", [2.0, 2.0])
    found, _ = ask(study, store)
    estimate.check_cap(found, None)
    estimate.check_cap(found, found.hours)
    with pytest.raises(InputError, match=r"at most .* GPU hours, and the cap is 0.01") as told:
        estimate.check_cap(found._replace(costs=found.costs * 100), 0.01)
    assert told.value.exit_code == 2
    text = str(told.value)
    assert "\n" not in text and text.startswith("study tiny: its 600 unfinished cells")
    assert "raise --max-gpu-hours" in text
    assert "upper bound" not in text


def test_every_gpu_of_a_pod_counts(make, store, capsys):
    finish(store, make({"training": {"patience": 2}}), "small/a/1", [2.0, 2.0])
    study = make()
    states = plan(study, store)
    one, four = (estimate.estimate(study, store, states, gpus) for gpus in (1, 4))
    assert four.hours == 4 * one.hours > 0
    estimate.check_cap(one, 2 * one.hours)
    with pytest.raises(InputError, match="the cap is"):
        estimate.check_cap(four, 2 * one.hours)
    print_estimate(four._replace(costs=four.costs * 1000), price=2.0)
    out = capsys.readouterr().out
    assert f"left: {4000 * one.hours:.2f} GPU hours, 4 GPUs a cell; " in out
    assert f"{8000 * one.hours:,.2f} at 2 an hour" in out
    assert "retries" not in out


def test_what_retries_can_add_is_printed(make, store, capsys):
    study = make({"trials": 1})
    finish(store, study, "small/a/1", [4000.0, 1800.0, 1800.0], others=0.0, on=GPU)
    cost = ask(study, store)[0].costs[0]
    found = ask(study, store)[0]._replace(costs=[cost._replace(seconds=1800.0, outside=360.0)])
    assert found.retry_hours(1) == 0
    assert found.retry_hours(10) == pytest.approx(9 * 2160 / 3600)
    assert found._replace(gpus=2).retry_hours(10) == pytest.approx(18 * 2160 / 3600)
    quick = found._replace(costs=[cost._replace(seconds=1.0, outside=0.0)])
    assert quick.retry_hours(2) == pytest.approx(60 / 3600)  # between two checkpoints
    print_estimate(found, cap=5, attempts=10)
    line = (
        "retries are not counted: up to 10 attempts a cell can add 5.40 GPU hours, if each resumes "
        "from its checkpoint"
    )
    assert line in capsys.readouterr().out.splitlines()
    print_estimate(found, cap=5, attempts=1)
    print_estimate(found._replace(costs=[]), cap=5, attempts=10)
    assert "retries" not in capsys.readouterr().out


def test_plan_takes_gpus_and_attempts_from_the_chart(tmp_path, here):
    plan = ["plan", "smoke", "--store", tmp_path / "store", "--max-gpu-hours", 1]
    assert here(*plan)[0] == 0
    code, out, err = here(*plan, "--gpus=1", "--attempts=10")
    assert (code, err) == (0, "") and "up to 10 attempts a cell" in out
    code, _, err = here(*plan, "--gpus=100")
    assert code == 2 and "the cap is 1: " in one_line(err)


def test_cap_where_nothing_is_measured(make, store, capsys):
    """The cap is compared with an upper bound, and the message says so."""
    found, _ = ask(make(), store)
    hours = f"{found.hours:.2f} GPU hours"
    estimate.check_cap(found, None)
    estimate.check_cap(found, found.hours)
    with pytest.raises(InputError) as told:
        estimate.check_cap(found, 0.01)
    text = str(told.value)
    assert "\n" not in text
    assert f"would take up to (an upper bound) {hours}, and the cap is 0.01: raise" in text
    assert "measure one cell: motifk8s dataset STUDY.yaml small" in text
    print_estimate(found, price=2.5, cap=0.01)
    assert capsys.readouterr().out.splitlines() == [
        f"upper bound: {hours}, one GPU a cell; the cap is 0.01",
        found.basis,
    ]


def test_plan_compares_a_study_with_the_cap(tmp_path, here):
    plan = ["plan", "smoke", "--json", "--store", tmp_path / "store", "--max-gpu-hours"]
    code, out, err = here(*plan, 0.01)
    assert code == 2 and "upper bound" in one_line(err) and "the cap is 0.01: " in err
    code, out, err = here(*plan, 1)
    assert code == 0 and err == "" and len(json.loads(out)) == 3


def test_no_figure_without_a_measurement(make, store, capsys):
    found, _ = ask(make(), store)
    print_estimate(found, price=2.5)
    assert capsys.readouterr().out == f"{found.basis}\n"


def test_cap_of_unknown_cost(make, store):
    spec = {"kind": "file", "path": "/nowhere.h5", "length": 40, "classes": CLASSES}
    found, costs = ask(make({"datasets": {"own": spec}}), store)
    assert costs["own/a/1"].basis == "unknown" and costs["own/a/1"].total == 0
    assert found.absent == ["own"] and found.basis.endswith(": own")
    with pytest.raises(InputError, match=": own; import it first"):
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
    print_estimate(ask(make({"training": {"patience": 2}}), store)[0])
    assert "≤ 15" in capsys.readouterr().out
