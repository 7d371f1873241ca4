"""The gradient of each sample's own loss, for the methods that need more of them than their mean.

Apart from `orthograd.methods.base`, so that only these methods depend on the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from orthograd.data.samples import Samples
from orthograd.methods import base

if TYPE_CHECKING:
    import torch
    from torch import nn

# Of the gradients that are held at once: bounds memory, changes no result.
CHUNK_BYTES = 2**28


def sample_gradients(
    model: nn.Module, samples: Samples, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> Iterator[list[torch.Tensor]]:
    """The gradient of each sample's own loss, in chunks that bound the memory.

    Every sample passes forward and backward once.

    Args:
        model: in evaluation mode.
        samples: at least one.
        loss: maps logits (1, classes) and labels (1,) to a scalar.

    Yields:
        For the next samples in their order, one tensor (samples, *shape) for each of `trainable(model)`.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    values = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def sample_loss(
        values: dict[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor
    ) -> torch.Tensor:
        return loss(torch.func.functional_call(model, values, (image[None],)), label[None])

    rows = torch.func.vmap(torch.func.grad(sample_loss), in_dims=(None, 0, 0))
    row_bytes = sum(value.numel() * value.element_size() for value in values.values())
    size = max(1, min(base.CHUNK_SAMPLES, CHUNK_BYTES // row_bytes))
    for images, labels in zip(samples.images.split(size), samples.labels.split(size), strict=True):
        # The fused attention kernels have no batching rule; the plain formula has.
        with sdpa_kernel(SDPBackend.MATH):
            gradients = rows(values, images, labels)
        yield list(gradients.values())


def squared_gradients(
    model: nn.Module, samples: Samples, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> list[torch.Tensor]:
    """Mean over a set of the squared gradient of each sample's own loss: the diagonal of an empirical Fisher matrix.

    The gradients are squared sample by sample; the square of a batch's mean gradient would depend on the batch.
    Every sample passes forward and backward once.

    Args:
        model: in evaluation mode.
        samples: at least one.
        loss: maps logits (1, classes) and labels (1,) to a scalar.

    Returns:
        One tensor in float64 for each of `trainable(model)`, in its shape.
    """
    import torch

    from orthograd.precision import exact

    total = [torch.zeros_like(exact(parameter.detach())) for parameter in base.trainable(model)]
    for rows in sample_gradients(model, samples, loss):
        for part, gradients in zip(total, rows, strict=True):
            part += exact(gradients).square().sum(dim=0)
    return [part / len(samples) for part in total]
