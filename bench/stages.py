"""Measure a cell by stage, and each step of a cell except training.

    python bench/stages.py [--study demo] [--cell synthetic/cnn-25/1] [--repeats 3] [--quick]

First `motifk8s cell` runs a cell with a temporary store. Then each step runs again on the cell's
model, data and filters. Each time is measured in a new process, so it includes imports and
compiling. The script writes stages.csv and stages.md; it takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import machine
import numpy as np
import pandas as pd

from motifk8s.cells.keys import cell_folder
from motifk8s.provenance import cores
from motifk8s.store.open import open_store
from motifk8s.study.study import load

FILES = ("model.keras", "filters.h5", "metrics.json")  # of the cell; the steps read them
ROWS, LENGTH, CLASSES = 270_382, 1_000, 12  # of the paper's in vivo data
FEW = 2_000  # rows with --quick
HELPS = 5  # runs of `motifk8s --help`
Measures = dict[str, Any]  # seconds by name of a measurement, and "bytes" by name


class Inputs:
    """The inputs of the steps; a method reads each of them."""

    def __init__(self, study: str, cell: str, folder: Path, threads: int, rows: int) -> None:
        self.study, self.folder, self.threads, self.rows = load(study), folder, threads, rows
        self.cell = self.study.cell(cell)

    def dataset(self) -> Any:
        """Read the cell's data."""
        from motifk8s.data.stored import load_dataset

        return load_dataset(self.study, self.cell.dataset, open_store(str(self.folder / "store")))

    def keras(self) -> Any:
        """Import Keras and set it up as in a cell."""
        from motifk8s.training import devices

        devices.setup(self.threads)
        import keras

        return keras

    def model(self) -> Any:
        """Read the cell's trained model."""
        return self.keras().models.load_model(self.folder / "model.keras", compile=False)

    def filters(self) -> Any:
        """Read the cell's filters, by layer."""
        from motifk8s.filters.layer_motifs import read_filters

        return read_filters(self.folder / "filters.h5")

    def layers(self) -> dict[str, Any]:
        """Read the matches of the cell's filters, by layer."""
        return json.loads((self.folder / "metrics.json").read_text())["layers"]


class Watch:
    """A stopwatch that keeps seconds by name of a measurement."""

    def __init__(self) -> None:
        self.measures: Measures = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.measures[name] = time.perf_counter() - start


# --- steps; each runs in a new process


def imports(inputs: Inputs, watch: Watch) -> None:
    """Import TensorFlow, or the other backend, as a cell does."""
    from motifk8s.training import devices

    with watch("import of TensorFlow, and setup"):
        devices.setup(inputs.threads)
        import keras  # noqa: F401


def filters(inputs: Inputs, watch: Watch) -> None:
    """Extract the filters of every layer before the first pooling, with tracing and compiling."""
    from motifk8s.filters.layer_motifs import extract_layers
    from motifk8s.filters.layers import numbered_layers

    model, (codes, _) = inputs.model(), inputs.dataset().part("test")
    n, length = codes.shape
    with watch(f"filters of {n:,} x {length:,} nt"):
        extract_layers(numbered_layers(model), codes, inputs.study.motifs)


def matches(inputs: Inputs, watch: Watch) -> None:
    """Run Tomtom, and the rest of a cell's matches: fractions by chance, MEME files."""
    from motifk8s.filters.layer_motifs import layer_motifs, match_layers
    from motifk8s.motifs.database import read_database
    from motifk8s.motifs.tomtom import tomtom

    rule, spec, extracted = inputs.study.motifs, inputs.study.matches, inputs.filters()
    with watch("reading the database of motifs"):
        targets = read_database(spec.database)
    queries = [motif for layer in extracted.values() for motif in layer_motifs(layer, rule)]
    with watch(f"Tomtom, {len(queries)} filters and {len(targets)} motifs"):
        tomtom(queries, targets, spec.evalue)
    truth = inputs.study.datasets[inputs.cell.dataset].motif_ids
    with tempfile.TemporaryDirectory() as out, watch("matches as a cell counts them"):
        match_layers(extracted, rule, spec.database, spec.evalue, truth, Path(out))


def logos(inputs: Inputs, watch: Watch) -> None:
    """Draw the logos; includes the import of matplotlib."""
    from motifk8s.filters.layer_motifs import draw_layers

    extracted, layers = inputs.filters(), inputs.layers()
    number = sum(len(layer.dead) for layer in extracted.values())
    with tempfile.TemporaryDirectory() as out, watch(f"logos of {number} filters"):
        draw_layers(extracted, layers, inputs.cell.id, Path(out))


def analysis(inputs: Inputs, watch: Watch) -> None:
    """Make the tables beyond the paper."""
    from motifk8s.filters import analysis

    model, dataset, extracted = inputs.model(), inputs.dataset(), inputs.filters()
    labels = {name: layer["labels"] for name, layer in inputs.layers().items()}
    with watch("analysis beyond the paper"):
        analysis.run(inputs.study, inputs.cell.dataset, dataset, model, extracted, labels)


def checkpoint(inputs: Inputs, watch: Watch) -> None:
    """Make a checkpoint: copy the state to the host, and convert it to bytes."""
    from motifk8s.training import devices, loop, models

    keras, dataset = inputs.keras(), inputs.dataset()
    settings, spec = inputs.study.training_for(inputs.cell.dataset), inputs.study.models
    model = models.build(
        spec[inputs.cell.model], settings, dataset.codes.shape[1], len(dataset.classes)
    )
    device = devices.open_device(model, keras.optimizers.Adam())
    with watch("state of model and optimizer to the host"):
        state = device.state()
    rows = [dict.fromkeys(("epoch", "loss", "val_loss", "seconds"), 0.5)] * settings.epochs
    name = "checkpoint to bytes (during training)"
    with watch(name):
        data = loop.Snapshot(state, state, rows, [], "").dumps("key")
    watch.measures["bytes"] = {name: len(data)}


def storage(inputs: Inputs, watch: Watch) -> None:
    """Write and read a data set as large as the paper's in vivo data.

    Its bases are random, so it compresses less than real data.
    """
    from motifk8s.data import datasets

    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (inputs.rows, LENGTH), np.uint8)
    labels = (rng.random((inputs.rows, CLASSES), np.float32) < 0.1).astype(np.int8)
    split = np.zeros(inputs.rows, np.uint8)
    split[-inputs.rows // 20 :], split[-inputs.rows // 40 :] = 1, 2
    dataset = datasets.Dataset(codes, labels, split, tuple(f"class{i}" for i in range(CLASSES)))
    what = f"data set of {inputs.rows:,} x {LENGTH:,} nt"
    with tempfile.TemporaryDirectory() as out:
        path = Path(out) / "data.h5"
        with watch(f"writing a {what}"):
            datasets.write(dataset, path, None)
        watch.measures["bytes"] = {f"writing a {what}": path.stat().st_size}
        with watch(f"reading and checking a {what}"):
            datasets.read(path)


STEPS: dict[str, Callable[[Inputs, Watch], None]] = {
    step.__name__: step
    for step in (imports, filters, matches, logos, analysis, checkpoint, storage)
}
# Limits, by the beginning of a measurement's name.
TARGETS = {
    "motifk8s --help": "0.5 s",
    "filters of": "3 s",
    "Tomtom": "1 s",
    "writing a data set": "100 MB",
}


# --- the benchmark


def motifk8s(*args: object) -> float:
    """Run the command; return the seconds from its start to its end."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "motifk8s", *map(str, args)], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - start


def run_cell(study: str, cell: str, folder: Path, threads: Sequence[object]) -> pd.DataFrame:
    """Run one cell; return its seconds as `by_stage`."""
    from motifk8s.cells import marker

    loaded = load(study)
    store = folder / "store"
    motifk8s("dataset", study, loaded.cell(cell).dataset, "--store", store)
    seconds = motifk8s("cell", study, cell, *threads, "--store", store)
    place, opened = cell_folder(loaded, loaded.cell(cell)), open_store(str(store))
    done = marker.read_done(opened, place)
    assert done is not None
    for name in FILES:
        (folder / name).write_bytes(marker.fetch(opened, place, done, name))
    stages = json.loads(marker.fetch(opened, place, done, "provenance.json"))["stages"]
    return by_stage(stages, seconds)


def by_stage(stages: dict[str, float], seconds: float) -> pd.DataFrame:
    """Return the seconds of each stage, of the command in no stage, and outside training."""
    rows = list(stages.items())
    rows.append(("in no stage", seconds - sum(stages.values())))
    rows.append(("all", seconds))
    rows.append(("outside training", seconds - stages["training"]))
    frame = pd.DataFrame(rows, columns=["name", "seconds"])
    frame["share"] = frame.seconds / seconds
    return frame


def run_steps(task: dict[str, Any], repeats: int) -> pd.DataFrame:
    """Run each step several times; return a row for each measurement."""
    took: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    for step in STEPS:
        for _ in range(repeats):
            done = subprocess.run(
                [sys.executable, __file__, "--step", json.dumps({"step": step, **task})],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise SystemExit(f"{step}: {done.stderr}")
            measures = json.loads(done.stdout.splitlines()[-1])
            sizes |= measures.pop("bytes", {})
            for name, seconds in measures.items():
                took.setdefault(name, []).append(seconds)
                print(f"{name}: {seconds:.2f} s", flush=True)
    return to_frame(took, sizes)


def to_frame(took: dict[str, list[float]], sizes: dict[str, int]) -> pd.DataFrame:
    """Return a row for each measurement: name, median, least and most seconds, repeats, bytes."""
    rows = [
        (name, np.median(s), min(s), max(s), len(s), sizes.get(name)) for name, s in took.items()
    ]
    columns = ["name", "seconds", "least", "most", "repeats", "bytes"]
    return pd.DataFrame(rows, columns=columns).astype({"bytes": "Int64"})


def page(steps: pd.DataFrame, cell: pd.DataFrame, title: str, facts: dict[str, str]) -> str:
    """Return the content of stages.md."""
    lines = []
    for row in steps.itertuples():
        size = "" if pd.isna(row.bytes) else f"{row.bytes / 1e6:.1f} MB"
        limits = [f"at most {t}" for start, t in TARGETS.items() if row.name.startswith(start)]
        seconds = f"{row.seconds:.2f} ({row.least:.2f} to {row.most:.2f})"
        lines.append(f"| {row.name} | {seconds} | {size} | {''.join(limits[:1])} |\n")
    stages = "".join(
        f"| {row.name} | {row.seconds:.2f} | {row.share:.1%} |\n" for row in cell.itertuples()
    )
    return "\n".join(
        [
            "# Everything around training\n",
            "The command below makes this page; the numbers are in [stages.csv](stages.csv).\n",
            f"## One cell, {title}\n",
            "`motifk8s cell` without any cache, from its start to its end, by the stages in its "
            "`provenance.json`. The target is at most 15% and 15 s outside training.\n",
            f"| stage | seconds | share |\n| --- | ---: | ---: |\n{stages}",
            "## Each step alone\n",
            "Seconds, each time in a new process: median, least and most. The inputs of the steps "
            "are from the cell above.\n",
            f"| | seconds | size | target |\n| --- | ---: | ---: | --- |\n{''.join(lines)}",
            "## Machine\n",
            machine.markdown(facts),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a cell and each step; write the results."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--study", default="demo", help="study with the cell (%(default)s)")
    add("--cell", default="synthetic/cnn-25/1", help="id of the cell (%(default)s)")
    add("--repeats", type=int, default=3, help="runs of each step (%(default)s)")
    add("--threads", type=int, help="threads of each process (default: all cores)")
    add("--quick", action="store_true", help=f"the smoke study, {FEW} rows, one run of each step")
    add("--out", type=Path, default=machine.OUT, help="output directory (docs/results/bench)")
    add("--step", help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    if args.step:
        task = json.loads(args.step)
        watch, step = Watch(), STEPS[task.pop("step")]
        step(Inputs(**{**task, "folder": Path(task["folder"])}), watch)
        return print(json.dumps(watch.measures))
    if args.quick:
        args.study, args.cell, args.repeats = "smoke", "tiny/large-pool/1", 1
    threads = args.threads or cores()
    facts = machine.describe("stages.py", words, threads)
    with tempfile.TemporaryDirectory(prefix="motifk8s-bench-") as folder:
        help_s = [motifk8s("--help") for _ in range(HELPS)]
        option = ["--threads", args.threads] if args.threads else []
        cell = run_cell(args.study, args.cell, Path(folder), option)
        task = {"study": args.study, "cell": args.cell, "folder": folder, "threads": threads}
        steps = run_steps({**task, "rows": FEW if args.quick else ROWS}, args.repeats)
    steps = pd.concat([to_frame({"motifk8s --help": help_s}, {}), steps])
    args.out.mkdir(parents=True, exist_ok=True)
    rows = pd.concat([cell.assign(what=f"{args.study} {args.cell}"), steps.assign(what="step")])
    rows.insert(0, "what", rows.pop("what"))
    rows.to_csv(args.out / "stages.csv", index=False, float_format="%.4g")
    text = page(steps, cell, f"{args.cell} of {args.study}", facts)
    (args.out / "stages.md").write_text(text)
    print(text)


if __name__ == "__main__":
    machine.run_main(main)
