"""The SVC attack on the confidence in the true class: the "MIA" of the average gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.svm import SVC

from orthograd.metrics.attacks import estimates
from orthograd.metrics.attacks.estimates import LEVEL, Estimate
from orthograd.metrics.attacks.sampling import balanced
from orthograd.metrics.attacks.scores import confidence
from orthograd.metrics.outputs import Outputs


@dataclass(frozen=True)
class SvcResult:
    """What the attack finds.

    Attributes:
        non_member_share: the share of the forget set that it calls non-member. Ideal: that of retrained models,
            which is not 1/2 and not 1.
        auc: of its decision values, forget set against unseen samples; 0.5 is ideal.
        fitted: retain samples, and as many unseen ones, that it was fitted on.
        members: forgotten samples that were judged.
        non_members: unseen samples in the AUC.
    """

    non_member_share: Estimate
    auc: Estimate
    fitted: int
    members: int
    non_members: int


def decisions(machine: SVC, values: np.ndarray) -> np.ndarray:
    """The decision values (n,) of a fitted RBF machine for one feature (n,).

    Those of `machine.decision_function`, which takes a sample at a time and most of the time of all attacks. The
    distances are differences: scikit-learn's kernel, which expands the square, rounds confidences near 1 out of order.
    Each value is taken once, so that ties stay ties.
    """
    distinct, places = np.unique(values, return_inverse=True)
    distances = distinct[:, None] - machine.support_vectors_[None, :, 0]
    kernel = np.exp(-machine.gamma * np.square(distances))
    found: np.ndarray = (kernel @ machine.dual_coef_[0] + machine.intercept_[0])[places]
    return found


def svc_attack(
    retain: Outputs,
    fit_unseen: Outputs,
    forget: Outputs,
    unseen: Outputs,
    generator: np.random.Generator,
    level: float = LEVEL,
) -> SvcResult:
    """Fit an SVC (RBF kernel of width 1, C = 3) on retain against unseen samples, and apply it to the forget set.

    Args:
        retain: what the model says about samples that it was trained on and kept.
        fit_unseen: about unseen samples to fit on; of the larger of the two a random subset.
        forget: about the forget set.
        unseen: about other unseen samples, to judge it by.
        generator: draws the subset.
        level: of the intervals.
    """
    rows, columns = balanced(len(retain), len(fit_unseen), generator)
    inside, outside = confidence(retain.take(rows)), confidence(fit_unseen.take(columns))
    machine = SVC(kernel="rbf", gamma=1.0, C=3)
    machine.fit(np.concatenate([inside, outside])[:, None], np.repeat([1, 0], len(rows)))
    forgotten, never_seen = (decisions(machine, confidence(side)) for side in (forget, unseen))
    return SvcResult(
        non_member_share=estimates.share(int((forgotten <= 0).sum()), len(forget), level),
        auc=estimates.auc(forgotten, never_seen, level),
        fitted=len(rows),
        members=len(forget),
        non_members=len(unseen),
    )
