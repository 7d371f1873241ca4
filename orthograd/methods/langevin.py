"""Langevin unlearning: noisy SGD with clipped gradients goes on, on the retain set."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.data.samples import Samples
from orthograd.methods import base
from orthograd.sample_gradients import sample_gradients

if TYPE_CHECKING:
    import torch
    from torch import nn


class Params(base.Params):
    learning_rate: float = Field(gt=0, description="η, step size, a number > 0")
    weight_decay: float = Field(
        ge=0, description="weight decay inside the gradient, not clipped, a number >= 0"
    )
    sigma: float = Field(
        gt=0, description="σ, the noise of a step has the standard deviation √(2η)·σ, a number > 0"
    )
    clip: float = Field(gt=0, description="largest norm of the gradient of one sample, a number > 0")
    batch_size: int = Field(gt=0, description="retain samples in a step, a whole number >= 1")
    passes: int | None = Field(
        gt=0,
        description="passes over the retain set after which the method ends; null: the stopping rule ends it",
    )


def clipped_mean(model: nn.Module, samples: Samples, clip: float) -> tuple[list[torch.Tensor], float]:
    """Mean over the samples of their gradients, each shortened to at most `clip`; and the share that was shortened."""
    import torch

    total = [torch.zeros_like(parameter) for parameter in base.trainable(model)]
    shortened = 0
    for rows in sample_gradients(model, samples, base.loss):
        norms = torch.stack([part.flatten(1).norm(dim=1) for part in rows]).norm(dim=0)
        scales = clip / norms.clamp(min=clip)
        shortened += int((norms > clip).sum())
        for part, row in zip(total, rows, strict=True):
            part += torch.tensordot(scales.to(row), row, dims=1) / len(samples)
    return total, shortened / len(samples)


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend the mean of clipped per-sample gradients of L_r and add Gaussian noise.

    The published guarantee holds for a model that was trained with this noise from the start, which the original here
    was not: this is a heuristic baseline.
    """
    import torch

    generator = data.generator("noise")
    deviation = (2 * params.learning_rate) ** 0.5 * params.sigma
    for images, labels in islice(
        data.batches("retain", params.batch_size),
        base.limit(params.passes, data.steps("retain", params.batch_size)),
    ):
        gradients, shortened = clipped_mean(model, Samples(images, labels), params.clip)
        with torch.no_grad():
            for parameter, gradient in zip(base.trainable(model), gradients, strict=True):
                noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                step = gradient + params.weight_decay * parameter
                parameter.add_(deviation * noise.to(parameter.device) - params.learning_rate * step)
        yield base.Step(len(labels), len(labels), {"clipped": shortened})


METHOD = base.Method(
    name="langevin",
    rule="θ ← θ − η (mean(clip(∇ℓ_r)) + weight decay · θ) + √(2η) σ N(0, I)",
    source="Chien et al. 2024 (arXiv:2401.10371, arXiv:2403.17105), without projection to a ball; the guarantee needs "
    "an original that was trained with the noise",
    reads=frozenset({"retain"}),
    params=Params,
    published=base.Published(
        {
            "learning_rate": 0.01,
            "weight_decay": 1e-6,
            "sigma": 0.03,
            "clip": 1.0,
            "batch_size": 64,
            "passes": 10,
        },
        "σ, clip and weight decay of the official code for logistic regression; step size (there the inverse of a "
        "smoothness constant), batch size and passes are ours",
    ),
    run=run,
    scenarios=base.ALL,
)
