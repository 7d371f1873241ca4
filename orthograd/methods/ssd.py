"""SSD: shrink the weights that matter more for the forget set than for the data as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from orthograd import objective
from orthograd.methods import base
from orthograd.sample_gradients import squared_gradients

if TYPE_CHECKING:
    import torch
    from torch import nn


class Params(base.Params):
    alpha: float = Field(
        gt=0,
        description="a weight shrinks if its importance for the forget set is over alpha times that for all",
    )
    dampening: float = Field(gt=0, description="λ, how little a chosen weight shrinks, a number > 0")
    strengths: int = base.strengths(
        "the α at which no weight is chosen down to alpha, each with the same factor"
    )


def factor(forget: torch.Tensor, everything: torch.Tensor, alpha: float, dampening: float) -> torch.Tensor:
    """What each weight is multiplied with: min(λ F_D / F_f, 1) where F_f > α F_D, else 1.

    Args:
        forget: F_f >= 0, the importance for the forget set.
        everything: F_D >= 0, of the same shape.
    """
    chosen = forget > alpha * everything
    # 0 / 0, where nothing depends on a weight, is not chosen.
    return (dampening * everything / forget).clamp(max=1).where(chosen, 1)


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """The original weights, shrunk, for one α after the other. The importance is measured once, on the original.

    F is the mean over samples of the squared gradient of each sample's own cross-entropy.
    The published method takes F_D from all training data. Here it is from the forget set and the retain subset, each
    sample with the same weight, so that F_D >= F_f · n_f / (n_f + n_r): no weight is chosen for an α of
    (n_f + n_r) / n_f or more. From there α falls to its value in `strengths` steps.
    """
    import torch

    parameters = base.trainable(model)
    sets = data["forget"], data["retain"]
    forget, retain = (squared_gradients(model, samples, objective.loss) for samples in sets)
    counts = [len(samples) for samples in sets]
    original = [parameter.detach().clone() for parameter in parameters]
    nothing = sum(counts) / counts[0]
    passed = sum(counts)
    for strength in base.strengthened(params.strengths):
        alpha = nothing ** (1 - strength) * params.alpha**strength
        chosen = 0
        with torch.no_grad():
            for parameter, before, of_forget, of_retain in zip(
                parameters, original, forget, retain, strict=True
            ):
                of_all = (counts[0] * of_forget + counts[1] * of_retain) / sum(counts)
                factors = factor(of_forget, of_all, alpha, params.dampening)
                chosen += int((factors < 1).sum())
                parameter.copy_(before * factors)
        share = chosen / sum(parameter.numel() for parameter in parameters)
        yield base.Step(passed, passed, {"alpha": alpha, "shrunk": share})
        passed = 0


METHOD = base.Method(
    name="ssd",
    rule="θ ← θ₀ · min(λ F_D / F_f, 1) where F_f > α F_D, F the mean squared gradient of a sample; "
    "published once, here for falling α until the stopping rule ends it",
    source="Foster et al. 2024 (arXiv:2308.07707); F_D from forget set and retain subset in the place of all data",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=base.Published(
        {"alpha": 10.0, "dampening": 1.0, "strengths": 1},
        "Foster et al. 2024, where F_D is from all training data. With a retain subset of less than nine times the "
        "forget set this α chooses no weight",
    ),
    run=run,
    scenarios=base.ALL,
)
