"""U-LiRA (arXiv:2403.01218): is a sample's φ like that of models that unlearned it, or of models that never saw it?

For each sample one Gaussian is fitted over shadow models that were trained on it and unlearned it, another over shadow
models that never saw it. The score is the log ratio of their densities at the judged model's φ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from orthograd.metrics.attacks import estimates
from orthograd.metrics.attacks.estimates import LEVEL, Estimate
from orthograd.metrics.checks import Array, finite_matrix, finite_vector, same_shape

RATES = (0.01, 0.001)


@dataclass(frozen=True)
class Shadows:
    """φ of shadow models, and what each of them did with each sample.

    A shadow model has to be unlearned by the same method as the judged model; for a judged model that is retrained or
    a planted fake, by retraining or by that fake.

    Attributes:
        names: of the models, each once.
        phi: φ (`scores.phi`), (models, n).
        unlearned: (models, n), bool: the model was trained on the sample and unlearned it.
        unseen: (models, n), bool: it never saw the sample. Neither of the two: it was trained on it and kept it.

    Raises:
        ValueError: names that repeat, shapes that differ, a sample both unlearned and unseen, or fewer than two models
            on a side of a sample.
    """

    names: Sequence[str]
    phi: NDArray[Any]
    unlearned: NDArray[np.bool_]
    unseen: NDArray[np.bool_]

    def __post_init__(self) -> None:
        finite_matrix("the shadows' phi", self.phi)
        if len(set(self.names)) != len(self.names) or len(self.names) != len(self.phi):
            raise ValueError(f"{len(self.phi)} shadow models need as many different names, got {self.names}")
        for name, mask in (("unlearned", self.unlearned), ("unseen", self.unseen)):
            same_shape("the shadows' phi", self.phi, name, mask)
            if mask.dtype != np.bool_:
                raise ValueError(f"{name} is of type {mask.dtype}: give booleans")
            if (fewest := int(mask.sum(axis=0).min())) < 2:
                raise ValueError(
                    f"sample {int(mask.sum(axis=0).argmin())} has {fewest} shadow models of the kind '{name}': a "
                    "spread needs two at least; train more shadow models, or leave the sample out"
                )
        if (self.unlearned & self.unseen).any():
            raise ValueError("a shadow model cannot both have unlearned a sample and never have seen it")


@dataclass(frozen=True)
class ULiraResult:
    """What the attack finds.

    Attributes:
        auc: of the scores, unlearned against unseen samples; 0.5 is ideal.
        tpr: by false-positive rate, see `estimates.tpr_at_fpr`; None where there are too few unseen samples. The rate
            itself is ideal. Nothing is subsampled: neither number depends on the balance of the two sides.
        members: unlearned samples that were judged.
        non_members: unseen samples that were judged.
    """

    auc: Estimate
    tpr: dict[float, Estimate | None]
    members: int
    non_members: int


def log_likelihood_ratios(name: str, phi: NDArray[Any], shadows: Shadows) -> Array:
    """log N(φ | unlearned) − log N(φ | unseen) of each sample, (n,), in nats; larger says "trained on and unlearned".

    Args:
        name: of the judged model.
        phi: its φ, (n,).
        shadows: of other models on the same samples; standard deviations have the divisor shadows − 1.

    Raises:
        ValueError: the judged model is one of the shadows, by its name or by its φ; the samples are not the same; or
            shadow models agree to the last digit, which copies of one model do.
    """
    judged = finite_vector("phi", phi)
    same_shape("phi", judged, "a shadow's phi", shadows.phi[0])
    if name in shadows.names:
        raise ValueError(f"{name} is judged and among its own shadows: take it out of them")
    for shadow, values in zip(shadows.names, shadows.phi, strict=True):
        if np.array_equal(values, judged):
            raise ValueError(f"{name} is the shadow {shadow} under another name: take it out of the shadows")
    return _log_density(judged, shadows.phi, shadows.unlearned) - _log_density(
        judged, shadows.phi, shadows.unseen
    )


def u_lira(ratios: NDArray[Any], unlearned: NDArray[np.bool_], level: float = LEVEL) -> ULiraResult:
    """The attack's success on the judged model.

    Args:
        ratios: `log_likelihood_ratios`, (n,).
        unlearned: (n,), bool: the judged model was trained on the sample and unlearned it; else it never saw it.
        level: of the intervals.

    Raises:
        ValueError: fewer than two samples on a side.
    """
    same_shape("ratios", ratios, "unlearned", unlearned)
    if unlearned.dtype != np.bool_:
        raise ValueError(f"unlearned is of type {unlearned.dtype}: give booleans")
    members, non_members = ratios[unlearned], ratios[~unlearned]
    return ULiraResult(
        auc=estimates.auc(members, non_members, level),
        tpr={rate: estimates.tpr_at_fpr(members, non_members, rate, level) for rate in RATES},
        members=len(members),
        non_members=len(non_members),
    )


def u_lira_in_pairs(
    phi: NDArray[Any], unlearned: NDArray[np.bool_], level: float = LEVEL
) -> list[ULiraResult]:
    """Each shadow model in turn is judged by those of all other pairs.

    The models 2p and 2p + 1 are a pair: what one unlearned the other never saw. Both are left out together, so that the
    two Gaussians of a sample rest on equally many models. Without its own pair's other half a judged model's own side
    would always be one model short, and a model that remembers nothing would score below chance.

    Args:
        phi: (models, n), an even number of models, six at least.
        unlearned: (models, n), bool: the model was trained on the sample and unlearned it; else it never saw it.
        level: of the intervals over the samples.

    Returns:
        One result a model.

    Raises:
        ValueError: the models are no pairs, or fewer than three of them; and as the functions above.
    """
    same_shape("phi", phi, "unlearned", unlearned)
    if len(phi) < 6 or len(phi) % 2 or (unlearned[::2] == unlearned[1::2]).any():
        raise ValueError(
            f"{len(phi)} shadow models: three pairs at least are needed, in each of which one model unlearned what the "
            "other never saw"
        )
    results = []
    for judged in range(len(phi)):
        others = np.arange(len(phi)) // 2 != judged // 2
        names = [str(place) for place in np.flatnonzero(others)]
        shadows = Shadows(names, phi[others], unlearned[others], ~unlearned[others])
        ratios = log_likelihood_ratios(str(judged), phi[judged], shadows)
        results.append(u_lira(ratios, unlearned[judged], level))
    return results


def _log_density(values: Array, phi: NDArray[Any], mask: NDArray[np.bool_]) -> Array:
    """Of each sample's value under the Gaussian of the shadows that the mask names for it."""
    count = mask.sum(axis=0)
    phi = phi.astype(np.float64)
    mean = (phi * mask).sum(axis=0) / count
    deviation = np.sqrt((((phi - mean) * mask) ** 2).sum(axis=0) / (count - 1))
    # Compared as they are: the deviation of equal numbers may round to something above 0.
    spread = np.where(mask, phi, -np.inf).max(axis=0) - np.where(mask, phi, np.inf).min(axis=0)
    if (spread == 0).any():
        raise ValueError(
            f"the shadow models agree to the last digit at sample {int(np.argmin(spread))}: they are copies of "
            "one model; train them with different seeds"
        )
    result: Array = stats.norm.logpdf(values, mean, deviation)
    return result
