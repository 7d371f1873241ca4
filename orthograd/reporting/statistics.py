"""Means with t-intervals over seeds, and paired differences between methods.

A seed is the unit of replication: split + original model + unlearning run. Retrained references that share
a seed are not independent of each other, so they are averaged within it first.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from orthograd.metrics.resolution import smallest_gap
from orthograd.reporting.data import ReportError

LEVEL = 0.95
MIN_SEEDS_FOR_CLAIMS = 5
"""With fewer seeds nothing is set in bold and no difference is called significant."""


@dataclass(frozen=True)
class Interval:
    """Mean ± half-width of the 95% t-interval over n seeds, in the unit of the values.

    ``half_width`` is NaN for n = 1. ``mean`` is NaN when the metric is not defined for every seed.
    """

    mean: float
    half_width: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval; False when there is no interval."""
        return abs(self.mean) > self.half_width


def interval(values: Iterable[float]) -> Interval:
    """Mean and t-interval of one value a seed: half-width = t(0.975, n−1) · s / √n, s with divisor n−1.

    A NaN among the values is not dropped: mean and half-width become NaN.

    Raises:
        ReportError: there is no value.
    """
    x = np.asarray(list(values), dtype=np.float64)
    n = len(x)
    if n == 0:
        raise ReportError("a mean needs at least one seed; compute the runs with `snakemake`")
    mean = float(x.mean())
    if n < 2:
        return Interval(mean, math.nan, n)
    quantile = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1))
    return Interval(mean, quantile * float(x.std(ddof=1)) / math.sqrt(n), n)


def per_seed(rows: pd.DataFrame, metric: str) -> pd.Series:
    """One value a seed (index: seed, ascending): the mean over its replicates, NaN if one of them is NaN."""
    return rows.groupby("seed")[metric].agg(lambda values: values.mean(skipna=False))


def summarise(rows: pd.DataFrame, metric: str) -> Interval:
    """`interval` over seeds of one metric of one model and method, replicates averaged within a seed."""
    return interval(per_seed(rows, metric))


def resolution(differences: pd.Series) -> float:
    """The smallest true difference that this many seeds find, in the differences' unit; NaN for a single seed.

    With power 0.8, two-sided at 5%, if the differences vary between seeds as they did here (`smallest_gap`).
    """
    if len(differences) < 2 or differences.isna().any():
        return math.nan
    return smallest_gap(float(differences.std(ddof=1)), len(differences))


def paired(ours: pd.Series, theirs: pd.Series) -> Interval:
    """`interval` of the differences ours − theirs per seed; both are indexed by seed.

    Raises:
        ReportError: the two do not have the same seeds.
    """
    if set(ours.index) != set(theirs.index):
        raise ReportError(
            f"paired differences need the same seeds on both sides, got {sorted(ours.index)} and "
            f"{sorted(theirs.index)}; compute the missing runs"
        )
    return interval(ours - theirs)
