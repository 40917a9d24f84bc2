"""The parts of a study: data sets, architectures, training, motifs, matches, published numbers.

Training and motifs have presets: `as-run` follows the reference code of the paper,
`as-written` the paper's text (Koo & Eddy 2019, Methods). The defaults are those of `as-run`. Motifs
have a third one, `as-2019-04`: the reference code until April 2019.

The texts below the fields are the descriptions in the JSON Schema.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from motifk8s.study.strict import NAME, TAGS, Strict, mistakes_error, no_such

# Names are used as folder names, labels and parts of pod names.
Name = Annotated[str, Field(pattern=NAME, max_length=40)]
Text = Annotated[str, Field(min_length=1)]
Ids = list[Text]
MOST = 10**9
Count = Annotated[int, Field(ge=1, le=MOST)]
Share = Annotated[float, Field(ge=0, lt=1)]  # a probability, or a share of a maximum
Positive = Annotated[float, Field(gt=0)]
Panel = Annotated[str, Field(pattern=r"^[^\s/]+(/conv[1-9][0-9]*)?$")]
"""MODEL, which means its first layer, or MODEL/LAYER."""


def not_given(value: Any) -> bool:
    """Leave a field out of keys and kept studies: it was added when results existed."""
    return value is None


def split_panel(panel: str) -> tuple[str, str]:
    """Return the model and layer of MODEL (its conv1) or MODEL/LAYER."""
    model, _, layer = panel.partition("/")
    return model, layer or "conv1"


class DataSet(Strict):
    """The fields of every kind of data set."""

    training: dict[str, Any] = {}
    """Training settings of this data set that differ from the study's."""

    @field_validator("training")
    @classmethod
    def _check_training(cls, value: dict[str, Any]) -> dict[str, Any]:
        TrainingSettings.model_validate(value)
        return value

    @property
    @abstractmethod
    def motif_ids(self) -> dict[str, list[str]]:
        """By class, ids of the motifs that count as a match."""

    @property
    def n_classes(self) -> int:
        """Return the number of classes."""
        return len(self.motif_ids)


class Synthetic(DataSet):
    """Uniform random sequences with embedded motifs (Koo & Eddy 2019, Methods)."""

    kind: Literal["synthetic"]
    n_sequences: Annotated[int, Field(ge=10, le=10**8)] = 25_000
    length: Count = 200
    """Length of a sequence, in bp."""
    release: Text = "JASPAR2016"
    """JASPAR release of the motifs."""
    motifs_per_sequence: Annotated[
        list[Annotated[float, Field(ge=0)]], Field(min_length=1, max_length=1000)
    ] = [0.5, 0.25, 0.17, 0.05, 0.03]
    """Relative frequencies of sequences with 1, 2, 3, ... motifs."""
    placement: Literal["uniform", "reference"] = Field(
        default="uniform", exclude_if=lambda value: value == "uniform"
    )
    """Where motifs lie. uniform: with 1 bp around each, and every arrangement equally likely (the
    paper's text). reference: the procedure of the paper's reference code, where gaps are random
    shares of the free length and may be 0; it has its own random numbers and order of rows."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = Field(default=None, exclude_if=not_given)
    """Seed of the sequences; null: a hash of the study's seed and the name of the data set."""
    split: Annotated[list[Positive], Field(min_length=3, max_length=3)] = [0.7, 0.1, 0.2]
    """Shares of the training, validation and test part."""
    # The data file stores the index of a class in one byte.
    classes: Annotated[
        dict[Text, Annotated[Ids, Field(min_length=1)]], Field(min_length=1, max_length=255)
    ]
    """By class, ids of the motifs that count as a match. The first one is embedded."""

    @field_validator("split")
    @classmethod
    def _check_split(cls, value: list[float]) -> list[float]:
        if abs(sum(value) - 1) > 1e-6:
            raise ValueError(f"should sum to 1, not {sum(value):g}")
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
    """Sequences and labels in an HDF5 file, in the layout of motifk8s or of the reference code."""

    kind: Literal["file"]
    path: Text
    """Path of an HDF5 file, relative to the study file."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the file, which a submitted study names; null: that of the file at `path`."""
    length: Count
    """Length of a sequence, in bp."""
    classes: Annotated[dict[Text, Ids], Field(min_length=1)]
    """By class, ids of the motifs that count as a match; classes in the order of the labels."""

    @property
    def motif_ids(self) -> dict[str, list[str]]:
        return self.classes


class DeepSeaClass(Strict):
    """One of the 919 labels of the DeepSEA bundle."""

    column: Annotated[int, Field(ge=0, le=918)]
    """Index of the label among the 919, from 0."""
    track: str = ""
    """DeepSEA's name of the label, cell type and factor: K562 SRF."""
    motifs: Ids
    """Ids of the motifs that count as a match."""


class DeepSea(DataSet):
    """The sequences of the DeepSEA bundle that are positive for at least one of the classes."""

    kind: Literal["deepsea"]
    length: Count = 1000
    """Length of a sequence, in bp."""
    classes: Annotated[dict[Text, DeepSeaClass], Field(min_length=1)]

    @property
    def motif_ids(self) -> dict[str, list[str]]:
        return {name: spec.motifs for name, spec in self.classes.items()}


class Conv(Strict):
    """A convolution with "same" padding, then batch norm, activation, max-pooling, dropout."""

    filters: Count
    width: Count
    """Width of a filter, in positions of the layer's input (bp in the first layer)."""
    pool: Count = 1
    """Width of the max-pooling, with "same" padding; 1: no pooling."""
    stride: Count | None = None
    """Stride of the max-pooling; null: the same as the pool."""
    dropout: Share = 0.1
    activation: Literal[
        "relu", "exponential", "elu", "gelu", "leaky_relu", "linear", "selu", "sigmoid", "silu",
        "softplus", "tanh",
    ] = "relu"  # fmt: skip

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.step > self.pool:
            reason = f"{self.stride} is larger than the pool ({self.pool}); make it smaller"
            raise mistakes_error([(("stride",), reason)])
        return self

    @property
    def step(self) -> int:
        """Return the stride of the pooling; its default is the pool."""
        return self.pool if self.stride is None else self.stride


class Model(Strict):
    """An architecture: convolutions, dense layers, one sigmoid per class."""

    label: str = ""
    """Name in tables and figures (default: the key of the model)."""
    conv: Annotated[list[Conv], Field(min_length=1, max_length=50)]
    dense: Annotated[list[Count], Field(max_length=50)] = [512]
    """Units of each hidden dense layer."""
    dense_dropout: Share = 0.5
    trials: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """Number of trials of this model; null: that of the study."""

    def trained_as(self) -> dict[str, Any]:
        """Return what determines the trained network, as plain JSON."""
        return self.model_dump(mode="json", exclude={"label", "trials"})

    def filters_as(self) -> dict[str, Any]:
        """Return what more determines the filters, given the trained network, as plain JSON."""
        return {}

    def lengths(self, length: int) -> list[int]:
        """Return the positions after each layer's pooling, for sequences of `length` bp."""
        result = []
        for conv in self.conv:
            length = -(-length // conv.step)
            result.append(length)
        return result

    def layers_before_pooling(self) -> list[str]:
        """Return the layers with one activation per bp: conv1 up to the first that pools.

        Activations are taken before the layer's own pooling, so conv1 is always included.
        """
        pooled = (i for i, conv in enumerate(self.conv, 1) if conv.pool > 1)
        return [f"conv{i}" for i in range(1, next(pooled, len(self.conv)) + 1)]

    def n_filters(self, layer: str) -> int:
        """Return the number of filters of a layer, conv1 for example."""
        return self.conv[int(layer.removeprefix("conv")) - 1].filters

    def receptive_field(self, layer_index: int) -> int:
        """Return the receptive field in bp of a layer before the first pooling (index from 0).

        Raises
        ------
        ValueError
            The layer comes after a pooling.
        """
        if not 0 <= layer_index < len(self.layers_before_pooling()):
            raise ValueError(f"conv{layer_index + 1} does not come before the first pooling")
        return 1 + sum(conv.width - 1 for conv in self.conv[: layer_index + 1])

    def kernels(self, length: int, classes: int) -> list[tuple[int, int]]:
        """Return the number of weights of each kernel, and of the positions that it is applied to.

        Convolutions first, then the dense layers with the output layer, for sequences of `length`
        bp. Biases and batch norms are not included.
        """
        result, channels, positions = [], 4, length
        for conv, pooled in zip(self.conv, self.lengths(length), strict=True):
            result.append((conv.width * channels * conv.filters, positions))
            channels, positions = conv.filters, pooled
        units = [channels * positions, *self.dense, classes]
        return result + [(n * m, 1) for n, m in pairwise(units)]

    def n_parameters(self, length: int, classes: int) -> int:
        """Return the number of trainable parameters, for sequences of `length` bp.

        Convolutions and hidden layers have no bias; each is followed by a batch norm with scale
        and shift. The output layer has a bias.
        """
        weights = sum(weights for weights, _ in self.kernels(length, classes))
        normalized = sum(conv.filters for conv in self.conv) + sum(self.dense)
        return weights + 2 * normalized + classes


class CustomModel(Strict):
    """A network that a Python function of the user builds."""

    label: str = ""
    """Name in tables and figures (default: the key of the model)."""
    build: Annotated[str, Field(pattern=r"^(.*/)?[^/]+\.py:[A-Za-z_][A-Za-z0-9_]*$")]
    """FILE.py:FUNCTION; the path is relative to the study file. The function takes the length of
    sequences in bp, the number of classes, and the options. It returns a Keras model that reads
    one-hot sequences (N, length, 4), in the order A C G T, and gives probabilities (N, classes)."""
    options: dict[Text, Any] = {}
    """More arguments of the function, by name."""
    layers: Annotated[int, Field(ge=1, le=50)] = 1
    """Number of convolutions, from the first, whose filters give motifs; they are called conv1,
    conv2, ... in results."""
    source: Annotated[str, Field(min_length=1, max_length=2**18)] | None = None
    """Text of the file; null: it is read when the study is read, so that it goes where the study
    goes."""
    trials: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """Number of trials of this model; null: that of the study."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source is None:
            raise mistakes_error([(("source",), "the text of the Python file is missing")])
        return self

    @property
    def file(self) -> str:
        """Return the path of the Python file."""
        return self.build.rpartition(":")[0]

    @property
    def function(self) -> str:
        """Return the name of the function."""
        return self.build.rpartition(":")[2]

    def trained_as(self) -> dict[str, Any]:
        """Return what determines the trained network, as plain JSON: not where the file is."""
        return {"function": self.function, "options": self.options, "source": self.source}

    def filters_as(self) -> dict[str, Any]:
        """Return what more determines the filters, given the trained network, as plain JSON."""
        return {"layers": self.layers}

    def layers_before_pooling(self) -> list[str]:
        """Return the layers that give motifs."""
        return [f"conv{i}" for i in range(1, self.layers + 1)]

    def n_filters(self, layer: str) -> int:
        """Return 1: the number of filters is not known before the network is built."""
        return 1


class Preset(Strict):
    """Settings with presets: the study gives NAME, or `preset: NAME` and changes to it."""

    presets: ClassVar[dict[str, dict[str, Any]]]  # by name, the values that are not defaults
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


class OutputBias(Strict):
    """A random initial bias of the output layer."""

    uniform: Positive
    """Limit: the bias is drawn uniformly between minus this and this."""
    l2: bool = False
    """Include the bias in the L2 penalty."""


class Plateau(Strict):
    """Lower the learning rate while `monitor` does not improve, as Keras's ReduceLROnPlateau."""

    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The learning rate is multiplied by this."""
    patience: Count = 10
    """After this many epochs without improvement; then counting starts again."""
    min_delta: Annotated[float, Field(ge=0)] = 1e-4
    """A smaller improvement does not count."""
    minimum: Annotated[float, Field(ge=0)] = 0.0
    """Smallest learning rate."""


class TrainingSettings(Preset):
    """Training with Adam on the binary cross-entropy, the mean over classes and batch."""

    learning_rate: Positive = 1e-3
    beta_1: Share = 0.95
    beta_2: Share = 0.999
    epsilon: Positive = 1e-8
    batch_size: Count = 100
    epochs: Count = 100
    """Maximum number of epochs."""
    patience: Count | None = 20
    """Stop after this many epochs without improvement of `monitor`; null: never stop early."""
    l2: Annotated[float, Field(ge=0)] = 1e-6
    """Factor of the L2 penalty: the sum of squares of the weights, added to the loss."""
    initializer: Literal[
        "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform",
        "lecun_normal",
    ] = "glorot_uniform"  # fmt: skip
    output_bias: Annotated[
        Annotated[float, Tag(TAGS[0])] | Annotated[OutputBias, Tag(TAGS[1])],
        Discriminator(lambda value: TAGS[isinstance(value, dict | OutputBias)]),
    ] = OutputBias(uniform=0.9306, l2=True)
    """Initial bias of the output layer, or how it is drawn."""
    batch_norm_momentum: Share = 0.99
    batch_norm_epsilon: Positive = 1e-8
    monitor: Literal["loss", "cross-entropy", "auroc"] = "loss"
    """Validation value that decides best weights and early stopping; loss includes L2; auroc is the
    mean over classes."""
    plateau: Plateau | None = Field(default=None, exclude_if=not_given)
    """How the learning rate falls while `monitor` does not improve; null: it stays."""

    def steps(self, sequences: int) -> int:
        """Return the maximum number of batches of a training on so many sequences."""
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
    """Trim a motif to its first and last informative column, plus a margin."""

    bits: Annotated[float, Field(ge=0, lt=2)] = 0.5
    """A column with more bits is informative."""
    pad: Annotated[int, Field(ge=0, le=10**6)] = 3
    """Width of the margin on each side, in columns."""
    sharpen: Annotated[Positive, Field(le=100)] | None = Field(default=None, exclude_if=not_given)
    """Measure the bits of exp(sharpen p / max p), each column divided by its sum; null: of p."""


class MotifSettings(Preset):
    """How the activations of a filter give its motif."""

    threshold: Share = 0.5
    """Only activations above this share of the filter's maximum count."""
    maximum: Literal["achievable", "observed"] = "observed"
    """The largest activation that any sequence could give, or the largest on the test set."""
    windows: Literal["best", "all"] = "all"
    """The best position of each sequence, or all positions above the threshold."""
    weighted: bool = True
    """Weight each window by its activation."""
    ends: Literal["drop", "pad"] = "pad"
    """Drop windows that cross an end of their sequence, or pad them."""
    window: Count | None = 19
    """Width of a window in bp; null: the receptive field of the layer."""
    nsites: Literal["windows", "width"] = "width"
    """The value of nsites in the MEME file: number of windows, or width of the motif."""
    trim: Trim | None = Field(default_factory=Trim)
    """Null: no trimming."""

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
        # The reference code before May 2019.
        "as-2019-04": {"trim": {"sharpen": 3.0}},
    }


class MatchSettings(Strict):
    """The database that Tomtom searches, and what counts as a match."""

    database: Text = "JASPAR2016"
    """A JASPAR release, or the path of a MEME file, relative to the study file."""
    evalue: Positive = 0.1
    """Largest E-value of a match."""
    qvalue: Annotated[Positive, Field(le=1)] | None = Field(default=None, exclude_if=not_given)
    """Largest q-value of a match, in place of `evalue`; null: `evalue` decides."""
    distance: Literal["euclidean", "pearson"] = Field(
        default="euclidean", exclude_if=lambda value: value == "euclidean"
    )
    """How columns are compared: Euclidean distance, or Pearson's correlation."""


class AnalysisSettings(Preset):
    """Analyses of trained filters that go beyond the paper.

    Of thresholds, trimming, E-values and releases one setting varies at a time; the others keep
    the study's value. The study's own value is always added. An empty list skips the setting.
    """

    thresholds: list[Share] = [0.3, 0.5, 0.7, 0.9]
    """Values for motifs.threshold."""
    trim_bits: list[Annotated[float, Field(ge=0, lt=2)] | None] = [None, 0.25, 0.5, 1.0]
    """Values for motifs.trim.bits; null: no trimming."""
    evalues: list[Positive] = [0.001, 0.01, 0.1, 1.0]
    """Values for matches.evalue."""
    databases: list[Annotated[str, Field(pattern=r"^JASPAR[0-9]{4}$")]] = [
        "JASPAR2016",
        "JASPAR2020",
        "JASPAR2026",
    ]
    """Values for matches.database, if that is a JASPAR release."""
    importance: bool = True
    """Silence each filter in turn, and compute how much the loss rises."""
    firing: bool = True
    """Compare where filters fire with the embedded motifs of their class, if these are known."""
    sequences: Count = 2000
    """Maximum number of test sequences for `importance`."""

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
    """A figure of the filters of one or more layers, above the motifs of the classes."""

    title: str = ""
    dataset: Name
    panels: Annotated[list[Panel], Field(min_length=1, max_length=12)]
    """MODEL (its first layer) or MODEL/LAYER."""

    def layers(self) -> list[tuple[str, str]]:
        """Return the model and layer of each panel."""
        return [split_panel(panel) for panel in self.panels]


class Expected(Strict):
    """A published number to compare with a result."""

    dataset: Name
    models: Annotated[list[Name], Field(min_length=1)]
    """One model, or several for a bound on the largest or smallest of them."""
    layer: Annotated[str, Field(pattern=r"^conv[1-9][0-9]*$")] = "conv1"
    measure: Literal["auroc", "aupr", "match_any", "match_truth", "match_false"]
    """match_false is match_any minus match_truth."""
    kind: Literal["exact", "value", "at-most", "at-least"]
    """Mean and sd; mean only; largest mean of several models; smallest mean of several models."""
    mean: Annotated[float, Field(ge=0, le=1)]
    sd: Annotated[float, Field(ge=0, le=1)] | None = None
    over: Literal["trials", "classes"] = "trials"
    """The sd is over trials or over classes."""
    trials: Count | None = Field(default=None, exclude_if=not_given)
    """Number of trials that the published mean is over; null: unknown."""
    source: str = ""
    """Section of the paper."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "exact" and not self.sd:
            reason = "kind exact needs an sd above 0; without one, use kind value"
            raise mistakes_error([(("sd",), reason)])
        if self.kind in ("exact", "value") and len(self.models) > 1:
            raise mistakes_error([(("models",), f"kind {self.kind} needs one model, not several")])
        return self


OF_DATA = ("ceiling", "false_negatives")  # measures of a claim that need no network


class Claim(Strict):
    """A published statement that is not a number, and how results test it."""

    says: Text
    """The statement, one sentence."""
    source: Text
    """Section of the paper."""
    dataset: Name
    kind: Literal["rises", "falls", "above", "below", "similar", "found", "missed"]
    """rises, falls: the mean over trials, from each model to the next. above, below: the mean of
    each model, and of each of `than`, or `limit`. similar: the largest mean minus the smallest is
    at most `limit`. found, missed: in more, in less than half of the trials of each model a filter
    is labelled with each of `classes`."""
    measure: (
        Literal[
            "auroc", "auroc_sd", "aupr", "match_any", "match_truth", "match_null", "dead",
            "coverage", "n_truth", "n_unmatched", "truth_share", "completeness",
            "importance_ratio", "importance_rank", "ceiling", "false_negatives",
        ]
        | None
    ) = None  # fmt: skip
    """The number that is compared; found and missed have none."""
    models: list[Panel] = []
    """MODEL (its first layer) or MODEL/LAYER; none for `ceiling` and `false_negatives`, which
    belong to the data."""
    than: list[Panel] = []
    """above, below: the others, as `models`."""
    by: Literal["each", "mean"] = "each"
    """above, below: compare each with each, or the mean of `models` with the mean of `than`."""
    classes: list[Text] = []
    """The classes that are found or missed, or to which auroc, aupr or completeness is limited."""
    limit: float | None = None
    """similar: the largest difference. above, below: a number instead of `than`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        compares, finds = self.kind in ("above", "below"), self.kind in ("found", "missed")
        most = {"similar": 2, "rises": 2, "falls": 2}.get(self.kind, 1)
        least = 0 if self.measure in OF_DATA else most
        wrong = {
            "measure": (self.measure is None) != finds and "is for all kinds but found and missed",
            "models": len(self.models) < least and f"kind {self.kind} needs {least} or more",
            "than": bool(self.than) != (compares and self.limit is None)
            and "kinds above and below need either than or limit; no other kind has than",
            "limit": self.limit is not None
            and not (compares or self.kind == "similar")
            and "is for above, below and similar",
            "by": self.by != "each" and not compares and "mean is for above and below",
            "classes": bool(self.classes) != finds
            and not (self.classes and self.measure in ("auroc", "aupr", "completeness"))
            and "is for found, missed, auroc, aupr and completeness",
        }
        if self.kind == "similar" and self.limit is None:
            wrong["limit"] = "kind similar needs the largest difference"
        if self.measure in OF_DATA and (self.models or not (compares and self.by == "each")):
            wrong["models"] = (
                f"{self.measure} belongs to the data: only above or below a limit, no models"
            )
        if mistakes := [((key,), reason) for key, reason in wrong.items() if reason]:
            raise mistakes_error(mistakes)
        return self

    def layers(self) -> list[tuple[str, str]]:
        """Return the model and layer of each of `models` and `than`."""
        return [split_panel(panel) for panel in (*self.models, *self.than)]
