"""Fisher forgetting: noise on the parameters, small where the retain set needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.data.samples import Samples
from orthograd.methods import base
from orthograd.sample_gradients import squared_gradients

if TYPE_CHECKING:
    import torch
    from torch import nn

# Of the official code.
DAMPING = 1e-8
LARGEST_INVERSE = 1e3
ONE_DIMENSIONAL = 10.0


class Params(base.Params):
    alpha: float = Field(gt=0, description="α, scale of the noise's variance, a number > 0")
    strengths: int = base.strengths("no noise up to all of it, its deviation growing evenly")


def fisher_diagonal(model: nn.Module, samples: Samples) -> tuple[list[torch.Tensor], int]:
    """Diagonal of the Fisher matrix E_x E_{y∼p(·|x)} (∂ log p(y|x))² of each trainable parameter, and the passes.

    The expectation over the labels is that of the model, so that each class takes a pass of its own: a diagonal from
    the true labels alone would be zero where they are memorised.

    Returns:
        Tensors in float64, and how often each sample passed forward and backward.
    """
    import torch
    from torch.nn import functional as F

    classes = base.class_count(model, samples)
    total: list[torch.Tensor] = []
    for label in range(classes):

        def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            # The square of √p · ∂ log p is p · (∂ log p)².
            probability = torch.exp(-F.cross_entropy(logits, labels)).detach()
            return probability.sqrt() * F.cross_entropy(logits, labels)

        labelled = Samples(samples.images, torch.full_like(samples.labels, label))
        part = squared_gradients(model, labelled, loss)
        total = [a + b for a, b in zip(total, part, strict=True)] if total else part
    return total, classes


def noise_variance(diagonal: torch.Tensor, alpha: float) -> torch.Tensor:
    """Variance of the noise on a parameter, in its shape.

    α·min(1/(F + 1e-8), 1e3), averaged over dimension 1 (the entries of a row of a linear layer's weight), tenfold on
    one-dimensional parameters. Without the bound the noise on parameters with F next to 0 destroys a net.
    """
    variance = alpha * (1 / (diagonal + DAMPING)).clamp(max=LARGEST_INVERSE)
    if diagonal.dim() < 2:
        return ONE_DIMENSIONAL * variance
    return variance.mean(dim=1, keepdim=True).expand_as(diagonal)


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Gaussian noise on every trainable parameter: one draw, more and more of it, up to the variance of α."""
    import torch

    samples = data["retain"]
    diagonals, passes = fisher_diagonal(model, samples)
    generator = data.generator("noise")
    parameters = base.trainable(model)
    original = [parameter.detach().clone() for parameter in parameters]
    noise = []
    for diagonal in diagonals:
        drawn = torch.randn(diagonal.shape, generator=generator, dtype=torch.float64)
        noise.append(drawn.to(diagonal.device) * noise_variance(diagonal, params.alpha).sqrt())
    # One sample passes forward to count the classes.
    forward, backward = passes * len(samples) + 1, passes * len(samples)
    for strength in base.strengthened(params.strengths):
        with torch.no_grad():
            for parameter, before, added in zip(parameters, original, noise, strict=True):
                parameter.copy_(before + (strength * added).to(parameter))
        yield base.Step(forward, backward)
        forward = backward = 0


METHOD = base.Method(
    name="fisher",
    rule="θ ← θ + N(0, α min(1/(F_r + 1e-8), 1e3)), averaged over dimension 1, ×10 on one-dimensional parameters; "
    "published once, here with growing noise of one draw until the stopping rule ends it",
    source="Golatkar et al. 2020 (arXiv:1911.04933); F_r by single samples, without the official code's special "
    "rules for the last layer",
    reads=frozenset({"retain"}),
    params=Params,
    published=base.Published({"alpha": 1e-6, "strengths": 1}, "official code of Golatkar et al. 2020"),
    run=run,
    no_speech="its expectation over the model's labels takes a pass for each class; transcripts are without number",
)
