"""Test accuracy at equal forgetting: what a run keeps at the moment at which its forget accuracy is the target."""

from __future__ import annotations

import math
from collections.abc import Sequence


def at_forget_accuracy(forget: Sequence[float], accuracy: Sequence[float], target: float) -> float | None:
    """Accuracy at the first crossing of a forget accuracy, interpolated linearly between the checks on both sides.

    Runs end somewhat below the target, each method by as much as its steps are long; without this a method would pay
    for forgetting more than it was asked to.

    Args:
        forget: forget accuracy at each check, fractions; the first one is the original model's.
        accuracy: accuracy on another set at the same checks, fractions; NaN where it was not measured.
        target: forget accuracy to compare at, a fraction.

    Returns:
        None where there is nothing to interpolate: the target was never reached, or already by the first model that is
        checked after the original one, so that what lies between is no model of the method (all methods of one update
        are such).

    Raises:
        ValueError: the accuracy was not measured on both sides of the crossing.
    """
    crossing = next((place for place, value in enumerate(forget) if value <= target), None)
    if crossing is None or crossing < 2:
        return None
    before, after = accuracy[crossing - 1], accuracy[crossing]
    if math.isnan(before) or math.isnan(after):
        raise ValueError(
            f"the accuracy at the checks {crossing - 1} and {crossing}, on both sides of the target {target}, was not "
            "measured: run the unlearning step again with this version"
        )
    share = (forget[crossing - 1] - target) / (forget[crossing - 1] - forget[crossing])
    return before + share * (after - before)
