"""The population attack: one logistic regression on the loss tells forgotten samples from unseen ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from orthograd.metrics.attacks import estimates
from orthograd.metrics.attacks.estimates import LEVEL, Estimate
from orthograd.metrics.attacks.sampling import balanced
from orthograd.metrics.checks import finite_vector

FOLDS = 5


@dataclass(frozen=True)
class PopulationResult:
    """What the attack finds; 0.5 is ideal throughout.

    Attributes:
        auc: of the held-out scores. The regression learns the direction: a loss above that of unseen samples gives
            forgotten ones away as one below does. Scores of all folds are pooled, which for chance alone is a little
            under 0.5 (0.483 for 50 a side, 0.494 for 200: simulated, log-normal losses), within the interval.
        low_loss_auc: the probability that a forgotten sample's loss is below an unseen one's, nothing fitted: it shows
            the direction. Above 0.5: still remembered; below: over-unlearned.
        accuracy: the share of samples that the held-out regression calls rightly.
        members: forgotten samples that were used.
        non_members: unseen samples that were used, as many.
    """

    auc: Estimate
    low_loss_auc: Estimate
    accuracy: float
    members: int
    non_members: int


def population_attack(
    forget_losses: NDArray[Any],
    unseen_losses: NDArray[Any],
    generator: np.random.Generator,
    level: float = LEVEL,
) -> PopulationResult:
    """Cross-validated logistic regression on the standardised loss, on as many forgotten as unseen samples.

    Args:
        forget_losses: cross-entropy of the forget set, (m,), in nats.
        unseen_losses: of samples that the model never saw, (n,); in the class scenario, of the same class.
        generator: draws the subsample of the larger side and the folds.
        level: of the intervals.

    Raises:
        ValueError: fewer than `FOLDS` samples on a side, or losses that are not finite.
    """
    forget = finite_vector("forget_losses", forget_losses)
    unseen = finite_vector("unseen_losses", unseen_losses)
    n = min(len(forget), len(unseen))
    if n < FOLDS:
        raise ValueError(
            f"{len(forget)} forgotten and {len(unseen)} unseen samples: {FOLDS}-fold cross-validation needs "
            f"{FOLDS} of each at least"
        )
    of_forget, of_unseen = balanced(len(forget), len(unseen), generator)
    forget, unseen = forget[of_forget], unseen[of_unseen]
    member = np.repeat([1, 0], n)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=int(generator.integers(2**31)))
    scores = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression()),
        np.concatenate([forget, unseen])[:, None],
        member,
        cv=folds,
        method="decision_function",
    )
    return PopulationResult(
        auc=estimates.auc(scores[:n], scores[n:], level),
        low_loss_auc=estimates.auc(-forget, -unseen, level),
        accuracy=float(((scores > 0) == member).mean()),
        members=n,
        non_members=n,
    )
