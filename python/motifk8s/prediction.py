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

if TYPE_CHECKING:
    from motifk8s.specs import Model

MOTIF = 9
"""Width of a motif in bp: the median over JASPAR 2016 (CORE vertebrates) from the first to the last
column with more than half a bit."""


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
    """Read the layers before the first pooling, those whose motifs can be looked at."""
    readings = []
    for i, layer in enumerate(model.layers_before_pooling()):
        field = model.receptive_field(i)
        blur, step = 1, 1
        uncertainty = None
        for here, following in zip(model.conv[i:], model.conv[i + 1 :], strict=False):
            blur += (here.pool - 1) * step
            step *= here.step
            if following.width > 1:
                uncertainty = blur
                break
        assembled = uncertainty is not None and uncertainty < MOTIF
        readings.append(Reading(layer, field, uncertainty, field >= MOTIF and not assembled))
    return readings
