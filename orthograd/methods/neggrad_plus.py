"""NegGrad+: ascent on the forget set and descent on the retain set in one step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.methods import base

if TYPE_CHECKING:
    from torch import nn


class Params(base.Params):
    alpha: float = Field(ge=0, le=1, description="weight of the retain loss, a number in [0, 1]")
    forget_batch: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    retain_batch: int = Field(gt=0, description="retain samples in a step, a whole number >= 1")


def run(model: nn.Module, data: base.DataView, params: Params) -> Iterator[base.Step]:
    """Descend α·L_r − (1−α)·L_f, both mean cross-entropies of a batch."""
    import torch
    from torch.nn import functional as F

    optimizer = base.sgd(model, params)
    forget = data.batches("forget", params.forget_batch)
    retain = data.batches("retain", params.retain_batch)
    for (images_f, labels_f), (images_r, labels_r) in zip(forget, retain, strict=True):
        optimizer.zero_grad()
        logits_f, logits_r = model(torch.cat([images_f, images_r])).split([len(labels_f), len(labels_r)])
        loss_f = F.cross_entropy(logits_f, labels_f)
        loss_r = F.cross_entropy(logits_r, labels_r)
        (params.alpha * loss_r - (1 - params.alpha) * loss_f).backward()
        optimizer.step()
        samples = len(labels_f) + len(labels_r)
        yield base.Step(samples, samples, {"loss_forget": loss_f.item(), "loss_retain": loss_r.item()})


METHOD = base.Method(
    name="neggrad_plus",
    rule="θ ← θ − η ∇(α L_r − (1−α) L_f)",
    source="baseline of Kurmanji et al. 2023",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    run=run,
)
