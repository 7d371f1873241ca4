"""Sign ascent: steps of one length in every coordinate, up the loss of the forget set."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.methods import base

if TYPE_CHECKING:
    from torch import nn


class Params(base.Params):
    step: float = Field(gt=0, description="change of every parameter in a step, a number > 0")
    batch_size: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    passes: int | None = Field(
        gt=0, description="passes over the forget set; null: the stopping rule ends it"
    )


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Add the step times the sign of the gradient of L_f."""
    # Imported here: the config is checked without torch, which takes seconds to load.
    import torch
    from torch.nn import functional as F

    weights = base.trainable(model)
    limit = base.limit(params.passes, data.steps("forget", params.batch_size))
    for images, labels in islice(data.batches("forget", params.batch_size), limit):
        loss = F.cross_entropy(model(images), labels)
        with torch.no_grad():
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight += params.step * gradient.sign()
        yield base.Step(forward=len(labels), backward=len(labels), values={"loss_forget": loss.item()})


METHOD = base.Method(
    name="sign_ascent",
    rule="θ ← θ + step · sign(∇L_f)",
    source="an example",
    reads=frozenset({"forget"}),
    params=Params,
    published=None,
    run=run,
)
