"""SSD: the dampening of a given Fisher diagonal by hand, and the diagonal sample by sample."""

import torch
from problem import DTYPE, data, draw, flat, original, start
from torch import nn
from torch.nn import functional as F

from orthograd.data.samples import Samples
from orthograd.methods.base import DataName
from orthograd.methods.ssd import factor

SETS = data()


def test_the_dampening_of_a_given_fisher_diagonal() -> None:
    forget = torch.tensor([8.0, 8.0, 2.0, 2.0, 0.0, 3.0])
    everything = torch.tensor([1.0, 3.0, 1.0, 1.1, 0.0, 0.0])
    # α = 2: chosen are 8 > 2, 8 > 6, 3 > 0; not 2 > 2, 2 > 2.2, 0 > 0. λ = 2: factors 2/8, 6/8, 0/3.
    expected = torch.tensor([0.25, 0.75, 1.0, 1.0, 1.0, 0.0])
    assert torch.equal(factor(forget, everything, alpha=2.0, dampening=2.0), expected)
    # λ = 3: 3/8, and 9/8 is cut at 1.
    expected = torch.tensor([0.375, 1.0, 1.0, 1.0, 1.0, 0.0])
    assert torch.equal(factor(forget, everything, alpha=2.0, dampening=3.0), expected)


def _squares(model: nn.Module, samples: Samples) -> torch.Tensor:
    """Sum over samples of the squared gradient, one sample after the other."""
    total = torch.zeros_like(flat(model))
    for image, label in zip(samples.images, samples.labels, strict=True):
        loss = F.cross_entropy(model(image[None]), label[None])
        gradient = torch.autograd.grad(loss, list(model.parameters()))
        total += torch.cat([part.flatten() for part in gradient]).square()
    return total


def test_a_weight_shrinks_by_its_importance_sample_by_sample() -> None:
    labels = torch.arange(20) % 3
    sets: dict[DataName, Samples] = {"forget": draw(labels, 8), "retain": draw(labels[:12], 9)}
    model, before = original(), flat(original())
    forget, retain = (_squares(model, sets[name]) for name in ("forget", "retain"))
    everything = (forget + retain) / 32
    forget /= 20
    expected = torch.tensor(
        [
            value * min(0.9 * f_all / f, 1.0) if f > 1.3 * f_all else value
            for value, f, f_all in zip(before.tolist(), forget.tolist(), everything.tolist(), strict=True)
        ],
        dtype=DTYPE,
    )
    (step,) = start("ssd", model, sets, {"alpha": 1.3, "dampening": 0.9, "strengths": 1})
    torch.testing.assert_close(flat(model), expected, rtol=1e-9, atol=1e-15)
    chosen = int((expected != before).sum())
    assert 0 < chosen < len(before)
    assert step.values["shrunk"] == chosen / len(before)


def test_gradients_that_cancel_in_a_batch_are_important() -> None:
    """Two copies of an image with both labels: at equal probabilities their gradients add up to zero."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False)).to(DTYPE).eval()
    with torch.no_grad():
        model[1].weight[:] = torch.linspace(-1, 1, 64, dtype=DTYPE)
    image = draw(torch.tensor([0]), 1).images
    blank = Samples(torch.zeros(2, 1, 8, 8, dtype=DTYPE), torch.tensor([0, 1]))
    sets: dict[DataName, Samples] = {
        "forget": Samples(image.repeat(2, 1, 1, 1), torch.tensor([0, 1])),
        "retain": blank,
    }
    before = flat(model)
    list(start("ssd", model, sets, {"alpha": 1.5, "dampening": 1.0, "strengths": 1}))
    # A blank image has no gradient, so that F_D = F_f / 2 for every weight.
    torch.testing.assert_close(flat(model), before / 2, rtol=1e-9, atol=0)


def test_weights_that_nothing_depends_on_stay() -> None:
    """A pixel that is zero in every image: 0 / 0 is not asked for."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).to(DTYPE).eval()
    sets = {name: Samples(samples.images.clone(), samples.labels) for name, samples in SETS.items()}
    for samples in sets.values():
        samples.images[:, 0, 0, 0] = 0
    before = model[1].weight.detach().clone()
    list(start("ssd", model, sets, {"alpha": 0.5, "dampening": 0.5, "strengths": 1}))
    assert bool(model[1].weight.isfinite().all())
    assert torch.equal(model[1].weight[:, 0], before[:, 0])
    assert not torch.equal(model[1].weight, before)


def test_no_weight_is_chosen_from_the_ratio_of_the_sets_on() -> None:
    """F_D >= F_f · 12/24, as the docstring says: α = 2 chooses nothing, a little less does."""
    sets = dict(SETS, retain=Samples(torch.zeros_like(SETS["retain"].images), SETS["retain"].labels))
    model = original()
    list(start("ssd", model, sets, {"alpha": 2.0, "dampening": 1.0, "strengths": 1}))
    assert torch.equal(flat(model), flat(original()))
    list(start("ssd", model, SETS, {"alpha": 1.5, "dampening": 1.0, "strengths": 1}))
    assert not torch.equal(flat(model), flat(original()))


def test_each_strength_is_the_single_shot_with_its_own_threshold() -> None:
    """Sets of one size: from the 2 at which nothing is chosen, α falls by the same factor to 0.5 in 4 steps."""
    model = original()
    thresholds, shares = [], []
    for step in start("ssd", model, SETS, {"alpha": 0.5, "dampening": 0.7, "strengths": 4}):
        alpha = step.values["alpha"]
        single = original()
        (alone,) = start("ssd", single, SETS, {"alpha": alpha, "dampening": 0.7, "strengths": 1})
        torch.testing.assert_close(flat(model), flat(single), rtol=1e-12, atol=0)
        assert step.values["shrunk"] == alone.values["shrunk"]
        thresholds.append(alpha)
        shares.append(step.values["shrunk"])
    torch.testing.assert_close(thresholds, [2**0.5, 1.0, 2**-0.5, 0.5])
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]
