"""Intervals and paired differences against hand calculation and scipy."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from orthograd.reporting.data import ReportError
from orthograd.reporting.statistics import (
    Interval,
    interval,
    paired,
    per_seed,
    resolution,
    resolved_half_widths,
    summarise,
    within,
)


def test_interval_by_hand():
    # mean 2, s = 1, n = 3; t(0.975, 2) = 4.302652729911 (printed tables), half-width t / sqrt(3)
    result = interval([1.0, 2.0, 3.0])
    assert result.mean == 2.0
    assert result.n == 3
    assert result.half_width == pytest.approx(4.302652729911 / math.sqrt(3), rel=1e-10)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_interval_against_scipy(n):
    values = np.random.default_rng(n).normal(size=n)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    result = interval(values)
    assert result.mean - result.half_width == pytest.approx(low, rel=1e-12)
    assert result.mean + result.half_width == pytest.approx(high, rel=1e-12)


def test_one_seed_has_no_interval():
    result = interval([0.5])
    assert (result.mean, result.n) == (0.5, 1)
    assert math.isnan(result.half_width)
    assert not result.excludes_zero


def test_no_seed_is_an_error():
    with pytest.raises(ReportError, match="at least one seed"):
        interval([])


def test_nan_is_not_dropped():
    result = interval([1.0, math.nan, 3.0])
    assert math.isnan(result.mean)
    assert math.isnan(result.half_width)
    assert not result.excludes_zero


def test_replicates_are_averaged_within_the_seed_first():
    rows = pd.DataFrame({"seed": [1, 0, 0, 1, 1], "x": [3.0, 0.0, 2.0, 6.0, 9.0]})
    assert per_seed(rows, "x").to_dict() == {0: 1.0, 1: 6.0}
    # Two seeds, 1 and 6: pooling the five rows would give mean 4 and n = 5.
    result = summarise(rows, "x")
    assert (result.mean, result.n) == (3.5, 2)
    assert math.isnan(summarise(rows.assign(x=[math.nan, 0.0, 2.0, 6.0, 9.0]), "x").mean)


def test_paired_differences_against_scipy():
    rng = np.random.default_rng(3)
    seeds = [4, 2, 9, 7]
    shared = rng.normal(size=4)
    ours = pd.Series(shared + 0.1 * rng.normal(size=4), index=seeds)
    theirs = pd.Series(shared - 1 + 0.1 * rng.normal(size=4), index=seeds)
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    result = paired(ours, theirs.sort_index())  # the order of the seeds does not matter
    assert result.mean - result.half_width == pytest.approx(expected.low, rel=1e-10)
    assert result.mean + result.half_width == pytest.approx(expected.high, rel=1e-10)
    assert result.excludes_zero == (stats.ttest_rel(ours, theirs).pvalue < 0.05)


def test_paired_needs_the_same_seeds():
    with pytest.raises(ReportError, match=r"\[0, 1\] and \[0, 2\]"):
        paired(pd.Series([1.0, 2.0], index=[0, 1]), pd.Series([1.0, 2.0], index=[0, 2]))


@pytest.mark.parametrize(
    ("mean", "half_width", "excludes"), [(1.0, 0.9, True), (-1.0, 0.9, True), (1.0, 1.0, False)]
)
def test_excludes_zero(mean, half_width, excludes):
    assert Interval(mean, half_width, 5).excludes_zero is excludes


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_what_the_seeds_resolve_is_one_multiple_of_every_half_width(n):
    for seed, scale in ((0, 1.0), (1, 0.003)):
        differences = pd.Series(np.random.default_rng(seed).normal(0.1, scale, n))
        shown = resolved_half_widths(n) * interval(differences).half_width
        assert shown == pytest.approx(resolution(differences), rel=1e-9)


@pytest.mark.parametrize("n", [5, 12])
def test_within_a_margin_against_one_sided_tests_of_scipy(n):
    seen = set()
    for shift in np.linspace(-3, 3, 25):
        x = np.random.default_rng(n).normal(shift, 0.6, n)

        def p(end, side, x=x):
            return stats.ttest_1samp(x, end, alternative=side).pvalue

        expected = "undecided"
        if max(p(-1, "greater"), p(1, "less")) < 0.05:
            expected = "equivalent"
        elif min(p(1, "greater"), p(-1, "less")) < 0.05:
            expected = "different"
        assert within(pd.Series(x), 1.0) == expected
        seen.add(expected)
    assert seen == {"equivalent", "different", "undecided"}


def test_without_enough_seeds_or_a_margin_nothing_is_tested():
    assert within(pd.Series(np.zeros(5)), 0.1) == "equivalent"
    assert within(pd.Series(np.zeros(4)), 0.1) is None
    assert within(pd.Series([0.0, 0.0, 0.0, 0.0, math.nan]), 0.1) is None
    assert within(pd.Series(np.zeros(5)), 0.0) is None
    assert within(pd.Series(np.zeros(5)), math.nan) is None
