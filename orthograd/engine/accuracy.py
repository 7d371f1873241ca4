"""Measured figures: what is left of the orthogonality in low precision, and what an optimizer does to the
guarantee."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from orthograd.engine.batches import Batch, tree_map
from orthograd.engine.core import OrthoGrad
from orthograd.engine.materialize import LossFunction, rows_from_batch

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def orthogonality_loss(
    model: nn.Module,
    loss_fn: LossFunction,
    forget_batch: Batch,
    retain_batch: Batch,
    context: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> dict[str, float]:
    """How far the engine's g_u⊥ is from the right one, measured in float64.

    Args:
        model: The model, in the precision that is measured. It is copied, not changed.
        loss_fn: Per-sample losses.
        forget_batch: m samples.
        retain_batch: k samples.
        context: Makes the context of the forward pass, such as ``lambda: torch.autocast("cpu",
            torch.bfloat16)``.

    Returns:
        ``max_cosine``: largest |cos| between g_u⊥ and a float64 retain gradient; ``relative_error``:
        ‖g_u⊥ − reference‖ / ‖reference‖ against the oracle on a float64 copy; ``condition_number``: κ of the
        float64 unit rows.
    """

    def run(copied: nn.Module, solver: str, forget: Batch, retain: Batch) -> tuple[Tensor, float]:
        copied.zero_grad()
        og = OrthoGrad(copied, alpha=0.0, solver="gramian" if solver == "gramian" else "materialize")
        with og, context() if solver == "gramian" else nullcontext():
            figures = og.backward_from(loss_fn, forget, retain)
        assert figures.condition_number is not None, "both solvers decompose"
        gradients = [p.grad for p in copied.parameters() if p.grad is not None]
        return -torch.cat([gradient.double().flatten() for gradient in gradients]), figures.condition_number

    projected, _ = run(copy.deepcopy(model), "gramian", forget_batch, retain_batch)
    exact = copy.deepcopy(model).double()
    forget, retain = (tree_map(_double, batch) for batch in (forget_batch, retain_batch))
    reference, condition = run(exact, "materialize", forget, retain)
    parameters = {name: p for name, p in exact.named_parameters() if p.requires_grad}
    rows = rows_from_batch(exact, loss_fn, retain, parameters, "retain_batch")
    return {
        "max_cosine": _largest_cosine(rows, projected),
        "relative_error": float((projected - reference).norm() / reference.norm()),
        "condition_number": condition,
    }


def step_alignment(
    model: nn.Module,
    loss_fn: LossFunction,
    forget_batch: Batch,
    batches: Mapping[str, Batch],
    make_optimizer: MakeOptimizer,
    steps: int = 1,
    alpha: float = 0.0,
) -> dict[str, float]:
    """Largest |cos(g_r^i, Δθ)| over the samples of each batch, for the change Δθ of the last of some steps.

    The guarantee speaks of a plain-SGD step at α = 0 and of the *sampled* retain data; this measures what
    momentum or Adam make of it, and what happens to data that were not sampled.

    Args:
        model: The model; it is copied, not changed.
        loss_fn: Per-sample losses.
        forget_batch: m samples.
        batches: Batches by name; the one called ``"sampled"`` is the retain batch of every step.
        make_optimizer: Makes the optimizer for the trainable parameters.
        steps: Number of steps; the rows are taken before the last of them.
        alpha: Weight of the retain term.

    Returns:
        The largest cosine for every name in `batches`.
    """
    model = copy.deepcopy(model)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = make_optimizer(parameters.values())
    with OrthoGrad(model, alpha=alpha) as og:
        for step in range(steps):
            if step == steps - 1:
                before = {name: p.detach().clone() for name, p in parameters.items()}
                rows = {
                    name: rows_from_batch(model, loss_fn, batch, parameters, name)
                    for name, batch in batches.items()
                }
            optimizer.zero_grad()
            og.backward_from(loss_fn, forget_batch, batches["sampled"])
            optimizer.step()
    change = torch.cat([(p.detach() - before[name]).double().flatten() for name, p in parameters.items()])
    return {name: _largest_cosine(found, change) for name, found in rows.items()}


def _largest_cosine(rows: Tensor, vector: Tensor) -> float:
    norms = rows.norm(dim=1)
    kept = norms > 0
    length = float(vector.norm())
    if length == 0 or not kept.any():
        return 0.0
    cosine = float(((rows[kept] @ vector).abs() / norms[kept]).max()) / length
    assert math.isfinite(cosine), "the engine refuses what is not finite"
    return cosine


def _double(leaf: Tensor) -> Tensor:
    return leaf.double() if leaf.is_floating_point() else leaf
