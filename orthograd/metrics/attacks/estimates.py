"""What attacks report: a share, or an area under the ROC curve, with its confidence interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from orthograd.metrics.checks import finite_vector, fraction

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value in [0, 1] and its two-sided confidence interval [low, high] at `level`."""

    value: float
    low: float
    high: float
    level: float


def share(successes: int, n: int, level: float = LEVEL) -> Estimate:
    """successes / n with the exact interval of Clopper and Pearson (1934).

    Raises:
        ValueError: n is 0, the successes are not in [0, n], or the level is no fraction.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no share: give at least one sample")
    tail = (1 - fraction("level", level)) / 2
    low = float(stats.beta.ppf(tail, successes, n - successes + 1)) if successes else 0.0
    high = float(stats.beta.isf(tail, successes + 1, n - successes)) if successes < n else 1.0
    return Estimate(successes / n, low, high, level)


def auc(members: NDArray[Any], non_members: NDArray[Any], level: float = LEVEL) -> Estimate:
    """The probability that a member's score is above a non-member's, ties counted half, with DeLong's interval (1988).

    The interval is normal, cut at 0 and 1. Where the scores are perfectly separated DeLong's variance is 0 whatever n:
    the bound is then that of `share` over the min(m, n) disjoint, hence independent, pairs that were all ordered alike.

    Args:
        members: scores (m,), m ≥ 2; larger says "member".
        non_members: scores (n,), n ≥ 2.
        level: of the interval.

    Raises:
        ValueError: fewer than two scores on a side, or one that is not finite.
    """
    x, y = finite_vector("members' scores", members), finite_vector("non-members' scores", non_members)
    if min(len(x), len(y)) < 2:
        raise ValueError(
            f"{len(x)} members and {len(y)} non-members: an interval of the AUC needs two of each at least"
        )
    # Each score's share of the other side that it is on the right side of; ties count half.
    of_members = _share_below(np.sort(y), x)
    of_non_members = 1 - _share_below(np.sort(x), y)
    value = float(of_members.mean())
    if value in (0.0, 1.0):
        pairs = min(len(x), len(y))
        return share(round(value) * pairs, pairs, level)
    variance = of_members.var(ddof=1) / len(x) + of_non_members.var(ddof=1) / len(y)
    half_width = float(stats.norm.ppf(0.5 + fraction("level", level) / 2) * np.sqrt(variance))
    return Estimate(value, max(0.0, value - half_width), min(1.0, value + half_width), level)


def tpr_at_fpr(
    members: NDArray[Any], non_members: NDArray[Any], fpr: float, level: float = LEVEL
) -> Estimate | None:
    """The share of members above the lowest threshold that at most a fraction `fpr` of the non-members is above.

    Where non-members tie at the threshold their share above it may be less than `fpr`, never more. The interval is
    that of `share`, for the threshold as it is.

    Args:
        members: scores (m,); larger says "member".
        non_members: scores (n,).
        fpr: the false-positive rate, in (0, ½].
        level: of the interval.

    Returns:
        None where there are fewer than 10 / fpr non-members: the threshold would rest on fewer than ten of them.

    Raises:
        ValueError: no score on a side, one that is not finite, or a rate outside (0, ½].
    """
    x, y = finite_vector("members' scores", members), finite_vector("non-members' scores", non_members)
    if not 0 < fpr <= 0.5:
        raise ValueError(f"fpr = {fpr}: give a false-positive rate above 0 and not above one half")
    if len(y) < 10 / fpr:
        return None
    # Scores above the value of rank n − k are at most k; the rounding error of fpr · n is no false positive less.
    allowed = int(np.floor(fpr * len(y) + 1e-9))
    threshold = np.sort(y)[len(y) - allowed - 1]
    return share(int((x > threshold).sum()), len(x), level)


def _share_below(ordered: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each value, the share of the ordered ones below it, ties counted half."""
    counts = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    result: NDArray[np.float64] = counts / (2 * len(ordered))
    return result
