"""Vision transformers that are trained here: a small one for a CPU core, and ViT-Ti for a GPU."""

from __future__ import annotations

import math

from torch import nn
from torchvision.models import VisionTransformer


def small_vit(channels: int, size: int, classes: int) -> nn.Module:
    """A grid of 4×4 patches: 4 blocks of width 64, 4 heads, hidden layers of 128; 0.14 million parameters.

    A CPU core trains it in half a minute. Arguments and errors are those of `vit_tiny`.
    """
    return _vit("small-vit", channels, size, classes, grid=4, width=64, layers=4, heads=4, hidden=128)


def vit_tiny(channels: int, size: int, classes: int) -> nn.Module:
    """ViT-Ti (Touvron et al. 2021) on a grid of 8×8 patches: 12 blocks of width 192, 3 heads, hidden layers of 768.

    Args:
        channels, size: of the input images, shape (n, channels, size, size).
        classes: number of logits, output shape (n, classes).

    Raises:
        ValueError: the patches do not tile the image.
    """
    return _vit("vit-tiny", channels, size, classes, grid=8, width=192, layers=12, heads=3, hidden=768)


def _vit(
    name: str,
    channels: int,
    size: int,
    classes: int,
    *,
    grid: int,
    width: int,
    layers: int,
    heads: int,
    hidden: int,
) -> nn.Module:
    """Torchvision's VisionTransformer for images of any number of channels."""
    if size % grid:
        raise ValueError(
            f"{name} cuts images into {grid} × {grid} patches, which do not tile {size} × {size} pixels: "
            "choose another model"
        )
    patch = size // grid
    model: nn.Module = VisionTransformer(
        image_size=size,
        patch_size=patch,
        num_layers=layers,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=hidden,
        num_classes=classes,
    )
    # torchvision's takes three channels only; its initialisation is that of its own first layer.
    patches = nn.Conv2d(channels, width, patch, patch)
    nn.init.trunc_normal_(patches.weight, std=math.sqrt(1 / (channels * patch * patch)))
    assert patches.bias is not None, "made above"
    nn.init.zeros_(patches.bias)
    model.conv_proj = patches
    return model
