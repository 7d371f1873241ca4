"""Each deviation of the public code copy, by least squares, by finite differences, and by what follows from it."""

import copy
from collections.abc import Mapping
from contextlib import closing
from itertools import islice
from typing import get_args

import pytest
import torch
from problem import ARCHITECTURES, CLASSES, PIXELS, data, flat, original
from torch import nn
from torch.nn import functional as F

from orthograd import methods
from orthograd.data.samples import Samples
from orthograd.methods.base import DataView, Updates
from orthograd.methods.orthograd_copy import Deviation

RATE = 0.1
K = 6
# The whole of each set is one batch, so that the order of the samples does not matter.
PARAMS = {
    "learning_rate": RATE,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "forget_batch": 12,
    "retain_batch": K,
    "passes": None,
}
RTOL = {"rtol": 1e-6}


def _linear() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES)).double().eval()


def _sets() -> dict[str, Samples]:
    sets = data()
    return {"forget": sets["forget"], "retain": Samples(sets["retain"].images[:K], sets["retain"].labels[:K])}


def _updates(
    name: str, model: nn.Module, sets: Mapping[str, Samples] | None = None, **params: object
) -> Updates:
    method = methods.load(name)
    view = DataView(sets or _sets(), method.reads, seed=0, pixels=PIXELS)
    return method.run(model, view, method.params.model_validate({**PARAMS, **params}))


def _copy(
    deviation: str, model: nn.Module, sets: Mapping[str, Samples] | None = None, **params: object
) -> Updates:
    return _updates("orthograd_copy", model, sets, **{"alpha": 0.3, **RTOL, **params}, deviation=deviation)


def _change(updates: Updates, model: nn.Module, steps: int = 1) -> torch.Tensor:
    """How the parameters change in the next updates."""
    before = flat(model)
    with closing(updates):
        assert len(list(islice(updates, steps))) == steps
    return flat(model) - before


def _first(deviation: str, sets: Mapping[str, Samples] | None = None, **params: object) -> torch.Tensor:
    """How the linear model changes in the first update."""
    model = _linear()
    return _change(_copy(deviation, model, sets, **params), model)


def _losses(model: nn.Module, samples: Samples) -> torch.Tensor:
    return F.cross_entropy(model(samples.images), samples.labels, reduction="none")


def _rows(model: nn.Module, losses: torch.Tensor) -> torch.Tensor:
    """Gradients (n, d)."""
    parameters = tuple(model.parameters())
    each = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses]
    return torch.stack([torch.cat([part.flatten() for part in gradient]) for gradient in each])


def _off(vector: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """A vector less its projection onto rows, by least squares."""
    return vector - rows.T @ torch.linalg.lstsq(rows.T, vector[:, None], driver="gelsd").solution[:, 0]


def _parts(model: nn.Module, sets: Mapping[str, Samples]) -> tuple[torch.Tensor, torch.Tensor]:
    """g_u (d,) and the retain gradients (k, d)."""
    return _rows(model, _losses(model, sets["forget"])).mean(dim=0), _rows(
        model, _losses(model, sets["retain"])
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("deviation", "name"),
    [("none", "orthograd"), ("per_tensor", "orthograd_tensor"), ("adam", "orthograd_adam")],
)
def test_it_is_what_the_engine_does(deviation: str, name: str, architecture: str) -> None:
    model, other = original(architecture), original(architecture)
    # Small enough batches that the moments of Adam go from step to step.
    params = {"alpha": 0.3, "forget_batch": 4, "retain_batch": 3, "learning_rate": 0.01, **RTOL}
    found = _change(_copy(deviation, model, **params), model, steps=3)
    expected = _change(_updates(name, other, **params), other, steps=3)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


def test_without_a_deviation_it_is_the_formula() -> None:
    forget, rows = _parts(_linear(), _sets())
    expected = 0.3 * rows.mean(dim=0) - 0.7 * _off(forget, rows)
    torch.testing.assert_close(_first("none"), -RATE * expected, rtol=1e-9, atol=1e-12)


def test_per_tensor_nothing_is_left_of_the_forget_gradient_of_a_small_tensor() -> None:
    forget, rows = _parts(_linear(), _sets())
    update = _first("per_tensor", alpha=0.0)
    weight, bias = update[:-CLASSES], update[-CLASSES:]
    torch.testing.assert_close(
        weight, RATE * _off(forget[:-CLASSES], rows[:, :-CLASSES]), rtol=1e-9, atol=1e-12
    )
    assert float(bias.abs().max()) < 1e-14
    assert float(_first("none", alpha=0.0)[-CLASSES:].abs().max()) > 1e-4


def _with_a_black_image() -> dict[str, Samples]:
    """A retain sample without a gradient in the weight, but with one in the bias."""
    sets = _sets()
    images = sets["retain"].images.clone()
    images[0] = 0
    return {**sets, "retain": Samples(images, sets["retain"].labels)}


def test_a_unit_column_for_a_zero_row_removes_a_direction_in_which_no_retain_gradient_points() -> None:
    sets = _with_a_black_image()
    _, rows = _parts(_linear(), sets)
    in_weight = rows[:, :-CLASSES]
    assert int((in_weight == 0).all(dim=1).sum()) == 1
    sizes = (3, 5, 8, 12)
    lost = []
    for size in sizes:
        forget = Samples(sets["forget"].images[:size], sets["forget"].labels[:size])
        both = [
            _first(deviation, {**sets, "forget": forget}, alpha=0.0, forget_batch=size)[:-CLASSES]
            for deviation in ("per_tensor", "unit_columns")
        ]
        lost.append(both[0] - both[1])
        # It was removed: what is left has no part along it.
        assert abs(float(both[1] @ lost[-1])) < 1e-12 * float(both[0].norm()) ** 2
    assert all(float(part.norm()) > 1e-6 for part in lost)
    assert float((in_weight @ torch.stack(lost).T).abs().max()) < 1e-12
    # One zero row is one direction, whatever the forget gradient is.
    assert int(torch.linalg.matrix_rank(torch.stack(lost), rtol=1e-6)) == 1


def test_unit_columns_count_as_directions() -> None:
    sets = _with_a_black_image()
    ranks = [
        next(_copy(deviation, _linear(), sets)).values["rank"] for deviation in ("per_tensor", "unit_columns")
    ]
    # 5 rows of the weight are not zero; the 3 entries of a bias gradient sum to 0.
    assert ranks == [5 + 2, 6 + 3]


def test_without_zero_rows_unit_columns_are_the_projection_per_tensor() -> None:
    torch.testing.assert_close(_first("unit_columns"), _first("per_tensor"), rtol=1e-9, atol=1e-14)


def test_adam_starts_with_the_sign_of_the_first_sample_and_loses_the_guarantee() -> None:
    # With one sample m̂ = g and √v̂ = |g|, and α = 1 leaves the retain term alone.
    _, rows = _parts(_linear(), _sets())
    signs = -_first("adam", alpha=1.0, retain_batch=1) / RATE
    assert float((signs[:-CLASSES].abs() - 1).abs().max()) < 1e-2
    assert any(torch.equal(signs.sign(), row.sign()) for row in rows)
    for deviation, kept in (("none", True), ("adam", False)):
        model = _linear()
        updates = _copy(deviation, model, alpha=0.0)
        before = flat(model)
        step = next(updates)
        change = rows @ (flat(model) - before)
        assert (float(change.abs().max()) < 1e-14) is kept
        assert (step.values["max_cosine"] < 1e-12) is kept


def test_the_broadcast_mean_is_the_same_along_the_first_axis() -> None:
    model, other = original(), original()
    _change(_copy("broadcast_mean", model, alpha=1.0), model)
    _change(_updates("orthograd_mean", other, alpha=1.0), other)
    differs = []
    for start, wrong, right in zip(
        original().parameters(), model.parameters(), other.parameters(), strict=True
    ):
        change, correct = (wrong - start).detach(), (right - start).detach()
        torch.testing.assert_close(
            change, correct.mean(dim=0, keepdim=True).expand_as(change), rtol=1e-9, atol=1e-14
        )
        differs.append(float((change - correct).abs().max()) > 1e-6)
    assert sum(differs) > len(differs) / 2


def test_the_broadcast_mean_leaves_no_retain_term_to_a_last_layer() -> None:
    # The gradients of the cross-entropy sum to zero over the classes, the first axis of weight and bias.
    assert float(_first("broadcast_mean", alpha=1.0).abs().max()) < 1e-15
    assert float(_first("none", alpha=1.0).abs().max()) > 1e-3


def test_the_broadcast_mean_projects_off_the_mean_over_samples() -> None:
    model = _linear()
    expected = _change(_updates("orthograd_mean", model, alpha=0.0), model)
    torch.testing.assert_close(_first("broadcast_mean", alpha=0.0), expected, rtol=1e-9, atol=1e-14)


def test_kl_starts_without_a_retain_gradient_and_then_projects_off_its_own() -> None:
    model, teacher, sets = _linear(), _linear(), _sets()
    updates = _copy("kl", model)
    start = flat(model)
    forget, _ = _parts(model, sets)
    step = next(updates)
    torch.testing.assert_close(flat(model) - start, RATE * 0.7 * forget, rtol=1e-9, atol=1e-12)
    assert (step.values["rank"], step.values["max_cosine"]) == (0.0, 0.0)
    second = flat(model)
    forget, _ = _parts(model, sets)
    with torch.no_grad():
        reference = teacher(sets["retain"].images).softmax(dim=1)
    # KL less the entropy of the reference, which has no gradient.
    rows = _rows(model, -(reference * model(sets["retain"].images).log_softmax(dim=1)).sum(dim=1))
    next(updates)
    expected = 0.3 * rows.mean(dim=0) - 0.7 * _off(forget, rows)
    torch.testing.assert_close(flat(model) - second, -RATE * expected, rtol=1e-7, atol=1e-10)


def _derivatives(direction: torch.Tensor, samples: Samples, training: bool) -> torch.Tensor:
    """Of each sample's loss along a direction, from the original, by central differences."""
    ends = []
    for shift in (1e-5, -1e-5):
        model = original().train(training)
        with torch.no_grad():
            vector = flat(model) + shift * direction
            nn.utils.vector_to_parameters(vector, model.parameters())
            ends.append(_losses(model, samples))
    return (ends[0] - ends[1]) / 2e-5


def test_training_statistics_keep_losses_that_nobody_evaluates() -> None:
    """The projected step keeps the sampled losses of the net in training mode, not those in evaluation mode."""
    model, retain = original(), _sets()["retain"]
    update = _change(_copy("train_batch_norm", model, alpha=0.0), model)
    direction = update / update.norm()
    assert float(_derivatives(direction, retain, training=True).abs().max()) < 1e-8
    assert float(_derivatives(direction, retain, training=False).abs().max()) > 1e-3
    # And the other way round without the deviation.
    model = original()
    update = _change(_copy("none", model, alpha=0.0), model)
    direction = update / update.norm()
    assert float(_derivatives(direction, retain, training=False).abs().max()) < 1e-8
    assert float(_derivatives(direction, retain, training=True).abs().max()) > 1e-3


def test_training_statistics_mix_samples() -> None:
    """With α = 1 the update is −η/k times the sum of the rows: of samples alone, or of their batch."""
    retain = _sets()["retain"]
    halves = [Samples(retain.images[half], retain.labels[half]) for half in (slice(3), slice(3, 6))]
    differences = {}
    for deviation in ("none", "train_batch_norm"):
        found = []
        for part in (retain, *halves):
            model = original()
            updates = _copy(deviation, model, {**_sets(), "retain": part}, alpha=1.0, retain_batch=len(part))
            found.append(_change(updates, model))
        differences[deviation] = float((found[0] - (found[1] + found[2]) / 2).norm() / found[0].norm())
    assert differences["none"] < 1e-12
    assert differences["train_batch_norm"] > 0.1


def test_training_statistics_of_a_model_without_batch_normalisation_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no batch normalisation: leave the run out"):
        next(_copy("train_batch_norm", original("mlp")))


@pytest.mark.parametrize("deviation", get_args(Deviation))
def test_each_deviation_changes_parameters_only_and_counts_its_passes(deviation: str) -> None:
    model = original()
    before = copy.deepcopy(model)
    updates = _copy(deviation, model, forget_batch=4, retain_batch=3, passes=1)
    steps = list(updates)
    # A pass over 12 forget samples; the teacher sees the retain samples too; a mixed row takes the whole batch.
    forward = 4 + 3 * (2 if deviation == "kl" else 1)
    backward = 4 + 3 * (3 if deviation == "train_batch_norm" else 1)
    assert [(step.forward, step.backward) for step in steps] == 3 * [(forward, backward)]
    assert not torch.equal(flat(model), flat(before))
    for (name, buffer), same in zip(model.named_buffers(), before.buffers(), strict=True):
        assert torch.equal(buffer, same), name
    for module, same in zip(model.modules(), before.modules(), strict=True):
        assert module.training is same.training
        assert getattr(module, "track_running_stats", None) == getattr(same, "track_running_stats", None)


def test_the_modes_come_back_when_a_step_fails() -> None:
    model, sets = original(), _sets()
    images = torch.full_like(sets["forget"].images, float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        next(_copy("train_batch_norm", model, {**sets, "forget": Samples(images, sets["forget"].labels)}))
    assert not any(module.training for module in model.modules())
    assert model[1].track_running_stats
