"""AUS, the adaptive unlearning score (DUCK, arXiv:2312.02052): accuracy kept, divided by what is left to forget."""

from __future__ import annotations

from typing import Literal

from orthograd.metrics.checks import fraction


def adaptive_unlearning_score(
    original_test: float, test: float, forget: float, scenario: Literal["random", "class"]
) -> float:
    """AUS of an unlearned model, in [0, 2]; higher is better, 1 is a model that forgot and lost nothing.

    Random: (1 − (O_t − U_t)) / (1 + |U_f − U_t|): forgotten samples should be classified like unseen ones.
    Class: (1 − (O_t − U_t)) / (1 + U_f): nothing of the forgotten class should be recognised.
    Above 1 only where the test accuracy is above the original model's.

    Args:
        original_test: O_t, test accuracy of the original model, a fraction. In the class scenario both test
            accuracies are those on the classes that stay.
        test: U_t, test accuracy of the unlearned model.
        forget: U_f, its accuracy on the forget set.
        scenario: which of the two definitions.

    Raises:
        ValueError: an accuracy is no fraction.
    """
    kept = 1 - (fraction("original_test", original_test) - fraction("test", test))
    left = fraction("forget", forget)
    return kept / (1 + (abs(left - test) if scenario == "random" else left))
