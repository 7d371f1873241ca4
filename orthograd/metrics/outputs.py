"""What a model says about a set of labelled samples: the input of most metrics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orthograd.metrics.checks import Array, Rows, class_labels, class_logits


def log_probabilities(logits: NDArray[Any]) -> Array:
    """Natural logarithm of the softmax of logits (n, classes), float64; finite however far apart the logits are.

    Also exact to rounding where a probability is near 1: the losses of memorised samples are 1e-7 and less, where the
    usual log(1 + rest) has lost their digits, and attacks rank by them.

    Raises:
        ValueError: the logits are no finite matrix with at least two classes.
    """
    z = class_logits("logits", logits)
    rows, top = np.arange(len(z)), z.argmax(axis=1)
    below = z - z[rows, top][:, None]
    others = np.exp(below)
    others[rows, top] = 0
    result: Array = below - np.log1p(others.sum(axis=1, keepdims=True))
    return result


@dataclass(frozen=True)
class Outputs:
    """Logits (n, classes), any float, and labels (n,), any integer, of n ≥ 1 samples; checked when made.

    Raises:
        ValueError: no samples, NaN or infinite logits, a single class, or labels that do not fit the logits.
    """

    logits: NDArray[Any]
    labels: NDArray[Any]

    def __post_init__(self) -> None:
        class_labels(self.labels, class_logits("logits", self.logits).shape)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def log_probabilities(self) -> Array:
        """`log_probabilities` of the logits, (n, classes)."""
        return log_probabilities(self.logits)

    def take(self, rows: Rows) -> Outputs:
        """The samples of the given rows, in their order."""
        return Outputs(self.logits[rows], self.labels[rows])
