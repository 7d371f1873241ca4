"""What a step read: each set of images, with a digest of the content that was loaded. The audit is made from these."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Read:
    """A set of images that a step loaded.

    Attributes:
        set: name of the set.
        dataset: name of the prepared dataset that the images were loaded from.
        source: published part, "train" or "test".
        images: how many.
        sha256: `digest` of their content hashes, which are of the loaded pixels and not of what a split says of them.
    """

    set: str
    dataset: str
    source: str
    images: int
    sha256: str


def digest(hashes: Iterable[str]) -> str:
    """SHA-256 (hex) of the sorted content hashes, one a line: one digest for the same images in any order."""
    return hashlib.sha256("".join(f"{content}\n" for content in sorted(hashes)).encode()).hexdigest()
