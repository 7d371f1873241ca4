"""PGU: unlearning steps that leave alone what the layers do to most of their retain inputs."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.data.samples import Samples
from orthograd.methods import base

if TYPE_CHECKING:
    import torch
    from torch import nn


class Params(base.Params):
    learning_rate: float = Field(gt=0, description="step size in the first pass, a number > 0")
    final_learning_rate: float = Field(
        gt=0, description="step size that the passes approach geometrically, a number > 0"
    )
    entropy_weight: float = Field(ge=0, description="w, weight of the entropy, a number >= 0")
    offset: float = Field(
        ge=0, description="added to 1 − p_y inside the logarithm, which bounds the gradient, a number >= 0"
    )
    energy: float = Field(
        gt=0,
        lt=1,
        description="part of the squared singular values of a layer's retain inputs that its kept subspace holds, in "
        "(0, 1)",
    )
    batch_size: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    passes: int = Field(gt=0, description="passes over the forget set, a whole number >= 1")


def _positions(layer: nn.Linear | nn.Conv2d, inputs: torch.Tensor) -> torch.Tensor:
    """What a layer multiplies its weights with: (groups, positions, entries of a row of the weight)."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    if isinstance(layer, nn.Linear):
        return inputs.reshape(1, -1, layer.in_features)
    sides: list[int] = []
    for dim in (1, 0):
        span = layer.dilation[dim] * (layer.kernel_size[dim] - 1)
        if layer.padding == "valid":
            sides += [0, 0]
        elif layer.padding == "same":
            sides += [span // 2, span - span // 2]
        else:
            sides += [int(layer.padding[dim])] * 2
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    columns = F.unfold(
        F.pad(inputs, sides, mode=mode), layer.kernel_size, dilation=layer.dilation, stride=layer.stride
    )  # (n, channels·kernel, positions)
    grouped = torch.unflatten(columns, 1, (layer.groups, -1))
    return grouped.permute(1, 0, 3, 2).flatten(1, 2)


def kept_subspaces(
    model: nn.Module, samples: Samples, energy: float
) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """The subspace of each layer's inputs that holds a part of their energy, from the SVD of the inputs.

    Args:
        model: in evaluation mode.
        samples: whose inputs count; each passes forward once.
        energy: part of the sum of the squared singular values.

    Returns:
        Weights of the linear and 2-d convolution layers with bases (groups, p, p) in float64, p the entries of a row of
        the weight: the first columns span the subspace, the others are zero. A weight that is read without its layer
        being called, as torch's attention does, is not among them.
    """
    import torch
    from torch import nn

    from orthograd.precision import exact

    moments: dict[nn.Parameter, torch.Tensor] = {}

    def note(layer: nn.Linear | nn.Conv2d, inputs: tuple[torch.Tensor, ...]) -> None:
        positions = exact(_positions(layer, inputs[0].detach()))
        moment = positions.mT @ positions
        weight = layer.weight
        assert isinstance(weight, nn.Parameter), "only layers with such a weight have the hook"
        moments[weight] = moments[weight] + moment if weight in moments else moment

    hooks = [
        module.register_forward_pre_hook(note)
        for module in model.modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
        and isinstance(module.weight, nn.Parameter)
        and module.weight.requires_grad
    ]
    try:
        with torch.no_grad():
            for images in samples.images.split(base.CHUNK_SAMPLES):
                model(images)
    finally:
        for hook in hooks:
            hook.remove()
    kept = []
    for weight, moment in moments.items():
        # Eigenvalues of the second moment are squared singular values of the inputs; the largest come last.
        values, vectors = torch.linalg.eigh(moment)
        values, vectors = values.flip(-1), vectors.flip(-1)
        before = values.cumsum(-1) - values
        inside = before < energy * values.sum(-1, keepdim=True)
        kept.append((weight, vectors * inside.unsqueeze(-2)))
    return kept


def outside(gradient: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """The part of a weight's gradient whose rows are orthogonal to a kept subspace (groups, p, p)."""
    rows = gradient.reshape(len(basis), -1, basis.shape[1]).to(basis)
    projected = rows - rows @ basis @ basis.mT
    return projected.reshape(gradient.shape).to(gradient)


def unlearning_loss(
    logits: torch.Tensor, labels: torch.Tensor, entropy_weight: float, offset: float
) -> torch.Tensor:
    """Mean of −log(1 − p_y + offset) − w·H(p) in nats, finite also where p_y rounds to 1."""
    import torch
    from torch.nn import functional as F

    others = F.one_hot(labels, logits.shape[1]).bool()
    log_wrong = logits.masked_fill(others, -torch.inf).logsumexp(dim=1) - logits.logsumexp(dim=1)
    log_offset = torch.full_like(log_wrong, offset).log()
    log_probabilities = logits.log_softmax(dim=1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=1)
    return (-torch.logaddexp(log_wrong, log_offset) - entropy_weight * entropy).mean()


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend −log(1 − p_y + offset) − w·H(p) on forget batches, outside the inputs' kept subspace of each layer.

    Only weights of linear and convolution layers move; plain SGD, so that the sum of the steps stays outside as well.
    The subspaces are those of the original model's inputs on the retain set.
    """
    import torch

    kept = kept_subspaces(model, data["retain"], params.energy)
    weights = [weight for weight, _ in kept]
    prepared = len(data["retain"])
    in_pass = data.steps("forget", params.batch_size)
    ratio = params.final_learning_rate / params.learning_rate
    for step, (images, labels) in islice(
        enumerate(data.batches("forget", params.batch_size)), params.passes * in_pass
    ):
        loss = unlearning_loss(model(images), labels, params.entropy_weight, params.offset)
        rate = params.learning_rate * ratio ** (step // in_pass / params.passes)
        gradients = base.gradients(loss, weights)
        with torch.no_grad():
            for (weight, basis), gradient in zip(kept, gradients, strict=True):
                weight.sub_(outside(gradient, basis), alpha=rate)
        yield base.Step(len(labels) + prepared, len(labels), {"loss": loss.item()})
        prepared = 0


METHOD = base.Method(
    name="pgu",
    rule="W ← W − η ∇(−log(1 − p_y) − w H(p)) (I − U Uᵀ), U the top input directions of each layer on retain data",
    source="Hoang et al. 2024, WACV; U from the retain set, where the official code takes all training data less the "
    "forget set, and by energy, where it sums singular values",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=base.Published(
        {
            "learning_rate": 0.05,
            "final_learning_rate": 0.01,
            "entropy_weight": 0.2,
            "offset": 0.05,
            "energy": 0.95,
            "batch_size": 64,
            "passes": 100,
        },
        "official code, forgetting samples of CIFAR-10; the batch size is ours (there 128)",
    ),
    run=run,
    no_speech="its loss is on the probability of one class, and a transcript has one for each of its tokens",
)
