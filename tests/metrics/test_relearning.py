"""Relearning time against gradient descent written out, and its limits."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from orthograd.data.samples import Samples
from orthograd.metrics.relearning import relearning_steps
from orthograd.models.small_resnet import SmallResNet
from orthograd.specs import Relearning

PARAMS = Relearning(learning_rate=0.5, batch_size=12, max_steps=200, level=1.0)


def _samples() -> Samples:
    return Samples(torch.randn(12, 20, dtype=torch.float64), torch.arange(12) % 3)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("level", [0.5, 0.75, 1.0])
def test_against_gradient_descent_written_out(level: float) -> None:
    """The batch is the whole set, so that the order does not matter."""
    model, forget = nn.Linear(20, 3).double().eval(), _samples()
    x, y = forget.images.numpy(), forget.labels.numpy()
    w, b = model.weight.detach().numpy().copy(), model.bias.detach().numpy().copy()
    expected = 0
    while ((x @ w.T + b).argmax(axis=1) == y).mean() < level:
        z = np.exp(x @ w.T + b)
        error = z / z.sum(axis=1, keepdims=True) - np.eye(3)[y]
        w -= 0.5 * error.T @ x / 12
        b -= 0.5 * error.mean(axis=0)
        expected += 1
    assert (
        relearning_steps(model, forget, PARAMS.model_copy(update={"level": level}), _generator()) == expected
    )
    assert expected > 0


def test_what_was_never_forgotten_takes_no_step() -> None:
    model, forget = nn.Linear(20, 3).double().eval(), _samples()
    assert relearning_steps(model, forget, PARAMS.model_copy(update={"level": 0.0}), _generator()) == 0


def test_a_model_that_only_hid_its_knowledge_is_faster_than_one_without_it() -> None:
    forget = _samples()
    blank = nn.Linear(20, 3).double().eval()
    nn.init.zeros_(blank.weight)
    nn.init.constant_(blank.bias, 0.0)
    knowing = copy.deepcopy(blank)
    optimizer = torch.optim.SGD(knowing.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(knowing(forget.images), forget.labels).backward()
        optimizer.step()
    hiding = copy.deepcopy(knowing)
    with torch.no_grad():  # a bias towards class 0 that is enough for one sample to be taken for it
        z, others = knowing(forget.images), forget.labels != 0
        hiding.bias[0] += 0.1 + (z[others].gather(1, forget.labels[others, None])[:, 0] - z[others, 0]).min()
    params = PARAMS.model_copy(update={"batch_size": 4})
    fast, slow = (relearning_steps(model, forget, params, _generator()) for model in (hiding, blank))
    assert fast is not None
    assert slow is not None
    assert relearning_steps(knowing, forget, params, _generator()) == 0 < fast < slow


def test_the_budget() -> None:
    model, forget = nn.Linear(20, 3).double().eval(), _samples()
    steps = relearning_steps(model, forget, PARAMS, _generator())
    assert steps is not None
    assert (
        relearning_steps(model, forget, PARAMS.model_copy(update={"max_steps": steps}), _generator()) == steps
    )
    assert (
        relearning_steps(model, forget, PARAMS.model_copy(update={"max_steps": steps - 1}), _generator())
        is None
    )


def test_the_model_stays_as_it_is_and_the_generator_decides() -> None:
    model = SmallResNet(1, 3, width=4).eval().requires_grad_(False)
    forget = Samples(torch.randn(12, 1, 8, 8), torch.arange(12) % 3)
    state = copy.deepcopy(model.state_dict())
    params = Relearning(learning_rate=0.1, batch_size=5, max_steps=100, level=0.9)
    first, again = (relearning_steps(model, forget, params, _generator()) for _ in range(2))
    assert first == again
    assert first is not None
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(p.requires_grad for p in model.parameters())


def test_errors() -> None:
    model, forget = nn.Linear(20, 3).double().eval(), _samples()
    with pytest.raises(ValueError, match="lower the batch size"):
        relearning_steps(model, forget, PARAMS.model_copy(update={"batch_size": 13}), _generator())
    with pytest.raises(ValueError, match="training mode"):
        relearning_steps(copy.deepcopy(model).train(), forget, PARAMS, _generator())
    broken = copy.deepcopy(model)
    nn.init.constant_(broken.weight, torch.nan)
    with pytest.raises(FloatingPointError, match="lower its learning_rate"):
        relearning_steps(broken, forget, PARAMS, _generator())
