"""MUNBa's weights against a numeric optimiser of the Nash product, and its step against its geometry."""

import math

import numpy as np
import pytest
import torch
from problem import PIXELS, data, flat, original
from scipy.optimize import minimize
from torch import nn
from torch.nn import functional as F

from orthograd import methods
from orthograd.data.samples import Samples
from orthograd.methods import base
from orthograd.methods.munba import bargain

PARAMS = {
    "learning_rate": 0.1,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "clip": 0.3,
    "forget_batch": 12,
    "retain_batch": 12,
    "passes": 1,
}


def _nash(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """argmax log⟨first, g⟩ + log⟨second, g⟩ subject to ‖g‖² ≤ 2, by SLSQP from the sum of the unit vectors."""
    units = [vector / np.linalg.norm(vector) for vector in (first, second)]

    def value(g: np.ndarray) -> float:
        return -sum(math.log(max(float(unit @ g), 1e-300)) for unit in units)

    # Not the solution: the start leans to the first player.
    start = units[0] + 0.9 * units[1]
    result = minimize(
        value,
        start,
        jac=lambda g: -sum(unit / (unit @ g) for unit in units),
        constraints={"type": "ineq", "fun": lambda g: 2 - g @ g, "jac": lambda g: -2 * g},
        options={"ftol": 1e-12, "maxiter": 500},
        method="SLSQP",
    )
    assert result.success
    return result.x


@pytest.mark.parametrize("cosine", [-0.8, -0.3, 0.0, 0.5, 0.95])
def test_the_weights_maximise_the_product_of_the_utilities(cosine: float) -> None:
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 2)))
    first = 3.0 * basis[:, 0]
    second = 0.2 * (cosine * basis[:, 0] + math.sqrt(1 - cosine**2) * basis[:, 1])
    weights = bargain([torch.tensor(first)], [torch.tensor(second)])
    assert weights is not None
    combined = weights[0] * first + weights[1] * second
    np.testing.assert_allclose(combined, _nash(first, second), atol=1e-5)
    # The condition of the solution, GᵀG a = 1/a, and the closed form.
    gramian = np.array([[first @ first, first @ second], [first @ second, second @ second]])
    np.testing.assert_allclose(gramian @ weights, 1 / np.array(weights), rtol=1e-9)
    np.testing.assert_allclose(
        weights, [1 / (3.0 * math.sqrt(1 + cosine)), 1 / (0.2 * math.sqrt(1 + cosine))], rtol=1e-9
    )


def test_several_tensors_are_one_vector() -> None:
    first, second = torch.randn(2, 7, dtype=torch.float64)
    whole = bargain([first], [second])
    parts = bargain([first[:3], first[3:].reshape(2, 2)], [second[:3], second[3:].reshape(2, 2)])
    assert parts == pytest.approx(whole, rel=1e-12)


def test_nearly_opposite_gradients_still_come_to_terms_and_opposite_ones_do_not() -> None:
    angle = 1e-4
    first = torch.tensor([1.0, 0.0], dtype=torch.float64)
    near = torch.tensor([-math.cos(angle), math.sin(angle)], dtype=torch.float64)
    weights = bargain([first], [near])
    assert weights is not None
    # 1 + cos(π − φ) = 2 sin²(φ/2).
    assert weights == pytest.approx([1 / (math.sqrt(2) * math.sin(angle / 2))] * 2, rel=1e-6)
    assert bargain([first], [-2 * first]) is None
    assert bargain([first], [torch.zeros_like(first)]) is None
    assert bargain([torch.zeros_like(first)], [first]) is None


def test_the_step_is_along_the_bisector_and_as_long_as_the_clip() -> None:
    method = methods.load("munba")
    sets = data()
    model = original()
    view = base.DataView(sets, method.reads, seed=0, pixels=PIXELS)
    step = next(method.run(model, view, method.params.model_validate(PARAMS)))
    assert step.values["bargained"] == 1.0
    update = flat(original()) - flat(model)
    assert float(update.norm()) == pytest.approx(0.1 * 0.3, rel=1e-5)
    # The labels that this seed draws for the batch, in the batch's order.
    images, labels = next(view.batches("forget", 12))
    wrong = base.wrong_labels(Samples(images, labels), 3, view.generator("wrong labels")).labels
    assert not bool((wrong == labels).any())
    gradients = []
    for inputs, targets in ((images, wrong), (sets["retain"].images, sets["retain"].labels)):
        reference = original()
        F.cross_entropy(reference(inputs), targets).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in reference.parameters()]))
    cosines = [float(F.cosine_similarity(update, gradient, dim=0)) for gradient in gradients]
    assert cosines[0] == pytest.approx(cosines[1], rel=1e-6)
    assert cosines[0] > 0
    span = torch.stack(gradients, dim=1)
    inside = span @ torch.linalg.lstsq(span, update[:, None]).solution[:, 0]
    torch.testing.assert_close(inside, update, rtol=1e-6, atol=1e-10)


def test_without_a_bargain_the_official_weights_are_used_and_told() -> None:
    # One image in both sets, two classes: the gradients of its two labels are opposite.
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double().eval()
    image = torch.randn(1, 1, 2, 2, dtype=torch.float64)
    samples = Samples(image, torch.tensor([0]))
    before = flat(model)
    gradients = []
    for label in (0, 1):
        model.zero_grad()
        F.cross_entropy(model(image), torch.tensor([label])).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    model.zero_grad()
    method = methods.load("munba")
    params = PARAMS | {"forget_batch": 1, "retain_batch": 1, "clip": 100.0}
    view = base.DataView({"forget": samples, "retain": samples}, method.reads, seed=0, pixels=PIXELS)
    step = next(method.run(model, view, method.params.model_validate(params)))
    assert step.values["bargained"] == 0.0
    expected = -0.1 * (1.0 * gradients[0] + 0.1 * gradients[1])
    torch.testing.assert_close(flat(model) - before, expected, rtol=1e-9, atol=1e-12)
