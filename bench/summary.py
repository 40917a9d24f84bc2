"""What bench/training.py says of its runs: figures, a table of rows, a page, a plot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
import pandas as pd

FRAMEWORKS = {"keras": "stock Keras", "torch": "PyTorch", "ours": "motifk8s"}
COLOURS = {"keras": "#9A9A9A", "torch": "#E69F00", "ours": "#0072B2"}
PROBE_ROWS = 5_000  # of the training part, at most, in a probe
# By column of training.csv: heading, digits, what it is.
MEASURES = {
    "epoch_s": (
        "Seconds an epoch",
        2,
        "Training and validation; of each run the median of all epochs but the first.",
    ),
    "memory_mb": (
        "Peak memory (MB)",
        0,
        "Resident memory of the process at its peak, beyond what it had when the framework was "
        "imported and had multiplied two matrices.",
    ),
    "to_target_s": (
        "Seconds to the same validation loss",
        1,
        "From sequences in memory to the end of the first epoch whose validation loss is at or "
        "below the target: of an architecture the lowest loss that all its runs reached. Start "
        "included.",
    ),
    "start_s": (
        "Seconds of the start",
        1,
        "Building, compiling, one-hot if it is made beforehand, the first step: what the first "
        "epoch took, and all before it, beyond a later epoch. Nothing was compiled before.",
    ),
}


class Probe(NamedTuple):
    """A setting of stock Keras or PyTorch that was tried for an architecture.

    Attributes
    ----------
    label : str
        The architecture.
    framework : str
    setting : str
    found : float or str
        Seconds of an epoch, or the reason why there are none.
    chosen : bool
    """

    label: str
    framework: str
    setting: str
    found: float | str
    chosen: bool


def words(setting: dict[str, Any]) -> str:
    """A setting as a reader sees it."""
    return ", ".join(f"{name}={value}" for name, value in setting.items()) or "its own"


def epoch_seconds(seconds: Sequence[float]) -> float:
    """Seconds an epoch: the median of all but the first."""
    return float(np.median(seconds[1:]))


def start_seconds(build: float, seconds: Sequence[float]) -> float:
    """What came before the first epoch, and what that one took beyond a later one."""
    return build + seconds[0] - epoch_seconds(seconds)


def target(losses: Iterable[Sequence[float]]) -> float:
    """The validation loss that every run reaches: the highest of their lowest."""
    return max(min(run) for run in losses)


def epochs_to(losses: Sequence[float], target: float) -> int:
    """Epochs until the loss is at or below the target for the first time."""
    return 1 + next(i for i, loss in enumerate(losses) if loss <= target)


def to_frame(runs: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row a run, with what is computed from all runs of its architecture."""
    frame = pd.DataFrame(runs)
    frame["epoch_s"] = frame.seconds.map(epoch_seconds)
    frame["start_s"] = [start_seconds(*run) for run in zip(frame.build, frame.seconds, strict=True)]
    frame["memory_mb"] = (frame.peak - frame.base) / 1e6
    frame["base_mb"] = frame.base / 1e6
    frame["target_loss"] = frame.groupby("name").losses.transform(lambda runs: target(runs))
    frame["target_epoch"] = list(map(epochs_to, frame.losses, frame.target_loss))
    frame["to_target_s"] = [
        build + sum(seconds[:epochs])
        for build, seconds, epochs in zip(
            frame.build, frame.seconds, frame.target_epoch, strict=True
        )
    ]
    return frame


def to_csv(frame: pd.DataFrame) -> str:
    """The rows as text; the seconds and losses of the epochs with blanks between them."""
    frame = frame.drop(columns=["peak", "base"]).rename(columns={"build": "build_s"})
    for name, digits in (("seconds", 3), ("losses", 5)):
        texts = [" ".join(f"{value:.{digits}f}" for value in values) for values in frame.pop(name)]
        frame[f"epoch_{name}"] = texts
    return frame.to_csv(index=False, float_format="%.5g")


def table(frame: pd.DataFrame, measure: str) -> str:
    """One measure in Markdown: medians with the least and the most, and ratios of medians."""
    digits = MEASURES[measure][1]
    here = [f for f in FRAMEWORKS if f in set(frame.framework)]
    others = [f for f in here if f != "ours"] if "ours" in here else []
    heads = ["architecture", *(FRAMEWORKS[f] for f in here)]
    heads += [f"{FRAMEWORKS[f]} / motifk8s" for f in others]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for _, mine in frame.groupby("name", sort=False):
        values = {f: mine.loc[mine.framework == f, measure] for f in here}
        cells = [str(mine.label.iloc[0])]
        for f in here:
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
    """training.md: the tables, the machine, the settings that were tried."""
    parts = [
        "# Training beside stock Keras and PyTorch\n",
        "Made by the command below; every number of every run is in [training.csv](training.csv). "
        "Each is a median over the repeats, with the least and the most, and ratios are of "
        "medians: above 1, motifk8s is the faster or the smaller.\n",
        "![Seconds an epoch and peak memory](training.svg)\n",
        *(f"{note}\n" for note in notes),
    ]
    for measure, (heading, _, what) in MEASURES.items():
        parts += [f"## {heading}\n", f"{what}\n", table(frame, measure)]
        if measure == "to_target_s":
            targets = frame.groupby("label", sort=False).target_loss.first()
            said = ", ".join(f"{label} {loss:.4f}" for label, loss in targets.items())
            parts.append(f"Targets (nats, without L2): {said}.\n")
    parts += ["## Machine\n", machine.markdown(facts)]
    parts.append("## Settings of stock Keras and PyTorch\n")
    if probes:
        parts.append(
            "Seconds of an epoch in a probe, the lesser of the second and the third, on at most "
            f"{PROBE_ROWS:,} sequences. In bold what was given: the fastest, or the plainest of "
            "those within a few percent.\n"
        )
        rows = "".join(
            "| {} |\n".format(" | ".join((label, FRAMEWORKS[f], setting, _seconds(found, chosen))))
            for label, f, setting, found, chosen in probes
        )
        parts.append(f"| architecture | | setting | seconds |\n| --- | --- | --- | ---: |\n{rows}")
    else:
        parts.append("Not probed; the first of those known was given.\n")
    return "\n".join(parts)


def _seconds(found: float | str, chosen: bool) -> str:
    text = found.replace("|", " ")[:120] if isinstance(found, str) else f"{found:.2f}"
    return f"**{text}**" if chosen else text


def draw(frame: pd.DataFrame, paths: Sequence[Path]) -> None:
    """Bars of medians, with lines from the least to the most, for time and for memory."""
    from matplotlib.figure import Figure

    from motifk8s.motifs.logos import FONT, save

    names = list(dict.fromkeys(frame.name))
    labels = list(dict.fromkeys(frame.label))
    here = [f for f in FRAMEWORKS if f in set(frame.framework)]
    figure = Figure(figsize=(7.5, 2.9), facecolor="white")
    for panel, measure in enumerate(("epoch_s", "memory_mb")):
        heading, digits, _ = MEASURES[measure]
        axes = figure.add_axes((0.07 + 0.5 * panel, 0.13, 0.42, 0.68))
        for i, f in enumerate(here):
            of = frame[frame.framework == f].groupby("name")[measure]
            low, middle, high = (
                of.agg(kind).reindex(names).to_numpy(float) for kind in ("min", "median", "max")
            )
            x = np.arange(len(names)) + 0.8 * (i + 0.5) / len(here) - 0.4
            axes.bar(
                x, middle, 0.8 / len(here) - 0.03, color=COLOURS[f], label=FRAMEWORKS[f],
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
    figure.legend(handles, known, loc="upper center", ncols=len(here), fontsize=8, frameon=False)
    save(figure, paths)
