"""Strict pydantic models, and plain messages for the mistakes that they find."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

Place = tuple[str | int, ...]  # the keys that lead to a value: ("models", "cnn-4", "conv", 0)
Mistake = tuple[Place, str]  # a place and a reason

NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
TAGS = ("<number>", "<mapping>")  # of a value that may be either
MODELS = ("<conv>", "<build>")  # of a model: its layers, or the function that builds it
KINDS = ("synthetic", "file", "deepsea")  # of data sets
# By kind of error, the words that replace pydantic's.
EXPECTED = {
    "bool_type": "should be true or false",
    "dict_type": "should be a mapping",
    "model_type": "should be a mapping",
    "model_attributes_type": "should be a mapping",
    "string_type": "should be text (in quotes)",
    "union_tag_invalid": f"should be one of {', '.join(KINDS)}",
}
LONGEST = 40  # characters of a value that a message quotes
MOST_LINES = 50


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return `; did you mean "WORD"?` for the nearest known word, or "" if none is near."""
    near = difflib.get_close_matches(str(word).lower(), list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def nearest_or_all(word: object, known: Iterable[str]) -> str:
    """Return the nearest known word as a question, or the list of all known words."""
    known = list(known)
    return did_you_mean(word, known) or f"; known: {', '.join(known)}"


def no_such(what: str, name: object, known: Iterable[str]) -> str:
    """Return `no WHAT "NAME"`, with the nearest known name or the list of all."""
    return f'no {what} "{name}"{nearest_or_all(name, known)}'


class Strict(BaseModel):
    """A frozen model that rejects unknown keys, wrong types, inf and nan.

    A float field accepts an integer, but not a boolean or a string.
    """

    # `defer_build` keeps the import fast: a model is built at its first use.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        defer_build=True,
        use_attribute_docstrings=True,
    )
    more_keys: ClassVar[tuple[str, ...]] = ()  # accepted keys that are not fields

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        known = [*cls.model_fields, *cls.more_keys]
        unknown = [key for key in data if key not in known] if isinstance(data, dict) else []
        if not unknown:
            return handler(data)
        mistakes: list[Mistake] = [
            ((str(key),), f"unknown key{nearest_or_all(key, known)}") for key in unknown
        ]
        try:
            handler({key: value for key, value in data.items() if key in known})
        except ValidationError as error:
            mistakes += mistakes_of(error)
        raise mistakes_error(mistakes)


def mistakes_error(mistakes: Iterable[Mistake]) -> ValidationError:
    """Make an error that a validator can raise; places are relative to the validated value."""
    return ValidationError.from_exception_data(
        "study",
        [
            {
                "type": PydanticCustomError("mistake", "{reason}", {"reason": _utf8(reason)}),
                "loc": tuple(_utf8(part) if isinstance(part, str) else part for part in place),
                "input": None,
            }
            for place, reason in mistakes
        ],
    )


def _utf8(text: str) -> str:
    """Escape lone surrogates, which YAML can hold and pydantic cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


def mistakes_of(error: ValidationError) -> list[Mistake]:
    """Return the mistakes in an error of pydantic."""
    return [(_place(details), _reason(details)) for details in error.errors(include_url=False)]


def describe(source: str, mistakes: list[Mistake]) -> str:
    """Return `SOURCE: PATH: REASON` for the first mistake, then an indented line for each other."""
    first, *others = (
        " ".join(f"{path(*place)}: {reason}".removeprefix(": ").split())
        for place, reason in mistakes
    )
    if len(others) > MOST_LINES:
        others = [*others[:MOST_LINES], f"... and {len(others) - MOST_LINES} more"]
    count = f" (and {len(mistakes) - 1} more)" if others else ""
    return "\n  ".join([f"{source}: {first}{count}", *others])


def path(*place: str | int) -> str:
    """Return a place as one string: models.cnn-4.conv[0].pool."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join(parts).removeprefix(".")


def _place(details: ErrorDetails) -> Place:
    """Return the keys as they are in the file, without the parts that pydantic adds."""
    place = [part for part in details["loc"] if part not in ("[key]", *TAGS, *MODELS)]
    if place[:1] == ["datasets"] and len(place) > 2 and place[2] in KINDS:
        del place[2]
    if details["type"].startswith("union_tag"):
        place.append("kind")
    return tuple(place)


def _reason(details: ErrorDetails) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "mistake":
        return details["msg"]
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "missing"
    if kind == "union_tag_not_found":
        return f"missing; known: {', '.join(KINDS)}"
    expected = EXPECTED.get(kind) or details["msg"]
    expected = re.sub("^(Input|String|List|Dictionary) (?=should)", "", expected)
    if kind in ("too_short", "too_long"):  # pydantic's text has the number of items
        return expected.replace(" after validation", "")
    hint = ""
    if kind == "literal_error":
        hint = did_you_mean(value, re.findall("'(.+?)'", context["expected"]))
    elif kind == "union_tag_invalid":
        value = context["tag"]
        hint = did_you_mean(value, KINDS)
    elif kind == "string_pattern_mismatch" and context["pattern"] == NAME:
        expected = "should be a name of lower-case letters, digits and hyphens inside"
    return f"{expected}, not {_shown(value)}{hint}"


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):  # may be long, or contain itself
        return "a list" if isinstance(value, list) else "a mapping"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
