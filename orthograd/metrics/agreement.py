"""How often two models predict the same class."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from orthograd.metrics.checks import class_logits, same_shape


def agreement(logits: NDArray[Any], reference: NDArray[Any]) -> float:
    """The share of samples with equal predictions, in [0, 1]; 1 is a model that decides like the reference.

    The ideal is the agreement of retrained models with each other, which is below 1. Among equal logits the first
    class is the prediction, as in torch.

    Args:
        logits: (n, classes) of the judged model.
        reference: (n, classes) of the retrained one on the same samples.

    Raises:
        ValueError: no samples, shapes that differ, or logits that are not finite.
    """
    same_shape("logits", logits, "reference", reference)
    ours, theirs = class_logits("logits", logits), class_logits("reference", reference)
    return float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())
