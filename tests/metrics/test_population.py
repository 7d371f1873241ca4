"""The population attack against a regression fitted by another optimizer, and at known truths."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.model_selection import StratifiedKFold

from orthograd.metrics.attacks.population import FOLDS, population_attack


def _held_out_scores(losses: np.ndarray, member: np.ndarray, folds: StratifiedKFold) -> np.ndarray:
    """Of a logistic regression with ½w² as its penalty, minimised by BFGS."""
    scores = np.empty(len(losses))
    for fit, held_out in folds.split(losses, member):
        mean, sd = losses[fit].mean(), losses[fit].std()
        x, sign = (losses[fit] - mean) / sd, 2 * member[fit] - 1

        def objective(w: np.ndarray, x: np.ndarray = x, sign: np.ndarray = sign) -> float:
            return 0.5 * w[0] ** 2 + np.logaddexp(0, -sign * (w[0] * x + w[1])).sum()

        w = minimize(objective, np.zeros(2), method="BFGS", options={"gtol": 1e-6}).x
        scores[held_out] = w[0] * (losses[held_out] - mean) / sd + w[1]
    return scores


def test_against_another_optimizer() -> None:
    generator = np.random.default_rng(0)
    forget, unseen = generator.gamma(1.0, 0.5, 40), generator.gamma(1.5, 0.6, 40)
    result = population_attack(forget, unseen, np.random.default_rng(7))
    # The draws of the attack: with equal sides nothing is left out, and then the folds.
    draws = np.random.default_rng(7)
    draws.permutation(40), draws.permutation(40)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=int(draws.integers(2**31)))
    member = np.repeat([1, 0], 40)
    scores = _held_out_scores(np.concatenate([forget, unseen]), member, folds)
    assert result.auc.value == pytest.approx((scores[:40, None] > scores[40:]).mean(), abs=2 / 1600)
    assert result.accuracy == pytest.approx(((scores > 0) == member).mean(), rel=1e-12)


@pytest.mark.parametrize("shift", [-5.0, 5.0])
def test_losses_far_apart_are_caught_in_both_directions(shift: float) -> None:
    generator = np.random.default_rng(0)
    result = population_attack(
        10 + shift + generator.random(30), 10 + generator.random(50), np.random.default_rng(0)
    )
    assert result.auc.value == result.accuracy == 1
    # Over-unlearned shows as such: the forgotten samples' losses are never the lower ones.
    assert result.low_loss_auc.value == (1 if shift < 0 else 0)
    assert (result.members, result.non_members) == (30, 30)


def test_chance_is_within_the_interval_as_often_as_it_should() -> None:
    generator = np.random.default_rng(0)
    results = [
        population_attack(generator.lognormal(-2, 2, 60), generator.lognormal(-2, 2, 60), generator)
        for _ in range(40)
    ]
    for name in ("auc", "low_loss_auc"):
        inside = sum(getattr(r, name).low <= 0.5 <= getattr(r, name).high for r in results)
        # 38 expected; 33 or fewer has a probability of 0.3% under a coverage of 95%.
        assert inside > 33


def test_constant_losses_are_chance() -> None:
    result = population_attack(np.zeros(10), np.zeros(10), np.random.default_rng(0))
    assert result.low_loss_auc.value == result.auc.value == result.accuracy == 0.5


def test_the_generator_decides() -> None:
    forget, unseen = np.random.default_rng(0).random((2, 40))
    first, again = (population_attack(forget[:20], unseen, np.random.default_rng(3)) for _ in range(2))
    assert first == again
    assert first != population_attack(forget[:20], unseen, np.random.default_rng(4))


def test_errors() -> None:
    with pytest.raises(ValueError, match="4 forgotten and 9 unseen"):
        population_attack(np.zeros(4), np.zeros(9), np.random.default_rng(0))
    with pytest.raises(ValueError, match="unseen_losses holds NaN"):
        population_attack(np.zeros(9), np.full(9, np.nan), np.random.default_rng(0))
