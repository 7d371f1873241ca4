"""Independent random streams: one for each (seed, purpose), the same on every machine."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose of a run; different purposes are independent of each other.

    Args:
        seed: the seed of the config.
        purpose: what it is for, for example ("retrained", 2).
    """
    key = [seed, zlib.crc32("/".join(str(part) for part in purpose).encode())]
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A torch generator on the CPU for one purpose of a run: the order of samples does not depend on the device."""
    import torch

    return torch.Generator().manual_seed(stream(seed, *purpose))
