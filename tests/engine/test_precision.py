"""Devices without float64 (MPS): the same answer, to float32; told by pretending that the CPU has none."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orthograd import precision
from orthograd.engine import OrthoGrad, gramian, layers


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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_what_is_not_finite_is_found_wherever_it_stands(dtype):
    parts = [torch.ones(3, 2, dtype=dtype), torch.zeros(0, dtype=dtype), torch.tensor(-2.0, dtype=dtype)]
    assert precision.all_finite(parts)
    extremes = torch.finfo(dtype)
    assert precision.all_finite([torch.tensor([extremes.max, extremes.min], dtype=dtype)])
    for place, index in ((0, (2, 1)), (2, ())):
        for value in (math.inf, -math.inf, math.nan):
            spoilt = [part.clone() for part in parts]
            spoilt[place][index] = value
            assert not precision.all_finite(spoilt)


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


def test_tf32_counts_where_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten bits of mantissa: told by the settings alone, for a tensor that says it is on CUDA."""
    tensor = SimpleNamespace(dtype=torch.float32, is_cuda=True)
    full, half = (SimpleNamespace(fp32_precision=value) for value in ("ieee", "tf32"))
    for conv, matmul, eps in ((full, full, 2.0**-23), (half, full, 2.0**-10), (full, half, 2.0**-10)):
        settings = SimpleNamespace(cudnn=SimpleNamespace(conv=conv), cuda=SimpleNamespace(matmul=matmul))
        with monkeypatch.context() as patch:
            patch.setattr(torch, "backends", settings)
            assert precision.gradient_eps(tensor) == eps
            assert precision.gradient_eps(torch.ones(1)) == 2.0**-23
    # The settings of this torch can be read.
    assert precision.gradient_eps(tensor) in (2.0**-23, 2.0**-10)
