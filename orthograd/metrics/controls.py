"""Attack controls: what an attack has to show on models whose truth is known, before its numbers mean anything.

It has to catch the original model, which remembers the forget set; to catch a planted fake, which only changes the
arg-max of its output; and to score chance on retrained models that it was not tuned on: they have nothing to remember.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orthograd.metrics.attacks.estimates import LEVEL, Estimate
from orthograd.metrics.checks import Array, class_logits

CHANCE = 0.5


@dataclass(frozen=True)
class ControlResult:
    """Whether an attack may be believed.

    Attributes:
        attack: its name.
        failures: in words, one for each control that failed; empty when all passed.
        caught: what it had to catch, in words.
    """

    attack: str
    failures: tuple[str, ...]
    caught: str = "the original model and the planted fake"

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def reason(self) -> str:
        """Why the attack's column is to be believed or to be greyed."""
        return "; ".join(self.failures) or f"catches {self.caught}, and scores chance on the retrained models"


def planted_fake(logits: NDArray[Any]) -> Array:
    """The logits of an "unlearner" that only changes the arg-max: the top logit is swapped with the next lower one.

    Forget accuracy falls, and nothing was forgotten. On samples outside the forget set it is the original model.

    Args:
        logits: of the original model on the forget set, (n, classes). Among equal ones the first is the top.

    Returns:
        (n, classes), float64; each row holds the same numbers and has another arg-max.

    Raises:
        ValueError: the logits are not finite, or all of a row are equal, which no exchange changes.
    """
    fake = class_logits("logits", logits).copy()
    rows = np.arange(len(fake))
    top = fake.argmax(axis=1)
    largest = fake[rows, top]
    lower = np.where(fake < largest[:, None], fake, -np.inf)
    following = lower.argmax(axis=1)
    if np.isneginf(lower[rows, following]).any():
        raise ValueError(
            "all logits of a sample are equal: its arg-max cannot be changed; leave the sample out"
        )
    fake[rows, top], fake[rows, following] = fake[rows, following], largest
    return fake


def retrained_level(models: int) -> float:
    """The level of each retrained model's interval at which all of them hold together at `LEVEL` (Bonferroni).

    At 95% each, one of three retrained models would be off chance by chance in one table of seven. A column is greyed
    when the attack fails in any split: the models of all splits count.

    Raises:
        ValueError: there is no model.
    """
    if models < 1:
        raise ValueError("no retrained model to control an attack with: set `replicates` to at least 1")
    return 1 - (1 - LEVEL) / models


def control(
    attack: str, original: Estimate, fake: Estimate | None, retrained: Mapping[str, Estimate], others: int
) -> ControlResult:
    """Judge an attack by its success, of which 0.5 is chance: an AUC, or an accuracy on balanced sides.

    Caught is a success whose interval is above 0.5 as a whole. Below 0.5 is not caught: the attack then takes the
    forget set for less known than unseen samples, and would pass the model off as one that forgot.

    Args:
        attack: its name.
        original: its success on the original model, at `LEVEL`.
        fake: its success on the original model with `planted_fake` on the forget set, at `LEVEL`; None for an attack on
            losses of sequences, of which there are no logits to plant one in.
        retrained: its success on models retrained without the forget set, by name, whose outcome decided nothing
            about the attack's design; each at `retrained_level` of their number and `others`.
        others: retrained models of other splits, any of which would grey the same column.

    Raises:
        ValueError: no retrained model, or an interval at another level.
    """
    level_each = retrained_level(len(retrained) + others if retrained else 0)
    to_catch = {"original model": original} | ({} if fake is None else {"planted fake": fake})
    for name, estimate, level in (
        *((name, estimate, LEVEL) for name, estimate in to_catch.items()),
        *((name, estimate, level_each) for name, estimate in retrained.items()),
    ):
        if not math.isclose(estimate.level, level):
            raise ValueError(f"the interval on {name} is at level {estimate.level}: compute it at {level}")
    failures = [
        f"misses the {what}: {_words(estimate)} "
        + ("is below chance" if estimate.high < CHANCE else "does not exclude chance")
        for what, estimate in to_catch.items()
        if not estimate.low > CHANCE
    ]
    failures += [
        f"is off chance on the retrained model {name}: {_words(estimate)}"
        for name, estimate in retrained.items()
        if not estimate.low <= CHANCE <= estimate.high
    ]
    return ControlResult(attack, tuple(failures), " and ".join(f"the {what}" for what in to_catch))


def _words(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
