"""OrthoGrad: ascent on the forget set along the part of its gradient that no sampled retain gradient sees.

The variants `orthograd_*` differ from it in one thing each and share the loop that is here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from orthograd.methods import base

if TYPE_CHECKING:
    import torch
    from torch import nn

    from orthograd.engine import OrthoGrad

Alpha = Annotated[
    float, Field(ge=0, le=1, description="weight of the mean retain gradient, a number in [0, 1]")
]
Rtol = Annotated[
    float,
    Field(
        gt=0,
        lt=1,
        description="singular values below rtol times the largest count as zero, a number in (0, 1)",
    ),
]


class Common(base.Sgd):
    """What all variants have."""

    forget_batch: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    retain_batch: int = Field(gt=0, description="k, the retain samples whose gradients are projected off")
    passes: int | None = Field(
        gt=0,
        description="passes over the forget set after which the method ends; null: the stopping rule ends it",
    )


class Params(Common):
    alpha: Alpha
    rtol: Rtol


@dataclass(frozen=True)
class RetainBatch:
    """Retain samples of a step.

    Attributes:
        images: (k, C, H, W), or rows of utterances (k,).
        labels: int64 (k,), or (k, length) of sequences.
        targets: probabilities (k, classes) or (k, length, vocabulary), for the divergence from them in the place of
            the cross-entropy.
        forward: samples that passed forward to make the batch.
    """

    images: torch.Tensor
    labels: torch.Tensor
    targets: torch.Tensor | None = None
    forward: int = 0

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The batch for the engine."""
        both = (self.images, self.labels)
        return both if self.targets is None else (*both, self.targets)


def retain_batches(data: base.DataView, params: Common) -> Iterator[RetainBatch]:
    """Endless batches, for the cross-entropy."""
    for images, labels in data.batches("retain", params.retain_batch):
        yield RetainBatch(images, labels)


def updates(
    engine: OrthoGrad, data: base.DataView, params: Common, retain: Iterator[RetainBatch]
) -> base.Updates:
    """Descend the direction that an engine computes, by SGD; closes the engine at the end.

    Args:
        engine: of the model; says what is projected off what.
        data: with a forget set.
        params: the optimizer, the batch size and the number of passes.
        retain: retain batches, one a step.

    It ends by itself where a loss or a gradient is not finite any more.
    """
    from orthograd.engine import NotFiniteError

    def losses(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        images, labels, *targets = batch
        logits = model(images)
        if not targets:
            return base.losses(logits, labels)
        # Its gradient in the logits is that of KL(targets ‖ softmax(logits)). Autograd's own is a difference of nearly
        # equal numbers where the two are close, and its rounding is not proportional to a sample's weight, which the
        # engine would take for losses that mix samples.
        found = ((logits.softmax(dim=-1) - targets[0]).detach() * logits).sum(dim=-1)
        return found if labels.dim() == 1 else base.token_mean(found, labels)

    optimizer = params.optimizer(engine.model)
    forget = data.batches("forget", params.forget_batch)
    with engine:
        batches = zip(forget, retain, strict=True)
        steps = base.limit(params.passes, data.steps("forget", params.forget_batch))
        for number, (forget_batch, retain_batch) in enumerate(islice(batches, steps)):
            optimizer.zero_grad()
            try:
                diagnostics = engine.backward_from(losses, forget_batch, retain_batch.tensors)
            except NotFiniteError:
                # After a step it is the model that has diverged, which is a result; before, it is the data.
                if number == 0:
                    raise
                return
            optimizer.step()
            yield base.Step(
                diagnostics.forward_samples + retain_batch.forward,
                diagnostics.backward_samples,
                {
                    name: float(value)
                    # The largest cosine is left out: without full diagnostics it is no measurement on the gradients.
                    for name in ("rank", "dropped_rows", "removed_fraction", "condition_number")
                    if (value := getattr(diagnostics, name)) is not None
                },
            )


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend α·mean(g_r) − (1−α)·g_u⊥, g_u⊥ in the whole parameter space (arXiv:2503.02312)."""
    from orthograd.engine import OrthoGrad

    engine = OrthoGrad(model, alpha=params.alpha, rtol=params.rtol)
    yield from updates(engine, data, params, retain_batches(data, params))


METHOD = base.Method(
    name="orthograd",
    rule="θ ← θ − η (α mean(g_r) − (1−α) g_u⊥)",
    source="arXiv:2503.02312",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=None,
    run=run,
    scenarios=base.ALL,
)
