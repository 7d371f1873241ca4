"""l1-sparse: fine-tuning on the retain set under a penalty on all weights that fades."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.methods import base

if TYPE_CHECKING:
    from torch import nn


class Params(base.Sgd):
    alpha: float = Field(ge=0, description="weight of the penalty in the first pass, a number >= 0")
    batch_size: int = Field(gt=0, description="retain samples in a step, a whole number >= 1")
    passes: int = Field(
        gt=0, description="E, passes over the retain set until the penalty is gone and the method ends"
    )


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend L_r + α (1 − e/E) ‖θ‖₁ in pass e = 0, …, E − 1; ‖θ‖₁ is over all trainable parameters."""
    import torch

    optimizer = params.optimizer(model)
    parameters = base.trainable(model)
    steps = data.steps("retain", params.batch_size)
    batches = islice(data.batches("retain", params.batch_size), params.passes * steps)
    for step, (images, labels) in enumerate(batches):
        optimizer.zero_grad()
        loss = base.loss(model(images), labels)
        norm = torch.stack([parameter.abs().sum() for parameter in parameters]).sum()
        weight = params.alpha * (1 - (step // steps) / params.passes)
        (loss + weight * norm).backward()
        optimizer.step()
        yield base.Step(len(labels), len(labels), {"loss_retain": loss.item(), "norm_l1": norm.item()})


METHOD = base.Method(
    name="l1_sparse",
    rule="θ ← θ − η ∇(L_r + α (1 − e/E) ‖θ‖₁) in pass e of E",
    source="Jia et al. 2023 (arXiv:2304.04934)",
    reads=frozenset({"retain"}),
    params=Params,
    published=base.Published(
        {
            "learning_rate": 0.01,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "alpha": 1e-4,
            "batch_size": 64,
            "passes": 10,
        },
        "Jia et al. 2023 and their code; the batch size is ours",
    ),
    run=run,
    scenarios=base.ALL,
)
