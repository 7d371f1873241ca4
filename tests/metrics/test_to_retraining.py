"""ToW and the average gap against hand cases."""

import pytest

from orthograd.metrics.retraining import average_gap, signed_differences
from orthograd.metrics.tow import tug_of_war


def test_tug_of_war_by_hand() -> None:
    # (1 − 0.1)(1 − 0.2)(1 − 0.5) = 0.36; what is not of the three sets does not count.
    differences = {"forget": -0.1, "retain": 0.2, "test": -0.5, "mia": 0.9}
    assert tug_of_war(differences) == pytest.approx(0.36, rel=1e-12)


def test_tug_of_war_of_a_retrained_model_is_one_and_of_an_opposite_zero() -> None:
    assert tug_of_war({"forget": 0.0, "retain": 0.0, "test": 0.0}) == 1
    assert tug_of_war({"forget": -1.0, "retain": 0.0, "test": 0.0}) == 0


@pytest.mark.parametrize("bad", [30.0, float("nan")])
def test_tug_of_war_refuses_percent_and_nan(bad: float) -> None:
    with pytest.raises(ValueError, match=r"retain .* not percent"):
        tug_of_war({"forget": 0.0, "retain": bad, "test": 0.0})


def test_average_gap_by_hand() -> None:
    # UA 0.2 against 0.1, RA 0.95 against 1.0, TA 0.8 against 0.86, MIA 0.5 against 0.3 and 0.4 (mean 0.35)
    ours = {"forget": 0.8, "retain": 0.95, "test": 0.80, "mia": 0.50}
    retrained = [
        {"forget": 0.9, "retain": 1.0, "test": 0.86, "mia": 0.30},
        {"forget": 0.9, "retain": 1.0, "test": 0.86, "mia": 0.40},
    ]
    gap = average_gap(signed_differences(ours, retrained, list(ours)))
    assert gap == pytest.approx((0.1 + 0.05 + 0.06 + 0.15) / 4, rel=1e-12)


def test_average_gap_needs_the_attack() -> None:
    with pytest.raises(KeyError, match="mia"):
        average_gap({"forget": 0.0, "retain": 0.0, "test": 0.0})
