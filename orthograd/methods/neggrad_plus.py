"""NegGrad+: ascent on the forget set and descent on the retain set in one step."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd import objective
from orthograd.methods import base

if TYPE_CHECKING:
    from torch import nn


class Params(base.Sgd):
    alpha: float = Field(ge=0, le=1, description="weight of the retain loss, a number in [0, 1]")
    forget_batch: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    retain_batch: int = Field(gt=0, description="retain samples in a step, a whole number >= 1")
    passes: int | None = Field(
        gt=0,
        description="passes over the forget set after which the method ends; null: the stopping rule ends it",
    )


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend α·L_r − (1−α)·L_f, both mean cross-entropies of a batch."""
    import torch

    optimizer = params.optimizer(model)
    forget = data.batches("forget", params.forget_batch)
    retain = data.batches("retain", params.retain_batch)
    for (images_f, labels_f), (images_r, labels_r) in islice(
        zip(forget, retain, strict=True), base.limit(params.passes, data.steps("forget", params.forget_batch))
    ):
        optimizer.zero_grad()
        logits_f, logits_r = model(torch.cat([images_f, images_r])).split([len(labels_f), len(labels_r)])
        loss_f = objective.loss(logits_f, labels_f)
        loss_r = objective.loss(logits_r, labels_r)
        (params.alpha * loss_r - (1 - params.alpha) * loss_f).backward()
        optimizer.step()
        samples = len(labels_f) + len(labels_r)
        yield base.Step(samples, samples, {"loss_forget": loss_f.item(), "loss_retain": loss_r.item()})


METHOD = base.Method(
    name="neggrad_plus",
    rule="θ ← θ − η ∇(α L_r − (1−α) L_f)",
    source="baseline of Kurmanji et al. 2023 (arXiv:2302.09880)",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=base.Published(
        {
            "learning_rate": 0.01,
            "momentum": 0.0,
            "weight_decay": 0.0,
            "alpha": 0.95,
            "forget_batch": 64,
            "retain_batch": 64,
            "passes": 10,
        },
        "Kurmanji et al. 2023, small scale; batch sizes and passes are ours",
    ),
    run=run,
    scenarios=base.ALL,
)
