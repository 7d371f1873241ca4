"""Threshold attacks, class by class, on confidence, entropy and modified entropy (Song & Mittal 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from orthograd.metrics.attacks import estimates
from orthograd.metrics.attacks.estimates import LEVEL, Estimate
from orthograd.metrics.attacks.sampling import balanced
from orthograd.metrics.attacks.scores import confidence, entropy, modified_entropy
from orthograd.metrics.checks import Array
from orthograd.metrics.outputs import Outputs

Score = Literal["confidence", "entropy", "modified_entropy"]


@dataclass(frozen=True)
class ThresholdResult:
    """What the attack finds.

    Attributes:
        accuracy: the share of judged samples called rightly, members and non-members counted alike; 0.5 is ideal.
            Below it, forgotten samples look less like members than unseen ones do: over-unlearned.
        members_called_members: true positive rate, in [0, 1].
        non_members_called_members: false positive rate, in [0, 1].
        thresholds: in the score's own unit, by class.
        members: forgotten samples that were judged.
        non_members: unseen samples that were judged, as many.
    """

    accuracy: Estimate
    members_called_members: float
    non_members_called_members: float
    thresholds: dict[int, float]
    members: int
    non_members: int


def threshold_attack(
    score: Score,
    fit_members: Outputs,
    fit_non_members: Outputs,
    forget: Outputs,
    unseen: Outputs,
    generator: np.random.Generator,
    level: float = LEVEL,
) -> ThresholdResult:
    """Fit a threshold for each class, then judge the forget set against unseen samples with it.

    A member has a confidence at or above its class's threshold, an entropy or modified entropy at or below it. The
    threshold is the fitted score that maximises the mean of the two classes' rates of right calls; among equals
    the one that calls fewest samples members.

    Args:
        score: what is compared with the threshold.
        fit_members: what the model says about members to fit on: retain samples, or one of the `halves` of the forget
            set where the retain set has none of its classes.
        fit_non_members: unseen samples to fit on. None of the samples to fit on is judged.
        forget: the members that are judged.
        unseen: the non-members that are judged; of the larger of the two a random subset.
        generator: draws that subset.
        level: of the interval.

    Raises:
        ValueError: a judged class has no samples to fit a threshold on, on one of the two sides.
    """
    fitted_on = [(_score(score, side), side.labels) for side in (fit_members, fit_non_members)]
    of_forget, of_unseen = balanced(len(forget), len(unseen), generator)
    judged = [forget.take(of_forget), unseen.take(of_unseen)]
    thresholds = {}
    for c in np.unique(np.concatenate([side.labels for side in judged])):
        inside, outside = (values[labels == c] for values, labels in fitted_on)
        if min(len(inside), len(outside)) == 0:
            raise ValueError(
                f"class {c} has {len(inside)} members and {len(outside)} non-members to fit a threshold on: fit on "
                "one half of the forget set and of the unseen samples (`halves`)"
            )
        thresholds[int(c)] = _threshold(inside, outside)
    members, non_members = (
        _score(score, side) >= np.array([thresholds[int(c)] for c in side.labels]) for side in judged
    )
    n = len(members)
    return ThresholdResult(
        accuracy=estimates.share(int(members.sum() + (~non_members).sum()), 2 * n, level),
        members_called_members=float(members.mean()),
        non_members_called_members=float(non_members.mean()),
        thresholds={c: _sign(score) * value for c, value in thresholds.items()},
        members=n,
        non_members=n,
    )


def _sign(score: Score) -> int:
    return 1 if score == "confidence" else -1


def _score(score: Score, outputs: Outputs) -> Array:
    """The score, its sign such that larger says "member"."""
    functions = {"confidence": confidence, "entropy": entropy, "modified_entropy": modified_entropy}
    return _sign(score) * functions[score](outputs)


def _threshold(members: Array, non_members: Array) -> float:
    """The largest score t among both that maximises mean(members ≥ t) + mean(non_members < t)."""
    candidates = np.unique(np.concatenate([members, non_members]))
    rates = 1 - np.searchsorted(np.sort(members), candidates) / len(members)
    rates += np.searchsorted(np.sort(non_members), candidates) / len(non_members)
    return float(candidates[np.flatnonzero(rates == rates.max())[-1]])
