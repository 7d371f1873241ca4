"""Images: from the published files to one file of tensors in which every picture occurs once."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from orthograd.data.readers import PARTS, ImagePart, Part, read_parts
from orthograd.data.registry import registry
from orthograd.data.scenarios import Subset

_METADATA = "dataset"  # one key for all: safetensors writes several keys in an order that varies between runs


@dataclass(frozen=True)
class ImageDataset:
    """A prepared dataset.

    Attributes:
        name, version: as in the registry.
        classes: name of each label.
        dropped: number of images dropped by `prepare`, by reason.
        mean, std: what `standardise` uses, per channel: those of the registry, or of the train part's pixels in
            [0, 1] (population standard deviation).
        train, test: the published parts.
    """

    name: str
    version: str
    classes: tuple[str, ...]
    dropped: dict[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: ImagePart
    test: ImagePart

    def part(self, source: Part) -> ImagePart:
        """The published part called `source`."""
        match source:
            case "train":
                return self.train
            case "test":
                return self.test

    def images(self, source: Part, rows: Sequence[int] | Tensor) -> Tensor:
        """The images in `rows` of a part: (n, C, H, W) float32 in [0, 1]."""
        return self.part(source).images[torch.as_tensor(rows)].to(torch.float32) / 255

    def labels(self, source: Part, rows: Sequence[int] | Tensor) -> Tensor:
        """The labels in `rows` of a part: (n,) int64."""
        return self.part(source).labels[torch.as_tensor(rows)]

    def standardise(self, images: Tensor) -> Tensor:
        """Subtract `mean` and divide by `std` per channel: (n, C, H, W) in [0, 1] to the same shape."""
        mean, std = (
            torch.tensor(values, dtype=images.dtype, device=images.device)[:, None, None]
            for values in (self.mean, self.std)
        )
        return (images - mean) / std


def content_hashes(images: Tensor) -> list[str]:
    """SHA-256, in hex, of the pixel bytes of each of (N, C, H, W) uint8 images."""
    if images.dtype != torch.uint8:
        raise TypeError(f"content hashes are of the published uint8 pixels, not of {images.dtype}")
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images.numpy()]


def prepare(raw_dir: Path, dataset_name: str, out: Path, subset: Subset | None = None) -> dict[str, int]:
    """Read the files in `raw_dir`, drop repeated images, and write the rest to `out` (safetensors).

    Equal pixels under different labels: all of those images are dropped, from both parts. Other repetitions:
    the first in the train part stays, or the first in the test part if the train part has none.

    Args:
        raw_dir: folder with the verified files (`orthograd.data.download.download`).
        dataset_name: name in the registry.
        out: file to write, readable by `load`.
        subset: which images to take (`orthograd.data.readers.read_parts`); None: all.

    Returns:
        Number of images dropped, by reason: `train_conflicting`, `train_repeated`, `test_conflicting`,
        `test_repeated` (within the test part), `test_in_train`.

    Raises:
        ValueError: the dataset is unknown, or its files are not what was published.
    """
    entry = registry().dataset(dataset_name)
    parts = read_parts(raw_dir, entry, subset)
    hashes = {part: content_hashes(parts[part].images) for part in PARTS}

    labels_of: dict[str, set[int]] = defaultdict(set)
    for part in PARTS:
        for content, label in zip(hashes[part], parts[part].labels.tolist(), strict=True):
            labels_of[content].add(label)

    reasons = ("train_conflicting", "train_repeated", "test_conflicting", "test_repeated", "test_in_train")
    dropped = Counter(dict.fromkeys(reasons, 0))
    in_train = set(hashes["train"])
    seen: set[str] = set()
    tensors: dict[str, Tensor] = {}
    for part in PARTS:
        kept = []
        for row, content in enumerate(hashes[part]):
            if len(labels_of[content]) > 1:
                dropped[f"{part}_conflicting"] += 1
            elif part == "test" and content in in_train:
                dropped["test_in_train"] += 1
            elif content in seen:
                dropped[f"{part}_repeated"] += 1
            else:
                seen.add(content)
                kept.append(row)
        rows = torch.tensor(kept, dtype=torch.int64)
        tensors[f"{part}_images"] = parts[part].images[rows]
        tensors[f"{part}_labels"] = parts[part].labels[rows]
        tensors[f"{part}_index"] = parts[part].index[rows]

    if entry.statistics is None:
        mean, std = _moments(tensors["train_images"])
    else:
        mean, std = list(entry.statistics.mean), list(entry.statistics.std)
    metadata = {
        "name": entry.name,
        "version": entry.version,
        "classes": entry.classes,
        "dropped": dict(dropped),
        "mean": mean,
        "std": std,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    written = out.with_name(f"{out.name}.part")
    save_file(tensors, written, metadata={_METADATA: json.dumps(metadata)})
    written.replace(out)
    return dict(dropped)


def load(path: Path) -> ImageDataset:
    """Read what `prepare` wrote."""
    with safe_open(path, framework="pt") as file:
        metadata = json.loads(file.metadata()[_METADATA])
        train, test = (
            ImagePart(*(file.get_tensor(f"{part}_{field}") for field in ("images", "labels", "index")))
            for part in PARTS
        )
    return ImageDataset(
        name=metadata["name"],
        version=metadata["version"],
        classes=tuple(metadata["classes"]),
        dropped=metadata["dropped"],
        mean=tuple(metadata["mean"]),
        std=tuple(metadata["std"]),
        train=train,
        test=test,
    )


def _moments(images: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of (N, C, H, W) uint8 pixels, scaled to [0, 1].

    From counts of the 256 values, so that neither thread count nor order of summation shows in the result.
    """
    values = np.arange(256) / 255
    mean, std = [], []
    for channel in images.unbind(1):
        weights = np.bincount(channel.numpy().ravel(), minlength=256) / channel.numel()
        mean.append(float(weights @ values))
        std.append(float(np.sqrt(weights @ (values - mean[-1]) ** 2)))
    return mean, std
