"""Read published images: packed arrays (IDX files, the batches of CIFAR-10), or class folders."""

import hashlib
import lzma
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orthograd.data.registry import CifarLayout, Dataset, FolderLayout, IdxLayout
from orthograd.data.scenarios import Subset
from orthograd.data.sources import ARCHIVES

Part = Literal["train", "test"]
PARTS: tuple[Part, Part] = ("train", "test")

# Names of the files that MNIST and its successors publish: (images, labels).
_IDX_FILES: dict[Part, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_IMAGES = (".png", ".jpg", ".jpeg")  # in any case


@dataclass(frozen=True)
class ImagePart:
    """The images of one published part.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        index: (N,) int64, row of each image in the published file; for class folders, its place in the list of the
            part's images, sorted by folder, class and file name.
    """

    images: Tensor
    labels: Tensor
    index: Tensor


def read_parts(raw_dir: Path, dataset: Dataset, subset: Subset | None = None) -> dict[Part, ImagePart]:
    """Read what `orthograd.data.download.download` left in `raw_dir`; archives are unpacked to a temporary folder.

    All images of a dataset lie in one tensor, so one that does not fit into memory (`Dataset.needs_subset`) is cut
    down by `subset` when it is prepared. An image of 224 × 224 pixels takes 150,528 bytes, and four times that as
    float32 in the steps that compute: this serves some tens of thousands of images of ImageNet, not all of them.

    Args:
        raw_dir: folder of the verified files, or with the link to what the user brought.
        dataset: its entry in the registry.
        subset: which images to take from class folders; None: all. Labels stay those of the whole dataset.

    Raises:
        ValueError: a file or folder is missing, unknown or broken; names it and what to do.
    """
    match dataset.layout:
        case FolderLayout() as layout:
            if subset is None and dataset.needs_subset:
                raise ValueError(f"{dataset.name} does not fit into memory: choose a `subset` in the config")
            with _unpacked(raw_dir) as folder:
                root = _below(folder, layout.train[0])
                return {part: _read_folders(root, part, dataset, layout, subset) for part in PARTS}
        case _ if subset is not None:
            raise ValueError(f"a subset can be taken of class folders only, and {dataset.name} is none")
        case IdxLayout():
            return {part: _read_idx(raw_dir, part, len(dataset.classes)) for part in PARTS}
        case CifarLayout():
            with _unpacked(raw_dir) as folder:
                return {part: _read_cifar(folder, part, dataset) for part in PARTS}


def _read_idx(raw_dir: Path, part: Part, classes: int) -> ImagePart:
    # Here and not above: importing torchvision takes seconds, and who loads a prepared dataset does not need it.
    from torchvision.datasets.mnist import read_image_file, read_label_file

    images_file, labels_file = (raw_dir / name for name in _IDX_FILES[part])
    images = read_image_file(str(images_file))[:, None]
    labels = read_label_file(str(labels_file))
    if len(images) != len(labels):
        raise ValueError(
            f"{images_file} holds {len(images)} images but {labels_file} {len(labels)} labels: "
            "download them again"
        )
    if len(labels) and int(labels.max()) >= classes:
        raise ValueError(
            f"{labels_file} holds the label {int(labels.max())}, but the registry names {classes} classes: "
            "download it again, or correct the registry"
        )
    return ImagePart(images, labels, torch.arange(len(images)))


def _read_cifar(folder: Path, part: Part, dataset: Dataset) -> ImagePart:
    from torchvision.datasets import CIFAR10

    try:
        published = CIFAR10(folder, train=part == "train")  # compares each batch with torchvision's MD5
    except RuntimeError as error:
        raise ValueError(
            f"{dataset.name}: the archive's batches are not the published ones: {error}"
        ) from error
    if tuple(published.classes) != dataset.classes:
        raise ValueError(f"{dataset.name} has the classes {published.classes}: correct the registry")
    images = torch.from_numpy(published.data).permute(0, 3, 1, 2).contiguous()
    return ImagePart(images, torch.tensor(published.targets), torch.arange(len(images)))


def _read_folders(
    root: Path, part: Part, dataset: Dataset, layout: FolderLayout, subset: Subset | None
) -> ImagePart:
    wanted = set(dataset.classes if subset is None or subset.classes is None else subset.classes)
    files: dict[str, list[tuple[int, Path]]] = {name: [] for name in wanted}
    listed = 0
    for folder in getattr(layout, part):
        found = _class_folders(root / folder, dataset, wanted)
        for name in dataset.classes:
            for path in _image_files(found[name], layout.exclude) if name in found else ():
                if name in wanted:
                    files[name].append((listed, path))
                listed += 1
    if subset is not None:
        count = subset.train if part == "train" else subset.test
        files = {name: _draw(members, count, name, part) for name, members in files.items()}
    rows = [
        (index, label, path)
        for label, name in enumerate(dataset.classes)
        for index, path in sorted(files.get(name, ()))
    ]
    rows.sort(key=lambda row: row[0])
    images = np.empty((len(rows), 3, layout.size, layout.size), dtype=np.uint8)
    for place, (_, _, path) in enumerate(rows):
        images[place] = _decode(path, layout)
    index, labels = (torch.tensor([row[column] for row in rows], dtype=torch.int64) for column in (0, 1))
    return ImagePart(torch.from_numpy(images), labels, index)


def _class_folders(folder: Path, dataset: Dataset, wanted: set[str]) -> dict[str, Path]:
    """The class folders in `folder`, by name: only known names, and all that are wanted."""
    if not folder.is_dir():
        raise ValueError(f"{dataset.name} has no folder {folder.name!r} in {folder.parent}: {_form(dataset)}")
    found = {path.name: path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    for kind, names in (
        ("holds unknown class folders", found.keys() - set(dataset.classes)),
        ("lacks class folders", wanted - found.keys()),
    ):
        if names:
            raise ValueError(f"{folder} {kind}: {_some(sorted(names))}: {_form(dataset)}")
    return found


def _form(dataset: Dataset) -> str:
    return dataset.instructions or f"expected are the class folders {_some(dataset.classes)}"


def _some(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:10]) + (f", … ({len(names)} in all)" if len(names) > 10 else "")


def _image_files(folder: Path, exclude: str | None) -> list[Path]:
    """The images in a class folder, by name; hidden files are passed over."""
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in paths:
        if path.suffix.lower() not in _IMAGES:
            raise ValueError(f"{path} is no image file ({', '.join(_IMAGES)}): remove it")
    return [path for path in paths if exclude is None or not fnmatchcase(path.name, exclude)]


def _draw(members: list[tuple[int, Path]], count: int, name: str, part: Part) -> list[tuple[int, Path]]:
    """`count` images of a class: a draw that is fixed by the files' names, and nested as the count grows."""
    if count > len(members):
        raise ValueError(
            f"subset: {count} images of class {name} in the {part} part, which has {len(members)}: lower it"
        )
    return sorted(members, key=lambda member: hashlib.sha256(member[1].name.encode()).digest())[:count]


def _decode(path: Path, layout: FolderLayout) -> NDArray[np.uint8]:
    """The RGB pixels of an image file, (3, size, size); grey images have three equal channels."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:  # Pillow has no common class for what it cannot read
        raise ValueError(f"{path} is broken: {error}. Get the dataset again") from error
    if layout.resize is not None:
        # What torchvision's pretrained models are evaluated on: torchvision.transforms.Resize, then CenterCrop.
        width, height = (side * layout.resize // min(image.size) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (round((side - layout.size) / 2) for side in image.size)
        image = image.crop((left, top, left + layout.size, top + layout.size))
    if image.size != (layout.size, layout.size):
        raise ValueError(
            f"{path} has {image.width} × {image.height} pixels, but the images of this dataset have "
            f"{layout.size} × {layout.size}: bring the published images"
        )
    return np.asarray(image).transpose(2, 0, 1)


@contextmanager
def _unpacked(raw_dir: Path) -> Iterator[Path]:
    """The folder in `raw_dir`, or its archive unpacked to a temporary folder."""
    found = [path for path in raw_dir.iterdir() if path.is_dir() or path.name.endswith(ARCHIVES)]
    if len(found) != 1:
        raise ValueError(f"{raw_dir} holds {len(found)} folders and archives, not one: download it again")
    if found[0].is_dir():
        yield found[0]
        return
    with tempfile.TemporaryDirectory(prefix="orthograd-") as scratch:
        try:
            if found[0].suffix == ".zip":
                with zipfile.ZipFile(found[0]) as archive:
                    archive.extractall(scratch)
            else:
                with tarfile.open(found[0]) as packed:
                    packed.extractall(scratch, filter="data")
        except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError) as error:
            raise ValueError(f"{found[0]} cannot be unpacked: {error}. Get the archive again") from error
        yield Path(scratch)


def _below(folder: Path, name: str) -> Path:
    """`folder`, or the only folder in it (archives often wrap their content), that holds `name`."""
    inner = [path for path in folder.iterdir() if path.is_dir() and path.name != "__MACOSX"]
    if not (folder / name).is_dir() and len(inner) == 1:
        return inner[0]
    return folder
