"""Scissorhands: draw the weights that matter most to the forget set anew, then repair without learning it again."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.data.samples import Samples
from orthograd.methods import base

if TYPE_CHECKING:
    import torch
    from torch import nn


class Params(base.Sgd):
    fraction: float = Field(
        gt=0, lt=1, description="part of the weights that is drawn anew, a number in (0, 1)"
    )
    forget_weight: float = Field(
        ge=0, description="λ, weight of the forget loss in the repair, a number >= 0"
    )
    margin: float = Field(
        ge=0,
        description="smallest multiple of the memory gradient that a projection adds (its strength in gradient "
        "episodic memory), a number >= 0",
    )
    forget_batch: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    retain_batch: int = Field(gt=0, description="retain samples in a step, a whole number >= 1")
    passes: int | None = Field(
        gt=0,
        description="passes over the forget set after which the method ends; null: the stopping rule ends it",
    )


def trim(model: nn.Module, forget: Samples, fraction: float, generator: torch.Generator) -> int:
    """Draw the weights with the largest |θ ∂L_f/∂θ| (SNIP) anew, and say how many they are.

    Weights are the trainable parameters with at least two dimensions, ranked together; biases and the parameters of
    norms stay. They are drawn uniformly from ±1/√fan_in, which is how torch initialises linear and convolution layers.
    """
    import torch

    parameters = base.trainable(model)
    gradients = base.mean_gradient(model, forget)
    pairs = [(p, g) for p, g in zip(parameters, gradients, strict=True) if p.dim() >= 2]
    saliency = torch.cat([(p.detach() * g).abs().flatten() for p, g in pairs])
    count = max(1, round(fraction * len(saliency)))
    chosen = torch.zeros_like(saliency, dtype=torch.bool)
    chosen[saliency.topk(count).indices] = True
    with torch.no_grad():
        for (p, _), mask in zip(pairs, chosen.split([p.numel() for p, _ in pairs]), strict=True):
            bound = p[0].numel() ** -0.5
            fresh = bound * (2 * torch.rand(p.shape, generator=generator, dtype=p.dtype) - 1)
            p[mask.view_as(p)] = fresh.to(p.device)[mask.view_as(p)]
    return count


def coefficient(gradient: list[torch.Tensor], memory: list[torch.Tensor], margin: float) -> float:
    """v with which gradient + v·memory is the projection of a gradient that opposes the memory, else 0.

    v minimises ½‖gradient + v·memory‖² under v ≥ margin: the dual of gradient episodic memory with one constraint. At
    margin 0 it is the nearest vector to the gradient that does not oppose the memory.
    """
    product = float(sum((g * m).sum() for g, m in zip(gradient, memory, strict=True)))
    if product >= 0:
        return 0.0
    square = float(sum(m.square().sum() for m in memory))
    return max(margin, -product / square)


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Draw weights anew, then descend L_r − λ·L_f, projected where it opposes the gradient of −L_f.

    The latter is measured on the whole forget set at the start of each pass. The stopping rule looks at the end of
    each pass: a net that is trimmed and not repaired has forgotten everything.
    """
    import torch

    forget_set = data["forget"]
    trimmed = trim(model, forget_set, params.fraction, data.generator("weights"))
    yield base.Step(len(forget_set), len(forget_set), {"trimmed": float(trimmed)}, complete=False)
    parameters = base.trainable(model)
    optimizer = params.optimizer(model)
    in_pass = data.steps("forget", params.forget_batch)
    forget = data.batches("forget", params.forget_batch)
    retain = data.batches("retain", params.retain_batch)
    memory: list[torch.Tensor] = []
    for step, ((images_f, labels_f), (images_r, labels_r)) in islice(
        enumerate(zip(forget, retain, strict=True)), base.limit(params.passes, in_pass)
    ):
        samples = len(labels_f) + len(labels_r)
        if step % in_pass == 0:
            memory = [-gradient for gradient in base.mean_gradient(model, forget_set)]
            samples += len(forget_set)
        logits_f, logits_r = model(torch.cat([images_f, images_r])).split([len(labels_f), len(labels_r)])
        loss_f = base.loss(logits_f, labels_f)
        loss_r = base.loss(logits_r, labels_r)
        gradients = base.gradients(loss_r - params.forget_weight * loss_f, parameters)
        added = coefficient(gradients, memory, params.margin)
        for parameter, gradient, past in zip(parameters, gradients, memory, strict=True):
            parameter.grad = gradient + added * past
        optimizer.step()
        yield base.Step(
            samples,
            samples,
            {"loss_forget": loss_f.item(), "loss_retain": loss_r.item(), "projected": float(added > 0)},
            complete=(step + 1) % in_pass == 0,
        )


METHOD = base.Method(
    name="scissorhands",
    rule="draw the weights with the largest |θ ∇L_f| anew; then θ ← θ − η P(∇(L_r − λ L_f)), ⟨P(g), −∇L_f⟩ ≥ 0",
    source="Wu and Harandi 2024, ECCV; saliency and projection on the whole forget set, where the official code takes "
    "a batch of it and trims named layers of a ResNet only",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=base.Published(
        {
            "learning_rate": 5e-3,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "fraction": 0.03,
            "forget_weight": 0.05,
            "margin": 0.5,
            "forget_batch": 64,
            "retain_batch": 64,
            "passes": 10,
        },
        "official script, 10% of CIFAR-10, and the official code's margin; the batch sizes are ours (there 256, of far "
        "larger sets), and a pass is one over the forget set",
    ),
    run=run,
    scenarios=base.ALL,
)
