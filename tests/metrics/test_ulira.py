"""U-LiRA against a loop over samples, and on models whose truth is known."""

import math

import numpy as np
import pytest
from memorisers import CLASSES, logits, problem

from orthograd.metrics.attacks.scores import phi
from orthograd.metrics.attacks.ulira import (
    Shadows,
    ULiraResult,
    log_likelihood_ratios,
    u_lira,
    u_lira_in_pairs,
)
from orthograd.metrics.controls import planted_fake
from orthograd.metrics.outputs import Outputs


def _shadows(models: int = 8, n: int = 6) -> Shadows:
    generator = np.random.default_rng(0)
    state = np.stack([generator.permutation(models) % 3 for _ in range(n)], axis=1)
    names = [f"shadow {i}" for i in range(models)]
    return Shadows(names, generator.normal(size=(models, n)), state == 0, state == 1)


def test_against_the_densities_of_each_sample() -> None:
    shadows = _shadows()
    judged = np.linspace(-2, 2, 6)
    ratios = log_likelihood_ratios("judged", judged, shadows)
    for i, value in enumerate(judged):
        logs = []
        for mask in (shadows.unlearned, shadows.unseen):
            values = [float(shadows.phi[m, i]) for m in range(8) if mask[m, i]]
            mean = sum(values) / len(values)
            variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
            density = math.exp(-((value - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
            logs.append(math.log(density))
        assert ratios[i] == pytest.approx(logs[0] - logs[1], rel=1e-9)


def test_models_that_kept_a_sample_do_not_count_for_it() -> None:
    shadows = _shadows()
    values = shadows.phi.copy()
    values[~shadows.unlearned & ~shadows.unseen] += 1e3
    changed = Shadows(shadows.names, values, shadows.unlearned, shadows.unseen)
    judged = np.zeros(6)
    assert (log_likelihood_ratios("j", judged, changed) == log_likelihood_ratios("j", judged, shadows)).all()


def test_by_hand() -> None:
    # N(1, 2) against N(−1, 2) (variances of (0, 2) and (−2, 0)) at φ = 3: (−(3−1)² + (3+1)²)/(2·2) = 3
    mask = np.array([[True], [True], [False], [False]])
    shadows = Shadows(["a", "b", "c", "d"], np.array([[0.0], [2.0], [-2.0], [0.0]]), mask, ~mask)
    assert log_likelihood_ratios("e", np.array([3.0]), shadows) == pytest.approx(3, rel=1e-12)


def test_the_judged_model_is_never_among_its_shadows() -> None:
    shadows = _shadows()
    with pytest.raises(ValueError, match="shadow 3 is judged and among its own shadows"):
        log_likelihood_ratios("shadow 3", np.zeros(6), shadows)
    with pytest.raises(ValueError, match="disguised is the shadow shadow 3 under another name"):
        log_likelihood_ratios("disguised", shadows.phi[3], shadows)


def test_shadows_that_are_none() -> None:
    good = _shadows()
    names, values, unlearned, unseen = list(good.names), good.phi, good.unlearned, good.unseen
    with pytest.raises(ValueError, match="different names"):
        Shadows(names[:-1] + names[:1], values, unlearned, unseen)
    with pytest.raises(ValueError, match="different names"):
        Shadows(names[:-1], values, unlearned, unseen)
    with pytest.raises(ValueError, match="same samples"):
        Shadows(names, values, unlearned[:, :-1], unseen)
    with pytest.raises(ValueError, match="booleans"):
        Shadows(names, values, unlearned.astype(int), unseen)
    with pytest.raises(ValueError, match="both"):
        Shadows(names, values, unlearned, unlearned)
    few = unseen.copy()
    few[np.flatnonzero(few[:, 2])[1:], 2] = False
    with pytest.raises(ValueError, match="sample 2 has 1 shadow models of the kind 'unseen'"):
        Shadows(names, values, unlearned, few)
    with pytest.raises(ValueError, match="diverged"):
        Shadows(names, np.full_like(values, np.nan), unlearned, unseen)


def test_copies_of_one_model_are_no_shadows() -> None:
    good = _shadows()
    copies = good.phi.copy()
    copies[good.unseen[:, 4], 4] = 0.1  # whose mean of three is not 0.1 in binary
    with pytest.raises(ValueError, match="sample 4: they are copies"):
        log_likelihood_ratios("j", np.zeros(6), Shadows(good.names, copies, good.unlearned, good.unseen))


def test_the_rates_need_their_non_members() -> None:
    generator = np.random.default_rng(0)
    result = u_lira(generator.normal(size=1050), np.arange(1050) < 50)
    assert (result.members, result.non_members) == (50, 1000)
    assert result.tpr[0.01] is not None
    assert result.tpr[0.001] is None


def test_errors_of_the_judgement() -> None:
    with pytest.raises(ValueError, match="booleans"):
        u_lira(np.zeros(4), np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="shape"):
        u_lira(np.zeros(4), np.array([True, False]))
    with pytest.raises(ValueError, match="at least one sample"):
        u_lira(np.zeros(4), np.zeros(4, dtype=bool))


def _attack(unlearner: str) -> ULiraResult:
    """U-LiRA on the first of 33 memorising models, each with its own training and forget set, unlearned in one way."""
    generator = np.random.default_rng(0)
    x, labels = problem(240, generator)
    phis, forgotten, never = [], [], []
    for _ in range(33):
        trained = generator.random(240) < 0.75
        forget = trained & (generator.random(240) < 0.4)
        values = logits(x, labels, trained & ~forget if unlearner == "retraining" else trained)
        if unlearner == "fake":
            values[forget] = planted_fake(values[forget])
        phis.append(phi(Outputs(values, labels)))
        forgotten.append(forget)
        never.append(~trained)
    values, forget, unseen = (np.stack(rows) for rows in (phis, forgotten, never))
    shadows = Shadows([str(i) for i in range(1, 33)], values[1:], forget[1:], unseen[1:])
    judged = forget[0] | unseen[0]
    ratios = log_likelihood_ratios("0", values[0], shadows)
    return u_lira(ratios[judged], forget[0][judged])


@pytest.mark.parametrize("unlearner", ["nothing", "fake"])
def test_a_model_that_only_pretends_to_unlearn_is_caught(unlearner: str) -> None:
    assert _attack(unlearner).auc.low > 0.5


def test_retrained_models_are_at_chance() -> None:
    result = _attack("retraining")
    assert result.auc.low <= 0.5 <= result.auc.high
    assert min(result.members, result.non_members) > 40
    assert CLASSES > 2  # or the fake would only turn φ around


def _pairs(pairs: int, n: int, generator: np.random.Generator) -> np.ndarray:
    halves = np.stack([generator.permutation(n) < n // 2 for _ in range(pairs)])
    return np.stack([halves, ~halves], axis=1).reshape(2 * pairs, n)


def test_each_model_of_a_pair_is_judged_by_the_other_pairs() -> None:
    generator = np.random.default_rng(0)
    unlearned = _pairs(4, 30, generator)
    values = generator.normal(size=(8, 30)) + unlearned
    results = u_lira_in_pairs(values, unlearned)
    assert len(results) == 8
    for judged in (2, 3):
        others = [0, 1, 4, 5, 6, 7]
        shadows = Shadows([f"s{i}" for i in others], values[others], unlearned[others], ~unlearned[others])
        expected = u_lira(log_likelihood_ratios("judged", values[judged], shadows), unlearned[judged])
        assert results[judged] == expected
    assert np.mean([result.auc.value for result in results]) > 0.5


def test_models_that_remember_nothing_are_at_chance_however_few_the_pairs() -> None:
    # With the judged model's pair among the shadows its own side would be one short, and the AUC below chance.
    generator = np.random.default_rng(0)
    unlearned = _pairs(3, 2000, generator)
    aucs = [
        result.auc.value
        for _ in range(5)
        for result in u_lira_in_pairs(generator.normal(size=(6, 2000)), unlearned)
    ]
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.01)  # 30 AUCs with a deviation of 0.013 each


def test_pairs_that_are_none() -> None:
    generator = np.random.default_rng(0)
    unlearned = _pairs(3, 10, generator)
    values = generator.normal(size=(6, 10))
    with pytest.raises(ValueError, match="4 shadow models: three pairs at least"):
        u_lira_in_pairs(values[:4], unlearned[:4])
    with pytest.raises(ValueError, match="5 shadow models"):
        u_lira_in_pairs(values[:5], unlearned[:5])
    with pytest.raises(ValueError, match="one model unlearned what the other never saw"):
        u_lira_in_pairs(values, unlearned[[0, 2, 1, 3, 4, 5]])
