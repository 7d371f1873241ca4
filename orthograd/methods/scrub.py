"""SCRUB: away from the original model on the forget set, near it and the labels on the retain set, in turns."""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd import objective
from orthograd.methods import base

if TYPE_CHECKING:
    from torch import nn


class Params(base.Sgd):
    alpha: float = Field(
        ge=0, description="weight of the divergence from the original on retain data, a number >= 0"
    )
    gamma: float = Field(ge=0, description="weight of the cross-entropy on retain data, a number >= 0")
    temperature: float = Field(gt=0, description="T of the divergence, a number > 0")
    max_rounds: int = Field(
        ge=0, description="the first rounds, which begin with a pass of ascent, a whole number >= 0"
    )
    forget_batch: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    retain_batch: int = Field(gt=0, description="retain samples in a step, a whole number >= 1")
    passes: int | None = Field(
        gt=0,
        description="rounds, each with one pass over the retain set, after which the method ends; null: the stopping "
        "rule ends it",
    )


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Rounds of ascent of KL_T(original ‖ model) on forget data, then descent of γ·L_r + α·KL_T on retain data.

    The divergence has no gradient at the original itself: with batch normalisation in evaluation mode, the ascent of
    the first round starts from nothing but weight decay, and that of the later ones from the descent before.
    A round is complete at its end.
    """
    import torch

    original = base.frozen_copy(model)
    optimizer = params.optimizer(model)
    forget = data.batches("forget", params.forget_batch)
    retain = data.batches("retain", params.retain_batch)
    retain_steps = data.steps("retain", params.retain_batch)
    for done in count() if params.passes is None else range(params.passes):
        ascent = data.steps("forget", params.forget_batch) if done < params.max_rounds else 0
        for images, labels in islice(forget, ascent):
            with torch.no_grad():
                reference = original(images)
            optimizer.zero_grad()
            divergence = objective.divergence(model(images), reference, labels, params.temperature)
            (-divergence).backward()
            optimizer.step()
            yield base.Step(
                2 * len(images), len(images), {"divergence_forget": divergence.item()}, complete=False
            )
        for step, (images, labels) in enumerate(islice(retain, retain_steps), start=1):
            with torch.no_grad():
                reference = original(images)
            optimizer.zero_grad()
            logits = model(images)
            loss = objective.loss(logits, labels)
            divergence = objective.divergence(logits, reference, labels, params.temperature)
            (params.gamma * loss + params.alpha * divergence).backward()
            optimizer.step()
            yield base.Step(
                2 * len(labels),
                len(labels),
                {"loss_retain": loss.item(), "divergence_retain": divergence.item()},
                complete=step == retain_steps,
            )


PUBLISHED = base.Published(
    {
        "learning_rate": 5e-4,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "alpha": 0.001,
        "gamma": 0.99,
        "temperature": 4.0,
        "max_rounds": 2,
        "forget_batch": 64,
        "retain_batch": 64,
        "passes": 3,
    },
    "Kurmanji et al. 2023, large scale, momentum and weight decay from their code; batch sizes are ours",
)

METHOD = base.Method(
    name="scrub",
    rule="in the first max_rounds rounds θ ← θ + η ∇KL_T(original ‖ θ) on forget data; in every round θ ← θ − η "
    "∇(γ L_r + α KL_T(original ‖ θ)) on retain data",
    source="Kurmanji et al. 2023 (arXiv:2302.09880)",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=PUBLISHED,
    run=run,
    scenarios=base.ALL,
)
