"""Before any training: which layers will learn whole motifs, read off the receptive fields.

The rule, written down before it was scored on anything but the paper's own architectures:

1. A layer can hold a whole motif only if its receptive field is at least as wide as one, `MOTIF`.
2. It has to, unless a later convolution can put parts together. That convolution must see
   neighbours (be wider than 1), and know where they lie to within less than a motif: every pooling
   on the way blurs positions, by all but one of the positions of its window.
3. A layer that can and has to learns whole motifs; every other learns parts.

Dense layers put no parts together: they would have to do it for each place of the sequence anew.
After Koo & Eddy 2019, "Internal representations of motifs depend on architecture", which has the
argument and no rule. Kernel, data, activation and training are not asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from motifk8s.report.answer import WHOLE
from motifk8s.study.specs import Model
from motifk8s.study.study import Study

if TYPE_CHECKING:
    import pandas as pd


MOTIF = 9
"""Width of a motif in bp: the median over JASPAR 2016 (CORE vertebrates) from the first to the last
column with more than half a bit."""

COLUMNS = [
    "dataset", "model", "label", "layer", "receptive_field", "uncertainty", "predicted", "trials",
    "match_truth_mean", "learned", "right",
]  # fmt: skip


class Reading(NamedTuple):
    """What the rule says of a layer.

    Attributes
    ----------
    layer : str
    receptive_field : int
        In bp.
    uncertainty : int or None
        Of positions, in bp, where the next convolution wider than 1 reads them; None without one.
    whole : bool
        Whether its filters will learn whole motifs.
    """

    layer: str
    receptive_field: int
    uncertainty: int | None
    whole: bool


def predict(model: Model) -> list[Reading]:
    """Apply the rule to the layers before the first pooling, whose filters become motifs."""
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
    """Compare what the rule says of each layer with what was learned.

    Parameters
    ----------
    study : Study
    table : DataFrame
        As from `tables.table1`.

    Returns
    -------
    DataFrame, columns `COLUMNS`
        A row for each row of `table` whose layer comes before any pooling. ``receptive_field``
        and ``uncertainty`` as in `Reading` (bp; the latter <NA> where there is none);
        ``predicted``: "whole" or "parts"; ``learned``: "whole" where the mean share of filters
        that match one of the classes' motifs is `answer.WHOLE` or more, else "parts", and ""
        without a finished trial or a known motif; ``right``: "yes", "no" or "".
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
