"""How the engine behaves in a training loop: hooks, optimizers, accumulation, clipping, mixed precision,
refusals."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import orthograd
from orthograd.engine.accuracy import orthogonality_loss, step_alignment
from tests.engine.architectures import CASES, classifier_loss, floats, images, spread, sum_loss


def flat_grad(model):
    return torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None])


def convnet():
    return spread(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4)
        )
    )


BATCH = images(3, 4, 4)


def hook_count(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_hooks_are_removed_and_the_model_is_as_before():
    model, (inputs, labels) = convnet(), BATCH(3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain = model(inputs)
    with orthograd.OrthoGrad(model) as og:
        assert hook_count(model) > 0
        assert torch.equal(model(inputs), plain)
        og.backward(classifier_loss(model, (inputs, labels)), classifier_loss(model, BATCH(4)))
    assert hook_count(model) == 0
    assert not model.training
    after = model.state_dict()
    assert all(
        torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before
    )
    assert torch.equal(model(inputs), plain)
    with pytest.raises(RuntimeError, match="new OrthoGrad"):
        og.backward(classifier_loss(model, (inputs, labels)), classifier_loss(model, BATCH(4)))


def test_hooks_are_removed_after_an_error():
    model = convnet()
    with pytest.raises(KeyError), orthograd.OrthoGrad(model):
        raise KeyError
    assert hook_count(model) == 0


def test_the_graph_is_freed_and_notes_do_not_pile_up():
    model = convnet()
    notes = []
    with orthograd.OrthoGrad(model) as og:
        # The count of live tensors does not grow with forward passes that are never used.
        import gc

        def live():
            gc.collect()
            return sum(type(thing) is torch.Tensor for thing in gc.get_objects())

        for _ in range(3):
            og.backward(classifier_loss(model, BATCH(3)), classifier_loss(model, BATCH(4)))
            classifier_loss(model, BATCH(3))
            notes.append(live())
    assert notes[2] <= notes[1]


def test_evaluation_and_ordinary_training_go_on_beside_it():
    model, batch = convnet(), BATCH(3)
    twin = copy.deepcopy(model)
    with orthograd.OrthoGrad(model):
        with torch.no_grad():
            model(batch[0])
        classifier_loss(model, batch).sum().backward()
    classifier_loss(twin, batch).sum().backward()
    assert torch.equal(flat_grad(model), flat_grad(twin))


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_any_optimizer_takes_the_gradient(make):
    model = convnet()
    optimizer = make(model.parameters(), lr=1e-3)
    before = classifier_loss(model, forget := BATCH(8)).mean().item()
    with orthograd.OrthoGrad(model, alpha=0.0) as og:
        for _ in range(5):
            optimizer.zero_grad()
            og.backward(classifier_loss(model, forget), classifier_loss(model, BATCH(4)))
            optimizer.step()
    assert classifier_loss(model, forget).mean().item() > before


def test_accumulation_adds_directions():
    """Two calls give the sum of their directions, each off its own retain batch; not the direction of the
    union."""
    model = convnet()
    batches = [(BATCH(3), BATCH(4)) for _ in range(2)]
    singles = []
    with orthograd.OrthoGrad(model, alpha=0.2) as og:
        for forget, retain in batches:
            model.zero_grad()
            og.backward(classifier_loss(model, forget), classifier_loss(model, retain))
            singles.append(flat_grad(model))
        model.zero_grad()
        for forget, retain in batches:
            og.backward(classifier_loss(model, forget), classifier_loss(model, retain))
        assert torch.allclose(flat_grad(model), singles[0] + singles[1], rtol=0, atol=1e-14)
        model.zero_grad()
        union = [tuple(map(torch.cat, zip(*parts, strict=True))) for parts in zip(*batches, strict=True)]
        og.backward(*(classifier_loss(model, batch) for batch in union))
    assert (flat_grad(model) - (singles[0] + singles[1]) / 2).norm() > 1e-3 * singles[0].norm()


def test_clipping_by_norm_keeps_the_orthogonality_and_clipping_by_value_does_not():
    model, retain = convnet(), BATCH(4)
    rows = []
    for inputs, label in zip(*retain, strict=True):
        twin = copy.deepcopy(model)
        classifier_loss(twin, (inputs[None], label[None])).sum().backward()
        rows.append(flat_grad(twin))
    rows = torch.stack(rows)
    rows = rows / rows.norm(dim=1, keepdim=True)
    with orthograd.OrthoGrad(model, alpha=0.0) as og:
        og.backward(classifier_loss(model, BATCH(3)), classifier_loss(model, retain))
    whole = flat_grad(model)
    assert (rows @ whole).abs().max() <= 1e-12 * whole.norm()
    nn.utils.clip_grad_norm_(model.parameters(), 0.1 * float(whole.norm()))
    clipped = flat_grad(model)
    assert clipped.norm() == pytest.approx(0.1 * float(whole.norm()), rel=1e-4)
    assert (rows @ clipped).abs().max() <= 1e-12 * clipped.norm()
    nn.utils.clip_grad_value_(model.parameters(), float(clipped.abs().median()))
    assert (rows @ flat_grad(model)).abs().max() >= 1e-3 * flat_grad(model).norm()


def test_bfloat16_autocast_is_right_to_its_precision():
    model = convnet().float()
    forget, retain = ((inputs.float(), labels) for inputs, labels in (BATCH(4), BATCH(6)))
    figures = orthogonality_loss(
        model, classifier_loss, forget, retain, lambda: torch.autocast("cpu", torch.bfloat16)
    )
    assert figures["condition_number"] < 30
    # Eight bits of mantissa in every layer: two digits, and not one more.
    assert 1e-4 < figures["relative_error"] < 0.2
    exact = orthogonality_loss(model, classifier_loss, forget, retain)
    assert exact["max_cosine"] < 1e-6
    assert exact["relative_error"] < 1e-5


@pytest.mark.parametrize("name", ["vit", "control flow", "conv2d"])
def test_losses_under_autocast_may_be_used_inside_or_outside_of_it(name):
    case = CASES[name]()
    model = case.model.float()
    forget, retain = ((batch[0].float(), *batch[1:]) for batch in (case.batch(3), case.batch(4)))
    grads = []
    for inside in (True, False):
        model.zero_grad()
        with orthograd.OrthoGrad(model, alpha=0.3) as og:
            with torch.autocast("cpu", torch.bfloat16):
                losses = case.loss_fn(model, forget).float(), case.loss_fn(model, retain).float()
                if inside:
                    og.backward(*losses)
            if not inside:
                og.backward(*losses)
        grads.append(flat_grad(model))
    assert (grads[0] - grads[1]).norm() <= 1e-2 * grads[0].norm()


def test_what_optimizers_make_of_the_guarantee():
    """Plain SGD keeps sampled data, no other; momentum and Adam mix in what is not orthogonal."""
    model, forget, sampled, other = convnet(), BATCH(6), BATCH(5), BATCH(5)
    batches = {"sampled": sampled, "unsampled": other}

    def measure(make, steps):
        return step_alignment(model, classifier_loss, forget, batches, make, steps)

    plain = measure(lambda p: torch.optim.SGD(p, lr=1e-3), 1)
    assert plain["sampled"] < 1e-9
    assert plain["unsampled"] > 1e-3
    # The first step of momentum is a step of plain SGD; later ones carry steps that were orthogonal at other
    # points.
    momentum = measure(lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9), 3)
    assert momentum["sampled"] > 1e-6
    adam = measure(lambda p: torch.optim.Adam(p, lr=1e-3), 1)
    assert adam["sampled"] > 1e-3


def test_losses_that_mix_samples_are_refused():
    model, retain = convnet(), BATCH(4)
    for scope in ("global", "tensor"):
        with orthograd.OrthoGrad(model, scope=scope) as og:
            losses = classifier_loss(model, retain)
            with pytest.raises(ValueError, match="the losses mix samples"):
                og.backward(classifier_loss(model, BATCH(3)), losses * losses.mean())
            assert all(p.grad is None for p in model.parameters())
            with pytest.raises(ValueError, match="the losses mix samples"):
                og.backward_from(
                    lambda m, b: classifier_loss(m, b) * classifier_loss(m, b).mean(), BATCH(3), retain
                )


def test_losses_in_another_order_than_the_batch_are_refused():
    model = convnet()
    with orthograd.OrthoGrad(model) as og:
        losses = classifier_loss(model, BATCH(4))
        with pytest.raises(ValueError, match="another order than the batch"):
            og.backward(classifier_loss(model, BATCH(3)), losses.flip(0))
        both = classifier_loss(model, BATCH(8))
        with pytest.raises(ValueError, match="neither the first nor the last part"):
            og.backward(both[::2], both[1::2])


def test_a_layer_that_mixes_samples_is_refused():
    class Centred(nn.Module):
        def forward(self, x):
            return x - x.mean(0)

    model = spread(nn.Sequential(nn.Linear(3, 4), Centred(), nn.Tanh(), nn.Linear(4, 2)))
    with orthograd.OrthoGrad(model) as og, pytest.raises(ValueError, match="the losses mix samples"):
        og.backward_from(sum_loss, floats(3)(3), floats(3)(4))


def test_dropout_in_a_part_that_must_run_again_is_refused():
    model = CASES["unknown layer"]().model
    model.append(nn.Dropout(0.5))
    model.train()
    with orthograd.OrthoGrad(model) as og, pytest.raises((ValueError, RuntimeError), match=r"model.eval\(\)"):
        og.backward_from(sum_loss, floats(4)(3), floats(4)(6), micro_batch=2)


def test_dropout_is_fine_where_nothing_runs_again():
    """The graph holds the masks: the gradients belong to the forward pass that was made."""
    model = spread(nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))).train()
    gradients = []
    for solver in ("gramian", "materialize"):
        torch.manual_seed(1)
        model.zero_grad()
        with orthograd.OrthoGrad(model, solver=solver) as og:
            og.backward(sum_loss(model, floats(4)(3)), sum_loss(model, floats(4)(4)))
        gradients.append(flat_grad(model))
    assert torch.allclose(*gradients, rtol=0, atol=1e-11)


def test_an_input_changed_in_place_is_refused():
    # The weight is frozen, so that autograd itself does not need the input and does not notice.
    model = nn.Sequential(nn.Linear(4, 2)).double()
    first, second = floats(4)(3)[0], floats(4)(4)[0]
    with orthograd.OrthoGrad(model) as og:
        forget, retain = model(first).sum(1), model(second).square().sum(1)
        model[0].weight.requires_grad_(False)
        second.mul_(2)
        with pytest.raises(RuntimeError, match="changed in place"):
            og.backward(forget, retain)


def test_part_of_a_batch_is_answered_by_one_pass_for_each_loss():
    """No layer call has k samples here: the last resort, with the right answer."""
    model, (inputs, labels) = convnet(), BATCH(6)
    gradients = []
    for solver in ("gramian", "materialize"):
        model.zero_grad()
        with orthograd.OrthoGrad(model, solver=solver) as og:
            losses = classifier_loss(model, (inputs, labels))[[4, 1, 2]]
            forget = classifier_loss(model, (inputs[:2], labels[:2]))
            diagnostics = og.backward(forget, losses)
        gradients.append(flat_grad(model))
        if solver == "gramian":
            assert set(diagnostics.fallbacks) == {name for name, _ in model.named_parameters()}
    assert torch.allclose(*gradients, rtol=0, atol=1e-12)


COINCIDENCES = {
    "positions": 7,
    "attention": 3,
    "vit": 5,
    "masked attention": 3,
    "recurrent states": 2,
    "numbered positions": 5,
    "sequence first": 6,
    "prototypes": 5,
}


@pytest.mark.parametrize("scope", ["global", "tensor"])
@pytest.mark.parametrize("name", COINCIDENCES)
def test_as_many_positions_layers_or_classes_as_samples(name, scope):
    case, samples = CASES[name](), COINCIDENCES[name]
    forget, retain = case.batch(3), case.batch(samples)
    gradients = []
    for solver in ("gramian", "materialize"):
        case.model.zero_grad()
        with orthograd.OrthoGrad(case.model, solver=solver, scope=scope) as og:
            og.backward_from(case.loss_fn, forget, retain)
        gradients.append(flat_grad(case.model))
    assert (gradients[0] - gradients[1]).norm() <= 1e-10 * gradients[1].norm()


@pytest.mark.parametrize("micro_batch", [4, 5, 6])
def test_as_many_positions_as_samples_of_some_micro_batches(micro_batch):
    case = CASES["numbered positions"]()
    forget, retain = case.batch(3), case.batch(9)
    gradients = []
    for options in ({}, {"solver": "materialize"}):
        case.model.zero_grad()
        with orthograd.OrthoGrad(case.model, **options) as og:
            og.backward_from(case.loss_fn, forget, retain, micro_batch)
        gradients.append(flat_grad(case.model))
    assert (gradients[0] - gradients[1]).norm() <= 1e-10 * gradients[1].norm()


def test_with_losses_alone_such_a_coincidence_cannot_be_told_from_mixing():
    case = CASES["numbered positions"]()
    with orthograd.OrthoGrad(case.model) as og:
        losses = case.loss_fn(case.model, case.batch(3)), case.loss_fn(case.model, case.batch(5))
        with pytest.raises(ValueError, match=r"found at layer 'position'.*call backward_from"):
            og.backward(*losses)

        def mixing(model, batch):
            found = case.loss_fn(model, batch)
            return found * found.mean()

        with pytest.raises(ValueError, match="beside another one: the losses mix samples"):
            og.backward_from(mixing, case.batch(3), case.batch(5))
    assert all(p.grad is None for p in case.model.parameters())


@pytest.mark.parametrize(("error", "mixes"), [(1.2e-7, False), (1e-5, True)])
def test_rounding_in_the_losses_of_memorised_samples_is_no_mixing(error, mixes):
    """Losses of 1e-4 come from log-softmax with the rounding error of a number near 1, which the batch size changes."""
    model = torch.nn.Linear(2, 3)
    torch.nn.init.zeros_(model.weight)
    with torch.no_grad():
        model.bias.copy_(torch.tensor([10.0, 0.0, 0.0]))
    batch = torch.randn(4, 2), torch.zeros(4, dtype=torch.int64)

    def loss_fn(model, batch):
        losses = torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
        return losses + error * (len(losses) > 1)

    with orthograd.OrthoGrad(model, retain="mean") as og:
        if mixes:
            with pytest.raises(ValueError, match="beside another one: the losses mix samples"):
                og.backward_from(loss_fn, batch, batch)
        else:
            og.backward_from(loss_fn, batch, batch)


@pytest.mark.parametrize("retain_first", [True, False])
@pytest.mark.parametrize("zeros", [slice(0, 3), slice(2, 5), slice(0, 5)])
def test_zero_gradients_in_one_common_pass(retain_first, zeros):
    """Rows of zeros must not hide in which order the two parts are."""
    model, forget, retain = convnet(), BATCH(3), BATCH(5)
    factor = torch.ones(5, dtype=torch.float64)
    factor[zeros] = 0
    with orthograd.OrthoGrad(model, alpha=0.3) as og:
        og.backward(classifier_loss(model, forget), classifier_loss(model, retain) * factor)
        expected = flat_grad(model)
        model.zero_grad()
        parts = (retain, forget) if retain_first else (forget, retain)
        losses = classifier_loss(model, tuple(map(torch.cat, zip(*parts, strict=True))))
        first, second = losses.split([5, 3] if retain_first else [3, 5])
        og.backward(*((second, first * factor) if retain_first else (first, second * factor)))
    assert torch.allclose(flat_grad(model), expected, rtol=0, atol=1e-13)


def test_a_hook_on_a_parameter_acts_on_the_rows():
    """A mask on the gradient, as for pruned weights: the projection is that of the masked gradients."""
    gradients = []
    batches = BATCH(3), BATCH(4)
    for solver in ("gramian", "materialize"):
        torch.manual_seed(1)
        model = convnet()
        mask = torch.rand_like(model[0].weight) > 0.5
        model[0].weight.register_hook(lambda gradient, mask=mask: gradient * mask)
        with orthograd.OrthoGrad(model, solver=solver) as og:
            diagnostics = og.backward(*(classifier_loss(model, batch) for batch in batches))
        gradients.append(flat_grad(model))
        assert not model[0].weight.grad[~mask].any()
        assert solver == "materialize" or diagnostics.fallbacks == ("0.weight",)
    assert torch.allclose(*gradients, rtol=0, atol=1e-12)


def test_sparse_embeddings_are_refused():
    model = spread(nn.Sequential(nn.Embedding(7, 4, sparse=True), nn.Linear(4, 2)))
    with orthograd.OrthoGrad(model) as og, pytest.raises(ValueError, match="sparse=False"):
        og.backward_from(sum_loss, (torch.arange(3),), (torch.arange(4),))


def test_buffers_change_in_the_users_forward_passes_only():
    case = CASES["changing buffer"]()
    with orthograd.OrthoGrad(case.model) as og:
        og.backward(case.loss_fn(case.model, case.batch(3)), case.loss_fn(case.model, case.batch(4)))
    assert float(case.model.calls) == 2


def test_samples_that_go_through_the_model_are_counted():
    """Collecting and weighted pass; a module that runs again; one backward pass of k samples for each
    loss."""
    m, k = 3, 4
    for name, forward, backward in (
        ("in place", 0, m + 2 * k),
        ("unknown layer", k, m + 3 * k),
        ("tied by function", k, m + 3 * k),
        ("attention, mask by head", k, m + 3 * k + k * k),
    ):
        case = CASES[name]()
        with orthograd.OrthoGrad(case.model, alpha=0.0) as og:
            diagnostics = og.backward(*(case.loss_fn(case.model, case.batch(n)) for n in (m, k)))
        assert (diagnostics.forward_samples, diagnostics.backward_samples) == (forward, backward), name


def test_gradients_that_are_not_finite_are_refused():
    model = spread(nn.Sequential(nn.Linear(3, 2)))

    def loss_fn(net, batch):
        # The square root has an infinite slope at zero, and a finite value.
        return (net(batch[0]) * 0).sum(1).abs().sqrt()

    for solver in ("gramian", "materialize"):
        with orthograd.OrthoGrad(model, solver=solver) as og, pytest.raises(ValueError, match="not finite"):
            og.backward_from(loss_fn, floats(3)(2), floats(3)(2))
        assert all(p.grad is None for p in model.parameters())


def test_refusals_of_the_default_solver():
    model = convnet()
    with orthograd.OrthoGrad(model) as og:
        good = classifier_loss(model, BATCH(3))
        for bad, mend in (
            (good.mean(), "reduction='none'"),
            (good[:0], "leave the step out"),
            (good * float("nan"), "not finite"),
            (good.detach(), "does not depend on any trainable parameter"),
            (classifier_loss(convnet(), BATCH(3)), "does not depend on any trainable parameter"),
        ):
            with pytest.raises(ValueError, match=mend):
                og.backward(good, bad)
            with pytest.raises(ValueError, match=mend):
                og.backward(bad, good)
        model.train()
        with pytest.raises(ValueError, match=r"call model.eval\(\)"):
            og.backward_from(classifier_loss, BATCH(3), BATCH(3))
        model.eval()
        with pytest.raises(ValueError, match="one loss for each sample"):
            og.backward_from(lambda m, b: F.cross_entropy(m(b[0]), b[1]), BATCH(3), BATCH(3))
