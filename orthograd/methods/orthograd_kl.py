"""OrthoGrad with the divergence from the original model as retain loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from orthograd.methods import base
from orthograd.methods.orthograd import Params, RetainBatch, retain_batches, updates

if TYPE_CHECKING:
    from torch import nn


def _taught(teacher: nn.Module, batches: Iterator[RetainBatch]) -> Iterator[RetainBatch]:
    """The batches with the teacher's probabilities as targets."""
    import torch

    for batch in batches:
        with torch.no_grad():
            targets = teacher(batch.images).softmax(dim=-1)
        yield replace(batch, targets=targets, forward=batch.forward + len(targets))


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend α·mean(g_r) − (1−α)·g_u⊥, g_r the gradients of KL(original ‖ model).

    At the start they are zero: nothing is projected off, and the first step is plain ascent.
    """
    from orthograd.engine import OrthoGrad

    teacher = base.frozen_copy(model)
    engine = OrthoGrad(model, alpha=params.alpha, rtol=params.rtol)
    yield from updates(engine, data, params, _taught(teacher, retain_batches(data, params)))


METHOD = base.Method(
    name="orthograd_kl",
    rule="θ ← θ − η (α mean(g_r) − (1−α) g_u⊥), g_r = ∇KL(original ‖ model), which is 0 at the start",
    source="arXiv:2503.02312, of which public sources name cross-entropy or KL to the original model as the retain "
    "loss; here the latter",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=None,
    run=run,
    scenarios=base.ALL,
)
