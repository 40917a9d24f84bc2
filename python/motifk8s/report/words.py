"""How tables, figures and sentences write names and numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from motifk8s.study.study import Study


def label(study: Study, model: str) -> str:
    """How the paper, or the study file, prints a model's name."""
    return (study.models[model].label if model in study.models else "") or model


def truth_word(study: Study, dataset: str) -> str:
    """The paper's word for the classes' motifs: only embedded ones are the ground truth."""
    return "ground-truth" if study.datasets[dataset].kind == "synthetic" else "relevant"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def verb(names: Sequence[Any], word: str) -> str:
    """A verb that agrees with the number of names before it: a learns, a and b learn."""
    return word if len(names) > 1 else word + ("es" if word.endswith("o") else "s")


def value_range(values: Iterable[float]) -> str:
    """Lowest to highest, three decimals; one number where they look alike."""
    low, *_, high = [*sorted(values)] * 2
    return f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"


def plus_minus(mean: float, sd: float = math.nan, digits: int = 3) -> str:
    """Mean and sd as text, without the sd if it is nan; "" if the mean is nan."""
    if math.isnan(mean):
        return ""
    return f"{mean:.{digits}f}" + ("" if math.isnan(sd) else f" ± {sd:.{digits}f}")


def published(kind: str, mean: float, sd: float) -> str:
    """A published number with its sign, in the digits of the paper; "" if there is none."""
    sign = {"at-most": "≤ ", "at-least": "≥ "}.get(kind, "")
    # A published 0.93 must not read 0.930.
    two = math.isnan(sd) and round(mean, 2) == mean
    return sign + plus_minus(mean, sd, digits=2 if two else 3)


def signed(x: float) -> str:
    """A difference with its sign, three decimals."""
    text = f"{abs(x):.3f}"
    return text if text == "0.000" else ("+" if x > 0 else "−") + text


def by_reason(missing: Mapping[str, str]) -> dict[str, list[str]]:
    """Cells grouped by the reason why they are missing, both in order."""
    reasons: dict[str, list[str]] = {}
    for cell, reason in missing.items():
        reasons.setdefault(reason, []).append(cell)
    return reasons
