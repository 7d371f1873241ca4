"""Langevin: the clipping by a loop over the samples, the noise by its moments."""

import math

import pytest
import torch
from problem import PIXELS, data, flat, original
from scipy import stats
from torch import nn
from torch.nn import functional as F

from orthograd import methods
from orthograd.data.samples import Samples
from orthograd.methods.base import DataView
from orthograd.methods.langevin import clipped_mean

PARAMS = {
    "learning_rate": 0.05,
    "weight_decay": 0.1,
    "sigma": 0.03,
    "clip": 1.0,
    "batch_size": 12,
    "passes": 1,
}


def _loop(model: nn.Module, samples: Samples, clip: float) -> tuple[torch.Tensor, int]:
    rows, shortened = [], 0
    for image, label in zip(samples.images, samples.labels, strict=True):
        loss = F.cross_entropy(model(image[None]), label[None])
        row = torch.cat([g.flatten() for g in torch.autograd.grad(loss, tuple(model.parameters()))])
        norm = float(row.norm())
        shortened += norm > clip
        rows.append(row * min(1.0, clip / norm))
    return torch.stack(rows).mean(dim=0), shortened


@pytest.mark.parametrize("architecture", ["conv", "mlp", "vit"])
def test_every_samples_gradient_is_clipped_by_itself(architecture: str) -> None:
    model = original(architecture)
    # Images of the forget set under wrong labels have large gradients, the retain set small ones.
    forget, retain = data()["forget"], data()["retain"]
    samples = Samples(
        torch.cat([forget.images, retain.images]), torch.cat([(forget.labels + 1) % 3, retain.labels])
    )
    expected, shortened = _loop(model, samples, 1.0)
    found, share = clipped_mean(model, samples, 1.0)
    torch.testing.assert_close(torch.cat([part.flatten() for part in found]), expected, rtol=1e-9, atol=1e-12)
    assert 0 < shortened < len(samples)
    assert share == pytest.approx(shortened / len(samples))
    # Clipping the mean instead would be something else.
    whole = _loop(model, samples, math.inf)[0]
    assert not torch.allclose(whole * min(1.0, 1.0 / float(whole.norm())), expected, rtol=1e-3)


def test_the_noise_is_gaussian_with_the_deviation_of_the_rule() -> None:
    method = methods.load("langevin")
    retain = data()["retain"]
    gradient, _ = _loop(original(), retain, 1.0)
    start = flat(original())
    noise = []
    for seed in range(40):
        model = original()
        view = DataView({"retain": retain}, method.reads, seed=seed, pixels=PIXELS)
        list(method.run(model, view, method.params.model_validate(PARAMS)))
        noise.append(flat(model) - (start - 0.05 * (gradient + 0.1 * start)))
    z = torch.cat(noise) / (math.sqrt(2 * 0.05) * 0.03)
    assert float(z.square().mean()) == pytest.approx(1, abs=5 * math.sqrt(2 / len(z)))
    assert float(z.mean()) == pytest.approx(0, abs=5 / math.sqrt(len(z)))
    assert stats.kstest(z.numpy(), "norm").pvalue > 1e-3


def test_two_steps_have_noise_of_their_own() -> None:
    method = methods.load("langevin")
    model = original()
    updates = method.run(
        model, DataView(data(), method.reads, 0, PIXELS), method.params.model_validate(PARAMS | {"passes": 2})
    )
    points = [flat(model)]
    for _ in range(2):
        gradient, _ = _loop(model, data()["retain"], 1.0)
        expected = points[-1] - 0.05 * (gradient + 0.1 * points[-1])
        next(updates)
        points.append(flat(model))
        points[-2] = points[-1] - expected
    first, second = points[0], points[1]
    n = len(first)
    assert abs(float(F.cosine_similarity(first, second, dim=0))) < 5 / math.sqrt(n)
