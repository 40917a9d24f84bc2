"""Strict models, and one short line for whatever does not fit them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

Problems = list[tuple[str, str]]  # (path of the key, reason)

NEEDED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
LIMITS = {  # pydantic's name of a limit: its key, and how to say it
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "above"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "below"),
}


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """The known word that is nearest, as a question; nothing where none is near."""
    near = difflib.get_close_matches(str(word).lower(), list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


class Strict(BaseModel):
    """A frozen model that takes no unknown key, no wrong type, no inf or nan.

    A whole number will do for a float; a boolean or a text will not.
    """

    # Built at the first use, so that importing it stays quick.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        defer_build=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = list(cls.model_fields)
            wrong = [key for key in data if key not in known]
            if wrong:
                raise problems_error(
                    [
                        (str(k), "unknown key" + (did_you_mean(k, known) or _known(known)))
                        for k in wrong
                    ]
                )
        return data


def _known(names: Iterable[str]) -> str:
    return f"; known: {', '.join(names)}"


def no_such(what: str, name: object, known: Iterable[str]) -> str:
    """`no WHAT "NAME"`, with the nearest known name or all of them."""
    known = list(known)
    return f'no {what} "{name}"' + (did_you_mean(name, known) or _known(known))


def problems_error(problems: Problems) -> PydanticCustomError:
    """An error for a validator to raise; the paths are relative to the model it validates."""
    return PydanticCustomError("problems", "{problems}", {"problems": problems})


def problems_of(error: ValidationError) -> Problems:
    """What is wrong, one (path such as models.cnn-4.conv[1].pool, reason) per problem."""
    result: Problems = []
    for details in error.errors(include_url=False):
        loc = [part for part in details["loc"] if part != "[key]"]
        if loc[:1] == ["datasets"] and len(loc) > 2:
            del loc[2]  # which kind of data set it was read as
        if details["type"].startswith("union_tag"):
            loc.append("kind")
        context = details.get("ctx", {})
        if details["type"] == "problems":
            result += [(_path(*loc, path), reason) for path, reason in context["problems"]]
        else:
            key = "[key]" in details["loc"]
            reason = _reason(details["type"], context, details.get("input"), key, details["msg"])
            result.append((_path(*loc), reason))
    return result


def one_line(source: str, problems: Problems) -> str:
    """The first problem in full, and where the others are."""
    (path, reason), *others = problems
    line = f"{source}: {path}: {reason}" if path else f"{source}: {reason}"
    if others:
        where = [other or "the file" for other, _ in others[:3]] + ["..."] * (len(others) > 3)
        line += f" ({len(others)} more: {', '.join(where)})"
    return " ".join(line.split())


def _path(*parts: str | int) -> str:
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part:
            text += f".{part}" if text else part
    return text


def _reason(kind: str, context: dict[str, Any], value: Any, key: bool, message: str) -> str:
    shown = "a list" if isinstance(value, list) else "a mapping"
    if not isinstance(value, list | dict):  # those may be long, or contain themselves
        shown = json.dumps(value, default=str, ensure_ascii=False)
        shown = shown if len(shown) <= 40 else shown[:37] + "..."
    if key and kind == "string_type":
        return f"{shown} is no text; put it in quotes"
    if kind == "missing":
        return "missing"
    if kind in NEEDED:
        return f"{NEEDED[kind]} is needed, not {shown}"
    if kind == "finite_number":
        return f"a finite number is needed, not {shown}"
    if kind in LIMITS:
        limit, words = LIMITS[kind]
        return f"must be {words} {context[limit]:g}, not {shown}"
    if kind in ("too_short", "string_too_short"):
        least, n = context["min_length"], len(value)
        return "empty" if n == 0 else f"{least} are needed, not {n}"
    if kind in ("too_long", "string_too_long"):
        what = " characters" if kind == "string_too_long" else ""
        return f"{context['max_length']}{what} are the most, not {len(value)}"
    if kind == "string_pattern_mismatch" and context["pattern"].startswith("^[a-z0-9]"):
        return f"{shown} is no name; lower-case letters, digits and inner hyphens make one"
    if kind == "string_pattern_mismatch":
        return f"{shown} does not match {context['pattern']}"
    if kind == "literal_error":
        words = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"{shown} is none of {', '.join(words)}" + did_you_mean(value, words)
    if kind == "union_tag_not_found":
        return "missing; known: synthetic, file, deepsea"
    if kind == "union_tag_invalid":
        words = context["expected_tags"].replace("'", "").split(", ")
        tag = context["tag"]
        return f'"{tag}" is none of {", ".join(words)}' + did_you_mean(tag, words)
    return message[0].lower() + message[1:]
