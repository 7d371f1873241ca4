"""Accuracy of a model on each set of a split."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from orthograd.data.samples import Samples


@torch.no_grad()
def accuracy(model: nn.Module, samples: Samples, batch_size: int) -> float:
    """The fraction of samples whose largest logit is the label's, in [0, 1]; logits that are not finite are wrong.

    Raises:
        ValueError: no samples, or the model is in training mode (batch normalisation would depend on the batch).
    """
    if len(samples) == 0:
        raise ValueError("accuracy of no samples is not defined: check the sizes of the split")
    if model.training:
        raise ValueError("the model is in training mode: call model.eval() first")
    correct = 0
    for images, labels in zip(
        samples.images.split(batch_size), samples.labels.split(batch_size), strict=True
    ):
        logits = model(images)
        correct += int(((logits.argmax(dim=1) == labels) & logits.isfinite().all(dim=1)).sum())
    return correct / len(samples)


@torch.no_grad()
def logits(model: nn.Module, samples: Samples, batch_size: int) -> torch.Tensor:
    """The model's outputs (n, classes) on a set, on the CPU.

    Raises:
        ValueError: the model is in training mode.
    """
    if model.training:
        raise ValueError("the model is in training mode: call model.eval() first")
    return torch.cat([model(images).cpu() for images in samples.images.split(batch_size)])


def accuracies(model: nn.Module, sets: Mapping[str, Samples], batch_size: int) -> dict[str, float]:
    """`accuracy` on each of the named sets."""
    return {name: accuracy(model, samples, batch_size) for name, samples in sets.items()}
