"""The figure of what the projection removes layer by layer."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from report_study import make_experiment

from orthograd.reporting import projections
from orthograd.reporting.data import ReportError
from orthograd.reporting.projections import ProjectionData, caption, figure

LAYERS = ["stem.weight", "body.weight", "body.bias", "a.head"]
PARAMS = {
    "alpha": 0.25,
    "learning_rate": 0.0625,
    "forget_batch": 16,
    "retain_batch": 32,
    "rtol": 0.003,
    "passes": None,
}


def _removed(seed: int, step: int, layer: int) -> float:
    return 0.1 * layer + 0.01 * step + 0.001 * seed


@pytest.fixture
def projected() -> ProjectionData:
    """Three seeds; the run of the last one ends after two steps."""
    rows = [
        {
            "seed": seed,
            "step": step,
            "layer": layer,
            "removed": _removed(seed, step, place),
            "rank": 32,
            "removed_fraction": 0.5,
            "max_cosine": 1e-8 * (step + seed),
        }
        for seed, steps in ((0, 3), (1, 3), (2, 2))
        for step in range(1, steps + 1)
        for place, layer in enumerate(LAYERS)
    ]
    return ProjectionData(make_experiment(), PARAMS, pd.DataFrame(rows))


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The matplotlib figures that a call draws."""
    kept: list[Figure] = []
    save = projections.saved

    def keep(drawing):
        kept.append(drawing)
        return save(drawing)

    monkeypatch.setattr(projections, "saved", keep)
    return kept


def test_the_map_has_the_means_over_seeds_in_the_order_of_the_model(projected, drawn):
    figure(projected)
    left, right = drawn[0].axes[:2]
    (image,) = left.images
    expected = [
        [np.mean([_removed(seed, step, place) for seed in seeds]) for step, seeds in
         ((1, (0, 1, 2)), (2, (0, 1, 2)), (3, (0, 1)))]
        for place in range(len(LAYERS))
    ]  # fmt: skip
    np.testing.assert_allclose(image.get_array(), expected, rtol=1e-12)
    assert [label.get_text() for label in left.get_yticklabels()] == LAYERS
    # The first layer is at the top, and the cell of step 1 lies around 1.
    assert image.get_extent() == [0.5, 3.5, 3.5, -0.5]
    assert image.get_clim() == (0, 1)
    assert right.get_yscale() == "log"


def test_there_is_a_line_a_seed_with_its_residuals(projected, drawn):
    figure(projected)
    right = drawn[0].axes[1]
    lines = {line.get_label(): line.get_xydata() for line in right.lines}
    for seed, steps in ((0, 3), (1, 3), (2, 2)):
        expected = [[step, 1e-8 * (step + seed)] for step in range(1, steps + 1)]
        np.testing.assert_allclose(lines[f"Seed {seed}"], expected, rtol=1e-12)
    np.testing.assert_allclose(lines["Rounding of float32"][:, 1], np.finfo(np.float32).eps / 2)
    low, high = right.get_ylim()
    assert (low, high) == pytest.approx((1e-8, 1e-7))


def test_parts_above_one_are_within_the_scale(projected, drawn):
    projected.rows.loc[projected.rows["layer"] == "a.head", "removed"] = 1.25
    figure(projected)
    (image,) = drawn[0].axes[0].images
    assert image.get_clim() == (0, pytest.approx(1.25))


def test_a_run_of_one_step_can_be_seen(projected, drawn):
    figure(replace(projected, rows=projected.rows[projected.rows["step"] == 1]))
    right = drawn[0].axes[1]
    assert [line.get_marker() for line in right.lines if line.get_label().startswith("Seed")] == ["o"] * 3


def test_bytes_are_the_same_twice(projected):
    first, second = figure(projected), figure(projected)
    assert (first.svg, first.png) == (second.svg, second.png)
    assert first.png.startswith(b"\x89PNG")
    assert ET.fromstring(first.svg).tag.endswith("svg")
    assert (first.experiment_id, first.name) == ("T-IMG-R", "projections")


def test_the_caption_says_what_was_run(projected):
    notes = caption(projected).notes
    for said in (
        "n = 3 seeds",
        "or step 3",
        "α = 0.25",
        "step size 0.0625",
        "16 forget",
        "32 retain",
        "0.003",
        "of up to 0.017",
    ):
        assert said in notes


def test_no_overlap_at_all_lies_at_the_lower_edge(projected, drawn):
    projected.rows.loc[projected.rows["step"] == 2, "max_cosine"] = 0.0
    figure(projected)
    right = drawn[0].axes[1]
    low, _ = right.get_ylim()
    for line in right.lines[:3]:
        assert line.get_ydata()[1] == low > 0
    projected.rows["max_cosine"] = 0.0
    figure(projected)
    assert drawn[1].axes[1].get_ylim()[0] > 0


@pytest.mark.parametrize("value", [-0.1, np.nan, 1.5])
def test_a_residual_that_cannot_be_shown_is_refused(projected, value):
    projected.rows.loc[projected.rows["step"] == 2, "max_cosine"] = value
    with pytest.raises(ReportError, match=r"T-IMG-R: a largest cosine is not in \[0, 1\]"):
        figure(projected)
