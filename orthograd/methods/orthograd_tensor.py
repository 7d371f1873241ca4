"""OrthoGrad within each parameter tensor, as the public code copy projects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orthograd.methods import base
from orthograd.methods.orthograd import Params, retain_batches, updates

if TYPE_CHECKING:
    from torch import nn


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend α·mean(g_r) − (1−α)·g_u⊥ with a projection of its own for each parameter tensor.

    It removes more than the projection in the whole space, and all of the forget gradient in a tensor with no more
    entries than the rank of its retain gradients, such as a bias.
    """
    from orthograd.engine import OrthoGrad

    engine = OrthoGrad(model, alpha=params.alpha, rtol=params.rtol, scope="tensor")
    yield from updates(engine, data, params, retain_batches(data, params))


METHOD = base.Method(
    name="orthograd_tensor",
    rule="for each tensor t: θ_t ← θ_t − η (α mean(g_r,t) − (1−α) g_u,t⊥)",
    source="public code copy of arXiv:2503.02312; here with a rank tolerance, which the copy lacks",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=None,
    run=run,
    scenarios=base.ALL,
)
