"""OrthoGrad's ablation: the forget gradient is projected off the mean retain gradient only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orthograd.methods import base
from orthograd.methods.orthograd import Alpha, Common, retain_batches, updates

if TYPE_CHECKING:
    from torch import nn


class Params(Common):
    alpha: Alpha


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend α·ḡ_r − (1−α)·(g_u − (⟨g_u, ḡ_r⟩ / ‖ḡ_r‖²) ḡ_r), ḡ_r the mean retain gradient.

    To first order it keeps the mean loss of the sampled retain samples, not the loss of each.
    """
    from orthograd.engine import OrthoGrad

    engine = OrthoGrad(model, alpha=params.alpha, retain="mean")
    yield from updates(engine, data, params, retain_batches(data, params))


METHOD = base.Method(
    name="orthograd_mean",
    rule="θ ← θ − η (α ḡ_r − (1−α) (g_u − (⟨g_u, ḡ_r⟩ / ‖ḡ_r‖²) ḡ_r)), ḡ_r = mean(g_r)",
    source="ablation of arXiv:2503.02312, by its definition: the mean over samples, in the whole parameter space",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=None,
    run=run,
    scenarios=base.ALL,
)
