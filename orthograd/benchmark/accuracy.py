"""Measured accuracy: what low precision leaves of the orthogonality, and what an optimizer makes of the guarantee."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from orthograd.benchmark.models import WORKLOADS, Workload

if TYPE_CHECKING:
    import torch
    from torch import nn

    from orthograd.engine.batches import Batch

PRECISIONS = {"float32": "float32", "bf16": "bfloat16 autocast", "tf32": "TF32"}
NOT_AVAILABLE = "not available on this machine"

NEAR = 1e-2
"""Of the nearly equal retain samples, the second half is the first one with noise of this size added to the pixels."""


def precision(model: str, device: torch.device, count: int) -> list[dict[str, Any]]:
    """How orthogonal g_u⊥ is in float32, bf16 autocast and TF32, with and without the refinement step.

    On `count` forget and `count` retain samples, once drawn independently and once as pairs that are nearly equal, so
    that κ is large. Figures: `orthograd.engine.accuracy.orthogonality_loss`.
    """
    import torch

    from orthograd.engine.accuracy import orthogonality_loss

    torch.manual_seed(0)
    work = WORKLOADS[model]().to(device)
    forget, retain = work.batch(count), work.batch(count)
    images, labels = retain
    half = count // 2
    noisy = images[:half] + NEAR * torch.randn(images[:half].shape).to(device)
    pairs = torch.cat([images[:half], noisy]), torch.cat([labels[:half]] * 2)
    rows = []
    for samples, batch in (("independent", retain), ("nearly equal pairs", pairs)):
        for name in PRECISIONS:
            for refined in (False, True):
                row: dict[str, Any] = {
                    "model": model,
                    "samples": samples,
                    "m": count,
                    "k": count,
                    "precision": name,
                    "refined": refined,
                }
                if name == "tf32" and device.type != "cuda":
                    rows.append({**row, "status": NOT_AVAILABLE})
                    continue
                with _refinement(refined), _tf32(name == "tf32"):
                    found = orthogonality_loss(
                        work.model, work.loss_fn, forget, batch, _context(name, device.type)
                    )
                rows.append({**row, "status": "done", **found})
    return rows


def _context(precision: str, device: str) -> Callable[[], AbstractContextManager[object]]:
    import torch

    return (lambda: torch.autocast(device, torch.bfloat16)) if precision == "bf16" else nullcontext


@contextmanager
def _refinement(always: bool) -> Iterator[None]:
    """The engine refines where κ asks for it; here always, or never, to show what it is worth."""
    from orthograd.engine import gramian

    usual = gramian.REFINE_ABOVE
    gramian.REFINE_ABOVE = 0.0 if always else float("inf")
    try:
        yield
    finally:
        gramian.REFINE_ABOVE = usual


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    import torch

    usual = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(usual[0])
        torch.backends.cudnn.allow_tf32 = usual[1]


STEPS = (1, 5)
LEARNING_RATE = 1e-2


def optimizers() -> dict[str, Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]]:
    """The optimizers whose steps are measured, by name; Adam's rate is a tenth, as usual beside SGD."""
    import torch

    return {
        "SGD": lambda parameters: torch.optim.SGD(parameters, lr=LEARNING_RATE),
        "SGD, momentum 0.9": lambda parameters: torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=0.9),
        "Adam": lambda parameters: torch.optim.Adam(parameters, lr=LEARNING_RATE / 10),
    }


def alignment(device: torch.device, count: int, seeds: int) -> list[dict[str, Any]]:
    """Largest |cos(g_r^i, Δθ)| over `count` sampled and `count` other retain samples, for the change Δθ of a step.

    On the small ResNet, trained before for a moment to tell ten noisy patterns apart, so that samples of a class have
    gradients in common, at α = 0; for the first and for the fifth step of each optimizer.
    Figures: `orthograd.engine.accuracy.step_alignment`.
    """
    import torch

    from orthograd.engine.accuracy import step_alignment

    rows = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        work = _trained(WORKLOADS["small-resnet"]()).to(device)
        forget = work.batch(count)
        batches = {"sampled": work.batch(count), "unsampled": work.batch(count)}
        for name, make in optimizers().items():
            for step in STEPS:
                found = step_alignment(work.model, work.loss_fn, forget, batches, make, steps=step)
                rows += [
                    {
                        "optimizer": name,
                        "step": step,
                        "seed": seed,
                        "samples": batch,
                        "count": count,
                        "max_cosine": cosine,
                    }
                    for batch, cosine in found.items()
                ]
    return rows


def _trained(work: Workload, steps: int = 30) -> Workload:
    """The workload on noisy copies of ten fixed patterns, after some steps of Adam in evaluation mode."""
    import torch

    patterns = torch.randn(10, 3, 32, 32)

    def batch(count: int) -> Batch:
        labels = torch.randint(10, (count,))
        return patterns[labels] + 2 * torch.randn(count, 3, 32, 32), labels

    optimizer = torch.optim.Adam(work.model.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        work.loss_fn(work.model, batch(64)).mean().backward()
        optimizer.step()
    work.model.zero_grad()
    return Workload(work.model, work.loss_fn, batch)
