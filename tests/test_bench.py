"""make bench: its figures by hand, its networks against ours, and all of it in small."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import toy
from helpers.tiny import ROOT, study_file

from motifk8s.study.specs import Conv, Model, TrainingSettings

if not (ROOT / "bench").is_dir():
    pytest.skip("the benchmarks are not part of an image", allow_module_level=True)
sys.path.append(str(ROOT / "bench"))
import epochs  # noqa: E402
import machine  # noqa: E402
import stages  # noqa: E402
import summary  # noqa: E402
import training as bench  # noqa: E402

# Pools that "same" padding does not fill: on both sides alike, and one more at the end.
SPEC = Model(
    conv=[Conv(filters=3, width=5, pool=6, stride=2), Conv(filters=4, width=3, pool=2)],
    dense=[6],
)
STEPS = 10


def run(name: str, framework: str, *losses: float, seconds: float = 1.0) -> dict[str, Any]:
    """The results of a run; its start takes 2.5 s."""
    return {
        "name": name,
        "label": name.upper(),
        "framework": framework,
        "build": 0.5,
        "seconds": [seconds + 2, *[seconds] * (len(losses) - 1)],
        "losses": list(losses),
        "base": 500_000_000,
        "peak": 600_000_000,
        "gflop": 20.0,
        "product_rate": 40.0,
    }


# --- figures


def test_the_target_is_the_lowest_loss_that_every_run_reaches() -> None:
    assert summary.target([[0.5, 0.3, 0.4], [0.5, 0.35, 0.2]]) == 0.3
    assert summary.epochs_to([0.5, 0.3, 0.4], 0.3) == 2
    assert summary.epochs_to([0.3, 0.2], 0.3) == 1


def test_the_first_epoch_counts_for_the_start_alone() -> None:
    assert summary.epoch_seconds([9, 1, 2, 3]) == 2
    assert summary.start_seconds(0.5, [9, 1, 2, 3]) == 7.5


def test_time_to_the_target_is_start_and_epochs() -> None:
    frame = summary.to_frame(
        [
            run("a", "keras", 0.5, 0.4, 0.3),
            run("a", "ours", 0.4, 0.2, 0.1),
            run("b", "keras", 0.9, 0.8),
            run("b", "ours", 0.7, 0.75),
        ]
    )
    assert frame.target_loss.tolist() == [0.3, 0.3, 0.8, 0.8]  # of each architecture its own
    assert frame.target_epoch.tolist() == [3, 2, 2, 1]
    assert frame.to_target_s.tolist() == [5.5, 4.5, 4.5, 3.5]
    assert frame.memory_mb.tolist() == [100] * 4
    text = summary.to_csv(frame)
    assert text.count("\n") == 5
    assert "3.000 1.000 1.000" in text and "0.50000 0.40000 0.30000" in text


def test_a_table_has_medians_and_ratios_of_them() -> None:
    runs = [run("a", "keras", 1, 1, seconds=s) for s in (2, 8, 3)]
    runs += [run("a", "ours", 1, 1, seconds=s) for s in (1, 2, 9)]
    runs += [run("b", "ours", 1, 1, seconds=4)]
    assert summary.table(summary.to_frame(runs), "epoch_s").splitlines() == [
        "| architecture | stock Keras | motifk8s | stock Keras / motifk8s |",
        "| --- | ---: | ---: | ---: |",
        "| A | 3.00 (2.00 to 8.00) | 2.00 (1.00 to 9.00) | 1.50 |",
        "| B |  | 4.00 (4.00 to 4.00) |  |",
    ]


def test_the_share_is_of_the_rate_of_a_product() -> None:
    runs = [run("a", f, 1, 1, seconds=s) for f, s in (("keras", 4), ("ours", 2), ("ours", 1))]
    frame = summary.to_frame(runs)
    assert frame.share.tolist() == [0.125, 0.25, 0.5]
    assert summary.table(frame, "share").splitlines()[-1] == (
        "| A | 0.12 (0.12 to 0.12) | 0.38 (0.25 to 0.50) |"
    )


def test_the_arithmetic_of_an_epoch() -> None:
    # By hand, for 12 bp: 12 x 5 x 4 x 3, then 6 x 3 x 3 x 4 after the pool of stride 2, then 3 x 4
    # inputs of 6 units and 2 classes.
    first, others = 720, 216 + 72 + 12
    trained, predicted = 2 * first + 3 * others, first + others
    assert SPEC.lengths(12) == [6, 3]
    want = 2e-9 * (10 * trained + 4 * predicted)
    assert epochs.arithmetic(SPEC, 12, 2, 10, 4) == pytest.approx(want)


def test_the_fastest_setting_is_taken_and_hopeless_ones_are_not_tried() -> None:
    settings = [{"jit": jit, "steps": steps} for jit in (False, True) for steps in (1, 25)]

    def probe(*seconds: float | str) -> Any:
        rest = iter(seconds)
        return bench.fastest(settings, lambda setting: next(rest))

    assert probe(3.0, 2.0, 1.9, 1.0)[0] == settings[3]
    assert probe(3.0, 2.0, 1.95, 1.99)[0] == settings[1]  # no faster than by chance: the plainer
    chosen, found = probe(3.0, 2.0, 4.1)
    assert chosen == settings[1]
    assert [seconds for _, seconds in found] == [3.0, 2.0, 4.1, "not tried"]
    chosen, found = probe(3.0, 2.0, "no C++ compiler")
    assert chosen == settings[1] and found[3][1] == "not tried"
    assert probe("it fails", "it fails")[0] is None


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        (
            "training.py",
            "--models cnn-26",
            "cnn-26: study koo2019-synthetic has no such model, but cnn-1,",
        ),
        ("training.py", "--models cnn-25@0", "cnn-25@0: expected a length in bp"),
        ("training.py", "--models cnn-25@5 --quick", "need 86 bp, but sequences have 5"),
        ("training.py", "--study no-such", "no-such"),
        ("stages.py", "--study no-such", "no-such"),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    tmp_path: Path, script: str, arguments: str, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / script), *arguments.split(), "--out", str(tmp_path),
         *(["--frameworks", "ours"] if script == "training.py" else [])],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert said in line


def test_seconds_in_no_stage_have_a_row() -> None:
    frame = stages.by_stage({"training": 8.0, "start": 1.0}, 10.0)
    found = dict(zip(frame.name, zip(frame.seconds, frame.share, strict=True), strict=True))
    assert found["in no stage"] == (1.0, 0.1)
    assert found["outside training"] == (2.0, 0.2)
    assert found["all"] == (10.0, 1.0)


def test_the_machine_is_described_without_its_paths() -> None:
    facts = machine.describe("training.py", ["--quick", "--models", "a,b"], 2)
    assert facts["command"] == "python bench/training.py --quick --models a,b"
    assert {"date", "code", "processor", "cores", "memory", "system", "libraries"} <= set(facts)
    assert all(f"| {name} | {value} |" in machine.markdown(facts) for name, value in facts.items())


def test_memory_is_that_of_the_process() -> None:
    before = machine.peak()
    assert 0 < machine.resident() <= before
    block = np.ones(20_000_000)
    assert machine.peak() >= machine.resident() > block.nbytes


# --- networks


@pytest.mark.parametrize("spec", [toy.SPEC, SPEC])
def test_stock_keras_has_our_network(keras: Any, spec: Model) -> None:
    ours = toy.model(spec)
    toy.shake_norms(ours)
    stock = epochs.keras_network(spec, toy.SETTINGS, toy.LENGTH, toy.CLASSES, 1)
    bias = stock.layers[-1].bias.numpy()
    assert (bias == np.float32(toy.SETTINGS.output_bias)).all()
    stock.set_weights(ours.get_weights())
    x = epochs.one_hot(toy.codes(20))
    np.testing.assert_array_equal(stock.predict(x, verbose=0), ours.predict(x, verbose=0))
    assert float(sum(stock.losses)) == pytest.approx(float(sum(ours.losses)), rel=1e-6)
    for mine, other in zip(stock.layers, ours.layers, strict=True):
        if isinstance(mine, (keras.layers.Dropout, keras.layers.BatchNormalization)):
            for name in ("rate", "momentum", "epsilon"):
                assert getattr(mine, name, None) == getattr(other, name, None)


def copied(network: Any, weights: dict[str, np.ndarray]) -> None:
    """Give the PyTorch network a Keras model's weights, by layer and number, in order."""
    import torch

    def put(to: Any, value: np.ndarray) -> None:
        to.copy_(torch.from_numpy(np.ascontiguousarray(value)).reshape(to.shape))

    channels = 0  # of the last convolution, until its output is flattened
    with torch.no_grad():
        for part in (part for part in network if hasattr(part, "weight")):
            name = next(iter(weights)).partition("/")[0]
            first, *rest = [weights.pop(key) for key in list(weights) if key.startswith(f"{name}/")]
            if name.startswith("conv"):  # (W, in, out) to (out, in, W)
                put(part.weight, first.transpose(2, 1, 0))
                channels = first.shape[2]
            elif len(rest) == 3:
                for to, value in zip(
                    (part.weight, part.bias, part.running_mean, part.running_var),
                    (first, *rest),
                    strict=True,
                ):
                    put(to, value)
            else:
                if channels:  # Keras flattens (L, C), PyTorch (C, L)
                    by_place = first.reshape(-1, channels, first.shape[1])
                    first, channels = by_place.transpose(1, 0, 2).reshape(first.shape), 0
                put(part.weight, first.T)
                if rest:
                    put(part.bias, rest[0])
    assert not weights


def torch_side(given: Path, out: Path) -> None:
    """What the PyTorch network predicts before and after some steps."""
    import torch

    task = json.loads(given.with_suffix(".json").read_text())
    with np.load(given) as file:
        arrays = dict(file)
    codes, labels = arrays.pop("codes"), arrays.pop("labels")
    settings, last = TrainingSettings.model_validate(task["settings"]), task["channels_last"]
    spec = Model.model_validate(task["spec"])
    epochs.start_torch(1)
    network = epochs.torch_network(spec, settings, toy.LENGTH, toy.CLASSES, last)
    bias = network[-1].bias.detach().numpy().copy()
    copied(network, arrays)
    x = torch.from_numpy(epochs.one_hot(codes)).transpose(1, 2)
    x = x[:, :, None] if last else x.contiguous()

    def probabilities() -> np.ndarray:
        network.eval()
        with torch.inference_mode():
            return np.asarray(torch.sigmoid(network(x)))

    before = probabilities()
    optimizer = epochs.torch_optimizer(network, settings)
    network.train()
    for _ in range(STEPS):
        optimizer.zero_grad()
        y = torch.from_numpy(labels.astype(np.float32))
        torch.nn.BCEWithLogitsLoss()(network(x), y).backward()
        optimizer.step()
    np.savez(out, before=before, after=probabilities(), bias=bias)


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("spec", [SPEC, SPEC.model_copy(update={"conv": SPEC.conv[1:]})])
def test_pytorch_has_our_network_and_takes_our_steps(
    keras: Any, tmp_path: Path, spec: Model, channels_last: bool
) -> None:
    # Small steps and much L2, so that a wrong strength of it shows.
    settings = TrainingSettings(l2=1.0, learning_rate=1e-3, output_bias=0.25)
    spec = toy.without_dropout(spec)
    device = toy.device(spec, settings)
    toy.shake_norms(device.model)
    weights = {
        f"{layer.name}/{i}": value
        for layer in device.model.layers
        if not isinstance(layer, keras.layers.Dropout)  # the state of its random numbers
        for i, value in enumerate(layer.get_weights())
    }
    codes, labels = toy.data(200)
    np.savez(tmp_path / "in.npz", codes=codes, labels=labels, **weights)
    task = {
        "spec": spec.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "channels_last": channels_last,
    }
    (tmp_path / "in.json").write_text(json.dumps(task))
    # In a new process: TensorFlow and PyTorch may conflict in one process.
    subprocess.run(
        [sys.executable, __file__, str(tmp_path / "in.npz"), str(tmp_path / "out.npz")], check=True
    )
    before = device.predict(codes)
    for _ in range(STEPS):
        device.train(device.put(codes, labels), np.arange(200, dtype=np.int32), 200)
    after = device.predict(codes)
    with np.load(tmp_path / "out.npz") as found:
        assert (found["bias"] == np.float32(settings.output_bias)).all()
        np.testing.assert_allclose(found["before"], before, rtol=1e-4, atol=1e-6)
        assert abs(after - before).max() > 0.02
        # PyTorch's running variance divides by n - 1.
        np.testing.assert_allclose(found["after"], after, atol=5e-5)


# --- all of it


MEMELITE = """
import numpy
def tomtom(queries, targets, n_target_bins, n_jobs):
    p = numpy.ones((len(queries), len(targets)))
    p[0, 0] = 0.01 / len(targets)
    return [p]
"""


def test_tomtom_in_small(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "memelite.py").write_text(MEMELITE)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'python'}:{tmp_path}")
    args = ["--release", "JASPAR2014", "--every", "300", "--memelite", sys.executable]
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "tomtom.py", *args],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [
        line.strip("| ").split(" | ") for line in done.stdout.splitlines() if "memelite" in line
    ]
    assert [row[0] for row in rows[:2]] == ["memelite", "memelite, no merging"]
    assert {row[4] for row in rows[:2]} == {"1"} and {row[5] for row in rows[:2]} == {"0"}


def test_training_in_small(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(bench, "find_spec", lambda name: None if name == "torch" else True)
    study = study_file(tmp_path / "tiny.yaml")
    args = ["--quick", "--study", study, "--models", "a@60", "--threads", 1, "--out", tmp_path]
    bench.main(list(map(str, args)))
    assert "PyTorch is not installed" in capsys.readouterr().out
    frame = pd.read_csv(tmp_path / "training.csv")
    assert frame.name.tolist() == ["a@60", "a@60"]
    assert frame.framework.tolist() == ["keras", "ours"]
    assert frame.length.tolist() == [60, 60]
    assert (frame[["epoch_s", "start_s", "memory_mb", "to_target_s", "share"]] > 0).all(axis=None)
    text = (tmp_path / "training.md").read_text()
    assert "PyTorch is not installed" in text
    assert "| a, 60 nt |" in text and "stock Keras / motifk8s" in text and "processor" in text
    assert (tmp_path / "training.svg").stat().st_size > 1000
    assert (tmp_path / "training.png").stat().st_size > 1000


def test_an_interrupted_benchmark_resumes(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Neither a probe nor a run is repeated, unless the command is another one."""
    asked: list[tuple[str, int]] = []
    memory = [2]  # enough for so many runs

    def run(task: Any, framework: str, setting: Any, epochs: int, seed: int) -> Any:
        if seed and not memory[0]:
            return "MemoryError"
        asked.append((framework, seed))
        memory[0] -= bool(seed)
        made = {"build": 0.1, "seconds": [2.0, 1.0, 1.0], "losses": [0.5, 0.4, 0.4]}
        return made | {"peak": 3e8, "base": 1e8, "gflop": 2.0, "product_rate": 4.0}

    monkeypatch.setattr(bench.Task, "run", run)
    study = study_file(tmp_path / "tiny.yaml")
    args = ["--frameworks", "keras,ours", "--study", study, "--models", "a", "--threads", 1]
    args = [str(word) for word in [*args, "--out", tmp_path]]
    with pytest.raises(SystemExit, match="MemoryError"):
        bench.main([*args, "--repeats", "2"])
    assert asked[-2:] == [("keras", 1), ("ours", 1)] and ("keras", 0) in asked
    memory[0] = 100
    asked.clear()
    bench.main([*args, "--repeats", "2"])
    assert asked == [("ours", 2), ("keras", 2)]
    assert "2 runs are done" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "training.csv")) == 4
    assert "jit_compile=False" in (tmp_path / "training.md").read_text()
    assert not list(tmp_path.glob("*.part*"))
    asked.clear()
    bench.main([*args, "--repeats", "1"])
    assert asked[-2:] == [("keras", 1), ("ours", 1)] and ("keras", 0) in asked


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    case = bench.Case("a", "A", SPEC, toy.LENGTH)
    task = bench.Task(case, tmp_path / "none.npz", TrainingSettings().model_dump(mode="json"), 1)
    assert "none.npz" in task.run("ours", {}, 2, 0)


@pytest.mark.slow
def test_stages_in_small(tmp_path: Path) -> None:
    stages.main(["--quick", "--out", str(tmp_path)])
    frame = pd.read_csv(tmp_path / "stages.csv")
    assert {"smoke tiny/large-pool/1", "step"} == set(frame.what)
    assert {"training", "filters", "in no stage", "all", "motifk8s --help"} <= set(frame.name)
    assert (frame.seconds[frame.what == "step"] > 0).all()
    text = (tmp_path / "stages.md").read_text()
    assert "outside training" in text and "| Tomtom, 8 filters and 519 motifs |" in text


if __name__ == "__main__":
    torch_side(Path(sys.argv[1]), Path(sys.argv[2]))
