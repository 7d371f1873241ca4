"""Agreement, accuracy by class, and what model outputs are checked for."""

import numpy as np
import pytest
from sklearn.metrics import recall_score

from orthograd.metrics.agreement import agreement
from orthograd.metrics.outputs import Outputs, log_probabilities
from orthograd.metrics.per_class import per_class_accuracy


def test_agreement_by_hand() -> None:
    ours = np.array([[2.0, 1.0], [0.0, 1.0], [5.0, 4.0], [0.0, 3.0]])
    theirs = np.array([[9.0, 1.0], [1.0, 0.0], [0.5, 0.0], [0.0, 0.1]])
    assert agreement(ours, theirs) == agreement(theirs, ours) == 0.75
    assert agreement(ours, ours) == 1
    assert agreement(ours, -ours) == 0


def test_among_equal_logits_the_first_class_is_predicted() -> None:
    assert agreement(np.array([[1.0, 1.0]]), np.array([[1.0, 0.0]])) == 1
    assert per_class_accuracy(Outputs(np.zeros((2, 2)), np.array([0, 1]))) == {0: 1.0, 1: 0.0}


def test_agreement_of_different_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="same samples"):
        agreement(np.zeros((2, 3)), np.zeros((3, 3)))


def test_per_class_accuracy_is_the_recall() -> None:
    generator = np.random.default_rng(3)
    logits, labels = generator.normal(size=(60, 4)), generator.integers(0, 4, 60)
    expected = recall_score(labels, logits.argmax(axis=1), average=None)
    assert per_class_accuracy(Outputs(logits, labels)) == pytest.approx(dict(enumerate(expected)), rel=1e-12)


def test_a_class_without_samples_has_no_accuracy() -> None:
    values = per_class_accuracy(Outputs(np.eye(3)[[2, 0, 1]], np.array([2, 0, 0])))
    assert values == {0: 0.5, 2: 1.0}


def test_log_probabilities_stay_finite() -> None:
    values = log_probabilities(np.array([[1e4, 0.0], [0.0, 0.0]], dtype=np.float32))
    np.testing.assert_allclose(values, [[0.0, -1e4], [-np.log(2), -np.log(2)]], rtol=1e-12)
    assert values.dtype == np.float64


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.empty((0, 3)), np.empty(0, dtype=int), "at least one sample"),
        (np.zeros(3), np.zeros(3, dtype=int), "2 dimension"),
        (np.zeros((3, 1)), np.zeros(3, dtype=int), "one class"),
        (np.array([[np.nan, 0.0]]), np.array([0]), "diverged"),
        (np.array([[np.inf, 0.0]]), np.array([0]), "diverged"),
        (np.zeros((2, 3)), np.array([0]), "one integer for each of the 2"),
        (np.zeros((2, 3)), np.array([0.0, 1.0]), "float64"),
        (np.zeros((2, 3)), np.array([0, 3]), "count the classes from 0"),
        (np.zeros((2, 3)), np.array([-1, 0]), "count the classes from 0"),
    ],
)
def test_outputs_that_are_none(logits: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Outputs(logits, labels)
