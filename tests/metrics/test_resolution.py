"""The smallest gap against an integral of its own, and TOST against scipy's one-sided tests."""

import numpy as np
import pytest
from scipy import integrate, stats

from orthograd.metrics.resolution import equivalence, smallest_gap


def _power(gap: float, sd: float, n: int) -> float:
    """P(|T| > critical), by integration over the sample's standard deviation; no non-central t in it."""
    critical, shift = stats.t.ppf(0.975, n - 1), gap * n**0.5 / sd
    chi = stats.chi(n - 1, scale=(n - 1) ** -0.5)

    def density(s: float) -> float:
        return chi.pdf(s) * (stats.norm.sf(critical * s - shift) + stats.norm.cdf(-critical * s - shift))

    value, _ = integrate.quad(density, 0, chi.ppf(1 - 1e-12), epsabs=1e-10, limit=500)
    return value


@pytest.mark.parametrize("n", [2, 3, 5, 10, 34, 200])
@pytest.mark.parametrize("sd", [1.0, 0.013])
def test_at_the_smallest_gap_the_power_is_80_percent(n: int, sd: float) -> None:
    assert _power(smallest_gap(sd, n), sd, n) == pytest.approx(0.8, abs=1e-6)


def test_the_number_of_pairs_of_the_textbooks() -> None:
    # Half a standard deviation takes 34 pairs.
    assert smallest_gap(1.0, 34) < 0.5 < smallest_gap(1.0, 33)


def test_three_seeds_by_simulation() -> None:
    gap = smallest_gap(0.01, 3)
    draws = np.random.default_rng(0).normal(gap, 0.01, (20_000, 3))
    found = np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05)
    # Three standard errors of a share of 0.8 among 20,000 are 0.0085.
    assert found == pytest.approx(0.8, abs=0.0085)


def test_without_spread_every_gap_is_resolved() -> None:
    assert smallest_gap(0.0, 3) == 0


@pytest.mark.parametrize(
    ("sd", "n", "message"),
    [
        (0.1, 1, "two at least"),
        (-0.1, 3, "standard deviation"),
        (float("nan"), 3, "diverged"),
        (float("inf"), 3, "sd"),
    ],
)
def test_smallest_gap_errors(sd: float, n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        smallest_gap(sd, n)


@pytest.mark.parametrize("shift", [-0.02, 0.0, 0.005, 0.03])
def test_equivalence_against_two_tests_of_scipy(shift: float) -> None:
    x = np.random.default_rng(0).normal(shift, 0.01, 6)
    result = equivalence(x, 0.015)
    above = stats.ttest_1samp(x, -0.015, alternative="greater").pvalue
    below = stats.ttest_1samp(x, 0.015, alternative="less").pvalue
    assert result.p == pytest.approx(max(above, below), rel=1e-9)
    interval = stats.ttest_1samp(x, 0).confidence_interval(0.9)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert result.equivalent == (interval.low > -0.015 and interval.high < 0.015)
    assert (result.mean, result.n) == (pytest.approx(x.mean()), 6)


def test_both_outcomes_happen() -> None:
    x = np.array([0.01, -0.01, 0.0, 0.005, -0.005])
    assert equivalence(x, 0.02).equivalent
    assert not equivalence(x, 0.005).equivalent
    assert not equivalence(x + 1, 0.02).equivalent


def test_at_the_margin_five_percent_are_called_equivalent() -> None:
    draws = np.random.default_rng(0).normal(1.0, 0.2, (4000, 5))
    called = np.mean([equivalence(row, 1.0).equivalent for row in draws])
    # Three standard errors of a share of 0.05 among 4000 are 0.0103.
    assert called == pytest.approx(0.05, abs=0.0103)


@pytest.mark.parametrize(("value", "p"), [(0.0, 0.0), (0.5, 0.0), (1.0, 1.0), (-2.0, 1.0)])
def test_equal_differences(value: float, p: float) -> None:
    result = equivalence(np.full(5, value), 1.0)
    assert (result.p, result.low, result.high) == (p, value, value)


def test_equivalence_errors() -> None:
    with pytest.raises(ValueError, match="over 4 seeds"):
        equivalence(np.zeros(4), 1.0)
    with pytest.raises(ValueError, match="diverged"):
        equivalence(np.array([0, 0, 0, 0, np.nan]), 1.0)
    for margin in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="margin"):
            equivalence(np.zeros(5), margin)
