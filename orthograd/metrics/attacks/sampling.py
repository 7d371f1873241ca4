"""Which samples an attack is fitted on and judged on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from orthograd.metrics.checks import Rows


def balanced(members: int, non_members: int, generator: np.random.Generator) -> tuple[Rows, Rows]:
    """Rows of as many members as non-members: all of the smaller side, a random subset of the larger one, ascending.

    Raises:
        ValueError: a side has no sample.
    """
    n = min(members, non_members)
    if n < 1:
        raise ValueError(
            f"{members} members and {non_members} non-members: an attack needs samples of both, check the split's sizes"
        )
    first, second = (np.sort(generator.permutation(size)[:n]) for size in (members, non_members))
    return first, second


def halves(labels: NDArray[Any], generator: np.random.Generator) -> tuple[Rows, Rows]:
    """Random disjoint halves of the samples, ascending, class by class: one to fit an attack on, the other to judge it.

    A class with an odd number of samples has one more in the second half.

    Args:
        labels: (n,), integers.
        generator: draws the halves.

    Raises:
        ValueError: a class has a single sample, or there is none.
    """
    first, second = [], []
    for c, count in zip(*np.unique(labels, return_counts=True), strict=True):
        if count < 2:
            raise ValueError(f"class {c} has one sample, which cannot be in both halves: enlarge the set")
        rows = generator.permutation(np.flatnonzero(labels == c))
        first.append(rows[: count // 2])
        second.append(rows[count // 2 :])
    if not first:
        raise ValueError("no samples to halve: check the split's sizes")
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))
