"""Compare training with stock Keras, PyTorch and motifk8s: seconds, memory, time to a loss.

    python bench/training.py [--models cnn-25,cnn-25@1000] [--repeats 5] [--epochs 5] [--quick]

Each run is a new process (bench/epochs.py) with the same data and number of threads. The frameworks
take turns. For each architecture, stock Keras and PyTorch get the setting that is fastest in a
short probe. The script writes training.csv, training.md and a plot. It takes about three hours on
two cores; after an interruption, the same command and code resumes from training.part.json. It uses
a GPU if there is one, and the Keras backend of KERAS_BACKEND.
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
from motifk8s.store.files import write_text
from motifk8s.study.specs import Model
from motifk8s.study.study import Study, load

MODELS = "cnn-1,cnn-2,cnn-25,cnn-50-s2,cnn-25@1000,cnn-1-1-100"
FEW = 500  # sequences with --quick
# If a setting takes more than this many times the best seconds, its variants are not tried.
HOPELESS = 2.0
# Two runs of one setting differ by this share, so a smaller gain is not significant.
AS_FAST = 0.05
COMPILERS = ("c++", "g++", "clang++", "cl")  # torch.compile needs one of these on a CPU


class Case(NamedTuple):
    """An architecture for sequences of one length."""

    name: str
    label: str
    model: Model
    length: int  # bp


class Task(NamedTuple):
    """A training of a case; framework and setting are chosen later."""

    case: Case
    data: Path
    training: dict[str, Any]
    threads: int

    def run(self, framework: str, setting: dict[str, Any], epochs: int, seed: int) -> Any:
        """Train in a new process; return its results, or the error as a str."""
        task = {
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
                [sys.executable, str(Path(__file__).with_name("epochs.py")), json.dumps(task)],
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": str(self.threads),
                    # Only PyTorch caches compiled code, so each run gets an empty cache.
                    "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
                    "TRITON_CACHE_DIR": f"{folder}/triton",
                },
                capture_output=True,
                text=True,
            )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
            return (errors or lines)[-1]
        return json.loads(done.stdout.splitlines()[-1])


# --- settings of the baselines


def settings_of(framework: str, backend: str) -> list[dict[str, Any]]:
    """List the settings to try: the simple ones first, grouped by their first value."""
    if framework == "keras":
        # Without compiling, JAX dispatches each operation alone.
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
    """Find the setting with the fewest seconds.

    A later setting must be faster than an earlier one by more than `AS_FAST` of its seconds. If a
    setting fails or takes more than `HOPELESS` times the best seconds, the rest of its group is
    not tried: the settings with the same first value (compiled or not).

    Returns
    -------
    setting : dict or None
        None if all failed.
    results : list of (setting, its seconds or the error)
    """
    results: list[tuple[dict[str, Any], float | str]] = []
    best, chosen = float("inf"), None
    hopeless: set[Any] = set()
    for setting in settings:
        group = next(iter(setting.values()), None)
        if group in hopeless:
            results.append((setting, "not tried"))
            continue
        seconds = probe(setting)
        results.append((setting, seconds))
        if isinstance(seconds, str) or seconds > HOPELESS * best:
            hopeless.add(group)
        elif seconds < (1 - AS_FAST) * best:
            best, chosen = seconds, setting
    return chosen, results


def choose(
    task: Task, framework: str, backend: str, known: Sequence[Probe]
) -> tuple[dict[str, Any], list[Probe]]:
    """Choose the setting of a framework for an architecture; return it and its new probes."""
    settings, label = settings_of(framework, backend), task.case.label
    if len(settings) == 1:
        return settings[0], []
    chosen_before = [p.setting for p in known if p[:2] == (label, framework) and p.chosen]
    for setting in settings:
        if words(setting) in chosen_before:
            return setting, []

    def probe(setting: dict[str, Any]) -> float | str:
        if setting.get("compile") and not any(map(shutil.which, COMPILERS)):
            return "no C++ compiler"
        run = task.run(framework, setting, 3, 0)
        result = run if isinstance(run, str) else min(run["seconds"][1:])
        text = result if isinstance(result, str) else f"{result:.2f} s per epoch"
        print(f"{label}, probe of {FRAMEWORKS[framework]}, {words(setting)}: {text}", flush=True)
        return result

    chosen, results = fastest(settings, probe)
    if chosen is None:
        raise SystemExit(f"{label}, {FRAMEWORKS[framework]}: {results[0][1]}")
    return chosen, [
        Probe(label, framework, words(setting), result, setting is chosen)
        for setting, result in results
    ]


# --- the benchmark


def cases_of(study: Study, data: str, names: Sequence[str]) -> list[Case]:
    """Return the cases by name; NAME@LENGTH has sequences of LENGTH bp."""
    own, cases = study.datasets[data].length, []
    for text in names:
        name, _, length = text.partition("@")
        if name not in study.models:
            known = ", ".join(study.models)
            raise SystemExit(f"--models {name}: study {study.name} has no such model, but {known}")
        if length and not (length.isdecimal() and int(length)):
            raise SystemExit(f"--models {text}: expected a length in bp, as in {name}@{own}")
        bp = int(length or own)
        label = study.models[name].label or name
        label += f", {bp:,} nt" if bp != own else ""
        cases.append(Case(text, label, study.models[name], bp))
    return cases


def make_data(study: Study, name: str, length: int, few: bool, folder: Path) -> tuple[Path, Path]:
    """Write all data of one length, and the part for probes; return both paths.

    The total number of bases is that of the study, for any length.
    """
    spec: Any = study.datasets[name]
    n = FEW if few else spec.n_sequences * spec.length // length
    spec = spec.model_copy(update={"n_sequences": n, "length": length})
    dataset = datasets.synthesize(spec, study.data_seed(name))
    (x, y), (valid_x, valid_y) = dataset.part("train"), dataset.part("valid")
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
    """Return the installed frameworks, and a note for each that is not installed."""
    if "torch" not in frameworks or find_spec("torch"):
        return list(frameworks), []
    note = "PyTorch is not installed, so it is not measured; `make bench` installs it."
    return [framework for framework in frameworks if framework != "torch"], [note]


def options(command: Sequence[str]) -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--frameworks", default=",".join(FRAMEWORKS), help="frameworks to run (%(default)s)")
    add("--models", default=MODELS, help="NAME or NAME@LENGTH of each case (%(default)s)")
    add("--study", default="koo2019-synthetic",
        help="study with one synthetic data set (%(default)s)")  # fmt: skip
    add("--repeats", type=int, default=5, help="runs of each framework (%(default)s)")
    add("--epochs", type=int, default=5, help="epochs of a run, at least 2 (%(default)s)")
    add("--threads", type=int, default=cores(), help="threads of a run (all cores: %(default)s)")
    add("--quick", action="store_true", help=f"{FEW} sequences, 2 epochs, 1 run, no probes")
    add("--out", type=Path, default=machine.OUT, help="output directory (docs/results/bench)")
    args = parser.parse_args(command)
    if args.epochs < 2 or args.repeats < 1 or not 1 <= args.threads <= cores():
        parser.error(
            "expected --epochs of 2 or more, --repeats of 1 or more, and --threads of 1 to "
            f"{cores()}"
        )
    args.frameworks = args.frameworks.split(",")
    if unknown := set(args.frameworks) - set(FRAMEWORKS):
        known = ", ".join(FRAMEWORKS)
        parser.error(f"--frameworks: expected some of {known}, got {', '.join(unknown)}")
    if args.quick:
        args.repeats, args.epochs = 1, 2
    return args


class Results:
    """Runs and probes, written after each so that an interrupted benchmark resumes."""

    def __init__(self, out: Path, facts: dict[str, str]) -> None:
        self.out, self.part = out, out / "training.part.json"
        self.facts, self.start, self.seconds = facts, time.monotonic(), 0.0
        self.runs: list[dict[str, Any]] = []
        self.probes: list[Probe] = []
        if self.part.exists():
            saved = json.loads(self.part.read_text())
            # The benchmark itself may have changed its results in the clone since it began.
            same, now = (
                [f[name].removesuffix(".dirty") for name in ("command", "code", "processor")]
                for f in (saved["facts"], facts)
            )
            if same == now:
                dates = saved["facts"]["date"].split(", ") + [facts["date"]]
                self.facts = saved["facts"] | {"date": ", ".join(dict.fromkeys(dates))}
                self.runs, self.seconds = saved["runs"], saved["seconds"]
                self.probes = [Probe(*probe) for probe in saved["probes"]]
                print(f"{len(self.runs)} runs are done", flush=True)

    def has(self, case: Case, repeat: int, framework: str) -> bool:
        """Return whether a run is done."""
        done = ((run["name"], run["repeat"], run["framework"]) for run in self.runs)
        return (case.name, repeat, framework) in done

    def save(self) -> None:
        """Write all that is known, for the same command to resume."""
        seconds = self.seconds + time.monotonic() - self.start
        self.facts["took"] = f"{seconds / 60:.0f} minutes"
        saved = {"facts": self.facts, "runs": self.runs, "probes": self.probes}
        write_text(self.part, json.dumps(saved | {"seconds": seconds}))

    def write(self, notes: Sequence[str]) -> str:
        """Write the tables and the plot; return the page."""
        frame = summary.to_frame(self.runs)
        write_text(self.out / "training.csv", summary.to_csv(frame))
        text = summary.page(frame, self.facts, self.probes, notes)
        write_text(self.out / "training.md", text)
        summary.draw(frame, [self.out / "training.svg", self.out / "training.png"])
        return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Probe the settings, run the frameworks, and write the results."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    args = options(command)
    frameworks, notes = installed(args.frameworks)
    for note in notes:
        print(note, flush=True)
    study = load(args.study)
    [data] = [name for name, spec in study.datasets.items() if spec.kind == "synthetic"]
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    # One initial bias for all: stock Keras and PyTorch build the output layer themselves.
    settings = study.training_for(data).model_dump(mode="json") | {"output_bias": 0.0}
    cases = cases_of(study, data, args.models.split(","))
    facts = machine.describe("training.py", command, args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    results = Results(args.out, facts)
    with tempfile.TemporaryDirectory(prefix="motifk8s-bench-") as folder:
        paths = {
            length: make_data(study, data, length, args.quick, Path(folder))
            for length in {case.length for case in cases}
        }
        for case in cases:
            whole, part = (Task(case, path, settings, args.threads) for path in paths[case.length])
            setting: dict[str, dict[str, Any]] = {}
            for f in frameworks:
                if args.quick:
                    setting[f] = settings_of(f, backend)[0]
                else:
                    setting[f], tried = choose(part, f, backend, results.probes)
                    results.probes += tried
                    results.save()
            for repeat in range(args.repeats):
                turn = repeat % len(frameworks)
                for f in frameworks[turn:] + frameworks[:turn]:
                    if results.has(case, repeat + 1, f):
                        continue
                    run = whole.run(f, setting[f], args.epochs, repeat + 1)
                    if isinstance(run, str):
                        raise SystemExit(f"{case.label}, {FRAMEWORKS[f]}: {run}")
                    about = {"name": case.name, "label": case.label, "length": case.length}
                    how = {"setting": words(setting[f]), "threads": args.threads}
                    results.runs.append(
                        {**about, "repeat": repeat + 1, "framework": f, **how, **run}
                    )
                    results.save()
                    print(
                        f"{case.label}, {repeat + 1} of {args.repeats}, {FRAMEWORKS[f]}: "
                        f"{summary.epoch_seconds(run['seconds']):.2f} s per epoch, "
                        f"{(run['peak'] - run['base']) / 1e6:.0f} MB",
                        flush=True,
                    )
            text = results.write(notes)
    results.part.unlink()
    print(text)


if __name__ == "__main__":
    machine.run_main(main)
