"""Models and training: shapes, sizes, that training learns, and that a seed says everything."""

import pytest
import torch
from torch import nn

from orthograd import models
from orthograd.data.samples import Samples
from orthograd.evaluation import accuracy
from orthograd.randomness import generator, stream
from orthograd.specs import Training
from orthograd.training import train

SPEC = Training(epochs=8, batch_size=16, learning_rate=0.05, momentum=0.9, weight_decay=0.0, warmup=0.2)


def _blobs(count: int, seed: int) -> Samples:
    """Images of two classes that differ in their brightness."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randn(count, 1, 12, 12, generator=source) + 2 * labels[:, None, None, None]
    return Samples(images, labels)


@pytest.mark.parametrize(
    ("name", "channels", "size", "parameters"),
    [
        # Stem 3·3·c·24 + 48, blocks, and the head 97 · 10; counted by hand from the widths 24, 48, 96.
        (
            "small-resnet",
            1,
            28,
            9 * 24
            + 48
            + (2 * (9 * 24 * 24 + 48))
            + (9 * 24 * 48 + 9 * 48 * 48 + 24 * 48 + 3 * 96)
            + (9 * 48 * 96 + 9 * 96 * 96 + 48 * 96 + 3 * 192)
            + 97 * 10,
        ),
        # torchvision's 11,689,512 for ImageNet, less its stem and head, with a 3×3 stem and 10 classes.
        ("resnet18", 3, 32, 11_689_512 - 7 * 7 * 3 * 64 + 3 * 3 * 3 * 64 - 513 * 1000 + 513 * 10),
    ],
)
def test_models_have_the_published_shape(name: str, channels: int, size: int, parameters: int) -> None:
    model = models.build(name, channels, size, 10).eval()
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(torch.zeros(2, channels, size, size)).shape == (2, 10)


def test_the_stem_of_resnet18_keeps_the_resolution() -> None:
    shapes = []
    model = models.build("resnet18", 3, 32, 10).eval()
    model.layer1.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(inputs[0].shape)))
    model(torch.zeros(1, 3, 32, 32))
    assert shapes == [(1, 64, 32, 32)]


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(KeyError, match="choose one of resnet18, resnet18-imagenet, small-resnet, "):
        models.build("resnet19", 1, 28, 10)


def test_training_learns_and_ends_in_evaluation_mode() -> None:
    model = models.build("small-resnet", 1, 8, 2)
    losses = train(model, _blobs(64, 0), SPEC, generator(0, "order"))
    assert not model.training
    assert len(losses) == SPEC.epochs
    assert losses[-1] < 0.2 * losses[0]
    assert accuracy(model, _blobs(200, 1), 64) > 0.95


def test_a_seed_says_everything() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(stream(seed, "weights"))
        model = models.build("small-resnet", 1, 8, 2)
        train(model, _blobs(64, 0), SPEC.model_copy(update={"epochs": 2}), generator(seed, "order"))
        return nn.utils.parameters_to_vector(model.parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_training_refuses_what_cannot_work() -> None:
    model = models.build("small-resnet", 1, 8, 2)
    with pytest.raises(ValueError, match="lower batch_size"):
        train(model, _blobs(8, 0), SPEC, generator(0, "order"))
    with pytest.raises(FloatingPointError, match="lower the model's learning_rate"):
        train(model, _blobs(64, 0), SPEC.model_copy(update={"learning_rate": 1e30}), generator(0, "order"))


def test_accuracy_by_hand() -> None:
    model = nn.Linear(2, 2, bias=False).eval()
    with torch.no_grad():
        model.weight.copy_(torch.eye(2))
    samples = Samples(torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 2.0]]), torch.tensor([0, 1, 1]))
    assert accuracy(model, samples, 2) == pytest.approx(2 / 3)
    broken = Samples(torch.tensor([[float("nan"), 0.0]]), torch.tensor([0]))
    assert accuracy(model, broken, 1) == 0
    with pytest.raises(ValueError, match=r"model\.eval"):
        accuracy(model.train(), samples, 2)


def test_streams_are_independent_of_each_other() -> None:
    values = [
        stream(seed, *purpose) for seed in range(50) for purpose in (("a",), ("b",), ("a", 1), ("a", 2))
    ]
    assert len(set(values)) == len(values)
    assert stream(3, "a", 1) == stream(3, "a", 1)
