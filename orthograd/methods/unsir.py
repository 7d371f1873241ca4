"""UNSIR: impair a class with noise that the model finds most unlike it, then repair on the retain set."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.data.samples import Samples
from orthograd.methods import base

if TYPE_CHECKING:
    import torch
    from torch import nn


class Params(base.Params):
    noise_images: int = Field(gt=0, description="images of noise that are learned, a whole number >= 1")
    noise_steps: int = Field(gt=0, description="steps in which the noise is learned, a whole number >= 1")
    noise_learning_rate: float = Field(gt=0, description="step size of Adam on the noise, a number > 0")
    noise_penalty: float = Field(ge=0, description="weight of the noise's squared norm, a number >= 0")
    noise_copies: int = Field(
        gt=0, description="how often each noise image stands in the impair set, a whole number >= 1"
    )
    impair_learning_rate: float = Field(
        gt=0, description="step size of Adam in the impair passes, a number > 0"
    )
    impair_passes: int = Field(
        gt=0, description="passes over noise copies and retain set, a whole number >= 1"
    )
    repair_learning_rate: float = Field(
        gt=0, description="step size of Adam in the repair passes, a number > 0"
    )
    repair_passes: int = Field(gt=0, description="passes over the retain set, a whole number >= 1")
    retain_batch: int = Field(
        gt=0, description="samples in a step, a whole number >= 1; in the impair passes noise is among them"
    )


def learn_noise(model: nn.Module, noise: torch.Tensor, labels: torch.Tensor, params: Params) -> torch.Tensor:
    """Noise images (n, C, H, W) that maximise the cross-entropy with labels (n,), less a penalty on their squares."""
    import torch
    from torch.nn import functional as F

    noise = noise.clone().requires_grad_()
    optimizer = torch.optim.Adam([noise], lr=params.noise_learning_rate)
    for _ in range(params.noise_steps):
        penalty = params.noise_penalty * noise.square().flatten(1).sum(dim=1).mean()
        (noise.grad,) = torch.autograd.grad(penalty - F.cross_entropy(model(noise), labels), noise)
        optimizer.step()
    return noise.detach()


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Learn noise; descend the cross-entropy of noise copies with the forgotten class and of the retain set; repair.

    Of the forget set only the class is read. The stopping rule looks at the end only: an impaired net that is not
    repaired has lost more than the class.

    Raises:
        ValueError: the forget set holds more than one class.
    """
    import torch
    from torch.nn import functional as F

    retain = data["retain"]
    forgotten = data["forget"].labels.unique()
    if len(forgotten) != 1:
        raise ValueError(
            f"UNSIR forgets one class, but the forget set holds {len(forgotten)}: use it in a class scenario"
        )
    shape = (params.noise_images, *retain.images.shape[1:])
    start = torch.randn(shape, generator=data.generator("noise"), dtype=retain.images.dtype)
    labels = forgotten.expand(params.noise_images)
    noise = learn_noise(model, start.to(retain.images.device), labels, params)
    copies = params.noise_copies
    impair = Samples(
        torch.cat([noise.repeat(copies, 1, 1, 1), retain.images]),
        torch.cat([labels.repeat(copies), retain.labels]),
    )
    prepared = params.noise_images * params.noise_steps
    repair_steps = params.repair_passes * data.steps("retain", params.retain_batch)
    impair_steps = params.impair_passes * (len(impair) // params.retain_batch)
    rounds = (
        (impair, impair_steps, params.impair_learning_rate, "impair"),
        (retain, repair_steps, params.repair_learning_rate, "retain"),
    )
    for samples, steps, rate, name in rounds:
        optimizer = torch.optim.Adam(base.trainable(model), lr=rate)
        batches = samples.batches(params.retain_batch, data.generator(name))
        for step, (images, targets) in islice(enumerate(batches), steps):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), targets)
            loss.backward()
            optimizer.step()
            yield base.Step(
                len(targets) + prepared,
                len(targets) + prepared,
                {f"loss_{name}": loss.item()},
                complete=name == "retain" and step == steps - 1,
            )
            prepared = 0


METHOD = base.Method(
    name="unsir",
    rule="n ← argmax CE(f(n), c) − w‖n‖²; one pass of CE on copies of n with class c and on retain; one on retain",
    source="Tarun et al. 2023; the noise has the forgotten class as label, where the official code has class 0",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=base.Published(
        {
            "noise_images": 64,
            "noise_steps": 40,
            "noise_learning_rate": 0.1,
            "noise_penalty": 0.1,
            "noise_copies": 20,
            "impair_learning_rate": 0.02,
            "impair_passes": 1,
            "repair_learning_rate": 0.01,
            "repair_passes": 1,
            "retain_batch": 64,
        },
        "official code; the number of noise images and the batch size are ours (there 256, of far larger sets)",
    ),
    run=run,
    no_speech="it learns noise images for a class, and a speaker is no class of the model",
    scenarios=frozenset({"class"}),
)
