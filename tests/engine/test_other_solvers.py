"""The matrix-free solver, the choice under a memory budget, and the Adam ablation."""

import copy

import pytest
import torch
from torch import nn

import orthograd
from tests.engine.architectures import CASES, classifier_loss, floats, images, spread, sum_loss

# Said by transformers on its own model, and by torch when it loads its own forward-mode rules.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
]


def flat_grad(model):
    return torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None])


def run(case_model, loss_fn, forget_batch, retain_batch, micro_batch=None, **options):
    model = copy.deepcopy(case_model)
    with orthograd.OrthoGrad(model, **options) as og:
        diagnostics = og.backward_from(loss_fn, forget_batch, retain_batch, micro_batch)
    return flat_grad(model), diagnostics


@pytest.mark.parametrize("name", ["linear 4d", "conv2d", "in place", "embedding", "vit", "whisper lora"])
@pytest.mark.parametrize("micro_batch", [None, 2])
def test_cg_against_the_oracle_at_full_rank(name, micro_batch):
    case = CASES[name]()
    forget, retain = case.batch(3), case.batch(5)
    expected, oracle = run(case.model, case.loss_fn, forget, retain, alpha=0.3, solver="materialize")
    assert oracle.rank == 5
    got, diagnostics = run(case.model, case.loss_fn, forget, retain, micro_batch, alpha=0.3, solver="cg")
    assert (got - expected).norm() <= 1e-10 * oracle.condition_number**2 * expected.norm()
    assert diagnostics.solver == "cg"
    assert diagnostics.rank is None
    assert diagnostics.projected_norm == pytest.approx(oracle.projected_norm, rel=1e-7)
    # One JVP before the first iteration, one VJP for the mean, and one of each for every iteration but the
    # last.
    assert diagnostics.backward_samples == 3 + 5 * (diagnostics.refinements + 1)


def test_one_mean_row_needs_no_iteration():
    case = CASES["in place"]()
    forget, retain = case.batch(3), case.batch(5)
    options = {"alpha": 0.3, "retain": "mean"}
    expected, oracle = run(case.model, case.loss_fn, forget, retain, solver="materialize", **options)
    got, diagnostics = run(case.model, case.loss_fn, forget, retain, 2, solver="cg", **options)
    assert (got - expected).norm() <= 1e-12 * expected.norm()
    assert (diagnostics.solver, diagnostics.refinements, diagnostics.rank) == ("cg", 0, oracle.rank)
    # Both batches once, and four samples of each to see that the losses do not mix.
    assert (diagnostics.forward_samples, diagnostics.backward_samples) == (8 + 8, 8)


def test_cg_when_all_of_the_gradient_is_removed():
    model = spread(nn.Sequential(nn.Linear(3, 1)))
    _, diagnostics = run(model, sum_loss, floats(3)(2), floats(3)(4), alpha=0.0, solver="cg")
    assert diagnostics.projected_norm <= 1e-8 * diagnostics.forget_norm


def test_cg_refuses_a_gradient_that_is_not_the_derivative():
    """torch's embedding has no gradient at its padding index, but a derivative."""
    case = CASES["tied by function"]()
    with pytest.raises(RuntimeError, match="Forward and backward differentiation disagree"):
        run(case.model, case.loss_fn, case.batch(3), case.batch(5), solver="cg")


def test_cg_says_when_it_does_not_converge():
    model = spread(nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)))
    scale = 10.0 ** torch.linspace(-8, 8, 8, dtype=torch.float64)

    def loss_fn(net, batch):
        return sum_loss(net, batch[:1]) * batch[1]

    forget, retain = (*floats(8)(2), torch.ones(2, dtype=torch.float64)), (*floats(8)(8), scale)
    with pytest.raises(RuntimeError, match="Use solver='gramian'"):
        run(model, loss_fn, forget, retain, alpha=0.0, solver="cg", rtol=1e-8)


def test_cg_needs_the_function_and_the_whole_space():
    model = spread(nn.Sequential(nn.Linear(3, 1)))
    og = orthograd.OrthoGrad(model, solver="cg")
    with pytest.raises(ValueError, match="call backward_from"):
        og.backward(sum_loss(model, floats(3)(2)), sum_loss(model, floats(3)(2)))
    with pytest.raises(ValueError, match="choose scope='global'"):
        orthograd.OrthoGrad(model, solver="cg", scope="tensor")


def test_a_memory_budget_sets_the_micro_batch_and_the_solver():
    model = spread(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(288, 4)))
    forget, retain = images(3, 8, 4)(4), images(3, 8, 4)(64)
    parameters = 8 * sum(p.numel() for p in model.parameters())
    options = {"alpha": 0.3, "chunk_bytes": 1000}
    expected, oracle = run(model, classifier_loss, forget, retain, solver="materialize", alpha=0.3)
    # A sample keeps its input, the output of tanh (288 numbers each as input of the next layer) and little
    # else.
    seen = set()
    for activations in (10**7, 10**5, 5 * 10**4, 2 * 10**4):
        budget = 6 * parameters + 32 * 65**2 + 1000 + activations
        got, diagnostics = run(
            model, classifier_loss, forget, retain, solver="auto", memory_budget=budget, **options
        )
        assert (got - expected).norm() <= 1e-9 * oracle.condition_number * expected.norm()
        seen.add((diagnostics.solver, diagnostics.forward_samples > 68))
    assert ("gramian", False) in seen
    assert ("gramian", True) in seen
    with pytest.raises(ValueError, match=r"too small for solver='cg': give at least \d+ bytes"):
        run(model, classifier_loss, forget, retain, solver="cg", memory_budget=10)
    with pytest.raises(ValueError, match="give memory_budget"):
        orthograd.OrthoGrad(model, solver="auto")
    with pytest.raises(ValueError, match="memory_budget is 0"):
        orthograd.OrthoGrad(model, memory_budget=0)


def test_a_small_budget_chooses_conjugate_gradients():
    """Where the Gramian would send every sample through the model more often than twice the expected
    iterations."""
    model = spread(nn.Sequential(nn.Linear(40, 3), nn.Tanh(), nn.Linear(3, 2)))
    forget, retain = floats(40)(2), floats(40)(100)
    k_by_k = 32 * 101**2
    parameters = 8 * sum(p.numel() for p in model.parameters())
    # Room for a few samples beside the k×k matrices, where conjugate gradients have room for all of them.
    _, diagnostics = run(
        model,
        sum_loss,
        forget,
        retain,
        solver="auto",
        alpha=0.0,
        rtol=1e-3,
        chunk_bytes=1000,
        memory_budget=k_by_k + 3 * parameters + 1000 + 2000,
    )
    assert diagnostics.solver == "cg"


def test_adam_directions_are_those_of_the_optimizer_and_lose_the_guarantee():
    model = spread(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    forget, retain = images(1, 2, 3)(1), images(1, 2, 3)(3)

    def loss_fn(net, batch):
        return classifier_loss(net, (batch[0].flatten(1), batch[1]))

    # The direction after each sample, from torch's optimizer at learning rate 1 on a parameter that is put
    # back.
    samples = [tuple(leaf[i : i + 1] for leaf in retain) for i in range(3)] + [forget]
    rows = []
    twin = copy.deepcopy(model)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1.0)
    for sample in samples:
        twin.load_state_dict(model.state_dict())
        optimizer.zero_grad()
        loss_fn(twin, sample).sum().backward()
        optimizer.step()
        moved = zip(model.parameters(), twin.parameters(), strict=True)
        rows.append(torch.cat([(old - new).detach().flatten() for old, new in moved]))
    span, vector = torch.stack(rows[:3]), rows[3]
    expected = -(vector - span.T @ torch.linalg.lstsq(span.T, vector).solution)
    got, _ = run(model, loss_fn, forget, retain, alpha=0.0, solver="materialize", directions="adam")
    assert (got - expected).norm() <= 1e-6 * expected.norm()
    assert (span @ got).abs().max() <= 1e-6 * got.norm() * span.norm()
    # Orthogonal to Adam directions is not orthogonal to gradients.
    model.zero_grad()
    loss_fn(model, samples[0]).sum().backward()
    gradient = flat_grad(model)
    assert (gradient @ got).abs() >= 1e-3 * gradient.norm() * got.norm()
    with pytest.raises(ValueError, match="choose solver='materialize'"):
        orthograd.OrthoGrad(model, directions="adam")
