"""Metrics against values worked out by hand from their definitions."""

import math

import pytest

from orthograd.metrics.equal_forgetting import at_forget_accuracy
from orthograd.metrics.retraining import mean_gap, signed_differences
from orthograd.metrics.uis import unlearning_impact_score


def test_uis_random_by_hand() -> None:
    # ½(|0.8 − 0.7| + |0.8 − 0.9|)/0.8 = ½ · 0.2 / 0.8 = 0.125
    assert unlearning_impact_score(0.8, 0.7, 0.9, "random") == pytest.approx(0.125, rel=1e-12)


def test_uis_class_by_hand() -> None:
    # ½(|0.8 − 0.7| + 0.3)/0.8 = ½ · 0.4 / 0.8 = 0.25
    assert unlearning_impact_score(0.8, 0.7, 0.3, "class") == pytest.approx(0.25, rel=1e-12)


@pytest.mark.parametrize("original", [0.3, 0.99])
def test_uis_is_zero_where_it_should_be(original: float) -> None:
    assert unlearning_impact_score(original, original, original, "random") == 0
    assert unlearning_impact_score(original, original, 0.0, "class") == 0


def test_uis_counts_gains_and_losses_alike_in_the_random_scenario() -> None:
    # Over-unlearning (forget accuracy under the test accuracy) is as far off as under-unlearning.
    below = unlearning_impact_score(0.8, 0.8, 0.7, "random")
    assert below == pytest.approx(unlearning_impact_score(0.8, 0.8, 0.9, "random"), rel=1e-12)
    assert below > 0


@pytest.mark.parametrize(
    "values", [(80, 0.7, 0.9), (0.8, 70, 0.9), (0.8, 0.7, -0.1), (float("nan"), 0.7, 0.9)]
)
def test_uis_refuses_percent_and_nonsense(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="fraction"):
        unlearning_impact_score(*values, "random")


def test_uis_refuses_an_original_without_accuracy() -> None:
    with pytest.raises(ValueError, match="train it first"):
        unlearning_impact_score(0.0, 0.5, 0.5, "class")


def test_differences_to_retraining_by_hand() -> None:
    accuracy = {"forget": 0.80, "retain": 1.00, "test": 0.85}
    references = [
        {"forget": 0.90, "retain": 0.98, "test": 0.86},
        {"forget": 0.86, "retain": 1.00, "test": 0.88},
    ]
    differences = signed_differences(accuracy, references, ["forget", "retain", "test"])
    assert differences == pytest.approx({"forget": -0.08, "retain": 0.01, "test": -0.02}, abs=1e-12)
    assert mean_gap(differences) == pytest.approx(0.11 / 3, abs=1e-12)


def test_without_a_reference_there_is_no_difference() -> None:
    with pytest.raises(ValueError, match="replicates"):
        signed_differences({"test": 1.0}, [], ["test"])


def test_at_forget_accuracy_lies_on_the_line_between_the_checks() -> None:
    forget, test = [1.0, 0.95, 0.85, 0.7], [0.9, math.nan, 0.88, 0.8]
    # A third of the way from 0.85 to 0.7.
    assert at_forget_accuracy(forget, test, 0.8) == pytest.approx(0.88 - 0.08 / 3, rel=1e-12)
    assert at_forget_accuracy(forget, test, 0.7) == pytest.approx(0.8, rel=1e-12)


def test_at_forget_accuracy_takes_the_first_crossing() -> None:
    forget, test = [1.0, 0.9, 0.5, 0.9, 0.5], [0.9, 0.9, 0.5, 0.1, 0.1]
    assert at_forget_accuracy(forget, test, 0.7) == pytest.approx(0.7, rel=1e-12)


@pytest.mark.parametrize("forget", [[1.0, 0.9, 0.8], [1.0, 0.2], [0.3, 0.2], [1.0]])
def test_at_forget_accuracy_needs_a_path_to_the_target(forget: list[float]) -> None:
    assert at_forget_accuracy(forget, [0.9] * len(forget), 0.5) is None


def test_at_forget_accuracy_that_was_not_measured() -> None:
    with pytest.raises(ValueError, match=r"checks 1 and 2, on both sides of the target 0\.5"):
        at_forget_accuracy([1.0, 0.9, 0.2], [0.9, math.nan, 0.8], 0.5)
