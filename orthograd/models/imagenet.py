"""The models that torchvision publishes with weights trained on ImageNet."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import nn
from torchvision.models import get_weight, resnet18, vit_b_16

CLASSES = 1000
SIZE = 224


def resnet18_imagenet(channels: int, size: int, classes: int) -> nn.Module:
    """ResNet-18 for ImageNet (He et al. 2016), 11,689,512 parameters: (n, 3, 224, 224) to logits (n, 1000).

    Raises:
        ValueError: other images or classes.
    """
    _check("resnet18-imagenet", channels, size, classes)
    model: nn.Module = resnet18(weights=None)
    return model


def vit_b_16_imagenet(channels: int, size: int, classes: int) -> nn.Module:
    """ViT-B/16 for ImageNet (Dosovitskiy et al. 2021), 86,567,656 parameters: (n, 3, 224, 224) to logits (n, 1000).

    Raises:
        ValueError: other images or classes.
    """
    _check("vit-b-16-imagenet", channels, size, classes)
    model: nn.Module = vit_b_16(weights=None)
    return model


def _check(name: str, channels: int, size: int, classes: int) -> None:
    if (channels, size, classes) != (3, SIZE, CLASSES):
        raise ValueError(
            f"{name} takes images of 3 × {SIZE} × {SIZE} in {CLASSES} classes, not {channels} × {size} × {size} in "
            f"{classes}: use it with the dataset imagenet, or choose another model"
        )


def state(name: str) -> dict[str, torch.Tensor]:
    """The weights that torchvision calls `name`: from torch's cache, else downloaded and compared with their SHA-256.

    Raises:
        RuntimeError: they cannot be had, or are not what was published.
    """
    weights = get_weight(name)
    file = Path(urlsplit(weights.url).path).name
    try:
        values: dict[str, torch.Tensor] = weights.get_state_dict(
            progress=False, check_hash=True, map_location="cpu"
        )
    except (OSError, RuntimeError) as error:
        raise RuntimeError(
            f"the weights {name} cannot be had from {weights.url}: {error}. Mend: give this machine access to "
            f"{urlsplit(weights.url).netloc}, or put the file {file} into {torch.hub.get_dir()}/checkpoints (the "
            "environment variable TORCH_HOME moves this folder)"
        ) from error
    return values
