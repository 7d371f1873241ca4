"""A problem on which every method runs in milliseconds: 3 classes of 1×8×8 images, and nets that learned them."""

import copy
import functools
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

from orthograd import methods
from orthograd.data.samples import PixelScale, Samples
from orthograd.methods.base import DataName, DataView, ScenarioKind, Updates

CLASSES = 3
PIXELS = PixelScale(mean=(0.5,), std=(0.25,))
# Values and their changes are compared exactly; what a method makes itself has to follow the model's dtype.
DTYPE = torch.float64
NAMES: tuple[DataName, ...] = ("forget", "retain", "heldout")


def draw(labels: torch.Tensor, seed: int) -> Samples:
    """One image for each label: the pattern of its class under noise, standardised from [0, 1] by PIXELS."""
    patterns = torch.randn(CLASSES, 1, 8, 8, generator=torch.Generator().manual_seed(3), dtype=DTYPE)
    noise = torch.randn(len(labels), 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)
    # [0, 1] is [-2, 2] after the standardisation.
    return Samples((0.7 * patterns[labels] + 0.7 * noise).clamp(-2, 2), labels)


def data(scenario: ScenarioKind = "random", size: int = 12) -> dict[DataName, Samples]:
    """`size` images in each set; in the class scenario the whole of class 2 is to be forgotten."""
    mixed = torch.arange(size) % CLASSES
    if scenario == "random":
        return {name: draw(mixed, seed) for seed, name in enumerate(NAMES)}
    forgotten = torch.full((size,), 2)
    return {"forget": draw(forgotten, 0), "retain": draw(mixed % 2, 1), "heldout": draw(forgotten, 2)}


class Conv(nn.Sequential):
    """Convolution, batch normalisation, two linear layers."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(4),
            nn.Flatten(),
            nn.Linear(16, 8),
            nn.Tanh(),
            nn.Linear(8, CLASSES),
        )


class Mlp(nn.Sequential):
    """Two linear layers."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, CLASSES))


class Vit(nn.Module):
    """A vision transformer of one block with a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.position = nn.Parameter(0.02 * torch.randn(1, 5, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), tokens], dim=1) + self.position
        logits: torch.Tensor = self.head(self.norm(self.block(tokens))[:, 0])
        return logits


ARCHITECTURES = {"conv": Conv, "mlp": Mlp, "vit": Vit}


@functools.cache
def _trained(architecture: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = ARCHITECTURES[architecture]().to(DTYPE)
        samples = [data()["forget"], data()["retain"]]
        images = torch.cat([part.images for part in samples])
        labels = torch.cat([part.labels for part in samples])
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(40):
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
    model.zero_grad()
    return model.eval()


def original(architecture: str = "conv") -> nn.Module:
    """A fresh copy of the net that learned forget and retain set of the random scenario, in evaluation mode."""
    return copy.deepcopy(_trained(architecture))


def start(
    name: str, model: nn.Module, sets: dict[DataName, Samples], params: Mapping[str, object], seed: int = 0
) -> Updates:
    """The updates of a method on some data."""
    method = methods.load(name)
    view = DataView(sets, method.reads, seed=seed, pixels=PIXELS)
    return method.run(model, view, method.params.model_validate(params))


def flat(model: nn.Module) -> torch.Tensor:
    """All parameters as one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()
