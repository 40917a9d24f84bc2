"""Draw the paper's Fig 1: a second layer assembles parts of motifs, or cannot.

Nothing is trained: the weights are set by hand, and a network of `models.build` computes the
activations. Koo & Eddy 2019, "Internal representations of motifs depend on architecture".
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motifk8s.data import sequences
from motifk8s.motifs.logos import COLOURS, FONT, GREY, PAGE, Paths, save
from motifk8s.study.specs import Conv, Model, TrainingSettings
from motifk8s.training import models

if TYPE_CHECKING:
    import keras
    from matplotlib.axes import Axes

#: Patterns and their positions; N is any base. Each is inside one pool of 20.
PATTERNS = {"CACGTG": 7, "GTGCAC": 27, "CACNNNGTG": 46}
#: 60 nt; CAC and GTG occur only in the patterns.
SEQUENCE = "TTAGCAACACGTGATCCTAAGCTTCAAGTGCACTTAGGATACTTGCCACTAAGTGTCAAT"
FILTERS = ("GTG", "CAC")  # of the first layer
WIDTH = 7  # of a first-layer filter; its three letters are in the middle
SECOND = 3  # width of a second-layer filter
POOLS = {"A": 3, "B": 20}

CAPTION = """
Computed by a network whose weights are set by hand. Two first-layer filters of 7 nt detect three
letters each; their ReLU passes three matching letters, but not two. The weights of a second-layer
filter, of length 3, are the first layer's output for its pattern alone. In A, each filter is active
at its own pattern (green). In B, all three filters are equal and active at all three patterns, two
of which are not their own (orange). Blue: receptive fields, {} nt and {} nt wide, of max-pooled
neurons: in A of the two that are active at CACGTG, in B of all three. The patterns are those of the
paper's Fig 1; the sequence is our own, because the paper's text does not give its sequence.
"""


class Scan(NamedTuple):
    """Activations of the network, for P positions after the max-pooling."""

    pooled: np.ndarray
    """(P, 2): max-pooled feature maps of the sequence, by first-layer filter."""
    signatures: np.ndarray
    """(SECOND, 2, 3): pooled maps of each pattern alone, `SECOND` positions around its middle, by
    first-layer filter and pattern. They are the weights of the second layer."""
    second: np.ndarray
    """(P, 3): activations of the second layer, by pattern."""


def alone(pattern: str, start: int) -> str:
    """Return a pattern among unknown bases, which activate no filter."""
    return pattern.rjust(start + len(pattern), "N").ljust(len(SEQUENCE), "N")


def compute(pool: int) -> Scan:
    """Run the network with max-pooling of width `pool` on the sequence."""
    spec = Model(
        conv=[Conv(filters=len(FILTERS), width=WIDTH, pool=pool), Conv(filters=3, width=SECOND)],
        dense=[],
    )
    model = models.build(spec, TrainingSettings(), len(SEQUENCE), len(PATTERNS))
    kernel = np.zeros((WIDTH, 4, len(FILTERS)), np.float32)
    for i, letters in enumerate(FILTERS):
        first = (WIDTH - len(letters)) // 2
        kernel[first : first + len(letters), :, i] = _one_hot(letters)[0]
    _set(model, 1, kernel, len(FILTERS[0]) - 1)
    maps = [_signature(model, alone(*pattern)) for pattern in PATTERNS.items()]
    signatures = np.stack(maps, axis=2)
    # Active only where the whole signature is: its sum minus 1 is the threshold.
    _set(model, 2, signatures, signatures.sum(axis=(0, 1)) - 1)
    return Scan(_run(model, SEQUENCE, "pool1"), signatures, _run(model, SEQUENCE, "act2"))


def _set(model: keras.Model, number: int, kernel: np.ndarray, above: np.ndarray | int) -> None:
    """Set the weights of a convolution; its batch norm subtracts `above` before the ReLU."""
    n = kernel.shape[2]
    model.get_layer(f"conv{number}").set_weights([kernel])
    mean = np.broadcast_to(np.float32(above), n)
    model.get_layer(f"bn{number}").set_weights([np.ones(n), np.zeros(n), mean, np.ones(n)])


def _signature(model: keras.Model, sequence: str) -> np.ndarray:
    """Return the pooled maps around the middle of their active positions, (SECOND, 2)."""
    pooled = _run(model, sequence, "pool1")
    on = np.flatnonzero(pooled.any(axis=1))
    first = (on[0] + on[-1]) // 2 - SECOND // 2
    padded = np.pad(pooled, ((SECOND, SECOND), (0, 0)))
    return padded[SECOND + first : 2 * SECOND + first]


def _run(model: keras.Model, sequence: str, layer: str) -> np.ndarray:
    """Return the output (P, F) of a layer for a sequence."""
    import keras

    part = keras.Model(model.input, model.get_layer(layer).output)
    # Rounded because the epsilon of batch norm turns 1 into 0.999999995.
    return np.round(np.asarray(part(_one_hot(sequence), training=False))[0], 6)


def _one_hot(sequence: str) -> np.ndarray:
    return np.eye(5, dtype=np.float32)[sequences.encode(sequence), :4]


# ------------------------------------------------------------------------------------- drawing

GREEN, ORANGE, BLUE, DARK, EDGE = "#007A33", "#D55E00", "#56B4E9", "#222222", "#BBBBBB"
LEFT, WIDE = 0.95, 5.0  # in, left end and width of the sequence
RIGHT = LEFT + WIDE + 0.35  # in, left end of the filters
HIGH, APART = 0.2, 0.36  # in, height of a map, and distance of second-layer maps
HALF = 3.05  # in, height of A and of B
LINE = 0.145  # in, line height of the caption


def draw(scans: Mapping[str, Scan], paths: Paths) -> None:
    """Draw the halves "A" and "B", one above the other; the signal flows up from the sequence."""
    from matplotlib.figure import Figure

    widths = [POOLS[half] + WIDTH - 1 for half in scans]
    text = textwrap.wrap(" ".join(CAPTION.format(*widths).split()), 138)
    height = HALF * len(scans) + LINE * len(text) + 0.1
    figure = Figure(figsize=(PAGE, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, PAGE), ylim=(height, 0))  # inches from the top left corner
    axes.axis("off")
    for i, (half, scan) in enumerate(scans.items()):
        _half(axes, half, scan, i * HALF)
    for i, line in enumerate(text):
        axes.text(0.12, HALF * len(scans) + LINE * (i + 0.5), line, size=FONT, va="center")
    save(figure, paths)


def _half(axes: Axes, half: str, scan: Scan, top: float) -> None:
    pool = POOLS[half]
    pitch = WIDE / len(SEQUENCE)
    second, pooled, bases = top + 0.5, top + 1.72, top + 2.75
    _write(axes, 0.12, top + 0.16, half, size=13, weight="bold")
    _write(axes, 0.36, top + 0.17, f"max-pooling with a window of {pool}", size=9)

    _write(axes, LEFT, second - 0.1, "second-layer activations", color=GREY)
    _write(axes, RIGHT, second - 0.1, "their filters", color=GREY)
    for i, (pattern, start) in enumerate(PATTERNS.items()):
        y = second + i * APART
        # Whether the pattern overlaps each position of the map.
        begins = pool * np.arange(len(scan.second))
        own = (begins < start + len(pattern)) & (begins + pool > start)
        colours = np.where(own, GREEN, ORANGE)
        _cells(axes, LEFT, y, scan.second[:, i], colours, pool * pitch, WIDE)
        _write(axes, LEFT - 0.08, y + HIGH / 2, pattern, ha="right", color=GREEN, weight="bold")
        for j, name in enumerate(FILTERS):
            low = y - 0.04 + 0.14 * j
            _cells(axes, RIGHT, low, scan.signatures[:, j, i], [DARK] * SECOND, 0.14, high=0.14)
            _write(axes, RIGHT + 0.14 * SECOND + 0.05, low + 0.075, name, size=FONT - 1, color=GREY)

    _write(axes, LEFT, pooled - 0.1, "max-pooled feature maps", color=GREY)
    _write(axes, RIGHT, pooled - 0.1, "their filters", color=GREY)
    for j, name in enumerate(FILTERS):
        y = pooled + j * HIGH
        maps = scan.pooled[:, j]
        _cells(axes, LEFT, y, maps, [DARK] * len(maps), pool * pitch, WIDE)
        _write(axes, LEFT - 0.08, y + HIGH / 2, name, ha="right")
        _filter(axes, pooled + j * 0.54, name)
    on = np.flatnonzero(scan.pooled.any(axis=1))
    for k in on[:2] if half == "A" else on:
        _receptive_field(axes, k * pool, (k + 1) * pool, pooled + HIGH * len(FILTERS), bases)

    known = {start + i for p, start in PATTERNS.items() for i, x in enumerate(p) if x != "N"}
    for i, letter in enumerate(SEQUENCE):
        style = {"color": GREEN, "weight": "bold"} if i in known else {"color": DARK}
        _write(axes, LEFT + pitch * (i + 0.5), bases, letter, ha="center", **style)
    _write(axes, LEFT - 0.08, bases, "sequence", ha="right")


def _write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    axes.text(x, y, text, **{"size": FONT, "va": "center", **style})


def _cells(
    axes: Axes,
    x: float,
    y: float,
    values: np.ndarray,
    colours: Sequence[str] | np.ndarray,
    width: float,
    most: float = np.inf,
    high: float = HIGH,
) -> None:
    """Draw a row of a map with its upper left corner at (x, y); white is 0, the colour is 1."""
    from matplotlib.patches import Rectangle

    for i, (value, colour) in enumerate(zip(values, colours, strict=True)):
        wide = min(width, most - i * width)  # the last pool may exceed the sequence
        box = (x + i * width, y), wide, high
        axes.add_patch(Rectangle(*box, facecolor=colour, alpha=float(value), lw=0))
        axes.add_patch(Rectangle(*box, facecolor="none", edgecolor=EDGE, lw=0.5))


def _filter(axes: Axes, y: float, letters: str, size: float = 0.115) -> None:
    """Draw a first-layer filter: a row for each base, a column for each position."""
    from matplotlib.patches import Rectangle

    weights = np.zeros((4, WIDTH))
    first = (WIDTH - len(letters)) // 2
    weights[:, first : first + len(letters)] = _one_hot(letters)[0].T
    for base, row in enumerate(weights):
        _write(axes, RIGHT - 0.05, y + size * (base + 0.5), "ACGT"[base], ha="right", size=FONT - 1)
        for i, weight in enumerate(row):
            box = (RIGHT + size * i, y + size * base), size, size
            face = COLOURS[base] if weight else "white"
            axes.add_patch(Rectangle(*box, facecolor=face, edgecolor=EDGE, lw=0.5))
    _write(axes, RIGHT + size * WIDTH + 0.05, y + 2 * size, letters)


def _receptive_field(axes: Axes, first: int, last: int, top: float, bases: float) -> None:
    """Draw the receptive field of a neuron that pools the positions `first` to `last`."""
    from matplotlib.patches import Polygon

    pitch, reach = WIDE / len(SEQUENCE), WIDTH // 2
    ends = np.clip([first, first - reach, last + reach, last], 0, len(SEQUENCE))
    a, b, c, d = LEFT + pitch * ends
    above, below = bases - 0.1, bases + 0.1
    corners = [(a, top), (b, above), (b, below), (c, below), (c, above), (d, top)]
    axes.add_patch(Polygon(corners, facecolor=BLUE, alpha=0.3, lw=0))
