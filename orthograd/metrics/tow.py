"""ToW, the tug of war (RUM): a product that is high only if every set is like after retraining."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from orthograd.metrics.retraining import GAP_SETS


def tug_of_war(differences: Mapping[str, float]) -> float:
    """Π over forget, retain and test of (1 − |difference|), in [0, 1]; higher is better, 1 is a retrained model.

    Args:
        differences: accuracy less that of the retrained models, by set, as `retraining.signed_differences` gives them.

    Raises:
        ValueError: a difference is not one of fractions.
    """
    for name in GAP_SETS:
        if not abs(differences[name]) <= 1:
            raise ValueError(
                f"the difference on {name} is {differences[name]}: take it between fractions, not percent"
            )
    return prod(1 - abs(differences[name]) for name in GAP_SETS)
