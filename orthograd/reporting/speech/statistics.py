"""Means and rates over speakers, with intervals of a bootstrap that draws whole speakers.

A forgotten speaker, with the runs that forget it, is the unit of replication: utterances of one voice are alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from orthograd.reporting.data import ReportError
from orthograd.reporting.statistics import LEVEL, MIN_SEEDS_FOR_CLAIMS
from orthograd.reporting.text import ABSENT, number

RESAMPLES = 9999
SEED = 0
BOOTSTRAP = (
    f"Brackets: {LEVEL:.0%} percentile interval of a bootstrap over forgotten speakers ({RESAMPLES:,} resamples of "
    f"whole speakers with their runs, seed {SEED}); the other voices are held fixed, so that it does not say how "
    "different ones would have fared"
)


@dataclass(frozen=True)
class Spread:
    """A quantity over speakers.

    Attributes:
        value: mean over speakers, or the rate of all speakers' words together; NaN where a speaker has none.
        deviation: standard deviation over speakers, divisor n − 1; NaN for n = 1.
        low: lower end of the bootstrap interval of the value; NaN for n = 1.
        high: upper end.
        n: speakers.
    """

    value: float
    deviation: float
    low: float
    high: float
    n: int


def over_speakers(values: ArrayLike) -> Spread:
    """The mean of one value a speaker; a NaN among them is not dropped, it makes all of it NaN.

    Raises:
        ReportError: there is no value.
    """
    x = np.asarray(values, dtype=np.float64)
    return _spread(x, x, np.ones_like(x))


def pooled(errors: ArrayLike, words: ArrayLike) -> Spread:
    """The rate of all speakers together: summed errors over summed words.

    Args:
        errors: of each speaker, (n,).
        words: that each speaker said, (n,), above 0.

    Raises:
        ReportError: there is no speaker.
    """
    x, y = np.asarray(errors, dtype=np.float64), np.asarray(words, dtype=np.float64)
    return _spread(x / y, x, y)


def _spread(values: NDArray[np.float64], top: NDArray[np.float64], bottom: NDArray[np.float64]) -> Spread:
    n = len(values)
    if n == 0:
        raise ReportError("a mean needs at least one speaker; compute the runs with `snakemake`")
    value = float(top.sum() / bottom.sum())
    if n < 2 or math.isnan(value):
        return Spread(value, math.nan, math.nan, math.nan, n)

    def ratio(top: NDArray[np.float64], bottom: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        found: NDArray[np.float64] = top.sum(axis=axis) / bottom.sum(axis=axis)
        return found

    found = stats.bootstrap(
        (top, bottom),
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        random_state=np.random.default_rng(SEED),
    ).confidence_interval
    return Spread(value, float(values.std(ddof=1)), float(found.low), float(found.high), n)


def spread_text(found: Spread, scale: float, decimals: int) -> str:
    """'mean ± standard deviation [low, high]', as far as there are any; '–' for NaN."""
    if math.isnan(found.value):
        return ABSENT
    text = number(scale * found.value, decimals)
    if not math.isnan(found.deviation):
        spread = f" ± {number(scale * found.deviation, decimals)} {interval_text(found, scale, decimals)}"
        text += spread.rstrip()
    return text


def interval_text(found: Spread, scale: float, decimals: int) -> str:
    """'[low, high]', empty where there is none, and where it is a point.

    The latter is no certainty: what an original model makes of the other speakers is the same whoever is forgotten.
    """
    if math.isnan(found.low) or found.low == found.high:
        return ""
    return f"[{number(scale * found.low, decimals)}, {number(scale * found.high, decimals)}]"


def speakers_text(n: int) -> str:
    """'n = 1 speaker', 'n = 3 speakers'."""
    return f"n = {n} speaker{'' if n == 1 else 's'}"


def significance_text(n: int) -> str:
    """What so many speakers allow to be said about differences."""
    if n < MIN_SEEDS_FOR_CLAIMS:
        extremes = ", of three the smallest and the largest value" if n == 3 else ""
        return f"{speakers_text(n)}: no significance is claimed, and intervals of so few are too narrow{extremes}"
    return f"{speakers_text(n)}; intervals are not corrected for multiple comparisons"


def spread_note(n: int) -> str:
    """What stands behind ± and in the brackets of a table."""
    if n == 1:
        return "One forgotten speaker (n = 1): no spread is shown."
    return (
        "Mean ± standard deviation over forgotten speakers (the seeds of a speaker count as one: the words of all "
        "together; at equal forgetting and for membership the mean). "
        f"{BOOTSTRAP}; none where all have the same value. {significance_text(n)}."
    )
