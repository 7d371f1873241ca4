"""The versioned registry of datasets and models: what they are, how files are verified, where they come from."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

REGISTRY = Path(__file__).with_name("registry.yaml")


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
    """One file, described by its content after decompression: `size` in bytes, `sha256` in hex."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    size: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


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
    """

    version: str
    title: str
    licence: str
    citation: str
    homepage: str
    classes: tuple[str, ...] = Field(min_length=2)
    train_size: int = Field(gt=0)
    test_size: int = Field(gt=0)


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
