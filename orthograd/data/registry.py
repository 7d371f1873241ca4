"""The versioned registry of datasets and models: what they are, how files are verified, where they come from."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

REGISTRY = Path(__file__).with_name("registry.yaml")
ARCHIVES = (".tar.gz", ".tar.xz", ".tar", ".zip")
MEMORY = 2**32  # bytes that the images of a dataset may take without a subset being chosen


def _names_the_file(template: str) -> str:
    try:
        named = "{file}" in template and "{" not in template.format(file="")
    except (KeyError, IndexError, ValueError):
        named = False
    if not named:
        raise ValueError(f"{template!r} must hold {{file}}, for the name of the file, and no other field")
    return template


Template = Annotated[str, AfterValidator(_names_the_file)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MirrorSource(_Strict):
    """The user's own copy: a folder or a URL, known at run time (`data.download.resolve_mirror`)."""

    kind: Literal["mirror"]


class HttpSource(_Strict):
    """A public web address; `url` holds {file}."""

    kind: Literal["http"]
    url: Template


class DebianSource(_Strict):
    """A package of the Debian archive; `path`, which holds {file}, is relative to the package's root."""

    kind: Literal["debian"]
    package: str = Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")
    path: Template


class WheelSource(_Strict):
    """A wheel of the Python package index: unpacked, never run.

    `sha256` is that of the wheel; `path`, which holds {file}, is relative to its root.
    """

    kind: Literal["wheel"]
    package: str = Field(pattern=r"^[a-z0-9][a-z0-9-]+$")
    version: str = Field(pattern=r"^[0-9][0-9a-z.]*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    path: Template


Source = Annotated[MirrorSource | HttpSource | DebianSource | WheelSource, Field(discriminator="kind")]


class File(_Strict):
    """One file: `size` in bytes, and the checksums in hex that its publisher or a public project states.

    An archive (`.tar.gz`, …) is described as it is, any other file by its content after decompression.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    size: int = Field(gt=0)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    md5: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")

    @model_validator(mode="after")
    def _can_be_verified(self) -> "File":
        if self.sha256 is None and self.md5 is None:
            raise ValueError(f"file {self.name!r} has no checksum: state sha256, or md5 where none is known")
        return self

    @property
    def checksums(self) -> dict[str, str]:
        """What is known of the content: names of hashlib's algorithms with digests in hex."""
        known = {"sha256": self.sha256, "md5": self.md5}
        return {algorithm: digest for algorithm, digest in known.items() if digest is not None}

    @property
    def is_archive(self) -> bool:
        """Whether the file is an archive, which keeps its compression."""
        return self.name.endswith(ARCHIVES)


class IdxLayout(_Strict):
    """The four IDX files of MNIST and its successors."""

    kind: Literal["idx"]


class CifarLayout(_Strict):
    """The archive of pickled batches that CIFAR-10 is published as."""

    kind: Literal["cifar"]


class FolderLayout(_Strict):
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


class Statistics(_Strict):
    """Mean and standard deviation of each channel of the pixels, scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Files(_Strict):
    """Files that belong together; `sources` stand in the order they are tried."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    files: tuple[File, ...] = Field(min_length=1)
    sources: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _file_names_are_unique(self) -> Self:
        names = [file.name for file in self.files]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.name!r} lists a file twice: {sorted(names)}")
        return self


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


class SpeechModel(_Strict):
    """A published Whisper model.

    `hub` and `revision` are its repository on the public hub and a commit there; `copy_of_weights` are files with the
    same weights in CTranslate2's format, for machines that do not reach the hub.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str
    licence: str
    citation: str
    hub: str
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    copy_of_weights: Files | None


class Registry(_Strict):
    """All datasets and models; `version` counts the changes of the file's form."""

    version: Literal[1]
    datasets: tuple[Dataset, ...]
    speech_models: tuple[SpeechModel, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for kind, names in (("dataset", self.names), ("speech model", self.speech_model_names)):
            if len(set(names)) < len(names):
                raise ValueError(f"the registry lists a {kind} twice: {sorted(names)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the datasets, in the order of the file."""
        return tuple(dataset.name for dataset in self.datasets)

    @property
    def speech_model_names(self) -> tuple[str, ...]:
        """The names of the speech models, in the order of the file."""
        return tuple(model.name for model in self.speech_models)

    def speech_model(self, name: str) -> SpeechModel:
        """The speech model called `name`.

        Raises:
            ValueError: no such model; the message lists those that exist.
        """
        for model in self.speech_models:
            if model.name == name:
                return model
        raise ValueError(f"unknown speech model {name!r}: choose one of {', '.join(self.speech_model_names)}")

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
