"""What a number of seeds can tell: the smallest difference they resolve, and whether two methods are equivalent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from scipy import optimize, stats

from orthograd.metrics.checks import finite_vector

SIGNIFICANCE = 0.05
POWER = 0.8
MIN_SEEDS_FOR_EQUIVALENCE = 5


def smallest_gap(sd: float, n: int) -> float:
    """The true mean difference that a paired t-test over n seeds finds with power 0.8, two-sided at 5%.

    The δ ≥ 0 at which |T| exceeds its critical value with probability 0.8, T being non-central t with n − 1 degrees of
    freedom and non-centrality δ √n / sd. A smaller difference between two methods is below what the seeds resolve.

    Args:
        sd: standard deviation of the differences per seed, divisor n − 1, in their unit.
        n: seeds.

    Returns:
        δ, in the unit of `sd`; 0 where the differences do not vary.

    Raises:
        ValueError: fewer than two seeds, or an sd that is negative or not finite.
    """
    if n < 2:
        raise ValueError(f"{n} seed(s) have no spread: run two at least")
    if not 0 <= sd < math.inf:
        raise ValueError(f"sd = {sd} is no standard deviation: leave diverged runs out")
    critical = float(stats.t.isf(SIGNIFICANCE / 2, n - 1))

    def lack_of_power(noncentrality: float) -> float:
        # T² is non-central F; scipy's non-central t is NaN in parts of its lower tail.
        return float(stats.ncf.sf(critical**2, 1, n - 1, noncentrality**2)) - POWER

    # At 0 the power is 5%; at 5 critical values it is above 80% for any n ≥ 2.
    noncentrality = optimize.brentq(lack_of_power, 0, 5 * critical)
    return float(noncentrality) * sd / math.sqrt(n)


@dataclass(frozen=True)
class Equivalence:
    """The outcome of two one-sided t-tests.

    Attributes:
        mean: of the differences, in their unit.
        low, high: the 90% t-interval, which lies within ±margin just when `equivalent`.
        margin: in the same unit.
        p: the larger of the two one-sided p-values.
        equivalent: whether p < 5%.
        n: seeds.
    """

    mean: float
    low: float
    high: float
    margin: float
    p: float
    equivalent: bool
    n: int


def equivalence(differences: NDArray[Any], margin: float) -> Equivalence:
    """Whether the mean difference is within ±margin: TOST, two one-sided t-tests at 5% (Schuirmann 1987).

    Args:
        differences: one a seed, (n,), n ≥ 5.
        margin: the largest difference that does not matter, > 0, in their unit; fixed before the data are seen.

    Raises:
        ValueError: fewer than five seeds, differences that are not finite, or a margin that is not positive.
    """
    x = finite_vector("differences", differences)
    n = len(x)
    if n < MIN_SEEDS_FOR_EQUIVALENCE:
        raise ValueError(
            f"an equivalence test over {n} seeds is not made here: run {MIN_SEEDS_FOR_EQUIVALENCE} at least, or show "
            "the differences without a claim"
        )
    if not 0 < margin < math.inf:
        raise ValueError(f"margin = {margin}: give the largest difference that does not matter, above 0")
    mean, error = float(x.mean()), float(x.std(ddof=1)) / math.sqrt(n)
    room = margin - abs(mean)
    # Without any spread the limit of the test: certain where there is room, else impossible.
    p = float(stats.t.sf(room / error, n - 1)) if error > 0 else float(room <= 0)
    half_width = float(stats.t.isf(SIGNIFICANCE, n - 1)) * error
    return Equivalence(mean, mean - half_width, mean + half_width, margin, p, p < SIGNIFICANCE, n)
