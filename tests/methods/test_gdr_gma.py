"""GDR-GMA against a numeric optimiser, numbers by hand, and a second writing of its steps."""

import math
from collections import deque
from itertools import islice

import numpy as np
import pytest
import torch
from problem import PIXELS, data, flat, original
from scipy.optimize import minimize
from torch.nn import functional as F

from orthograd import methods
from orthograd.methods.base import DataView
from orthograd.methods.gdr_gma import rectify, without_past_conflict

PARAMS = {
    "learning_rate": 0.01,
    "weight_decay": 0.1,
    "gamma": 5.0,
    "epsilon": 0.3,
    "project_off_rectified": False,
    "forget_batch": 6,
    "retain_batch": 6,
    "passes": 2,
}


def _nearest_without_conflict(vector: torch.Tensor, other: torch.Tensor) -> np.ndarray:
    """argmin ‖x − vector‖² subject to ⟨x, other⟩ ≥ 0, by SLSQP."""
    target, normal = vector.numpy(), other.numpy()
    result = minimize(
        lambda x: 0.5 * ((x - target) ** 2).sum(),
        np.zeros_like(target),
        jac=lambda x: x - target,
        constraints={"type": "ineq", "fun": lambda x: normal @ x, "jac": lambda x: normal},
        options={"ftol": 1e-12, "maxiter": 500},
        method="SLSQP",
    )
    assert result.success
    return result.x


def test_each_gradient_becomes_the_nearest_one_that_does_not_oppose_the_other() -> None:
    generator = torch.Generator().manual_seed(1)
    conflicts = 0
    for _ in range(40):
        retain, forget = torch.randn(2, 5, generator=generator, dtype=torch.float64)
        conflicts += bool(retain @ forget < 0)
        found = rectify(retain, forget, False)
        np.testing.assert_allclose(found[0], _nearest_without_conflict(retain, forget), atol=1e-5)
        np.testing.assert_allclose(found[1], _nearest_without_conflict(forget, retain), atol=1e-5)
    assert 10 < conflicts < 30


def test_the_switch_projects_along_the_vector_that_was_already_changed() -> None:
    retain, forget = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    # ⟨retain, forget⟩ = −1, ‖retain‖² = 1, ‖forget‖² = 2: retain + ½ forget; forget + 1 retain, old or new.
    published, official = rectify(retain, forget, False), rectify(retain, forget, True)
    torch.testing.assert_close(published, (torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0])))
    torch.testing.assert_close(official, (torch.tensor([0.5, 0.5]), torch.tensor([-0.5, 1.5])))


@pytest.mark.parametrize("project_off_rectified", [False, True])
def test_a_zero_gradient_conflicts_with_nothing(project_off_rectified: bool) -> None:
    zero, vector = torch.zeros(3), torch.tensor([1.0, -2.0, 3.0])
    torch.testing.assert_close(rectify(zero, vector, project_off_rectified), (zero, vector), rtol=0, atol=0)
    torch.testing.assert_close(rectify(vector, zero, project_off_rectified), (vector, zero), rtol=0, atol=0)


def test_past_gradients_are_averaged_where_they_are_opposed_and_stay_as_they_are() -> None:
    forget = torch.tensor([1.0, 0.0])
    past = deque([torch.tensor([-1.0, 1.0]), torch.tensor([3.0, 1.0]), torch.tensor([-3.0, 1.0])])
    # The mean of the first and the last is (−2, 1): (1, 0) + 2/5 (−2, 1).
    torch.testing.assert_close(without_past_conflict(forget, past), torch.tensor([0.2, 0.4]))
    expected = [[-1.0, 1.0], [3.0, 1.0], [-3.0, 1.0]]
    assert [vector.tolist() for vector in past] == expected
    # (3, 1) alone is not opposed.
    torch.testing.assert_close(without_past_conflict(forget, deque(list(past)[1:2])), forget)


def _view() -> DataView:
    return DataView(data(), frozenset({"forget", "retain"}), seed=0, pixels=PIXELS)


def _second_writing(steps: int) -> torch.Tensor:
    """The published steps, written with numpy on lists of flat tensors."""
    model = original()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    view = _view()
    memory: list[np.ndarray] = []

    def project(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x - (x @ y) / (y @ y) * y if x @ y < 0 else x

    for step, (forget, retain) in enumerate(
        islice(zip(view.batches("forget", 6), view.batches("retain", 6), strict=True), steps)
    ):
        parts = []
        for sign, (images, labels) in ((1, retain), (-1, forget)):
            model.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            (sign * loss).backward()
            parts.append((loss.item(), [p.grad.flatten().numpy().copy() for p in model.parameters()]))
        (loss_r, retain_gradients), (_, forget_gradients) = parts
        memory = [*memory, forget_gradients[-1]][-2:]
        weight = 1 / (1 + math.exp(5.0 * (loss_r - 0.3)))
        for parameter, r, f in zip(model.parameters(), retain_gradients, forget_gradients, strict=True):
            new_r, new_f = project(r, f), project(f, r)
            if f is forget_gradients[-1] and step >= 2:
                opposed = [past for past in memory if past @ new_f < 0]
                new_f = project(new_f, np.mean(opposed, axis=0)) if opposed else new_f
            mixed = (1 - weight) * new_r + weight * new_f
            parameter.grad = torch.from_numpy(mixed).view_as(parameter)
        optimizer.step()
    return flat(model)


@pytest.mark.parametrize("steps", [1, 4])
def test_the_steps_are_the_published_ones(steps: int) -> None:
    method = methods.load("gdr_gma")
    model = original()
    for _ in islice(method.run(model, _view(), method.params.model_validate(PARAMS)), steps):
        pass
    torch.testing.assert_close(flat(model), _second_writing(steps), rtol=1e-9, atol=1e-12)


def test_forgetting_switches_off_where_the_retain_loss_is_far_above_epsilon() -> None:
    method = methods.load("gdr_gma")
    weights = {}
    for epsilon in (0.0, 100.0):
        params = method.params.model_validate(
            PARAMS | {"gamma": 100.0, "epsilon": epsilon, "learning_rate": 1e-9}
        )
        model = original()
        with torch.no_grad():
            model[-1].weight.zero_()  # a retain loss next to log 3
        step = next(method.run(model, _view(), params))
        assert step.values["loss_retain"] > 0.5
        weights[epsilon] = step.values["forget_weight"]
    assert weights[0.0] < 1e-12
    assert weights[100.0] == 1.0
