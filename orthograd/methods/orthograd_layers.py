"""OrthoGrad on some of the layers: the other parameters stay, and no part of them is projected."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.methods import base, orthograd

if TYPE_CHECKING:
    from torch import nn


class Params(orthograd.Params):
    layers: str = Field(
        min_length=1,
        description="regular expression; trained are the parameters in whose names it is found, such as ^head",
    )


@contextmanager
def only(model: nn.Module, layers: str) -> Iterator[None]:
    """Leave trainable only the parameters in whose names the expression is found; at the end all are as they were.

    Raises:
        ValueError: there is none.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    frozen = [parameter for name, parameter in trained.items() if not re.search(layers, name)]
    if len(frozen) == len(trained):
        raise ValueError(
            f"layers = {layers!r} is found in no parameter's name: correct it; there are {', '.join(trained)}"
        )
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend α·mean(g_r) − (1−α)·g_u⊥ in the space of the chosen layers' parameters."""
    from orthograd.engine import OrthoGrad

    with only(model, params.layers):
        engine = OrthoGrad(model, alpha=params.alpha, rtol=params.rtol)
        yield from orthograd.updates(engine, data, params, orthograd.retain_batches(data, params))


METHOD = base.Method(
    name="orthograd_layers",
    rule="θ_L ← θ_L − η (α mean(g_r,L) − (1−α) g_u,L⊥), L the chosen layers",
    source="a choice that public sources on arXiv:2503.02312 leave open: which layers are trained",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=None,
    run=run,
    scenarios=base.ALL,
)
