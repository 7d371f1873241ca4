"""Devices without float64 (MPS): the same answer, to float32; told by pretending that the CPU has none."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orthograd.engine import OrthoGrad, gramian, layers, precision


def _model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 25, 4)
    ).eval()


def _direction(solver: str, scope: str) -> tuple[torch.Tensor, float]:
    model = _model()
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(n, 2, 5, 5, generator=generator), torch.randint(4, (n,), generator=generator))
        for n in (5, 7)
    ]
    engine = OrthoGrad(model, alpha=0.3, solver=solver, scope=scope)
    figures = engine.backward_from(
        lambda model, batch: F.cross_entropy(model(batch[0]), batch[1], reduction="none"), *batches
    )
    return torch.cat([p.grad.flatten() for p in model.parameters()]), figures.direction_norm


def test_only_mps_lacks_float64() -> None:
    assert precision.wide_dtype(torch.device("cpu")) is torch.float64
    assert precision.wide_dtype(torch.device("cuda")) is torch.float64
    assert precision.wide_dtype(torch.device("mps")) is torch.float32


@pytest.mark.parametrize("scope", ["global", "tensor"])
def test_sums_in_float32_give_the_same_direction(scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, expected_norm = _direction("materialize", scope)
    calls = []

    def narrow(device: torch.device) -> torch.dtype:
        calls.append(device)
        return torch.float32

    for module in (precision, layers, gramian):
        monkeypatch.setattr(module, "wide_dtype", narrow)
    found, norm = _direction("gramian", scope)
    assert calls
    assert (found - expected).norm() <= 1e-4 * expected.norm()
    assert norm == pytest.approx(expected_norm, rel=1e-4)
