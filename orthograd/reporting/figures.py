"""The figures of one experiment, as SVG and PNG with the same bytes on every run of one environment.

Figures are built without pyplot's state, on the Agg canvas: nothing opens a display and nothing is shared.
"""

import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from orthograd.reporting import captions
from orthograd.reporting.choices import (
    LEADS,
    TARGETS,
    forms,
    leads,
    obstacle,
    target_label,
    target_leads,
)
from orthograd.reporting.data import G_EFFECTS, ExperimentData, ReportError, rows_of
from orthograd.reporting.experiment import ORIGINAL, PUBLISHED, RETRAINED
from orthograd.reporting.text import METHOD_LABELS, method_label, on_lines

PAGE_WIDTH = 6.75
"""Inches: the text width of a page; fonts are sized for it."""

RC: dict[str, Any] = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("paper"),
    "font.family": ["DejaVu Sans"],  # ships with matplotlib, so no machine falls back to another face
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.edgecolor": "0.3",
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "svg.fonttype": "path",
    "svg.hashsalt": "orthograd",
    "savefig.dpi": 200,
    "figure.dpi": 200,
}

# From matplotlib's own defaults, so that the settings of a user do not change the figures.
STYLE: Any = ["default", RC]

# Pink and yellow of the palette are too faint for lines; grey is for the retrained models.
COLOURS = [c for i, c in enumerate(sns.color_palette("colorblind").as_hex()) if i not in (6, 7, 8)]
MARKERS = ["o", "s", "^", "D", "v", "P", "p", "<", "X", ">", "h", "d", (4, 1, 45)]
DASHES: list[Any] = ["-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (4, 1.2, 1, 1.2)), (0, (7, 2))]
_ZONE = "0.55"
_INK = "0.1"


@dataclass(frozen=True)
class MethodStyle:
    """How one method looks in every figure."""

    label: str
    colour: str
    marker: Any
    dashes: Any


def method_styles(methods: Iterable[str]) -> dict[str, MethodStyle]:
    """One style for each method; no two methods share colour and marker.

    A method of ``METHOD_LABELS`` has a style that never changes; others take the next free ones in the
    order of their names. 7 colours and 13 markers have no common divisor, so the first 91 styles are
    distinct, and any 13 in a row differ in their markers (readable in grey).

    Raises:
        ReportError: there are more methods than distinct styles.
    """
    unknown = sorted(set(methods) - set(METHOD_LABELS))
    names = [*METHOD_LABELS, *unknown]
    distinct = len(COLOURS) * len(MARKERS)
    if len(names) > distinct:
        raise ReportError(
            f"{len(names)} methods, but only {distinct} distinct styles; "
            "split the report, or add markers to figures.py"
        )
    return {
        name: MethodStyle(
            method_label(name),
            COLOURS[slot % len(COLOURS)],
            MARKERS[slot % len(MARKERS)],
            DASHES[slot % len(DASHES)],
        )
        for slot, name in enumerate(names)
    }


@dataclass(frozen=True)
class RenderedFigure:
    """One figure in both formats."""

    experiment_id: str
    name: str
    caption: captions.Caption
    svg: bytes
    png: bytes


def figure_captions(data: ExperimentData) -> dict[str, captions.Caption]:
    """The caption of each figure by its name, without drawing it."""
    _, without_steps = _panels_of(data)
    return {
        "equal_forgetting": captions.equal_forgetting(data, *_without_values(data)),
        "choices": captions.choices(data),
        "tradeoff": captions.tradeoff(data),
        "trajectories": captions.trajectories(data, without_steps),
        "g_effect": captions.g_effect(data),
        "orthogonality": captions.orthogonality(data),
    }


def equal_forgetting(data: ExperimentData) -> RenderedFigure:
    """Test accuracy at the target: one line a method, one marker a seed, and the range of the retrained models.

    A method that has no such value in some seed keeps its line, which says in how many it has one; it has no mean.
    """
    styles = method_styles(data.report_methods)
    models = data.experiment.models
    hidden, _ = _without_values(data)
    rows = [row for row in data.experiment.rows if row not in hidden]
    with mpl.style.context(STYLE):
        height = 0.95 + 0.24 * len(rows)
        figure, axes = axes_grid(1, len(models), len(models), 4.8 if len(models) == 1 else PAGE_WIDTH, height)
        for ax, model in zip(axes, models, strict=True):
            of_model = data.runs[data.runs["model"] == model]
            retrained = 100 * of_model.loc[of_model["method"] == RETRAINED, "accuracy_test"]
            ax.axvspan(retrained.min(), retrained.max(), color=_ZONE, alpha=0.35, lw=0, zorder=1)
            original = 100 * of_model.loc[of_model["method"] == ORIGINAL, "accuracy_test"].mean()
            ax.axvline(original, color=_INK, ls=":", lw=0.9, zorder=2)
            for place, row in enumerate(rows):
                style = styles[row.removesuffix(PUBLISHED)]
                values = 100 * rows_of(of_model, model, row)["test_at_target"]
                lost = int(values.isna().sum())
                own = row in data.experiment.methods
                ax.plot(
                    values,
                    [place] * len(values),
                    marker=style.marker,
                    ms=5.5,
                    ls="",
                    mfc=style.colour if own else "white",
                    mec="white" if own else style.colour,
                    mew=0.6 if own else 1.2,
                    zorder=4,
                    clip_on=False,
                )
                if lost:
                    ax.annotate(
                        f"{len(values) - lost} of {len(values)}",
                        (1.01, place),
                        xycoords=("axes fraction", "data"),
                        va="center",
                        fontsize="small",
                        color=_INK,
                    )
                else:
                    ax.plot(values.mean(), place, marker="|", ms=13, mew=1.6, color=_INK, zorder=3)
            ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel="Test accuracy at the target (%)")
            ax.set_yticks(range(len(rows)), [method_label(row) for row in rows] if ax is axes[0] else [])
            ax.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
            if len(models) > 1:
                ax.set_title(model)
            sns.despine(ax=ax)
        handles = [
            Patch(facecolor=_ZONE, alpha=0.35, label="Retrained, range"),
            Line2D([], [], color=_INK, ls=":", lw=0.9, label="Original, mean"),
            Line2D([], [], marker="|", ms=10, mew=1.6, ls="", color=_INK, label="Mean over seeds"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
        return _rendered(figure, data, "equal_forgetting")


def choices(data: ExperimentData) -> RenderedFigure:
    """The lead of every form of OrthoGrad over the best baseline: a panel a quantity, one marker a seed."""
    styles = method_styles(data.report_methods)
    models = data.experiment.models
    rows = [*(method_label(form) for form in forms(data)), *map(target_label, TARGETS)]
    with mpl.style.context(STYLE):
        height = 0.85 + (0.6 + 0.26 * len(rows)) * len(models)
        figure, axes = axes_grid(len(models), 2, 2 * len(models), PAGE_WIDTH, height)
        for index, ax in enumerate(axes):
            model, column = models[index // 2], list(LEADS)[index % 2]
            ax.axvline(0, color=_INK, lw=0.8, zorder=1)
            found = leads(data, model, column)
            for lead in [*found, *(target_leads(data, model) if column == "test_at_target" else [])]:
                style, place = styles[lead.method], rows.index(lead.label)
                ax.plot(
                    lead.values,
                    [place] * len(lead.values),
                    marker=style.marker,
                    ms=5.5,
                    ls="",
                    color=style.colour,
                    mec="white",
                    mew=0.6,
                    zorder=4,
                    clip_on=False,
                )
                ax.plot(lead.values.mean(), place, marker="|", ms=13, mew=1.6, color=_INK, zorder=3)
            if not found:
                ax.text(
                    0.5, 0.5, obstacle(data, model, column), ha="center", transform=ax.transAxes, fontsize=7
                )
            ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel="Percentage points")
            ax.set_yticks(range(len(rows)), rows if index % 2 == 0 else [])
            title, _ = LEADS[column]
            ax.set_title(on_lines(title) + (f"\n{model}" if len(models) > 1 else ""), fontsize=7.5)
            ax.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
            sns.despine(ax=ax)
        handles = [
            Line2D([], [], color=_INK, lw=0.8, label="Best baseline of the seed"),
            Line2D([], [], marker="|", ms=10, mew=1.6, ls="", color=_INK, label="Mean over seeds"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
        return _rendered(figure, data, "choices")


def _without_values(data: ExperimentData) -> tuple[list[str], list[str]]:
    """Rows without a test accuracy at the target in any seed, and those without one in some."""
    missing = {
        row: data.runs.loc[data.runs["method"] == row, "test_at_target"].isna()
        for row in data.experiment.rows
    }
    return (
        [row for row, lost in missing.items() if lost.all()],
        [row for row, lost in missing.items() if lost.any() and not lost.all()],
    )


def tradeoff(data: ExperimentData) -> RenderedFigure:
    """Forget against test accuracy: every seed of every method, the retrained models as target zone."""
    styles = method_styles(data.report_methods)
    models = data.experiment.models
    with mpl.style.context(STYLE):
        handles = [
            Line2D([], [], marker="*", ms=11, ls="", color=_INK, label="Original"),
            Line2D([], [], marker="x", ms=5, ls="", color="0.25", label="Retrained"),
            Patch(facecolor=_ZONE, alpha=0.35, label="Retrained, range"),
            *(_handle(styles[method]) for method in data.experiment.methods),
        ]
        if not data.runs["target_reached"].fillna(True).all():
            handles.append(
                Line2D([], [], marker="o", ms=6, ls="", mfc="white", mec=_INK, label="Target not reached")
            )
        columns = min(2, len(models))
        lines = math.ceil(len(models) / columns)
        width, height = (4.8, 3.3) if columns == 1 else (PAGE_WIDTH, 3.0)
        ncols = legend_columns(handles, columns + 2, width)
        legend_height = 0.2 * math.ceil(len(handles) / ncols)
        figure, axes = axes_grid(lines, columns, len(models), width, height * lines + legend_height)
        for ax, model in zip(axes, models, strict=True):
            _tradeoff_panel(ax, data, model, styles)
            if len(models) > 1:
                ax.set_title(model)
        figure.legend(handles=handles, loc="outside lower center", ncols=ncols, frameon=False)
        return _rendered(figure, data, "tradeoff")


def _handle(style: MethodStyle) -> Line2D:
    return Line2D(
        [],
        [],
        marker=style.marker,
        ms=6,
        color=style.colour,
        ls=style.dashes,
        lw=1,
        mec="white",
        label=style.label,
    )


def _tradeoff_panel(ax: Axes, data: ExperimentData, model: str, styles: dict[str, MethodStyle]) -> None:
    runs = data.runs[data.runs["model"] == model]
    x, y = 100 * runs["accuracy_forget"], 100 * runs["accuracy_test"]
    x_limits, y_limits = _limits(x), _limits(y)
    zone = runs["method"] == RETRAINED
    _target_zone(ax, x[zone], y[zone], x_limits, y_limits)
    for method in data.experiment.methods:
        style = styles[method]
        paths = _unlearning_steps(data, model, method)
        # Rows of a check between two measurements have no test accuracy.
        for _, path in paths.dropna(subset=["accuracy_test"]).groupby("seed"):
            ax.plot(
                100 * path["accuracy_forget"],
                100 * path["accuracy_test"],
                color=style.colour,
                ls=style.dashes,
                lw=0.8,
                alpha=0.45,
                zorder=2,
            )
        final = rows_of(runs, model, method)
        for forget, test, reached in zip(
            final["accuracy_forget"], final["accuracy_test"], final["target_reached"], strict=True
        ):
            ax.plot(
                100 * forget,
                100 * test,
                marker=style.marker,
                ms=6.5,
                mfc=style.colour if reached else "white",
                mec="white" if reached else style.colour,
                mew=0.6 if reached else 1.3,
                ls="",
                zorder=4,
                clip_on=False,
            )
    original = runs["method"] == ORIGINAL
    ax.plot(x[zone], y[zone], marker="x", ms=5, mew=1.1, ls="", color="0.25", zorder=3.5, clip_on=False)
    ax.plot(
        x[original],
        y[original],
        marker="*",
        ms=11,
        ls="",
        color=_INK,
        mec="white",
        mew=0.6,
        zorder=3,
        clip_on=False,
    )
    ax.set(xlim=x_limits, ylim=y_limits, xlabel="Forget accuracy (%)", ylabel="Test accuracy (%)")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    sns.despine(ax=ax)


def _unlearning_steps(data: ExperimentData, model: str, method: str) -> pd.DataFrame:
    """The trajectories of a method up to its unlearned models: without what was recorded behind the target."""
    rows = rows_of(data.trajectories, model, method).sort_values(["seed", "step"], kind="stable")
    last = rows_of(data.runs, model, method).set_index("seed")["steps"]
    return rows[rows["step"] <= rows["seed"].map(last)]


def trajectories(data: ExperimentData) -> RenderedFigure:
    """Forget and test accuracy against the step: one panel a method, one thin line a seed.

    Raises:
        ReportError: no method has a trajectory, or one does not start with the original model (step 0).
    """
    panels, _ = _panels_of(data)
    several = len(data.experiment.models) > 1
    curves = {
        "accuracy_forget": ("Forget", COLOURS[3], DASHES[0]),
        "accuracy_test": ("Test", COLOURS[2], DASHES[3]),
    }
    with mpl.style.context(STYLE):
        columns = min(4, len(panels))
        lines = math.ceil(len(panels) / columns)
        width = max(PAGE_WIDTH * columns / 4, 3.4)
        figure, axes = axes_grid(lines, columns, len(panels), width, 0.7 + 1.95 * lines)
        shown = 100 * pd.concat(
            [
                *(rows[column] for _, _, rows in panels for column in curves),
                data.runs.loc[data.runs["method"] == RETRAINED, "accuracy_test"],
                data.runs["target"].dropna(),
            ]
        )
        for index, (ax, (model, method, rows)) in enumerate(zip(axes, panels, strict=True)):
            retrained = 100 * rows_of(data.runs, model, RETRAINED)["accuracy_test"]
            ax.axhspan(retrained.min(), retrained.max(), color=_ZONE, alpha=0.35, lw=0, zorder=1)
            for target in sorted(set(rows_of(data.runs, model, method)["target"].dropna())):
                ax.axhline(100 * target, color=_INK, ls=":", lw=0.9, zorder=2)
            for _, way in _unlearning_steps(data, model, method).groupby("seed"):
                ax.plot(
                    way["step"].iloc[-1],
                    100 * way["accuracy_forget"].iloc[-1],
                    marker="o",
                    ms=4,
                    mfc="white",
                    mec=_INK,
                    mew=0.9,
                    ls="",
                    zorder=4,
                )
            for _, path in rows.groupby("seed"):
                for column, (_, colour, dashes) in curves.items():
                    known = path.dropna(subset=[column])
                    ax.plot(known["step"], 100 * known[column], color=colour, ls=dashes, lw=0.9, zorder=3)
            ax.set_title(on_lines(method_label(method)) + (f"\n{model}" if several else ""))
            ax.set(ylim=_limits(shown), xlim=(0, None))
            ax.xaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
            ax.yaxis.set_major_locator(MaxNLocator(nbins=5))
            ax.tick_params(labelleft=index % columns == 0)
            sns.despine(ax=ax)
        figure.supxlabel("Unlearning step", fontsize=RC["axes.labelsize"])
        figure.supylabel("Accuracy (%)", fontsize=RC["axes.labelsize"])
        handles = [
            *(Line2D([], [], color=c, ls=d, lw=1.4, label=label) for label, c, d in curves.values()),
            Line2D([], [], color=_INK, ls=":", lw=1.2, label="Target (forget)"),
            Line2D([], [], marker="o", ms=4, mfc="white", mec=_INK, mew=0.9, ls="", label="Stop"),
            Patch(facecolor=_ZONE, alpha=0.35, label="Retrained, test"),
        ]
        ncols = len(handles) if columns == 4 else max(columns, 2)
        figure.legend(handles=handles, loc="outside upper center", ncols=ncols, frameon=False)
        return _rendered(figure, data, "trajectories")


# What a projecting method reports of each step, and how it is shown.
DIAGNOSTICS = {
    "rank": "Rank of the retain gradients",
    "removed_fraction": "Part of g_u removed, ‖g_u − g_u⊥‖ / ‖g_u‖",
    "condition_number": "Condition number of the g_r",
}


def orthogonality(data: ExperimentData) -> RenderedFigure:
    """What the projection did in each step: one panel a diagnostic, one thin line a seed of each projecting method.

    Raises:
        ReportError: no method reported it.
    """
    styles = method_styles(data.report_methods)
    with mpl.style.context(STYLE):
        models = data.experiment.models
        drawing, axes = axes_grid(len(models), 3, 3 * len(models), PAGE_WIDTH, 0.5 + 2.1 * len(models))
        shown: dict[str, MethodStyle] = {}
        for index, ax in enumerate(axes):
            model, column = models[index // 3], list(DIAGNOSTICS)[index % 3]
            for method in data.experiment.methods:
                rows = _unlearning_steps(data, model, method).dropna(subset=[column])
                for _, path in rows.groupby("seed"):
                    shown[method] = styles[method]
                    ax.plot(
                        path["step"],
                        path[column],
                        color=styles[method].colour,
                        ls=styles[method].dashes,
                        lw=0.9,
                        # A few along the way: methods share colours, and a line through one step is none.
                        marker=styles[method].marker,
                        markevery=math.ceil(len(path) / 4),
                        ms=3.5,
                        mec="white",
                        mew=0.4,
                    )
            if column == "condition_number":
                ax.set_yscale("log")
            ax.set_title(DIAGNOSTICS[column] + (f"\n{model}" if len(models) > 1 else ""), fontsize=7.5)
            ax.set(xlabel="Unlearning step")
            ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
            sns.despine(ax=ax)
        if not shown:
            raise ReportError(
                f"{data.experiment.id}: no method reports {list(DIAGNOSTICS)}; run the unlearning steps again"
            )
        handles = [_handle(style) for style in shown.values()]
        ncols = legend_columns(handles, 3, PAGE_WIDTH)
        drawing.legend(handles=handles, loc="outside lower center", ncols=ncols, frameon=False)
        return _rendered(drawing, data, "orthogonality")


def g_effect(data: ExperimentData) -> RenderedFigure:
    """What updates did to the risk of the forget set and of retain images, against the step.

    Raises:
        ReportError: no run has it.
    """
    styles = method_styles(data.report_methods)
    titles = {
        "g_effect_forget": "Forget set, ⟨∇R(D_u), Δθ⟩ (nats)",
        "g_effect_retain": "Retain, ⟨∇R(D_r), Δθ⟩ (nats)",
    }
    with mpl.style.context(STYLE):
        models = data.experiment.models
        drawing, axes = axes_grid(len(models), 2, 2 * len(models), PAGE_WIDTH, 0.9 + 2.4 * len(models))
        shown: dict[str, MethodStyle] = {}
        for index, ax in enumerate(axes):
            model, column = models[index // 2], G_EFFECTS[index % 2]
            ax.axhline(0, color=_INK, lw=0.6, zorder=1)
            for method in data.experiment.methods:
                rows = _unlearning_steps(data, model, method).dropna(subset=[column])
                for _, path in rows.groupby("seed"):
                    style = shown[method] = styles[method]
                    ax.plot(
                        path["step"],
                        path[column],
                        color=style.colour,
                        ls=style.dashes,
                        marker=style.marker,
                        ms=4,
                        mec="white",
                        mew=0.4,
                        lw=0.9,
                    )
            ax.set_yscale("symlog", linthresh=1e-3)
            ax.set_title(titles[column] + (f"\n{model}" if len(models) > 1 else ""), fontsize=7.5)
            ax.set(xlabel="Unlearning step")
            # A run of one or two steps has one tick or two, and no half steps.
            ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
            sns.despine(ax=ax)
        if not shown:
            raise ReportError(f"{data.experiment.id}: no run has {G_EFFECTS}; run the unlearning steps again")
        handles = [_handle(style) for style in shown.values()]
        ncols = legend_columns(handles, 4, PAGE_WIDTH)
        drawing.legend(handles=handles, loc="outside lower center", ncols=ncols, frameon=False)
        return _rendered(drawing, data, "g_effect")


def _panels_of(data: ExperimentData) -> tuple[list[tuple[str, str, pd.DataFrame]], list[str]]:
    panels = []
    without_steps = []
    for model in data.experiment.models:
        for method in data.experiment.methods:
            rows = rows_of(data.trajectories, model, method).sort_values(["seed", "step"], kind="stable")
            if not (rows["step"] > 0).any():
                without_steps.append(method)
                continue
            late = rows.groupby("seed")["step"].min()
            if (late != 0).any():
                raise ReportError(
                    f"{data.experiment.id}: the trajectory of method={method}, model={model} starts at step "
                    f"{late.max()}; record step 0, the original model, and run that unlearning step again"
                )
            panels.append((model, method, rows))
    if not panels:
        raise ReportError(
            f"{data.experiment.id}: no method has a trajectory; collect the trajectories of its runs again"
        )
    return panels, list(dict.fromkeys(without_steps))


FIGURES: tuple[Callable[[ExperimentData], RenderedFigure], ...] = (
    equal_forgetting,
    choices,
    tradeoff,
    trajectories,
    g_effect,
    orthogonality,
)
"""One function a figure, in the order of ``FIGURE_NAMES``."""


def legend_columns(handles: Sequence[Artist], most: int, width: float) -> int:
    """As many columns, at most so many, as a legend may have in a figure of so many inches: names can be long."""
    page = Figure(figsize=(width, 1))
    FigureCanvasAgg(page)
    for columns in range(most, 1, -1):
        legend = page.legend(handles=handles, ncols=columns, frameon=False)
        if legend.get_window_extent().width <= page.bbox.width:
            return columns
        legend.remove()
    return 1


def axes_grid(
    lines: int, columns: int, used: int, width: float, height: float
) -> tuple[Figure, Sequence[Axes]]:
    """A figure of width × height inches and the first `used` of its lines × columns axes; the others are removed."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(np.ravel(figure.subplots(lines, columns, squeeze=False)))
    for ax in axes[used:]:
        ax.remove()
    return figure, axes[:used]


def _limits(percent: pd.Series) -> tuple[float, float]:
    low, high = float(percent.min()), float(percent.max())
    margin = max(0.08 * (high - low), 0.5)
    return low - margin, high + margin


def _target_zone(
    ax: Axes, x: pd.Series, y: pd.Series, x_limits: tuple[float, float], y_limits: tuple[float, float]
) -> None:
    # A range may be empty (class forgetting: all at 0%); the caption tells of the least size.
    corner, size = [], []
    for values, (low, high) in ((x, x_limits), (y, y_limits)):
        extent = max(float(values.max() - values.min()), 0.04 * (high - low))
        corner.append(float(values.max() + values.min()) / 2 - extent / 2)
        size.append(extent)
    ax.add_patch(
        Rectangle((corner[0], corner[1]), size[0], size[1], facecolor=_ZONE, alpha=0.35, lw=0, zorder=1)
    )


def _rendered(figure: Figure, data: ExperimentData, name: str) -> RenderedFigure:
    return RenderedFigure(data.experiment.id, name, figure_captions(data)[name], *saved(figure))


def saved(figure: Figure) -> tuple[bytes, bytes]:
    """A figure as SVG and PNG, without date and version: the same figure has the same bytes."""
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(png, format="png", metadata={"Software": None})
    return svg.getvalue(), png.getvalue()
