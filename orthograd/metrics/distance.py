"""How far a model is from another, in its weights and in its activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orthograd.metrics.checks import finite_matrix, same_shape
from orthograd.metrics.outputs import log_probabilities


@dataclass(frozen=True)
class WeightDistance:
    """How far weights θ are from reference weights θ'.

    Attributes:
        l2: ‖θ − θ'‖₂ over all weights together, in [0, ∞).
        relative: l2 / ‖θ'‖₂, in [0, ∞).
    """

    l2: float
    relative: float


def weight_distance(
    weights: Mapping[str, NDArray[Any]], reference: Mapping[str, NDArray[Any]]
) -> WeightDistance:
    """The L2 distance of weights, 0 ideal; read it beside others: permuted units are far apart, and the same function.

    Args:
        weights: the parameters by name, any float; leave buffers out.
        reference: the other model's, with the same names and shapes. Its norm is the unit of `relative`.

    Raises:
        ValueError: names or shapes differ, there is no weight, one is not finite, or the reference is zero.
    """
    if weights.keys() != reference.keys() or not weights:
        raise ValueError(
            f"weights of two models of one architecture are needed; in one only: "
            f"{sorted(weights.keys() ^ reference.keys())}"
        )
    squared = norm = 0.0
    for name, values in weights.items():
        same_shape(name, values, f"the reference's {name}", reference[name])
        theirs = reference[name].astype(np.float64)
        squared += float(((values.astype(np.float64) - theirs) ** 2).sum())
        norm += float((theirs**2).sum())
    if not np.isfinite([squared, norm]).all():
        raise ValueError("a weight is NaN or infinite: the model diverged; leave its run out")
    if norm == 0:
        raise ValueError(
            "the reference's weights are all zero: a relative distance needs a trained reference"
        )
    return WeightDistance(l2=squared**0.5, relative=(squared / norm) ** 0.5)


def activation_distance(logits: NDArray[Any], reference: NDArray[Any]) -> float:
    """Mean over samples of ‖softmax(z) − softmax(z')‖₂, in [0, √2]; 0 is ideal.

    Args:
        logits: z, (n, classes), of the judged model.
        reference: z', (n, classes), of the retrained one on the same samples.

    Raises:
        ValueError: no samples, shapes that differ, or logits that are not finite.
    """
    return feature_distance(np.exp(log_probabilities(logits)), np.exp(log_probabilities(reference)))


def feature_distance(features: NDArray[Any], reference: NDArray[Any]) -> float:
    """Mean over samples of ‖f − f'‖₂, in [0, ∞), in the features' unit; 0 is ideal. For features or raw logits.

    Features of models with different initial weights have no common axes: compare with the original model then.

    Args:
        features: f, (n, d).
        reference: f', (n, d), on the same samples.

    Raises:
        ValueError: no samples, shapes that differ, or values that are not finite.
    """
    ours, theirs = finite_matrix("features", features), finite_matrix("reference", reference)
    same_shape("features", ours, "reference", theirs)
    return float(np.linalg.norm(ours - theirs, axis=1).mean())
