"""SCRUB+R: SCRUB, then back to the round after which the forget set looked most like data that nobody trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.methods import base, scrub

if TYPE_CHECKING:
    from torch import nn


class Params(scrub.Params):
    # The rule needs a last round: its model says how large the error of unseen data is.
    passes: int = Field(
        gt=0, description="rounds, each with one pass over the retain set, a whole number >= 1"
    )


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Run SCRUB to its end, then restore the round whose forget error is nearest the held-out error of the last one.

    Of rounds that are equally near the last is taken. All rounds together are one whole, so that no step before the
    restored model is complete. The forward passes that measure the errors are counted.
    """
    import torch

    from orthograd.evaluation import accuracy

    parameters = base.trainable(model)
    rounds: list[tuple[float, list[torch.Tensor]]] = []
    for step in scrub.run(model, data, params):
        measured = 0
        if step.complete:
            error = 1 - accuracy(model, data["forget"], base.CHUNK_SAMPLES)
            rounds.append((error, [parameter.detach().clone() for parameter in parameters]))
            measured = len(data["forget"])
        yield replace(step, forward=step.forward + measured, complete=False)
    unseen = 1 - accuracy(model, data["heldout"], base.CHUNK_SAMPLES)
    best = min(range(len(rounds)), key=lambda index: (abs(rounds[index][0] - unseen), -index))
    with torch.no_grad():
        for parameter, value in zip(parameters, rounds[best][1], strict=True):
            parameter.copy_(value)
    yield base.Step(len(data["heldout"]), 0, {"rewound_to": float(best + 1), "error_heldout": unseen})


METHOD = base.Method(
    name="scrub_r",
    rule="SCRUB; then θ ← θ after the round whose forget error is nearest the last model's error on held-out data",
    source="Kurmanji et al. 2023 (arXiv:2302.09880)",
    reads=frozenset({"forget", "retain", "heldout"}),
    params=Params,
    published=scrub.PUBLISHED,
    run=run,
    no_speech="it rewinds by the classification error of forget and held-out data, and transcripts have none",
)
