"""Boundary Shrink's attack in pixels, and its targets."""

import pytest
import torch
from problem import PIXELS, data, flat, original
from torch import nn
from torch.nn import functional as F

from orthograd import methods
from orthograd.data.samples import PixelScale
from orthograd.methods.base import DataView
from orthograd.methods.boundary_shrink import attacked

PARAMS = {
    "learning_rate": 0.1,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "epsilon": 0.1,
    "batch_size": 12,
    "passes": 1,
}


def test_the_attack_is_the_one_on_plain_pixels() -> None:
    """Three channels of different scales; the oracle standardises inside the model and clamps to [0, 1]."""
    scale = PixelScale(mean=(0.5, 0.3, 0.7), std=(0.25, 0.1, 0.4))
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (scale.mean, scale.std))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)).double()
    pixels = torch.rand(20, 3, 4, 4, dtype=torch.float64)
    pixels[:2] = pixels[:2].round()  # black and white ones
    labels = torch.arange(20) % 3
    plain = pixels.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model((plain - mean) / std), labels), plain)
    expected = (pixels + 0.1 * gradient.sign()).clamp(0, 1)
    found = attacked(model, (pixels - mean) / std, labels, 0.1, scale) * std + mean
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    # The clamp matters, and does not take the whole step away.
    assert bool(((pixels + 0.1 * gradient.sign() - expected).abs() > 0.01).any())
    assert float((found - pixels).abs().max()) == pytest.approx(0.1, rel=1e-9)
    assert float((found - pixels).abs().mean()) > 0.08


@pytest.mark.parametrize("epsilon", [1e-6, 0.1, 1.0])
def test_the_first_update_teaches_the_likeliest_wrong_class_of_the_neighbour(epsilon: float) -> None:
    forget, reference, model = data()["forget"], original(), original()
    images = forget.images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(reference(images), forget.labels), images)
    pixels = 0.5 + 0.25 * forget.images
    neighbours = ((pixels + epsilon * gradient.sign()).clamp(0, 1) - 0.5) / 0.25
    targets = []
    for row, label in zip(reference(neighbours).detach(), forget.labels.tolist(), strict=True):
        targets.append(max((c for c in range(3) if c != label), key=lambda c: float(row[c])))
    F.cross_entropy(reference(forget.images), torch.tensor(targets)).backward()
    expected = -0.1 * torch.cat([p.grad.flatten() for p in reference.parameters()])
    method = methods.load("boundary_shrink")
    view = DataView(data(), method.reads, seed=0, pixels=PIXELS)
    step = next(method.run(model, view, method.params.model_validate(PARAMS | {"epsilon": epsilon})))
    torch.testing.assert_close(flat(model) - flat(original()), expected, rtol=1e-9, atol=1e-12)
    wrong = (reference(neighbours).argmax(dim=1) != forget.labels).double().mean()
    assert step.values["fooled"] == pytest.approx(float(wrong))
    # Also where the attack fails, no image keeps its own class.
    if epsilon == 1e-6:
        assert step.values["fooled"] < 0.5


def test_the_targets_are_those_of_the_original_model_all_along() -> None:
    """After many steps the model itself would give the neighbours other classes."""
    method = methods.load("boundary_shrink")
    model, reference = original("mlp"), original("mlp")
    params = method.params.model_validate(PARAMS | {"passes": 60, "learning_rate": 0.3})
    steps = list(method.run(model, DataView(data(), method.reads, 0, PIXELS), params))
    losses = [step.values["loss_nearest"] for step in steps]
    # The same targets at each step: plain descent on one loss.
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.2 * losses[0]
    assert not torch.equal(flat(model), flat(reference))
