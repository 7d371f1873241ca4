"""OrthoGrad's ablation: pure projected ascent, without the retain term."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orthograd.methods import base
from orthograd.methods.orthograd import Common, Rtol, retain_batches, updates

if TYPE_CHECKING:
    from torch import nn


class Params(Common):
    rtol: Rtol


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Ascend g_u⊥: OrthoGrad at α = 0.

    Without momentum and weight decay a step leaves the loss of each sampled retain sample unchanged to first order.
    """
    from orthograd.engine import OrthoGrad

    engine = OrthoGrad(model, alpha=0.0, rtol=params.rtol)
    yield from updates(engine, data, params, retain_batches(data, params))


METHOD = base.Method(
    name="orthograd_ascent",
    rule="θ ← θ + η g_u⊥",
    source="arXiv:2503.02312 at α = 0",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=None,
    run=run,
    scenarios=base.ALL,
)
