"""Training with stock Keras, PyTorch and motifk8s side by side: seconds, memory, time to a loss.

    python bench/training.py [--models cnn-25,cnn-25@1000] [--repeats 5] [--epochs 5] [--quick]

Every run is a process of its own (bench/epochs.py) on the same data with equal threads, and the
runs of an architecture take turns. Stock Keras and PyTorch get the setting that is fastest for the
architecture in a short probe of each. Writes training.csv, training.md and a plot; about two
hours on two cores. A GPU is used where there is one, and KERAS_BACKEND=jax is heeded.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
import summary
from summary import FRAMEWORKS, Probe, words

from motifk8s.data import datasets
from motifk8s.provenance import cores
from motifk8s.study.specs import Model
from motifk8s.study.study import Study, load

MODELS = "cnn-1,cnn-2,cnn-25,cnn-50-s2,cnn-25@1000"
FEW = 500  # sequences with --quick
# A compiled run that is slower than this many times the best is no reason to try its variants.
HOPELESS = 2.0
# Two runs of one setting differ by as much: of settings that are as fast the plainer one is taken.
AS_FAST = 0.05
COMPILERS = ("c++", "g++", "clang++", "cl")  # of which torch.compile needs one on a CPU


class Case(NamedTuple):
    """An architecture at one length of sequence (bp)."""

    name: str
    label: str
    model: Model
    length: int


class Task(NamedTuple):
    """What a process is to train, without how."""

    case: Case
    data: Path
    training: dict[str, Any]
    threads: int

    def run(self, framework: str, setting: dict[str, Any], epochs: int, seed: int) -> Any:
        """Train in a process; what it found, or the reason why it failed as a str."""
        given = {
            "framework": framework,
            "setting": setting,
            "epochs": epochs,
            "seed": seed,
            "data": str(self.data),
            "model": self.case.model.model_dump(mode="json"),
            "training": self.training,
            "threads": self.threads,
        }
        with tempfile.TemporaryDirectory(prefix="motifk8s-bench-") as folder:
            done = subprocess.run(
                [sys.executable, str(Path(__file__).with_name("epochs.py")), json.dumps(given)],
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": str(self.threads),
                    # PyTorch keeps what it compiled; the others do not, so all begin with nothing.
                    "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
                    "TRITON_CACHE_DIR": f"{folder}/triton",
                },
                capture_output=True,
                text=True,
            )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
            return (errors or lines)[-1]
        return json.loads(done.stdout.splitlines()[-1])


# --- settings of the baselines


def settings_of(framework: str, backend: str) -> list[dict[str, Any]]:
    """Settings to try, the plain ones first; of those with equal first value the rest follow."""
    if framework == "keras":
        # JAX without compiling dispatches each operation by itself.
        compiled = (True, False) if backend == "jax" else (False, True)
        inputs = ["numpy", *(["tf.data"] if find_spec("tensorflow") else [])]
        return [
            {"jit_compile": jit, "input": input, "steps_per_execution": steps}
            for jit in compiled
            for input in inputs
            for steps in (1, 25)
        ]
    if framework == "torch":
        return [
            {"compile": compiled, "channels_last": last}
            for compiled in (False, True)
            for last in (False, True)
        ]
    return [{}]


def fastest(
    settings: Sequence[dict[str, Any]], probe: Callable[[dict[str, Any]], float | str]
) -> tuple[dict[str, Any] | None, list[tuple[dict[str, Any], float | str]]]:
    """The setting with the fewest seconds, and what was found of each.

    A later setting must be faster than an earlier one by more than `AS_FAST` of its seconds.
    Where a setting takes more than `HOPELESS` times the best so far, or fails, those that share
    its first value (compiled or not) are not tried.

    Returns
    -------
    setting : dict or None
        None if all failed.
    found : list of (setting, seconds or the reason why there are none)
    """
    found: list[tuple[dict[str, Any], float | str]] = []
    best, chosen = float("inf"), None
    hopeless: set[Any] = set()
    for setting in settings:
        group = next(iter(setting.values()), None)
        if group in hopeless:
            found.append((setting, "not tried"))
            continue
        seconds = probe(setting)
        found.append((setting, seconds))
        if isinstance(seconds, str) or seconds > HOPELESS * best:
            hopeless.add(group)
        elif seconds < (1 - AS_FAST) * best:
            best, chosen = seconds, setting
    return chosen, found


def choose(task: Task, framework: str, backend: str) -> tuple[dict[str, Any], list[Probe]]:
    """The setting that a framework gets for an architecture, and how it was found."""
    known = settings_of(framework, backend)
    if len(known) == 1:
        return known[0], []

    def probe(setting: dict[str, Any]) -> float | str:
        if setting.get("compile") and not any(map(shutil.which, COMPILERS)):
            return "no C++ compiler"
        found = task.run(framework, setting, 3, 0)
        result = found if isinstance(found, str) else min(found["seconds"][1:])
        said = result if isinstance(result, str) else f"{result:.2f} s an epoch"
        print(f"{task.case.label}, probe of {FRAMEWORKS[framework]}, {words(setting)}: {said}",
              flush=True)  # fmt: skip
        return result

    chosen, found = fastest(known, probe)
    if chosen is None:
        raise SystemExit(f"{task.case.label}, {FRAMEWORKS[framework]}: {found[0][1]}")
    label = task.case.label
    return chosen, [
        Probe(label, framework, words(one), result, one is chosen) for one, result in found
    ]


# --- the whole


def cases_of(study: Study, data: str, names: Sequence[str]) -> list[Case]:
    """Architectures by name; NAME@LENGTH is with sequences of that many bp."""
    own, found = study.datasets[data].length, []
    for text in names:
        name, _, length = text.partition("@")
        if name not in study.models:
            raise SystemExit(f"{name}: study {study.name} has {', '.join(study.models)}")
        if length and not (length.isdecimal() and int(length)):
            raise SystemExit(f"{text}: {length!r} is not a length in bp, as in {name}@{own}")
        bp = int(length or own)
        label = study.models[name].label or name
        label += f", {bp:,} nt" if bp != own else ""
        found.append(Case(text, label, study.models[name], bp))
    return found


def make_data(study: Study, name: str, length: int, few: bool, folder: Path) -> tuple[Path, Path]:
    """Write the data for one length, and as few of them as a probe gets.

    At another length than the study's there are as many bases in all.
    """
    spec: Any = study.datasets[name]
    n = FEW if few else spec.n_sequences * spec.length // length
    spec = spec.model_copy(update={"n_sequences": n, "length": length})
    made = datasets.synthesize(spec, study.seed_of(name))
    (x, y), (valid_x, valid_y) = made.part("train"), made.part("valid")
    paths = []
    for kind, rows in (("all", n), ("probe", summary.PROBE_ROWS)):
        path = folder / f"{length}-{kind}.npz"
        np.savez(
            path,
            train_codes=x[:rows],
            train_labels=y[:rows],
            valid_codes=valid_x[:rows],
            valid_labels=valid_y[:rows],
        )
        paths.append(path)
    return paths[0], paths[1]


def installed(frameworks: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those that can be imported, and a sentence for each that cannot."""
    here, notes = [], []
    for framework in frameworks:
        if framework == "torch" and find_spec("torch") is None:
            notes.append("PyTorch is not installed here and was left out (`make bench` brings it).")
        else:
            here.append(framework)
    return here, notes


def main(arguments: Sequence[str] | None = None) -> None:
    """Probe, run, write."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--frameworks", default=",".join(FRAMEWORKS), help="(%(default)s)")
    add("--models", default=MODELS, help="NAME or NAME@LENGTH (%(default)s)")
    add("--study", default="koo2019-synthetic", help="with one synthetic data set (%(default)s)")
    add("--repeats", type=int, default=5, help="(%(default)s)")
    add("--epochs", type=int, default=5, help="of a run, at least 2 (%(default)s)")
    add("--threads", type=int, default=cores(), help="of every run (all cores: %(default)s)")
    add("--quick", action="store_true", help=f"{FEW} sequences, 2 epochs, once, without probes")
    add("--out", type=Path, default=machine.OUT, help="folder (docs/results/bench)")
    args = parser.parse_args(given)
    if args.epochs < 2 or args.repeats < 1 or not 1 <= args.threads <= cores():
        parser.error(f"--epochs from 2, --repeats from 1, --threads from 1 to {cores()}")
    wanted = args.frameworks.split(",")
    if unknown := set(wanted) - set(FRAMEWORKS):
        parser.error(f"--frameworks: {', '.join(FRAMEWORKS)}, not {', '.join(unknown)}")
    if args.quick:
        args.repeats, args.epochs = 1, 2

    frameworks, notes = installed(wanted)
    for note in notes:
        print(note, flush=True)
    study = load(args.study)
    [data] = [name for name, spec in study.datasets.items() if spec.kind == "synthetic"]
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    settings = study.training_for(data).model_dump(mode="json")
    cases = cases_of(study, data, args.models.split(","))
    facts = machine.describe("training.py", given, args.threads)
    began = time.monotonic()
    runs: list[dict[str, Any]] = []
    probes: list[Probe] = []
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="motifk8s-bench-") as folder:
        made = {
            length: make_data(study, data, length, args.quick, Path(folder))
            for length in {case.length for case in cases}
        }
        for case in cases:
            whole, part = (Task(case, d, settings, args.threads) for d in made[case.length])
            setting: dict[str, dict[str, Any]] = {}
            for f in frameworks:
                if args.quick:
                    setting[f] = settings_of(f, backend)[0]
                else:
                    setting[f], tried = choose(part, f, backend)
                    probes += tried
            for repeat in range(args.repeats):
                turn = repeat % len(frameworks)
                for f in frameworks[turn:] + frameworks[:turn]:
                    found = whole.run(f, setting[f], args.epochs, repeat + 1)
                    if isinstance(found, str):
                        raise SystemExit(f"{case.label}, {FRAMEWORKS[f]}: {found}")
                    about = {"name": case.name, "label": case.label, "length": case.length}
                    how = {"setting": words(setting[f]), "threads": args.threads}
                    runs.append({**about, "repeat": repeat + 1, "framework": f, **how, **found})
                    print(
                        f"{case.label}, {repeat + 1} of {args.repeats}, {FRAMEWORKS[f]}: "
                        f"{summary.epoch_seconds(found['seconds']):.2f} s an epoch, "
                        f"{(found['peak'] - found['base']) / 1e6:.0f} MB",
                        flush=True,
                    )
            # After each architecture, so that what an interrupted benchmark has found is kept.
            frame = summary.to_frame(runs)
            facts["took"] = f"{(time.monotonic() - began) / 60:.0f} minutes"
            (args.out / "training.csv").write_text(summary.to_csv(frame))
            text = summary.page(frame, facts, probes, notes)
            (args.out / "training.md").write_text(text)
            summary.draw(frame, [args.out / "training.svg", args.out / "training.png"])
    print(text)


if __name__ == "__main__":
    machine.told_in_a_line(main)
