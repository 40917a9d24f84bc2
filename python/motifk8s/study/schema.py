"""The JSON Schema of study files, for editors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from motifk8s.study.file import builtin_names
from motifk8s.study.specs import (
    AnalysisSettings,
    DeepSea,
    File,
    MotifSettings,
    Preset,
    Synthetic,
    TrainingSettings,
)
from motifk8s.study.study import Study

# The settings with presets, by their key in the study.
PRESETS: dict[str, type[Preset]] = {
    "training": TrainingSettings,
    "motifs": MotifSettings,
    "analysis": AnalysisSettings,
}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of study files, for editors.

    A file that extends another needs only a name and its changes; there, null deletes.
    """
    study = Study.model_json_schema()
    parts: dict[str, Any] = {**study.pop("$defs"), "Study": study}
    for key, settings in PRESETS.items():
        named = {"enum": list(settings.presets)}
        parts[settings.__name__]["properties"]["preset"] = named
        study["properties"][key] = {"anyOf": [named, {"$ref": f"#/$defs/{settings.__name__}"}]}
    for dataset in (Synthetic, File, DeepSea):
        properties = parts[dataset.__name__]["properties"]
        properties["training"] = {
            "$ref": f"#/$defs/{TrainingSettings.__name__}",
            "description": properties["training"]["description"],
        }
    parts = _tidy(parts)
    # In a file that extends another these may be incomplete. Lists are always complete.
    partial = (
        "Study", "Synthetic", "File", "DeepSea", "DeepSeaClass", "Model",
        "CustomModel", "FigureSpec",
    )  # fmt: skip
    patches = {f"{name}Patch": _patch(parts[name], partial) for name in partial}
    extension = patches["StudyPatch"]
    extension["required"] = ["name", "extends"]
    extension["properties"]["name"] = parts["Study"]["properties"]["name"]
    extension["properties"]["extends"] = {
        "description": "The study that this file changes: a built-in study or the path of a file.",
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


def _tidy(schema: Any) -> Any:
    """Remove the titles that pydantic generates, and forbid keys that break a name's pattern."""
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
    """Return a schema in which any key may be missing, or null to delete it."""
    if not isinstance(schema, dict) or schema.get("type") == "array":
        return schema  # lists replace each other, so they are complete
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
