"""The planted fake, the verdict on an attack, and attacks on models whose truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from memorisers import logits, problem

from orthograd.metrics.attacks.estimates import Estimate
from orthograd.metrics.attacks.population import population_attack
from orthograd.metrics.attacks.sampling import halves
from orthograd.metrics.attacks.scores import loss
from orthograd.metrics.attacks.threshold import threshold_attack
from orthograd.metrics.controls import control, planted_fake, retrained_level
from orthograd.metrics.outputs import Outputs

CAUGHT = Estimate(0.9, 0.8, 1.0, 0.95)
CHANCE = Estimate(0.5, 0.4, 0.6, 0.95)


def test_the_fake_by_hand() -> None:
    original = np.array([[3.0, 1.0, 2.0], [5.0, 5.0, 1.0], [-4.0, -1.0, -2.0]])
    expected = [[2.0, 1.0, 3.0], [1.0, 5.0, 5.0], [-4.0, -2.0, -1.0]]
    np.testing.assert_array_equal(planted_fake(original), expected)
    assert original[0, 0] == 3.0  # the original's stay


@settings(deadline=None)
@given(arrays(np.float64, (5, 4), elements=st.integers(-2, 2)))
def test_the_fake_has_another_arg_max_and_the_same_numbers(original: np.ndarray) -> None:
    original[:, 0] += 0.5  # no row of equal logits
    fake = planted_fake(original)
    assert (fake.argmax(axis=1) != original.argmax(axis=1)).all()
    np.testing.assert_array_equal(np.sort(fake, axis=1), np.sort(original, axis=1))
    assert ((fake != original).sum(axis=1) == 2).all()


def test_equal_logits_have_no_fake() -> None:
    with pytest.raises(ValueError, match="cannot be changed"):
        planted_fake(np.ones((1, 3)))


def test_an_attack_that_passes() -> None:
    result = control("U-LiRA", CAUGHT, CAUGHT, {"replicate 0": CHANCE}, others=0)
    assert result.passed
    assert (result.attack, result.failures) == ("U-LiRA", ())
    assert result.reason.startswith("catches the original model and the planted fake")


@pytest.mark.parametrize(
    ("original", "fake", "retrained", "reason"),
    [
        (CHANCE, CAUGHT, CHANCE, "misses the original model: 0.500 [0.400, 0.600] does not exclude chance"),
        (
            Estimate(0.7, 0.5, 0.9, 0.95),
            CAUGHT,
            CHANCE,
            "misses the original model: 0.700 [0.500, 0.900] does not exclude chance",
        ),
        (
            CAUGHT,
            Estimate(0.1, 0.0, 0.2, 0.95),
            CHANCE,
            "misses the planted fake: 0.100 [0.000, 0.200] is below chance",
        ),
        (CAUGHT, CAUGHT, CAUGHT, "is off chance on the retrained model r: 0.900 [0.800, 1.000]"),
        (
            CAUGHT,
            CAUGHT,
            Estimate(0.3, 0.2, 0.4, 0.95),
            "is off chance on the retrained model r: 0.300 [0.200, 0.400]",
        ),
    ],
)
def test_an_attack_that_fails_says_why(
    original: Estimate, fake: Estimate, retrained: Estimate, reason: str
) -> None:
    result = control("population", original, fake, {"r": retrained}, others=0)
    assert not result.passed
    assert result.reason == reason


def test_all_failures_are_told() -> None:
    assert len(control("population", CHANCE, CHANCE, {"r": CAUGHT}, others=0).failures) == 3


def test_an_attack_on_sequences_has_no_fake() -> None:
    result = control("loss", CAUGHT, None, {"retrained": CHANCE}, others=0)
    assert result.reason == "catches the original model, and scores chance on the retrained models"
    assert (
        control("loss", CHANCE, None, {"retrained": CHANCE}, others=0)
        .failures[0]
        .startswith("misses the original model")
    )


def test_several_retrained_models_share_the_error() -> None:
    assert retrained_level(1) == 0.95
    assert retrained_level(5) == pytest.approx(0.99, rel=1e-12)
    with pytest.raises(ValueError, match=r"interval on b is at level 0\.95: compute it at 0\.975"):
        control("p", CAUGHT, CAUGHT, {"a": Estimate(0.5, 0.4, 0.6, 0.975), "b": CHANCE}, others=0)
    # The models of the other splits share it as well.
    with pytest.raises(ValueError, match=r"interval on a is at level 0\.95: compute it at 0\.99"):
        control("p", CAUGHT, CAUGHT, {"a": CHANCE}, others=4)
    with pytest.raises(ValueError, match="interval on planted fake"):
        control("p", CAUGHT, Estimate(0.9, 0.8, 1.0, 0.9), {"a": CHANCE}, others=0)
    with pytest.raises(ValueError, match="replicates"):
        control("p", CAUGHT, CAUGHT, {}, others=3)


def _models() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Logits and labels of memorising models, with the masks of the forget set and of unseen samples, by model."""
    generator = np.random.default_rng(0)
    x, labels = problem(480, generator)
    place = generator.permutation(480) % 3
    forget, unseen = place == 0, place == 1
    original = logits(x, labels, ~unseen)
    fake = original.copy()
    fake[forget] = planted_fake(original[forget])
    retrained = logits(x, labels, place == 2)
    return {
        name: (values, labels, forget, unseen)
        for name, values in (("original", original), ("fake", fake), ("retrained", retrained))
    }


def _threshold(
    values: np.ndarray, labels: np.ndarray, forget: np.ndarray, unseen: np.ndarray, score
) -> Estimate:
    """Fitted on retain samples and half of the unseen ones, judged on the forget set and the other half."""
    outputs = Outputs(values, labels)
    generator = np.random.default_rng(0)
    first, second = (np.flatnonzero(unseen)[half] for half in halves(labels[unseen], generator))
    sets = (np.flatnonzero(~forget & ~unseen), first, np.flatnonzero(forget), second)
    return threshold_attack(score, *map(outputs.take, sets), generator).accuracy


def test_controls_tell_good_attacks_from_one_that_a_fake_fools() -> None:
    verdicts = {}
    for attack in ("population", "entropy", "confidence"):
        found = {}
        for model, (values, labels, forget, unseen) in _models().items():
            if attack == "population":
                losses = loss(Outputs(values, labels))
                generator = np.random.default_rng(0)
                found[model] = population_attack(losses[forget], losses[unseen], generator).auc
            else:
                found[model] = _threshold(values, labels, forget, unseen, attack)
        verdicts[attack] = control(
            attack, found["original"], found["fake"], {"retrained": found["retrained"]}, others=0
        )
    assert verdicts["population"].passed, verdicts["population"].reason
    # The entropy does not depend on which class is the top one; the confidence in the true class does.
    assert verdicts["entropy"].passed, verdicts["entropy"].reason
    assert len(verdicts["confidence"].failures) == 1
    assert "misses the planted fake" in verdicts["confidence"].reason
