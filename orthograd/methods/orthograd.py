"""OrthoGrad: ascent on the forget set along the part of its gradient that no sampled retain gradient sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.methods import base

if TYPE_CHECKING:
    import torch
    from torch import nn


class Params(base.Params):
    alpha: float = Field(ge=0, le=1, description="weight of the mean retain gradient, a number in [0, 1]")
    forget_batch: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    retain_batch: int = Field(gt=0, description="k, the retain samples whose gradients are projected off")
    rtol: float = Field(
        gt=0,
        lt=1,
        description="singular values below rtol times the largest count as zero, a number in (0, 1)",
    )


def run(model: nn.Module, data: base.DataView, params: Params) -> Iterator[base.Step]:
    """Descend α·mean(g_r) − (1−α)·g_u⊥, computed by `orthograd.OrthoGrad` (arXiv:2503.02312)."""
    from torch.nn import functional as F

    from orthograd.engine import OrthoGrad

    def losses(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        images, labels = batch
        return F.cross_entropy(model(images), labels, reduction="none")

    optimizer = base.sgd(model, params)
    engine = OrthoGrad(model, alpha=params.alpha, rtol=params.rtol)
    forget = data.batches("forget", params.forget_batch)
    retain = data.batches("retain", params.retain_batch)
    for forget_batch, retain_batch in zip(forget, retain, strict=True):
        optimizer.zero_grad()
        diagnostics = engine.backward_from(losses, forget_batch, retain_batch)
        optimizer.step()
        yield base.Step(
            diagnostics.forward_samples,
            diagnostics.backward_samples,
            {
                name: float(value)
                for name in ("rank", "dropped_rows", "removed_fraction", "max_cosine", "condition_number")
                if (value := getattr(diagnostics, name)) is not None
            },
        )


METHOD = base.Method(
    name="orthograd",
    rule="θ ← θ − η (α mean(g_r) − (1−α) g_u⊥)",
    source="arXiv:2503.02312",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    run=run,
)
