"""SCRUB against its definition, replayed with sums and autograd on a linear model."""

import torch
from problem import DTYPE, data, start
from torch import nn

RATE, MOMENTUM, DECAY = 0.3, 0.5, 0.1
ALPHA, GAMMA, TEMPERATURE = 0.4, 0.8, 2.0
# The whole of a set is a batch, so that a pass is a step and the order of the samples does not matter.
PARAMS = {
    "learning_rate": RATE,
    "momentum": MOMENTUM,
    "weight_decay": DECAY,
    "alpha": ALPHA,
    "gamma": GAMMA,
    "temperature": TEMPERATURE,
    "max_rounds": 2,
    "forget_batch": 12,
    "retain_batch": 12,
    "passes": 3,
}
SETS = data()


def _model() -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).to(DTYPE).eval()


def _replay(order: str) -> torch.Tensor:
    """The weight after ascents (a) and descents (d); momentum and weight decay by hand."""
    model = _model()
    images = {name: SETS[name].images.flatten(1) for name in ("forget", "retain")}
    start_weight, start_bias = model[1].weight.detach(), model[1].bias.detach()
    values = [start_weight.clone().requires_grad_(), start_bias.clone().requires_grad_()]
    velocities = [torch.zeros_like(value) for value in values]

    def divergence(name: str) -> torch.Tensor:
        teacher = ((images[name] @ start_weight.T + start_bias) / TEMPERATURE).softmax(dim=1)
        student = ((images[name] @ values[0].T + values[1]) / TEMPERATURE).softmax(dim=1)
        return TEMPERATURE**2 * (teacher * (teacher.log() - student.log())).sum() / len(images[name])

    for kind in order:
        if kind == "a":
            loss = -divergence("forget")
        else:
            chosen = (images["retain"] @ values[0].T + values[1]).softmax(dim=1)
            entropy = -chosen[torch.arange(12), SETS["retain"].labels].log().mean()
            loss = GAMMA * entropy + ALPHA * divergence("retain")
        gradients = torch.autograd.grad(loss, values)
        with torch.no_grad():
            for value, velocity, gradient in zip(values, velocities, gradients, strict=True):
                velocity.mul_(MOMENTUM).add_(gradient + DECAY * value)
                value.sub_(RATE * velocity)
    return values[0].detach()


def test_each_of_the_first_rounds_ascends_on_forget_data_and_every_round_descends_on_retain_data() -> None:
    model = _model()
    updates = start("scrub", model, SETS, PARAMS)
    done, complete = "", []
    for kind in "adadd":
        step = next(updates)
        complete.append(step.complete)
        done += kind
        assert ("divergence_forget" in step.values) == (kind == "a")
        torch.testing.assert_close(model[1].weight.detach(), _replay(done), rtol=1e-9, atol=1e-12)
    assert next(updates, None) is None
    # A round ends with its descent.
    assert complete == [False, True, False, True, True]


def test_the_divergence_has_no_gradient_at_the_original() -> None:
    model = _model()
    next(start("scrub", model, SETS, PARAMS | {"weight_decay": 0.0}))
    torch.testing.assert_close(model[1].weight, _model()[1].weight, rtol=0, atol=1e-15)


def test_a_pass_of_several_steps_is_complete_at_its_last() -> None:
    params = PARAMS | {"forget_batch": 6, "retain_batch": 4, "max_rounds": 1, "passes": 2}
    complete = [step.complete for step in start("scrub", _model(), SETS, params)]
    assert complete == [False, False, False, False, True, False, False, True]
