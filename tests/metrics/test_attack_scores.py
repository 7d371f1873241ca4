"""What attacks look at, against the definitions in 250 decimal digits."""

from decimal import Decimal, localcontext

import numpy as np
import pytest

from orthograd.metrics.attacks.scores import confidence, entropy, loss, modified_entropy, phi
from orthograd.metrics.outputs import Outputs

SCORES = {
    "loss": loss,
    "confidence": confidence,
    "entropy": entropy,
    "modified_entropy": modified_entropy,
    "phi": phi,
}


def _definitions(logits: np.ndarray, label: int) -> dict[str, float]:
    """Each score of one sample as it is written on paper."""
    with localcontext() as context:
        context.prec = 250  # digits: p down to e^−340 is known to 100 of them
        exponentials = [Decimal(float(z)).exp() for z in logits]
        p = [e / sum(exponentials) for e in exponentials]
        others = [i for i in range(len(p)) if i != label]
        values = {
            "loss": -p[label].ln(),
            "confidence": p[label],
            "entropy": -sum(q * q.ln() for q in p),
            "modified_entropy": -(1 - p[label]) * p[label].ln() - sum(p[i] * (1 - p[i]).ln() for i in others),
            "phi": Decimal(float(logits[label])) - sum(exponentials[i] for i in others).ln(),
        }
        return {name: float(value) for name, value in values.items()}


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 10.0, 40.0])
def test_against_the_definition(name: str, scale: float) -> None:
    generator = np.random.default_rng(0)
    logits, labels = scale * generator.normal(size=(6, 4)), generator.integers(0, 4, 6)
    expected = [_definitions(row, label)[name] for row, label in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(SCORES[name](Outputs(logits, labels)), expected, rtol=1e-9)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("label", [0, 1])
def test_where_a_probability_rounds_to_zero_or_one(name: str, label: int) -> None:
    logits = np.array([300.0, 0.0, -40.0])
    value = SCORES[name](Outputs(logits[None], np.array([label])))
    np.testing.assert_allclose(value, [_definitions(logits, label)[name]], rtol=1e-9)


def test_float32_logits_are_computed_in_float64() -> None:
    logits = np.array([[30.0, 0.0, 1.0]], dtype=np.float32)
    labels = np.array([0], dtype=np.int32)
    for name, score in SCORES.items():
        np.testing.assert_allclose(
            score(Outputs(logits, labels)), [_definitions(logits[0], 0)[name]], rtol=1e-9
        )


def test_modified_entropy_by_hand() -> None:
    # p = (½, ¼, ¼), y = 0: ½ log 2 + 2 · ¼ log(4/3); y = 1: ¾ log 4 + ½ log 2 + ¼ log(4/3)
    logits = np.log([[0.5, 0.25, 0.25]] * 2)
    expected = [
        0.5 * np.log(2) + 0.5 * np.log(4 / 3),
        0.75 * np.log(4) + 0.5 * np.log(2) + 0.25 * np.log(4 / 3),
    ]
    np.testing.assert_allclose(modified_entropy(Outputs(logits, np.array([0, 1]))), expected, rtol=1e-12)


def test_modified_entropy_rises_where_the_entropy_does_not() -> None:
    """The point of the modification: sure and wrong is the opposite of sure and right."""
    logits = np.array([[8.0, 0.0], [0.0, 0.0], [-8.0, 0.0]])
    outputs = Outputs(logits, np.zeros(3, dtype=int))
    assert (np.diff(modified_entropy(outputs)) > 0).all()
    assert entropy(outputs)[0] == pytest.approx(entropy(outputs)[2], rel=1e-12)


def test_all_logits_equal() -> None:
    outputs = Outputs(np.full((1, 4), 7.0), np.array([2]))
    assert loss(outputs) == entropy(outputs) == pytest.approx(np.log(4), rel=1e-12)
    assert phi(outputs) == pytest.approx(-np.log(3), rel=1e-12)
    # ¾ log 4 + ¾ log(4/3)
    assert modified_entropy(outputs) == pytest.approx(0.75 * np.log(16 / 3), rel=1e-12)
