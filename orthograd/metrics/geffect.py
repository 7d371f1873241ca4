"""G-effect (arXiv:2502.19301): what a step does to the risk of a set of samples, to first order."""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from orthograd.data.samples import Samples


def g_effect(before: nn.Module, after: nn.Module, samples: Samples, batch_size: int) -> float:
    """⟨∇R(θ), θ' − θ⟩, in nats: the first-order change of the risk R, the mean cross-entropy, by a step θ → θ'.

    On the forget set (e_u) a positive value is forgetting; on retain samples (e_r) 0 is ideal, a positive value harm.
    (The source multiplies with the gradient of the objective that is descended: the opposite sign, without the step's
    size.) Buffers are those of `before`; a change of them is not part of the update.

    Args:
        before: the model at θ, in evaluation mode; it stays as it is.
        after: the same architecture at θ'.
        samples: D_u or D_r.
        batch_size: samples in a forward and backward pass.

    Raises:
        ValueError: no samples, training mode (batch normalisation would depend on the batch), or other parameters.
        FloatingPointError: a gradient or the update is not finite.
    """
    if len(samples) == 0:
        raise ValueError("the risk of no samples is not defined: check the sizes of the split")
    if before.training:
        raise ValueError("the model is in training mode: call model.eval() first")
    theta = {name: parameter.detach().requires_grad_() for name, parameter in before.named_parameters()}
    moved = {name: parameter.detach() for name, parameter in after.named_parameters()}
    if {n: p.shape for n, p in theta.items()} != {n: p.shape for n, p in moved.items()}:
        raise ValueError("the models have different parameters: merge adapters into the weights first")
    effect = 0.0
    for images, labels in zip(
        samples.images.split(batch_size), samples.labels.split(batch_size), strict=True
    ):
        risk = F.cross_entropy(functional_call(before, theta, (images,)), labels, reduction="sum") / len(
            samples
        )
        gradients = torch.autograd.grad(risk, list(theta.values()), allow_unused=True)
        for (name, parameter), gradient in zip(theta.items(), gradients, strict=True):
            if gradient is not None:
                update = moved[name].double() - parameter.detach().double()
                effect += float((gradient.double() * update).sum())
    if not abs(effect) < float("inf"):
        raise FloatingPointError("the G-effect is not finite: the model diverged; leave its run out")
    return effect
