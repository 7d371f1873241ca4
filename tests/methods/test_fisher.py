"""Fisher's diagonal by a loop over samples and classes, and its noise by many draws."""

import math

import pytest
import torch
from problem import PIXELS, data, flat, original
from torch import nn
from torch.nn import functional as F

from orthograd import methods
from orthograd.data.samples import Samples
from orthograd.methods.base import DataView
from orthograd.methods.fisher import fisher_diagonal, noise_variance


def _loop(model: nn.Module, samples: Samples) -> list[torch.Tensor]:
    total = [torch.zeros_like(p) for p in model.parameters()]
    for image in samples.images:
        logits = model(image[None])[0]
        probabilities = logits.softmax(dim=0).detach()
        for label, probability in enumerate(probabilities):
            log_p = F.log_softmax(logits, dim=0)[label]
            gradients = torch.autograd.grad(log_p, tuple(model.parameters()), retain_graph=True)
            for part, gradient in zip(total, gradients, strict=True):
                part += probability * gradient**2 / len(samples)
    return total


@pytest.mark.parametrize("architecture", ["conv", "mlp", "vit"])
def test_the_diagonal_is_the_expectation_over_samples_and_the_models_labels(architecture: str) -> None:
    model, samples = original(architecture), data()["retain"]
    found, passes = fisher_diagonal(model, samples)
    assert passes == 3
    for part, expected in zip(found, _loop(model, samples), strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-8, atol=1e-14)


def test_the_diagonal_does_not_read_the_labels() -> None:
    model, samples = original(), data()["retain"]
    other = Samples(samples.images, (samples.labels + 1) % 3)
    for a, b in zip(fisher_diagonal(model, samples)[0], fisher_diagonal(model, other)[0], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_the_variance_by_hand() -> None:
    # 1/(0 + 1e-8) = 1e8 is bounded by 1e3; 1/1e-2 = 100; 1/4; 1/1e-5 is bounded: rows (1000, 100) and (1/4, 1000).
    diagonal = torch.tensor([[0.0, 1e-2], [4.0, 1e-5]], dtype=torch.float64)
    expected = 2e-6 * torch.tensor([[550.0, 550.0], [500.125, 500.125]], dtype=torch.float64)
    torch.testing.assert_close(noise_variance(diagonal, 2e-6), expected, rtol=1e-5, atol=0)
    vector = 2e-6 * 10 * torch.tensor([1000.0, 100.0, 0.25], dtype=torch.float64)
    torch.testing.assert_close(
        noise_variance(torch.tensor([0.0, 1e-2, 4.0], dtype=torch.float64), 2e-6), vector, rtol=1e-5, atol=0
    )
    # A convolution: over its input channels, for each place of the kernel.
    kernel = torch.rand(4, 3, 2, 2, dtype=torch.float64) + 0.01
    found = noise_variance(kernel, 1.0)
    by_hand = sum((1 / kernel[:, c] for c in range(3)), torch.zeros(4, 2, 2)) / 3
    for channel in range(3):
        torch.testing.assert_close(found[:, channel], by_hand, rtol=1e-5, atol=0)


def test_the_noise_has_this_variance_over_many_draws() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double().eval()
    samples, start = data()["retain"], flat(model)
    alpha, draws = 1e-6, 300
    deviation = torch.cat([(noise_variance(d, alpha).sqrt()).flatten() for d in _loop(model, samples)])
    method = methods.load("fisher")
    noise = []
    for seed in range(draws):
        with torch.no_grad():
            nn.utils.vector_to_parameters(start.clone(), model.parameters())
        view = DataView({"retain": samples}, method.reads, seed=seed, pixels=PIXELS)
        assert len(list(method.run(model, view, method.params(alpha=alpha, strengths=1)))) == 1
        noise.append((flat(model) - start) / deviation)
    z = torch.stack(noise)
    # Standard normal: the variance over n draws is off by √(2/n), the mean by √(1/n), each parameter at five sigma.
    assert float((z.var(dim=0, correction=0) - 1).abs().max()) < 5 * math.sqrt(2 / draws)
    assert float(z.mean(dim=0).abs().max()) < 5 / math.sqrt(draws)
    # All together: 195 × 300 values.
    assert float(z.square().mean()) == pytest.approx(1, abs=5 * math.sqrt(2 / z.numel()))


def test_the_noise_on_a_memorised_net_is_bounded() -> None:
    model = original()
    with torch.no_grad():
        model[-1].weight *= 100  # all probabilities next to 0 or 1: F next to 0, α/F unbounded
    before = flat(model)
    method = methods.load("fisher")
    list(method.run(model, DataView(data(), method.reads, 0, PIXELS), method.params(alpha=1e-6, strengths=1)))
    # √(1e-6 · 1e3 · 10) = 0.1 at most, six standard deviations.
    assert float((flat(model) - before).abs().max()) < 0.6


def test_each_strength_adds_a_part_of_the_same_noise() -> None:
    """After i of n strengths the weights are i/n of the way to those with all the noise."""
    method = methods.load("fisher")
    start = flat(original())

    def models(strengths: int) -> list[torch.Tensor]:
        model = original()
        view = DataView(data(), method.reads, 0, PIXELS)
        updates = method.run(model, view, method.params(alpha=1e-6, strengths=strengths))
        return [flat(model).clone() for _ in updates]

    (whole,) = models(1)
    assert not torch.equal(whole, start)
    for place, found in enumerate(models(4), 1):
        torch.testing.assert_close(found, start + place / 4 * (whole - start), rtol=1e-9, atol=1e-15)
