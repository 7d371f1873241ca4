"""Each method's first update against its rule, worked out with autograd alone on a linear model."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orthograd import methods
from orthograd.data.samples import Samples
from orthograd.methods.base import DataView

RATE = 0.1
DTYPE = torch.float64


def _samples(count: int, seed: int) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 5, generator=generator, dtype=DTYPE)
    return Samples(images, torch.randint(0, 3, (count,), generator=generator))


FORGET, RETAIN = _samples(6, 1), _samples(4, 2)
# The whole of each set is one batch, so that the order of the samples does not matter.
COMMON = {"learning_rate": RATE, "momentum": 0.0, "weight_decay": 0.0}
PARAMS = {
    "ft": COMMON | {"batch_size": 4},
    "neggrad": COMMON | {"batch_size": 6},
    "neggrad_plus": COMMON | {"alpha": 0.3, "forget_batch": 6, "retain_batch": 4},
    "orthograd": COMMON | {"alpha": 0.3, "forget_batch": 6, "retain_batch": 4, "rtol": 1e-9},
}


def _model() -> nn.Linear:
    torch.manual_seed(7)
    return nn.Linear(5, 3).to(DTYPE).eval()


def _flat(gradients: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


def _gradient(samples: Samples, rows: slice = slice(None)) -> torch.Tensor:
    model = _model()
    loss = F.cross_entropy(model(samples.images[rows]), samples.labels[rows])
    return _flat(torch.autograd.grad(loss, tuple(model.parameters())))


def _orthograd() -> torch.Tensor:
    """α·mean(g_r) − (1−α)·g_u⊥, the projection by least squares: no code in common with the engine."""
    forget = _gradient(FORGET)
    rows = torch.stack([_gradient(RETAIN, slice(i, i + 1)) for i in range(len(RETAIN))])
    projection = rows.T @ torch.linalg.lstsq(rows.T, forget[:, None]).solution[:, 0]
    return 0.3 * rows.mean(dim=0) - 0.7 * (forget - projection)


DIRECTIONS: dict[str, Callable[[], torch.Tensor]] = {
    "ft": lambda: _gradient(RETAIN),
    "neggrad": lambda: -_gradient(FORGET),
    "neggrad_plus": lambda: 0.3 * _gradient(RETAIN) - 0.7 * _gradient(FORGET),
    "orthograd": _orthograd,
}


def _first_update(name: str, **changes: float) -> torch.Tensor:
    method = methods.load(name)
    model = _model()
    before = _flat(tuple(p.detach().clone() for p in model.parameters()))
    data = DataView({"forget": FORGET, "retain": RETAIN}, method.reads, seed=0)
    params = method.params.model_validate(PARAMS[name] | changes)
    next(method.run(model, data, params))
    return _flat(tuple(p.detach() for p in model.parameters())) - before


def test_every_method_is_tested_here() -> None:
    assert set(methods.names()) == set(PARAMS) == set(DIRECTIONS)


@pytest.mark.parametrize("name", sorted(PARAMS))
def test_the_first_update_is_the_rule(name: str) -> None:
    torch.testing.assert_close(_first_update(name), -RATE * DIRECTIONS[name](), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(PARAMS))
def test_weight_decay_is_read(name: str) -> None:
    weights = _flat(tuple(p.detach() for p in _model().parameters()))
    expected = -RATE * (DIRECTIONS[name]() + 0.5 * weights)
    torch.testing.assert_close(_first_update(name, weight_decay=0.5), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(PARAMS))
def test_momentum_is_read(name: str) -> None:
    def second_update(momentum: float) -> torch.Tensor:
        method = methods.load(name)
        model = _model()
        data = DataView({"forget": FORGET, "retain": RETAIN}, method.reads, seed=0)
        params = method.params.model_validate(PARAMS[name] | {"momentum": momentum})
        updates = method.run(model, data, params)
        next(updates)
        before = _flat(tuple(p.detach().clone() for p in model.parameters()))
        next(updates)
        return _flat(tuple(p.detach() for p in model.parameters())) - before

    # With momentum the second step repeats that part of the first; all else is the same.
    difference = second_update(0.9) - second_update(0.0)
    torch.testing.assert_close(difference, 0.9 * _first_update(name), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(PARAMS))
def test_a_method_is_deterministic_and_counts_its_passes(name: str) -> None:
    torch.testing.assert_close(_first_update(name), _first_update(name), rtol=0, atol=0)
    method = methods.load(name)
    data = DataView({"forget": FORGET, "retain": RETAIN}, method.reads, seed=0)
    step = next(method.run(_model(), data, method.params.model_validate(PARAMS[name])))
    samples = sum({"forget": 6, "retain": 4}[read] for read in method.reads)
    # OrthoGrad passes backward through the retain samples twice: for the Gramian, and with its weights.
    assert (step.forward, step.backward) == (samples, samples + (4 if name == "orthograd" else 0))


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(KeyError, match="choose one of"):
        methods.load("orthgrad")


def test_the_order_of_one_set_does_not_depend_on_another() -> None:
    labels = Samples(torch.zeros(6, 5), torch.arange(6))
    orders = []
    for retain in (RETAIN, _samples(9, 3)):
        data = DataView({"forget": labels, "retain": retain}, frozenset({"forget", "retain"}), seed=1)
        forget, other = data.batches("forget", 2), data.batches("retain", 4)
        orders.append(torch.cat([next(zip(forget, other, strict=True))[0][1] for _ in range(9)]))
    assert torch.equal(*orders)
    again = DataView({"forget": labels}, frozenset({"forget"}), seed=2).batches("forget", 2)
    assert not torch.equal(orders[0], torch.cat([next(again)[1] for _ in range(9)]))
