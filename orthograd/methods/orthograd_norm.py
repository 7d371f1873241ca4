"""OrthoGrad on retain samples that are drawn by the norm of their gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from orthograd.data.samples import Samples
from orthograd.methods import base
from orthograd.methods.orthograd import Params, RetainBatch, updates

if TYPE_CHECKING:
    import torch
    from torch import nn


def logit_gradient_norms(model: nn.Module, samples: Samples) -> torch.Tensor:
    """‖softmax(z) − e_y‖, the norm of each loss's gradient in the logits z: float64 (n,), on the CPU.

    Of a sequence it is the norm over all its tokens, each with its part in the mean.

    It takes a forward pass only. The norm in the parameters is at most this times the largest singular value of the
    Jacobian of the logits.
    """
    import torch
    from torch.nn import functional as F

    from orthograd.precision import exact

    norms = []
    with torch.no_grad():
        for images, labels in zip(
            samples.images.split(base.CHUNK_SAMPLES), samples.labels.split(base.CHUNK_SAMPLES), strict=True
        ):
            logits = exact(model(images))
            # Negative labels are those of no token.
            targets = F.one_hot(labels.clamp(min=0), logits.shape[-1]).to(logits)
            found = (logits.softmax(dim=-1) - targets).norm(dim=-1)
            norms.append((found if labels.dim() == 1 else _of_sequences(found, labels)).cpu())
    return torch.cat(norms)


def _of_sequences(norms: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Norms (n,) of the gradients of the mean over each sequence's tokens, from the norms (n, length) of the tokens."""
    own = labels != base.IGNORED
    found: torch.Tensor = norms.where(own, 0).norm(dim=1)
    return found / own.sum(dim=1)


def batches_by_norm(
    model: nn.Module, samples: Samples, size: int, steps: int, generator: torch.Generator
) -> Iterator[RetainBatch]:
    """Batches without repetition inside a batch, drawn in proportion to norms that are measured every `steps` steps."""
    import torch

    if size > len(samples):
        raise ValueError(f"a batch of {size} from {len(samples)} samples: lower the batch size in the config")
    while True:
        # A sample whose gradient is exactly zero may be drawn last.
        weights = logit_gradient_norms(model, samples).clamp(min=torch.finfo(torch.float64).tiny)
        for step in range(steps):
            rows = torch.multinomial(weights, size, generator=generator).to(samples.labels.device)
            measured = 0 if step else len(samples)
            yield RetainBatch(samples.images[rows], samples.labels[rows], forward=measured)


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend α·mean(g_r) − (1−α)·g_u⊥, the retain batch drawn in proportion to its gradients' norms in the logits.

    The norms are measured at the start of each pass over the forget set. The mean over the batch is a plain one: it
    leans to the samples with large gradients.
    """
    from orthograd.engine import OrthoGrad

    retain = batches_by_norm(
        model,
        data["retain"],
        params.retain_batch,
        data.steps("forget", params.forget_batch),
        data.generator("retain"),
    )
    yield from updates(OrthoGrad(model, alpha=params.alpha, rtol=params.rtol), data, params, retain)


METHOD = base.Method(
    name="orthograd_norm",
    rule="θ ← θ − η (α mean(g_r) − (1−α) g_u⊥), retain samples drawn with probability ∝ ‖softmax(z) − e_y‖",
    source="arXiv:2503.02312 with the sampling by gradient norm of arXiv:2205.15704; the norm in the logits stands for "
    "that in the parameters",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=None,
    run=run,
    scenarios=base.ALL,
)
