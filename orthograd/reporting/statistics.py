"""Means with t-intervals over seeds, and paired differences between methods.

A seed is the unit of replication: split + original model + unlearning run. Retrained references that share
a seed are not independent of each other, so they are averaged within it first.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from orthograd.metrics.resolution import MIN_SEEDS_FOR_EQUIVALENCE, equivalence, smallest_gap
from orthograd.reporting.data import ExperimentData, ReportError, rows_of
from orthograd.reporting.experiment import RETRAINED

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


def noise_floor(data: ExperimentData, model: str, column: str) -> float:
    """Mean of a distance to the retrained models over these models themselves, each judged by the others of its seed.

    In the unit of the column; NaN where a seed has no second one.
    """
    return summarise(rows_of(data.runs, model, RETRAINED), column).mean


def resolution(differences: pd.Series) -> float:
    """The smallest true difference that this many seeds find, in the differences' unit; NaN for a single seed.

    With power 0.8, two-sided at 5%, if the differences vary between seeds as they did here (`smallest_gap`).
    """
    if len(differences) < 2 or differences.isna().any():
        return math.nan
    return smallest_gap(float(differences.std(ddof=1)), len(differences))


def resolved_half_widths(n: int) -> float:
    """The smallest difference that n ≥ 2 seeds find, in half-widths of the 95% t-interval of the differences.

    Both are a multiple of s / √n, so that the ratio depends on n alone: `smallest_gap` / `Interval.half_width`.
    """
    return smallest_gap(1.0, n) * math.sqrt(n) / float(stats.t.ppf(0.5 + LEVEL / 2, n - 1))


Verdict = Literal["equivalent", "different", "undecided"]


def within(differences: pd.Series, margin: float) -> Verdict | None:
    """Whether the mean of one difference a seed lies within ±margin, by two one-sided t-tests at 5% (`equivalence`).

    Returns:
        "equivalent" where the 90% t-interval lies within ±margin, "different" where it lies beyond, "undecided" where
        an end of the margin lies in it; None where nothing is tested: fewer than `MIN_SEEDS_FOR_EQUIVALENCE` seeds, a
        difference that is not defined, or a margin that is NaN or 0.
    """
    if len(differences) < MIN_SEEDS_FOR_EQUIVALENCE or differences.isna().any() or not margin > 0:
        return None
    found = equivalence(differences.to_numpy(), margin)
    if found.equivalent:
        return "equivalent"
    return "different" if found.low > margin or found.high < -margin else "undecided"


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
