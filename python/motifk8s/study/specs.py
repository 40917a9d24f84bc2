"""The parts of a study: data sets, architectures, training, motifs, matches, published numbers.

Training and motifs have two presets each: `as-run` is what the reference code of the paper does,
`as-written` what the paper says (Koo & Eddy 2019, Methods). The defaults are `as-run`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from motifk8s.study.strict import NAME, Strict, mistakes_error, no_such

# Names become folders, labels and parts of pod names.
Name = Annotated[str, Field(pattern=NAME, max_length=40)]
Text = Annotated[str, Field(min_length=1)]
Ids = list[Text]
MOST = 10**9
Count = Annotated[int, Field(ge=1, le=MOST)]
Share = Annotated[float, Field(ge=0, lt=1)]  # a probability, or a share of a maximum
Positive = Annotated[float, Field(gt=0)]


class DataSet(Strict):
    """What every kind of data set has."""

    training: dict[str, Any] = {}
    """What differs from the study's training for this data set."""

    @field_validator("training")
    @classmethod
    def _check_training(cls, value: dict[str, Any]) -> dict[str, Any]:
        TrainingSettings.model_validate(value)
        return value

    @property
    @abstractmethod
    def motif_ids(self) -> dict[str, list[str]]:
        """Ids of the motifs that count as a match, by class."""

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.motif_ids)


class Synthetic(DataSet):
    """Uniform random sequences with motifs embedded (Koo & Eddy 2019, Methods)."""

    kind: Literal["synthetic"]
    n_sequences: Annotated[int, Field(ge=10, le=10**8)] = 25_000
    length: Count = 200
    """Of a sequence, in bp."""
    release: Text = "JASPAR2016"
    """JASPAR release of the motifs."""
    motifs_per_sequence: Annotated[
        list[Annotated[float, Field(ge=0)]], Field(min_length=1, max_length=1000)
    ] = [0.5, 0.25, 0.17, 0.05, 0.03]
    """Weights of 1, 2, 3, ... motifs in a sequence."""
    split: Annotated[list[Positive], Field(min_length=3, max_length=3)] = [0.7, 0.1, 0.2]
    """Shares of training, validation and test set."""
    # The index of a class is stored in one byte.
    classes: Annotated[
        dict[Text, Annotated[Ids, Field(min_length=1)]], Field(min_length=1, max_length=255)
    ]
    """By class, ids of the motifs that count as a match; the first one is embedded."""

    @field_validator("split")
    @classmethod
    def _check_split(cls, value: list[float]) -> list[float]:
        if abs(sum(value) - 1) > 1e-6:
            raise ValueError(f"should sum to 1, not to {sum(value):g}")
        return value

    @field_validator("motifs_per_sequence")
    @classmethod
    def _check_weights(cls, value: list[float]) -> list[float]:
        if not any(value):
            raise ValueError("all weights are 0")
        return value

    @property
    def motif_ids(self) -> dict[str, list[str]]:
        return self.classes


class File(DataSet):
    """Sequences and labels in an HDF5 file, of this program or of the reference layout."""

    kind: Literal["file"]
    path: Text
    """An HDF5 file; relative to the study file."""
    length: Count
    """Of a sequence, in bp."""
    classes: Annotated[dict[Text, Ids], Field(min_length=1)]
    """By class, in the order of the labels, ids of the motifs that count as a match."""

    @property
    def motif_ids(self) -> dict[str, list[str]]:
        return self.classes


class DeepSeaClass(Strict):
    """One of the 919 labels of the DeepSEA bundle."""

    column: Annotated[int, Field(ge=0, le=918)]
    """Among the 919, from 0."""
    track: str = ""
    """Cell type and factor, as DeepSEA names them: K562 SRF."""
    motifs: Ids
    """Ids of the motifs that count as a match."""


class DeepSea(DataSet):
    """The part of the DeepSEA bundle in which at least one of the classes is positive."""

    kind: Literal["deepsea"]
    length: Count = 1000
    """Of a sequence, in bp."""
    classes: Annotated[dict[Text, DeepSeaClass], Field(min_length=1)]

    @property
    def motif_ids(self) -> dict[str, list[str]]:
        return {name: spec.motifs for name, spec in self.classes.items()}


class Conv(Strict):
    """A convolution with "same" padding, then batch norm, activation, max-pooling, dropout."""

    filters: Count
    width: Count
    """Of a filter, in positions of the layer's input (bp in the first layer)."""
    pool: Count = 1
    """Width of the max-pooling, which pads like "same"; 1 does not pool."""
    stride: Count | None = None
    """Of the pooling; null: as large as the pool."""
    dropout: Share = 0.1
    activation: Literal[
        "relu", "exponential", "elu", "gelu", "leaky_relu", "linear", "selu", "sigmoid", "silu",
        "softplus", "tanh",
    ] = "relu"  # fmt: skip

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.step > self.pool:
            reason = f"{self.stride} skips positions: it is larger than the pool ({self.pool})"
            raise mistakes_error([(("stride",), reason)])
        return self

    @property
    def step(self) -> int:
        """Positions before the pooling per position after it."""
        return self.pool if self.stride is None else self.stride


class Model(Strict):
    """An architecture: convolutions, dense layers, one sigmoid per class."""

    label: str = ""
    """How tables and figures print it (default: its name)."""
    conv: Annotated[list[Conv], Field(min_length=1, max_length=50)]
    dense: Annotated[list[Count], Field(max_length=50)] = [512]
    """Units of each hidden dense layer."""
    dense_dropout: Share = 0.5

    def lengths(self, length: int) -> list[int]:
        """Positions after each layer's pooling, for sequences of `length` bp."""
        result = []
        for conv in self.conv:
            length = -(-length // conv.step)
            result.append(length)
        return result

    def layers_before_pooling(self) -> list[str]:
        """Names of the layers with one activation per bp: conv1 up to the first that pools.

        A layer's activations are taken before its own pooling, so conv1 is always among them.
        """
        pooled = (i for i, conv in enumerate(self.conv, 1) if conv.pool > 1)
        return [f"conv{i}" for i in range(1, next(pooled, len(self.conv)) + 1)]

    def receptive_field(self, layer_index: int) -> int:
        """Width in bp of what an activation of a layer before the first pooling depends on.

        Raises
        ------
        ValueError
            The layer (counted from 0) comes after a pooling.
        """
        if not 0 <= layer_index < len(self.layers_before_pooling()):
            raise ValueError(f"conv{layer_index + 1} does not come before the first pooling")
        return 1 + sum(conv.width - 1 for conv in self.conv[: layer_index + 1])

    def n_parameters(self, length: int, classes: int) -> int:
        """Trainable parameters, for sequences of `length` bp.

        Convolutions and hidden layers have no bias; batch norm, with scale and shift, follows
        each. The output layer has a bias.
        """
        total, channels = 0, 4
        for conv in self.conv:
            total += conv.width * channels * conv.filters + 2 * conv.filters
            channels = conv.filters
        units = channels * self.lengths(length)[-1]
        for dense in self.dense:
            total += units * dense + 2 * dense
            units = dense
        return total + units * classes + classes


class Preset(Strict):
    """Settings that the name of a preset, or `preset: NAME` and what differs, can stand for."""

    presets: ClassVar[dict[str, dict[str, Any]]]  # what differs from the defaults
    more_keys = ("preset",)

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, data: Any) -> Any:
        if isinstance(data, str):
            data = {"preset": data}
        if not isinstance(data, dict) or "preset" not in data:
            return data
        name = data["preset"]
        if not isinstance(name, str) or name not in cls.presets:
            raise ValueError(no_such("preset", name, cls.presets))
        own = {key: value for key, value in data.items() if key != "preset"}
        return {**cls.presets[name], **own}


class TrainingSettings(Preset):
    """Adam on the binary cross-entropy, averaged over classes and batch; best weights kept."""

    learning_rate: Positive = 1e-3
    beta_1: Share = 0.95
    beta_2: Share = 0.999
    epsilon: Positive = 1e-8
    batch_size: Count = 100
    epochs: Count = 100
    """At most."""
    patience: Count | None = 20
    """Epochs without a better monitored value before it stops; null: it does not."""
    l2: Annotated[float, Field(ge=0)] = 1e-6
    """Times the sum of squares of the weights, added to the loss."""
    initializer: Literal[
        "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform",
        "lecun_normal",
    ] = "glorot_uniform"  # fmt: skip
    output_bias: float = 0.05
    """Where the bias of the output layer starts."""
    batch_norm_momentum: Share = 0.99
    batch_norm_epsilon: Positive = 1e-8
    monitor: Literal["loss", "cross-entropy"] = "loss"
    """On the validation set, for the best weights and for stopping; loss includes L2."""

    def steps(self, sequences: int) -> int:
        """Batches that training on so many sequences takes at most."""
        return self.epochs * math.ceil(sequences / self.batch_size)

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "as-run": {},
        "as-written": {
            "learning_rate": 3e-4,
            "beta_1": 0.9,
            "patience": None,
            "initializer": "he_normal",
            "output_bias": 0.0,
            "batch_norm_epsilon": 1e-3,
            "monitor": "cross-entropy",
        },
    }


class Trim(Strict):
    """Cut a motif from its first to its last informative column, and a few on either side."""

    bits: Annotated[float, Field(ge=0, lt=2)] = 0.5
    """A column with more is informative."""
    pad: Annotated[int, Field(ge=0, le=10**6)] = 3
    """Columns more on either side."""


class MotifSettings(Preset):
    """From the activations of a filter to its motif."""

    threshold: Share = 0.5
    """Share of the filter's maximum above which an activation counts."""
    maximum: Literal["achievable", "observed"] = "observed"
    windows: Literal["best", "all"] = "all"
    """The best position of each sequence, or every position above the threshold."""
    weighted: bool = True
    """Whether a window weighs as much as its activation."""
    ends: Literal["drop", "pad"] = "pad"
    """What becomes of a window that reaches over an end of its sequence."""
    window: Count | None = 19
    """In bp; null: the receptive field of the layer."""
    nsites: Literal["windows", "width"] = "width"
    """What nsites says in the MEME file."""
    trim: Trim | None = Field(default_factory=Trim)
    """Null: not trimmed."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "as-run": {},
        "as-written": {
            "threshold": 0.7,
            "maximum": "achievable",
            "windows": "best",
            "weighted": False,
            "ends": "drop",
            "window": None,
            "nsites": "windows",
            "trim": None,
        },
    }


class MatchSettings(Strict):
    """What Tomtom compares the motifs with."""

    database: Text = "JASPAR2016"
    """A JASPAR release, or the path of a MEME file, relative to the study file."""
    evalue: Positive = 0.1
    """The largest E-value of a match."""


class AnalysisSettings(Preset):
    """What a finished cell's filters are asked beyond the paper; nothing is trained for it.

    Of thresholds, trimming, E-values and releases one is varied at a time, the others being the
    study's; its own value is always among them. An empty list asks nothing.
    """

    thresholds: list[Share] = [0.3, 0.5, 0.7, 0.9]
    """In place of motifs.threshold."""
    trim_bits: list[Annotated[float, Field(ge=0, lt=2)] | None] = [None, 0.25, 0.5, 1.0]
    """In place of motifs.trim.bits; null: not trimmed."""
    evalues: list[Positive] = [0.001, 0.01, 0.1, 1.0]
    """In place of matches.evalue."""
    databases: list[Annotated[str, Field(pattern=r"^JASPAR[0-9]{4}$")]] = [
        "JASPAR2016",
        "JASPAR2020",
        "JASPAR2026",
    ]
    """JASPAR releases in place of matches.database, where that is one itself."""
    importance: bool = True
    """Whether each filter is silenced in turn, and what the model loses by it."""
    firing: bool = True
    """Whether filters fire at the embedded motifs of their class, where these are known."""
    sequences: Count = 2000
    """Of the test set, at most, for the importance."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "full": {},
        "none": {
            "thresholds": [],
            "trim_bits": [],
            "evalues": [],
            "databases": [],
            "importance": False,
            "firing": False,
        },
    }


class FigureSpec(Strict):
    """Filters of one layer or several side by side, above the motifs of the classes."""

    title: str = ""
    dataset: Name
    panels: Annotated[
        list[Annotated[str, Field(pattern=r"^[^\s/]+(/conv[1-9][0-9]*)?$")]],
        Field(min_length=1, max_length=12),
    ]
    """MODEL, for its first layer, or MODEL/LAYER."""

    def layers(self) -> list[tuple[str, str]]:
        """Model and layer of each panel."""
        parts = (panel.partition("/") for panel in self.panels)
        return [(model, layer or "conv1") for model, _, layer in parts]


class Expected(Strict):
    """A published number to set beside a result."""

    dataset: Name
    models: Annotated[list[Name], Field(min_length=1)]
    """One; or several, for a bound on the extreme of them."""
    layer: Annotated[str, Field(pattern=r"^conv[1-9][0-9]*$")] = "conv1"
    measure: Literal["auroc", "match_any", "match_truth"]
    kind: Literal["exact", "value", "at-most", "at-least"]
    """Mean and sd; mean alone; the largest of several; the smallest of several."""
    mean: Annotated[float, Field(ge=0, le=1)]
    sd: Annotated[float, Field(ge=0, le=1)] | None = None
    over: Literal["trials", "classes"] = "trials"
    """What the sd is over."""
    source: str = ""
    """Where it is published."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "exact" and not self.sd:
            raise mistakes_error([(("sd",), "exact needs one above 0; without it is a value")])
        if self.kind in ("exact", "value") and len(self.models) > 1:
            raise mistakes_error([(("models",), f"{self.kind} is for one model, not several")])
        return self
