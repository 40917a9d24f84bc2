"""Predict from the receptive fields, without training, which layers learn whole motifs.

The rule was written when it had been tested only on the paper's own architectures:

1. A layer can learn a whole motif only if its receptive field is at least as wide as a motif
   (`MOTIF`).
2. It must learn whole motifs, unless a later convolution can assemble parts. That convolution must
   be wider than 1 and know the positions of parts more precisely than the width of a motif. Each
   pooling before it adds the width of its window minus 1 to the uncertainty.
3. A layer that can and must learns whole motifs; every other layer learns parts.

Dense layers do not assemble parts: they would need separate weights for each position. The argument
is from Koo & Eddy 2019, "Internal representations of motifs depend on architecture", which gives no
rule. Number of filters, data, activation and training have no influence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from motifk8s.report.answer import WHOLE
from motifk8s.study.specs import Model
from motifk8s.study.study import Study

if TYPE_CHECKING:
    import pandas as pd


MOTIF = 9
"""Width of a motif in bp, from the first to the last column with more than half a bit: the median
over JASPAR 2016 (CORE vertebrates)."""

COLUMNS = [
    "dataset", "model", "label", "layer", "receptive_field", "uncertainty", "predicted", "trials",
    "match_truth_mean", "learned", "right",
]  # fmt: skip


class Reading(NamedTuple):
    """The rule applied to a layer."""

    layer: str
    receptive_field: int  # bp
    uncertainty: int | None  # bp, of positions at the next convolution wider than 1; None: no such
    whole: bool  # the rule predicts whole motifs


def predict(model: Model) -> list[Reading]:
    """Apply the rule to the layers before the first pooling, whose filters have motifs."""
    readings = []
    for i, layer in enumerate(model.layers_before_pooling()):
        field = model.receptive_field(i)
        uncertainty = None
        blur, step = 1, 1  # bp
        for conv, following in zip(model.conv[i:], model.conv[i + 1 :], strict=False):
            blur += (conv.pool - 1) * step
            step *= conv.step
            if following.width > 1:
                uncertainty = blur
                break
        assembled = uncertainty is not None and uncertainty < MOTIF
        readings.append(Reading(layer, field, uncertainty, field >= MOTIF and not assembled))
    return readings


def score(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Compare the prediction for each layer with what the layer learned.

    Parameters
    ----------
    table : DataFrame
        As from `tables.table1`.

    Returns
    -------
    DataFrame, columns `COLUMNS`
        A row for each row of `table` whose layer comes before the first pooling.
        ``receptive_field`` and ``uncertainty`` as in `Reading` (bp; <NA> for None);
        ``predicted``: "whole" or "parts"; ``learned``: "whole" if the mean share of filters that
        match a motif of the classes is at least `answer.WHOLE`, otherwise "parts", or "" without a
        finished trial or a known motif; ``right``: "yes", "no" or "".
    """
    import pandas as pd

    rows = []
    for row in table.to_dict("records"):
        known = any(study.datasets[row["dataset"]].motif_ids.values())
        for reading in predict(study.models[row["model"]]):
            if reading.layer != row["layer"]:
                continue
            predicted = "whole" if reading.whole else "parts"
            learned = "whole" if row["match_truth_mean"] >= WHOLE else "parts"
            learned = learned if known and row["trials"] else ""
            rows.append(
                {
                    **row,
                    "receptive_field": reading.receptive_field,
                    "uncertainty": reading.uncertainty,
                    "predicted": predicted,
                    "learned": learned,
                    "right": learned and ("yes" if learned == predicted else "no"),
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS).astype({"uncertainty": "Int64"})
