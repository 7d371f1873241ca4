"""The slow oracle: every per-sample gradient as a row of a k×d matrix, and an SVD of it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from orthograd.engine.batches import Batch, batch_size, take, tree_map
from orthograd.engine.graph import coarsest_eps
from orthograd.engine.projection import project_rows
from orthograd.engine.solution import Parameters, Settings, Solution, merge_spectra
from orthograd.precision import all_finite, exact

LossFunction = Callable[[nn.Module, Batch], Tensor]


def flat_gradient(loss: Tensor, parameters: Parameters, retain_graph: bool) -> Tensor:
    """Gradient (d,) of a scalar loss in float64, zeros for parameters that it does not reach."""
    gradients = torch.autograd.grad(
        loss, list(parameters.values()), retain_graph=retain_graph, allow_unused=True, materialize_grads=True
    )
    return torch.cat([exact(gradient).flatten() for gradient in gradients])


def rows_from_losses(losses: Tensor, parameters: Parameters) -> Tensor:
    """Per-sample gradients (k, d) in float64 of a vector of losses (k,), one backward pass for each."""
    return torch.stack([flat_gradient(loss, parameters, retain_graph=True) for loss in losses])


def rows_from_batch(
    model: nn.Module, loss_fn: LossFunction, batch: Batch, parameters: Parameters, name: str
) -> Tensor:
    """Per-sample gradients (n, d) in float64 of a batch, by a loop at batch size 1."""
    rows = []
    for index in range(batch_size(batch, name)):
        losses = check_losses(loss_fn(model, take(batch, index, index + 1)), 1, name)
        rows.append(flat_gradient(losses[0], parameters, retain_graph=False))
    return torch.stack(rows)


class NotFiniteError(ValueError):
    """A loss, a gradient or the direction is not finite.

    Args:
        what: Which, as a sentence without its end.
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: look for samples that overflow, lower the learning rate of the step before, or leave the "
            "sample out."
        )


def check_values(losses: Tensor, name: str) -> None:
    """Refuse losses that cannot carry the weights of samples, or whose gradients would mean nothing.

    Raises:
        ValueError: With `name`, what the losses are.
    """
    if losses.dtype in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"{name} has dtype {losses.dtype}, in which the weights of the samples would be rounded to two or "
            "three digits: call .float() on the logits, and compute the losses from them."
        )
    if not torch.isfinite(losses).all():
        raise NotFiniteError(f"{name} holds a value that is not finite")


def check_losses(losses: Tensor, count: int, name: str) -> Tensor:
    """Check the vector of losses that loss_fn returned for `count` samples of `name`.

    Raises:
        ValueError: If the shape is not (count,), the dtype is too coarse, or a loss is not finite.
    """
    if losses.shape != (count,):
        raise ValueError(
            f"loss_fn returned shape {tuple(losses.shape)} for {count} samples of {name}, expected "
            f"({count},): return one loss for each sample (reduction='none', and the mean over the other "
            "dimensions)."
        )
    check_values(losses, f"The loss of {name}")
    return losses


# A cross-entropy changes by at most twice the largest change of a logit. Memorised samples have losses of 1e-4 that are
# computed from logits of ten: what rounding does to them is no small part of such a loss.
LOGIT_SCALE = 32.0


def check_independent(model: nn.Module, loss_fn: LossFunction, batch: Batch, name: str) -> int:
    """Refuse a loss function that mixes samples: the first and the last sample alone, and both together.

    Returns:
        Samples sent forward.

    Raises:
        ValueError: If a loss depends on the other sample by more than √eps of the larger loss, beyond what rounding
            logits up to `LOGIT_SCALE` / 2 does; eps is that of the coarsest precision in the graph.
    """
    count = batch_size(batch, name)
    if count == 1:
        return 0
    pair = tree_map(lambda leaf: leaf[:: count - 1], batch)
    together = check_losses(loss_fn(model, pair), 2, name)
    eps = coarsest_eps(together)
    bound = math.sqrt(eps) * together.detach().abs().max() + eps * LOGIT_SCALE
    with torch.no_grad():
        for index in range(2):
            (alone,) = check_losses(loss_fn(model, take(pair, index, index + 1)), 1, name)
            if not abs(alone - together[index]) <= bound:
                raise ValueError(
                    f"A loss of {name} is {float(alone):.6g} for a sample alone and "
                    f"{float(together[index]):.6g} beside another one: the losses mix samples, or the forward "
                    "pass cannot be repeated (dropout). Give losses[i] that depends on sample i of the batch "
                    "only, and call model.eval()."
                )
    return 4


def solve_rows(forget: Tensor, rows: Tensor, parameters: Parameters, settings: Settings) -> Solution:
    """Direction and figures from the forget gradient g_u (d,) and the rows G (k, d), both in float64.

    ``scope="tensor"`` projects within each parameter tensor, as the public code copy does; ``retain="mean"``
    replaces the rows by their mean.
    """
    if not all_finite((forget, rows)):
        raise NotFiniteError("A gradient is not finite although the losses are")
    mean = rows.mean(dim=0)
    span = rows if settings.retain == "per_sample" else mean[None]
    sizes = [parameter.numel() for parameter in parameters.values()]
    blocks = sizes if settings.scope == "tensor" else [sum(sizes)]
    pieces = [
        project_rows(part, vector, settings.rtol, settings.noise_floor)
        for part, vector in zip(torch.split(span, blocks, dim=1), torch.split(forget, blocks), strict=True)
    ]
    projected = torch.cat([residual for residual, _ in pieces])
    direction = settings.alpha * mean - (1 - settings.alpha) * projected
    norms = torch.linalg.vector_norm(span, dim=1)
    kept = norms > settings.noise_floor
    length = torch.linalg.vector_norm(projected)
    cosines = (span[kept] / norms[kept, None]) @ projected / length.clamp(min=torch.finfo(length.dtype).tiny)
    per_layer = None
    if settings.full_diagnostics:
        parts = zip(parameters, torch.split(forget, sizes), torch.split(projected, sizes), strict=True)
        per_layer = {name: _ratio(float((u - p).norm()), float(u.norm())) for name, u, p in parts}
    return Solution(
        solver="materialize",
        direction=[
            part.view_as(parameter).to(parameter)
            for part, parameter in zip(torch.split(direction, sizes), parameters.values(), strict=True)
        ],
        spectrum=merge_spectra([spectrum for _, spectrum in pieces]),
        forget_norm=float(forget.norm()),
        projected_norm=float(length),
        retain_mean_norm=float(mean.norm()),
        removed_norm=float((forget - projected).norm()),
        removed_per_layer=per_layer,
        max_cosine=float(cosines.abs().max()) if len(cosines) else 0.0,
        max_cosine_measured=True,
        engine_bytes=2 * rows.numel() * rows.element_size(),
        backward_samples=0,
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
