"""A comparison over sizes of the retain subset: a table and a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import matplotlib as mpl
import matplotlib.style
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from orthograd.reporting import captions
from orthograd.reporting.captions import Caption
from orthograd.reporting.data import REFERENCES, ExperimentData, ReportData, rows_of
from orthograd.reporting.experiment import ORIGINAL, RETRAINED, Sweep
from orthograd.reporting.figures import PAGE_WIDTH, STYLE, RenderedFigure, axes_grid, method_styles, saved
from orthograd.reporting.ranking import significance_text
from orthograd.reporting.statistics import Interval, summarise
from orthograd.reporting.tables import Cell, Table
from orthograd.reporting.text import estimate, listing, method_label, number, seeds_text

NAME = "sizes"
"""Behind the sweep's id in the names of its files."""

# Column, what it is, and its unit.
QUANTITIES = {
    "test_at_target": "Test accuracy at the target (%)",
    "gap": "Gap (percentage points)",
}


@dataclass(frozen=True, eq=False)
class SweepData:
    """The runs of a sweep: the data of one comparison for each size, ascending."""

    sweep: Sweep
    sizes: tuple[ExperimentData, ...]

    @classmethod
    def select(cls, data: ReportData, sweep: Sweep) -> Self:
        """Raises ReportError where a run is missing."""
        return cls(sweep, tuple(data.select(experiment) for experiment in sweep.experiments))

    @property
    def n(self) -> int:
        """Number of seeds."""
        return self.sizes[0].n

    def values(self, method: str, size: ExperimentData, quantity: str) -> pd.Series:
        """One value a seed, a fraction."""
        return rows_of(size.runs, self.sweep.model, method)[quantity]

    def interval(self, method: str, size: ExperimentData, quantity: str) -> Interval:
        """Mean and t-interval over the seeds, a fraction; NaN where a seed has no value."""
        return summarise(rows_of(size.runs, self.sweep.model, method), quantity)

    def reached(self, method: str, size: ExperimentData) -> int:
        """In how many seeds a method reached its target."""
        return int(rows_of(size.runs, self.sweep.model, method)["target_reached"].sum())


def _caption(data: SweepData, notes: str) -> Caption:
    first = captions.accuracy(data.sizes[0])
    sizes = listing([number(size, 0) for size in data.sweep.retain_sizes])
    one = f"{data.sweep.retain_sizes[0]:,} samples."
    return Caption(data.sweep.title, first.setting.replace(f"of {one}", f"of {sizes} samples."), notes)


def table(data: SweepData) -> Table:
    """A row a method and quantity, a column a size; the file has one row a method, quantity and size."""
    raw: list[dict[str, object]] = []
    rows: list[tuple[Cell, ...]] = []
    for quantity, label in QUANTITIES.items():
        # The references stop at no target.
        for method in [*(REFERENCES if quantity == "gap" else ()), *data.sweep.methods]:
            cells = [Cell(method_label(method)), Cell(label)]
            for size in data.sizes:
                value = data.interval(method, size, quantity)
                reached = None if method in REFERENCES else data.reached(method, size)
                raw.append(
                    {"method": method, "quantity": quantity, "retain_size": size.experiment.retain_size}
                    | {"n": data.n, "mean": value.mean, "half_width": value.half_width}
                    | {"target_reached": reached}
                )
                missed = quantity == "gap" and reached is not None and reached < data.n
                mark = f" ({reached}/{data.n})" if missed else ""
                cells.append(Cell(estimate(value, 100, 1 if quantity == "test_at_target" else 2) + mark))
            rows.append(tuple(cells))
    notes = (
        "Test accuracy at the target: at equal forgetting, – where a seed did not reach the target or "
        "passed it with the first step or round. Gap: mean distance to the retrained models over forget, retain "
        f"and test accuracy; {captions.floor_text(data.sizes[0])}. Behind it, "
        "where not all runs reached the target, those that did / all: at unequal forgetting. Each method has "
        "the same parameters at all sizes. ±: half-width of the 95% "
        f"t-interval over {seeds_text(data.n)}. {significance_text(data.n)}; nothing is set in bold."
    )
    frame = pd.DataFrame(raw).astype({"target_reached": "Int64"})
    header = ("Method", "Quantity", *(number(size, 0) for size in data.sweep.retain_sizes))
    return Table(data.sweep.id, NAME, _caption(data, notes), frame, header, tuple(rows), 2)


def figure_caption(data: SweepData) -> Caption:
    """Caption of the figure, without drawing it."""
    return _caption(
        data,
        f"Against the size of the retain subset (logarithmic): one marker a seed ({seeds_text(data.n)}), "
        "lines through their means where every seed has a value, thin bars: 95% t-interval of the mean. "
        "Left: test accuracy in percent at equal "
        "forgetting; right: gap to the retrained models in percentage points, lower is better. Shaded: "
        "range of the retrained models' test accuracy; dotted: the original models' mean. Axes do not "
        "start at 0.",
    )


def figure(data: SweepData) -> RenderedFigure:
    """Test accuracy at the target, and gap, against the size of the retain subset."""
    styles = method_styles(data.sweep.methods)
    with mpl.style.context(STYLE):
        drawing, axes = axes_grid(1, 2, 2, PAGE_WIDTH, 3.1)
        for ax, (quantity, label) in zip(axes, QUANTITIES.items(), strict=True):
            if quantity == "test_at_target":
                _references(ax, data.sizes[0])
            for place, method in enumerate(data.sweep.methods):
                style = styles[method]
                # Side by side, so that markers of equal values can be told apart.
                shift = 1 + 0.05 * (place - (len(data.sweep.methods) - 1) / 2)
                found = [data.interval(method, size, quantity) for size in data.sizes]
                places = [shift * size for size in data.sweep.retain_sizes]
                known = [
                    (x, 100 * one.mean, 100 * one.half_width)
                    for x, one in zip(places, found, strict=True)
                    if one.mean == one.mean
                ]
                if known:
                    x_known, means, half_widths = zip(*known, strict=True)
                    ax.plot(x_known, means, color=style.colour, ls=style.dashes, lw=1.1)
                    ax.errorbar(
                        x_known,
                        means,
                        half_widths,
                        fmt="none",
                        ecolor=style.colour,
                        elinewidth=0.7,
                        alpha=0.6,
                    )
                for x, size in zip(places, data.sizes, strict=True):
                    values = 100 * data.values(method, size, quantity).dropna()
                    if values.empty:
                        # An empty line that is not clipped lies at 0, infinitely far away on a logarithmic axis.
                        continue
                    ax.plot(
                        [x] * len(values),
                        values,
                        marker=style.marker,
                        ms=4,
                        ls="",
                        mfc=style.colour,
                        mec="white",
                        mew=0.4,
                        clip_on=False,
                    )
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(FixedLocator(data.sweep.retain_sizes))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xticklabels([number(size, 0) for size in data.sweep.retain_sizes])
            ax.yaxis.set_major_locator(MaxNLocator(nbins=6))
            ax.set(xlabel="Retain samples", ylabel=label)
            sns.despine(ax=ax)
        handles = [
            *(
                Line2D([], [], marker=s.marker, ms=5, color=s.colour, ls=s.dashes, lw=1, label=s.label)
                for s in (styles[method] for method in data.sweep.methods)
            ),
            Patch(facecolor="0.55", alpha=0.35, label="Retrained, range"),
        ]
        drawing.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
        return RenderedFigure(data.sweep.id, NAME, figure_caption(data), *saved(drawing))


def _references(ax: Axes, size: ExperimentData) -> None:
    retrained = 100 * size.runs.loc[size.runs["method"] == RETRAINED, "accuracy_test"]
    ax.axhspan(retrained.min(), retrained.max(), color="0.55", alpha=0.35, lw=0, zorder=1)
    original = 100 * size.runs.loc[size.runs["method"] == ORIGINAL, "accuracy_test"].mean()
    ax.axhline(original, color="0.1", ls=":", lw=0.9, zorder=1)


def verdict(data: SweepData) -> str:
    """How much test accuracy at equal forgetting each method loses from the largest to the smallest retain subset."""
    smallest, largest = data.sizes[0], data.sizes[-1]
    losses: dict[str, float] = {}
    for method in data.sweep.methods:
        few, many = (data.interval(method, size, "test_at_target").mean for size in (smallest, largest))
        if few == few and many == many:
            losses[method] = many - few
    if not losses:
        return "No method has a test accuracy at equal forgetting at both ends of the sweep in every seed."
    order = sorted(losses, key=lambda method: losses[method])
    said = [f"{method_label(method)} {number(100 * losses[method], 2)}" for method in order]
    missing = [method_label(method) for method in data.sweep.methods if method not in losses]
    text = (
        f"From {number(largest.experiment.retain_size, 0)} to {number(smallest.experiment.retain_size, 0)} "
        "retain samples the mean test accuracy at equal forgetting falls by (percentage points): "
        f"{listing(said)}."
    )
    if missing:
        text += f" Not comparable at both ends: {listing(missing)}."
    if len(order) > 1:
        text += f" {method_label(order[0])} loses least."
    return f"{text} {significance_text(data.n)}."
