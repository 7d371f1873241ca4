"""The variants of OrthoGrad: first updates on a linear model by least squares, and what each of them promises."""

import math
from contextlib import closing
from itertools import islice

import pytest
import torch
from problem import ARCHITECTURES, PIXELS, data, draw, flat, original
from torch import nn
from torch.nn import functional as F

from orthograd import methods
from orthograd.data.samples import Samples
from orthograd.methods.base import DataView, Updates
from orthograd.methods.orthograd_norm import batches_by_norm, logit_gradient_norms

RATE = 0.1
# The whole of each set is one batch, so that the order of the samples does not matter.
PARAMS = {
    "learning_rate": RATE,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "forget_batch": 12,
    "retain_batch": 6,
    "passes": None,
}
# Gramians in float64 know ranks down to √eps.
RTOL = {"rtol": 1e-6}


def _linear() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double().eval()


def _sets() -> dict[str, Samples]:
    sets = data()
    retain = sets["retain"]
    return {"forget": sets["forget"], "retain": Samples(retain.images[:6], retain.labels[:6])}


def _updates(name: str, model: nn.Module, seed: int = 0, **params: object) -> Updates:
    method = methods.load(name)
    view = DataView(_sets(), method.reads, seed=seed, pixels=PIXELS)
    return method.run(model, view, method.params.model_validate({**PARAMS, **params}))


def _gradients(model: nn.Module, loss: torch.Tensor) -> list[torch.Tensor]:
    return [g.flatten() for g in torch.autograd.grad(loss, tuple(model.parameters()), retain_graph=True)]


def _rows(model: nn.Module, losses: torch.Tensor) -> list[list[torch.Tensor]]:
    """Gradients by sample and parameter."""
    return [_gradients(model, loss) for loss in losses]


def _losses(model: nn.Module, samples: Samples) -> torch.Tensor:
    return F.cross_entropy(model(samples.images), samples.labels, reduction="none")


def _off(vector: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """A vector less its projection onto rows, by least squares."""
    return vector - rows.T @ torch.linalg.lstsq(rows.T, vector[:, None], driver="gelsd").solution[:, 0]


def _parts(model: nn.Module) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """g_u, and the retain gradients (k, ·), by parameter."""
    sets = _sets()
    forget = _gradients(model, _losses(model, sets["forget"]).mean())
    rows = _rows(model, _losses(model, sets["retain"]))
    return forget, [torch.stack(part) for part in zip(*rows, strict=True)]


def _first_update(name: str, **params: object) -> torch.Tensor:
    model = _linear()
    before = flat(model)
    next(_updates(name, model, **params))
    return flat(model) - before


def test_the_tensor_scope_projects_within_each_tensor() -> None:
    forget, rows = _parts(_linear())
    expected = torch.cat([0.3 * r.mean(dim=0) - 0.7 * _off(g, r) for g, r in zip(forget, rows, strict=True)])
    found = _first_update("orthograd_tensor", alpha=0.3, **RTOL)
    torch.testing.assert_close(found, -RATE * expected, rtol=1e-9, atol=1e-12)
    # The bias has fewer entries than there are retain samples: nothing is left of its forget gradient.
    bias = rows[1].mean(dim=0)
    torch.testing.assert_close(found[-3:], -RATE * 0.3 * bias, rtol=1e-9, atol=1e-12)


def test_the_mean_variant_projects_off_the_mean_over_samples() -> None:
    forget, rows = (torch.cat(part, dim=-1) for part in _parts(_linear()))
    mean = rows.mean(dim=0)
    expected = 0.3 * mean - 0.7 * (forget - (forget @ mean) / (mean @ mean) * mean)
    found = _first_update("orthograd_mean", alpha=0.3)
    torch.testing.assert_close(found, -RATE * expected, rtol=1e-9, atol=1e-12)
    # At α = 0 it keeps the mean loss, not the loss of each sample.
    update = _first_update("orthograd_mean", alpha=0.0)
    assert float((rows.mean(dim=0) @ update).abs()) < 1e-14
    assert float((rows @ update).abs().max()) > 1e-3


def test_pure_ascent_keeps_the_loss_of_every_sampled_retain_sample() -> None:
    forget, rows = (torch.cat(part, dim=-1) for part in _parts(_linear()))
    update = _first_update("orthograd_ascent", **RTOL)
    torch.testing.assert_close(update, RATE * _off(forget, rows), rtol=1e-9, atol=1e-12)
    assert float((rows @ update).abs().max()) < 1e-14
    assert float(forget @ update) > 0


def _adam(gradients: torch.Tensor) -> torch.Tensor:
    """Adam directions of gradients in their order, one state for all."""
    first, second, directions = torch.zeros(()), torch.zeros(()), []
    for t, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        directions.append((first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8))
    return torch.stack(directions)


def test_the_adam_variant_projects_adam_directions_and_loses_the_guarantee() -> None:
    model = _linear()
    forget, rows = (torch.cat(part, dim=-1) for part in _parts(model))
    # The moments see the retain samples in the order of the batch.
    view = DataView(_sets(), frozenset({"retain"}), seed=0, pixels=PIXELS)
    images, labels = next(view.batches("retain", 6))
    ordered = torch.stack([torch.cat(row) for row in _rows(model, _losses(model, Samples(images, labels)))])
    *retain, last = _adam(torch.cat([ordered, forget[None]]))
    expected = 0.3 * torch.stack(retain).mean(dim=0) - 0.7 * _off(last, torch.stack(retain))
    found = _first_update("orthograd_adam", alpha=0.3, **RTOL)
    torch.testing.assert_close(found, -RATE * expected, rtol=1e-7, atol=1e-10)
    update = _first_update("orthograd_adam", alpha=0.0, **RTOL)
    assert float((rows @ update).abs().max()) > 1e-3
    assert "not kept" in methods.load("orthograd_adam").rule


def test_the_kl_variant_starts_with_plain_ascent_and_then_projects_gradients_of_kl() -> None:
    model, teacher = _linear(), _linear()
    updates = _updates("orthograd_kl", model, alpha=0.3, **RTOL)
    start = flat(model)
    forget, _ = _parts(model)
    step = next(updates)
    torch.testing.assert_close(flat(model) - start, RATE * 0.7 * torch.cat(forget), rtol=1e-9, atol=1e-12)
    assert step.values["rank"] == 0
    second = flat(model)
    forget, _ = _parts(model)
    images = _sets()["retain"].images
    with torch.no_grad():
        reference = teacher(images).log_softmax(dim=1)
    divergences = F.kl_div(
        model(images).log_softmax(dim=1), reference, reduction="none", log_target=True
    ).sum(dim=1)
    rows = torch.stack([torch.cat(row) for row in _rows(model, divergences)])
    next(updates)
    expected = 0.3 * rows.mean(dim=0) - 0.7 * _off(torch.cat(forget), rows)
    torch.testing.assert_close(flat(model) - second, -RATE * expected, rtol=1e-7, atol=1e-10)


def test_the_norms_are_those_of_the_gradients_in_the_logits() -> None:
    model, samples = original(), draw(torch.arange(70) % 3, seed=4)  # more than a chunk
    logits = model(samples.images).detach().requires_grad_()
    F.cross_entropy(logits, samples.labels, reduction="sum").backward()
    assert logits.grad is not None
    torch.testing.assert_close(
        logit_gradient_norms(model, samples), logits.grad.norm(dim=1), rtol=1e-9, atol=1e-15
    )


def test_retain_samples_are_drawn_in_proportion_to_their_norms() -> None:
    model, samples, draws = _linear(), _sets()["retain"], 5000
    norms = logit_gradient_norms(model, samples)
    probabilities = norms / norms.sum()
    batches = batches_by_norm(model, samples, 1, draws, torch.Generator().manual_seed(0))
    seen = torch.zeros(6, dtype=torch.float64)
    for batch in islice(batches, draws):
        row = (samples.images == batch.images).flatten(1).all(dim=1)
        assert torch.equal(samples.labels[row], batch.labels)
        seen[row] += 1
    assert int(seen.sum()) == draws
    deviation = (draws * probabilities * (1 - probabilities)).sqrt()
    assert bool(((seen - draws * probabilities).abs() < 5 * deviation).all())
    # The draws tell the proportion from a uniform one.
    assert float(((draws / 6 - draws * probabilities).abs() / deviation).max()) > 10


def test_a_batch_holds_no_sample_twice_and_also_those_without_a_gradient() -> None:
    model, samples = _linear(), _sets()["retain"]
    with torch.no_grad():
        # All probability on class 0, where two of the samples belong: no gradient is left of theirs.
        model[1].weight.zero_()
        model[1].bias.copy_(torch.tensor([1000.0, 0.0, 0.0]))
    assert int((logit_gradient_norms(model, samples) == 0).sum()) == 2
    batches = batches_by_norm(model, samples, 6, 1, torch.Generator().manual_seed(0))
    assert sorted(next(batches).labels.tolist()) == sorted(samples.labels.tolist())


def test_the_norms_are_measured_anew_in_each_pass() -> None:
    forward = [
        step.forward
        for step in _updates("orthograd_norm", _linear(), alpha=0.3, forget_batch=4, passes=2, **RTOL)
    ]
    # 4 forget and 6 retain samples, and the 6 of the retain set at each third step.
    assert forward == [16, 10, 10, 16, 10, 10]


def test_a_batch_of_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="a batch of 7 from 6 samples: lower"):
        next(_updates("orthograd_norm", _linear(), alpha=0.3, retain_batch=7, **RTOL))


LORA = {"alpha": 0.3, "rank": 2, "lora_alpha": 6, **RTOL}


def test_the_first_step_on_adapters_is_the_rule_in_their_space() -> None:
    model, reference = _linear(), _linear()
    updates = _updates("orthograd_lora", model, **LORA)
    next(updates)
    first = model[1].lora_A["default"].weight.detach()
    second = model[1].lora_B["default"].weight.detach()
    assert (first.shape, second.shape) == ((2, 64), (3, 2))
    # W = W₀ + (6/2) B A with B = 0 at the start: the gradient of A is zero and that of B is 3 G Aᵀ.
    forget, rows = _parts(reference)
    in_b = [3 * g.view(-1, 3, 64) @ first.T for g in (forget[0], rows[0])]
    vector, matrix = in_b[0].flatten(), in_b[1].flatten(1)
    expected = -RATE * (0.3 * matrix.mean(dim=0) - 0.7 * _off(vector, matrix))
    torch.testing.assert_close(second.flatten(), expected, rtol=1e-7, atol=1e-10)
    updates.close()
    torch.testing.assert_close(
        model[1].weight.detach(), reference[1].weight.detach() + 3 * second @ first, rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(model[1].bias, reference[1].bias, rtol=0, atol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_adapters_are_merged_into_the_original_modules(architecture: str) -> None:
    model, before = original(architecture), original(architecture)
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    modules = {name: id(module) for name, module in model.named_modules()}
    attributes = set(vars(model))
    images = draw(torch.arange(9) % 3, seed=8).images
    # Adapters of rank 1, so that the rank of the change tells that there is nothing else.
    with closing(_updates("orthograd_lora", model, **{**LORA, "rank": 1})) as updates:
        for _ in islice(updates, 3):
            pass
        with torch.no_grad():
            inside = model(images)
    with torch.no_grad():
        torch.testing.assert_close(model(images), inside, rtol=1e-9, atol=1e-12)
        assert float((inside - before(images)).abs().max()) > 1e-4
    assert {name: id(module) for name, module in model.named_modules()} == modules
    assert set(vars(model)) == attributes
    assert [p.requires_grad for p in model.parameters()] == [p is not frozen for p in model.parameters()]
    adapted = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d)) and not name.startswith("block")
    }
    assert adapted
    for name, parameter in model.named_parameters():
        change = (parameter - before.get_parameter(name)).detach()
        assert bool(change.any()) == (name in adapted)
        if name in adapted:
            assert int(torch.linalg.matrix_rank(change.flatten(1), rtol=1e-6)) == 1


def test_the_modules_come_back_when_a_step_fails() -> None:
    model = original()
    method = methods.load("orthograd_lora")
    sets = _sets()
    images = torch.full_like(sets["forget"].images, math.nan)
    sets["forget"] = Samples(images, sets["forget"].labels)
    view = DataView(sets, method.reads, seed=0, pixels=PIXELS)
    with pytest.raises(ValueError, match="not finite"):
        next(method.run(model, view, method.params.model_validate({**PARAMS, **LORA})))
    assert [type(module) for module in model.modules()] == [type(module) for module in original().modules()]
    assert not hasattr(model, "peft_config")
    torch.testing.assert_close(flat(model), flat(original()), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "more"), [("orthograd", {}), ("orthograd_copy", {"deviation": "none"})])
def test_a_model_that_diverged_ends_the_method_and_no_more(name: str, more: dict[str, object]) -> None:
    model = _linear()
    updates = _updates(name, model, alpha=0.5, **RTOL, **more)
    next(updates)
    with torch.no_grad():
        next(model.parameters()).fill_(1e308)
    assert next(updates, None) is None


def test_a_model_without_layers_for_adapters_is_refused() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(64, 3, dtype=torch.float64))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1) @ self.weight

    with pytest.raises(ValueError, match="no linear or convolution layer"):
        next(_updates("orthograd_lora", Bare().eval(), **LORA))
