"""Images and labels in memory, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from orthograd.reads import Read


@dataclass(frozen=True)
class PixelScale:
    """How images were standardised: (x − mean) / std per channel, from x in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Samples:
    """Images float32 (n, C, H, W) and labels int64 (n,), on the model's device.

    `read` says what was loaded, where the images come from a prepared dataset as they are.
    """

    images: torch.Tensor
    labels: torch.Tensor
    read: Read | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Endless batches of exactly `size` samples, in a new order each pass; the last partial batch is left out.

        A per-sample method's batch size is a hyper-parameter (the number of constraints), so it never varies.

        Raises:
            ValueError: there are fewer than `size` samples.
        """
        import torch

        if size > len(self):
            raise ValueError(
                f"a batch of {size} from {len(self)} samples: lower the batch size in the config"
            )
        while True:
            order = torch.randperm(len(self), generator=generator).to(self.labels.device)
            for rows in order.split(size):
                if len(rows) == size:
                    yield self.images[rows], self.labels[rows]
