"""PGU's subspaces, loss and steps against the SVD of inputs that are gathered by hand."""

import math

import pytest
import torch
from problem import PIXELS, Mlp, data, flat, original
from torch import nn

from orthograd import methods
from orthograd.methods.base import DataView
from orthograd.methods.pgu import _positions, kept_subspaces, unlearning_loss

PARAMS = {
    "learning_rate": 0.5,
    "final_learning_rate": 0.1,
    "entropy_weight": 0.2,
    "offset": 0.05,
    "energy": 0.9,
    "batch_size": 12,
    "passes": 3,
}


def _view() -> DataView:
    return DataView(data(), frozenset({"forget", "retain"}), seed=0, pixels=PIXELS)


def _top(inputs: torch.Tensor, energy: float) -> torch.Tensor:
    """Right singular vectors (p, k) of inputs (n, p): the fewest whose squared singular values reach the energy."""
    _, singular, right = torch.linalg.svd(inputs, full_matrices=False)
    share = singular.square().cumsum(0) / singular.square().sum()
    count = next(k for k in range(1, len(share) + 1) if share[k - 1] >= energy)
    return right[:count].T


def _layer_inputs(model: nn.Module, layer: nn.Module, images: torch.Tensor) -> torch.Tensor:
    seen = []
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    model(images)
    hook.remove()
    return seen[0]


def _patches(inputs: torch.Tensor, kernel: int, padding: int) -> torch.Tensor:
    """All patches of images (n, C, H, W) at stride 1, one a row, gathered one by one."""
    n, channels, height, width = inputs.shape
    padded = torch.zeros(n, channels, height + 2 * padding, width + 2 * padding, dtype=inputs.dtype)
    padded[:, :, padding : padding + height, padding : padding + width] = inputs
    rows = [
        padded[i, :, y : y + kernel, x : x + kernel].flatten()
        for i in range(n)
        for y in range(height + 2 * padding - kernel + 1)
        for x in range(width + 2 * padding - kernel + 1)
    ]
    return torch.stack(rows)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 4),
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
        nn.Conv2d(4, 6, 3, groups=2, padding=1),
        nn.Conv2d(4, 8, 3, groups=4),
        nn.Conv2d(4, 6, (4, 3), padding="same", dilation=(1, 2)),
        nn.Conv2d(4, 6, 3, padding="valid"),
        nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"),
        nn.Conv2d(4, 6, 3, padding="same", padding_mode="circular"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_the_weight_times_the_positions_is_what_the_layer_does(layer: nn.Linear | nn.Conv2d) -> None:
    layer = layer.double()
    inputs = torch.randn((3, 6) if isinstance(layer, nn.Linear) else (3, 4, 7, 8), dtype=torch.float64)
    outputs = layer(inputs)
    positions = _positions(layer, inputs)
    rows = layer.weight.reshape(len(positions), -1, positions.shape[2])
    made = positions @ rows.mT  # (groups, positions, outputs of a group)
    made = made.transpose(0, 1).flatten(1) + layer.bias
    wanted = outputs.movedim(1, -1).flatten(0, -2)
    torch.testing.assert_close(made, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("energy", [0.3, 0.9, 0.999])
def test_the_kept_subspace_is_that_of_the_svd_of_the_inputs(energy: float) -> None:
    model, retain = original(), data()["retain"]
    kept = {id(weight): basis for weight, basis in kept_subspaces(model, retain, energy)}
    assert len(kept) == 3
    for layer in (model[0], model[5], model[7]):
        inputs = _layer_inputs(model, layer, retain.images)
        if isinstance(layer, nn.Conv2d):
            inputs = _patches(inputs, kernel=3, padding=1)
        top = _top(inputs, energy)
        basis = kept[id(layer.weight)][0]
        torch.testing.assert_close(basis @ basis.T, top @ top.T, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    ("architecture", "layers"),
    [("conv", {"0": True, "5": False, "7": False}), ("mlp", {"1": False, "3": False})],
)
def test_the_steps_change_nothing_inside_the_subspace_and_only_weights_of_layers(
    architecture: str, layers: dict[str, bool]
) -> None:
    """`layers` are those with weights, and whether they are convolutions."""
    before, model, retain = original(architecture), original(architecture), data()["retain"]
    method = methods.load("pgu")
    steps = list(method.run(model, _view(), method.params.model_validate(PARAMS)))
    assert len(steps) == 3
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before.get_parameter(name))}
    assert len(moved) >= 2
    assert moved <= {f"{name}.weight" for name in layers}
    for name, convolution in layers.items():
        # The inputs of the original model, also where earlier layers have moved since.
        layer = before.get_submodule(name)
        inputs = _layer_inputs(before, layer, retain.images)
        if convolution:
            inputs = _patches(inputs, kernel=3, padding=1)
        change = (model.get_submodule(name).weight - layer.weight).detach().flatten(1)
        top = _top(inputs, 0.9)
        assert 0 < top.shape[1] < change.shape[1]
        assert float((change @ top).norm()) <= 1e-10 * float(change.norm())


def test_each_step_is_the_rule_under_a_geometric_step_size() -> None:
    method = methods.load("pgu")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double().eval()
    top = _top(data()["retain"].images.flatten(1), 0.9)
    updates = method.run(model, _view(), method.params.model_validate(PARAMS | {"batch_size": 6}))
    batches = _view().batches("forget", 6)
    weight = model[1].weight
    # Three passes of two steps from 0.5 towards 0.1.
    for step_number in range(6):
        rate = 0.5 * 0.2 ** (step_number // 2 / 3)
        before = weight.detach().clone()
        images, labels = next(batches)
        p = model(images).softmax(dim=1)
        true = p[torch.arange(6), labels]
        entropy = -(p * p.log()).sum(dim=1)
        loss = (-(1 - true + 0.05).log() - 0.2 * entropy).mean()
        (gradient,) = torch.autograd.grad(loss, weight)
        step = next(updates)
        assert step.values["loss"] == pytest.approx(loss.item(), rel=1e-9)
        expected = before - rate * (gradient - gradient @ top @ top.T)
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-9, atol=1e-12)
    assert next(updates, None) is None


def test_the_loss_by_hand() -> None:
    # p = (3/4, 1/4), the first is the true class.
    logits = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
    entropy = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    for offset in (0.0, 0.05):
        found = float(unlearning_loss(logits, torch.tensor([0]), 0.2, offset))
        assert found == pytest.approx(-math.log(0.25 + offset) - 0.2 * entropy, rel=1e-12)


@pytest.mark.parametrize("offset", [0.0, 0.05])
def test_a_memorised_sample_has_a_finite_loss_and_gradient(offset: float) -> None:
    logits = torch.tensor([[60.0, 0.0, -10.0]], requires_grad=True)  # p_y is 1 in float32
    loss = unlearning_loss(logits, torch.tensor([0]), 0.2, offset)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert bool(loss.isfinite())
    assert bool(gradient.isfinite().all())
    if offset == 0:
        # ∂/∂z_y of −log(1 − p_y) is p_y; the offset is what switches the gradient off.
        assert float(gradient[0, 0]) == pytest.approx(1.0, rel=1e-5)


def test_weights_that_are_read_without_their_layer_stay() -> None:
    model, before = original("vit"), original("vit")
    method = methods.load("pgu")
    list(method.run(model, _view(), method.params.model_validate(PARAMS)))
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before.get_parameter(name))}
    assert "block.self_attn.in_proj_weight" not in moved
    assert "block.self_attn.out_proj.weight" not in moved
    assert {"patches.weight", "head.weight"} <= moved


def test_the_hooks_go() -> None:
    model = Mlp().double().eval()
    kept_subspaces(model, data()["retain"], 0.5)
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert len(flat(model)) > 0
