"""The oracle: values against formulas written out, theorems on a network, and refusals."""

import copy
import json
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import orthograd


def network(dtype=torch.float64):
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4)).to(dtype)


def data(count, dtype=torch.float64):
    return torch.randn(count, 6, dtype=dtype), torch.randint(0, 4, (count,))


def loss_fn(model, batch):
    inputs, labels = batch
    return F.cross_entropy(model(inputs), labels, reduction="none")


def flat_grad(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


def direction(model, forget_batch, retain_batch, **options):
    """Direction (d,) and diagnostics of one call, on a copy of the model."""
    model = copy.deepcopy(model)
    og = orthograd.OrthoGrad(model, **{"solver": "materialize", **options})
    diagnostics = og.backward(loss_fn(model, forget_batch), loss_fn(model, retain_batch))
    return flat_grad(model), diagnostics


def sample_gradient(model, batch, index):
    """Gradient of one sample with loss.backward(), nothing else."""
    model = copy.deepcopy(model)
    loss_fn(model, tuple(leaf[index : index + 1] for leaf in batch)).sum().backward()
    return flat_grad(model)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("retain_mode", ["per_sample", "mean"])
def test_formula_with_least_squares(alpha, retain_mode):
    model, forget, retain = network(), data(5), data(3)
    g_u = torch.stack([sample_gradient(model, forget, i) for i in range(5)]).mean(dim=0)
    rows = torch.stack([sample_gradient(model, retain, i) for i in range(3)])
    mean = rows.mean(dim=0)
    span = rows if retain_mode == "per_sample" else mean[None]
    # The residual of least squares is the projection off the span.
    projected = g_u - span.T @ torch.linalg.lstsq(span.T, g_u).solution
    expected = alpha * mean - (1 - alpha) * projected
    got, diagnostics = direction(model, forget, retain, alpha=alpha, retain=retain_mode)
    assert (got - expected).norm() <= 1e-12 * expected.norm()
    assert diagnostics.forget_norm == pytest.approx(float(g_u.norm()), rel=1e-12)
    assert diagnostics.projected_norm == pytest.approx(float(projected.norm()), rel=1e-12)
    assert diagnostics.removed_fraction == pytest.approx(
        float((g_u - projected).norm() / g_u.norm()), rel=1e-10
    )
    assert diagnostics.direction_norm == pytest.approx(float(expected.norm()), rel=1e-12)
    assert diagnostics.rank == len(span)
    assert diagnostics.max_cosine <= 1e-12


def test_tensor_scope_projects_within_each_tensor():
    model, forget, retain = network(), data(5), data(3)
    g_u = torch.stack([sample_gradient(model, forget, i) for i in range(5)]).mean(dim=0)
    rows = torch.stack([sample_gradient(model, retain, i) for i in range(3)])
    sizes = [p.numel() for p in model.parameters()]
    expected = torch.cat(
        [
            -(u - G.T @ torch.linalg.lstsq(G.T, u).solution)
            for u, G in zip(g_u.split(sizes), rows.split(sizes, dim=1), strict=True)
        ]
    )
    got, diagnostics = direction(model, forget, retain, alpha=0.0, scope="tensor")
    assert (got - expected).norm() <= 1e-12 * expected.norm()
    assert diagnostics.rank == 4 * 3


def test_tensor_with_no_more_entries_than_samples_gets_no_unlearning():
    model, forget, retain = network(), data(5), data(4)
    og = orthograd.OrthoGrad(model, alpha=0.0, scope="tensor", solver="materialize", full_diagnostics=True)
    diagnostics = og.backward(loss_fn(model, forget), loss_fn(model, retain))
    # The logit gradients p − y sum to zero: three directions, and the forget gradient lies in the same plane.
    assert model[2].bias.grad.norm() <= 1e-14
    assert diagnostics.removed_per_layer["2.bias"] == pytest.approx(1.0, abs=1e-12)
    assert model[0].weight.grad.norm() > 1e-3


@pytest.mark.parametrize("scope", ["global", "tensor"])
@pytest.mark.parametrize("retain_mode", ["per_sample", "mean"])
def test_both_entries_agree(scope, retain_mode):
    model, forget, retain = network(), data(5), data(3)
    expected, _ = direction(model, forget, retain, alpha=0.3, scope=scope, retain=retain_mode)
    og = orthograd.OrthoGrad(model, alpha=0.3, scope=scope, retain=retain_mode, solver="materialize")
    diagnostics = og.backward_from(loss_fn, forget, retain)
    assert (flat_grad(model) - expected).norm() <= 1e-12 * expected.norm()
    # Four samples of each batch go forward once more, to see that the losses do not mix.
    assert (diagnostics.forward_samples, diagnostics.backward_samples) == (8 + 8, 8)


@pytest.mark.parametrize("solver", ["gramian", "materialize"])
def test_sampled_retain_losses_do_not_move_to_first_order(solver):
    """At alpha = 0 a plain SGD step changes every sampled retain loss by O(lr²), but another one by O(lr)."""
    model, forget, retain, other = network(), data(6), data(5), data(5)
    step, _ = direction(model, forget, retain, alpha=0.0, solver=solver)

    def moved(batch, lr):
        after = copy.deepcopy(model)
        parameters = list(after.parameters())
        with torch.no_grad():
            for p, part in zip(parameters, step.split([p.numel() for p in parameters]), strict=True):
                p -= lr * part.view_as(p)
            return loss_fn(after, batch) - loss_fn(model, batch)

    sampled = (moved(retain, 1e-4) - moved(retain, -1e-4)) / 2e-4  # central difference: error O(lr²)
    unsampled = (moved(other, 1e-4) - moved(other, -1e-4)) / 2e-4
    assert sampled.abs().max() <= 1e-7
    assert unsampled.abs().max() >= 1e-3
    assert (moved(forget, 1e-4).mean() > 0).item()


def test_order_and_scale_of_retain_losses_do_not_change_the_projection():
    model, forget, retain = network(), data(5), data(4)
    expected, _ = direction(model, forget, retain, alpha=0.0)
    scale = torch.tensor([1e-8, 1.0, 1e8, -3.0], dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1])
    og = orthograd.OrthoGrad(model, alpha=0.0, solver="materialize")
    og.backward(loss_fn(model, forget), (loss_fn(model, retain) * scale)[order])
    assert (flat_grad(model) - expected).norm() <= 1e-11 * expected.norm()


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_losses_of_both_reductions(alpha):
    """reduction="mean" divides each loss by the batch size: the same projection, a shorter direction."""
    model, forget, retain = network(), data(4), data(4)
    expected, _ = direction(model, forget, retain, alpha=alpha)
    og = orthograd.OrthoGrad(model, alpha=alpha, solver="materialize")
    og.backward(loss_fn(model, forget) / 4, loss_fn(model, retain) / 4)
    assert (flat_grad(model) - expected / 4).norm() <= 1e-12 * expected.norm()


def test_duplicates_zero_rows_one_sample_and_more_samples_than_parameters():
    model, forget, (inputs, labels) = network(), data(5), data(3)
    once, _ = direction(model, forget, (inputs, labels), alpha=0.0)
    twice, diagnostics = direction(model, forget, (inputs.repeat(2, 1), labels.repeat(2)), alpha=0.0)
    assert (twice - once).norm() <= 1e-12 * once.norm()
    assert (diagnostics.rank, diagnostics.dropped_directions) == (3, 3)

    og = orthograd.OrthoGrad(model, alpha=0.0, solver="materialize")
    losses = loss_fn(model, (inputs, labels))
    diagnostics = og.backward(loss_fn(model, forget), torch.cat([losses, 0 * losses]))
    assert (flat_grad(model) - once).norm() <= 1e-12 * once.norm()
    assert (diagnostics.rank, diagnostics.dropped_rows) == (3, 3)

    _, diagnostics = direction(model, forget, data(1))
    assert (diagnostics.rank, diagnostics.condition_number) == (1, 1.0)

    tiny = nn.Linear(6, 1, dtype=torch.float64)
    og = orthograd.OrthoGrad(tiny, alpha=0.0, solver="materialize")
    x, _ = data(20)
    diagnostics = og.backward(tiny(x[:5]).square().squeeze(1), tiny(x).square().squeeze(1))
    assert diagnostics.rank == 7
    assert flat_grad(tiny).norm() <= 1e-12 * diagnostics.forget_norm


def test_accumulates_and_leaves_frozen_parameters_alone():
    model, forget, retain = network(), data(5), data(3)
    model[0].bias.requires_grad_(False)
    og = orthograd.OrthoGrad(model, solver="materialize")
    og.backward_from(loss_fn, forget, retain)
    assert model[0].bias.grad is None
    first = flat_grad(model).clone()
    og.backward_from(loss_fn, forget, retain)
    assert torch.equal(flat_grad(model), 2 * first)


def test_diagnostics_are_json():
    model = network()
    og = orthograd.OrthoGrad(model, solver="materialize", full_diagnostics=True)
    diagnostics = og.backward_from(loss_fn, data(4), data(3))
    assert isinstance(diagnostics, orthograd.Diagnostics)
    parsed = json.loads(json.dumps(diagnostics.as_dict()))
    assert set(parsed["removed_per_layer"]) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert parsed["seconds"] > 0
    assert parsed["engine_bytes"] >= 3 * 103 * 8


@pytest.mark.parametrize(
    ("option", "mend"),
    [
        ({"alpha": 1.5}, "between 0 and 1"),
        ({"alpha": float("nan")}, "between 0 and 1"),
        ({"scope": "layer"}, "choose one of 'global', 'tensor'"),
        ({"retain": "sum"}, "choose one of 'per_sample', 'mean'"),
        ({"solver": "qr"}, "choose one of"),
        ({"rtol": 1.0}, r"choose a number in \[0, 1\)"),
        ({"noise_floor": -1.0}, "choose a finite gradient norm"),
    ],
)
def test_options_out_of_range(option, mend):
    with pytest.raises(ValueError, match=mend):
        orthograd.OrthoGrad(network(), **option)


def test_losses_that_cannot_be_used():
    model = network()
    og = orthograd.OrthoGrad(model, solver="materialize")
    good = loss_fn(model, data(3))
    for bad, mend in (
        (good.mean(), "reduction='none'"),
        (good[:0], "leave the step out"),
        (good * float("nan"), "not finite"),
        (good.detach(), "does not depend on any trainable parameter"),
        (loss_fn(network(), data(3)), "does not depend on any trainable parameter"),
    ):
        with pytest.raises(ValueError, match=mend):
            og.backward(good, bad)
        with pytest.raises(ValueError, match=mend):
            og.backward(bad, good)
    assert all(p.grad is None for p in model.parameters())


def test_batches_that_cannot_be_used():
    model = network()
    og = orthograd.OrthoGrad(model, solver="materialize")
    inputs, labels = data(3)
    with pytest.raises(ValueError, match="different leading dimensions"):
        og.backward_from(loss_fn, (inputs, labels[:2]), (inputs, labels))
    with pytest.raises(ValueError, match="holds no sample"):
        og.backward_from(loss_fn, (inputs[:0], labels[:0]), (inputs, labels))
    with pytest.raises(TypeError, match="close over constants"):
        og.backward_from(loss_fn, (inputs, "labels"), (inputs, labels))
    with pytest.raises(ValueError, match="one loss for each sample"):
        og.backward_from(lambda net, batch: loss_fn(net, batch).mean(), (inputs, labels), (inputs, labels))
    with pytest.raises(ValueError, match="micro_batch is 0"):
        og.backward_from(loss_fn, (inputs, labels), (inputs, labels), micro_batch=0)


def test_batch_norm_in_training_mode_and_frozen_models_are_refused():
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)).double()
    og = orthograd.OrthoGrad(model, solver="materialize")
    with pytest.raises(ValueError, match=r"call model.eval\(\)"):
        og.backward_from(loss_fn, data(3), data(3))
    model.eval()
    og.backward_from(loss_fn, data(3), data(3))
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        og.backward_from(loss_fn, data(3), data(3))


def test_importing_the_package_does_not_import_torch():
    before = "import sys, orthograd; assert 'torch' not in sys.modules"
    after = "orthograd.OrthoGrad; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", f"{before}; {after}"], check=True)
