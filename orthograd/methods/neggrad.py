"""NegGrad: gradient ascent on the forget set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.methods import base

if TYPE_CHECKING:
    from torch import nn


class Params(base.Params):
    batch_size: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")


def run(model: nn.Module, data: base.DataView, params: Params) -> Iterator[base.Step]:
    """Ascend the mean cross-entropy L_f of a forget batch. Unbounded: only the stopping rule ends it."""
    from torch.nn import functional as F

    optimizer = base.sgd(model, params)
    for images, labels in data.batches("forget", params.batch_size):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        (-loss).backward()
        optimizer.step()
        yield base.Step(len(labels), len(labels), {"loss_forget": loss.item()})


METHOD = base.Method(
    name="neggrad",
    rule="θ ← θ + η ∇L_f",
    source="gradient-ascent baseline of Golatkar et al. 2020",
    reads=frozenset({"forget"}),
    params=Params,
    run=run,
)
