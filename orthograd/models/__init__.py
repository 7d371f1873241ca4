"""The image classifiers, by name. Importing this package does not import torch: a config is checked fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def _small_resnet(channels: int, classes: int) -> nn.Module:
    from orthograd.models.small_resnet import SmallResNet

    return SmallResNet(channels, classes)


def _resnet18(channels: int, classes: int) -> nn.Module:
    from orthograd.models.resnet18 import resnet18_32

    return resnet18_32(channels, classes)


_BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {
    "small-resnet": _small_resnet,
    "resnet18": _resnet18,
}


def names() -> list[str]:
    """The model names that a config may use."""
    return sorted(_BUILDERS)


def build(name: str, channels: int, classes: int) -> nn.Module:
    """A freshly initialised model (torch's global generator) that maps (n, channels, H, W) to logits (n, classes).

    Raises:
        KeyError: the name is not in `names()`.
    """
    if name not in _BUILDERS:
        raise KeyError(f"unknown model {name!r}: choose one of {', '.join(names())}")
    return _BUILDERS[name](channels, classes)
