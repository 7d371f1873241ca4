"""AUS against hand cases and its limits."""

import pytest

from orthograd.metrics.aus import adaptive_unlearning_score


def test_random_by_hand() -> None:
    # (1 − (0.9 − 0.8)) / (1 + |0.95 − 0.8|) = 0.9 / 1.15
    value = adaptive_unlearning_score(0.9, 0.8, 0.95, "random")
    assert value == pytest.approx(18 / 23, rel=1e-12)


def test_class_by_hand() -> None:
    # (1 − (0.9 − 0.8)) / (1 + 0.5) = 0.6
    assert adaptive_unlearning_score(0.9, 0.8, 0.5, "class") == pytest.approx(0.6, rel=1e-12)


def test_is_one_for_a_model_that_forgot_and_lost_nothing() -> None:
    assert adaptive_unlearning_score(0.9, 0.9, 0.9, "random") == 1
    assert adaptive_unlearning_score(0.9, 0.9, 0.0, "class") == 1


def test_over_unlearning_costs_in_the_random_scenario_and_not_in_the_class_scenario() -> None:
    assert adaptive_unlearning_score(0.9, 0.9, 0.0, "random") == pytest.approx(1 / 1.9, rel=1e-12)
    assert adaptive_unlearning_score(0.9, 0.9, 0.0, "class") == 1


def test_range() -> None:
    assert adaptive_unlearning_score(1.0, 0.0, 1.0, "random") == 0
    assert adaptive_unlearning_score(0.0, 1.0, 0.0, "class") == 2


@pytest.mark.parametrize(
    ("values", "name"),
    [((90, 0.8, 0.9), "original_test"), ((0.9, -0.1, 0.9), "test"), ((0.9, 0.8, float("nan")), "forget")],
)
def test_refuses_percent_and_nonsense(values: tuple[float, float, float], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} = .*divide percent by 100"):
        adaptive_unlearning_score(*values, "random")
