"""Where an unlearning run starts: the original model, the data a method may declare, the target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from orthograd.data.images import ImageDataset
from orthograd.data.proxy import proxy_images, proxy_split
from orthograd.data.samples import PixelScale, Samples
from orthograd.data.scenarios import Proxy
from orthograd.data.splits import read_split, retain_subset
from orthograd.evaluation import accuracy
from orthograd.steps import inputs


class Spec(inputs.Spec):
    """The settings of a step that unlearns."""

    model: str
    retain_size: int
    target: float | None
    proxy: Proxy | None
    evaluation_batch: int


@dataclass(frozen=True)
class Start:
    """The start of one run.

    Attributes:
        model: the original model, in evaluation mode.
        sets: the samples of each set of the split, by name.
        data: what methods may declare, by `orthograd.methods.base.DataName`.
        pixels: how the images were standardised.
        target: forget accuracy that the stopping rule waits for, a fraction.
    """

    model: nn.Module
    sets: dict[str, Samples]
    data: dict[str, Samples]
    pixels: PixelScale
    target: float


def start(
    spec: Spec,
    dataset: ImageDataset,
    split_file: Path,
    original: Path,
    seed: int,
    device: torch.device,
    other: ImageDataset | None = None,
) -> Start:
    """Load what a run needs; `other` is the dataset of a proxy that is taken from another one.

    Without a target in the settings (random scenario) it is what the original model scores on images that are
    distributed like the forget set but were never seen.
    """
    split = read_split(split_file)
    sets = inputs.sets(dataset, split, device)
    model = inputs.load_model(spec.model, dataset, original, device)
    return Start(
        model=model,
        sets=sets,
        data={
            "forget": sets["forget"],
            "retain": _retain(spec, dataset, split, seed, device, other),
            "heldout": sets.get("validation_forgotten", sets["validation"]),
        },
        pixels=PixelScale(dataset.mean, dataset.std),
        target=accuracy(model, sets["validation"], spec.evaluation_batch)
        if spec.target is None
        else spec.target,
    )


def _retain(
    spec: Spec,
    dataset: ImageDataset,
    split: pd.DataFrame,
    seed: int,
    device: torch.device,
    other: ImageDataset | None,
) -> Samples:
    """The retain subset, or the first images of what stands in for it."""
    if spec.proxy is None:
        return inputs.samples(dataset, retain_subset(split, spec.retain_size), device)
    extended = proxy_split(split, dataset, spec.proxy, seed, other)
    rows = extended[extended["set"] == "proxy"].sort_values("retain_order").head(spec.retain_size)
    images = dataset.standardise(proxy_images(rows, dataset, spec.proxy, seed, other))
    return inputs.on_device(images, torch.tensor(rows["label"].tolist()), device)
