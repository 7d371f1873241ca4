"""Per-sample quantities that attacks look at. All are exact where a probability rounds to 0 or 1.

log(1 − p_i) is taken from the other classes' log-probabilities, not from p_i, so that a model that is sure to the last
digit still has a finite loss, modified entropy and φ.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from orthograd.metrics.checks import Array
from orthograd.metrics.outputs import Outputs


def loss(outputs: Outputs) -> Array:
    """Cross-entropy −log p_y, (n,), in nats, in [0, ∞). Members tend to have less."""
    return -_of_label(outputs.log_probabilities, outputs)


def confidence(outputs: Outputs) -> Array:
    """Probability of the true class p_y, (n,), in [0, 1]. Members tend to have more."""
    result: Array = np.exp(_of_label(outputs.log_probabilities, outputs))
    return result


def entropy(outputs: Outputs) -> Array:
    """−Σ p_i log p_i, (n,), in nats, in [0, log classes]. Members tend to have less. Blind to the label."""
    result: Array = -(np.exp(outputs.log_probabilities) * outputs.log_probabilities).sum(axis=1)
    return result


def modified_entropy(outputs: Outputs) -> Array:
    """−(1 − p_y) log p_y − Σ_{i≠y} p_i log(1 − p_i), (n,), in nats, in [0, ∞) (Song & Mittal 2021, Eq. 8).

    Members tend to have less: it is 0 where the model is sure of the true class, and grows without bound where it is
    sure of a wrong one.
    """
    log_p = outputs.log_probabilities
    log_rest = _log_of_the_rest(log_p)
    terms = -np.exp(log_p) * log_rest
    rows = np.arange(len(outputs))
    terms[rows, outputs.labels] = -np.exp(log_rest[rows, outputs.labels]) * log_p[rows, outputs.labels]
    result: Array = terms.sum(axis=1)
    return result


def phi(outputs: Outputs) -> Array:
    """φ = z_y − logsumexp_{i≠y} z_i = log(p_y / (1 − p_y)), (n,) (arXiv:2403.01218). Members tend to have more."""
    log_p = outputs.log_probabilities
    return _of_label(log_p, outputs) - _of_label(_log_of_the_rest(log_p), outputs)


def _of_label(values: Array, outputs: Outputs) -> Array:
    result: Array = values[np.arange(len(outputs)), outputs.labels]
    return result


def _log_of_the_rest(log_p: Array) -> Array:
    """log(1 − p_i) for each class, (n, classes), without cancellation.

    Only the largest p_i can be near 1: for it the others are added up; for the rest 1 − p_i ≥ ½ is computed as it is.
    """
    rows, top = np.arange(len(log_p)), log_p.argmax(axis=1)
    others = log_p.copy()
    others[rows, top] = -np.inf
    p = np.exp(log_p)
    p[rows, top] = 0
    result: Array = np.log1p(-p)
    result[rows, top] = logsumexp(others, axis=1)
    return result
