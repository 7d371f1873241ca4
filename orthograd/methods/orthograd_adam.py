"""OrthoGrad's ablation: Adam directions in the place of gradients, as in the public code copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orthograd.methods import base
from orthograd.methods.orthograd import Params, retain_batches, updates

if TYPE_CHECKING:
    from torch import nn


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend α·mean(a_r) − (1−α)·a_u⊥, a the Adam direction of a gradient (see `orthograd.engine.adam`).

    What is orthogonal to a sample's Adam direction is not orthogonal to its gradient: the loss of a sampled retain
    sample does change to first order. It holds all retain directions at once, in float64.
    """
    from orthograd.engine import OrthoGrad

    engine = OrthoGrad(model, alpha=params.alpha, rtol=params.rtol, solver="materialize", directions="adam")
    yield from updates(engine, data, params, retain_batches(data, params))


METHOD = base.Method(
    name="orthograd_adam",
    rule="θ ← θ − η (α mean(a_r) − (1−α) a_u⊥), a the Adam directions of the gradients: "
    "sampled retain losses are not kept",
    source="public code copy of arXiv:2503.02312, an ablation without the first-order guarantee; there by tensor, here "
    "in the whole parameter space",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=None,
    run=run,
    scenarios=base.ALL,
)
