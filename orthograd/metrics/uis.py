"""UIS, the unlearning impact score (arXiv:2503.02312): how far forget and test accuracy are from their ideals."""

from __future__ import annotations

from typing import Literal

from orthograd.metrics.checks import fraction


def unlearning_impact_score(
    original_test: float, test: float, forget: float, scenario: Literal["random", "class"]
) -> float:
    """UIS of an unlearned model; lower is better, 0 is best.

    Random: ½(|O_t − U_t| + |O_t − U_u|)/O_t: forgotten samples should be classified like unseen ones.
    Class: ½(|O_t − U_t| + U_u)/O_t: nothing of the forgotten class should be recognised.
    It measures closeness to the original test accuracy, not to a retrained model: read it beside the gap to retraining.

    Args:
        original_test: O_t, test accuracy of the original model, in (0, 1].
        test: U_t, test accuracy of the unlearned model, in [0, 1].
        forget: U_u, its accuracy on the forget set, in [0, 1].
        scenario: which of the two definitions.

    Raises:
        ValueError: an accuracy is no fraction, or the original model has no accuracy to lose.
    """
    for name, value in (("original_test", original_test), ("test", test), ("forget", forget)):
        fraction(name, value)
    if original_test == 0:
        raise ValueError(
            "original_test = 0: UIS is relative to the original model's test accuracy; train it first"
        )
    forgetting = abs(original_test - forget) if scenario == "random" else forget
    return 0.5 * (abs(original_test - test) + forgetting) / original_test
