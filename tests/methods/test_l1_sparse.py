"""l1-sparse: its penalty fades from pass to pass."""

import torch
from problem import DTYPE, draw, start
from torch import nn

from orthograd.data.samples import Samples
from orthograd.methods.base import DataName

RATE, ALPHA, PASSES = 0.1, 0.3, 3


def test_the_penalty_fades_linearly_from_pass_to_pass() -> None:
    one = draw(torch.tensor([1]), 1)
    # The same image twice, in batches of one: two steps a pass, whose order does not matter.
    sets: dict[DataName, Samples] = {
        "retain": Samples(one.images.repeat(2, 1, 1, 1), one.labels.repeat(2)),
    }
    torch.manual_seed(6)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).to(DTYPE).eval()
    weight, bias = model[1].weight.detach().clone(), model[1].bias.detach().clone()
    params = {
        "learning_rate": RATE,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "alpha": ALPHA,
        "batch_size": 1,
        "passes": PASSES,
    }
    updates = start("l1_sparse", model, sets, params)
    image = one.images.flatten()
    for penalty in (0.3, 0.3, 0.2, 0.2, 0.1, 0.1):
        errors = (weight @ image + bias).softmax(dim=0)
        errors[1] -= 1
        # ∂ CE / ∂W = (p − 1_y) xᵀ, and the l1 norm adds the sign of each weight and bias.
        weight, bias = (
            weight - RATE * (errors[:, None] * image + penalty * weight.sign()),
            bias - RATE * (errors + penalty * bias.sign()),
        )
        next(updates)
        torch.testing.assert_close(model[1].weight.detach(), weight, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(model[1].bias.detach(), bias, rtol=1e-9, atol=1e-12)
    assert next(updates, None) is None
