"""The image classifiers, by name. Importing this package does not import torch: a config is checked fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn


def _small_resnet(channels: int, size: int, classes: int) -> nn.Module:
    from orthograd.models.small_resnet import SmallResNet

    return SmallResNet(channels, classes)


def _small_vit(channels: int, size: int, classes: int) -> nn.Module:
    from orthograd.models.small_vit import small_vit

    return small_vit(channels, size, classes)


def _vit_tiny(channels: int, size: int, classes: int) -> nn.Module:
    from orthograd.models.small_vit import vit_tiny

    return vit_tiny(channels, size, classes)


def _resnet18(channels: int, size: int, classes: int) -> nn.Module:
    from orthograd.models.resnet18 import resnet18_32

    return resnet18_32(channels, classes)


def _resnet18_imagenet(channels: int, size: int, classes: int) -> nn.Module:
    from orthograd.models.imagenet import resnet18_imagenet

    return resnet18_imagenet(channels, size, classes)


def _vit_b_16_imagenet(channels: int, size: int, classes: int) -> nn.Module:
    from orthograd.models.imagenet import vit_b_16_imagenet

    return vit_b_16_imagenet(channels, size, classes)


_BUILDERS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "small-resnet": _small_resnet,
    "small-vit": _small_vit,
    "vit-tiny": _vit_tiny,
    "resnet18": _resnet18,
    "resnet18-imagenet": _resnet18_imagenet,
    "vit-b-16-imagenet": _vit_b_16_imagenet,
}
# Names of torchvision's weights.
_PRETRAINED = {
    "resnet18-imagenet": "ResNet18_Weights.IMAGENET1K_V1",
    "vit-b-16-imagenet": "ViT_B_16_Weights.IMAGENET1K_V1",
}


def names() -> list[str]:
    """The model names that a config may use."""
    return sorted(_BUILDERS)


def build(name: str, channels: int, size: int, classes: int) -> nn.Module:
    """A freshly initialised model (torch's global generator): (n, channels, size, size) to logits (n, classes).

    Raises:
        KeyError: the name is not in `names()`.
        ValueError: the model does not take such images or classes.
    """
    if name not in _BUILDERS:
        raise KeyError(f"unknown model {name!r}: choose one of {', '.join(names())}")
    return _BUILDERS[name](channels, size, classes)


def pretrained(name: str) -> dict[str, torch.Tensor] | None:
    """The published weights that the original model of this name starts from; None: it starts from scratch.

    Raises:
        RuntimeError: they cannot be had, or are not what was published.
    """
    if name not in _PRETRAINED:
        return None
    from orthograd.models.imagenet import state

    return state(_PRETRAINED[name])
