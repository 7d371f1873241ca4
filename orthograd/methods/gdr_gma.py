"""GDR-GMA: forget and retain gradients without their conflict, weighted by how high the retain loss is."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd import objective
from orthograd.methods import base

if TYPE_CHECKING:
    import torch
    from torch import nn


class Params(base.Adam):
    gamma: float = Field(
        gt=0, description="γ, how sharply the weight switches at the retain loss ε, a number > 0"
    )
    epsilon: float = Field(
        ge=0, description="ε, retain loss in nats above which the retain gradient takes over, a number >= 0"
    )
    project_off_rectified: bool = Field(
        description="true: project the forget gradient along the retain gradient as it is after its own projection, as "
        "the official code does; false: as it was before, the published formula"
    )
    forget_batch: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    retain_batch: int = Field(gt=0, description="retain samples in a step, a whole number >= 1")
    passes: int | None = Field(
        gt=0,
        description="passes over the forget set after which the method ends; null: the stopping rule ends it",
    )


def _conflict(vector: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """⟨vector, other⟩ / ‖other‖² where the product is negative, else 0."""
    square = other.square().sum()
    # A zero vector conflicts with nothing.
    return (vector * other).sum().clamp(max=0) / square.where(square > 0, 1)


def rectify(
    retain: torch.Tensor, forget: torch.Tensor, project_off_rectified: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both gradients of a tensor, each projected to the half-space in which it does not oppose the other.

    Args:
        retain: gradient of L_r.
        forget: gradient of −L_f, in the same shape.
        project_off_rectified: see `Params`.
    """
    rectified = retain - _conflict(retain, forget) * forget
    along = rectified if project_off_rectified else retain
    return rectified, forget - _conflict(forget, retain) * along


def without_past_conflict(forget: torch.Tensor, past: deque[torch.Tensor]) -> torch.Tensor:
    """A forget gradient projected off the mean of those past ones that it opposes."""
    opposed = [other for other in past if float((forget * other).sum()) < 0]
    if not opposed:
        return forget
    mean = sum(opposed[1:], opposed[0]) / len(opposed)
    return forget - _conflict(forget, mean) * mean


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend (1−λ)·g_r + λ·g_f with λ = 1/(1 + exp(γ(L_r − ε))), both without conflict in each tensor.

    g_f is the gradient of −L_f. From the second pass on the last tensor's g_f is also projected off the mean of those
    gradients of the past pass that it opposes. λ is next to 0 where L_r is far above ε: then nothing is forgotten, and
    ε has to be tuned.
    """
    import torch

    parameters = base.trainable(model)
    optimizer = params.optimizer(model)
    in_pass = data.steps("forget", params.forget_batch)
    past: deque[torch.Tensor] = deque(maxlen=in_pass)
    forget = data.batches("forget", params.forget_batch)
    retain = data.batches("retain", params.retain_batch)
    for step, ((images_f, labels_f), (images_r, labels_r)) in islice(
        enumerate(zip(forget, retain, strict=True)), base.limit(params.passes, in_pass)
    ):
        loss_r = objective.loss(model(images_r), labels_r)
        retain_gradients = base.gradients(loss_r, parameters)
        loss_f = objective.loss(model(images_f), labels_f)
        forget_gradients = base.gradients(-loss_f, parameters)
        past.append(forget_gradients[-1])
        pairs = [
            rectify(*pair, params.project_off_rectified)
            for pair in zip(retain_gradients, forget_gradients, strict=True)
        ]
        if step >= in_pass:
            rectified, last = pairs[-1]
            pairs[-1] = rectified, without_past_conflict(last, past)
        weight = torch.sigmoid(-params.gamma * (loss_r.detach() - params.epsilon))
        for parameter, (retain_gradient, forget_gradient) in zip(parameters, pairs, strict=True):
            parameter.grad = (1 - weight) * retain_gradient + weight * forget_gradient
        optimizer.step()
        samples = len(labels_f) + len(labels_r)
        yield base.Step(
            samples,
            samples,
            {"loss_forget": loss_f.item(), "loss_retain": loss_r.item(), "forget_weight": weight.item()},
        )


METHOD = base.Method(
    name="gdr_gma",
    rule="θ ← AdamW((1−λ) g_r' + λ g_f'), g' without conflict in each tensor (in the last one from "
    "the second pass on also with the forget gradients of the pass before), λ = 1/(1 + exp(γ(L_r − ε)))",
    source="Lin et al. 2024, ACM Multimedia; the past gradients are left as they are, which the official code adds up "
    "in place",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=base.Published(
        {
            "learning_rate": 1e-4,
            "weight_decay": 0.01,
            "gamma": 100.0,
            "epsilon": 0.02,
            "project_off_rectified": False,
            "forget_batch": 64,
            "retain_batch": 64,
            "passes": 10,
        },
        "Lin et al. 2024 and the official code, whose weight decay is torch's for AdamW; the projection is that of the "
        "paper; the batch sizes are ours (there 256, of far larger sets)",
    ),
    run=run,
    scenarios=base.ALL,
)
