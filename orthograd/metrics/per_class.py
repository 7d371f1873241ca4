"""Accuracy class by class."""

from __future__ import annotations

import numpy as np

from orthograd.metrics.outputs import Outputs


def per_class_accuracy(outputs: Outputs) -> dict[int, float]:
    """The fraction of a class's samples whose largest logit is the class's, by class, each in [0, 1].

    Only classes that have samples are keys, in ascending order: the retain set of a forgotten class has none of it.
    Among equal logits the first class is the prediction, as in torch.
    """
    correct = outputs.logits.argmax(axis=1) == outputs.labels
    return {int(c): float(correct[outputs.labels == c].mean()) for c in np.unique(outputs.labels)}
