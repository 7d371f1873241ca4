"""What several methods share, against the definitions."""

import math

import pytest
import torch
from problem import ARCHITECTURES, CLASSES, data, draw, original
from torch.nn import functional as F

from orthograd import sample_gradients
from orthograd.data.samples import Samples
from orthograd.methods import base


def test_the_divergence_is_the_mean_over_samples_and_not_over_classes() -> None:
    # Two classes, so that a logit difference of log 3 is the distribution (3/4, 1/4).
    reference = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    logits, labels = torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64)
    first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(base.divergence(logits, reference, labels)) == pytest.approx(first / 2, rel=1e-6)
    # The other way round it is another number: the reference is the first argument of KL.
    other = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert float(base.divergence(reference, logits, labels)) == pytest.approx(other / 2, rel=1e-6)


def test_the_temperature_softens_both_sides_and_keeps_the_scale() -> None:
    reference = torch.tensor([[2 * math.log(3), 0.0]])
    first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    found = base.divergence(torch.zeros(1, 2), reference, torch.tensor([0]), 2.0)
    assert float(found) == pytest.approx(4 * first, rel=1e-6)


def test_a_wrong_label_is_never_the_true_one_and_each_other_class_is_as_likely() -> None:
    samples = Samples(torch.zeros(4000, 1), torch.arange(4000) % 4)
    wrong = base.wrong_labels(samples, 4, torch.Generator().manual_seed(0))
    table = torch.zeros(4, 4)
    table.index_put_((samples.labels, wrong.labels), torch.ones(4000), accumulate=True)
    assert table.diagonal().sum() == 0
    # Each cell off the diagonal is binomial with n = 1000, p = 1/3: five standard deviations are 75.
    assert float((table[~torch.eye(4, dtype=torch.bool)] - 1000 / 3).abs().max()) < 75


def test_the_number_of_classes_is_that_of_the_logits() -> None:
    assert base.class_count(original(), data()["forget"]) == CLASSES


def test_a_frozen_copy_shares_nothing_with_the_model() -> None:
    model = original()
    teacher = base.frozen_copy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert all(bool(parameter.any()) and not parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sums_over_a_set_do_not_depend_on_the_chunks(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, samples = original(architecture), draw(torch.arange(7) % CLASSES, seed=4)
    parameters = base.trainable(model)
    rows = [
        torch.autograd.grad(F.cross_entropy(model(image[None]), label[None]), parameters)
        for image, label in zip(samples.images, samples.labels, strict=True)
    ]
    for chunk in (3, 64):
        monkeypatch.setattr(base, "CHUNK_SAMPLES", chunk)
        means = base.mean_gradient(model, samples)
        squares = sample_gradients.squared_gradients(model, samples, F.cross_entropy)
        for index in range(len(parameters)):
            stacked = torch.stack([row[index] for row in rows])
            torch.testing.assert_close(means[index], stacked.mean(dim=0), rtol=1e-9, atol=1e-15)
            torch.testing.assert_close(squares[index], stacked.square().mean(dim=0), rtol=1e-9, atol=1e-15)


def test_squared_gradients_fit_into_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model, samples = original(), data()["forget"]
    whole = sample_gradients.squared_gradients(model, samples, F.cross_entropy)
    monkeypatch.setattr(sample_gradients, "CHUNK_BYTES", 1)
    for one, all_at_once in zip(
        sample_gradients.squared_gradients(model, samples, F.cross_entropy), whole, strict=True
    ):
        torch.testing.assert_close(one, all_at_once)
