"""Batches as nested tuples, lists and dicts of tensors that share their leading dimension."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

Batch = Any  # a tensor, or a tuple, list or dict of batches


def leaves(batch: Batch) -> list[Tensor]:
    """All tensors of a batch, in a fixed order.

    Raises:
        TypeError: If something else than tensors, tuples, lists and dicts is inside.
    """
    if isinstance(batch, Tensor):
        return [batch]
    if isinstance(batch, (tuple, list)):
        return [leaf for part in batch for leaf in leaves(part)]
    if isinstance(batch, dict):
        return [leaf for part in batch.values() for leaf in leaves(part)]
    raise TypeError(
        f"A batch is a tensor, or a tuple, list or dict of tensors, but it holds a {type(batch).__name__}: "
        "close over constants in loss_fn and turn per-sample values into tensors."
    )


def tree_map(function: Callable[[Tensor], Tensor], batch: Batch) -> Batch:
    """The same structure with `function` applied to every tensor (a list becomes a list, a tuple a tuple)."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, dict):
        return {key: tree_map(function, part) for key, part in batch.items()}
    return type(batch)([tree_map(function, part) for part in batch])


def batch_size(batch: Batch, name: str) -> int:
    """Leading dimension that all tensors of the batch share.

    Raises:
        ValueError: If the batch is empty, holds a scalar, or its tensors disagree.
    """
    tensors = leaves(batch)
    if not tensors or any(leaf.dim() == 0 for leaf in tensors):
        raise ValueError(
            f"{name} needs tensors with one entry per sample in the leading dimension: "
            "pass a tensor, or a tuple or dict of tensors, of shape (n, ...)."
        )
    sizes = {len(leaf) for leaf in tensors}
    if len(sizes) > 1:
        raise ValueError(
            f"The tensors of {name} have different leading dimensions {sorted(sizes)}: "
            "each of them must hold the same samples in the same order."
        )
    size = sizes.pop()
    if size == 0:
        raise ValueError(
            f"{name} holds no sample: leave the step out when there is nothing to unlearn or to keep."
        )
    return size


def take(batch: Batch, start: int, stop: int) -> Batch:
    """Samples start..stop of a batch, as views."""
    return tree_map(lambda leaf: leaf[start:stop], batch)
