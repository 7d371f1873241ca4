"""For every method: parameters at which it ends by itself after a few steps, what it then costs, what changes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """A method on `problem.data()`: 12 images in each set.

    Attributes:
        params: its parameters; the sizes of its batches are such that a pass takes several steps.
        changes: for every parameter another value, which leads to another model or another number of steps.
        given: other parameters that have to have other values for a change to matter, by the changed parameter.
        steps: updates until it ends by itself, counted by hand.
        forward: samples that passed forward in them, counted by hand.
        backward: samples that passed backward in them, counted by hand.
        draws: whether it does anything at random, such as the order of the samples.
    """

    params: Mapping[str, Any]
    changes: Mapping[str, Any]
    steps: int
    forward: int
    backward: int
    draws: bool = True
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


SGD = {"learning_rate": 0.05, "momentum": 0.5, "weight_decay": 0.01}
SGD_CHANGES = {"learning_rate": 0.04, "momentum": 0.0, "weight_decay": 0.0}
ADAM = {"learning_rate": 0.01, "weight_decay": 0.1}
ADAM_CHANGES = {"learning_rate": 0.02, "weight_decay": 0.0}
ONE = {"batch_size": 4, "passes": 2}
ONE_CHANGES = {"batch_size": 3, "passes": 1}
TWO = {"forget_batch": 4, "retain_batch": 3, "passes": 2}
TWO_CHANGES = {"forget_batch": 3, "retain_batch": 4, "passes": 1}

CASES: dict[str, Case] = {
    "ft": Case(SGD | ONE, SGD_CHANGES | ONE_CHANGES, steps=6, forward=24, backward=24),
    "neggrad": Case(SGD | ONE, SGD_CHANGES | ONE_CHANGES, steps=6, forward=24, backward=24),
    "neggrad_plus": Case(
        SGD | TWO | {"alpha": 0.6},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7},
        steps=6,
        forward=42,
        backward=42,
    ),
    # The retain samples pass backward twice: for the Gramian, and with their weights. At this rtol it needs no
    # refinement, whose passes depend on the gradients.
    "orthograd": Case(
        SGD | TWO | {"alpha": 0.6, "rtol": 0.1},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7, "rtol": 0.99},
        steps=6,
        forward=42,
        backward=60,
    ),
}
