"""Scissorhands: which weights are drawn anew, and its projection against a numeric optimiser."""

import math

import numpy as np
import pytest
import torch
from problem import PIXELS, data, flat, original
from scipy.optimize import minimize
from torch import nn
from torch.nn import functional as F

from orthograd import methods
from orthograd.data.samples import Samples
from orthograd.methods.base import DataView
from orthograd.methods.scissorhands import coefficient, trim

PARAMS = {
    "learning_rate": 0.1,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "fraction": 0.1,
    "forget_weight": 0.3,
    "margin": 0.5,
    "forget_batch": 6,
    "retain_batch": 12,
    "passes": 2,
}


def _gradient(model: nn.Module, samples: Samples) -> torch.Tensor:
    loss = F.cross_entropy(model(samples.images), samples.labels)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, tuple(model.parameters()))])


@pytest.mark.parametrize("fraction", [0.03, 0.4])
def test_the_weights_with_the_largest_saliency_are_drawn_anew(fraction: float) -> None:
    model, before, forget = original(), original(), data()["forget"]
    weights = torch.cat([torch.full((p.numel(),), p.dim() >= 2) for p in before.parameters()])
    saliency = (flat(before) * _gradient(before, forget)).abs()
    count = round(fraction * int(weights.sum()))
    assert trim(model, forget, fraction, torch.Generator().manual_seed(0)) == count
    changed = flat(model) != flat(before)
    assert int(changed.sum()) == count
    assert float(saliency[changed].min()) >= float(saliency[weights & ~changed].max())
    assert not bool((changed & ~weights).any())
    for p, q in zip(model.parameters(), before.parameters(), strict=True):
        if not torch.equal(p, q):
            bound = math.prod(p.shape[1:]) ** -0.5
            assert float(p[p != q].detach().abs().max()) <= bound


def test_the_new_weights_are_uniform() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 400)).double()
    before = model[1].weight.detach().clone()
    trim(model, data()["forget"], 0.9, torch.Generator().manual_seed(0))
    fresh = model[1].weight.detach()[model[1].weight != before]
    assert len(fresh) == 23040
    # ±1/√64: the variance of the uniform distribution is 1/(3·64).
    assert float(fresh.var()) == pytest.approx(1 / 192, rel=0.03)
    assert float(fresh.abs().max()) <= 1 / 8
    assert float(fresh.mean()) == pytest.approx(0, abs=5 * math.sqrt(1 / 192 / 23040))


@pytest.mark.parametrize("margin", [0.0, 0.5, 3.0])
def test_the_coefficient_solves_the_dual_problem(margin: float) -> None:
    generator = torch.Generator().manual_seed(2)
    opposed = 0
    for _ in range(20):
        gradient, memory = torch.randn(2, 4, generator=generator, dtype=torch.float64)
        found = coefficient([gradient[:1], gradient[1:]], [memory[:1], memory[1:]], margin)
        if gradient @ memory >= 0:
            assert found == 0.0
            continue
        opposed += 1
        g, m = gradient.numpy(), memory.numpy()
        dual = minimize(
            lambda v, g=g, m=m: 0.5 * ((g + v[0] * m) ** 2).sum(),
            [margin + 1.0],
            bounds=[(margin, None)],
            method="SLSQP",
            options={"ftol": 1e-15},
        )
        assert found == pytest.approx(dual.x[0], rel=1e-5, abs=1e-6)
        assert (g + found * m) @ m >= -1e-12
        if margin == 0:
            primal = minimize(
                lambda x, g=g: 0.5 * ((x - g) ** 2).sum(),
                np.zeros(4),
                constraints={"type": "ineq", "fun": lambda x, m=m: m @ x},
                method="SLSQP",
                options={"ftol": 1e-15},
            )
            np.testing.assert_allclose(g + found * m, primal.x, atol=1e-5)
    assert opposed > 4


def test_the_repair_is_the_projected_descent_and_rounds_are_passes() -> None:
    method = methods.load("scissorhands")
    model, sets = original(), data()
    view = DataView(sets, method.reads, seed=0, pixels=PIXELS)
    updates = method.run(model, view, method.params.model_validate(PARAMS))
    assert not next(updates).complete
    batches = DataView(sets, method.reads, seed=0, pixels=PIXELS).batches("forget", 6)
    complete, projected = [], []
    memory = torch.zeros(0)
    for step in range(4):
        before = flat(model)
        if step % 2 == 0:
            memory = -_gradient(model, sets["forget"])
        images, labels = next(batches)
        gradient = _gradient(model, sets["retain"]) - 0.3 * _gradient(model, Samples(images, labels))
        product = float(gradient @ memory)
        if product < 0:
            gradient = gradient + max(0.5, -product / float(memory @ memory)) * memory
        report = next(updates)
        complete.append(report.complete)
        projected.append(report.values["projected"])
        assert report.values["projected"] == float(product < 0)
        torch.testing.assert_close(flat(model), before - 0.1 * gradient, rtol=1e-9, atol=1e-12)
    assert complete == [False, True, False, True]
    assert 1.0 in projected
    assert next(updates, None) is None
