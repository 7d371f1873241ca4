"""Threshold attacks against a search through all thresholds, and at known truths."""

import numpy as np
import pytest

from orthograd.metrics.attacks.scores import confidence, entropy, modified_entropy
from orthograd.metrics.attacks.threshold import threshold_attack
from orthograd.metrics.outputs import Outputs

SCORES = {"confidence": confidence, "entropy": entropy, "modified_entropy": modified_entropy}


def _outputs(n: int, gain: float, seed: int, decimals: int = 6) -> Outputs:
    """Random logits in which the true class has `gain` more; few decimals make ties."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    logits = generator.normal(size=(n, 3)) + gain * np.eye(3)[labels]
    return Outputs(logits.round(decimals), labels)


@pytest.mark.parametrize("decimals", [0, 6])
@pytest.mark.parametrize("score", SCORES)
def test_against_all_thresholds(score, decimals: int) -> None:
    sides = [_outputs(30, gain, seed, decimals) for seed, gain in enumerate((2.0, 0.0, 1.5, 0.0))]
    result = threshold_attack(score, *sides, np.random.default_rng(0))
    values = [SCORES[score](side) for side in sides]
    sign = 1 if score == "confidence" else -1

    def member(value: float, threshold: float) -> bool:
        return value >= threshold if sign == 1 else value <= threshold

    right = 0
    for c in range(3):
        inside, outside, forget, unseen = (v[side.labels == c] for v, side in zip(values, sides, strict=True))

        def rate(threshold: float, inside: np.ndarray = inside, outside: np.ndarray = outside) -> float:
            return np.mean([member(v, threshold) for v in inside]) + np.mean(
                [not member(v, threshold) for v in outside]
            )

        # Strictest first: max keeps the first of equals.
        candidates = sorted([*inside, *outside], reverse=sign == 1)
        best = max(candidates, key=lambda t: round(rate(t), 9))
        assert result.thresholds[c] == pytest.approx(best, rel=1e-12)
        right += sum(member(v, best) for v in forget) + sum(not member(v, best) for v in unseen)
    assert result.accuracy.value == pytest.approx(right / 60, rel=1e-12)
    mean = (result.members_called_members + 1 - result.non_members_called_members) / 2
    assert mean == pytest.approx(right / 60, rel=1e-12)
    assert (result.members, result.non_members) == (30, 30)


def test_thresholds_are_of_the_class() -> None:
    """Members of class 0 have p_y = 0.9 and others 0.6; in class 1 it is 0.4 and 0.1: no single threshold can do it."""

    def outputs(*confidences: float) -> Outputs:
        p = np.array([[q, 1 - q] for q in confidences])
        p[1::2] = p[1::2, ::-1]
        return Outputs(np.log(p), np.array([0, 1] * (len(p) // 2)))

    members, others = outputs(0.9, 0.4, 0.9, 0.4), outputs(0.6, 0.1, 0.6, 0.1)
    result = threshold_attack("confidence", members, others, members, others, np.random.default_rng(0))
    assert result.accuracy.value == 1
    assert result.thresholds == pytest.approx({0: 0.9, 1: 0.4}, rel=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_chance_where_members_are_like_others(score) -> None:
    sides = [_outputs(3000, 0.5, seed) for seed in range(4)]
    estimate = threshold_attack(score, *sides, np.random.default_rng(0)).accuracy
    assert estimate.low <= 0.5 <= estimate.high


def test_over_unlearned_samples_are_below_chance() -> None:
    sides = [_outputs(300, gain, seed) for seed, gain in enumerate((3.0, 1.0, -3.0, 1.0))]
    assert threshold_attack("confidence", *sides, np.random.default_rng(0)).accuracy.high < 0.5


def test_the_larger_side_is_subsampled() -> None:
    sides = [_outputs(n, 1.0, seed) for seed, n in enumerate((30, 60, 9, 300))]
    first, again = (threshold_attack("entropy", *sides, np.random.default_rng(5)) for _ in range(2))
    assert first == again
    assert (first.members, first.non_members) == (9, 9)


def test_a_class_without_fitted_samples_is_an_error() -> None:
    everything = _outputs(30, 1.0, 0)
    without = everything.take(np.flatnonzero(everything.labels != 2))
    with pytest.raises(ValueError, match=r"class 2 has 0 members and 10 non-members .*`halves`"):
        threshold_attack("confidence", without, everything, everything, everything, np.random.default_rng(0))
