"""Kullback–Leibler and Jensen–Shannon divergence of predictions, in nats, averaged over samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from orthograd.metrics.checks import Array, same_shape

# How far the probabilities of a row may add up to something else than 1: float32 over a thousand classes.
SUM_TOLERANCE = 1e-4


def kl_divergence(log_p: NDArray[Any], log_q: NDArray[Any]) -> float:
    """KL(p‖q) = Σ p log(p/q), mean over samples, in [0, ∞]; 0 where p = q, ∞ where q = 0 < p.

    The retrained model is p here, the judged one q: its confidence where a retrained model has none costs little,
    what it has lost costs much.

    Args:
        log_p: natural log-probabilities (n, classes); −∞ is a probability of 0. From logits: `log_probabilities`.
        log_q: the same of the other model on the same samples.

    Raises:
        ValueError: no samples, shapes that differ, NaN, or rows that are not log-probabilities.
    """
    p, q = _checked(log_p, log_q)
    return float(_kl(p, q).mean())


def js_divergence(log_p: NDArray[Any], log_q: NDArray[Any]) -> float:
    """JS = ½ KL(p‖m) + ½ KL(q‖m), m = ½(p + q), mean over samples, in [0, log 2]; 0 where p = q. Symmetric.

    Args, Raises: as for `kl_divergence`.
    """
    p, q = _checked(log_p, log_q)
    m = np.logaddexp(p, q) - np.log(2)
    # The bounds hold exactly for each sample; rounding may leave them by an ulp.
    per_sample = np.clip(0.5 * _kl(p, m) + 0.5 * _kl(q, m), 0, np.log(2))
    return float(per_sample.mean())


def _kl(log_p: Array, log_q: Array) -> Array:
    """KL of each row; 0 · log 0 = 0. Not below 0, where rounding may lead."""
    support = log_p > -np.inf
    terms = np.zeros_like(log_p)
    terms[support] = np.exp(log_p[support]) * (log_p[support] - log_q[support])
    result: Array = np.maximum(terms.sum(axis=1), 0)
    return result


def _checked(log_p: NDArray[Any], log_q: NDArray[Any]) -> tuple[Array, Array]:
    same_shape("log_p", log_p, "log_q", log_q)
    if log_p.ndim != 2 or log_p.size == 0:
        raise ValueError(
            f"log-probabilities have shape {log_p.shape}: give (n, classes) with at least one sample"
        )
    p, q = (np.asarray(values, dtype=np.float64) for values in (log_p, log_q))
    for name, values in (("log_p", p), ("log_q", q)):
        if np.isnan(values).any():
            raise ValueError(
                f"{name} holds NaN: the model diverged; leave its run out, or lower its learning rate"
            )
        if not (np.abs(np.expm1(logsumexp(values, axis=1))) < SUM_TOLERANCE).all():
            raise ValueError(
                f"the rows of {name} are not log-probabilities: apply `log_probabilities` to logits"
            )
    return p, q
