"""DUCK: centroids and targets by hand, its loss replayed."""

import math

import pytest
import torch
from problem import DTYPE, data, original, start
from torch import nn

from orthograd.data.samples import Samples
from orthograd.methods import duck

PARAMS = {
    "learning_rate": 0.01,
    "weight_decay": 0.1,
    "lambda_forget": 0.8,
    "lambda_retain": 1.4,
    "temperature": 2.0,
    "forget_batch": 12,
    "retain_batch": 12,
    "passes": 3,
}
SETS = data()


def test_an_empty_class_has_no_centroid() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]])
    centres, classes = duck.centroids(embeddings, torch.tensor([2, 2, 0]))
    assert classes.tolist() == [0, 2]
    assert centres.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_the_target_is_the_nearest_centroid_of_another_class() -> None:
    # Directions of 0°, 60° and 150°, with the labels 0, 1 and 3: class 2 is empty.
    angles = torch.tensor([0.0, math.pi / 3, 5 * math.pi / 6], dtype=DTYPE)
    centres = torch.stack([angles.cos(), angles.sin()], dim=1)
    classes = torch.tensor([0, 1, 3])
    # At 10° class 0 is nearest; at 100° class 1 (40°) before 3 (50°). Lengths do not matter to the cosine.
    directions = torch.tensor([10.0, 10.0, 100.0, 100.0, 100.0], dtype=DTYPE).deg2rad()
    lengths = torch.tensor([[0.1], [9.0], [1.0], [2.0], [30.0]], dtype=DTYPE)
    embeddings = lengths * torch.stack([directions.cos(), directions.sin()], dim=1)
    labels = torch.tensor([0, 2, 1, 3, 2])
    assert duck.nearest_wrong(embeddings, labels, centres, classes).tolist() == [1, 0, 2, 1, 1]


def test_a_retain_set_of_one_class_cannot_be_a_target_for_itself() -> None:
    sets = dict(SETS, retain=Samples(SETS["retain"].images, torch.zeros(12, dtype=torch.int64)))
    with pytest.raises(ValueError, match="take a larger retain set"):
        next(start("duck", original(), sets, PARAMS))


def test_the_embedding_is_the_input_of_the_last_linear_layer() -> None:
    model = original("conv")
    images = SETS["forget"].images
    embedding, logits = duck.embed(model, images)
    torch.testing.assert_close(embedding, nn.Sequential(*list(model)[:7])(images))
    torch.testing.assert_close(logits, model(images))


class _Twice(nn.Sequential):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self[1](self[1](self[0](images)))
        return output


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten()), "Sequential has none"),
        (_Twice(nn.Flatten(), nn.Linear(64, 64)), "needs one call"),
        (nn.Sequential(nn.Flatten(2), nn.Linear(64, 3), nn.Flatten()), "needs one call"),
    ],
)
def test_a_model_without_one_embedding_is_refused(model: nn.Module, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        next(start("duck", model.to(DTYPE).eval(), SETS, PARAMS))


def test_it_pulls_each_forget_sample_to_its_target_of_the_original_model() -> None:
    """Three steps of the loss written out, under torch's AdamW; the centroids stay those of the original."""
    replay = original("mlp")

    def embed(images: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = (images.flatten(1) @ replay[1].weight.T + replay[1].bias).tanh()
        return embedding

    forget, retain = SETS["forget"], SETS["retain"]
    with torch.no_grad():
        centres = torch.stack(
            [embed(retain.images)[retain.labels == label].mean(dim=0) for label in range(3)]
        )
        targets = []
        for embedding, label in zip(embed(forget.images), forget.labels.tolist(), strict=True):
            cosines = [float(embedding @ c / (embedding.norm() * c.norm())) for c in centres]
            targets.append(max({0, 1, 2} - {label}, key=lambda wrong, cosines=cosines: cosines[wrong]))
    optimizer = torch.optim.AdamW(replay.parameters(), lr=0.01, weight_decay=0.1)
    model = original("mlp")
    updates = start("duck", model, SETS, PARAMS)
    for _ in range(3):
        embedded, wanted = embed(forget.images), centres[targets]
        cosines = (embedded * wanted).sum(dim=1) / (embedded.norm(dim=1) * wanted.norm(dim=1))
        logits = embed(retain.images) @ replay[3].weight.T + replay[3].bias
        probabilities = (logits / 2.0).softmax(dim=1)[torch.arange(12), retain.labels]
        optimizer.zero_grad()
        (0.8 * (1 - cosines).mean() - 1.4 * probabilities.log().mean()).backward()
        optimizer.step()
        next(updates)
        for parameter, expected in zip(model.parameters(), replay.parameters(), strict=True):
            torch.testing.assert_close(parameter, expected, rtol=1e-8, atol=1e-10)


def test_a_class_that_the_retain_set_lacks_gives_no_nan() -> None:
    model = original()
    # All of class 2 is to be forgotten: the retain set has none of it.
    steps = list(start("duck", model, data("class"), PARAMS))
    assert all(math.isfinite(value) for step in steps for value in step.values.values())
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
