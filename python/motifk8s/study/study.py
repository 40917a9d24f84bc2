"""A study: its data sets, architectures, number of trials, and settings.

A `Study` determines the results completely. Reading its YAML file is strict: an unknown key, a
wrong type or an impossible architecture is an `InputError`. The error names the file and, for
every mistake, the key and the reason. `specs.py` has the parts of a study with their defaults.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import (
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from motifk8s.errors import InputError
from motifk8s.store.open import read_url
from motifk8s.study.file import decode, locate, read, read_text
from motifk8s.study.specs import (
    MOST,
    OF_DATA,
    AnalysisSettings,
    Claim,
    CustomModel,
    DeepSea,
    Expected,
    FigureSpec,
    File,
    MatchSettings,
    Model,
    MotifSettings,
    Name,
    Synthetic,
    TrainingSettings,
    not_given,
    split_panel,
)
from motifk8s.study.strict import (
    MODELS,
    Mistake,
    Place,
    Strict,
    describe,
    mistakes_error,
    mistakes_of,
    no_such,
    path,
)

MOST_CELLS = 5_000  # a limit that finds typing mistakes
AnyModel = Annotated[
    Annotated[Model, Tag(MODELS[0])] | Annotated[CustomModel, Tag(MODELS[1])],
    Discriminator(lambda value: MODELS[_is_custom(value)]),
]
PAPER = ("table1", "table2", "s1-table", "fig1")  # names that `motifk8s paper` takes


class Cell(NamedTuple):
    """One training: a data set, a model and a trial (from 1)."""

    dataset: str
    model: str
    trial: int

    @property
    def id(self) -> str:
        """Return the id, such as synthetic/cnn-25/3."""
        return f"{self.dataset}/{self.model}/{self.trial}"


class Study(Strict):
    """A study file with all defaults filled in."""

    format: Annotated[int, Field(json_schema_extra={"const": 1})] = 1
    """Format version of the study file."""
    name: Name
    """Name of the study, and of its folder in the store."""
    title: str = ""
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 2019
    """The seeds of data sets and cells are derived from this seed."""
    trials: Annotated[int, Field(ge=1, le=MOST_CELLS)] = 1
    """Number of trainings of each model on each data set, each with its own seed; a model may have
    its own number."""
    datasets: Annotated[
        dict[Name, Annotated[Synthetic | File | DeepSea, Field(discriminator="kind")]],
        Field(min_length=1),
    ]
    models: Annotated[dict[Name, AnyModel], Field(min_length=1)]
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    motifs: MotifSettings = Field(default_factory=MotifSettings)
    matches: MatchSettings = Field(default_factory=MatchSettings)
    analysis: AnalysisSettings = Field(default_factory=AnalysisSettings)
    grid: (
        Annotated[dict[Name, Annotated[list[Name], Field(min_length=1)]], Field(min_length=1)]
        | None
    ) = None
    """The models of each data set; null: every model on every data set."""
    figures: dict[Name, FigureSpec] = {}
    """Figures of filters, by name; if empty, the report chooses."""
    expected: list[Expected] = []
    """Published numbers to compare with."""
    claims: list[Claim] = Field(default=[], exclude_if=lambda value: not value)
    """Published statements that are not numbers, to be tested."""
    best: Annotated[int, Field(ge=1, le=MOST_CELLS)] | None = Field(
        default=None, exclude_if=not_given
    )
    """Tables average the trials of each model with the highest AUPR, this many; null: all."""

    @field_validator("format")
    @classmethod
    def _check_format(cls, value: int) -> int:
        if value != 1:
            raise ValueError(f"this version of motifk8s reads format 1, not {value}")
        return value

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if value == "datasets":
            raise ValueError("the store keeps data sets in a folder of this name; choose another")
        return value

    @field_validator("models")
    @classmethod
    def _label(cls, models: dict[str, Model | CustomModel]) -> dict[str, Model | CustomModel]:
        return {
            name: model if model.label else model.model_copy(update={"label": name})
            for name, model in models.items()
        }

    @model_validator(mode="wrap")
    @classmethod
    def _find_every_mistake(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        mistakes: list[Mistake] = []
        try:
            study = handler(data)
        except ValidationError as error:
            mistakes = mistakes_of(error)
            try:
                study = handler(_with_stand_ins(data, mistakes))
            except ValidationError:  # the rest cannot be checked alone
                raise mistakes_error(mistakes) from None
        mistakes += study.mismatches()
        if mistakes:
            raise mistakes_error(mistakes)
        return study

    def mismatches(self) -> Iterator[Mistake]:
        """Yield the mistakes in how parts fit together; each part is valid by itself."""
        if (n := sum(self._trials(model) for _, model in self._pairs())) > MOST_CELLS:
            yield ("trials",), f"gives {n:,} cells, but at most {MOST_CELLS:,} are allowed"
        yield from _odd_texts(self.model_dump())
        yield from self._grid_mistakes()
        for name, figure in self.figures.items():
            for place, reason in self._figure_mistakes(name, figure):
                yield ("figures", name, *place), reason
        for i, row in enumerate(self.expected):
            for place, reason in self._expected_mistakes(row):
                yield ("expected", i, *place), reason
        for i, claim in enumerate(self.claims):
            for place, reason in self._claim_mistakes(claim):
                yield ("claims", i, *place), reason
        for name, dataset in self.datasets.items():
            if (window := self.motifs.window) and window > dataset.length:
                reason = f"{window} is longer than the sequences of {name} ({dataset.length} bp)"
                yield ("motifs", "window"), reason
        yield from self._architecture_mistakes()

    def _grid_mistakes(self) -> Iterator[Mistake]:
        for dataset, models in (self.grid or {}).items():
            if dataset not in self.datasets:
                yield ("grid", dataset), no_such("data set", dataset, self.datasets)
            for i, model in enumerate(models):
                if model not in self.models:
                    yield ("grid", dataset, i), no_such("model", model, self.models)
                elif model in models[:i]:
                    yield ("grid", dataset, i), f"{model} is listed twice"

    def _figure_mistakes(self, name: str, figure: FigureSpec) -> Iterator[Mistake]:
        if name in PAPER:
            yield (), "the name is taken (motifk8s paper); choose another"
        if any(name.startswith(f"{dataset}-") for dataset in self.datasets):
            yield (), "the report names its figures after data sets; choose another name"
        if figure.dataset not in self.datasets:
            yield ("dataset",), no_such("data set", figure.dataset, self.datasets)
        for i, (model, layer) in enumerate(figure.layers()):
            if model not in self.models:
                yield ("panels", i), no_such("model", model, self.models)
            elif reason := self._no_motifs(model, layer):
                yield ("panels", i), reason

    def _expected_mistakes(self, row: Expected) -> Iterator[Mistake]:
        if row.dataset not in self.datasets:
            yield ("dataset",), no_such("data set", row.dataset, self.datasets)
        for i, model in enumerate(row.models):
            if model not in self.models:
                yield ("models", i), no_such("model", model, self.models)
            elif reason := self._no_motifs(model, row.layer):
                yield ("layer",), reason

    def _claim_mistakes(self, claim: Claim) -> Iterator[Mistake]:
        if claim.dataset not in self.datasets:
            yield ("dataset",), no_such("data set", claim.dataset, self.datasets)
            return
        dataset = self.datasets[claim.dataset]
        if claim.measure in OF_DATA and not isinstance(dataset, Synthetic):
            reason = f"{claim.measure} needs a synthetic data set; {claim.dataset} is not one"
            yield ("measure",), reason
        for i, name in enumerate(claim.classes):
            if name not in dataset.motif_ids:
                yield ("classes", i), no_such("class", name, dataset.motif_ids)
        for key, panels in (("models", claim.models), ("than", claim.than)):
            for i, (model, layer) in enumerate(map(split_panel, panels)):
                if model not in self.models:
                    yield (key, i), no_such("model", model, self.models)
                elif reason := self._no_motifs(model, layer):
                    yield (key, i), reason

    def _no_motifs(self, model: str, layer: str) -> str:
        known = self.models[model].layers_before_pooling()
        if layer in known:
            return ""
        return f"{layer} of {model} has no motifs; known: {', '.join(known)}"

    def _architecture_mistakes(self) -> Iterator[Mistake]:
        mistakes: dict[Place, str] = {}  # one reason for each place
        for dataset, name in self._pairs():
            if dataset not in self.datasets or name not in self.models:
                continue
            length = self.datasets[dataset].length
            model = self.models[name]
            if isinstance(model, CustomModel):
                continue
            where = f"on {dataset} ({length} bp)"
            inputs = [length, *model.lengths(length)]
            for i, (conv, n) in enumerate(zip(model.conv, inputs, strict=False)):
                place = ("models", name, "conv", i)
                if conv.width > length:
                    reason = f"{conv.width} is wider than the sequences {where}"
                    mistakes.setdefault((*place, "width"), reason)
                if conv.pool > n:
                    reason = f"{conv.pool} is larger than its input, {n} positions {where}"
                    mistakes.setdefault((*place, "pool"), f"{reason}; make it smaller")
        yield from mistakes.items()

    def _pairs(self) -> list[tuple[str, str]]:
        grid = self.grid or {dataset: list(self.models) for dataset in self.datasets}
        return [(dataset, model) for dataset, models in grid.items() for model in models]

    def cells(self) -> list[Cell]:
        """Return the cells of the study, by data set, model and trial."""
        return [
            Cell(dataset, model, trial)
            for dataset, model in self._pairs()
            for trial in range(1, self._trials(model) + 1)
        ]

    def cells_like(self, pattern: str) -> list[Cell]:
        """Return the cells whose id matches a pattern such as ``synthetic/cnn-25/*``.

        Raise an `InputError` if there is none.
        """
        cells = self.cells()
        found = [cell for cell in cells if fnmatch(cell.id, pattern)]
        if not found:
            raise InputError(
                f"study {self.name}: no cell matches {pattern!r}; one of its cells is {cells[0].id}"
            )
        return found

    def _trials(self, model: str) -> int:
        spec = self.models.get(model)
        return self.trials if spec is None or spec.trials is None else spec.trials

    def figures_of(self, dataset: str) -> dict[str, FigureSpec]:
        """Return the figures of a data set whose models are all in the grid."""
        pairs = self._pairs()
        return {
            name: figure
            for name, figure in self.figures.items()
            if figure.dataset == dataset
            and all((dataset, model) in pairs for model, _ in figure.layers())
        }

    def cell(self, text: str) -> Cell:
        """Return the cell of an id; raise an `InputError` if this study does not have it."""
        cell = parse_cell(text)
        pairs = [f"{dataset}/{model}" for dataset, model in self._pairs()]
        pair = f"{cell.dataset}/{cell.model}"
        if pair not in pairs:
            near = no_such("cell", pair, pairs).split("; known")[0]
            raise InputError(f"study {self.name} has {near}")
        if cell.trial > (trials := self._trials(cell.model)):
            raise InputError(f"study {self.name} has no cell {text}; its trials are {trials}")
        return cell

    def training_for(self, dataset: str) -> TrainingSettings:
        """Return a data set's training settings: the study's, changed by its own."""
        own = self.datasets[dataset].training
        return TrainingSettings.model_validate(
            own if "preset" in own else {**self.training.model_dump(), **own}
        )

    def seed_of(self, id: str) -> int:
        """Return the seed (31 bits) of a cell, by its id, or of a data set without its own.

        It is a hash of the study's seed and the id, so other cells do not affect it.
        """
        digest = hashlib.sha256(f"{self.seed}/{id}".encode()).digest()
        return int.from_bytes(digest[:4], "big") >> 1

    def data_seed(self, name: str) -> int:
        """Return the seed of a data set: its own, or else that of `seed_of`."""
        own: int | None = getattr(self.datasets[name], "seed", None)
        return self.seed_of(name) if own is None else own

    def resolved(self) -> dict[str, Any]:
        """Return the study as plain JSON with all defaults; validating it gives an equal study."""
        return self.model_dump(mode="json")


def _is_custom(model: Any) -> bool:
    return isinstance(model, CustomModel) or (isinstance(model, dict) and "build" in model)


def _odd_texts(value: Any, place: Place = ()) -> Iterator[Mistake]:
    """Find texts that no file, terminal or picture can show: control characters, surrogates."""
    if isinstance(value, str) and (odd := [c for c in value if _is_odd(c)]):
        yield place, f"has the character {ascii(odd[0])}; remove it"
    elif isinstance(value, dict):
        for key, item in value.items():
            if any(map(_is_odd, str(key))):
                yield place, f"the name {ascii(key)} has a control character; remove it"
            else:
                yield from _odd_texts(item, (*place, key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _odd_texts(item, (*place, number))


def _is_odd(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n\r"


def parse_cell(text: str) -> Cell:
    """Split an id such as synthetic/cnn-25/3 into its parts."""
    name = "([a-z0-9][-a-z0-9]*)"
    match = re.fullmatch(f"{name}/{name}/([1-9][0-9]{{0,3}})", text)
    if match is None:
        raise InputError(
            f'invalid cell "{text}"; a cell is DATASET/MODEL/TRIAL: synthetic/cnn-25/3'
        )
    return Cell(match[1], match[2], int(match[3]))


def content_hash(obj: Any) -> str:
    """Return the hex SHA-256 of an object's canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(
        obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def is_text(argument: str) -> bool:
    """Return whether an argument is the text of a study, not a name, path or address."""
    return "\n" in argument or argument.lstrip().startswith("{")


def load(name_or_path: str) -> Study:
    """Load a study from the name of a built-in one, a path, an s3:// URL, or its text.

    Raises
    ------
    InputError
        There is no such study, or it has mistakes. The message has the key and reason of each.
    """
    if is_text(name_or_path):
        return loads(name_or_path, "the study's text")
    if name_or_path.startswith("s3://"):
        text = decode(read_url(name_or_path), name_or_path)
        return loads(text, name_or_path, name_or_path.rpartition("/")[0])
    file = locate(name_or_path)
    return loads(read_text(file), str(file), file.parent, (file.resolve(),))


def refuse_braces(study: Study, argument: str) -> None:
    """Raise `InputError` if a study, or its text, has "{{", which Argo would evaluate.

    Argo does so in every parameter of a workflow, before any step can check it. `argument` is that
    of `load`. The text is searched if it is local, because comments count too.
    """
    text = argument if is_text(argument) else ""
    if not text and Path(argument).is_file():
        text = read_text(Path(argument))
    places = [f"line {n}" for n, line in enumerate(text.split("\n"), 1) if "{{" in line]
    places += [path(*place) for place, value in _strings(study.resolved()) if "{{" in value]
    if places:
        source = "the study's text" if is_text(argument) else argument
        raise InputError(
            f'{source}: {places[0]}: "{{{{" is not allowed in a study: Argo would evaluate it'
        )


def _strings(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield every string in plain JSON, keys too, with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield (*place, key), str(key)
            yield from _strings(item, (*place, key))


def loads(
    text: str, source: str, folder: Path | str | None = None, seen: tuple[Path, ...] = ()
) -> Study:
    """Load a study from YAML or JSON; parameters and errors as for `file.read`.

    Raises an `InputError` for any mistake in the study.
    """
    data = read(text, source, folder, seen)
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        raise InputError(describe(source, mistakes_of(error))) from None


def _with_stand_ins(data: Any, mistakes: list[Mistake]) -> dict[str, Any]:
    """Replace the invalid parts of a study by valid stand-ins, so that the rest can be checked.

    The result is still invalid if data sets, models or the grid are missing as a whole.
    """
    result = dict(data) if isinstance(data, dict) else {}
    for key, *items in (place for place, _ in mistakes if place):
        if key == "name":
            result["name"] = "x"
        elif key == "motifs":
            result["motifs"] = {"window": None}
        elif key not in ("datasets", "models", "grid"):
            result.pop(key, None)
        elif items:
            parts = dict(result[key])
            part = parts.pop(items[0], None)
            if key == "models":
                parts[items[0]] = {"conv": [{"filters": 1, "width": 1}] * 50}
            elif key == "datasets":
                parts[items[0]] = _stand_in_data_set(part)
            result[key] = parts
    return result


def _stand_in_data_set(spec: Any) -> dict[str, Any]:
    length = spec.get("length") if isinstance(spec, dict) else None
    if type(length) is not int or not 1 <= length <= MOST:
        length = MOST
    return {"kind": "file", "path": "x", "length": length, "classes": {"x": []}}
