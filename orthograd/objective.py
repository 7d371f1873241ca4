"""The losses of samples and of sequences that training and the methods descend or climb."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IGNORED = -100  # label of what is no token of a sequence; torch's cross-entropy leaves it out


def losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of each sample (n,), in nats; of a sequence, the mean over its own tokens.

    Args:
        logits: (n, classes), or (n, length, vocabulary) of sequences.
        labels: int64 (n,), or (n, length) with `IGNORED` where a sequence has no token.
    """
    from torch.nn import functional as F

    if labels.dim() == 1:
        return F.cross_entropy(logits, labels, reduction="none")
    # Flat: on CUDA the form for more dimensions is not deterministic.
    flat = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
    return token_mean(flat.view_as(labels), labels)


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean of `losses`: L_f of forget and L_r of retain samples. Every sequence has the same weight."""
    from torch.nn import functional as F

    # Torch's own mean adds up in another order than the mean of the losses.
    return F.cross_entropy(logits, labels) if labels.dim() == 1 else losses(logits, labels).mean()


def token_mean(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean (n,) of values (n, length) over the tokens of each sequence, those without `IGNORED` as label."""
    own = labels != IGNORED
    return values.where(own, 0).sum(dim=1) / own.sum(dim=1)


def divergence(
    logits: torch.Tensor, reference: torch.Tensor, labels: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """T² KL(softmax(reference / T) ‖ softmax(logits / T)) in nats, the mean over the samples, as `loss` takes it.

    T² makes the gradient's size independent of the temperature (Hinton et al. 2015).

    Args:
        logits: (n, classes) or (n, length, vocabulary), which the gradient reaches.
        reference: of the same shape.
        labels: (n,) or (n, length): they only say which tokens count.
        temperature: T > 0.
    """
    from torch.nn import functional as F

    found = F.log_softmax(logits / temperature, dim=-1)
    wanted = F.log_softmax(reference / temperature, dim=-1)
    if labels.dim() == 1:
        return temperature**2 * F.kl_div(found, wanted, reduction="batchmean", log_target=True)
    tokens = F.kl_div(found, wanted, reduction="none", log_target=True).sum(dim=-1)
    return temperature**2 * token_mean(tokens, labels).mean()
