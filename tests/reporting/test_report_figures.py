"""Figures: same bytes every time, styles that stay apart, and what is drawn."""

import itertools
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report_study import METHODS, make_experiment

from orthograd.reporting import figures
from orthograd.reporting.data import ReportData, ReportError
from orthograd.reporting.figures import FIGURES, method_styles
from orthograd.reporting.names import FIGURE_NAMES
from orthograd.reporting.text import METHOD_LABELS

ROOT = Path(__file__).resolve().parents[2]
FUTURE = [f"method_{i:02d}" for i in range(30)]


@pytest.fixture
def drawn(monkeypatch):
    """The matplotlib figures that a call draws."""
    kept: list[Figure] = []
    render = figures._rendered

    def keep(figure, data, name):
        kept.append(figure)
        return render(figure, data, name)

    monkeypatch.setattr(figures, "_rendered", keep)
    return kept


def _lines(ax: Axes, marker):
    return [line for line in ax.lines if line.get_marker() == marker]


@pytest.mark.parametrize("make", FIGURES)
@pytest.mark.parametrize("kind", ["random", "class"])
def test_bytes_are_the_same_twice_and_carry_no_date(make, kind, report_data):
    data = report_data.select(make_experiment(kind))
    first, second = make(data), make(data)
    assert first.svg == second.svg
    assert first.png == second.png
    assert first.png.startswith(b"\x89PNG")
    assert b"tEXt" not in first.png
    assert b"dc:date" not in first.svg
    assert ET.fromstring(first.svg).tag.endswith("svg")


SCRIPT = """
import hashlib, sys
sys.path.insert(0, {folder!r})
from report_study import make_experiment, make_frames
from orthograd.reporting.data import ReportData
from orthograd.reporting.figures import FIGURES
data = ReportData.of_frames(*make_frames()).select(make_experiment())
for make in FIGURES:
    figure = make(data)
    print(hashlib.sha256(figure.svg).hexdigest(), hashlib.sha256(figure.png).hexdigest())
"""


def test_bytes_are_the_same_in_two_processes():
    # Hash randomisation differs between the two.
    root = Path(figures.__file__).parents[2]
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT.format(folder=str(Path(__file__).parent))],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(root), "PATH": "", "HOME": str(root)},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].split()) == 2 * len(FIGURES)


def test_settings_of_the_user_do_not_change_the_figures(report_data):
    data = report_data.select(make_experiment())
    expected = FIGURES[0](data)
    with mpl.rc_context({"lines.linewidth": 9, "savefig.bbox": "tight", "axes.labelcolor": "red"}):
        assert FIGURES[0](data).png == expected.png


def test_drawing_leaves_the_settings_of_matplotlib_alone(report_data):
    before = dict(mpl.rcParams)
    FIGURES[0](report_data.select(make_experiment()))
    assert dict(mpl.rcParams) == before


def test_styles_of_known_methods_never_change():
    alone = method_styles(["orthograd"])
    crowd = method_styles([*METHODS, *FUTURE])
    assert all(alone[method] == crowd[method] for method in METHOD_LABELS)


def test_fifty_methods_have_distinct_styles():
    styles = method_styles(FUTURE)
    assert len(styles) == len(METHOD_LABELS) + 30
    assert len({(s.colour, s.marker) for s in styles.values()}) == len(styles)
    # Readable in grey: the first methods differ in their markers and neighbours in their dashes.
    ordered = list(styles.values())
    assert len({s.marker for s in ordered[:13]}) == 13
    assert all(a.dashes != b.dashes for a, b in itertools.pairwise(ordered))


def test_too_many_methods_are_refused():
    with pytest.raises(ReportError, match="distinct styles; split the report"):
        method_styles([f"m{i}" for i in range(100)])


def test_tradeoff_shows_every_run_once(report_data, drawn):
    data = report_data.select(make_experiment())
    figures.tradeoff(data)
    (ax,) = drawn[0].axes
    styles = method_styles(METHODS)
    for method in METHODS:
        runs = data.runs[data.runs["method"] == method]
        points = _lines(ax, styles[method].marker)
        x = [float(np.ravel(line.get_xdata())[0]) for line in points]
        y = [float(np.ravel(line.get_ydata())[0]) for line in points]
        np.testing.assert_allclose(x, 100 * runs["accuracy_forget"])
        np.testing.assert_allclose(y, 100 * runs["accuracy_test"])
        hollow = {line.get_markerfacecolor() == "white" for line in points}
        assert hollow == {method == "ft"}
    (crosses,) = _lines(ax, "x")
    retrained = data.runs[data.runs["method"] == "retrained"]
    np.testing.assert_allclose(crosses.get_ydata(), 100 * retrained["accuracy_test"])
    (zone,) = ax.patches
    assert zone.get_x() == pytest.approx(100 * retrained["accuracy_forget"].min())
    assert zone.get_height() == pytest.approx(
        100 * (retrained["accuracy_test"].max() - retrained["accuracy_test"].min())
    )
    (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert low < 100 * data.runs["accuracy_forget"].min()
    assert high > 100 * data.runs["accuracy_forget"].max()
    assert bottom < 100 * data.runs["accuracy_test"].min()
    assert top > 100 * data.runs["accuracy_test"].max()


def test_target_zone_is_visible_when_all_retrained_models_agree(report_data, drawn):
    figures.tradeoff(report_data.select(make_experiment("class")))
    (ax,) = drawn[0].axes
    (zone,) = ax.patches
    low, high = ax.get_xlim()
    assert zone.get_width() == pytest.approx(0.04 * (high - low))
    assert zone.get_x() + zone.get_width() / 2 == pytest.approx(0, abs=1e-9)


def test_trajectories_have_one_line_a_seed_and_measure(report_data, drawn):
    data = report_data.select(make_experiment())
    figures.trajectories(data)
    axes = drawn[0].axes
    assert [ax.get_title() for ax in axes] == ["OrthoGrad", "FT", "NegGrad", "NegGrad+"]
    for ax in axes:
        dotted = [line for line in ax.lines if line.get_linestyle() == ":"]
        assert len(dotted) == 3
        assert len(_lines(ax, "o")) == 3
        assert len(ax.lines) - len(dotted) - 3 == 6
    starts = {float(line.get_ydata()[0]) for line in axes[0].lines if line.get_linestyle() == "-"}
    assert starts == {100.0}


def test_what_was_recorded_behind_the_target_is_in_the_trajectories_alone(report_data, drawn):
    paths = report_data.trajectories
    ours = paths[paths["method"] == "orthograd"]
    last = ours.groupby(["scenario", "seed"])["step"].transform("max") == ours["step"]
    further = ours[last].assign(accuracy_forget=0.111, accuracy_test=0.222, step=ours[last]["step"] + 5)
    data = replace(report_data, trajectories=pd.concat([paths, further])).select(make_experiment())
    figures.trajectories(data)
    figures.tradeoff(data)
    panel = drawn[0].axes[0]
    stops = [tuple(np.ravel(line.get_data())) for line in _lines(panel, "o")]
    ends = data.runs[data.runs["method"] == "orthograd"]
    assert stops == list(zip(ends["steps"], 100 * ends["accuracy_forget"], strict=True))
    drawn_further = [line for line in panel.lines if 11.1 in np.round(line.get_ydata(), 6)]
    assert len(drawn_further) == 3
    assert not any(11.1 in np.round(line.get_xdata(), 6) for line in drawn[1].axes[0].lines)


def test_equal_forgetting_shows_each_seed_and_their_mean(report_data, drawn):
    data = report_data.select(make_experiment())
    figure = figures.equal_forgetting(data)
    (ax,) = drawn[0].axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["OrthoGrad", "NegGrad", "NegGrad+"]
    assert "passed with the first step or round): FT." in figure.caption.notes
    assert "Without a mean" not in figure.caption.notes
    styles = method_styles(METHODS)
    means = [float(line.get_xdata()[0]) for line in _lines(ax, "|")]
    for place, method in enumerate(["orthograd", "neggrad", "neggrad_plus"]):
        values = 100 * data.runs.loc[data.runs["method"] == method, "test_at_target"]
        (points,) = _lines(ax, styles[method].marker)
        np.testing.assert_allclose(points.get_xdata(), values)
        assert set(points.get_ydata()) == {place}
        assert means[place] == pytest.approx(values.mean())


def test_equal_forgetting_keeps_a_method_that_misses_the_target_in_a_seed(report_data, drawn):
    """Its other seeds stand there, without a mean, and how many they are."""
    runs = report_data.runs.copy()
    place = runs.index[runs["method"] == "neggrad"][1]
    runs.loc[place, "test_at_target"] = np.nan
    data = replace(report_data, runs=runs).select(make_experiment())
    figure = figures.equal_forgetting(data)
    (ax,) = drawn[0].axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["OrthoGrad", "NegGrad", "NegGrad+"]
    (points,) = _lines(ax, method_styles(METHODS)["neggrad"].marker)
    kept = data.runs.loc[data.runs["method"] == "neggrad", "test_at_target"]
    np.testing.assert_allclose(points.get_xdata(), 100 * kept)
    assert kept.notna().sum() == len(kept) - 1 > 0
    assert [text.get_text() for text in ax.texts] == [f"{len(kept) - 1} of {len(kept)}"]
    assert [line.get_ydata()[0] for line in _lines(ax, "|")] == [0, 2]
    assert "how many there is one; the others may be the harder ones): NegGrad." in figure.caption.notes


# The forms of OrthoGrad in the laptop's ablation, some of which have long names.
ABLATION = next(
    experiment["methods"]
    for experiment in yaml.safe_load((ROOT / "config" / "laptop.yaml").read_text(encoding="utf-8"))[
        "experiments"
    ]
    if experiment["id"] == "T-ABL"
)


@pytest.mark.parametrize("methods", [[*METHODS, *FUTURE[:20]], METHODS[:2], METHODS[:3], ABLATION], ids=len)
def test_labels_lie_inside_the_figure(report_data, drawn, methods):
    runs, costs, paths = report_data.runs, report_data.costs, report_data.trajectories
    others = [name for name in (*FUTURE[:20], *ABLATION) if name not in METHODS]
    frames = [
        pd.concat([frame, *(frame[frame["method"] == "orthograd"].assign(method=name) for name in others)])
        for frame in (runs, costs, paths)
    ]
    data = ReportData.of_frames(*frames, report_data.controls).select(make_experiment(methods=methods))
    for make in FIGURES:
        make(data)
    for figure in drawn:
        renderer = figure.canvas.get_renderer()
        page = figure.bbox
        for artist in [*figure.legends, *figure.axes]:
            box = artist.get_tightbbox(renderer)
            assert box.x0 >= page.x0 - 1
            assert box.y0 >= page.y0 - 1
            assert box.x1 <= page.x1 + 1
            assert box.y1 <= page.y1 + 1
        boxes = [ax.get_tightbbox(renderer) for ax in figure.axes]
        legend = figure.legends[0].get_window_extent(renderer)
        assert not any(legend.overlaps(box) for box in boxes)
        titles = [ax.title.get_window_extent(renderer) for ax in figure.axes if ax.get_title()]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(titles, 2))


def test_a_method_without_steps_has_no_panel_but_is_named(report_data, drawn):
    paths = report_data.trajectories
    data = replace(report_data, trajectories=paths[paths["method"] != "neggrad"])
    figure = figures.trajectories(data.select(make_experiment()))
    assert [ax.get_title() for ax in drawn[0].axes] == ["OrthoGrad", "FT", "NegGrad+"]
    assert "No panel, as there are no steps to show: NegGrad." in figure.caption.notes


def test_a_trajectory_without_its_start_is_an_error(report_data):
    paths = report_data.trajectories
    data = replace(report_data, trajectories=paths[paths["step"] > 0])
    with pytest.raises(ReportError, match="starts at step 5; record step 0"):
        figures.trajectories(data.select(make_experiment()))


def test_no_trajectory_at_all_is_an_error(report_data):
    data = replace(report_data, trajectories=report_data.trajectories[:0])
    with pytest.raises(ReportError, match="no method has a trajectory"):
        figures.trajectories(data.select(make_experiment()))


def test_captions_without_drawing_are_those_of_the_figures(report_data):
    data = report_data.select(make_experiment())
    captions = figures.figure_captions(data)
    assert {name: captions[name] for name in FIGURE_NAMES} == {
        figure.name: figure.caption for figure in (make(data) for make in FIGURES)
    }


def test_diagnostics_of_a_single_step_can_be_seen(report_data, drawn):
    start = report_data.trajectories[report_data.trajectories["step"] == 0]
    data = ReportData.of_frames(
        report_data.runs.assign(steps=report_data.runs["steps"].clip(upper=1)),
        report_data.costs,
        pd.concat(
            [
                start.assign(rank=np.nan, removed_fraction=np.nan, condition_number=np.nan),
                start.assign(step=1),
            ]
        ),
        report_data.controls,
    )
    figures.orthogonality(data.select(make_experiment()))
    (figure,) = drawn
    marker = method_styles(METHODS)["orthograd"].marker
    assert all(line.get_marker() == marker for ax in figure.axes for line in ax.lines)
    assert all(ax.lines for ax in figure.axes)
