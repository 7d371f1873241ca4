"""SalUn: random label, in the weights alone that the forget loss depends on most."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.methods import base, random_label

if TYPE_CHECKING:
    import torch
    from torch import nn


class Params(random_label.Params):
    fraction: float = Field(gt=0, le=1, description="part of the weights that may move, a number in (0, 1]")


def salient(gradients: list[torch.Tensor], fraction: float) -> list[torch.Tensor]:
    """Masks of the entries that are largest in absolute value among all tensors: `fraction` of them, rounded.

    Of entries that are equal at the border any may be chosen.
    """
    import torch

    sizes = torch.cat([gradient.abs().flatten() for gradient in gradients])
    chosen = torch.zeros_like(sizes, dtype=torch.bool)
    chosen[sizes.topk(round(fraction * len(sizes)), sorted=False).indices] = True
    parts = chosen.split([gradient.numel() for gradient in gradients])
    return [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)]


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Random label; after every step the weights outside the mask are put back.

    The mask holds the weights with the largest |∇L_f| at the original model, L_f the mean cross-entropy of the whole
    forget set with its true labels. To mask gradients alone would leave weight decay to move the others.
    """
    import torch

    parameters = base.trainable(model)
    masks = salient(base.mean_gradient(model, data["forget"]), params.fraction)
    original = [parameter.detach().clone() for parameter in parameters]
    counted = len(data["forget"])
    for step in random_label.run(model, data, params):
        with torch.no_grad():
            for parameter, mask, value in zip(parameters, masks, original, strict=True):
                parameter.copy_(parameter.where(mask, value))
        yield replace(step, forward=step.forward + counted, backward=step.backward + counted)
        counted = 0


METHOD = base.Method(
    name="salun",
    rule="θ ← θ − η m ⊙ ∇(L_f' + α L_r), m = 1 where |∇L_f| is largest, L_f' with wrong labels",
    source="Fan et al. 2024 (arXiv:2310.12508); labels other than the true one, drawn once, where their code draws "
    "from all classes anew in each pass",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=base.Published(
        {
            "learning_rate": 0.013,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "alpha": 1.0,
            "forget_batch": 64,
            "retain_batch": 64,
            "passes": 10,
            "fraction": 0.5,
        },
        "Fan et al. 2024 and their code; α and the batch sizes are ours",
    ),
    run=run,
    no_speech="its forget loss is on wrong class labels, and transcripts have none",
)
