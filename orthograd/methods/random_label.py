"""Random label: teach wrong labels on the forget set and the true ones on the retain set."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.methods import base

if TYPE_CHECKING:
    from torch import nn


class Params(base.Sgd):
    alpha: float = Field(ge=0, description="weight of the retain loss, a number >= 0")
    forget_batch: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    retain_batch: int = Field(gt=0, description="retain samples in a step, a whole number >= 1")
    passes: int | None = Field(
        gt=0,
        description="passes over the forget set after which the method ends; null: the stopping rule ends it",
    )


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend L_f' + α·L_r, L_f' with labels drawn once from the classes other than the true one.

    A label that is drawn from all classes is the true one for one sample in as many as there are classes: those
    samples would be learned again.
    """
    import torch
    from torch.nn import functional as F

    wrong = base.wrong_labels(
        data["forget"], base.class_count(model, data["forget"]), data.generator("wrong labels")
    )
    optimizer = params.optimizer(model)
    forget = wrong.batches(params.forget_batch, data.generator("forget"))
    retain = data.batches("retain", params.retain_batch)
    counted = 1
    for (images_f, labels_f), (images_r, labels_r) in islice(
        zip(forget, retain, strict=True), base.limit(params.passes, data.steps("forget", params.forget_batch))
    ):
        optimizer.zero_grad()
        logits_f, logits_r = model(torch.cat([images_f, images_r])).split([len(labels_f), len(labels_r)])
        loss_f = F.cross_entropy(logits_f, labels_f)
        loss_r = F.cross_entropy(logits_r, labels_r)
        (loss_f + params.alpha * loss_r).backward()
        optimizer.step()
        samples = len(labels_f) + len(labels_r)
        yield base.Step(
            samples + counted, samples, {"loss_wrong_labels": loss_f.item(), "loss_retain": loss_r.item()}
        )
        counted = 0


METHOD = base.Method(
    name="random_label",
    rule="θ ← θ − η ∇(L_f' + α L_r), L_f' the cross-entropy with wrong labels",
    source="Golatkar et al. 2020 (arXiv:1911.04933); labels other than the true one, drawn once, where the code of "
    "Fan et al. 2024 (arXiv:2310.12508) draws from all classes anew in each pass",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=base.Published(
        {
            "learning_rate": 0.1,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "alpha": 1.0,
            "forget_batch": 64,
            "retain_batch": 64,
            "passes": 10,
        },
        "code of Fan et al. 2024 (OPTML-Group/Unlearn-Saliency, 9576623): RL, there with the mask of SalUn; α and "
        "the batch sizes are ours (there 256)",
    ),
    run=run,
    no_speech="its forget loss is on wrong class labels, and transcripts have none",
)
