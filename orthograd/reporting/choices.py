"""Whether a conclusion depends on a choice: every form of OrthoGrad beside the best baseline of each seed.

The stopping target is a choice that takes no run of its own: where else it could lie the trajectories tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from orthograd import methods
from orthograd.metrics.equal_forgetting import at_forget_accuracy
from orthograd.reporting.data import ExperimentData, rows_of
from orthograd.reporting.experiment import ORTHOGRAD
from orthograd.reporting.statistics import per_seed
from orthograd.reporting.text import method_label

# Column of the runs, what a positive lead means, and its sign.
LEADS = {
    "test_at_target": ("Test accuracy at the target, above the best baseline", 1),
    "gap": ("Gap, below the best baseline", -1),
}


# Other targets, as far from the one that runs stopped at; fractions.
TARGETS = (-0.05, 0.05)


@dataclass(frozen=True)
class Lead:
    """How far a form of OrthoGrad is ahead of the best baseline, seed by seed; in percentage points."""

    method: str
    values: pd.Series
    shift: float = 0.0
    """At another forget accuracy than the target: how far above it, a fraction."""
    baselines: tuple[str, ...] = ()
    """At another target: those that can be compared there and at the target."""
    at_target: pd.Series | None = None
    """At another target: the lead over the same baselines at the target."""

    @property
    def label(self) -> str:
        """What differs from OrthoGrad as it is."""
        return target_label(self.shift) if self.shift else method_label(self.method)


def target_label(shift: float) -> str:
    """'OrthoGrad, target + 5 points'."""
    return f"{method_label(ORTHOGRAD)}, target {'+' if shift > 0 else '−'} {100 * abs(shift):g} points"


def forms(data: ExperimentData) -> list[str]:
    """The runs of the experiment that are a form of OrthoGrad; the first is OrthoGrad as it is."""
    found = [run for run in data.experiment.methods if methods.of_run(run).startswith(ORTHOGRAD)]
    return sorted(found, key=lambda run: run != ORTHOGRAD)


def at_other_target(data: ExperimentData, model: str, run: str, shift: float) -> pd.Series:
    """Test accuracy, by seed, where the forget accuracy is so much above the target; NaN where the run has none.

    Interpolated between the checks at which the test accuracy was recorded; the first one is the original model's.
    """
    rows, ways = rows_of(data.runs, model, run), rows_of(data.trajectories, model, run)
    found: dict[int, float] = {}
    for seed, target, diverged in zip(rows["seed"], rows["target"], rows["diverged"], strict=True):
        way = ways[ways["seed"] == seed].sort_values("step").dropna(subset=["accuracy_test"])
        # All outputs of a model that diverged count as wrong, which is no forgetting; behind the target no run is said
        # to have diverged, but not one right answer on both sets is no model either.
        last = way[["accuracy_forget", "accuracy_test"]].iloc[-1:]
        broken = diverged or bool((last == 0).all(axis=None))
        way = way.iloc[:-1] if broken else way
        value = at_forget_accuracy(
            way["accuracy_forget"].tolist(), way["accuracy_test"].tolist(), target + shift
        )
        found[seed] = math.nan if value is None else value
    return pd.Series(found, dtype="float64").rename_axis("seed").sort_index()


def comparable(data: ExperimentData, model: str, column: str, shift: float = 0.0) -> dict[str, pd.Series]:
    """The values, larger is better, of the runs that have one in every seed; by gap, of those at their target."""
    _, sign = LEADS[column]
    known = {}
    for run in data.experiment.methods:
        rows = rows_of(data.runs, model, run)
        values = at_other_target(data, model, run, shift) if shift else sign * per_seed(rows, column)
        if values.notna().all() and (column != "gap" or rows["target_reached"].all()):
            known[run] = values
    return known


def compared(data: ExperimentData, model: str, column: str) -> list[str]:
    """The baselines of which the best one of each seed is beside the forms: those that have a value in every seed."""
    return [run for run in comparable(data, model, column) if run not in forms(data)]


def leads(data: ExperimentData, model: str, column: str) -> list[Lead]:
    """The lead of every form that can be compared; empty where no form or no baseline can, see `obstacle`."""
    known = comparable(data, model, column)
    baselines = compared(data, model, column)
    if not baselines:
        return []
    best = pd.concat([known[run] for run in baselines], axis=1).max(axis=1)
    return [Lead(run, 100 * (known[run] - best)) for run in forms(data) if run in known]


def target_leads(data: ExperimentData, model: str) -> list[Lead]:
    """The lead of OrthoGrad as it is at each of `TARGETS` at which it and a baseline can be compared.

    Only over the baselines that can be compared at the target, too: else the best one would change with them.
    """
    result = []
    here = comparable(data, model, "test_at_target")
    for shift in TARGETS:
        there = comparable(data, model, "test_at_target", shift)
        baselines = tuple(run for run in there if run in here and run not in forms(data))
        if baselines and ORTHOGRAD in there and ORTHOGRAD in here:
            at_target, values = (
                100 * (known[ORTHOGRAD] - pd.concat([known[run] for run in baselines], axis=1).max(axis=1))
                for known in (here, there)
            )
            result.append(Lead(ORTHOGRAD, values, shift, baselines, at_target))
    return result


def obstacle(data: ExperimentData, model: str, column: str) -> str:
    """Why there are no leads."""
    known = comparable(data, model, column)
    return (
        "no baseline can be compared"
        if set(known) <= set(forms(data))
        else "no form of OrthoGrad can be compared"
    )


def turned(found: list[Lead]) -> list[str]:
    """Labels of the leads whose mean has another sign than the first one's, which is OrthoGrad as it is.

    A lead at another target stands beside that over the same baselines at the target. Empty without OrthoGrad as it is.
    """
    if not found or found[0].method != ORTHOGRAD:
        return []
    ours = found[0].values
    return [
        lead.label
        for lead in found[1:]
        if (lead.values.mean() > 0) != ((ours if lead.at_target is None else lead.at_target).mean() > 0)
    ]
