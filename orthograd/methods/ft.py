"""FT: fine-tuning on the retain set, hoping that the forget set fades."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd import objective
from orthograd.methods import base

if TYPE_CHECKING:
    from torch import nn


class Params(base.Sgd):
    batch_size: int = Field(gt=0, description="retain samples in a step, a whole number >= 1")
    passes: int | None = Field(
        gt=0,
        description="passes over the retain set after which the method ends; null: the stopping rule ends it",
    )


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend the mean cross-entropy L_r of a retain batch."""
    optimizer = params.optimizer(model)
    for images, labels in islice(
        data.batches("retain", params.batch_size),
        base.limit(params.passes, data.steps("retain", params.batch_size)),
    ):
        optimizer.zero_grad()
        loss = objective.loss(model(images), labels)
        loss.backward()
        optimizer.step()
        yield base.Step(len(labels), len(labels), {"loss_retain": loss.item()})


METHOD = base.Method(
    name="ft",
    rule="θ ← θ − η ∇L_r",
    source="fine-tuning baseline of Golatkar et al. 2020 (arXiv:1911.04933)",
    reads=frozenset({"retain"}),
    params=Params,
    published=base.Published(
        {"learning_rate": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 64, "passes": 10},
        "code of Fan et al. 2024 (OPTML-Group/Unlearn-Saliency, 9576623): FT; the batch size is ours (there 256)",
    ),
    run=run,
    scenarios=base.ALL,
)
