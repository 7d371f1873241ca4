"""Bad Teacher: imitate an untrained net on the forget set and the original one on the retain set."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.methods import base

if TYPE_CHECKING:
    import torch
    from torch import nn


class Params(base.Adam):
    temperature: float = Field(gt=0, description="T of the divergence, a number > 0")
    forget_batch: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    retain_batch: int = Field(gt=0, description="retain samples in a step, a whole number >= 1")
    passes: int | None = Field(
        gt=0,
        description="passes over the forget set after which the method ends; null: the stopping rule ends it",
    )


def untrained(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """A frozen copy of a model with new parameters, drawn as its modules draw them when they are made.

    Parameters of modules that cannot reset themselves, such as the class token of a vision transformer, become normal
    with the standard deviation 0.02 that is common for them. Buffers that a reset does not touch stay.

    Args:
        generator: where the random numbers come from; torch's global ones are left as they are.
    """
    import torch
    from torch import nn

    device = next(model.parameters()).device
    # Drawn on the CPU: the same net on every device.
    fresh = base.frozen_copy(model).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator.initial_seed())
        for module in fresh.modules():
            for parameter in module.parameters(recurse=False):
                nn.init.normal_(parameter, std=0.02)
            for reset in ("_reset_parameters", "reset_parameters"):
                if hasattr(module, reset):
                    getattr(module, reset)()
    return fresh.to(device)


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend the mean over a forget and a retain batch of KL_T(teacher ‖ model), each with its own teacher."""
    import torch

    original = base.frozen_copy(model)
    incompetent = untrained(model, data.generator("untrained teacher"))
    optimizer = params.optimizer(model)
    forget = data.batches("forget", params.forget_batch)
    retain = data.batches("retain", params.retain_batch)
    for (images_f, labels_f), (images_r, labels_r) in islice(
        zip(forget, retain, strict=True), base.limit(params.passes, data.steps("forget", params.forget_batch))
    ):
        with torch.no_grad():
            reference = torch.cat([incompetent(images_f), original(images_r)])
        optimizer.zero_grad()
        logits = model(torch.cat([images_f, images_r]))
        loss = base.divergence(logits, reference, torch.cat([labels_f, labels_r]), params.temperature)
        loss.backward()
        optimizer.step()
        yield base.Step(2 * len(logits), len(logits), {"divergence": loss.item()})


METHOD = base.Method(
    name="bad_teacher",
    rule="θ ← AdamW(∇ mean KL_T(t ‖ θ)), t an untrained net on forget data and the original on retain data",
    source="Chundawat et al. 2023 (arXiv:2205.08096)",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=base.Published(
        {
            "learning_rate": 1e-4,
            "weight_decay": 0.0,
            "temperature": 1.0,
            "forget_batch": 64,
            "retain_batch": 64,
            "passes": 1,
        },
        "Chundawat et al. 2023; batch sizes, and as many retain as forget samples in a step, are ours",
    ),
    run=run,
    scenarios=base.ALL,
)
