"""What the search for parameters tried and what it cost to choose without a retrained model: tables and a figure.

Input is the table of all trials that `snakemake tune` writes. Score and gap are fractions; shown are percent and
percentage points. The regret of a search is the gap of the trial that the score chose less the smallest gap of its
trials, both from the same runs on the tuning seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy import stats

from orthograd.reporting.captions import Caption
from orthograd.reporting.data import ReportError
from orthograd.reporting.figures import (
    PAGE_WIDTH,
    RC,
    STYLE,
    MethodStyle,
    RenderedFigure,
    method_styles,
    saved,
)
from orthograd.reporting.tables import Cell, Table
from orthograd.reporting.text import listing, method_label, number, seeds_text
from orthograd.search import Tuning

SECTION = "search"
"""Anchor of the section and first part of its file names, where an experiment has its id."""

FIGURE = "trials"
TITLE = "Search for parameters"

_COLUMNS = ("scenario", "method", "chosen", "nearest_to_retrained", "seeds", "reached", "gap", "score")
_INK = "0.1"
_LINEAR_BELOW = 1.0
"""Percentage points of gap below which the axis is linear, so that a gap of 0 has a place."""


@dataclass(frozen=True, eq=False)
class SearchData:
    """All trials of a search, one a row; ``gap`` and ``score`` are fractions, ``reached`` counts tuning seeds."""

    tuning: Tuning
    trials: pd.DataFrame

    @classmethod
    def read(cls, path: Path, tuning: Tuning) -> Self:
        """The table of `snakemake tune`, checked against the section `tuning` of the profile.

        Raises:
            ReportError: the table is not one that this version writes, or was made with another number of seeds.
        """
        trials = pd.read_csv(path)
        mend = "run `snakemake tune` again"
        missing = [column for column in _COLUMNS if column not in trials]
        if missing:
            raise ReportError(f"{path}: columns {missing} are missing; {mend}")
        if trials.empty or not np.isfinite(trials[["score", "gap"]]).all(axis=None):
            raise ReportError(f"{path}: every trial needs a score and a gap, and there has to be one; {mend}")
        for (scenario, method), rows in trials.groupby(["scenario", "method"]):
            marked = rows[["chosen", "nearest_to_retrained"]].sum()
            if (marked != 1).any():
                raise ReportError(
                    f"{path}: {method} in scenario {scenario} has {marked['chosen']} chosen trials and "
                    f"{marked['nearest_to_retrained']} nearest ones, not one of each; {mend}"
                )
        seeds = sorted(set(trials["seeds"]))
        if seeds != [len(tuning.seeds)]:
            raise ReportError(
                f"{path}: its trials have {listing([str(n) for n in seeds])} seeds, but tuning.seeds has "
                f"{len(tuning.seeds)}; {mend}, or give the section `tuning` that the table was made with"
            )
        return cls(tuning, trials)

    @property
    def scenarios(self) -> list[str]:
        """In the order of the table."""
        return list(dict.fromkeys(self.trials["scenario"]))

    @property
    def methods(self) -> list[str]:
        """In the order of the table."""
        return list(dict.fromkeys(self.trials["method"]))

    def rows(self, scenario: str, method: str) -> pd.DataFrame:
        """The trials of one search; empty where the method was not searched in the scenario."""
        return self.trials[(self.trials["scenario"] == scenario) & (self.trials["method"] == method)]


def results(data: SearchData) -> pd.DataFrame:
    """One row a search (scenario, method), in the order of the trials; raw numbers.

    Columns: scenario, method, seeds, trials, trials_reached (trials that reached the target in every seed), score and
    gap (of the chosen trial), chosen_reached and nearest_reached (seeds in which the chosen trial and the one nearest
    to the retrained models reached it), smallest_gap, regret, spearman (rank correlation of score and gap over the
    trials; NaN where there are fewer than two different scores or gaps).
    """
    found = []
    for (scenario, method), rows in data.trials.groupby(["scenario", "method"], sort=False):
        chosen = rows[rows["chosen"]].iloc[0]
        nearest = rows[rows["nearest_to_retrained"]].iloc[0]
        defined = rows["score"].nunique() > 1 and rows["gap"].nunique() > 1
        found.append(
            {
                "scenario": scenario,
                "method": method,
                "seeds": len(data.tuning.seeds),
                "trials": len(rows),
                "trials_reached": int((rows["reached"] == rows["seeds"]).sum()),
                "score": chosen["score"],
                "chosen_reached": chosen["reached"],
                "gap": chosen["gap"],
                "smallest_gap": nearest["gap"],
                "nearest_reached": nearest["reached"],
                "regret": chosen["gap"] - nearest["gap"],
                "spearman": float(stats.spearmanr(rows["score"], rows["gap"]).statistic)
                if defined
                else math.nan,
            }
        )
    return pd.DataFrame(found)


def opening(data: SearchData) -> str:
    """The findings in words: median and largest regret, and what the score could not find."""
    found = results(data)
    worst = found.iloc[int(found["regret"].argmax())]
    searches = "1 search" if len(found) == 1 else f"{len(found)} searches"
    sentences = [
        f"Choosing parameters without a retrained model cost {_points(found['regret'].median())} percentage points of "
        f"gap at the median of {searches}, and {_points(worst['regret'])} at most "
        f"({method_label(worst['method'])}, scenario {worst['scenario']}).",
        *_never_reached(found),
    ]
    elsewhere = int((found["nearest_reached"] < found["seeds"]).sum())
    if elsewhere:
        sentences.append(
            f"In {elsewhere} of {searches} the trial nearest to the retrained models did not reach the target in every "
            "tuning seed: there the regret is also the price of the target."
        )
    return " ".join(sentences)


def _never_reached(found: pd.DataFrame) -> list[str]:
    """A sentence a scenario in which some method has no trial at the target."""
    none = found[found["trials_reached"] == 0]
    return [
        f"Scenario {scenario}: no trial of {listing([method_label(method) for method in rows['method']])} reached the "
        "target in every tuning seed."
        for scenario, rows in none.groupby("scenario", sort=False)
    ]


def setting(data: SearchData) -> str:
    """What the tables and the figure share: on what was searched, and what score and gap are."""
    tuning = data.tuning
    seeds = listing([str(seed) for seed in tuning.seeds])
    counts = results(data)["trials"]
    trials = str(counts.max()) if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    limit = (
        ""
        if counts.min() == tuning.trials
        else f" of the {tuning.trials} planned: a search starts no trial after {number(tuning.seconds, 0)} s, and a "
        "method without anything to search has one"
    )
    return (
        f"Dataset {tuning.dataset}, model {tuning.model}, retain subset of {tuning.retain_size:,} samples; "
        f"{trials} trial{'' if counts.max() == 1 else 's'} a method{limit}. "
        f"Means over {seeds_text(len(tuning.seeds))} for tuning ({seeds}), which "
        "no reported run shares; one retrained model a seed. Score, which chooses (higher is better): validation "
        "accuracy at the end in percent where a run reached the target, minus the distance of its forget accuracy to "
        "the target in percentage points where it did not. Gap, which the choice does not see (lower is better): mean "
        "distance to the retrained model in percentage points over forget, retain and validation accuracy; validation "
        "takes the place of test, of which a search sees nothing, so that it is not the gap of the experiments."
    )


def table(data: SearchData, scenario: str) -> Table:
    """One scenario, a row a method."""
    found = results(data)
    found = found[found["scenario"] == scenario]
    rows = tuple(
        (
            Cell(method_label(row["method"])),
            Cell(str(row["trials"])),
            Cell(f"{row['trials_reached']}/{row['trials']}"),
            Cell(number(100 * row["score"], 1)),
            *(Cell(_points(row[key])) for key in ("gap", "smallest_gap", "regret")),
            Cell(number(row["spearman"], 2)),
        )
        for _, row in found.iterrows()
    )
    notes = (
        "Target: trials that reached the target in every tuning seed / all trials. Score, gap: of the chosen trial. "
        "Smallest gap: among all trials, at the target or not. Regret: the difference of the two, what it cost not to "
        "have a retrained model; as the smallest of several noisy figures is low by chance too, it is rather too "
        "large. Rank correlation: Spearman's, of score and gap over the trials; −1: the score orders them as the gap "
        "does; – where the trials do not differ. Nothing is set in bold, no difference is called significant."
    )
    return Table(
        SECTION,
        scenario,
        Caption(f"{TITLE}, scenario {scenario}", setting(data), " ".join([notes, *_never_reached(found)])),
        found,
        ("Method", "Trials", "Target", "Score", "Gap", "Smallest gap", "Regret", "Rank correlation"),
        rows,
        1,
    )


def figure_caption(data: SearchData) -> Caption:
    """Caption of the figure, without drawing it."""
    return Caption(
        TITLE,
        setting(data),
        "Gap against score, one marker a trial, one panel a method and scenario; hollow: the trial did not reach the "
        "target in every tuning seed. Ringed: the trial that the score chose, the rightmost; diamond: the one nearest "
        "to the retrained models, the lowest; dotted: the regret. The axis of the gap is logarithmic, below "
        f"{number(_LINEAR_BELOW, 0)} percentage point linear. All panels share their axes.",
    )


def figure(data: SearchData) -> RenderedFigure:
    """Gap against score of all trials: a block of panels a scenario, in it one panel a method."""
    styles = method_styles(data.methods)
    searched = {
        scenario: [method for method in data.methods if len(data.rows(scenario, method))]
        for scenario in data.scenarios
    }
    most = max(map(len, searched.values()))
    columns = min(6, most)
    lines = [math.ceil(len(methods) / columns) for methods in searched.values()]
    width = max(PAGE_WIDTH * columns / 6, 4.2)
    with mpl.style.context(STYLE):
        drawing = Figure(figsize=(width, 0.5 + sum(0.55 + 1.35 * n for n in lines)), layout="constrained")
        FigureCanvasAgg(drawing)
        blocks = drawing.subfigures(len(lines), 1, squeeze=False, height_ratios=[0.4 + n for n in lines])[
            :, 0
        ]
        for block, count, (scenario, methods) in zip(blocks, lines, searched.items(), strict=True):
            axes = list(np.ravel(block.subplots(count, columns, squeeze=False)))
            for place, (ax, method) in enumerate(zip(axes, methods, strict=False)):
                _panel(ax, data.rows(scenario, method), styles[method])
                _axes(ax, data.trials, left=place % columns == 0, bottom=place + columns >= len(methods))
            for ax in axes[len(methods) :]:
                ax.remove()
            block.suptitle(f"Scenario {scenario}", fontsize=RC["axes.titlesize"], fontweight="bold")
            block.supxlabel("Score (%)", fontsize=RC["axes.labelsize"])
            block.supylabel("Gap (percentage points)", fontsize=RC["axes.labelsize"])
        drawing.legend(
            handles=_handles(), loc="outside lower center", ncols=2 if columns < 5 else 5, frameon=False
        )
        return RenderedFigure(SECTION, FIGURE, figure_caption(data), *saved(drawing))


_CHOSEN: dict[str, Any] = {"marker": "o", "ms": 9, "mfc": "none", "mec": _INK, "mew": 1.0, "ls": ""}
_NEAREST: dict[str, Any] = {"marker": "D", "ms": 8, "mfc": "none", "mec": _INK, "mew": 0.8, "ls": ""}
_REGRET: dict[str, Any] = {"color": _INK, "ls": (0, (1, 1.2)), "lw": 1.0}


def _trial(reached: bool, style: MethodStyle) -> dict[str, Any]:
    return {
        "marker": style.marker,
        "ms": 5,
        "mfc": style.colour if reached else "white",
        "mec": "white" if reached else style.colour,
        "mew": 0.3 if reached else 1.0,
        "ls": "",
    }


def _panel(ax: Axes, rows: pd.DataFrame, style: MethodStyle) -> None:
    for row in rows.to_dict("records"):
        at_target = row["reached"] == row["seeds"]
        ax.plot(100 * row["score"], 100 * row["gap"], **_trial(at_target, style), zorder=3, clip_on=False)
    chosen, nearest = (rows[rows[mark]].iloc[0] for mark in ("chosen", "nearest_to_retrained"))
    ax.plot(2 * [100 * chosen["score"]], [100 * chosen["gap"], 100 * nearest["gap"]], **_REGRET, zorder=2)
    ax.plot(100 * chosen["score"], 100 * chosen["gap"], **_CHOSEN, zorder=4, clip_on=False)
    ax.plot(100 * nearest["score"], 100 * nearest["gap"], **_NEAREST, zorder=4, clip_on=False)
    # A long name of a variant takes two lines.
    ax.set_title(style.label.replace(", ", ",\n"), fontsize=7.5)


def _axes(ax: Axes, trials: pd.DataFrame, left: bool, bottom: bool) -> None:
    ax.set_yscale("symlog", linthresh=_LINEAR_BELOW, linscale=0.5)
    scores, gaps = 100 * trials["score"], 100 * trials["gap"]
    margin = max(0.08 * float(scores.max() - scores.min()), 1.0)
    ax.set(
        xlim=(float(scores.min()) - margin, float(scores.max()) + margin),
        ylim=(min(_LINEAR_BELOW, 0.6 * float(gaps.min())), max(10.0, 1.8 * float(gaps.max()))),
    )
    ax.xaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
    ax.set_yticks([tick for tick in (0, 1, 10, 100) if ax.get_ylim()[0] <= tick <= ax.get_ylim()[1]])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.tick_params(labelleft=left, labelbottom=bottom, labelsize=7)
    sns.despine(ax=ax)


def _handles() -> list[Line2D]:
    grey = MethodStyle("", "0.5", "o", "-")
    return [
        Line2D([], [], **_trial(True, grey), label="Trial"),
        Line2D([], [], **_trial(False, grey), label="Target not reached"),
        Line2D([], [], **_CHOSEN, label="Chosen"),
        Line2D([], [], **_NEAREST, label="Nearest to retrained"),
        Line2D([], [], **_REGRET, label="Regret"),
    ]


def _points(fraction: float) -> str:
    return number(100 * fraction, 2)
