"""A comparison over sizes of the retain subset."""

import numpy as np
import pandas as pd
import pytest
from report_study import make_frames

from orthograd.reporting import sweep
from orthograd.reporting.data import ReportData, ReportError
from orthograd.reporting.experiment import Sweep
from orthograd.reporting.figures import saved
from orthograd.reporting.sweep import SweepData, figure, table, verdict

SIZES = [100, 500, 1000]
METHODS = ["orthograd", "neggrad", "neggrad_plus"]


def _sweep(**changes) -> Sweep:
    values = {
        "id": "F-SIZE",
        "title": "Size of the retain subset",
        "dataset": "fashion_mnist",
        "model": "small_resnet",
        "scenario": "random_10",
        "retain_sizes": SIZES,
        "methods": METHODS,
    }
    return Sweep(**(values | changes))


@pytest.fixture
def sweep_data() -> ReportData:
    """The study at three sizes: each halving costs NegGrad a point and OrthoGrad a tenth of one."""
    runs, costs, trajectories, controls = make_frames()
    unlearned = ~runs["method"].isin(["original", "retrained"])
    parts = [runs[~unlearned]]
    for size in SIZES:
        price = runs["method"].map({"orthograd": 0.001, "neggrad": 0.01, "neggrad_plus": 0.005}) * (
            1000 / size - 1
        )
        part = runs.assign(retain_size=size, test_at_target=runs["test_at_target"] - price)
        parts.append(part[unlearned])
    more = [
        pd.concat(
            [
                frame[frame["method"].isin(["original", "retrained"])],
                *(
                    frame[~frame["method"].isin(["original", "retrained"])].assign(retain_size=size)
                    for size in SIZES
                ),
            ]
        )
        for frame in (costs, trajectories)
    ]
    return ReportData.of_frames(pd.concat(parts), *more, controls)


def test_the_table_has_the_means_of_each_size(sweep_data):
    data = SweepData.select(sweep_data, _sweep())
    made = table(data)
    found = made.frame.set_index(["quantity", "method", "retain_size"])["mean"]
    for method in METHODS:
        for size in SIZES:
            rows = sweep_data.runs[
                (sweep_data.runs["method"] == method) & (sweep_data.runs["retain_size"] == size)
            ]
            rows = rows[rows["scenario"] == "random_10"]
            for quantity in ("test_at_target", "gap"):
                assert found[quantity, method, size] == pytest.approx(rows[quantity].mean(), rel=1e-12)
    assert made.header == ("Method", "Quantity", "100", "500", "1,000")
    assert len(made.rows) == 8
    assert "n = 3 seeds: no significance claim" in made.caption.notes
    assert "of 100, 500 and 1,000 samples" in made.caption.setting


def test_the_table_shows_the_noise_floor_and_who_missed_the_target(sweep_data):
    runs = sweep_data.runs
    missed = (runs["method"] == "neggrad") & (runs["retain_size"] == 100) & (runs["seed"] == 2)
    gaps = runs["gap"].mask(runs["method"] == "original", 0.06).mask(runs["method"] == "retrained", 0.01)
    gaps = gaps.mask(runs["method"] == "neggrad", 0.03)
    data = ReportData.of_frames(
        runs.assign(gap=gaps, target_reached=runs["target_reached"].mask(missed, False)),
        sweep_data.costs,
        sweep_data.trajectories,
        sweep_data.controls,
    )
    made = table(SweepData.select(data, _sweep()))
    shown = {
        row[0].text: [cell.text for cell in row[2:]] for row in made.rows if row[1].text.startswith("Gap")
    }
    assert shown["Original"] == ["6.00 ± 0.00"] * 3
    assert shown["Retrained"] == ["1.00 ± 0.00"] * 3
    assert shown["NegGrad"] == ["3.00 ± 0.00 (2/3)", "3.00 ± 0.00", "3.00 ± 0.00"]
    assert not any("(" in text for text in shown["OrthoGrad"])
    assert (
        "in the row Retrained it is measured between the references of one seed (noise floor)"
        in made.caption.notes
    )
    frame = made.frame.set_index(["quantity", "method", "retain_size"]).sort_index()["target_reached"]
    assert frame["gap", "neggrad", 100] == 2
    assert frame["gap", "neggrad", 500] == 3
    assert frame.loc["gap", "retrained"].isna().all()


def test_the_verdict_orders_by_what_is_lost(sweep_data):
    text = verdict(SweepData.select(sweep_data, _sweep()))
    assert "From 1,000 to 100 retain samples" in text
    assert "OrthoGrad 0.90, NegGrad+ 4.50 and NegGrad 9.00." in text
    assert "OrthoGrad loses least." in text


def test_a_method_that_missed_the_target_at_one_end_is_not_compared(sweep_data):
    runs = sweep_data.runs
    missed = (runs["method"] == "orthograd") & (runs["retain_size"] == 100) & (runs["seed"] == 2)
    data = ReportData.of_frames(
        runs.assign(test_at_target=runs["test_at_target"].mask(missed)),
        sweep_data.costs,
        sweep_data.trajectories,
        sweep_data.controls,
    )
    text = verdict(SweepData.select(data, _sweep()))
    assert "Not comparable at both ends: OrthoGrad." in text
    assert "NegGrad+ loses least." in text


def test_the_figure_has_the_same_bytes_twice(sweep_data):
    data = SweepData.select(sweep_data, _sweep())
    first, second = figure(data), figure(data)
    assert first.svg == second.svg
    assert first.png == second.png


def test_a_missing_size_is_an_error(sweep_data):
    with pytest.raises(ReportError, match="F-SIZE: runs has no row for method=orthograd"):
        SweepData.select(sweep_data, _sweep(retain_sizes=[50, 100]))


@pytest.mark.parametrize("sizes", [[500, 100], [100, 100, 500]])
def test_sizes_have_to_ascend(sizes):
    with pytest.raises(ValueError, match="name each once, in ascending order"):
        _sweep(retain_sizes=sizes)


def test_the_seeds_are_drawn_where_they_are(sweep_data):
    data = SweepData.select(sweep_data, _sweep())
    values = data.values("neggrad", data.sizes[0], "test_at_target")
    assert len(values) == 3
    assert not np.isnan(values).any()


def test_a_method_without_values_leaves_the_panels_their_room(sweep_data, monkeypatch):
    drawn = []
    monkeypatch.setattr(sweep, "saved", lambda drawing: drawn.append(drawing) or saved(drawing))
    runs = sweep_data.runs
    without = runs["test_at_target"].where(runs["method"] != "neggrad_plus")
    data = ReportData.of_frames(
        runs.assign(test_at_target=without), sweep_data.costs, sweep_data.trajectories, sweep_data.controls
    )
    figure(SweepData.select(data, _sweep()))
    (drawing,) = drawn
    assert all(ax.get_position().height > 0.4 for ax in drawing.axes)
