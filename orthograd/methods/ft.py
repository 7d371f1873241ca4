"""FT: fine-tuning on the retain set, hoping that the forget set fades."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.methods import base

if TYPE_CHECKING:
    from torch import nn


class Params(base.Params):
    batch_size: int = Field(gt=0, description="retain samples in a step, a whole number >= 1")


def run(model: nn.Module, data: base.DataView, params: Params) -> Iterator[base.Step]:
    """Descend the mean cross-entropy L_r of a retain batch."""
    from torch.nn import functional as F

    optimizer = base.sgd(model, params)
    for images, labels in data.batches("retain", params.batch_size):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        yield base.Step(len(labels), len(labels), {"loss_retain": loss.item()})


METHOD = base.Method(
    name="ft",
    rule="θ ← θ − η ∇L_r",
    source="fine-tuning baseline of Golatkar et al. 2020",
    reads=frozenset({"retain"}),
    params=Params,
    run=run,
)
