"""OrthoGrad with one deviation of the public code copy switched on: for the audit, no method to use.

Every retain gradient is a row of a matrix, so that each deviation is a line or two of linear algebra, and the effect of
one of them is a comparison of two runs at the same parameters: `run` says which two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orthograd.methods import base, orthograd

if TYPE_CHECKING:
    import torch
    from torch import nn

    from orthograd.engine.materialize import LossFunction
    from orthograd.engine.solution import Parameters

    Batch = tuple[torch.Tensor, torch.Tensor]

Deviation = Literal["none", "per_tensor", "unit_columns", "adam", "broadcast_mean", "kl", "train_batch_norm"]


class Params(orthograd.Params):
    deviation: Deviation = Field(
        description="what differs from the formula: none; per_tensor: a projection for each parameter tensor; "
        "unit_columns: the same by QR without a rank tolerance (`rtol` is not used); adam: Adam directions; "
        "broadcast_mean: mean ablation whose retain term is averaged over a parameter's first axis; kl: divergence "
        "from the original as retain loss; train_batch_norm: statistics of the batch"
    )


def _cross_entropies(model: nn.Module, batch: Batch) -> torch.Tensor:
    from torch.nn import functional as F

    images, labels = batch
    return F.cross_entropy(model(images), labels, reduction="none")


def _divergences(teacher: nn.Module) -> LossFunction:
    """KL(teacher ‖ model) of each sample."""
    from torch.nn import functional as F

    def losses(model: nn.Module, batch: Batch) -> torch.Tensor:
        images, _ = batch
        reference = F.log_softmax(teacher(images), dim=1)
        found = F.kl_div(F.log_softmax(model(images), dim=1), reference, reduction="none", log_target=True)
        return found.sum(dim=1)

    return losses


@contextmanager
def _batch_statistics(model: nn.Module) -> Iterator[None]:
    """Batch normalisation as in training mode, with running statistics that stay as they are.

    Raises:
        ValueError: the model has no batch normalisation.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        raise ValueError(
            "deviation 'train_batch_norm', but the model has no batch normalisation: leave the run out for this model"
        )
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, (training, tracked) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, tracked


def _mixed_gradients(
    model: nn.Module, forget: Batch, retain: Batch, named: Parameters
) -> tuple[torch.Tensor, torch.Tensor]:
    """g_u (d,) and the gradient of each retain loss (k, d), each batch normalised with its own statistics."""
    from orthograd.engine.materialize import check_losses, flat_gradient, rows_from_losses

    with _batch_statistics(model):
        forget_losses = check_losses(_cross_entropies(model, forget), len(forget[1]), "forget_batch")
        retain_losses = check_losses(_cross_entropies(model, retain), len(retain[1]), "retain_batch")
        return (
            flat_gradient(forget_losses.mean(), named, retain_graph=False),
            rows_from_losses(retain_losses, named),
        )


def _gradients(
    model: nn.Module, forget: Batch, retain: Batch, named: Parameters, retain_losses: LossFunction
) -> tuple[torch.Tensor, torch.Tensor]:
    """g_u (d,) and the gradient of each retain sample's own loss (k, d)."""
    from orthograd.engine.materialize import check_losses, flat_gradient, rows_from_batch

    forget_losses = check_losses(_cross_entropies(model, forget), len(forget[1]), "forget_batch")
    return (
        flat_gradient(forget_losses.mean(), named, retain_graph=False),
        rows_from_batch(model, retain_losses, retain, named, "retain_batch"),
    )


def _off_span(
    vector: torch.Tensor, rows: torch.Tensor, rtol: float, noise_floor: float
) -> tuple[torch.Tensor, int]:
    """A vector (d,) less its projection onto the span of rows (k, d), and the rank by the engine's rule."""
    import torch

    from orthograd.engine.projection import GramianSolver

    solver = GramianSolver(rows @ rows.T, rtol, noise_floor, torch.finfo(rows.dtype).eps)
    # The second pass removes what rounding left of the first.
    for _ in range(2):
        vector = vector - rows.T @ solver.solve(rows @ vector)
    return vector, solver.spectrum.rank


def _off_columns(vector: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, int]:
    """A vector (d,) less its part along the columns of Q in rowsᵀ = Q R, and their number min(k, d).

    Q is orthonormal whatever the rows are: for a row of zeros, or one that depends on those before it, it has a column
    in which no row points.
    """
    import torch

    basis = torch.linalg.qr(rows.T).Q
    return vector - basis @ (basis.T @ vector), basis.shape[1]


def _residual(
    vector: torch.Tensor, rows: torch.Tensor, sizes: Sequence[int], params: Params, noise_floor: float
) -> tuple[torch.Tensor, int]:
    """g_u⊥ (d,), and the number of directions that were removed, summed over the tensors where each has its own."""
    import torch

    blocks = list(sizes) if params.deviation in ("per_tensor", "unit_columns") else [sum(sizes)]
    found = [
        _off_columns(part, block)
        if params.deviation == "unit_columns"
        else _off_span(part, block, params.rtol, noise_floor)
        for part, block in zip(vector.split(blocks), rows.split(blocks, dim=1), strict=True)
    ]
    return torch.cat([part for part, _ in found]), sum(rank for _, rank in found)


def _first_axis_means(vector: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """A vector (d,) with the part of each parameter replaced by its mean over the parameter's first axis."""
    import torch

    parts = vector.split([parameter.numel() for parameter in parameters])
    shaped = [part.view(parameter.shape) for part, parameter in zip(parts, parameters, strict=True)]
    return torch.cat([part.mean(dim=0).expand_as(part).flatten() for part in shaped])


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend α·mean(g_r) − (1−α)·g_u⊥ with one deviation; holds k gradients in float64 at once.

    What each deviation does, and beside which run its effect is to be read:

    - ``none``: the formula in the whole parameter space, `orthograd` up to rounding.
    - ``per_tensor``, beside ``none``: a projection within each parameter tensor. Nothing is left of the forget gradient
      in a tensor with no more entries than the rank of its retain gradients.
    - ``unit_columns``, beside ``per_tensor``: the same by QR, of which all columns count. Within a tensor, since there
      rows can be zero as a whole (a ReLU that is off for a sample), and since an arbitrary direction is a larger share
      of a tensor than of the whole space. Where all rows are independent it changes nothing.
    - ``adam``, beside ``none``: Adam directions in the place of gradients, the moments updated once for each retain
      sample and once for the forget gradient, see `orthograd.engine.adam`.
    - ``broadcast_mean``, beside `orthograd_mean`: the mean ablation, but its retain term is the mean of ḡ_r over each
      parameter's first axis, the same in all places of this axis. For a last linear layer under the cross-entropy it
      is zero, as the gradients sum to zero over the classes.
    - ``kl``, beside ``none``: g_r = ∇KL(original ‖ model) as autograd gives it, at the start nothing but rounding. In
      float32 this can lie above the noise floor, and then directions of rounding are removed; `orthograd_kl`, which has
      this gradient from a formula without the cancellation, starts with plain ascent.
    - ``train_batch_norm``, beside ``none``: each batch is normalised with its own statistics, so that the gradient of
      the i-th retain loss depends on all k samples; each takes a backward pass over the batch of k.

    The diagnostic ``max_cosine`` is between g_u⊥ and the gradients of the retain losses, also where directions other
    than these were removed.

    Raises:
        ValueError: ``train_batch_norm`` of a model without batch normalisation.
    """
    import torch
    from torch.nn import functional as F

    from orthograd.engine import NotFiniteError
    from orthograd.engine.adam import AdamDirections
    from orthograd.engine.projection import default_noise_floor

    deviation, m, k = params.deviation, params.forget_batch, params.retain_batch
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    sizes = [parameter.numel() for parameter in named.values()]
    noise_floor = max(default_noise_floor(parameter.dtype) for parameter in named.values())
    retain_losses = _divergences(base.frozen_copy(model)) if deviation == "kl" else _cross_entropies
    adam = AdamDirections()
    optimizer = params.optimizer(model)
    batches = zip(data.batches("forget", m), data.batches("retain", k), strict=True)
    steps = base.limit(params.passes, data.steps("forget", m))
    for number, (forget, retain) in enumerate(islice(batches, steps)):
        try:
            if deviation == "train_batch_norm":
                vector, gradients = _mixed_gradients(model, forget, retain, named)
            else:
                vector, gradients = _gradients(model, forget, retain, named, retain_losses)
        except NotFiniteError:
            # As in `orthograd.updates`: after a step it is the model that has diverged.
            if number == 0:
                raise
            return
        rows = gradients
        if deviation == "adam":
            rows = torch.stack([adam(gradient) for gradient in gradients])
            vector = adam(vector)
        mean = rows.mean(dim=0)
        if deviation == "broadcast_mean":
            rows = mean[None]
        projected, rank = _residual(vector, rows, sizes, params, noise_floor)
        if deviation == "broadcast_mean":
            mean = _first_axis_means(mean, list(named.values()))
        direction = params.alpha * mean - (1 - params.alpha) * projected
        for parameter, part in zip(named.values(), direction.split(sizes), strict=True):
            parameter.grad = part.view_as(parameter).to(parameter)
        optimizer.step()
        kept = gradients[torch.linalg.vector_norm(gradients, dim=1) > noise_floor]
        cosines = F.cosine_similarity(kept, projected[None], dim=1).abs()
        length = torch.linalg.vector_norm(vector).clamp(min=torch.finfo(vector.dtype).tiny)
        removed = torch.linalg.vector_norm(vector - projected) / length
        yield base.Step(
            m + k * (2 if deviation == "kl" else 1),
            m + k * (k if deviation == "train_batch_norm" else 1),
            {
                "rank": float(rank),
                "removed_fraction": float(removed),
                "max_cosine": float(cosines.max()) if len(cosines) else 0.0,
            },
        )


METHOD = base.Method(
    name="orthograd_copy",
    rule="θ ← θ − η (α mean(g_r) − (1−α) g_u⊥) with one deviation of the public code copy: for the audit, no method to "
    "use",
    source="public code copy of arXiv:2503.02312; here one deviation at a time, in float64",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=None,
    run=run,
    no_speech="it repeats what a public copy of the code does to image classifiers",
)
