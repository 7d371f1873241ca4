"""ResNet-18 for small images: torchvision's, with the usual 32×32 stem."""

from __future__ import annotations

from torch import nn
from torchvision.models import resnet18


def resnet18_32(channels: int, classes: int) -> nn.Module:
    """ResNet-18 whose stem keeps the resolution: a 3×3 convolution of stride 1 and no pooling.

    The ImageNet stem (7×7, stride 2, then pooling) would leave one pixel of a 32×32 image at the last stage.

    Args:
        channels: channels of the input images, shape (n, channels, H, W) with H, W about 32.
        classes: number of logits, output shape (n, classes).
    """
    model: nn.Module = resnet18(weights=None, num_classes=classes)
    model.conv1 = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model
