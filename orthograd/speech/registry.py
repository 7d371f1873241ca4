"""The versioned registry of speech: published corpora and models. Importing it does not import torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, model_validator

from orthograd.data.sources import Entry, File, Files, MirrorSource, Source

REGISTRY = Path(__file__).with_name("registry.yaml")

PublishedName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]


class Subset(Entry):
    """A folder of a corpus, which lies in an archive of its own or can be verified by its content."""

    name: PublishedName
    utterances: int = Field(gt=0)
    archive: File | None = None
    content: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _can_be_verified(self) -> Self:
        if self.archive is None and self.content is None:
            raise ValueError(
                f"subset {self.name!r} has neither an archive nor the digest of its content: state one"
            )
        return self


class Corpus(Entry):
    """A published corpus of read speech.

    `title` is what reports call it; `layout` is that of what its home publishes, `folder` the name of the folder that
    the archives hold. Without archives the user brings it, and `instructions` say where it is to be had.
    """

    name: PublishedName
    title: str
    licence: str
    citation: str
    homepage: str
    layout: Literal["librispeech", "speechocean762"]
    folder: str
    subsets: tuple[Subset, ...] = Field(min_length=1)
    sources: tuple[Source, ...] = Field(min_length=1)
    instructions: str | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        if len(set(self.subset_names)) < len(self.subsets):
            raise ValueError(f"{self.name!r} lists a subset twice: {sorted(self.subset_names)}")
        return self

    @model_validator(mode="after")
    def _is_downloaded_or_brought(self) -> Self:
        mirror_only = all(isinstance(source, MirrorSource) for source in self.sources)
        without = [subset.name for subset in self.subsets if subset.archive is None]
        if without and not (mirror_only and self.instructions):
            raise ValueError(
                f"{self.name!r} lists no archive of {', '.join(without)}, so it is brought by the user: it needs "
                "instructions, and the mirror as its only source"
            )
        return self

    @property
    def subset_names(self) -> tuple[str, ...]:
        """The names of the subsets, in the order of the file."""
        return tuple(subset.name for subset in self.subsets)

    def subset(self, name: str) -> Subset:
        """The subset called `name`.

        Raises:
            ValueError: no such subset; the message lists those that exist.
        """
        for subset in self.subsets:
            if subset.name == name:
                return subset
        raise ValueError(f"{self.name} has no subset {name!r}: choose one of {', '.join(self.subset_names)}")


class SpeechModel(Entry):
    """A published Whisper model.

    `hub` and `revision` are its repository on the public hub and a commit there; `files` are those of the commit, where
    their checksums are known; `copy_of_weights` are files with the same weights in CTranslate2's format, for machines
    that do not reach the hub.
    """

    name: PublishedName
    title: str
    licence: str
    citation: str
    hub: str
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    files: Files | None = None
    copy_of_weights: Files | None = None


class Registry(Entry):
    """All corpora and models; `version` counts the changes of the file's form."""

    version: Literal[1]
    corpora: tuple[Corpus, ...]
    models: tuple[SpeechModel, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for kind, names in (("corpus", self.corpus_names), ("model", self.model_names)):
            if len(set(names)) < len(names):
                raise ValueError(f"the registry lists a {kind} twice: {sorted(names)}")
        return self

    @property
    def corpus_names(self) -> tuple[str, ...]:
        """The names of the corpora, in the order of the file."""
        return tuple(corpus.name for corpus in self.corpora)

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names of the models, in the order of the file."""
        return tuple(model.name for model in self.models)

    def corpus(self, name: str) -> Corpus:
        """The corpus called `name`.

        Raises:
            ValueError: no such corpus; the message lists those that exist.
        """
        for corpus in self.corpora:
            if corpus.name == name:
                return corpus
        raise ValueError(f"unknown speech corpus {name!r}: choose one of {', '.join(self.corpus_names)}")

    def model(self, name: str) -> SpeechModel:
        """The model called `name`.

        Raises:
            ValueError: no such model; the message lists those that exist.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise ValueError(f"unknown speech model {name!r}: choose one of {', '.join(self.model_names)}")


def read_registry(path: Path) -> Registry:
    """Read and validate a registry file.

    Raises:
        pydantic.ValidationError: a key is unknown or missing, or a value is out of its range.
    """
    return Registry.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@cache
def speech_registry() -> Registry:
    """The registry that comes with the package."""
    return read_registry(REGISTRY)
