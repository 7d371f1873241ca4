"""Where an unlearning run starts: the original model, the data a method may declare, the target."""

from __future__ import annotations

from collections.abc import Sequence
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
from orthograd.methods.base import DataName
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
        sets: the samples of the sets that the step measures, by name.
        data: what the method declares, by `orthograd.methods.base.DataName`.
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
    reader: inputs.Reader,
    split_file: Path,
    original: Path,
    declared: frozenset[DataName],
    measured: Sequence[str],
    seed: int,
    other: ImageDataset | None = None,
) -> Start:
    """Load what a run needs, and nothing else.

    Without a target in the settings (random scenario) it is what the original model scores on images that are
    distributed like the forget set but were never seen.

    Args:
        spec: the settings.
        reader: of the dataset; notes what is read.
        split_file: the scenario's split.
        original: the trained model.
        declared: the data that the method reads.
        measured: sets of the split on which the step measures accuracy; the forget set is one of them.
        seed: of the split.
        other: dataset of a proxy that is taken from another one.
    """
    split = read_split(split_file)
    sets = reader.sets(split, measured)
    model = inputs.load_model(spec.model, reader.dataset, original, reader.device)

    def data(name: DataName) -> Samples:
        match name:
            case "forget":
                return sets["forget"]
            case "retain":
                return _retain(spec, reader, split, seed, other)
            case "heldout":
                forgotten = "validation_forgotten"
                held_out = forgotten if (split["set"] == forgotten).any() else "validation"
                return reader.samples(held_out, split[split["set"] == held_out])

    return Start(
        model=model,
        sets=sets,
        data={name: data(name) for name in sorted(declared)},
        pixels=PixelScale(reader.dataset.mean, reader.dataset.std),
        target=accuracy(model, sets["validation"], spec.evaluation_batch)
        if spec.target is None
        else spec.target,
    )


def _retain(
    spec: Spec, reader: inputs.Reader, split: pd.DataFrame, seed: int, other: ImageDataset | None
) -> Samples:
    """The retain subset, or the first images of what stands in for it."""
    if spec.proxy is None:
        return reader.samples("retain_subset", retain_subset(split, spec.retain_size))
    extended = proxy_split(split, reader.dataset, spec.proxy, seed, other)
    rows = extended[extended["set"] == "proxy"].sort_values("retain_order").head(spec.retain_size)
    images = proxy_images(rows, reader.dataset, spec.proxy, seed, other)
    read = reader.note("proxy", other or reader.dataset, "train", rows["row"].tolist())
    return reader.standardised(images, torch.tensor(rows["label"].tolist()), read)
