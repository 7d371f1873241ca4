"""Weight and activation distances against numpy on the flat vectors and hand cases."""

import numpy as np
import pytest

from orthograd.metrics.distance import activation_distance, feature_distance, weight_distance


def test_weight_distance_is_that_of_the_flat_vectors() -> None:
    generator = np.random.default_rng(0)
    shapes = {"a": (3, 4), "b": (4,), "c": ()}
    ours, theirs = ({name: generator.normal(size=s) for name, s in shapes.items()} for _ in range(2))
    flat, reference = (np.concatenate([np.ravel(w[name]) for name in shapes]) for w in (ours, theirs))
    distance = weight_distance(ours, theirs)
    assert distance.l2 == pytest.approx(np.linalg.norm(flat - reference), rel=1e-12)
    assert distance.relative == pytest.approx(distance.l2 / np.linalg.norm(reference), rel=1e-12)


def test_weight_distance_by_hand() -> None:
    distance = weight_distance({"w": np.array([3.0, 4.0])}, {"w": np.array([0.0, 2.0])})
    assert distance.l2 == pytest.approx(13**0.5, rel=1e-12)
    assert distance.relative == pytest.approx(13**0.5 / 2, rel=1e-12)


def test_float32_weights_do_not_overflow() -> None:
    ours = {"w": np.array([3e30], dtype=np.float32)}
    distance = weight_distance(ours, {"w": np.array([1e30], dtype=np.float32)})
    assert distance.relative == pytest.approx(2, rel=1e-6)


def test_weight_distance_errors() -> None:
    one = {"w": np.ones(2)}
    with pytest.raises(ValueError, match=r"\['v', 'w'\]"):
        weight_distance(one, {"v": np.ones(2)})
    with pytest.raises(ValueError, match="one architecture"):
        weight_distance({}, {})
    with pytest.raises(ValueError, match="shape"):
        weight_distance(one, {"w": np.ones(3)})
    with pytest.raises(ValueError, match="diverged"):
        weight_distance({"w": np.array([np.nan, 1.0])}, one)
    with pytest.raises(ValueError, match="trained reference"):
        weight_distance(one, {"w": np.zeros(2)})


def test_activation_distance_by_hand_and_at_its_bounds() -> None:
    # softmax (½, ½) against (¾, ¼): ‖(¼, ¼)‖ = √2/4; the second sample is equal.
    ours = np.array([[0.0, 0.0], [5.0, 1.0]])
    theirs = np.array([[np.log(3), 0.0], [6.0, 2.0]])
    assert activation_distance(ours, theirs) == pytest.approx(2**0.5 / 8, rel=1e-12)
    sure = np.array([[1000.0, 0.0]])
    assert activation_distance(sure, sure[:, ::-1]) == pytest.approx(2**0.5, rel=1e-12)


def test_feature_distance_is_the_mean_norm_over_samples() -> None:
    features = np.array([[3.0, 4.0], [0.0, 1.0]])
    assert feature_distance(features, np.zeros((2, 2))) == pytest.approx(3, rel=1e-12)
    assert feature_distance(features, features) == 0


def test_activation_distance_errors() -> None:
    for distance in (activation_distance, feature_distance):
        with pytest.raises(ValueError, match="same samples"):
            distance(np.zeros((1, 2)), np.zeros((2, 2)))
        with pytest.raises(ValueError, match="at least one sample"):
            distance(np.zeros((0, 2)), np.zeros((0, 2)))
        with pytest.raises(ValueError, match="diverged"):
            distance(np.array([[np.nan, 0.0]]), np.zeros((1, 2)))
