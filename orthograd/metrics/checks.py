"""What the metrics ask of their inputs, checked once at the border; arrays come out in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


def fraction(name: str, value: float) -> float:
    """The value, which has to be in [0, 1].

    Raises:
        ValueError: it is outside, or NaN.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name} = {value} is not a fraction in [0, 1]: divide percent by 100")
    return value


def finite_vector(name: str, values: NDArray[Any]) -> Array:
    """Values (n,), n ≥ 1, all finite.

    Raises:
        ValueError: wrong shape, no value, or one that is NaN or infinite.
    """
    return _finite(name, values, 1)


def finite_matrix(name: str, values: NDArray[Any]) -> Array:
    """Values (n, d), n and d ≥ 1, all finite.

    Raises:
        ValueError: wrong shape, no value, or one that is NaN or infinite.
    """
    return _finite(name, values, 2)


def class_logits(name: str, logits: NDArray[Any]) -> Array:
    """Logits (n, classes), n ≥ 1, at least two classes, all finite.

    Raises:
        ValueError: as said by the message.
    """
    checked = _finite(name, logits, 2)
    if checked.shape[1] < 2:
        raise ValueError(f"{name} has one class: a metric of classification needs at least two")
    return checked


def class_labels(labels: NDArray[Any], shape: tuple[int, ...]) -> Rows:
    """Labels (n,), integers in [0, classes), for logits of shape (n, classes).

    Raises:
        ValueError: wrong shape or type, or a label without a logit.
    """
    n, classes = shape
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels have shape {labels.shape} and type {labels.dtype}: give one integer for each of the {n} samples"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels from {labels.min()} to {labels.max()} for {classes} logits: count the classes from 0"
        )
    return labels.astype(np.intp)


def same_shape(first: str, a: NDArray[Any], second: str, b: NDArray[Any]) -> None:
    """Both arrays have to be of one shape.

    Raises:
        ValueError: they are not.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"{first} has shape {a.shape}, {second} {b.shape}: evaluate both models on the same samples"
        )


def _finite(name: str, values: NDArray[Any], dimensions: int) -> Array:
    checked = np.asarray(values, dtype=np.float64)
    if checked.ndim != dimensions or checked.size == 0:
        raise ValueError(
            f"{name} has shape {checked.shape}: give {dimensions} dimension(s) and at least one sample"
        )
    if not np.isfinite(checked).all():
        raise ValueError(
            f"{name} holds NaN or infinite values: the model diverged; leave its run out, or lower its learning rate"
        )
    return checked
