"""The versioned registry of datasets: what they are, how their files are verified, where they come from."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, model_validator

from orthograd.data.sources import Entry, File, Files, MirrorSource

REGISTRY = Path(__file__).with_name("registry.yaml")
MEMORY = 2**32  # bytes that the images of a dataset may take without a subset being chosen


class IdxLayout(Entry):
    """The four IDX files of MNIST and its successors."""

    kind: Literal["idx"]


class CifarLayout(Entry):
    """The archive of pickled batches that CIFAR-10 is published as."""

    kind: Literal["cifar"]


class FolderLayout(Entry):
    """Class folders: `<folder>/<class>/<image>`, where several folders may make up one part.

    `classes` of the dataset are the names of the folders. `exclude` is a pattern of file names to leave out. Without
    `resize` every image has `size` × `size` pixels; with it the shorter side is brought to `resize` pixels, and the
    central square of `size` pixels is taken.
    """

    kind: Literal["folders"]
    train: tuple[str, ...] = Field(min_length=1)
    test: tuple[str, ...] = Field(min_length=1)
    size: int = Field(gt=0)
    resize: int | None = Field(default=None, gt=0)
    exclude: str | None = None


Layout = Annotated[IdxLayout | CifarLayout | FolderLayout, Field(discriminator="kind")]


class Statistics(Entry):
    """Mean and standard deviation of each channel of the pixels, scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Dataset(Files):
    """A published dataset.

    `classes` stand in the order of the labels; `train_size` and `test_size` count the images of the published parts.
    Without `files` the dataset cannot be verified: it is a folder, or an archive of one, that the user brings, and
    `instructions` say where it is to be had. `statistics` are those that published models expect; without them they are
    taken from the train part.
    """

    version: str
    title: str
    licence: str
    citation: str
    homepage: str
    classes: tuple[str, ...] = Field(min_length=2)
    train_size: int = Field(gt=0)
    test_size: int = Field(gt=0)
    layout: Layout
    statistics: Statistics | None = None
    files: tuple[File, ...] = ()
    instructions: str | None = None

    @model_validator(mode="after")
    def _only_a_mirror_serves_what_is_not_listed(self) -> "Dataset":
        mirror_only = all(isinstance(source, MirrorSource) for source in self.sources)
        if not self.files and not (mirror_only and self.instructions and self.layout.kind == "folders"):
            raise ValueError(
                f"dataset {self.name!r} lists no files, so it is brought by the user: it needs the layout folders, "
                "instructions, and the mirror as its only source"
            )
        return self

    @property
    def needs_subset(self) -> bool:
        """Whether all images, as they are prepared, take more memory than `MEMORY`."""
        if self.layout.kind != "folders":
            return False
        return (self.train_size + self.test_size) * 3 * self.layout.size**2 > MEMORY

    @property
    def prepared(self) -> dict[str, object]:
        """What of the entry goes into the prepared dataset."""
        return self.model_dump(mode="json", include={"version", "classes", "layout", "statistics"})


class Registry(Entry):
    """All datasets; `version` counts the changes of the file's form."""

    version: Literal[1]
    datasets: tuple[Dataset, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"the registry lists a dataset twice: {sorted(self.names)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the datasets, in the order of the file."""
        return tuple(dataset.name for dataset in self.datasets)

    def dataset(self, name: str) -> Dataset:
        """The dataset called `name`.

        Raises:
            ValueError: no such dataset; the message lists those that exist.
        """
        for dataset in self.datasets:
            if dataset.name == name:
                return dataset
        raise ValueError(f"unknown dataset {name!r}: choose one of {', '.join(self.names)}")


def read_registry(path: Path) -> Registry:
    """Read and validate a registry file.

    Raises:
        pydantic.ValidationError: a key is unknown or missing, or a value is out of its range.
    """
    return Registry.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@cache
def registry() -> Registry:
    """The registry that comes with the package."""
    return read_registry(REGISTRY)
