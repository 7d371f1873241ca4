"""KL and JS against scipy's own, hand cases and their limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial import distance

from orthograd.metrics.divergence import js_divergence, kl_divergence
from orthograd.metrics.outputs import log_probabilities

LOG2 = np.log(2)


def _pair(scale: float, dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    return tuple(log_probabilities(scale * generator.normal(size=(7, 5)).astype(dtype)) for _ in range(2))


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_against_scipy(scale: float) -> None:
    log_p, log_q = _pair(scale)
    p, q = np.exp(log_p), np.exp(log_q)
    assert kl_divergence(log_p, log_q) == pytest.approx(stats.entropy(p, q, axis=1).mean(), rel=1e-9)
    roots = distance.jensenshannon(p, q, axis=1)
    assert js_divergence(log_p, log_q) == pytest.approx((roots**2).mean(), rel=1e-9)


def test_by_hand() -> None:
    # KL((½, ½)‖(¼, ¾)) = ½ log 2 + ½ log(2/3); m = (3/8, 5/8)
    log_p, log_q = np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])
    assert kl_divergence(log_p, log_q) == pytest.approx(0.5 * np.log(4 / 3), rel=1e-12)
    js = 0.25 * (np.log(4 / 3) + np.log(4 / 5)) + 0.5 * (0.25 * np.log(2 / 3) + 0.75 * np.log(6 / 5))
    assert js_divergence(log_p, log_q) == pytest.approx(js, rel=1e-12)


def test_is_the_mean_over_samples_of_each_alone() -> None:
    log_p, log_q = _pair(1.0)
    for divergence in (kl_divergence, js_divergence):
        alone = [divergence(log_p[i : i + 1], log_q[i : i + 1]) for i in range(len(log_p))]
        assert divergence(log_p, log_q) == pytest.approx(np.mean(alone), rel=1e-12)


def test_probabilities_of_exactly_zero() -> None:
    one_hot = np.array([[0.0, -np.inf]])
    even = np.log([[0.5, 0.5]])
    assert kl_divergence(one_hot, even) == pytest.approx(LOG2, rel=1e-12)
    assert kl_divergence(even, one_hot) == np.inf
    assert kl_divergence(one_hot, one_hot) == js_divergence(one_hot, one_hot) == 0
    assert js_divergence(one_hot, one_hot[:, ::-1]) == LOG2
    # m = (¾, ¼): ½ log(4/3) + ½ (½ log(2/3) + ½ log 2)
    hand = 0.5 * np.log(4 / 3) + 0.25 * (np.log(2 / 3) + LOG2)
    assert js_divergence(one_hot, even) == pytest.approx(hand, rel=1e-12)


def test_logits_so_far_apart_that_probabilities_underflow() -> None:
    log_p, log_q = log_probabilities(np.array([[0.0, -800.0]])), log_probabilities(np.array([[-800.0, 0.0]]))
    assert kl_divergence(log_p, log_q) == pytest.approx(800, rel=1e-12)
    assert js_divergence(log_p, log_q) == pytest.approx(LOG2, rel=1e-12)


@settings(deadline=None)
@given(arrays(np.float64, (2, 3, 4), elements=st.floats(-1e3, 1e3)))
def test_bounds_and_symmetry(logits: np.ndarray) -> None:
    log_p, log_q = map(log_probabilities, logits)
    js = js_divergence(log_p, log_q)
    assert 0 <= js <= LOG2
    assert js == pytest.approx(js_divergence(log_q, log_p), rel=1e-9, abs=1e-15)
    assert kl_divergence(log_p, log_q) >= 0
    assert kl_divergence(log_p, log_p) == 0
    assert js_divergence(log_p, log_p) == pytest.approx(0, abs=1e-15)  # m is rounded


def test_float32_log_probabilities_are_taken() -> None:
    log_p, log_q = _pair(3.0)
    single = kl_divergence(log_p.astype(np.float32), log_q.astype(np.float32))
    assert single == pytest.approx(kl_divergence(log_p, log_q), rel=1e-5)


def test_errors() -> None:
    good = np.log([[0.5, 0.5]])
    for divergence in (kl_divergence, js_divergence):
        with pytest.raises(ValueError, match="same samples"):
            divergence(good, np.log([[0.5, 0.5], [0.5, 0.5]]))
        with pytest.raises(ValueError, match="at least one sample"):
            divergence(np.empty((0, 2)), np.empty((0, 2)))
        with pytest.raises(ValueError, match="log_q holds NaN"):
            divergence(good, np.array([[np.nan, 0.0]]))
        with pytest.raises(ValueError, match="log_p are not log-probabilities"):
            divergence(np.array([[2.0, 1.0]]), good)
