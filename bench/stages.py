"""What a cell does besides training, each by itself, and one whole cell by stage.

    python bench/stages.py [--study demo] [--cell synthetic/cnn-25/1] [--repeats 3] [--quick]

First a cell runs as `motifk8s cell` runs it, into a store that is deleted afterwards; then its
model, data and filters go through each step again, every time in a process of its own, so that
imports and compiling count where a cell has them. Writes stages.csv and stages.md; some ten
minutes on two cores.
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

FILES = ("model.keras", "filters.h5", "metrics.json")  # of the cell, for the steps
ROWS, LENGTH, CLASSES = 270_382, 1_000, 12  # of the paper's in vivo data
FEW = 2_000  # rows with --quick
HELPS = 5
Found = dict[str, Any]  # seconds by what was done, and "bytes" by what was written


class Given:
    """What the steps work on, each read when it is asked for."""

    def __init__(self, study: str, cell: str, here: Path, threads: int, rows: int) -> None:
        self.study, self.here, self.threads, self.rows = load(study), here, threads, rows
        self.cell = self.study.cell(cell)

    def dataset(self) -> Any:
        """The cell's data."""
        from motifk8s.data.stored import load_dataset

        return load_dataset(self.study, self.cell.dataset, open_store(str(self.here / "store")))

    def keras(self) -> Any:
        """Keras, set up as in a cell."""
        from motifk8s.training import devices

        devices.setup(self.threads)
        import keras

        return keras

    def model(self) -> Any:
        """The cell's model, trained."""
        return self.keras().models.load_model(self.here / "model.keras", compile=False)

    def filters(self) -> Any:
        """Its filters, by layer."""
        from motifk8s.filters.layer_motifs import read_filters

        return read_filters(self.here / "filters.h5")

    def layers(self) -> dict[str, Any]:
        """What its filters match, by layer."""
        return json.loads((self.here / "metrics.json").read_text())["layers"]


class Watch:
    """Seconds by what was done."""

    def __init__(self) -> None:
        self.found: Found = {}

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.found[what] = time.perf_counter() - start


# --- steps, each in a process of its own


def imports(given: Given, watch: Watch) -> None:
    """TensorFlow, or the other backend, as a cell imports it."""
    from motifk8s.training import devices

    with watch("import of TensorFlow, and setup"):
        devices.setup(given.threads)
        import keras  # noqa: F401


def filters(given: Given, watch: Watch) -> None:
    """Filters of every layer before the first pooling; tracing and compiling included."""
    from motifk8s.filters.layer_motifs import extract_layers

    model, (codes, _) = given.model(), given.dataset().part("test")
    n, length = codes.shape
    with watch(f"filters of {n:,} x {length:,} nt"):
        extract_layers(model, codes, given.study.motifs)


def matches(given: Given, watch: Watch) -> None:
    """Tomtom, and what a cell adds to it: fractions by chance, MEME files."""
    from motifk8s.filters.layer_motifs import layer_motifs, match_layers
    from motifk8s.motifs.database import read_database
    from motifk8s.motifs.tomtom import tomtom

    rule, spec, found = given.study.motifs, given.study.matches, given.filters()
    with watch("reading the database of motifs"):
        targets = read_database(spec.database)
    queries = [motif for layer in found.values() for motif in layer_motifs(layer, rule)]
    with watch(f"Tomtom, {len(queries)} filters and {len(targets)} motifs"):
        tomtom(queries, targets, spec.evalue)
    truth = given.study.datasets[given.cell.dataset].motif_ids
    with tempfile.TemporaryDirectory() as out, watch("matches as a cell counts them"):
        match_layers(found, rule, spec.database, spec.evalue, truth, Path(out))


def logos(given: Given, watch: Watch) -> None:
    """Logos, matplotlib's import included."""
    from motifk8s.filters.layer_motifs import draw_layers

    found, layers = given.filters(), given.layers()
    number = sum(len(layer.dead) for layer in found.values())
    with tempfile.TemporaryDirectory() as out, watch(f"logos of {number} filters"):
        draw_layers(found, layers, given.cell.id, Path(out))


def analysis(given: Given, watch: Watch) -> None:
    """What is asked beyond the paper."""
    from motifk8s.filters import analysis

    model, dataset, found = given.model(), given.dataset(), given.filters()
    labels = {name: layer["labels"] for name, layer in given.layers().items()}
    with watch("analysis beyond the paper"):
        analysis.run(given.study, given.cell.dataset, dataset, model, found, labels)


def checkpoint(given: Given, watch: Watch) -> None:
    """One checkpoint: the state's way to the host, and to bytes."""
    from motifk8s.training import devices, loop, models

    keras, dataset = given.keras(), given.dataset()
    settings = given.study.training_for(given.cell.dataset)
    model = models.build(
        given.study.models[given.cell.model], settings, dataset.codes.shape[1], len(dataset.classes)
    )
    device = devices.open_device(model, keras.optimizers.Adam())
    with watch("state of model and optimizer to the host"):
        state = device.state()
    rows = [dict.fromkeys(("epoch", "loss", "val_loss", "seconds"), 0.5)] * settings.epochs
    with watch("checkpoint to bytes (beside training)"):
        data = loop.Snapshot(state, state, rows, [], "").dumps("key")
    watch.found["bytes"] = {"checkpoint to bytes (beside training)": len(data)}


def storage(given: Given, watch: Watch) -> None:
    """A data set as large as the paper's in vivo one, of random bases, which compress least."""
    from motifk8s.data import datasets

    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (given.rows, LENGTH), np.uint8)
    labels = (rng.random((given.rows, CLASSES), np.float32) < 0.1).astype(np.int8)
    split = np.zeros(given.rows, np.uint8)
    split[-given.rows // 20 :], split[-given.rows // 40 :] = 1, 2
    made = datasets.Dataset(codes, labels, split, tuple(f"class{i}" for i in range(CLASSES)))
    what = f"data set of {given.rows:,} x {LENGTH:,} nt"
    with tempfile.TemporaryDirectory() as out:
        path = Path(out) / "data.h5"
        with watch(f"writing a {what}"):
            datasets.write(made, path, None)
        watch.found["bytes"] = {f"writing a {what}": path.stat().st_size}
        with watch(f"reading and checking a {what}"):
            datasets.read(path)


STEPS: dict[str, Callable[[Given, Watch], None]] = {
    step.__name__: step
    for step in (imports, filters, matches, logos, analysis, checkpoint, storage)
}
# What is asked of a step, by how its name begins.
TARGETS = {
    "motifk8s --help": "0.5 s",
    "filters of": "3 s",
    "Tomtom": "1 s",
    "writing a data set": "100 MB",
}


# --- the whole


def motifk8s(*args: object) -> float:
    """Run the command; seconds from its start to its end."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "motifk8s", *map(str, args)], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began


def run_cell(study: str, cell: str, here: Path, threads: Sequence[object]) -> pd.DataFrame:
    """Run one cell; seconds by stage, and of the command beyond all stages."""
    from motifk8s.cells import marker

    loaded = load(study)
    store = here / "store"
    motifk8s("dataset", study, loaded.cell(cell).dataset, "--store", store)
    seconds = motifk8s("cell", study, cell, *threads, "--store", store)
    place, opened = cell_folder(loaded, loaded.cell(cell)), open_store(str(store))
    done = marker.read_done(opened, place)
    assert done is not None
    for name in FILES:
        (here / name).write_bytes(marker.fetch(opened, place, done, name))
    stages = json.loads(marker.fetch(opened, place, done, "provenance.json"))["stages"]
    return by_stage(stages, seconds)


def by_stage(stages: dict[str, float], seconds: float) -> pd.DataFrame:
    """Stages of a cell (name, seconds), what the command took beyond them, and outside training."""
    rows = list(stages.items())
    rows.append(("in no stage", seconds - sum(stages.values())))
    rows.append(("all", seconds))
    rows.append(("outside training", seconds - stages["training"]))
    frame = pd.DataFrame(rows, columns=["name", "seconds"])
    frame["share"] = frame.seconds / seconds
    return frame


def run_steps(task: dict[str, Any], repeats: int) -> pd.DataFrame:
    """Each step some times; a row for each thing that was done."""
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
            found = json.loads(done.stdout.splitlines()[-1])
            sizes |= found.pop("bytes", {})
            for what, seconds in found.items():
                took.setdefault(what, []).append(seconds)
                print(f"{what}: {seconds:.2f} s", flush=True)
    return to_frame(took, sizes)


def to_frame(took: dict[str, list[float]], sizes: dict[str, int]) -> pd.DataFrame:
    """One row a thing that was done: name, median, least and most seconds, bytes."""
    rows = [
        (name, np.median(s), min(s), max(s), len(s), sizes.get(name)) for name, s in took.items()
    ]
    columns = ["name", "seconds", "least", "most", "repeats", "bytes"]
    return pd.DataFrame(rows, columns=columns).astype({"bytes": "Int64"})


def page(steps: pd.DataFrame, cell: pd.DataFrame, title: str, facts: dict[str, str]) -> str:
    """stages.md."""
    lines = []
    for row in steps.itertuples():
        size = "" if pd.isna(row.bytes) else f"{row.bytes / 1e6:.1f} MB"
        asked = [goal for start, goal in TARGETS.items() if row.name.startswith(start)]
        goal = f"at most {asked[0]}" if asked else ""
        seconds = f"{row.seconds:.2f} ({row.least:.2f} to {row.most:.2f})"
        lines.append(f"| {row.name} | {seconds} | {size} | {goal} |\n")
    stages = "".join(
        f"| {row.name} | {row.seconds:.2f} | {row.share:.1%} |\n" for row in cell.itertuples()
    )
    return "\n".join(
        [
            "# Everything around training\n",
            "Made by the command below; the numbers are in [stages.csv](stages.csv).\n",
            f"## One cell, {title}\n",
            "`motifk8s cell` with nothing cached, from its start to its end, by the stages in its "
            "`provenance.json`. At most 15% and 15 s should be outside training.\n",
            f"| stage | seconds | share |\n| --- | ---: | ---: |\n{stages}",
            "## Each step by itself\n",
            "Seconds, each time in a new process: median, least and most. What the step works on "
            "is that cell's.\n",
            f"| | seconds | size | asked |\n| --- | ---: | ---: | --- |\n{''.join(lines)}",
            "## Machine\n",
            machine.markdown(facts),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a cell, then each step; write."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--study", default="demo", help="(%(default)s)")
    add("--cell", default="synthetic/cnn-25/1", help="(%(default)s)")
    add("--repeats", type=int, default=3, help="of each step (%(default)s)")
    add("--threads", type=int, help="of every process (default: all cores)")
    add("--quick", action="store_true", help=f"the smoke study, {FEW} rows, once")
    add("--out", type=Path, default=machine.OUT, help="folder (docs/results/bench)")
    add("--step", help=argparse.SUPPRESS)
    args = parser.parse_args(given)
    if args.step:
        task = json.loads(args.step)
        watch, step = Watch(), STEPS[task.pop("step")]
        step(Given(**{**task, "here": Path(task["here"])}), watch)
        return print(json.dumps(watch.found))
    if args.quick:
        args.study, args.cell, args.repeats = "smoke", "tiny/large-pool/1", 1
    threads = args.threads or cores()
    facts = machine.describe("stages.py", given, threads)
    with tempfile.TemporaryDirectory(prefix="motifk8s-bench-") as temporary:
        here = Path(temporary)
        help_s = [motifk8s("--help") for _ in range(HELPS)]
        cell = run_cell(
            args.study, args.cell, here, ["--threads", args.threads] if args.threads else []
        )
        task = {"study": args.study, "cell": args.cell, "here": str(here), "threads": threads}
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
    machine.told_in_a_line(main)
