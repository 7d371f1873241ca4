"""Whether a conclusion depends on a choice: every form of OrthoGrad beside the best baseline of each seed."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from orthograd import methods
from orthograd.reporting.data import ExperimentData, rows_of
from orthograd.reporting.experiment import ORTHOGRAD
from orthograd.reporting.statistics import per_seed

# Column of the runs, what a positive lead means, and its sign.
LEADS = {
    "test_at_target": ("Test accuracy at the target, above the best baseline", 1),
    "gap": ("Gap, below the best baseline", -1),
}


@dataclass(frozen=True)
class Lead:
    """How far a form of OrthoGrad is ahead of the best baseline, seed by seed; in percentage points."""

    method: str
    values: pd.Series


def forms(data: ExperimentData) -> list[str]:
    """The runs of the experiment that are a form of OrthoGrad; the first is OrthoGrad as it is."""
    found = [run for run in data.experiment.methods if methods.of_run(run).startswith(ORTHOGRAD)]
    return sorted(found, key=lambda run: run != ORTHOGRAD)


def leads(data: ExperimentData, model: str, column: str) -> list[Lead]:
    """The lead of every form that has a value in every seed; empty where no baseline has.

    By gap only runs that reached the target count, forms and baselines.
    """
    _, sign = LEADS[column]
    known = {}
    for run in data.experiment.methods:
        rows = rows_of(data.runs, model, run)
        values = sign * per_seed(rows, column)
        if values.notna().all() and (column != "gap" or rows["target_reached"].all()):
            known[run] = values
    baselines = [values for run, values in known.items() if run not in forms(data)]
    if not baselines:
        return []
    best = pd.concat(baselines, axis=1).max(axis=1)
    return [Lead(run, 100 * (known[run] - best)) for run in forms(data) if run in known]


def turned(found: list[Lead]) -> list[str]:
    """The forms whose mean lead has another sign than that of OrthoGrad as it is; empty without it."""
    if not found or found[0].method != ORTHOGRAD:
        return []
    ours = found[0].values.mean() > 0
    return [lead.method for lead in found[1:] if (lead.values.mean() > 0) != ours]
