"""Random label against its definition."""

import pytest
import torch
from problem import DTYPE, draw, start
from torch import nn

from orthograd.data.samples import Samples
from orthograd.methods.base import DataName

RATE = 0.1
PARAMS = {
    "learning_rate": RATE,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "alpha": 0.7,
    "forget_batch": 6,
    "retain_batch": 4,
    "passes": None,
}


def _linear(classes: int) -> nn.Sequential:
    torch.manual_seed(6)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes)).to(DTYPE).eval()


def _gradient(model: nn.Sequential, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """∂ CE / ∂W = Σ (p − 1_y) xᵀ / n."""
    with torch.no_grad():
        errors = model(images).softmax(dim=1)
        errors[torch.arange(len(labels)), labels] -= 1
        return errors.T @ images.flatten(1) / len(labels)


def test_with_two_classes_the_wrong_label_is_the_other_one() -> None:
    forget, retain = draw(torch.arange(6) % 2, 1), draw(torch.arange(4) % 2, 2)
    sets: dict[DataName, Samples] = {"forget": forget, "retain": retain}
    model = _linear(2)
    before = model[1].weight.detach().clone()
    direction = _gradient(model, forget.images, 1 - forget.labels)
    direction += 0.7 * _gradient(model, retain.images, retain.labels)
    next(start("random_label", model, sets, PARAMS))
    torch.testing.assert_close(model[1].weight.detach(), before - RATE * direction, rtol=1e-9, atol=1e-12)


def test_the_true_label_is_never_drawn_and_every_other_is() -> None:
    model = _linear(3)
    for label in range(3):
        one = draw(torch.tensor([label]), 1)
        with torch.no_grad():
            losses = -model(one.images).log_softmax(dim=1)[0]
        drawn = set()
        for seed in range(30):
            params = PARAMS | {"forget_batch": 1, "learning_rate": 1e-12}
            sets: dict[DataName, Samples] = {"forget": one, "retain": draw(torch.arange(4) % 3, 2)}
            step = next(start("random_label", _linear(3), sets, params, seed=seed))
            drawn.add(int((losses - step.values["loss_wrong_labels"]).abs().argmin()))
        assert drawn == {0, 1, 2} - {label}


def test_the_labels_are_drawn_once() -> None:
    sets: dict[DataName, Samples] = {
        "forget": draw(torch.arange(6) % 3, 1),
        "retain": draw(torch.arange(4) % 3, 2),
    }
    # At this step size the model stands still: the loss changes only with the labels.
    updates = start("random_label", _linear(3), sets, PARAMS | {"learning_rate": 1e-13})
    losses = [next(updates).values["loss_wrong_labels"] for _ in range(5)]
    assert losses == pytest.approx([losses[0]] * 5, rel=1e-9)
