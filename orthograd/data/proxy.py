"""A proxy of the retain set: images of another distribution, for who has none of the training images left.

The proxy pool is a set `proxy` of a split, so that whatever reads the split checks that it shares no image with the
other sets: neither a row nor the content of the published pixels, that is of the pixels before they are shifted.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from orthograd.data.scenarios import DatasetProxy, ShiftProxy
from orthograd.data.splits import Stream, check_disjoint, describe, generator, stratified_order

if TYPE_CHECKING:  # they import torch
    from torch import Tensor

    from orthograd.data.images import ImageDataset


def proxy_split(
    split: pd.DataFrame,
    dataset: "ImageDataset",
    proxy: DatasetProxy | ShiftProxy,
    seed: int,
    other: "ImageDataset | None" = None,
) -> pd.DataFrame:
    """Add the set `proxy` to a scenario's split, in an order that is stratified in every prefix.

    Candidates are images of the published train part, of the other dataset or of this one, whose content is in no
    set of the split, so that no model of this seed was trained on, tuned on or judged by them; of them those in the
    classes of the retain set.

    Args:
        split: what `orthograd.data.splits.scenario_split` returns.
        dataset: what the split was drawn from.
        proxy: what to take.
        seed: of the split.
        other: the prepared dataset `proxy.dataset`; None for a shift.

    Raises:
        ValueError: the other dataset does not fit, or too few images are left; says what to change.
    """
    origin = _origin(dataset, proxy, other)
    candidates = describe(origin, "train")
    if origin is not dataset:
        labels = {label: dataset.classes.index(name) for label, name in enumerate(origin.classes)}
        candidates["label"] = candidates["label"].map(labels)
        candidates["source"] = f"{origin.name}/train"
    retained = split.loc[split["set"] == "retain", "label"].unique()
    usable = ~candidates["sha256"].isin(split["sha256"]) & candidates["label"].isin(retained)
    candidates = candidates[usable]
    if proxy.size > len(candidates):
        raise ValueError(
            f"proxy of {proxy.size} images, but {origin.name} has {len(candidates)} that are in no set of the split: "
            "lower its size, or the sizes of the sets"
        )
    order = stratified_order(candidates["label"].to_numpy(), generator(seed, Stream.PROXY))[: proxy.size]
    rows = candidates.iloc[order].assign(set="proxy", retain_order=np.arange(proxy.size))
    extended = pd.concat([split, rows.astype(split.dtypes)], ignore_index=True)
    check_disjoint(extended)
    return extended


def proxy_images(
    rows: pd.DataFrame,
    dataset: "ImageDataset",
    proxy: DatasetProxy | ShiftProxy,
    seed: int,
    other: "ImageDataset | None" = None,
) -> "Tensor":
    """The images of rows of the set `proxy`: (n, C, H, W) float32 in [0, 1]; their labels stand in the rows.

    An image does not depend on which others are asked for.
    """
    images = _origin(dataset, proxy, other).images("train", rows["row"].to_list())
    match proxy:
        case DatasetProxy():
            return images
        case ShiftProxy():
            return shift(images, proxy, seed, rows["published_index"].to_list())


def shift(images: "Tensor", proxy: ShiftProxy, seed: int, index: list[int]) -> "Tensor":
    """Turn, scale and move (bilinear, black outside), draw towards mid-grey, add noise, and clip to [0, 1].

    Args:
        images: (n, C, H, H) float32 in [0, 1].
        proxy: the parameters of the shift.
        seed, index: the noise of an image follows from the seed and its entry in `index`, of length n.
    """
    import torch
    from torch.nn import functional as F

    angle = math.radians(proxy.rotation)
    turn = (
        torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) / proxy.scale
    )
    # From a place in the new picture to its place in the old one; a picture is 2 wide in these coordinates.
    offset = -turn @ torch.full((2, 1), 2 * proxy.translation / images.shape[-1])
    grid = F.affine_grid(
        torch.cat([turn, offset], dim=1).expand(len(images), -1, -1), list(images.shape), align_corners=False
    )
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    noise = [
        np.random.default_rng(np.random.SeedSequence([seed, Stream.PROXY_NOISE, place])).standard_normal(
            tuple(images.shape[1:]), dtype=np.float32
        )
        for place in index
    ]
    paled = 0.5 + proxy.contrast * (moved - 0.5)
    return (paled + proxy.noise * torch.from_numpy(np.stack(noise))).clamp(0, 1)


def _origin(
    dataset: "ImageDataset", proxy: DatasetProxy | ShiftProxy, other: "ImageDataset | None"
) -> "ImageDataset":
    """The dataset that the proxy's images come from, found fit."""
    if isinstance(proxy, ShiftProxy):
        return dataset
    if other is None or other.name != proxy.dataset or other.name == dataset.name:
        given = "none" if other is None else other.name
        raise ValueError(
            f"a proxy of {dataset.name} from {proxy.dataset} needs that dataset, another one; given: {given}"
        )
    if set(other.classes) != set(dataset.classes):
        raise ValueError(f"{other.name} has other classes than {dataset.name}: choose another proxy")
    if other.train.images.shape[1:] != dataset.train.images.shape[1:]:
        raise ValueError(
            f"{other.name} has images of {tuple(other.train.images.shape[1:])}, {dataset.name} of "
            f"{tuple(dataset.train.images.shape[1:])}: choose another proxy"
        )
    return other
