"""The matrix-free solver: CGLS on min_c ‖g_u − Gᵀ c‖ with one JVP and one VJP an iteration.

CGLS (Björck, *Numerical Methods for Least Squares Problems*, section 7.4) is conjugate gradients on K c = r
in the form that never forms K and carries the residual g_u − Gᵀ c along, which is g_u⊥ when it has converged.
Memory does not depend on k: a few vectors of the size of the model, and the activations of one micro-batch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from orthograd.engine.batches import Batch, take
from orthograd.engine.gramian import Gradients, gradients_of
from orthograd.engine.layers import blocks
from orthograd.engine.materialize import LossFunction, check_losses
from orthograd.engine.solution import Parameters, Settings, Solution
from orthograd.precision import wide

# Iterations beyond k come from rounding: in exact arithmetic k are enough.
ITERATIONS_PER_SAMPLE = 4


class _Losses(nn.Module):
    """The losses of a batch as the output of a module, so that its parameters can be replaced."""

    def __init__(self, model: nn.Module, loss_fn: LossFunction) -> None:
        super().__init__()
        self.model = model
        self._loss_fn = loss_fn

    def forward(self, batch: Batch) -> Tensor:
        return self._loss_fn(self.model, batch)


class Rows:
    """The matrix G of the retain gradients as an operator.

    Args:
        model: The model.
        loss_fn: Per-sample losses.
        batch: The k retain samples.
        samples: k.
        parameters: Trainable parameters by name.
        micro_batch: Samples in memory at once.

    Attributes:
        forward_samples: Samples sent forward so far.
        backward_samples: Samples sent backward so far.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        batch: Batch,
        samples: int,
        parameters: Parameters,
        micro_batch: int,
    ) -> None:
        self._model, self._loss_fn, self._batch = model, loss_fn, batch
        self._samples, self._parameters, self._micro_batch = samples, parameters, micro_batch
        self._losses = _Losses(model, loss_fn)
        self.forward_samples = self.backward_samples = 0

    def times(self, vector: Gradients) -> Tensor:
        """G v (k,) in float64, by forward-mode differentiation."""
        values = {f"model.{name}": p.detach() for name, p in self._parameters.items()}
        tangents = {f"model.{name}": vector[name] for name in self._parameters}
        parts = []
        for part in blocks(self._samples, self._micro_batch):
            batch = take(self._batch, part.start, part.stop)

            def losses(replaced: dict[str, Tensor], batch: Batch = batch) -> Tensor:
                found: Any = torch.func.functional_call(self._losses, replaced, (batch,))
                return check_losses(found, found.numel(), "retain_batch")

            with torch.no_grad(), _differentiable_attention():
                parts.append(torch.func.jvp(losses, (values,), (tangents,))[1].cpu().double())
        self.forward_samples += 2 * self._samples  # the tangents go forward as well
        return torch.cat(parts)

    def transposed_times(self, weights: Tensor) -> Gradients:
        """Gᵀ w by parameter, by a backward pass from the weighted loss."""
        total: Gradients = {}
        for part in blocks(self._samples, self._micro_batch):
            losses = self._loss_fn(self._model, take(self._batch, part.start, part.stop))
            check_losses(losses, part.stop - part.start, "retain_batch")
            found = gradients_of((losses * weights[part].to(losses)).sum(), self._parameters, keep=False)
            total = {name: total[name] + new for name, new in found.items()} if total else found
        self.forward_samples += self._samples
        self.backward_samples += self._samples
        return total


def cg_solution(rows: Rows, forget: Gradients, settings: Settings, samples: int) -> Solution:
    """Direction and figures from g_u and the operator G.

    Stops where ``‖G s‖ ≤ t·‖G‖·‖s‖`` for the residual s, or ``‖s‖ ≤ t·‖g_u‖``, with t the square of the
    settings' `rtol` (the figure at which the Gramian cuts its eigenvalues) and ‖G‖ the largest ‖Gᵀp‖/‖p‖ so
    far: the rule of Paige and Saunders for LSQR. There is no rank cut-off and no scaling of the rows.

    Raises:
        RuntimeError: If 4·k + 10 iterations do not get there.
    """
    residual = dict(forget)
    direction = products = rows.times(residual)
    square = float(products @ products)
    tolerance, forget_norm = settings.rtol**2, _dot(forget, forget) ** 0.5
    norm = size = 0.0
    iterations = 0
    while square > 0 and (iterations == 0 or square**0.5 > tolerance * norm * size):
        if iterations == ITERATIONS_PER_SAMPLE * samples + 10:
            raise RuntimeError(
                f"Conjugate gradients did not converge in {iterations} iterations (‖G g_u⊥‖ is "
                f"{square**0.5 / (norm * size):.1e} of ‖G‖·‖g_u⊥‖): the retain gradients are nearly "
                "dependent or differ much in length. Use solver='gramian', or a larger rtol."
            )
        step = rows.transposed_times(direction)
        curvature = _dot(step, step)
        # G forward and Gᵀ backward must be transposes: ⟨G s, p⟩ = ⟨s, Gᵀ p⟩.
        forward, backward = float(products @ direction), _dot(residual, step)
        scale = max(_dot(residual, residual) * curvature, square * float(direction @ direction)) ** 0.5
        if abs(forward - backward) > settings.rtol * scale:
            raise RuntimeError(
                f"Forward and backward differentiation disagree on the losses ({forward:.6g} against "
                f"{backward:.6g}): something in the model has no gradient backward but has one forward (a "
                "padding index of a tied embedding), or the forward pass cannot be repeated (dropout: call "
                "model.eval()). Use solver='gramian'."
            )
        norm = max(norm, (curvature / float(direction @ direction)) ** 0.5)
        residual = {name: part.sub(step[name], alpha=square / curvature) for name, part in residual.items()}
        iterations += 1
        size = _dot(residual, residual) ** 0.5
        if size <= tolerance * forget_norm:
            break
        products = rows.times(residual)
        square, before = float(products @ products), square
        direction = products + square / before * direction
    mean = rows.transposed_times(torch.full_like(products, 1 / samples))
    alpha = settings.alpha
    removed = {name: forget[name] - part for name, part in residual.items()}
    per_layer = None
    if settings.full_diagnostics:
        per_layer = {
            name: float(part.norm() / forget[name].norm()) if forget[name].any() else 0.0
            for name, part in removed.items()
        }
    gradient_bytes = sum(part.numel() * part.element_size() for part in forget.values())
    return Solution(
        solver="cg",
        direction=[alpha * mean[name] - (1 - alpha) * residual[name] for name in forget],
        spectrum=None,
        forget_norm=_dot(forget, forget) ** 0.5,
        projected_norm=_dot(residual, residual) ** 0.5,
        retain_mean_norm=_dot(mean, mean) ** 0.5,
        removed_norm=_dot(removed, removed) ** 0.5,
        removed_per_layer=per_layer,
        max_cosine=None,
        max_cosine_measured=False,
        engine_bytes=4 * gradient_bytes + 8 * 3 * samples,
        forward_samples=rows.forward_samples,
        backward_samples=rows.backward_samples,
        refinements=iterations,
    )


@contextmanager
def _differentiable_attention() -> Iterator[None]:
    """Keep to the plain formula of attention: the fused kernels have no forward derivative."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _dot(left: Gradients, right: Gradients) -> float:
    return sum(float((wide(left[name]) * right[name]).sum()) for name in left)


def saved_bytes(run: Callable[[], Tensor], model: nn.Module) -> int:
    """Bytes that autograd keeps for a backward pass from the losses of ``run()``, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            # A view of a larger batch counts for what it shows, an expanded tensor for what it holds.
            size = min(tensor.numel() * tensor.element_size(), storage.nbytes())
            storages[storage.data_ptr()] = max(size, storages.get(storage.data_ptr(), 0))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        losses = run()  # alive while the storages are counted, so that no address is used twice
    del losses
    return sum(storages.values())
