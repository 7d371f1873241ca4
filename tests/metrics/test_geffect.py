"""The G-effect against its closed form, finite differences and the step it is taken along."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orthograd.data.samples import Samples
from orthograd.metrics.geffect import g_effect
from orthograd.models.small_resnet import SmallResNet


def _samples(n: int, shape: tuple[int, ...], classes: int = 3) -> Samples:
    return Samples(torch.randn(n, *shape, dtype=torch.float64), torch.arange(n) % classes)


def _moved(model: nn.Module, scale: float) -> nn.Module:
    after = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in after.parameters():
            parameter += scale * torch.randn_like(parameter)
    return after


def _network() -> nn.Module:
    model = SmallResNet(1, 3, width=4).double()
    model(
        torch.randn(16, 1, 8, 8, dtype=torch.float64)
    )  # statistics of batch normalisation that are not 0 and 1
    return model.eval()


def test_closed_form_of_a_linear_model() -> None:
    model = nn.Linear(5, 3).double().eval()
    after, samples = _moved(model, 0.1), _samples(7, (5,))
    with torch.no_grad():
        error = model(samples.images).softmax(dim=1) - F.one_hot(samples.labels, 3)
        by_weight = (error.T @ samples.images / 7 * (after.weight - model.weight)).sum()
        by_bias = (error.mean(dim=0) * (after.bias - model.bias)).sum()
    assert g_effect(model, after, samples, 3) == pytest.approx(float(by_weight + by_bias), rel=1e-10)


def test_is_the_slope_of_the_risk_along_the_step() -> None:
    model = _network()
    after, samples = _moved(model, 1e-5), _samples(9, (1, 8, 8))
    start, end = dict(model.named_parameters()), dict(after.named_parameters())

    @torch.no_grad()
    def risk(t: float) -> float:
        at = {name: start[name] + t * (end[name] - start[name]) for name in start}
        return float(
            F.cross_entropy(torch.func.functional_call(model, at, (samples.images,)), samples.labels)
        )

    # Central differences over ±1: the step is so small that the cubic term is some 1e-8 of the linear one.
    assert g_effect(model, after, samples, 4) == pytest.approx((risk(1) - risk(-1)) / 2, rel=1e-5)


def test_of_a_descent_step_is_minus_the_squared_gradient() -> None:
    model, samples = _network(), _samples(6, (1, 8, 8))
    after = copy.deepcopy(model)
    F.cross_entropy(after(samples.images), samples.labels).backward()
    squared = sum(float((p.grad**2).sum()) for p in after.parameters())
    with torch.no_grad():
        for parameter in after.parameters():
            parameter -= 0.01 * parameter.grad
    assert g_effect(model, after, samples, 6) == pytest.approx(-0.01 * squared, rel=1e-9)


def test_does_not_depend_on_the_batch_size_and_leaves_the_models_alone() -> None:
    model = _network()
    model.requires_grad_(False)
    after, samples = _moved(model, 0.01), _samples(7, (1, 8, 8))
    state = copy.deepcopy(model.state_dict())
    values = [g_effect(model, after, samples, size) for size in (1, 3, 7, 50)]
    assert values == pytest.approx([values[0]] * 4, rel=1e-9)
    assert values[0] != 0
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())


def test_no_step_has_no_effect() -> None:
    model = _network()
    assert g_effect(model, copy.deepcopy(model), _samples(3, (1, 8, 8)), 3) == 0


def test_errors() -> None:
    model, samples = nn.Linear(5, 3).double().eval(), _samples(4, (5,))
    with pytest.raises(ValueError, match="no samples"):
        g_effect(model, model, _samples(0, (5,)), 2)
    with pytest.raises(ValueError, match="merge adapters"):
        g_effect(model, nn.Linear(5, 4).double(), samples, 2)
    broken = copy.deepcopy(model)
    nn.init.constant_(broken.weight, torch.nan)
    with pytest.raises(FloatingPointError, match="diverged"):
        g_effect(model, broken, samples, 2)
    with pytest.raises(ValueError, match="training mode"):
        g_effect(model.train(), model, samples, 2)
