"""SalUn: which weights move, and that no others do."""

import pytest
import torch
from problem import data, flat, original, start
from torch import nn

PARAMS = {
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 0.5,
    "alpha": 0.7,
    "forget_batch": 4,
    "retain_batch": 3,
    "passes": 4,
    "fraction": 0.3,
}
SETS = data()


def _saliency() -> torch.Tensor:
    """|∇L_f| at the original model, with the true labels, from all of the forget set at once."""
    model = original()
    logits = model(SETS["forget"].images).log_softmax(dim=1)
    loss = -logits[torch.arange(12), SETS["forget"].labels].sum() / 12
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))]).abs()


def _masked(fraction: float) -> torch.Tensor:
    """Whether a parameter is outside of the mask."""
    saliency = _saliency()
    order = saliency.argsort(descending=True)
    masked = torch.ones_like(saliency, dtype=torch.bool)
    masked[order[: round(fraction * len(saliency))]] = False
    return masked


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5])
def test_masked_weights_do_not_move_at_all_under_momentum_and_weight_decay(fraction: float) -> None:
    model, before, masked = original(), flat(original()), _masked(fraction)
    for _ in start("salun", model, SETS, PARAMS | {"fraction": fraction}):
        moved = flat(model) != before
        assert not bool(moved[masked].any())
        # Weight decay alone moves every other weight.
        assert bool(moved[~masked].all())


def test_the_border_between_masked_and_free_is_one_for_all_tensors() -> None:
    model, free = original(), ~_masked(0.3)
    shares = [float(part.double().mean()) for part in free.split([p.numel() for p in model.parameters()])]
    assert max(shares) - min(shares) > 0.3, "the same share in every tensor would hide a border for each"
    list(start("salun", model, SETS, PARAMS))
    assert torch.equal(flat(model) != flat(original()), free)


def test_without_a_mask_it_is_random_label() -> None:
    masked, plain = original(), original()
    list(start("salun", masked, SETS, PARAMS | {"fraction": 1.0}))
    params = {name: value for name, value in PARAMS.items() if name != "fraction"}
    list(start("random_label", plain, SETS, params))
    torch.testing.assert_close(flat(masked), flat(plain), rtol=0, atol=0)


def test_the_free_weights_follow_random_label() -> None:
    """The first update of a free weight is that of random label: masking others does not change the gradient."""
    free = ~_masked(0.3)
    after = {}
    for name in ("salun", "random_label"):
        params = PARAMS if name == "salun" else {k: v for k, v in PARAMS.items() if k != "fraction"}
        model: nn.Module = original()
        next(start(name, model, SETS, params))
        after[name] = flat(model)
    torch.testing.assert_close(after["salun"][free], after["random_label"][free], rtol=0, atol=0)
