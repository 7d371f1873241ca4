"""What the search for parameters tried and what it cost to choose without a retrained model: tables and a figure.

Input is the table of all trials that `snakemake tune` writes. Score and gap are fractions; shown are percent and
percentage points. The regret of a search is the gap of the trial that the score chose less the smallest gap of the
trials that reached the target, both from the same runs on the tuning seeds.
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
from orthograd.reporting.text import listing, method_label, number, on_lines, seeds_text
from orthograd.search import Tuning

SECTION = "search"
"""Anchor of the section and first part of its file names, where an experiment has its id."""

FIGURE = "trials"
TITLE = "Search for parameters"

_COLUMNS = (
    "scenario",
    "method",
    "chosen",
    "nearest_to_retrained",
    "seeds",
    "reached",
    "forget",
    "gap",
    "score",
)
_INK = "0.1"
_IMAGES = {
    "apart": "on images that no reported split has",
    "shared": "on images drawn like the reported ones, of which they share some",
}
_MARK = "*"
"""Behind the smallest gap of a method without a trial at the target."""
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
        if trials.empty or not np.isfinite(trials[["score", "gap", "forget"]]).all(axis=None):
            raise ReportError(
                f"{path}: every trial needs a score, a gap and a forget accuracy, and there has to be one; {mend}"
            )
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


def _at_target(rows: pd.DataFrame) -> pd.DataFrame:
    """The trials that reached the target in every tuning seed."""
    return rows[rows["reached"] == rows["seeds"]]


def _nearest(rows: pd.DataFrame) -> pd.Series:
    """The trial with the smallest gap among those at the target; where a search has none, among all.

    A model that forgot nothing is near to a retrained one wherever forgetting moves it little: over all trials the
    nearest one would be no choice that anybody could want.
    """
    usable = _at_target(rows)
    usable = rows if usable.empty else usable
    return usable.iloc[int(usable["gap"].argmin())]


def results(data: SearchData) -> pd.DataFrame:
    """One row a search (scenario, method), in the order of the trials; raw numbers.

    Columns: scenario, method, seeds, trials, trials_reached (trials that reached the target in every seed), score and
    gap (of the chosen trial), chosen_reached (seeds in which it reached the target), smallest_gap (among the trials at
    the target in every seed; among all where trials_reached is 0), regret (below 0 where the chosen trial missed the
    target in a seed and is nearer than all at the target), overall_gap, overall_reached and overall_forget (gap, seeds
    at the target and forget accuracy of the nearest of all trials), spearman (rank correlation of score and gap over
    the trials; NaN where there are fewer than two different scores or gaps).
    """
    found = []
    for (scenario, method), rows in data.trials.groupby(["scenario", "method"], sort=False):
        chosen = rows[rows["chosen"]].iloc[0]
        nearest = _nearest(rows)
        overall = rows[rows["nearest_to_retrained"]].iloc[0]
        defined = rows["score"].nunique() > 1 and rows["gap"].nunique() > 1
        found.append(
            {
                "scenario": scenario,
                "method": method,
                "seeds": len(data.tuning.seeds),
                "trials": len(rows),
                "trials_reached": len(_at_target(rows)),
                "score": chosen["score"],
                "chosen_reached": chosen["reached"],
                "gap": chosen["gap"],
                "smallest_gap": nearest["gap"],
                "regret": chosen["gap"] - nearest["gap"],
                "overall_gap": overall["gap"],
                "overall_reached": overall["reached"],
                "overall_forget": overall["forget"],
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
    searches = _searches(found)
    sentences = [
        f"Choosing parameters without a retrained model cost {_points(found['regret'].median())} percentage points of "
        f"gap at the median of {searches}, and {_points(worst['regret'])} at most "
        f"({method_label(worst['method'])}, scenario {worst['scenario']}), against the nearest trial at "
        "the target. The gap holds the distance of the very validation accuracy that the score is, and only the "
        f"{_from_to(found['trials_reached'])} trials of a method that reached the target compete, so that this regret "
        "is rather small by construction.",
        *_never_reached(found),
        *_forgot_nothing(found),
    ]
    return " ".join(sentences)


def _from_to(counts: pd.Series) -> str:
    """'16', or '0 to 16' where they differ."""
    return str(counts.max()) if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"


def _searches(found: pd.DataFrame) -> str:
    return "1 search" if len(found) == 1 else f"{len(found)} searches"


def _never_reached(found: pd.DataFrame) -> list[str]:
    """A sentence a scenario in which some method has no trial at the target."""
    sentences = []
    for scenario, rows in found.groupby("scenario", sort=False):
        none = rows[rows["trials_reached"] == 0]
        if len(none):
            sentences.append(
                f"Scenario {scenario}: no trial of {listing([method_label(method) for method in none['method']])} "
                f"reached the target in every tuning seed ({len(none)} of {len(rows)} methods); there the smallest gap "
                "is that of all trials."
            )
    return sentences


def _forgot_nothing(found: pd.DataFrame) -> list[str]:
    """Why the nearest of all trials is not what a choice is measured against; nothing where it is at the target."""
    rows = found[found["overall_reached"] == 0]
    if rows.empty:
        return []
    low, high = (
        number(100 * value, 1) for value in (rows["overall_forget"].min(), rows["overall_forget"].max())
    )
    return [
        f"In {len(rows)} of {_searches(found)} the nearest of all trials, at the target or not, reached the target in "
        "no tuning seed: it forgot too little, often nothing "
        f"(forget accuracy {low if low == high else f'{low} to {high}'}%)."
    ]


def setting(data: SearchData) -> str:
    """What the tables and the figure share: on what was searched, and what score and gap are."""
    tuning = data.tuning
    seeds = listing([str(seed) for seed in tuning.seeds])
    counts = results(data)["trials"]
    trials = _from_to(counts)
    limit = (
        ""
        if counts.min() == tuning.trials
        else f" of the {tuning.trials} planned: a search starts no trial after {number(tuning.seconds, 0)} s, and a "
        "method without anything to search has one"
    )
    return (
        f"Dataset {tuning.dataset}, model {tuning.model}, retain subset of {tuning.retain_size:,} samples; "
        f"{trials} trial{'' if counts.max() == 1 else 's'} a method{limit}, each of at most {tuning.max_steps} "
        "steps. "
        f"Means over {seeds_text(len(tuning.seeds))} for tuning ({seeds}), which "
        f"no reported run shares, {_IMAGES[tuning.images]}; "
        "one retrained model a seed. Score, which chooses (higher is better): validation "
        "accuracy at the end in percent where a run reached the target, minus the distance of its forget accuracy to "
        "the target in percentage points where it did not, and −100 where it diverged. Gap, which the choice does not "
        "see (lower is better): mean "
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
            Cell(_points(row["gap"])),
            Cell(_points(row["smallest_gap"]) + ("" if row["trials_reached"] else _MARK)),
            Cell(_points(row["regret"])),
            Cell(number(row["spearman"], 2)),
        )
        for _, row in found.iterrows()
    )
    notes = (
        "Target: trials that reached the target in every tuning seed / all trials. Score, gap: of the chosen trial. "
        f"Smallest gap: among the trials at the target in every tuning seed; {_MARK}: none is, so among all trials. "
        "Regret: the difference of the two, what it cost not to have a retrained model; as the smallest of several "
        "noisy figures is low by chance too, it is rather too large, but small where few trials are at the target. "
        "Rank correlation: Spearman's, of score and gap over the trials; −1: the score orders them as the gap does; – "
        "where the trials do not differ. Nothing is set in bold, no difference is called significant."
    )
    return Table(
        SECTION,
        scenario,
        Caption(
            f"{TITLE}, scenario {scenario}",
            setting(data),
            " ".join([notes, *_never_reached(found), *_forgot_nothing(found)]),
        ),
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
        "to the retrained models, the lowest of those at the target or, where none is, of all; dotted: the regret. "
        "Lower hollow ones forgot too little, often nothing. The axis of the gap is logarithmic, below "
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
    chosen, nearest = rows[rows["chosen"]].iloc[0], _nearest(rows)
    ax.plot(2 * [100 * chosen["score"]], [100 * chosen["gap"], 100 * nearest["gap"]], **_REGRET, zorder=2)
    ax.plot(100 * chosen["score"], 100 * chosen["gap"], **_CHOSEN, zorder=4, clip_on=False)
    ax.plot(100 * nearest["score"], 100 * nearest["gap"], **_NEAREST, zorder=4, clip_on=False)
    ax.set_title(on_lines(style.label), fontsize=7.5)


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
