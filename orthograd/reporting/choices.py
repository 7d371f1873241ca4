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


def comparable(data: ExperimentData, model: str, column: str) -> dict[str, pd.Series]:
    """The values, larger is better, of the runs that have one in every seed; by gap, of those at their target."""
    _, sign = LEADS[column]
    known = {}
    for run in data.experiment.methods:
        rows = rows_of(data.runs, model, run)
        values = sign * per_seed(rows, column)
        if values.notna().all() and (column != "gap" or rows["target_reached"].all()):
            known[run] = values
    return known


def leads(data: ExperimentData, model: str, column: str) -> list[Lead]:
    """The lead of every form that can be compared; empty where no form or no baseline can, see `obstacle`."""
    known = comparable(data, model, column)
    baselines = [values for run, values in known.items() if run not in forms(data)]
    if not baselines:
        return []
    best = pd.concat(baselines, axis=1).max(axis=1)
    return [Lead(run, 100 * (known[run] - best)) for run in forms(data) if run in known]


def obstacle(data: ExperimentData, model: str, column: str) -> str:
    """Why there are no leads."""
    known = comparable(data, model, column)
    return (
        "no baseline can be compared"
        if set(known) <= set(forms(data))
        else "no form of OrthoGrad can be compared"
    )


def turned(found: list[Lead]) -> list[str]:
    """The forms whose mean lead has another sign than that of OrthoGrad as it is; empty without it."""
    if not found or found[0].method != ORTHOGRAD:
        return []
    ours = found[0].values.mean() > 0
    return [lead.method for lead in found[1:] if (lead.values.mean() > 0) != ours]
