"""Forms of OrthoGrad beside the best baseline: leads by hand, and what turns the comparison."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from report_study import make_experiment, make_frames

from orthograd.reporting.captions import choices
from orthograd.reporting.choices import at_other_target, forms, leads, target_leads, turned
from orthograd.reporting.data import ReportData

BASELINES = ("ft", "neggrad", "neggrad_plus")


def _study(**at_target):
    """Three seeds; `test_at_target` of the named methods as given, and a second form of OrthoGrad."""
    runs, costs, trajectories, controls = make_frames()
    frames = []
    for frame in (runs, costs, trajectories):
        other = frame[frame["method"] == "orthograd"].assign(method="orthograd_mean")
        frames.append(pd.concat([frame, other], ignore_index=True))
    runs = frames[0]
    for method, values in at_target.items():
        for seed, value in enumerate(values):
            runs.loc[(runs["method"] == method) & (runs["seed"] == seed), "test_at_target"] = value
    experiment = make_experiment(methods=["ft", "orthograd_mean", "orthograd", "neggrad", "neggrad_plus"])
    return ReportData.of_frames(*frames, controls).select(experiment)


def test_leads_over_the_best_baseline_of_each_seed():
    data = _study(
        orthograd=(0.8, 0.8, 0.8),
        orthograd_mean=(0.7, 0.6, 0.8),
        ft=(0.75, 0.7, 0.6),
        neggrad=(0.5, 0.85, 0.7),
        neggrad_plus=(np.nan, 0.9, 0.9),  # not in every seed: cannot be compared
    )
    assert forms(data) == ["orthograd", "orthograd_mean"]
    found = leads(data, "small_resnet", "test_at_target")
    assert [lead.method for lead in found] == ["orthograd", "orthograd_mean"]
    np.testing.assert_allclose(found[0].values, [5, -5, 10], atol=1e-9)
    np.testing.assert_allclose(found[1].values, [-5, -25, 10], atol=1e-9)
    # Means of 3.3 and -6.7.
    assert turned(found) == ["OrthoGrad, mean"]
    assert (
        "At equal forgetting the sign of the mean is another one for OrthoGrad, mean." in choices(data).notes
    )
    assert "At equal forgetting the best one is among FT and NegGrad." in choices(data).notes


def test_by_gap_less_is_better_and_the_target_has_to_be_reached():
    data = _study()
    runs = data.runs
    gaps = runs.pivot_table(index="seed", columns="method", values="gap")
    reached = runs.groupby("method")["target_reached"].all()
    best = gaps[[method for method in BASELINES if reached[method]]].min(axis=1)
    (lead, _) = leads(data, "small_resnet", "gap")
    np.testing.assert_allclose(lead.values, 100 * (best - gaps["orthograd"]), atol=1e-9)


def test_without_a_comparable_baseline_or_without_orthograd_nothing_is_said_to_turn():
    none = dict.fromkeys(BASELINES, (np.nan,) * 3)
    data = _study(**none)
    assert leads(data, "small_resnet", "test_at_target") == []
    assert "At equal forgetting no baseline can be compared." in choices(data).notes
    none = dict.fromkeys(("orthograd", "orthograd_mean"), (np.nan,) * 3)
    data = _study(**none, ft=(0.6, 0.6, 0.6))
    assert leads(data, "small_resnet", "test_at_target") == []
    assert "At equal forgetting no form of OrthoGrad can be compared." in choices(data).notes
    data = _study(orthograd=(np.nan,) * 3, orthograd_mean=(0.7, 0.6, 0.8), ft=(0.6, 0.6, 0.6))
    found = leads(data, "small_resnet", "test_at_target")
    assert [lead.method for lead in found] == ["orthograd_mean"]
    assert turned(found) == []
    assert "At equal forgetting OrthoGrad itself cannot be compared." in choices(data).notes


@pytest.mark.parametrize("column", ["test_at_target", "gap"])
def test_the_order_of_the_methods_does_not_matter(column):
    data = _study()
    assert forms(data)[0] == "orthograd"
    assert leads(data, "small_resnet", column)[0].method == "orthograd"


def _ways(data, method, forget, test):
    """The study with a trajectory of a method in every seed."""
    own = data.trajectories["method"] == method
    rows = [
        data.trajectories[own & (data.trajectories["seed"] == seed)]
        .head(1)
        .assign(step=step, accuracy_forget=f, accuracy_test=t)
        for seed in data.seeds
        for step, (f, t) in enumerate(zip(forget, test, strict=True))
    ]
    return replace(data, trajectories=pd.concat([data.trajectories[~own], *rows], ignore_index=True))


def test_another_target_is_read_off_the_trajectories_at_the_recorded_checks():
    data = _study()
    runs = data.runs.assign(target=0.8)
    data = _ways(
        replace(data, runs=runs), "orthograd", [1, 0.95, 0.9, 0.8, 0.7], [0.9, np.nan, 0.88, 0.86, 0.8]
    )
    # 0.85 lies half way from 0.9 to 0.8; 0.75 half way from 0.8 to 0.7.
    for shift, expected in ((0.05, 0.87), (-0.05, 0.83)):
        found = at_other_target(data, "small_resnet", "orthograd", shift)
        assert found.tolist() == pytest.approx([expected] * 3, abs=1e-12)
    # Between the original model and the first recorded check there is no model of the method; nor beyond the last one.
    assert at_other_target(data, "small_resnet", "orthograd", 0.15).isna().all()
    assert at_other_target(data, "small_resnet", "orthograd", -0.15).isna().all()


def test_outputs_that_are_no_longer_finite_are_no_way_to_another_target():
    data = _study()
    runs = data.runs.assign(target=0.8)
    # Behind its target a run blows up, all predictions count as wrong; it is not said to have diverged.
    data = _ways(replace(data, runs=runs), "orthograd", [1, 0.9, 0.79, 0.0], [0.9, 0.88, 0.86, 0.0])
    assert not data.runs["diverged"].any()
    assert at_other_target(data, "small_resnet", "orthograd", -0.05).isna().all()
    assert at_other_target(data, "small_resnet", "orthograd", 0.05).notna().all()


def test_the_lead_at_another_target_is_over_the_best_baseline_there():
    data = _study(ft=(0.8, 0.8, 0.8))
    data = replace(data, runs=data.runs.assign(target=0.8))
    forget = [1, 0.9, 0.8, 0.7]
    data = _ways(data, "orthograd", forget, [0.9, 0.88, 0.86, 0.8])
    data = _ways(data, "ft", forget, [0.9, 0.89, 0.87, 0.78])
    data = _ways(data, "neggrad", forget[:3], [0.9, 0.9, 0.9])  # ends at the target
    data = _ways(data, "neggrad_plus", forget[:1], [0.9])
    below, above = target_leads(data, "small_resnet")
    assert (below.label, above.label) == ("OrthoGrad, target − 5 points", "OrthoGrad, target + 5 points")
    np.testing.assert_allclose(below.values, [0.5] * 3, atol=1e-9)  # 0.83 beside 0.825
    np.testing.assert_allclose(above.values, [-3.0] * 3, atol=1e-9)  # 0.87 beside 0.9


def test_another_target_is_compared_over_the_baselines_that_both_targets_have():
    data = _study(
        orthograd=(0.86, 0.86, 0.86),
        orthograd_mean=(0.5, 0.5, 0.5),
        ft=(0.85, 0.85, 0.85),
        neggrad=(np.nan, 0.9, 0.9),  # not at the target
        neggrad_plus=(0.91, 0.91, 0.91),  # not at the others
    )
    data = replace(data, runs=data.runs.assign(target=0.8))
    forget = [1, 0.9, 0.8, 0.7]
    data = _ways(data, "orthograd", forget, [0.9, 0.88, 0.86, 0.8])
    data = _ways(data, "ft", forget, [0.9, 0.89, 0.87, 0.78])
    data = _ways(data, "neggrad", forget, [0.9, 0.95, 0.95, 0.95])
    data = _ways(data, "neggrad_plus", forget[:1], [0.9])
    below, above = target_leads(data, "small_resnet")
    assert below.baselines == above.baselines == ("ft",)
    np.testing.assert_allclose(below.values, [0.5] * 3, atol=1e-9)  # 0.83 beside 0.825
    np.testing.assert_allclose(above.values, [-1.0] * 3, atol=1e-9)  # 0.87 beside 0.88
    np.testing.assert_allclose(above.at_target, [1.0] * 3, atol=1e-9)  # 0.86 beside 0.85
    found = [*leads(data, "small_resnet", "test_at_target"), below, above]
    # At the target NegGrad+ is ahead by 5 points, but that is no matter of the target.
    np.testing.assert_allclose(found[0].values, [-5.0] * 3, atol=1e-9)
    assert turned(found) == ["OrthoGrad, target + 5 points"]
    assert "OrthoGrad, target + 5 points, is beside the best of FT." in choices(data).notes
