"""A study: which data sets, which architectures, how many trials, and with which settings.

A `Study` decides everything that a run does. It is read from a YAML file, strictly: an unknown
key, a wrong type or an architecture that cannot be built is an `InputError` of one line that
names the file, the key and the reason. `specs.py` has the parts of a study, with their defaults.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from motifk8s.errors import InputError
from motifk8s.store.open import read_url
from motifk8s.study.file import decode, locate, read, read_text
from motifk8s.study.specs import (
    AnalysisSettings,
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
)
from motifk8s.study.strict import Problems, Strict, no_such, one_line, problems_error, problems_of

MOST_CELLS = 5_000  # more is a slip of the pen
PAPER = ("table1", "table2", "s1-table", "fig1")  # what `motifk8s paper` makes of every study


class Cell(NamedTuple):
    """One training: of a model, on a data set, in a trial (from 1)."""

    dataset: str
    model: str
    trial: int

    @property
    def id(self) -> str:
        """Such as synthetic/cnn-25/3."""
        return f"{self.dataset}/{self.model}/{self.trial}"


class Study(Strict):
    """Everything that decides the numbers of a study."""

    format: Annotated[int, Field(json_schema_extra={"const": 1})] = 1
    """Of the study file."""
    name: Name
    """Its folder in the store."""
    title: str = ""
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 2019
    trials: Annotated[int, Field(ge=1, le=MOST_CELLS)] = 1
    """Trainings of every model on every data set, each from a seed of its own."""
    datasets: Annotated[
        dict[Name, Annotated[Synthetic | File | DeepSea, Field(discriminator="kind")]],
        Field(min_length=1),
    ]
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    motifs: MotifSettings = Field(default_factory=MotifSettings)
    matches: MatchSettings = Field(default_factory=MatchSettings)
    analysis: AnalysisSettings = Field(default_factory=AnalysisSettings)
    grid: (
        Annotated[dict[Name, Annotated[list[Name], Field(min_length=1)]], Field(min_length=1)]
        | None
    ) = None
    """Models by data set; null: every model on every data set."""
    figures: dict[Name, FigureSpec] = {}
    """Figures of filters by name; without any, the report chooses."""
    expected: list[Expected] = []
    """Published numbers."""

    @field_validator("format")
    @classmethod
    def _check_format(cls, value: int) -> int:
        if value != 1:
            raise problems_error([("", f"this version reads format 1, not {value}")])
        return value

    @model_validator(mode="before")
    @classmethod
    def _label_models(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("models"), dict):
            models = {
                name: {**spec, "label": name}
                if isinstance(name, str) and isinstance(spec, dict) and spec.get("label", "") == ""
                else spec
                for name, spec in data["models"].items()
            }
            return {**data, "models": models}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [*self._name_problems()]
        if not problems:  # only of names that exist can more be said
            problems = [*self._size_problems(), *self._architecture_problems()]
        if problems:
            raise problems_error(problems)
        return self

    def _name_problems(self) -> Problems:
        found: Problems = []
        if self.name == "datasets":
            found.append(("name", "the store keeps data sets there; choose another name"))
        for dataset, models in (self.grid or {}).items():
            if dataset not in self.datasets:
                found.append((f"grid.{dataset}", no_such("data set", dataset, self.datasets)))
            for i, model in enumerate(models):
                path = f"grid.{dataset}[{i}]"
                if model not in self.models:
                    found.append((path, no_such("model", model, self.models)))
                elif model in models[:i]:
                    found.append((path, f"{model} is there twice"))
        for name, figure in self.figures.items():
            found += self._figure_problems(f"figures.{name}", name, figure)
        for i, row in enumerate(self.expected):
            path = f"expected[{i}]"
            if row.dataset not in self.datasets:
                reason = no_such("data set", row.dataset, self.datasets)
                found.append((f"{path}.dataset", reason))
            for j, model in enumerate(row.models):
                if model not in self.models:
                    reason = no_such("model", model, self.models)
                    found.append((f"{path}.models[{j}]", reason))
                elif row.layer not in (known := self.models[model].layers_before_pooling()):
                    reason = f"{row.layer} of {model} gives no motifs; known: {', '.join(known)}"
                    found.append((f"{path}.layer", reason))
        return found

    def _figure_problems(self, path: str, name: str, figure: FigureSpec) -> Problems:
        found: Problems = []
        if name in PAPER:
            found.append((path, "that name is taken (motifk8s paper); choose another"))
        if any(name.startswith(f"{dataset}-") for dataset in self.datasets):
            found.append((path, "other figures begin with the name of a data set; choose another"))
        if figure.dataset not in self.datasets:
            reason = no_such("data set", figure.dataset, self.datasets)
            found.append((f"{path}.dataset", reason))
        for i, (model, layer) in enumerate(figure.layers()):
            if model not in self.models:
                found.append((f"{path}.panels[{i}]", no_such("model", model, self.models)))
            elif layer not in (known := self.models[model].layers_before_pooling()):
                reason = f"{layer} of {model} gives no motifs; known: {', '.join(known)}"
                found.append((f"{path}.panels[{i}]", reason))
        return found

    def _size_problems(self) -> Problems:
        found: Problems = []
        if (n := self.trials * len(self._pairs())) > MOST_CELLS:
            found.append(("trials", f"{n:,} cells, and {MOST_CELLS:,} are the most"))
        for name, dataset in self.datasets.items():
            try:
                self.training_for(name)
            except ValidationError as error:
                prefix = f"datasets.{name}.training"
                found += [(f"{prefix}.{p}" if p else prefix, why) for p, why in problems_of(error)]
            if self.motifs.window and self.motifs.window > dataset.length:
                reason = f"{self.motifs.window} is longer than the sequences of {name}"
                found.append(("motifs.window", f"{reason} ({dataset.length} bp)"))
        return found

    def _architecture_problems(self) -> Problems:
        found: dict[str, str] = {}  # by path: one problem of a layer is enough
        for dataset, name in self._pairs():
            length = self.datasets[dataset].length
            model = self.models[name]
            inputs = [length, *model.lengths(length)]
            for i, (conv, n) in enumerate(zip(model.conv, inputs, strict=False)):
                path = f"models.{name}.conv[{i}]"
                where = f"on {dataset} ({length} bp)"
                if conv.width > length:
                    reason = f"{conv.width} is wider than the sequences {where}"
                    found.setdefault(f"{path}.width", reason)
                if conv.pool > n:
                    reason = f"{conv.pool} is larger than its input, {n} positions {where}"
                    found.setdefault(f"{path}.pool", f"{reason}; make it smaller")
        return list(found.items())

    def _pairs(self) -> list[tuple[str, str]]:
        grid = self.grid or {dataset: list(self.models) for dataset in self.datasets}
        return [(dataset, model) for dataset, models in grid.items() for model in models]

    def cells(self) -> list[Cell]:
        """Every training of the study: by data set, then model, then trial."""
        return [Cell(*pair, t) for pair in self._pairs() for t in range(1, self.trials + 1)]

    def figures_of(self, dataset: str) -> dict[str, FigureSpec]:
        """The figures of a data set whose panels are all in the grid."""
        pairs = self._pairs()
        return {
            name: figure
            for name, figure in self.figures.items()
            if figure.dataset == dataset
            and all((dataset, model) in pairs for model, _ in figure.layers())
        }

    def cell(self, text: str) -> Cell:
        """The cell of an id such as synthetic/cnn-25/3, which must be one of this study's."""
        cell = parse_cell(text)
        pairs = [f"{dataset}/{model}" for dataset, model in self._pairs()]
        pair = f"{cell.dataset}/{cell.model}"
        if pair not in pairs:
            near = no_such("cell", pair, pairs).split("; known")[0]
            raise InputError(f"study {self.name} has {near}")
        if cell.trial > self.trials:
            raise InputError(f"study {self.name} has no cell {text}; its trials are {self.trials}")
        return cell

    def training_for(self, dataset: str) -> TrainingSettings:
        """Training settings of a data set: the study's, and on top of them the data set's own."""
        own = self.datasets[dataset].training
        return TrainingSettings.model_validate(
            own if "preset" in own else {**self.training.model_dump(), **own}
        )

    def seed_of(self, id: str) -> int:
        """Seed (31 bits) of a cell, by its id, or of a data set, by its name.

        A hash of the study's seed and the id, so that a new cell changes no other's.
        """
        digest = hashlib.sha256(f"{self.seed}/{id}".encode()).digest()
        return int.from_bytes(digest[:4], "big") >> 1

    def resolved(self) -> dict[str, Any]:
        """Plain JSON with every default spelt out, from which an equal study can be validated."""
        return self.model_dump(mode="json")


def parse_cell(text: str) -> Cell:
    """The cell of an id such as synthetic/cnn-25/3."""
    name = "([a-z0-9][-a-z0-9]*)"
    match = re.fullmatch(f"{name}/{name}/([1-9][0-9]{{0,3}})", text)
    if match is None:
        raise InputError(f'"{text}" is no cell; a cell is DATASET/MODEL/TRIAL: synthetic/cnn-25/3')
    return Cell(match[1], match[2], int(match[3]))


def content_hash(obj: Any) -> str:
    """Hex SHA-256 of an object's canonical JSON: keys sorted, no spaces, UTF-8."""
    text = json.dumps(
        obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def load(name_or_path: str) -> Study:
    """A built-in study by its name, or any study by its file's path, its s3:// URL, or its text.

    Raises
    ------
    InputError
        No such study, or something in it is wrong: file, key and reason in one line.
    """
    if "\n" in name_or_path or name_or_path.lstrip().startswith("{"):
        return _loads(name_or_path, "the study's text", None, ())
    if name_or_path.startswith("s3://"):
        text = decode(read_url(name_or_path), name_or_path)
        return _loads(text, name_or_path, name_or_path.rpartition("/")[0], ())
    path = locate(name_or_path)
    return _loads(read_text(path), str(path), path.parent, (path.resolve(),))


def loads(text: str, source: str, folder: Path | None = None) -> Study:
    """The study that a YAML text describes.

    Parameters
    ----------
    text : str
        YAML or JSON.
    source : str
        Where it comes from, for error messages.
    folder : Path, optional
        What its relative paths are relative to (default: the current folder).
    """
    return _loads(text, source, folder, ())


def _loads(text: str, source: str, folder: Path | str | None, seen: tuple[Path, ...]) -> Study:
    data = read(text, source, folder, seen)
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        raise InputError(one_line(source, problems_of(error))) from None
