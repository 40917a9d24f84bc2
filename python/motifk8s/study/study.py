"""A study: which data sets, which architectures, how many trials, and with which settings.

A `Study` decides everything that a run does. It is read from a YAML file, strictly: an unknown
key, a wrong type or an architecture that cannot be built is an `InputError` of one line that
names the file, the key and the reason. `specs.py` has the parts of a study, with their defaults.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from motifk8s.errors import InputError
from motifk8s.store.base import read_url
from motifk8s.study import file as studyfile
from motifk8s.study.file import builtin_names
from motifk8s.study.specs import (
    Analysis,
    Conv,
    DeepSea,
    DeepSeaClass,
    Expected,
    FigureSpec,
    File,
    Matches,
    Model,
    Motifs,
    Name,
    Synthetic,
    Training,
    Trim,
)
from motifk8s.study.strict import Problems, Strict, no_such, one_line, problems_error, problems_of

__all__ = [
    "Analysis", "Cell", "Conv", "DeepSea", "DeepSeaClass", "Expected", "FigureSpec", "File",
    "Matches", "Model", "Motifs", "Study", "Synthetic", "Training", "Trim", "builtin_names",
    "content_hash", "json_schema", "load", "loads", "parse_cell",
]  # fmt: skip

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
    training: Training = Field(default_factory=Training)
    motifs: Motifs = Field(default_factory=Motifs)
    matches: Matches = Field(default_factory=Matches)
    analysis: Analysis = Field(default_factory=Analysis)
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

    def training_for(self, dataset: str) -> Training:
        """Training settings of a data set: the study's, and on top of them the data set's own."""
        own = self.datasets[dataset].training
        return Training.model_validate(
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
        text = studyfile.decode(read_url(name_or_path), name_or_path)
        return _loads(text, name_or_path, name_or_path.rpartition("/")[0], ())
    path = studyfile.locate(name_or_path)
    return _loads(studyfile.read_text(path), str(path), path.parent, (path.resolve(),))


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
    data = studyfile.read(text, source, folder, seen)
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        raise InputError(one_line(source, problems_of(error))) from None


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a study file as users write it, for editors.

    A file that extends another needs its name and what differs; there, null deletes.
    """
    study = Study.model_json_schema()
    parts: dict[str, Any] = {**study.pop("$defs"), "Study": study}
    for spec in (Training, Motifs, Analysis):
        name, presets = spec.__name__, list(spec.presets)
        parts[name]["properties"]["preset"] = {"enum": presets}
        either = [{"enum": presets}, {"$ref": f"#/$defs/{name}"}]
        study["properties"][name.lower()] = {"anyOf": either}
    for dataset in (Synthetic, File, DeepSea):
        parts[dataset.__name__]["properties"]["training"] = {"$ref": "#/$defs/Training"}
    for name, part in parts.items():
        for field, remark in _remarks(globals()[name]).items():
            part["properties"][field]["description"] = remark
    parts = _tidy(parts)
    # What may be said in part by a file that extends another; lists and settings are said as ever.
    partial = ("Study", "Synthetic", "File", "DeepSea", "DeepSeaClass", "Model", "FigureSpec")
    patches = {f"{name}Patch": _patch(parts[name], partial) for name in partial}
    extension = patches["StudyPatch"]
    extension["required"] = ["name", "extends"]
    extension["properties"]["name"] = parts["Study"]["properties"]["name"]
    extension["properties"]["extends"] = {
        "description": "A built-in study or the path of a file, which this one changes.",
        "type": "string",
        "examples": builtin_names(),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of motifk8s",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": {"$ref": "#/$defs/StudyPatch"},
        "else": {"$ref": "#/$defs/Study"},
        "$defs": {**parts, **patches},
    }


def _remarks(model: type[Strict]) -> dict[str, str]:
    """The text below each field of a model in its source, by field."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, Strict):
            [tree] = ast.parse(inspect.getsource(cls)).body
            for field, text in itertools.pairwise(tree.body):  # type: ignore[attr-defined]
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    found[ast.unparse(field.target)] = ast.literal_eval(text.value)
    return found


def _tidy(schema: Any) -> Any:
    """Without the titles that pydantic makes up; and with no name that breaks the pattern."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {
        key: _tidy(value)
        for key, value in schema.items()
        if key != "discriminator" and not (key == "title" and isinstance(value, str))
    }
    return {**result, "additionalProperties": False} if "patternProperties" in result else result


def _patch(schema: Any, partial: Iterable[str]) -> Any:
    """A schema of which any part may be missing, or null where that deletes it."""
    if not isinstance(schema, dict) or schema.get("type") == "array":
        return schema  # a list is said whole
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return {"$ref": f"#/$defs/{name}Patch"} if name in partial else schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "patternProperties"):
            result[key] = {k: _or_null(_patch(v, partial)) for k, v in value.items()}
        elif key == "additionalProperties" and isinstance(value, dict):
            result[key] = _or_null(_patch(value, partial))
        elif key in ("oneOf", "anyOf"):
            result["anyOf"] = [_patch(choice, partial) for choice in value]
        elif key not in ("required", "minProperties", "default"):
            result[key] = value
    return result


def _or_null(schema: Any) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}
