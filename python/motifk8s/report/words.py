"""Write names and numbers for tables, figures and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from motifk8s.study.study import Study


def label(study: Study, model: str) -> str:
    """Return a model's label; its name if it has none, or if that could mean another model."""
    own = study.models[model].label if model in study.models else ""
    others = [(name, spec.label) for name, spec in study.models.items() if name != model]
    return model if any(own in pair for pair in others) else own or model


def truth_word(study: Study, dataset: str) -> str:
    """Return the paper's word for matches to the classes: only embedded motifs are ground truth."""
    return "ground-truth" if study.datasets[dataset].kind == "synthetic" else "relevant"


def listed(names: Sequence[str]) -> str:
    """Join names for a sentence: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def verb(names: Sequence[Any], word: str) -> str:
    """Inflect a verb to agree with names before it: a learns, a and b learn."""
    return word if len(names) > 1 else word + ("es" if word.endswith("o") else "s")


def value_range(values: Iterable[float]) -> str:
    """Write lowest and highest value, three decimals; one number if they look the same."""
    low, *_, high = [*sorted(values)] * 2
    return f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"


def plus_minus(mean: float, sd: float = math.nan, digits: int = 3) -> str:
    """Write mean and sd, without the sd if it is nan; "" if the mean is nan."""
    if math.isnan(mean):
        return ""
    return f"{mean:.{digits}f}" + ("" if math.isnan(sd) else f" ± {sd:.{digits}f}")


def published(kind: str, mean: float, sd: float) -> str:
    """Write a published number with the decimals of the paper, ≤ or ≥ for a bound; "" if nan."""
    sign = {"at-most": "≤ ", "at-least": "≥ "}.get(kind, "")
    # The paper gives some numbers as 0.93, not 0.930.
    two = math.isnan(sd) and round(mean, 2) == mean
    return sign + plus_minus(mean, sd, digits=2 if two else 3)


def signed(x: float) -> str:
    """Write a difference with its sign, three decimals."""
    text = f"{abs(x):.3f}"
    return text if text == "0.000" else ("+" if x > 0 else "−") + text
