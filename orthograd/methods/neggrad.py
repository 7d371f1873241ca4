"""NegGrad: gradient ascent on the forget set."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd import objective
from orthograd.methods import base

if TYPE_CHECKING:
    from torch import nn


class Params(base.Sgd):
    batch_size: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    passes: int | None = Field(
        gt=0,
        description="passes over the forget set after which the method ends; null: the stopping rule ends it",
    )


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Ascend the mean cross-entropy L_f of a forget batch. Unbounded: only the stopping rule ends it."""
    optimizer = params.optimizer(model)
    for images, labels in islice(
        data.batches("forget", params.batch_size),
        base.limit(params.passes, data.steps("forget", params.batch_size)),
    ):
        optimizer.zero_grad()
        loss = objective.loss(model(images), labels)
        (-loss).backward()
        optimizer.step()
        yield base.Step(len(labels), len(labels), {"loss_forget": loss.item()})


METHOD = base.Method(
    name="neggrad",
    rule="θ ← θ + η ∇L_f",
    source="gradient-ascent baseline of Golatkar et al. 2020 (arXiv:1911.04933)",
    reads=frozenset({"forget"}),
    params=Params,
    published=base.Published(
        {"learning_rate": 1e-4, "momentum": 0.0, "weight_decay": 0.0, "batch_size": 64, "passes": 5},
        "code of Fan et al. 2024 (OPTML-Group/Unlearn-Saliency, 9576623): GA; without its momentum of 0.9 and weight "
        "decay of 0.0005; the batch size is ours (there 256)",
    ),
    run=run,
    scenarios=base.ALL,
)
