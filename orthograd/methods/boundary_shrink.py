"""Boundary Shrink: teach each forget image the class across the nearest decision boundary."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.data.samples import PixelScale, Samples
from orthograd.methods import base

if TYPE_CHECKING:
    import torch
    from torch import nn


class Params(base.Sgd):
    epsilon: float = Field(
        gt=0, le=1, description="size of the attack on each pixel, images being in [0, 1], a number in (0, 1]"
    )
    batch_size: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    passes: int | None = Field(
        gt=0,
        description="passes over the forget set after which the method ends; null: the stopping rule ends it",
    )


def attacked(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epsilon: float, pixels: PixelScale
) -> torch.Tensor:
    """Images (n, C, H, W) after a step of ε along the sign of the loss's gradient (FGSM), still in [0, 1].

    The images are standardised: a pixel in [0, 1] is one in [(0 − mean)/std, (1 − mean)/std] of its channel, and ε
    becomes ε/std.
    """
    import torch
    from torch.nn import functional as F

    images = images.detach().requires_grad_()
    # Each sample has a gradient of its own, whatever the others are: the sum of the losses gives it.
    loss = F.cross_entropy(model(images), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images)
    mean, std = (images.new_tensor(values)[:, None, None] for values in (pixels.mean, pixels.std))
    moved = images.detach() + epsilon / std * gradient.sign()
    return torch.maximum(torch.minimum(moved, (1 - mean) / std), -mean / std)


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend the cross-entropy of forget images with their nearest wrong classes.

    The nearest wrong class is the one that the original model gives, among all but the true one, to the image after an
    attack. It is found once for each image before the first update.
    """
    import torch
    from torch.nn import functional as F

    samples = data["forget"]
    nearest = []
    fooled = 0
    for images, labels in zip(
        samples.images.split(base.CHUNK_SAMPLES), samples.labels.split(base.CHUNK_SAMPLES), strict=True
    ):
        moved = attacked(model, images, labels, params.epsilon, data.pixels)
        with torch.no_grad():
            logits = model(moved)
        fooled += int((logits.argmax(dim=1) != labels).sum())
        true = F.one_hot(labels, logits.shape[1]).bool()
        nearest.append(logits.masked_fill(true, -torch.inf).argmax(dim=1))
    taught = Samples(samples.images, torch.cat(nearest))
    optimizer = params.optimizer(model)
    prepared = len(samples)
    for images, labels in islice(
        taught.batches(params.batch_size, data.generator("forget")),
        base.limit(params.passes, data.steps("forget", params.batch_size)),
    ):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        yield base.Step(
            len(labels) + 2 * prepared,
            len(labels) + prepared,
            {"loss_nearest": loss.item(), "fooled": fooled / len(samples)},
        )
        prepared = 0


METHOD = base.Method(
    name="boundary_shrink",
    rule="θ ← θ − η ∇CE(f(x_f), y'), y' the likeliest wrong class of the original model at the FGSM neighbour of x_f",
    source="Chen et al. 2023 (arXiv:2303.11570); the official code keeps the true class where the attack fails",
    reads=frozenset({"forget"}),
    params=Params,
    published=base.Published(
        {
            "learning_rate": 1e-5,
            "momentum": 0.9,
            "weight_decay": 0.0,
            "epsilon": 0.1,
            "batch_size": 64,
            "passes": 10,
        },
        "official code; the batch size is ours",
    ),
    run=run,
    no_speech="it moves a sample to the nearest wrong class, and transcripts have no such classes",
)
