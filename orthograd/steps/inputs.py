"""What several steps share: how torch computes, how images are loaded, how models and records are stored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import nn

from orthograd import models, provenance
from orthograd.cost import Cost
from orthograd.data.images import ImageDataset, content_hashes
from orthograd.data.readers import Part
from orthograd.data.samples import Samples
from orthograd.reads import Read, digest
from orthograd.records import write_json


class Spec(BaseModel):
    """The settings of a step, given as JSON: those that every computing step has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Literal["auto", "cpu", "cuda", "mps"]
    threads: int


def set_up(spec: Spec) -> torch.device:
    """Fix torch's thread count, ask for deterministic algorithms, and choose the device.

    `auto` takes CUDA, else MPS, else the CPU.

    Raises:
        RuntimeError: the config asks for a device that is not there.
    """
    torch.set_num_threads(spec.threads)
    # Read by cuBLAS when it starts; without it deterministic algorithms refuse matrix products.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The same as `use_deterministic_algorithms(True)`, which takes seconds to load the compiler first.
    torch.set_deterministic_debug_mode("error")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(name for name in available if available[name]) if spec.device == "auto" else spec.device
    if not available[name]:
        raise RuntimeError(f"device: {name} is not available on this machine. Mend: set `device: auto`")
    return torch.device(name)


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """The layout in which convolutions are fastest, on the CPU and on a GPU."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


class Reader:
    """Makes samples from rows of splits, and notes what it read: the only way from a dataset to a model.

    Attributes:
        dataset: the images.
        device: where the samples are put.
        reads: what was read so far, each set once.
    """

    def __init__(self, dataset: ImageDataset, device: torch.device) -> None:
        self.dataset = dataset
        self.device = device
        self.reads: list[Read] = []

    def note(self, name: str, dataset: ImageDataset, source: Part, positions: Sequence[int]) -> Read:
        """Note that the images at some positions of a published part are read as the set `name`."""
        hashes = content_hashes(dataset.part(source).images[torch.as_tensor(positions)])
        read = Read(name, dataset.name, source, len(hashes), digest(hashes))
        if read not in self.reads:
            self.reads.append(read)
        return read

    def samples(self, name: str, rows: pd.DataFrame) -> Samples:
        """The standardised images and the labels of some rows of a split, noted under a name.

        Raises:
            ValueError: the rows are not of one published part.
        """
        sources = rows["source"].unique().tolist()
        if len(sources) != 1:
            raise ValueError(f"rows from the published parts {sources}: a set has one source")
        positions = rows["row"].tolist()
        images = self.dataset.images(sources[0], positions)
        labels = self.dataset.labels(sources[0], positions)
        return self.standardised(images, labels, self.note(name, self.dataset, sources[0], positions))

    def standardised(self, images: torch.Tensor, labels: torch.Tensor, read: Read) -> Samples:
        """Samples of images in [0, 1] that were noted, on the device, in the layout of the models."""
        images = _channels_last(self.dataset.standardise(images).to(self.device))
        return Samples(images, labels.to(self.device), read)

    def sets(self, split: pd.DataFrame, names: Sequence[str]) -> dict[str, Samples]:
        """The samples of some sets of a split, by name; sets that are not named are not read."""
        return {name: self.samples(name, split[split["set"] == name]) for name in names}


def _model(name: str, dataset: ImageDataset, seed: int, device: torch.device) -> nn.Module:
    _, channels, size, _ = dataset.train.images.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = models.build(name, channels, size, len(dataset.classes))
    model.to(device)
    for parameter in model.parameters():
        parameter.data = _channels_last(parameter.data)
    return model


def new_model(
    name: str, dataset: ImageDataset, seed: int, device: torch.device, pretrained: bool = False
) -> nn.Module:
    """A model with the initial weights of a seed, which do not depend on the device.

    With `pretrained`, and where the model has published weights, those: of use for an original model only, since
    they have seen the images that a retrained model must never see.
    """
    model = _model(name, dataset, seed, device)
    weights = models.pretrained(name) if pretrained else None
    if weights is not None:
        model.load_state_dict(weights, strict=True)
    return model


def save_model(model: nn.Module, path: Path) -> None:
    """Write the weights and buffers as safetensors."""
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)


def load_model(name: str, dataset: ImageDataset, path: Path, device: torch.device) -> nn.Module:
    """Read a model that `save_model` wrote, in evaluation mode. Missing and unexpected keys are errors."""
    model = _model(name, dataset, 0, device)
    model.load_state_dict(load_file(path), strict=True)
    return model.eval()


def write_record(
    path: Path, spec: BaseModel, seed: int, code: str, reader: Reader, cost: Cost, **values: Any
) -> None:
    """Write what a run did and read, under which conditions, as JSON."""
    write_json(path, record(spec, seed, code, reader.reads, reader.device, cost, **values))


def record(
    spec: BaseModel,
    seed: int,
    code: str,
    reads: Sequence[Read],
    device: torch.device,
    cost: Cost,
    **values: Any,
) -> dict[str, Any]:
    """What a run did and read, and under which conditions, as it goes into JSON."""
    return {
        "seed": seed,
        **values,
        "reads": [asdict(read) for read in reads],
        "cost": asdict(cost),
        "spec": spec.model_dump(mode="json"),
        "code": code,
        "commit": provenance.commit(),
        "machine": {
            **provenance.machine(),
            "device": _device_name(device),
            "threads": torch.get_num_threads(),
        },
    }


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
