"""Predict from an architecture, without training, which layers learn whole motifs.

This is the second rule. The first one used 9 bp, the median width of JASPAR's motifs, for the field
and for the blur, and nothing else. It was right on the paper's architectures, from which it was
made, and wrong on three of the next four. The second one is made from all of these:

1. A layer can learn a whole motif only if its receptive field is at least `FIELD` wide.
2. It must learn whole motifs, unless a later convolution can assemble parts. That convolution must
   be at least `ASSEMBLING` wide: order and distance distinguish parts, which takes
   three positions (Koo & Eddy 2019, Fig 1). It must know the positions of parts more precisely than
   `BLUR`. Each pooling before it adds the width of its window minus 1 to the uncertainty.
3. A layer with an exponential activation must learn whole motifs in any case: one complete match
   then outweighs the sum of many partial ones (Koo & Ploenzke 2021).
4. A layer that can and must learns whole motifs; every other layer learns parts.

Dense layers do not assemble parts: they would need separate weights for each position. The argument
is from Koo & Eddy 2019, "Internal representations of motifs depend on architecture", which gives no
rule. Number of filters, data and training have no influence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from motifk8s.report.answer import WHOLE
from motifk8s.study.specs import CustomModel, Model
from motifk8s.study.study import Study

if TYPE_CHECKING:
    import pandas as pd


FIELD = 6
"""bp. Filters of 7 learn whole motifs, filters of 3 do not."""
BLUR = 6
"""bp. A first pool of 6 leads to whole motifs, a pool of 4 does not."""
ASSEMBLING = 3
"""Least width of a convolution that assembles parts, in positions of its input."""

COLUMNS = [
    "dataset", "model", "label", "layer", "receptive_field", "uncertainty", "predicted", "trials",
    "match_truth_mean", "learned", "right", "baseline", "baseline_right",
]  # fmt: skip


class Reading(NamedTuple):
    """The rule applied to a layer."""

    layer: str
    receptive_field: int  # bp
    uncertainty: int | None  # bp, of positions at the next convolution that assembles, or None
    whole: bool  # the rule predicts whole motifs


def predict(model: Model | CustomModel) -> list[Reading]:
    """Apply the rule to the layers before the first pooling, whose filters have motifs.

    The rule knows nothing of a custom model.
    """
    readings: list[Reading] = []
    if isinstance(model, CustomModel):
        return readings
    for i, layer in enumerate(model.layers_before_pooling()):
        field = model.receptive_field(i)
        uncertainty = None
        blur, step = 1, 1  # bp
        for conv, following in zip(model.conv[i:], model.conv[i + 1 :], strict=False):
            blur += (conv.pool - 1) * step
            step *= conv.step
            if following.width >= ASSEMBLING:
                uncertainty = blur
                break
        assembled = uncertainty is not None and uncertainty < BLUR
        must = not assembled or model.conv[i].activation == "exponential"
        readings.append(Reading(layer, field, uncertainty, field >= FIELD and must))
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
        finished trial or a known motif; ``right``: "yes", "no" or "". ``baseline`` is what the
        layer's own pool alone says: "whole" if it is at least `BLUR` wide.
    """
    import pandas as pd

    rows = []
    for row in table.to_dict("records"):
        known = any(study.datasets[row["dataset"]].motif_ids.values())
        model = study.models[row["model"]]
        for reading in predict(model):
            if reading.layer != row["layer"] or isinstance(model, CustomModel):
                continue
            pool = model.conv[model.layers_before_pooling().index(reading.layer)].pool
            predicted = "whole" if reading.whole else "parts"
            baseline = "whole" if pool >= BLUR else "parts"
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
                    "baseline": baseline,
                    "baseline_right": learned and ("yes" if learned == baseline else "no"),
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS).astype({"uncertainty": "Int64"})
