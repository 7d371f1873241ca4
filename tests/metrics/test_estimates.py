"""Shares, AUC and TPR at an FPR against brute force, scikit-learn and scipy's exact tests."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from orthograd.metrics.attacks.estimates import auc, share, tpr_at_fpr


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (500, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_share_against_the_exact_interval_of_scipy(k: int, n: int, level: float) -> None:
    estimate = share(k, n, level)
    oracle = stats.binomtest(k, n).proportion_ci(level, method="exact")
    assert (estimate.value, estimate.level) == (k / n, level)
    assert (estimate.low, estimate.high) == pytest.approx((oracle.low, oracle.high), rel=1e-9, abs=1e-12)


def test_share_inverts_the_binomial_test() -> None:
    # At the bounds the tail that starts at the observation has probability 2.5%, by the definition of the interval.
    estimate = share(7, 20)
    assert stats.binom.sf(6, 20, estimate.low) == pytest.approx(0.025, rel=1e-9)
    assert stats.binom.cdf(7, 20, estimate.high) == pytest.approx(0.025, rel=1e-9)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_share_of_nothing(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        share(k, n)


def _pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x])


@settings(deadline=None)
@given(
    arrays(np.int64, st.integers(2, 12), elements=st.integers(0, 6)),
    arrays(np.int64, st.integers(2, 12), elements=st.integers(0, 6)),
)
def test_auc_against_all_pairs(x: np.ndarray, y: np.ndarray) -> None:
    # Few different values: most draws have ties.
    estimate, wins = auc(x, y), _pairs(x, y)
    assert estimate.value == pytest.approx(wins.mean(), rel=1e-12, abs=1e-15)
    member = np.repeat([1, 0], [len(x), len(y)])
    assert estimate.value == pytest.approx(roc_auc_score(member, np.concatenate([x, y])), rel=1e-9, abs=1e-12)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    if 0 < estimate.value < 1:
        variance = wins.mean(axis=1).var(ddof=1) / len(x) + wins.mean(axis=0).var(ddof=1) / len(y)
        assert estimate.low == pytest.approx(
            max(0, wins.mean() - 1.959963984540054 * variance**0.5), abs=1e-9
        )


def test_the_interval_of_the_auc_is_that_of_a_bootstrap() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(0.5, 1, 200), generator.normal(0, 1, 150)
    values = [auc(generator.choice(x, 200), generator.choice(y, 150)).value for _ in range(2000)]
    low, high = np.quantile(values, [0.025, 0.975])
    estimate = auc(x, y)
    # 2000 draws know a quantile to about 0.003; the interval is 0.12 wide.
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.012)


def test_the_interval_of_the_auc_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    truth = stats.norm.cdf(0.8 / 2**0.5)
    estimates = [auc(generator.normal(0.8, 1, 60), generator.normal(0, 1, 60)) for _ in range(1000)]
    covered = np.mean([e.low <= truth <= e.high for e in estimates])
    # Three standard errors of a share of 0.95 among 1000 are 0.021.
    assert covered == pytest.approx(0.95, abs=0.021)


def test_a_perfect_separation_is_as_sure_as_its_number_of_independent_pairs() -> None:
    estimate = auc(np.array([3.0, 4.0, 5.0]), np.array([0.0, 1.0]))
    # Both of two pairs ordered: p² = 0.025 at the lower bound.
    assert (estimate.value, estimate.high) == (1, 1)
    assert estimate.low == pytest.approx(0.025**0.5, rel=1e-9)
    opposite = auc(np.array([0.0, 1.0]), np.array([3.0, 4.0, 5.0]))
    assert (opposite.value, opposite.low) == (0, 0)
    assert opposite.high == pytest.approx(1 - estimate.low, rel=1e-9)


def test_equal_scores_are_chance() -> None:
    estimate = auc(np.ones(5), np.ones(9))
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.5, 0.5)


def test_auc_errors() -> None:
    two = np.array([0.0, 1.0])
    with pytest.raises(ValueError, match="at least one sample"):
        auc(two, np.empty(0))
    with pytest.raises(ValueError, match="two of each"):
        auc(two[:1], two)
    with pytest.raises(ValueError, match="members' scores holds NaN"):
        auc(np.array([0.0, np.nan]), two)


@pytest.mark.parametrize("distinct", [5, 100_000])
@pytest.mark.parametrize("fpr", [0.01, 0.02, 0.1])
def test_tpr_is_the_highest_of_the_roc_curve_at_that_fpr(distinct: int, fpr: float) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.integers(1, distinct, 300), generator.integers(0, distinct, 1000)
    false, true, _ = roc_curve(
        np.repeat([1, 0], [300, 1000]), np.concatenate([x, y]), drop_intermediate=False
    )
    estimate = tpr_at_fpr(x, y, fpr)
    assert estimate is not None
    assert estimate.value == pytest.approx(true[false <= fpr + 1e-12].max(), rel=1e-12, abs=1e-15)
    oracle = stats.binomtest(round(300 * estimate.value), 300).proportion_ci(0.95, method="exact")
    assert (estimate.low, estimate.high) == pytest.approx((oracle.low, oracle.high), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("fpr", "needed"), [(0.1, 100), (0.01, 1000), (0.001, 10_000)])
def test_tpr_needs_ten_non_members_above_the_threshold(fpr: float, needed: int) -> None:
    x = np.array([0.5, 2.0, 3.0])
    y = np.linspace(0, 1, needed)
    assert tpr_at_fpr(x, y[1:], fpr) is None
    estimate = tpr_at_fpr(x, y, fpr)
    assert estimate is not None
    assert estimate.value == pytest.approx(2 / 3)  # the threshold is near 1


def test_tpr_by_hand() -> None:
    # 1% of 1000 scores 0 … 999 are the ten from 990: members above 989 are counted.
    estimate = tpr_at_fpr(np.array([989.0, 989.5, 990.0, 2000.0]), np.arange(1000.0), 0.01)
    assert estimate is not None
    assert estimate.value == 0.75


@pytest.mark.parametrize("fpr", [0.0, -0.1, 0.6, 1.0, float("nan")])
def test_tpr_at_a_rate_that_is_none(fpr: float) -> None:
    with pytest.raises(ValueError, match="fpr"):
        tpr_at_fpr(np.zeros(3), np.zeros(1000), fpr)
