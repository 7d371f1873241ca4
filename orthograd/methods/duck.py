"""DUCK: pull the embedding of each forget sample to the centroid of the nearest class that is not its own."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from orthograd.data.samples import Samples
from orthograd.methods import base

if TYPE_CHECKING:
    import torch
    from torch import nn


class Params(base.Adam):
    lambda_forget: float = Field(ge=0, description="λ1, weight of the distance on forget data, a number >= 0")
    lambda_retain: float = Field(ge=0, description="λ2, weight of the loss on retain data, a number >= 0")
    temperature: float = Field(gt=0, description="T, which divides the logits of retain data, a number > 0")
    forget_batch: int = Field(gt=0, description="forget samples in a step, a whole number >= 1")
    retain_batch: int = Field(gt=0, description="retain samples in a step, a whole number >= 1")
    passes: int | None = Field(
        gt=0,
        description="passes over the forget set after which the method ends; null: the stopping rule ends it",
    )


def head(model: nn.Module) -> nn.Linear:
    """The last linear layer in the order in which the model registered its modules.

    Raises:
        ValueError: there is none.
    """
    from torch import nn

    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError(
            f"DUCK takes the input of the last nn.Linear as embedding, but {type(model).__name__} has none: leave the "
            "method out for this model"
        )
    return layers[-1]


def embed(model: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (n, features) of images, and their logits: what goes into the last linear layer, and the output.

    Raises:
        ValueError: the model has no such layer, or it does not get one vector a sample.
    """
    found: list[torch.Tensor] = []
    layer = head(model)
    hook = layer.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    try:
        logits = model(images)
    finally:
        hook.remove()
    shapes = [tuple(embedding.shape) for embedding in found]
    if shapes != [(len(images), layer.in_features)]:
        raise ValueError(
            f"DUCK needs one call of the last nn.Linear with an input of shape ({len(images)}, {layer.in_features}), "
            f"but {type(model).__name__} made calls with {shapes}: leave the method out for this model"
        )
    return found[0], logits


def embeddings(model: nn.Module, samples: Samples) -> torch.Tensor:
    """Embeddings (n, features) of a whole set, without a gradient; every sample passes forward once."""
    import torch

    with torch.no_grad():
        return torch.cat([embed(model, images)[0] for images in samples.images.split(base.CHUNK_SAMPLES)])


def centroids(embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean embedding of each class that has samples, at unit length, and the labels of those classes.

    Args:
        embeddings: (n, features).
        labels: (n,).

    Returns:
        Centroids (classes, features) and labels (classes,).
    """
    import torch
    from torch.nn import functional as F

    classes = labels.unique()
    means = torch.stack([embeddings[labels == label].mean(dim=0) for label in classes])
    return F.normalize(means, dim=1), classes


def nearest_wrong(
    embeddings: torch.Tensor, labels: torch.Tensor, centres: torch.Tensor, classes: torch.Tensor
) -> torch.Tensor:
    """For each embedding the row of `centres` with the largest cosine among those of other classes.

    Raises:
        ValueError: a sample has no such class.
    """
    import torch
    from torch.nn import functional as F

    cosines = F.normalize(embeddings, dim=1) @ centres.T
    cosines = cosines.masked_fill(labels[:, None] == classes, -torch.inf)
    if bool(cosines.isinf().all(dim=1).any()):
        raise ValueError(
            "DUCK found a forget sample with no other class in the retain set: take a larger retain set"
        )
    return cosines.argmax(dim=1)


def run(model: nn.Module, data: base.DataView, params: Params) -> base.Updates:
    """Descend λ1·(mean cosine distance to the target on forget data) + λ2·CE(logits / T) on retain data.

    The cosine distance is 1 − cos. The targets come from the original model: the centroids of the classes in the
    retain set, and for each forget sample the nearest of another class. A class without retain samples is no target.
    The source's code fixes both at the start too; the fine-tuning with which it ends is no part of the rule and is
    left out.
    """
    import torch
    from torch.nn import functional as F

    centres, classes = centroids(embeddings(model, data["retain"]), data["retain"].labels)
    targets = nearest_wrong(embeddings(model, data["forget"]), data["forget"].labels, centres, classes)
    optimizer = params.optimizer(model)
    # Each forget sample carries the row of its target through the batches, in the place of its label.
    forget = Samples(data["forget"].images, targets).batches(params.forget_batch, data.generator("forget"))
    retain = data.batches("retain", params.retain_batch)
    counted = len(data["retain"]) + len(data["forget"])
    for (images_f, rows), (images_r, labels_r) in islice(
        zip(forget, retain, strict=True), base.limit(params.passes, data.steps("forget", params.forget_batch))
    ):
        optimizer.zero_grad()
        embedded, logits = embed(model, torch.cat([images_f, images_r]))
        cosines = (F.normalize(embedded[: len(rows)], dim=1) * centres[rows]).sum(dim=1)
        distance = (1 - cosines).mean()
        loss = F.cross_entropy(logits[len(rows) :] / params.temperature, labels_r)
        (params.lambda_forget * distance + params.lambda_retain * loss).backward()
        optimizer.step()
        yield base.Step(
            len(logits) + counted, len(logits), {"distance": distance.item(), "loss_retain": loss.item()}
        )
        counted = 0


METHOD = base.Method(
    name="duck",
    rule="θ ← AdamW(∇(λ1 mean(1 − cos(e, c)) + λ2 CE(logits / T))), e of forget data, c the nearest wrong centroid",
    source="Cotogni et al. 2023 (arXiv:2312.02052)",
    reads=frozenset({"forget", "retain"}),
    params=Params,
    published=base.Published(
        {
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
            "lambda_forget": 1.0,
            "lambda_retain": 1.4,
            "temperature": 2.0,
            "forget_batch": 64,
            "retain_batch": 64,
            "passes": 10,
        },
        "code of Cotogni et al. 2023, random forgetting on CIFAR-10; batch sizes and one retain batch a step are ours",
    ),
    run=run,
    no_speech="it moves samples to the centroid of the nearest wrong class, and transcripts have no such classes",
)
