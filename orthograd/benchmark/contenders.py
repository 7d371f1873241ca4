"""The ways to take one OrthoGrad step over m forget and k retain samples, each of which leaves ``p.grad``.

Notation as in `orthograd.engine`. Every contender computes g = α·mean(g_r) − (1−α)·g_u⊥ for the same losses, but for
NegGrad+, the floor: it goes once forward and once backward over the same m + k samples, as any method must.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from orthograd.benchmark.models import Workload

if TYPE_CHECKING:
    from torch import Tensor, nn

    from orthograd.engine import Diagnostics
    from orthograd.engine.batches import Batch

    Step = Callable[[Batch, Batch], "Diagnostics | None"]

ALPHA = 0.5
FLOOR = "neggrad-plus"


@dataclass(frozen=True)
class Contender:
    """One way to take the step.

    Attributes:
        label: its name in tables and figures.
        make: sets up and returns the step, ``step(forget_batch, retain_batch)``. What it does to the model stays,
            so each workload serves one contender only.
        direction: what the step leaves: the floor's, or OrthoGrad's in the scope of that name.
        needs: the package that it takes beside the pinned environment.
    """

    label: str
    make: Callable[[Workload], Step]
    direction: Literal["floor", "global", "tensor"] = "global"
    needs: str | None = None


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _joined(first: Batch, second: Batch) -> Batch:
    """Both batches as one, `first` first."""
    import torch

    if isinstance(first, torch.Tensor):
        return torch.cat([first, second])
    return type(first)([_joined(a, b) for a, b in zip(first, second, strict=True)])


def _neggrad_plus(work: Workload) -> Step:
    def step(forget: Batch, retain: Batch) -> None:
        from orthograd.engine.batches import batch_size

        m = batch_size(forget, "forget")
        losses = work.loss_fn(work.model, _joined(forget, retain))
        (ALPHA * losses[m:].mean() - (1 - ALPHA) * losses[:m].mean()).backward()

    return step


def _forget_gradient(work: Workload, forget: Batch) -> list[Tensor]:
    import torch

    return list(torch.autograd.grad(work.loss_fn(work.model, forget).mean(), _trainable(work.model)))


def _residual(rows: Tensor, vector: Tensor) -> Tensor:
    """`vector` (d,) less its projection onto the rows (k, d), by QR of the transposed rows."""
    import torch

    basis: Tensor = torch.linalg.qr(rows.T).Q
    return vector - basis @ (basis.T @ vector)


def _fill(parameters: Sequence[nn.Parameter], rows: Sequence[Tensor], forget: Sequence[Tensor]) -> None:
    """Global scope: the direction from per-sample gradients (k, ...) and g_u, tensor by tensor, into ``p.grad``."""
    import torch

    residual = _residual(
        torch.cat([part.flatten(1) for part in rows], dim=1), torch.cat([part.flatten() for part in forget])
    )
    pieces = residual.split([parameter.numel() for parameter in parameters])
    for parameter, part, piece in zip(parameters, rows, pieces, strict=True):
        parameter.grad = ALPHA * part.mean(0) - (1 - ALPHA) * piece.view_as(parameter)


def _vmap_rows(work: Workload, retain: Batch) -> list[Tensor]:
    """Per-sample gradients (k, ...) of every trainable tensor, by vmap over the gradient of one sample's loss."""
    import torch

    from orthograd.engine.batches import tree_map

    trainable = {name: p.detach() for name, p in work.model.named_parameters() if p.requires_grad}

    def loss(parameters: dict[str, Tensor], sample: Batch) -> Tensor:
        def model(*inputs: Any, **named: Any) -> Any:
            return torch.func.functional_call(work.model, parameters, inputs, named)

        losses = work.loss_fn(model, tree_map(lambda leaf: leaf[None], sample))
        return losses[0]

    rows = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(trainable, retain)
    return list(cast("dict[str, Tensor]", rows).values())


def _vmap_tensor_qr(work: Workload) -> Step:
    """The algorithm of the public code copy: one QR for each parameter tensor."""

    def step(forget: Batch, retain: Batch) -> None:
        gradients = _forget_gradient(work, forget)
        rows = _vmap_rows(work, retain)
        for parameter, part, vector in zip(_trainable(work.model), rows, gradients, strict=True):
            piece = _residual(part.flatten(1), vector.flatten()).view_as(parameter)
            parameter.grad = ALPHA * part.mean(0) - (1 - ALPHA) * piece

    return step


def _vmap_global_qr(work: Workload) -> Step:
    def step(forget: Batch, retain: Batch) -> None:
        gradients = _forget_gradient(work, forget)
        _fill(_trainable(work.model), _vmap_rows(work, retain), gradients)

    return step


def _rewritten(model: nn.Module, copies: bool) -> nn.Module:
    """The same function for packages that refuse BatchNorm in any mode, and in-place ReLU: both are rewritten.

    BatchNorm becomes the affine map that it is in evaluation mode. Without this, neither package takes a ResNet.
    With `copies` its output is copied, for a package whose hooks do not stand that torchvision's ResNet adds to
    it in place.
    """
    import torch
    from torch import nn
    from torch.nn import functional as F

    class FixedNorm(nn.Module):
        def __init__(self, norm: nn.BatchNorm2d) -> None:
            super().__init__()
            assert norm.running_mean is not None, "made with statistics"
            assert norm.running_var is not None, "made with statistics"
            self.weight, self.bias = norm.weight, norm.bias
            # Plain tensors: Opacus refuses a layer with buffers.
            self.mean, self.variance = norm.running_mean, norm.running_var
            self.eps = norm.eps

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, False, 0.0, self.eps)

    class Copy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                fixed = FixedNorm(child)
                setattr(module, name, nn.Sequential(fixed, Copy()) if copies else fixed)
            elif isinstance(child, nn.ReLU):
                child.inplace = False
    return model


def _opacus(work: Workload) -> Step:
    from opacus import GradSampleModule

    # It records in training mode only; no workload has dropout, and BatchNorm is rewritten.
    model = GradSampleModule(_rewritten(work.model, copies=True).train(), loss_reduction="sum", strict=False)
    wrapped = Workload(model, work.loss_fn, work.batch)

    def step(forget: Batch, retain: Batch) -> None:
        model.disable_hooks()
        gradients = _forget_gradient(wrapped, forget)
        model.enable_hooks()
        parameters = _trainable(model)
        wrapped.loss_fn(model, retain).sum().backward()
        rows = [cast("Any", parameter).grad_sample for parameter in parameters]
        _fill(parameters, rows, gradients)
        for parameter in parameters:
            cast("Any", parameter).grad_sample = None

    return step


def _torchjd(work: Workload) -> Step:
    """TorchJD's engine gives the Gramian of all m + k losses; a weighted backward pass gives the direction."""
    import torch
    from torchjd.autogram import Engine

    from orthograd.engine.batches import batch_size
    from orthograd.engine.projection import GramianSolver, default_noise_floor, default_rtol

    engine = Engine(_rewritten(work.model, copies=False), batch_dim=0)

    def step(forget: Batch, retain: Batch) -> None:
        m = batch_size(forget, "forget")
        losses = work.loss_fn(work.model, _joined(forget, retain))
        gramian = engine.compute_gramian(losses).double().cpu()
        dtype = losses.dtype
        eps = torch.finfo(dtype).eps
        solver = GramianSolver(gramian[m:, m:], default_rtol(dtype), default_noise_floor(dtype), eps)
        coefficients = solver.solve(gramian[m:, :m].mean(dim=1))
        k = len(coefficients)
        weights = torch.cat(
            [
                torch.full((m,), -(1 - ALPHA) / m, dtype=torch.float64),
                ALPHA / k + (1 - ALPHA) * coefficients,
            ]
        )
        losses.backward(weights.to(losses))

    return step


def _ours(entry: str, **options: Any) -> Callable[[Workload], Step]:
    def make(work: Workload) -> Step:
        from orthograd.engine import OrthoGrad

        og = OrthoGrad(work.model, alpha=ALPHA, **options)

        def backward_from(forget: Batch, retain: Batch) -> Diagnostics:
            return og.backward_from(work.loss_fn, forget, retain)

        def backward(forget: Batch, retain: Batch) -> Diagnostics:
            return og.backward(work.loss_fn(work.model, forget), work.loss_fn(work.model, retain))

        return {"backward_from": backward_from, "backward": backward}[entry]

    return make


OURS = "ours-gramian"
VMAP_TENSOR = "vmap-tensor-qr"
VMAP_GLOBAL = "vmap-global-qr"

CONTENDERS: dict[str, Contender] = {
    FLOOR: Contender("NegGrad+ step (floor)", _neggrad_plus, "floor"),
    OURS: Contender("orthograd, backward_from", _ours("backward_from")),
    "ours-two-forwards": Contender("orthograd, backward", _ours("backward")),
    "ours-tensor": Contender("orthograd, per tensor", _ours("backward_from", scope="tensor"), "tensor"),
    VMAP_TENSOR: Contender("vmap + QR per tensor", _vmap_tensor_qr, "tensor"),
    VMAP_GLOBAL: Contender("vmap + QR", _vmap_global_qr),
    "opacus": Contender("Opacus + QR", _opacus, needs="opacus"),
    "torchjd": Contender("TorchJD Gramian", _torchjd, needs="torchjd"),
    "ours-cg": Contender("orthograd, cg", _ours("backward_from", solver="cg")),
}
