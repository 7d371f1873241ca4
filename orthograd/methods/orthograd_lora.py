"""OrthoGrad on low-rank adapters (LoRA, arXiv:2106.09685) of the linear and convolution layers."""

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
    rank: int = Field(gt=0, description="rank of each adapter, a whole number >= 1")
    lora_alpha: int = Field(
        gt=0, description="an adapter's output is multiplied by lora_alpha / rank, a whole number >= 1"
    )


def _targets(model: nn.Module) -> list[str]:
    """Names of the layers that get an adapter: all linear and 2-d convolution layers that are called as layers.

    torch's attention and encoder layers read the weights of their parts without calling them, so that an adapter there
    would be passed over; and one on a weight that another module shares, such as the embedding of a language model,
    would change that module when it is added to the weight.
    """
    from collections import Counter

    from torch import nn

    users = Counter(
        id(parameter) for module in model.modules() for parameter in module.parameters(recurse=False)
    )

    fused = tuple(
        f"{name}." if name else ""
        for name, module in model.named_modules()
        if isinstance(module, (nn.MultiheadAttention, nn.TransformerEncoderLayer))
    )
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
        and not name.startswith(fused)
        and users[id(module.weight)] == 1
    ]


@contextmanager
def adapters(model: nn.Module, rank: int, lora_alpha: int, seed: int) -> Iterator[None]:
    """Put adapters in, which are all that is trainable inside; at the end add them to the weights and take them out.

    Args:
        model: changed in place; has its own modules, parameters and trainable parameters again afterwards.
        rank: of each adapter.
        lora_alpha: scale of an adapter's output, times `rank`.
        seed: of the adapters' first factors; the second ones start at zero.

    Raises:
        ValueError: no layer can have an adapter, or a grouped convolution's groups do not divide the rank.
    """
    import peft
    import torch
    from peft.tuners.lora import LoraLayer

    names = _targets(model)
    if not names:
        raise ValueError(
            "the model has no linear or convolution layer that an adapter could go to: choose another method"
        )
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=lora_alpha,
        lora_dropout=0.0,
        bias="none",
        # As an expression, which has to fit the whole name; from a list the end of a name would do.
        target_modules="|".join(map(re.escape, names)),
    )
    # The library draws from torch's global random numbers.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, model)
    model.eval()
    try:
        yield
    finally:
        for name in names:
            layer = model.get_submodule(name)
            assert isinstance(layer, LoraLayer), "an adapter was put in there"
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())
        del model.peft_config
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(trained[name])


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend α·mean(g_r) − (1−α)·g_u⊥ in the space of the adapters' parameters A and B."""
    from orthograd.engine import OrthoGrad

    seed = data.generator("adapters").initial_seed()
    with adapters(model, params.rank, params.lora_alpha, seed):
        engine = OrthoGrad(model, alpha=params.alpha, rtol=params.rtol)
        yield from orthograd.updates(engine, data, params, orthograd.retain_batches(data, params))


METHOD = base.Method(
    name="orthograd_lora",
    rule="W = W₀ + (lora_alpha / rank) B A; (A, B) ← (A, B) − η (α mean(g_r) − (1−α) g_u⊥)",
    source="arXiv:2503.02312 on adapters of arXiv:2106.09685",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=None,
    run=run,
    scenarios=base.ALL,
)
