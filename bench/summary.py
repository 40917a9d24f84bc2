"""Summarize the runs of bench/training.py: numbers, a table, a page, a plot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
import pandas as pd

FRAMEWORKS = {"keras": "stock Keras", "torch": "PyTorch", "ours": "motifk8s"}
COLOURS = {"keras": "#9A9A9A", "torch": "#E69F00", "ours": "#0072B2"}
PROBE_ROWS = 5_000  # maximum number of training sequences in a probe
# By column of training.csv: heading, decimals, description.
MEASURES = {
    "epoch_s": (
        "Seconds per epoch",
        2,
        "Training and validation; the median over a run's epochs without the first.",
    ),
    "memory_mb": (
        "Peak memory (MB)",
        0,
        "Peak resident memory of the process, minus its memory after importing the framework and "
        "multiplying two matrices.",
    ),
    "to_target_s": (
        "Seconds to the same validation loss",
        1,
        "From sequences in memory to the end of the first epoch whose validation loss is at or "
        "below the target, including the start. The target of an architecture is the lowest loss "
        "that all its runs reach.",
    ),
    "start_s": (
        "Seconds to start",
        1,
        "Building, compiling, one-hot encoding if it is done in advance, and the first step: the "
        "time until the end of the first epoch, minus that of a later epoch. Nothing was compiled "
        "before.",
    ),
    "share": (
        "Share of the arithmetic limit",
        2,
        "The arithmetic of convolutions and dense layers, forward and backward, over seconds per "
        "epoch and over the rate of a product of matrices, which each run measures after its "
        "training. 1 is the limit.",
    ),
}


class Probe(NamedTuple):
    """A setting of stock Keras or PyTorch that was tried for an architecture."""

    label: str  # of the architecture
    framework: str
    setting: str
    outcome: float | str  # seconds per epoch, or the reason of a failure
    chosen: bool


def words(setting: dict[str, Any]) -> str:
    """Write a setting as text."""
    return ", ".join(f"{name}={value}" for name, value in setting.items()) or "its own"


def epoch_seconds(seconds: Sequence[float]) -> float:
    """Return the median seconds per epoch, without the first epoch."""
    return float(np.median(seconds[1:]))


def start_seconds(build: float, seconds: Sequence[float]) -> float:
    """Return the seconds before the first epoch, plus those it took more than a later epoch."""
    return build + seconds[0] - epoch_seconds(seconds)


def target(losses: Iterable[Sequence[float]]) -> float:
    """Return the validation loss that every run reaches: the highest of their minima."""
    return max(min(run) for run in losses)


def epochs_to(losses: Sequence[float], target: float) -> int:
    """Return the number of epochs until the loss is at or below the target."""
    return 1 + next(i for i, loss in enumerate(losses) if loss <= target)


def to_frame(runs: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Make one row per run, with the numbers that need all runs of its architecture."""
    frame = pd.DataFrame(runs)
    frame["epoch_s"] = frame.seconds.map(epoch_seconds)
    frame["start_s"] = [start_seconds(*run) for run in zip(frame.build, frame.seconds, strict=True)]
    frame["share"] = frame.gflop / frame.epoch_s / frame.product_rate
    frame["memory_mb"] = (frame.peak - frame.base) / 1e6
    frame["base_mb"] = frame.base / 1e6
    frame["target_loss"] = frame.groupby("name").losses.transform(target)
    frame["target_epoch"] = list(map(epochs_to, frame.losses, frame.target_loss))
    frame["to_target_s"] = [
        build + sum(seconds[:epochs])
        for build, seconds, epochs in zip(
            frame.build, frame.seconds, frame.target_epoch, strict=True
        )
    ]
    return frame


def to_csv(frame: pd.DataFrame) -> str:
    """Write the rows as CSV; seconds and losses of the epochs are separated by blanks."""
    frame = frame.drop(columns=["peak", "base"]).rename(columns={"build": "build_s"})
    for name, digits in (("seconds", 3), ("losses", 5)):
        texts = [" ".join(f"{value:.{digits}f}" for value in values) for values in frame.pop(name)]
        frame[f"epoch_{name}"] = texts
    return frame.to_csv(index=False, float_format="%.5g")


def table(frame: pd.DataFrame, measure: str) -> str:
    """Write one measure in Markdown: medians with minimum and maximum, and ratios of medians.

    A share has no ratios.
    """
    digits = MEASURES[measure][1]
    frameworks = [f for f in FRAMEWORKS if f in set(frame.framework)]
    compared = "ours" in frameworks and measure != "share"
    others = [f for f in frameworks if f != "ours"] if compared else []
    heads = ["architecture", *(FRAMEWORKS[f] for f in frameworks)]
    heads += [f"{FRAMEWORKS[f]} / motifk8s" for f in others]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for _, runs in frame.groupby("name", sort=False):
        values = {f: runs.loc[runs.framework == f, measure] for f in frameworks}
        cells = [str(runs.label.iloc[0])]
        for f in frameworks:
            low, middle, high = (
                f"{value:.{digits}f}"
                for value in (values[f].min(), values[f].median(), values[f].max())
            )
            cells.append(f"{middle} ({low} to {high})" if len(values[f]) else "")
        for f in others:
            both = len(values[f]) and len(values["ours"])
            ratio = values[f].median() / values["ours"].median() if both else None
            cells.append(f"{ratio:.2f}" if ratio is not None else "")
        lines.append(cells)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def page(
    frame: pd.DataFrame,
    facts: dict[str, str],
    probes: Sequence[Probe],
    notes: Sequence[str],
) -> str:
    """Write training.md: the tables, the machine, the settings that were tried."""
    parts = [
        "# Training compared with stock Keras and PyTorch\n",
        "Made by the command below; [training.csv](training.csv) has all numbers of all runs. Each "
        "number is the median over the repeats, with minimum and maximum. Ratios are those of "
        "medians: above 1, motifk8s is faster or needs less memory.\n",
        "![Seconds per epoch and peak memory](training.svg)\n",
        *(f"{note}\n" for note in notes),
    ]
    for measure, (heading, _, text) in MEASURES.items():
        parts += [f"## {heading}\n", f"{text}\n", table(frame, measure)]
        if measure == "to_target_s":
            targets = frame.groupby("label", sort=False).target_loss.first()
            losses = ", ".join(f"{label} {loss:.4f}" for label, loss in targets.items())
            parts.append(f"Targets (nats, without L2): {losses}.\n")
    parts += ["## Machine\n", machine.markdown(facts)]
    parts.append("## Settings of stock Keras and PyTorch\n")
    if probes:
        parts.append(
            "Seconds per epoch in a probe on at most "
            f"{PROBE_ROWS:,} sequences: the faster of the second and the third epoch. The setting "
            "in bold was used: the fastest, or the simplest of those within a few percent.\n"
        )
        rows = "".join(
            "| {} |\n".format(
                " | ".join((label, FRAMEWORKS[f], setting, _seconds(outcome, chosen)))
            )
            for label, f, setting, outcome, chosen in probes
        )
        parts.append(f"| architecture | | setting | seconds |\n| --- | --- | --- | ---: |\n{rows}")
    else:
        parts.append("No probes; the first known setting was used.\n")
    return "\n".join(parts)


def _seconds(outcome: float | str, chosen: bool) -> str:
    text = outcome.replace("|", " ")[:120] if isinstance(outcome, str) else f"{outcome:.2f}"
    return f"**{text}**" if chosen else text


def draw(frame: pd.DataFrame, paths: Sequence[Path]) -> None:
    """Draw medians of time and memory as bars, with lines from minimum to maximum."""
    from matplotlib.figure import Figure

    from motifk8s.motifs.logos import FONT, save

    names = list(dict.fromkeys(frame.name))
    labels = list(dict.fromkeys(frame.label))
    frameworks = [f for f in FRAMEWORKS if f in set(frame.framework)]
    figure = Figure(figsize=(7.5, 5.2), facecolor="white")
    for panel, measure in enumerate(("epoch_s", "memory_mb")):
        heading, digits, _ = MEASURES[measure]
        axes = figure.add_axes((0.07, 0.55 - 0.47 * panel, 0.92, 0.34))
        for i, f in enumerate(frameworks):
            values = frame[frame.framework == f].groupby("name")[measure]
            low, middle, high = (
                values.agg(kind).reindex(names).to_numpy(float) for kind in ("min", "median", "max")
            )
            x = np.arange(len(names)) + 0.8 * (i + 0.5) / len(frameworks) - 0.4
            axes.bar(
                x, middle, 0.8 / len(frameworks) - 0.03, color=COLOURS[f], label=FRAMEWORKS[f],
                yerr=(middle - low, high - middle), error_kw={"lw": 0.8, "ecolor": "#222222"},
            )  # fmt: skip
            for at, value, top in zip(x, middle, high, strict=True):
                if np.isfinite(value):
                    text = f"{value:.{digits if value < 10 else min(digits, 1)}f}"
                    above = {"xytext": (0, 2), "textcoords": "offset points"}
                    axes.annotate(text, (at, top), size=FONT - 2, ha="center", **above)
        axes.set_xticks(range(len(names)), [s.replace(", ", "\n", 1) for s in labels], size=FONT)
        axes.tick_params(axis="y", labelsize=FONT)
        axes.tick_params(axis="x", length=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(heading, size=8, loc="left", weight="bold")
    handles, known = axes.get_legend_handles_labels()
    figure.legend(
        handles, known, loc="upper center", ncols=len(frameworks), fontsize=8, frameon=False
    )
    save(figure, paths)
