"""The certificates: what would give a wrong answer is refused, however it hides."""

import pytest
import torch
from torch import nn

import orthograd
from orthograd.engine.gramian import System, certify
from orthograd.engine.solution import Settings
from tests.engine.architectures import floats, spread, sum_loss

# Said by torch when it loads its own forward-mode rules.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def perceptron(inputs, hidden, outputs):
    return spread(nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs)))


def refused(model, forget_batch, retain_batch, forget_loss, retain_loss, **options):
    """Losses are functions of the model's output."""
    with orthograd.OrthoGrad(model, **options) as og:
        losses = forget_loss(model(forget_batch)), retain_loss(model(retain_batch))
        with pytest.raises(ValueError, match="the losses mix samples"):
            og.backward(*losses)
    assert all(p.grad is None for p in model.parameters())


def own(outputs):
    return outputs.sin().sum(1) + outputs.square().mean(1)


@pytest.mark.parametrize("scope", ["global", "tensor"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_chain_of_many_samples_is_seen(scope, dtype):
    """Each loss reads the sample after it: weights that are a smooth function of the index hide this in
    1/k."""
    model = perceptron(40, 40, 40).to(dtype)
    forget, retain = (torch.randn(n, 40, dtype=dtype) for n in (8, 256))

    def chain(outputs):
        other = (outputs**3).mean(1) + outputs[:, 0].cos()
        return own(outputs) + torch.cat([other[1:], 0 * other[:1]])

    refused(model, forget, retain, own, chain, alpha=0.0, scope=scope)


def by_another_output(share):
    """The neighbour enters by an output that the own loss does not read: norms change by share² only."""
    return lambda outputs: outputs[:, :3].sin().sum(1) + share * outputs.roll(1, 0)[:, 3].sin()


@pytest.mark.parametrize("scope", ["global", "tensor"])
@pytest.mark.parametrize(
    ("dtype", "share"), [(torch.float32, 0.1), (torch.float32, 0.03), (torch.float64, 1e-5)]
)
def test_a_mixing_that_leaves_norms_alone_is_seen(scope, dtype, share):
    model = spread(nn.Linear(12, 4)).to(dtype)
    forget, retain = (torch.randn(n, 12, dtype=dtype) for n in (3, 5))
    refused(model, forget, retain, own, by_another_output(share), alpha=0.0, scope=scope)


class Shift(nn.Module):
    """Reads a parameter by a broadcast, and one as a function: no layer formula at all."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.ones(4))
        self.mix = nn.Parameter(torch.ones(4, 4))

    def forward(self, x):
        return torch.tanh(x + self.shift) @ self.mix


@pytest.mark.parametrize("frozen", ["mix", "shift", None])
def test_parameters_without_a_layer_formula_are_covered(frozen):
    model = spread(Shift())
    if frozen:
        getattr(model, frozen).requires_grad_(False)
    refused(model, *floats(4)(3), *floats(4)(5), own, by_another_output(1e-5), alpha=0.0)


@pytest.mark.parametrize("alpha", [0.99, 1.0])
def test_nearly_equal_weights_do_not_hide_a_mixing(alpha):
    """The direction would be right at alpha = 1, but every figure of the projection would not."""
    model = perceptron(12, 8, 4)

    def mixed(outputs):
        return own(outputs) + (outputs**3).mean(1).roll(1)

    refused(model, *floats(12)(3), *floats(12)(16), own, mixed, alpha=alpha)


class Poison(torch.autograd.Function):
    """Its gradient is not finite unless that of the output is one everywhere."""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient if bool((gradient == 1).all()) else gradient * torch.nan


def test_what_is_not_finite_passes_no_certificate():
    model = perceptron(4, 6, 3)
    with orthograd.OrthoGrad(model, alpha=0.0) as og:
        losses = sum_loss(model, floats(4)(3)), Poison.apply(sum_loss(model, floats(4)(4)))
        with pytest.raises(ValueError, match=r"mix samples|not finite"):
            og.backward(*losses)
    assert all(p.grad is None for p in model.parameters())


def system(rows, vector):
    extended = torch.cat([rows, vector[None]])
    settings = Settings(0.5, "global", "per_sample", 1e-7, 1e-14, False)
    return System(extended @ extended.T, settings, 2.2e-16)


@pytest.mark.parametrize(
    ("change", "accepted"), [(0.0, True), (1e-9, True), (1e-5, False), (float("nan"), False)]
)
def test_the_first_certificate_compares_norm_and_product(change, accepted):
    rows, vector = torch.randn(4, 9, dtype=torch.float64), torch.randn(9, dtype=torch.float64)
    weights, known = torch.rand(4, dtype=torch.float64) + 0.5, system(rows, vector)
    whole = (rows.norm(dim=1), float(vector.norm()))
    pairs = [(weights @ rows * (1 + change), vector)]
    if accepted:
        certify("the model", pairs, known, weights, 2.2e-16, whole)
    else:
        with pytest.raises(RuntimeError, match="does not belong to its gradients"):
            certify("the model", pairs, known, weights, 2.2e-16, whole)


@pytest.mark.parametrize("scale", [1e-10, 1e-20, 1e-24, 1e-30])
def test_retain_samples_that_are_learned_by_heart_leave_the_forget_gradient_alone(scale):
    """Gradients so small that their squares underflow are noise, and no reason to refuse."""
    layers = [nn.Linear(4, 300), nn.Tanh(), nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 3)]
    model = spread(nn.Sequential(*layers)).float()
    forget, retain = (torch.randn(n, 4) for n in (3, 5))
    loss = own(model(forget)).mean()
    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])
    with orthograd.OrthoGrad(model, alpha=0.3) as og:
        diagnostics = og.backward(own(model(forget)), own(model(retain)) * scale)
    got = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert (diagnostics.rank, diagnostics.dropped_rows) == (0, 5)
    # What is left of the retain term is of the order of `scale`, and the projection removes nothing.
    assert (got + 0.7 * gradient).norm() <= 1e-6 * gradient.norm()


def mixing(model, batch):
    losses = sum_loss(model, batch)
    return losses * losses.mean()


@pytest.mark.parametrize(
    ("options", "micro_batch"),
    [
        ({"solver": "cg"}, None),
        ({"solver": "cg"}, 2),
        ({"solver": "materialize"}, None),
        ({"retain": "mean"}, None),
        ({"retain": "mean"}, 2),
        ({}, None),
        ({}, 2),
        ({"scope": "tensor"}, 3),
    ],
)
def test_a_loss_function_that_mixes_samples_is_refused_by_every_solver(options, micro_batch):
    """Else the answer would depend on the micro-batch, which no certificate of `cg` could see."""
    model, forget, retain = perceptron(4, 6, 3), floats(4)(3), floats(4)(7)
    with (
        orthograd.OrthoGrad(model, **options) as og,
        pytest.raises(ValueError, match="the losses mix samples"),
    ):
        og.backward_from(mixing, forget, retain, micro_batch)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("solver", ["gramian", "cg"])
def test_a_forget_loss_that_mixes_samples_is_refused_where_its_batch_is_split(solver):
    model = perceptron(4, 6, 3)

    def only_when_marked(net, batch):
        return (mixing if bool(batch[1].any()) else sum_loss)(net, batch[:1])

    forget = (*floats(4)(5), torch.ones(5, dtype=torch.float64))
    retain = (*floats(4)(3), torch.zeros(3, dtype=torch.float64))
    with (
        orthograd.OrthoGrad(model, solver=solver) as og,
        pytest.raises(ValueError, match="of forget_batch is"),
    ):
        og.backward_from(only_when_marked, forget, retain, 2)


@pytest.mark.parametrize("solver", ["cg", "materialize"])
def test_rounding_under_autocast_is_no_mixing(solver):
    model, (inputs,) = perceptron(30, 40, 3).float(), floats(30)(6)

    def loss_fn(net, batch):
        with torch.autocast("cpu", torch.bfloat16):
            outputs = net(batch)
        # Rounding that differs between batch sizes, as kernels may have it, up to the last bit of bfloat16.
        return own(outputs.float() * (1 + 2.0**-8 * (len(batch) == 1)))

    with orthograd.OrthoGrad(model, solver=solver, rtol=0.1) as og:
        diagnostics = og.backward_from(loss_fn, inputs[:2].float(), inputs[2:].float())
    assert diagnostics.removed_fraction > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("solver", ["gramian", "materialize"])
def test_losses_in_half_precision_are_refused(dtype, solver):
    """The weights of the samples would take their dtype: three digits are left, and no figure tells."""
    model, forget, retain = (
        perceptron(4, 6, 3).float(),
        *(batch.float() for batch in floats(4)(7)[0].split(4)),
    )
    with orthograd.OrthoGrad(model, solver=solver) as og:
        good, bad = own(model(forget)), own(model(retain)).to(dtype)
        for losses in ((good, bad), (bad, good)):
            with pytest.raises(ValueError, match=r"call \.float\(\) on the logits"):
                og.backward(*losses)
        with pytest.raises(ValueError, match=r"call \.float\(\) on the logits"):
            og.backward_from(lambda net, batch: own(net(batch)).to(dtype), forget, retain)


def test_rounding_where_the_gradient_of_a_layer_is_zero_is_no_mixing():
    """A norm over two numbers gives ±1 whatever comes in: before it there is rounding only."""
    for samples in range(1, 9):
        model = spread(nn.Sequential(nn.Linear(3, 2), nn.GroupNorm(1, 2), nn.Linear(2, 2))).float()
        forget, retain = torch.randn(2, 3), torch.randn(samples, 3)
        gradients = []
        for solver in ("gramian", "materialize"):
            model.zero_grad()
            with orthograd.OrthoGrad(model, alpha=0.9, solver=solver) as og:
                og.backward(own(model(forget)), own(model(retain)))
            gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        assert (gradients[0] - gradients[1]).norm() <= 1e-5 * gradients[1].norm()
