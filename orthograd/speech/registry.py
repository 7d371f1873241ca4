"""The registry of speech: published corpora, and the files of models whose content is known.

Beside `orthograd.data.registry`, whose forms of files and sources it shares. Importing this module does not import
torch: a config is checked fast.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, model_validator

from orthograd.data.registry import File, Files, MirrorSource, Source
from orthograd.specs import Positive, Strict

REGISTRY = Path(__file__).with_name("registry.yaml")

PublishedName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]


class Subset(Strict):
    """A folder of a corpus, which lies in an archive of its own or can be verified by its content."""

    name: PublishedName
    utterances: Positive
    archive: File | None = None
    content: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _can_be_verified(self) -> Self:
        if self.archive is None and self.content is None:
            raise ValueError(
                f"subset {self.name!r} has neither an archive nor the digest of its content: state one"
            )
        return self


class Corpus(Strict):
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
    subsets: list[Subset] = Field(min_length=1)
    sources: list[Source] = Field(min_length=1)
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
    def subset_names(self) -> list[str]:
        """The names of the subsets, in the order of the file."""
        return [subset.name for subset in self.subsets]

    def subset(self, name: str) -> Subset:
        """The subset called `name`.

        Raises:
            ValueError: no such subset; the message lists those that exist.
        """
        for subset in self.subsets:
            if subset.name == name:
                return subset
        raise ValueError(f"{self.name} has no subset {name!r}: choose one of {', '.join(self.subset_names)}")


class Registry(Strict):
    """All corpora, and models whose files are known; `version` counts the changes of the file's form."""

    version: Literal[1]
    corpora: list[Corpus]
    models: list[Files]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for kind, names in (("corpus", self.names), ("model", [model.name for model in self.models])):
            if len(set(names)) < len(names):
                raise ValueError(f"the registry lists a {kind} twice: {sorted(names)}")
        return self

    @property
    def names(self) -> list[str]:
        """The names of the corpora, in the order of the file."""
        return [corpus.name for corpus in self.corpora]

    def corpus(self, name: str) -> Corpus:
        """The corpus called `name`.

        Raises:
            ValueError: no such corpus; the message lists those that exist.
        """
        for corpus in self.corpora:
            if corpus.name == name:
                return corpus
        raise ValueError(f"unknown speech corpus {name!r}: choose one of {', '.join(self.names)}")

    def model_files(self, name: str) -> Files | None:
        """The files of a speech model of `orthograd.data.registry`, where they are known."""
        return next((model for model in self.models if model.name == name), None)


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
