"""Reading the tidy tables of runs, checking them, and selecting what one experiment shows.

One row is one run. Accuracies are fractions, times seconds, memory bytes. The columns `diff_*` are signed:
accuracy minus the mean over the retrained references of the same seed; for a retrained row, minus the mean
of the *other* replicates of its seed, so that these rows measure the noise floor of the comparison.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd

from orthograd.measures import CLOSENESS, MEMBERSHIP, SUCCESS
from orthograd.metrics.retraining import GAP_SETS
from orthograd.reporting.experiment import ORIGINAL, PUBLISHED, RETRAINED, Experiment
from orthograd.scores import PROBES

KEYS = [
    "dataset",
    "model",
    "scenario",
    "scenario_kind",
    "retain_size",
    "proxy",
    "method",
    "seed",
    "replicate",
]
SCENARIO_KINDS = ("random", "class")

RUN_ACCURACIES = [
    "accuracy_forget",
    "accuracy_retain",
    "accuracy_retain_subset",
    "accuracy_validation",
    "accuracy_test",
    "accuracy_test_forgotten",
    "test_at_target",
]
RUN_NUMBERS = [
    "target",
    "steps",
    *RUN_ACCURACIES,
    "uis",
    "diff_forget",
    "diff_retain",
    "diff_validation",
    "diff_test",
    "gap",
    "aus",
    "tow",
    "average_gap",
    *CLOSENESS,
    *PROBES,
    *MEMBERSHIP,
]
CONTROL_COLUMNS = ["dataset", "model", "scenario", "seed", "attack", "passed", "reason"]
COST_NUMBERS = ["seconds", "peak_bytes", "forward", "backward", "rte"]
TRAJECTORY_ACCURACIES = ["accuracy_forget", "accuracy_test"]
G_EFFECTS = ["g_effect_forget", "g_effect_retain"]
TRAJECTORY_NUMBERS = [
    "seconds",
    *TRAJECTORY_ACCURACIES,
    *G_EFFECTS,
    "rank",
    "removed_fraction",
    "condition_number",
]

REFERENCES = (ORIGINAL, RETRAINED)


class ReportError(ValueError):
    """The results do not support the report that was asked for; the message says what to mend."""


@dataclass(frozen=True, eq=False)
class ExperimentData:
    """The runs of one experiment: a complete grid of models × methods × seeds.

    Beside the columns of the input, ``runs`` has ``gap_forget``, ``gap_retain`` and ``gap_test``, the
    absolute values of ``diff_*`` (fractions).
    """

    experiment: Experiment
    kind: str
    seeds: tuple[int, ...]
    replicates: tuple[int, int]
    """Fewest and most retrained references of a seed."""
    report_methods: tuple[str, ...]
    """All methods of the report, so that a method keeps its colour and marker in every figure."""
    runs: pd.DataFrame
    costs: pd.DataFrame
    trajectories: pd.DataFrame
    controls: pd.DataFrame
    """One row a model, seed and attack: whether the attack may be believed there, and the reason."""

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.seeds)


def rows_of(frame: pd.DataFrame, model: str, method: str) -> pd.DataFrame:
    """The rows of one model and one method."""
    return frame[(frame["model"] == model) & (frame["method"] == method)]


@dataclass(frozen=True, eq=False)
class ReportData:
    """All runs of a report: frames with the columns ``KEYS`` and their own, and the controls of the attacks."""

    runs: pd.DataFrame
    costs: pd.DataFrame
    trajectories: pd.DataFrame
    controls: pd.DataFrame

    @classmethod
    def read(cls, runs: Path, costs: Path, trajectories: Path, controls: Path) -> Self:
        """Read and check the four CSV files.

        Raises:
            ReportError: a column is missing, a run appears twice, or an accuracy lies outside [0, 1].
        """
        return cls.of_frames(*map(pd.read_csv, (runs, costs, trajectories, controls)))

    @classmethod
    def of_frames(
        cls, runs: pd.DataFrame, costs: pd.DataFrame, trajectories: pd.DataFrame, controls: pd.DataFrame
    ) -> Self:
        """Check four frames and give their columns one type each; raises as `read` does."""
        runs = _typed("runs", runs, KEYS, RUN_NUMBERS, RUN_ACCURACIES)
        for column in ("target_reached", "diverged"):
            if column not in runs:
                raise ReportError(
                    f"runs: the column {column} is missing; collect the results again with this version"
                )
        reached = runs["target_reached"].astype("boolean")
        steps_but_no_verdict = reached.isna() & ~runs["method"].isin(REFERENCES)
        if steps_but_no_verdict.any():
            raise ReportError(
                f"runs: target_reached is empty for {_first(runs[steps_but_no_verdict])}; "
                "run that unlearning step again, every run must say whether it reached its target"
            )
        no_gap = runs["gap"].isna() & ~runs["method"].isin(REFERENCES)
        if no_gap.any():
            raise ReportError(
                f"runs: gap is empty for {_first(runs[no_gap])}; train the retrained references of that seed "
                "and evaluate the run again"
            )
        return cls(
            # The original and the retrained models have no verdict, and did not diverge.
            runs=runs.assign(
                target_reached=reached, diverged=runs["diverged"].astype("boolean").fillna(False).astype(bool)
            ),
            costs=_typed("costs", costs, KEYS, COST_NUMBERS, []),
            trajectories=_typed(
                "trajectories", trajectories, [*KEYS, "step"], TRAJECTORY_NUMBERS, TRAJECTORY_ACCURACIES
            ),
            controls=_controls(controls),
        )

    @property
    def methods(self) -> tuple[str, ...]:
        """Every unlearning method that occurs, in the order of the names."""
        names = {method.removesuffix(PUBLISHED) for method in self.runs["method"]}
        return tuple(sorted(names - set(REFERENCES)))

    def select(self, experiment: Experiment) -> ExperimentData:
        """The runs of one experiment.

        Raises:
            ReportError: a model, method or seed of the grid has no run (above all: no retrained reference).
        """
        runs, costs, trajectories = (
            _selected(frame, experiment) for frame in (self.runs, self.costs, self.trajectories)
        )
        if runs.empty:
            raise ReportError(
                f"{experiment.id}: no run has dataset={experiment.dataset}, scenario={experiment.scenario}; "
                "check these keys of the experiment, or compute the runs with `snakemake`"
            )
        seeds = tuple(sorted(set(runs["seed"])))
        for name, frame in (("runs", runs), ("costs", costs)):
            _check_grid(name, frame, experiment, seeds)
        kinds = sorted(set(runs["scenario_kind"]))
        if len(kinds) != 1 or kinds[0] not in SCENARIO_KINDS:
            raise ReportError(
                f"{experiment.id}: scenario_kind is {kinds}, but must be one of {list(SCENARIO_KINDS)}; "
                f"give the scenarios of different kinds different names (here: {experiment.scenario})"
            )
        references = runs[runs["method"] == RETRAINED].groupby(["model", "seed"]).size()
        return ExperimentData(
            experiment=experiment,
            kind=kinds[0],
            seeds=seeds,
            replicates=(int(references.min()), int(references.max())),
            report_methods=self.methods,
            runs=runs.assign(**{f"gap_{name}": runs[f"diff_{name}"].abs() for name in GAP_SETS}),
            costs=costs,
            trajectories=trajectories,
            controls=self._controls_of(experiment, seeds),
        )

    def _controls_of(self, experiment: Experiment, seeds: tuple[int, ...]) -> pd.DataFrame:
        controls = self.controls
        chosen = controls[
            (controls["dataset"] == experiment.dataset)
            & (controls["scenario"] == experiment.scenario)
            & controls["model"].isin(experiment.models)
        ]
        for model in experiment.models:
            for attack in SUCCESS:
                rows = chosen[(chosen["model"] == model) & (chosen["attack"] == attack)]
                if sorted(rows["seed"]) != list(seeds):
                    raise ReportError(
                        f"{experiment.id}: the attack {attack!r} on {model} has controls for the seeds "
                        f"{sorted(rows['seed'])}, not {list(seeds)}; collect the results again (run `snakemake`)"
                    )
        return chosen


def _controls(frame: pd.DataFrame) -> pd.DataFrame:
    missing = [column for column in CONTROL_COLUMNS if column not in frame]
    if missing:
        raise ReportError(
            f"controls: columns {missing} are missing; collect the results again with this version"
        )
    return frame.astype({"seed": "int64", "passed": "bool"})


def _typed(
    name: str, frame: pd.DataFrame, keys: list[str], numbers: list[str], fractions: list[str]
) -> pd.DataFrame:
    missing = [column for column in [*keys, *numbers] if column not in frame]
    if missing:
        raise ReportError(
            f"{name}: columns {missing} are missing; collect the results again with this version"
        )
    types = dict.fromkeys([*numbers, "retain_size"], "float64") | {"seed": "int64", "replicate": "int64"}
    # Empty: no proxy.
    frame = frame.astype(types).assign(proxy=frame["proxy"].astype(object).where(frame["proxy"].notna(), ""))
    twice = frame.duplicated(subset=keys)
    if twice.any():
        raise ReportError(f"{name}: {_first(frame[twice])} appears twice; collect each run once")
    for column in fractions:
        outside = (frame[column] < 0) | (frame[column] > 1)
        if outside.any():
            raise ReportError(
                f"{name}: {column} is {frame.loc[outside, column].iloc[0]} for {_first(frame[outside])}; "
                "accuracies are fractions in [0, 1], not percent"
            )
    return frame


def _first(rows: pd.DataFrame) -> str:
    row = rows.iloc[0]
    return ", ".join(f"{key}={row[key]}" for key in KEYS)


def _selected(frame: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    is_method = (
        frame["method"].isin(experiment.rows)
        & (frame["retain_size"] == experiment.retain_size)
        & (frame["proxy"] == (experiment.proxy or ""))
    )
    # The original and the retrained models know nothing of the retain subset: their retain_size is empty.
    chosen = is_method | frame["method"].isin(REFERENCES)
    return frame[
        chosen
        & (frame["dataset"] == experiment.dataset)
        & (frame["scenario"] == experiment.scenario)
        & frame["model"].isin(experiment.models)
    ]


def _check_grid(name: str, frame: pd.DataFrame, experiment: Experiment, seeds: tuple[int, ...]) -> None:
    for model in experiment.models:
        for method in [*REFERENCES, *experiment.rows]:
            rows = rows_of(frame, model, method)
            absent = sorted(set(seeds) - set(rows["seed"]))
            if absent:
                mend = (
                    "train at least one retrained reference for each seed: nothing can be compared without it"
                    if method == RETRAINED
                    else "compute these runs, or take the method, model or seed out of the experiment"
                )
                raise ReportError(
                    f"{experiment.id}: {name} has no row for method={method}, model={model}, "
                    f"seeds={absent}; {mend} (run `snakemake`, then collect the results again)"
                )
            if method != RETRAINED and len(rows) != len(seeds):
                raise ReportError(
                    f"{experiment.id}: {name} has {len(rows)} rows for method={method}, model={model}, but "
                    f"{len(seeds)} seeds; keep one run (replicate 0) for each seed"
                )
