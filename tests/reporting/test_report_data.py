"""Reading and selecting: what is refused, and with which advice."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from report_study import make_experiment, make_frames

from orthograd.reporting.data import ReportData, ReportError


def test_csv_round_trip_keeps_the_runs(frames, report_data, tmp_path):
    paths = [tmp_path / name for name in ("runs.csv", "costs.csv", "trajectories.csv", "controls.csv")]
    for frame, path in zip(frames, paths, strict=True):
        frame.to_csv(path, index=False)
    read = ReportData.read(*paths)
    pd.testing.assert_frame_equal(read.runs, report_data.runs)
    pd.testing.assert_frame_equal(read.costs, report_data.costs)
    pd.testing.assert_frame_equal(read.trajectories, report_data.trajectories)
    assert read.methods == ("ft", "neggrad", "neggrad_plus", "orthograd")


@pytest.mark.parametrize("kind", ["random", "class"])
def test_selection_is_the_grid(report_data, kind):
    data = report_data.select(make_experiment(kind))
    assert data.kind == kind
    assert data.seeds == (0, 1, 2)
    assert data.replicates == (2, 2)
    assert len(data.runs) == 3 * (1 + 2 + 4)
    assert set(data.runs["scenario_kind"]) == {kind}
    np.testing.assert_array_equal(data.runs["gap_test"], np.abs(data.runs["diff_test"]))


def test_another_retain_size_is_left_out(frames):
    runs, costs, trajectories, controls = frames
    more = [pd.concat([f, f[f["method"] == "orthograd"].assign(retain_size=50)]) for f in frames[:3]]
    data = ReportData.of_frames(*more, controls).select(make_experiment())
    expected = ReportData.of_frames(runs, costs, trajectories, controls).select(make_experiment())
    pd.testing.assert_frame_equal(data.runs, expected.runs)


@pytest.mark.parametrize("method", ["retrained", "original", "orthograd", "ft"])
def test_a_missing_run_is_an_error_with_advice(frames, method):
    runs, costs, trajectories, controls = frames
    gone = (runs["method"] == method) & (runs["seed"] == 1)
    data = ReportData.of_frames(runs[~gone], costs, trajectories, controls)
    with pytest.raises(ReportError, match=rf"method={method}.*seeds=\[1\]") as error:
        data.select(make_experiment())
    assert ("train at least one retrained reference" in str(error.value)) == (method == "retrained")
    assert "snakemake" in str(error.value)


def test_missing_costs_are_an_error(frames):
    runs, costs, trajectories, controls = frames
    data = ReportData.of_frames(runs, costs[costs["method"] != "ft"], trajectories, controls)
    with pytest.raises(ReportError, match="costs has no row for method=ft"):
        data.select(make_experiment())


def test_a_seed_without_controls_is_an_error(frames):
    runs, costs, trajectories, controls = frames
    gone = (controls["attack"] == "svc") & (controls["seed"] == 1)
    data = ReportData.of_frames(runs, costs, trajectories, controls[~gone])
    with pytest.raises(
        ReportError, match=r"the attack 'svc' on small_resnet has controls for the seeds \[0, 2\]"
    ):
        data.select(make_experiment())


def test_unknown_dataset_is_an_error(report_data):
    with pytest.raises(ReportError, match="no run has dataset=cifar10"):
        report_data.select(make_experiment(dataset="cifar10"))


def test_a_run_collected_twice_is_an_error(frames):
    runs, costs, trajectories, controls = frames
    with pytest.raises(ReportError, match=r"runs: .*method=original.* appears twice"):
        ReportData.of_frames(pd.concat([runs, runs[:1]]), costs, trajectories, controls)


def test_percent_is_refused(frames):
    runs, costs, trajectories, controls = frames
    with pytest.raises(ReportError, match=r"accuracy_test is 8.*not percent"):
        ReportData.of_frames(
            runs.assign(accuracy_test=100 * runs["accuracy_test"]), costs, trajectories, controls
        )


@pytest.mark.parametrize("column", ["seed", "gap", "accuracy_test", "target_reached"])
def test_a_missing_column_is_named(frames, column):
    runs, costs, trajectories, controls = frames
    with pytest.raises(ReportError, match=column):
        ReportData.of_frames(runs.drop(columns=column), costs, trajectories, controls)


@pytest.mark.parametrize("column", ["gap", "target_reached"])
def test_an_unlearned_model_without_gap_or_verdict_is_an_error(frames, column):
    runs, costs, trajectories, controls = frames
    runs.loc[runs["method"] == "ft", column] = np.nan
    with pytest.raises(ReportError, match=rf"{column} is empty for .*method=ft"):
        ReportData.of_frames(runs, costs, trajectories, controls)


def test_scenario_of_two_kinds_is_an_error(frames):
    frames = [frame.assign(scenario="same") for frame in frames]
    runs, costs, trajectories, controls = (frame.assign(seed=frame["seed"]) for frame in frames)
    runs.loc[runs["scenario_kind"] == "class", "seed"] += 10
    costs.loc[costs["scenario_kind"] == "class", "seed"] += 10
    # 3 + 3 seeds under one name: the grid is complete, but it mixes two kinds of forgetting.
    with pytest.raises(ReportError, match=r"scenario_kind is \['class', 'random'\]"):
        ReportData.of_frames(runs, costs, trajectories, controls).select(make_experiment(scenario="same"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["ft", "neggrad"]}, "lacks 'orthograd'"),
        ({"methods": ["orthograd", "retrained"]}, "remove it"),
        ({"methods": ["orthograd", "ft", "ft"]}, "twice"),
        ({"methods": ["orthograd"]}, "methods"),
        ({"models": []}, "models"),
        ({"id": "../x"}, "id"),
        ({"retain_size": 0}, "retain_size"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_experiments_that_cannot_be_reported_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        make_experiment(**changes)


def test_the_study_of_these_tests_follows_the_definitions():
    runs, *_ = make_frames()
    references = runs[
        (runs["method"] == "retrained") & (runs["scenario_kind"] == "random") & (runs["seed"] == 0)
    ]
    first, second = references["accuracy_test"]
    # Leave-one-out with two replicates: each is compared to the other.
    np.testing.assert_allclose(references["diff_test"], [first - second, second - first])
