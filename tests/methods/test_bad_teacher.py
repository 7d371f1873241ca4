"""Bad Teacher against its definition, and its untrained net."""

import math

import pytest
import torch
from problem import ARCHITECTURES, DTYPE, data, flat, original, start
from torch import nn

from orthograd.methods.bad_teacher import untrained
from orthograd.randomness import generator

RATE, DECAY, TEMPERATURE = 0.01, 0.2, 3.0
PARAMS = {
    "learning_rate": RATE,
    "weight_decay": DECAY,
    "temperature": TEMPERATURE,
    "forget_batch": 12,
    "retain_batch": 12,
    "passes": 1,
}
SETS = data()


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_untrained_net_shares_nothing_with_the_original(architecture: str) -> None:
    model = original(architecture)
    trained = [parameter.detach().clone() for parameter in model.parameters()]
    fresh = untrained(model, _generator())
    for (name, parameter), before in zip(fresh.named_parameters(), trained, strict=True):
        assert not bool((parameter == before).any()), f"{name} kept what the original learned"
        assert not parameter.requires_grad
        assert parameter.dtype == DTYPE
    for parameter, before in zip(model.parameters(), trained, strict=True):
        assert torch.equal(parameter, before)
    assert not any(module.training for module in fresh.modules())
    assert torch.equal(flat(fresh), flat(untrained(model, _generator())))
    assert not torch.equal(flat(fresh), flat(untrained(model, _generator(1))))


def test_the_untrained_net_is_drawn_as_its_modules_are() -> None:
    fresh = untrained(original("conv"), _generator())
    # torch draws weights and biases of linear layers within ±1/√fan_in, and norms begin as the identity.
    for layer in (fresh[5], fresh[7]):
        for values in (layer.weight, layer.bias):
            assert 0.5 < float(values.abs().max()) * math.sqrt(layer.in_features) <= 1
    assert torch.equal(fresh[1].weight, torch.ones(4, dtype=DTYPE))
    assert torch.equal(fresh[1].running_mean, torch.zeros(4, dtype=DTYPE))
    assert torch.equal(fresh[1].running_var, torch.ones(4, dtype=DTYPE))
    # Nothing resets the class token: eight normal numbers of standard deviation 0.02.
    token = untrained(original("vit"), _generator()).token
    assert 0.005 < float(token.std()) < 0.05


def test_it_leaves_the_global_random_numbers_alone() -> None:
    before = torch.random.get_rng_state()
    untrained(original(), _generator())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_first_update_is_the_rule() -> None:
    """∂ T² KL(p ‖ softmax(z/T)) / ∂z = T (softmax(z/T) − p); the first step of Adam is a step of its sign."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).to(DTYPE).eval()
    weight, bias = model[1].weight.detach().clone(), model[1].bias.detach().clone()
    # At the original itself the retain term has no gradient: only the forget set moves a linear model at first.
    images = SETS["forget"].images.flatten(1)
    # The run's own teacher, seen through its logits: it is drawn from the run's seed alone.
    teacher = untrained(model, generator(0, "unlearn", "untrained teacher"))
    with torch.no_grad():
        target = (teacher(images) / TEMPERATURE).softmax(dim=1)
        student = ((images @ weight.T + bias) / TEMPERATURE).softmax(dim=1)
    # The mean is over the 24 samples of both sets, and not over the classes too.
    by_logits = TEMPERATURE * (student - target) / 24
    gradient = by_logits.T @ images

    step = next(start("bad_teacher", model, SETS, PARAMS))
    expected = weight * (1 - RATE * DECAY) - RATE * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(model[1].weight.detach(), expected, rtol=1e-9, atol=1e-9)
    loss = TEMPERATURE**2 * (target * (target.log() - student.log())).sum() / 24
    assert step.values["divergence"] == pytest.approx(float(loss), rel=1e-9)


def test_the_retain_set_is_held_at_the_original() -> None:
    """Away from the original the loss has a share of the retain data too: their KL to the original."""
    model = original()
    updates = start("bad_teacher", model, SETS, PARAMS | {"passes": None, "temperature": 1.0})
    next(updates)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    with torch.no_grad():
        logits = {name: model(SETS[name].images) for name in ("forget", "retain")}
        teachers = {
            "forget": untrained(original(), generator(0, "unlearn", "untrained teacher")),
            "retain": original(),
        }
        terms = []
        for name, teacher in teachers.items():
            target = teacher(SETS[name].images).softmax(dim=1)
            terms.append((target * (target.log() - logits[name].log_softmax(dim=1))).sum())
    assert next(updates).values["divergence"] == pytest.approx(float(sum(terms)) / 24, rel=1e-9)
