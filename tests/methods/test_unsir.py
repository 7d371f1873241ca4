"""UNSIR: what the noise learns, what the impair pass is made of, and whom it is for."""

import pytest
import torch
from cases import CASES
from problem import PIXELS, data, flat, original
from torch.nn import functional as F

from orthograd import methods
from orthograd.methods.base import DataView, Updates
from orthograd.methods.unsir import learn_noise

METHOD = methods.load("unsir")


def _updates(model: torch.nn.Module, scenario: str = "class", **changes: object) -> Updates:
    view = DataView(data(scenario), METHOD.reads, seed=0, pixels=PIXELS)
    return METHOD.run(model, view, METHOD.params.model_validate({**CASES["unsir"].params, **changes}))


def test_the_first_step_of_the_noise_raises_the_loss_of_the_class_and_shrinks_the_noise() -> None:
    model = original()
    start = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    labels = torch.full((4,), 2)
    params = METHOD.params.model_validate({**CASES["unsir"].params, "noise_steps": 1})
    noise = start.clone().requires_grad_()
    # The penalty of an image is the sum of its squares; the mean is over the images.
    objective = sum(0.1 * (image**2).sum() / 4 for image in noise) - F.cross_entropy(model(noise), labels)
    (gradient,) = torch.autograd.grad(objective, noise)
    # The first step of Adam is the step size against the gradient's sign (ε = 1e-8).
    expected = start - 0.1 * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(learn_noise(model, start, labels, params), expected, rtol=1e-6, atol=1e-9)


def test_learned_noise_is_unlike_the_class() -> None:
    model = original("mlp")
    start = torch.randn(8, 1, 8, 8, dtype=torch.float64)
    labels = torch.full((8,), 2)
    params = METHOD.params.model_validate({**CASES["unsir"].params, "noise_steps": 40})
    noise = learn_noise(model, start, labels, params)
    losses = [F.cross_entropy(model(images), labels).item() for images in (start, noise)]
    assert losses[1] > losses[0] + 1
    torch.testing.assert_close(flat(model), flat(original("mlp")), rtol=0, atol=0)


def test_the_impair_steps_teach_copies_of_the_noise_as_the_forgotten_class_and_the_retain_set() -> None:
    params = METHOD.params.model_validate({**CASES["unsir"].params, "retain_batch": 12})
    sets = data("class")
    view = DataView(sets, METHOD.reads, seed=0, pixels=PIXELS)
    start = torch.randn(8, 1, 8, 8, generator=view.generator("noise"), dtype=torch.float64)
    reference, model = original(), original()
    noise = learn_noise(reference, start, torch.full((8,), 2), params)
    # Two copies of eight images, then the retain set: 28 samples in a drawn order, twelve in a step.
    impair = [*noise, *noise, *sets["retain"].images]
    targets = [2] * 16 + sets["retain"].labels.tolist()
    order = torch.randperm(28, generator=view.generator("impair")).tolist()
    optimizer = torch.optim.Adam(reference.parameters(), lr=0.02)
    updates = METHOD.run(model, view, params)
    for rows in (order[:12], order[12:24]):
        assert {targets[row] for row in rows} == {0, 1, 2}
        images = torch.stack([impair[row] for row in rows])
        optimizer.zero_grad()
        F.cross_entropy(reference(images), torch.tensor([targets[row] for row in rows])).backward()
        optimizer.step()
        assert "loss_impair" in next(updates).values
        torch.testing.assert_close(flat(model), flat(reference), rtol=1e-9, atol=1e-12)
    assert "loss_retain" in next(updates).values


def test_only_the_end_is_for_the_stopping_rule() -> None:
    assert [step.complete for step in _updates(original())] == [False] * 9 + [True]


def test_a_forget_set_of_several_classes_is_refused() -> None:
    assert METHOD.scenarios == {"class"}
    with pytest.raises(ValueError, match="holds 3: use it in a class scenario"):
        next(_updates(original(), "random"))


def test_no_forget_image_is_read() -> None:
    sets = data("class")
    results = []
    for images in (sets["forget"].images, torch.full_like(sets["forget"].images, torch.nan)):
        model = original()
        forget = type(sets["forget"])(images, sets["forget"].labels)
        view = DataView({**sets, "forget": forget}, METHOD.reads, seed=0, pixels=PIXELS)
        list(METHOD.run(model, view, METHOD.params.model_validate(CASES["unsir"].params)))
        results.append(flat(model))
    torch.testing.assert_close(*results, rtol=0, atol=0)
