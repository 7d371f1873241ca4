"""MUNBa: retain and forget loss as two players that bargain for the step (Nash)."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.data.samples import Samples
from orthograd.methods import base

if TYPE_CHECKING:
    import torch
    from torch import nn

# Times eps: unit vectors whose sum is shorter are opposite up to the rounding of the gradients.
ROUNDING = 32
# Weights of the official code where the players do not come to terms.
NO_BARGAIN = (1.0, 0.1)


class Params(base.Sgd):
    clip: float = Field(gt=0, description="largest norm of the combined gradient, a number > 0")
    forget_batch: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    retain_batch: int = Field(gt=0, description="retain samples in a step, a whole number >= 1")
    passes: int | None = Field(
        gt=0,
        description="passes over the forget set after which the method ends; null: the stopping rule ends it",
    )


def bargain(retain: list[torch.Tensor], forget: list[torch.Tensor]) -> tuple[float, float] | None:
    """Weights (a_r, a_f) of two gradients in the Nash bargaining solution, or None where there is none.

    g = a_r·g_r + a_f·g_f maximises log⟨g_r, g⟩ + log⟨g_f, g⟩ among all g with ‖g‖ = √2: a_i = 1/(‖g_i‖·√(1 + cos)).
    There is none where a gradient is zero, or where they are opposite up to rounding.
    """
    import torch

    from orthograd.precision import joint_norm

    dtype = max((part.dtype for part in retain), key=lambda dtype: torch.finfo(dtype).eps)
    sizes = joint_norm(retain), joint_norm(forget)
    if min(sizes) == 0:
        return None
    # 1 + cos is ‖u_r + u_f‖² / 2 for the unit vectors u, without the cancellation.
    sum_norm = joint_norm(r / sizes[0] + f / sizes[1] for r, f in zip(retain, forget, strict=True))
    if sum_norm <= ROUNDING * torch.finfo(dtype).eps:
        return None
    root = sum_norm / 2**0.5
    return 1 / (sizes[0] * root), 1 / (sizes[1] * root)


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend a_r·g_r + a_f·g_f of `bargain`, clipped; g_f of the cross-entropy with wrong labels, drawn each step.

    The norm of the combination is √2 whatever the gradients are, so with a smaller clip all steps have one length.
    Without a bargain the weights are those of the official code, 1 and 0.1; `bargained` in the trajectory tells.
    """
    import torch
    from torch.nn import functional as F

    parameters = base.trainable(model)
    optimizer = params.optimizer(model)
    labels_generator = data.generator("wrong labels")
    forget = data.batches("forget", params.forget_batch)
    retain = data.batches("retain", params.retain_batch)
    for (images_f, labels_f), (images_r, labels_r) in islice(
        zip(forget, retain, strict=True), base.limit(params.passes, data.steps("forget", params.forget_batch))
    ):
        loss_r = F.cross_entropy(model(images_r), labels_r)
        retain_gradients = base.gradients(loss_r, parameters)
        logits = model(images_f)
        wrong = base.wrong_labels(Samples(images_f, labels_f), logits.shape[1], labels_generator)
        loss_f = F.cross_entropy(logits, wrong.labels)
        forget_gradients = base.gradients(loss_f, parameters)
        weights = bargain(retain_gradients, forget_gradients)
        weight_r, weight_f = weights or NO_BARGAIN
        for parameter, gradient_r, gradient_f in zip(
            parameters, retain_gradients, forget_gradients, strict=True
        ):
            parameter.grad = weight_r * gradient_r + weight_f * gradient_f
        torch.nn.utils.clip_grad_norm_(parameters, params.clip)
        optimizer.step()
        samples = len(labels_f) + len(labels_r)
        yield base.Step(
            samples,
            samples,
            {
                "loss_wrong_labels": loss_f.item(),
                "loss_retain": loss_r.item(),
                "bargained": float(weights is not None),
            },
        )


METHOD = base.Method(
    name="munba",
    rule="θ ← θ − η clip(a_r g_r + a_f g_f'), a_i = 1/(‖g_i‖ √(1 + cos(g_r, g_f'))), g_f' with wrong labels",
    source="Wu and Harandi 2025 (arXiv:2411.15537); the official code draws from all labels, the true one among them",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=base.Published(
        {
            "learning_rate": 0.01,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "clip": 1.0,
            "forget_batch": 64,
            "retain_batch": 64,
            "passes": 10,
        },
        "official code; the batch sizes are ours (there 256, of far larger sets), a pass is one over the forget set",
    ),
    run=run,
    no_speech="its forget loss is on wrong class labels, and transcripts have none",
)
