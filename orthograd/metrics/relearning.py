"""Relearning time: how many steps of fine-tuning bring the forgotten samples back."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from orthograd.data.samples import Samples
from orthograd.evaluation import accuracy
from orthograd.specs import Relearning


def relearning_steps(
    model: nn.Module, forget: Samples, params: Relearning, generator: torch.Generator
) -> int | None:
    """The number of steps on the forget set after which its accuracy is at the level for the first time.

    Few steps: the samples were hidden rather than forgotten. Ideal: as many as a retrained model needs. Statistics of
    batch normalisation stay fixed, as in unlearning.

    Args:
        model: in evaluation mode; a copy is fine-tuned.
        forget: the forget set.
        params: how to fine-tune.
        generator: the order of the samples.

    Returns:
        0 where the accuracy is there already; None where it is not after `max_steps`.

    Raises:
        ValueError: fewer samples than a batch, or training mode.
        FloatingPointError: the loss is not finite.
    """
    pupil = copy.deepcopy(model).requires_grad_()
    weights = list(pupil.parameters())
    batches = forget.batches(params.batch_size, generator)
    for step in range(params.max_steps + 1):
        # Samples are judged in the batches they are learned in: one pass costs what an epoch's forward passes do.
        if accuracy(pupil, forget, params.batch_size) >= params.level:
            return step
        if step < params.max_steps:
            images, labels = next(batches)
            loss = F.cross_entropy(pupil(images), labels)
            if not loss.isfinite():
                raise FloatingPointError(
                    f"the loss is {loss.item()} in step {step + 1} of relearning: lower its learning_rate"
                )
            with torch.no_grad():
                for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                    weight.sub_(gradient, alpha=params.learning_rate)
    return None
