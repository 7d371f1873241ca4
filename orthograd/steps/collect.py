"""Collect the evaluated runs of an experiment into tidy tables: runs, costs, trajectories, attack controls."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from orthograd.data.registry import registry
from orthograd.measures import CLOSENESS, MEMBERSHIP, attacks, closeness, controls, per_class
from orthograd.metrics.aus import adaptive_unlearning_score
from orthograd.metrics.equal_forgetting import at_forget_accuracy
from orthograd.metrics.retraining import GAP_SETS, average_gap, mean_gap, signed_differences
from orthograd.metrics.tow import tug_of_war
from orthograd.metrics.uis import unlearning_impact_score
from orthograd.records import read_json, write_json
from orthograd.scores import Scores, finite, read_scores

# What identifies a run. The references that it is compared with share the first four.
KEYS = (
    "dataset",
    "model",
    "scenario",
    "seed",
    "method",
    "scenario_kind",
    "retain_size",
    "proxy",
    "replicate",
)
SETS = ("forget", "retain", "retain_subset", "validation", "test", "test_forgotten")
COMPARED = ("forget", "retain", "validation", "test")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--metrics",
        type=Path,
        nargs="+",
        required=True,
        help="metrics.json of every run, scores.npz beside it",
    )
    for name in ("runs", "costs", "trajectories", "controls"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="CSV to write")
    parser.add_argument("--conditions", type=Path, required=True, help="JSON to write: commits and machines")
    parser.add_argument(
        "--evidence", type=Path, required=True, help="JSON to write: how each run was made and what it read"
    )


def run(arguments: Namespace) -> None:
    records = [read_json(path) for path in arguments.metrics]
    keys = [{key: record["run"][key] for key in KEYS} for record in records]
    ways = [
        None
        if record["run"]["method"] in ("original", "retrained")
        else _from_its_start(pd.read_csv(path.with_name("trajectory.csv")), record, records)
        for path, record in zip(arguments.metrics, records, strict=True)
    ]
    outputs = [read_scores(path.with_name("scores.npz")) for path in arguments.metrics]
    runs = [
        _accuracies(record, records)
        | {"test_at_target": _at_target(record, way)}
        | _measures(record, own, records, outputs)
        | record["probes"]
        | per_class(own, registry().dataset(record["run"]["dataset"]).classes)
        for record, way, own in zip(records, ways, outputs, strict=True)
    ]
    for row, record in zip(runs, records, strict=True):
        row["average_gap"] = _average_gap(row, record, runs, records)
    costs = [_costs(record, records) for record in records]
    for rows, out in ((runs, arguments.runs), (costs, arguments.costs)):
        table = pd.DataFrame([key | row for key, row in zip(keys, rows, strict=True)])
        table.to_csv(out, index=False, lineterminator="\n")
    _controls(records, outputs).to_csv(arguments.controls, index=False, lineterminator="\n")
    trajectories = [way.assign(**key) for way, key in zip(ways, keys, strict=True) if way is not None]
    table = pd.concat(trajectories, ignore_index=True)
    table[[*KEYS, *(column for column in table if column not in KEYS)]].to_csv(
        arguments.trajectories, index=False, lineterminator="\n"
    )
    made_with = [record["made_with"] for record in records]
    write_json(
        arguments.conditions,
        {
            "commits": sorted(
                {record[made]["commit"] for record in records for made in ("made_with", "evaluated_with")}
            ),
            "machines": list({str(made["machine"]): made["machine"] for made in made_with}.values()),
        },
    )
    write_json(arguments.evidence, {"runs": evidence(arguments.metrics, records)})


def evidence(paths: Sequence[Path], records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the audit looks at of each run: which it is, how it ended and scores, how it was made and evaluated."""
    keys = ("run", "outcome", "accuracy", "made_with", "evaluated_with")
    return [
        {"file": str(path)} | {key: record[key] for key in keys}
        for path, record in zip(paths, records, strict=True)
    ]


SPLIT_KEYS = ("dataset", "model", "scenario", "seed")


def _of(records: Sequence[dict[str, Any]], record: dict[str, Any], method: str) -> list[int]:
    """Places of the reference models of the run's own split: the same dataset, model, scenario and seed.

    A retrained model is no reference of its own.
    """
    return [
        place
        for place, other in enumerate(records)
        if other["run"]["method"] == method
        and other is not record
        and all(other["run"][key] == record["run"][key] for key in SPLIT_KEYS)
    ]


def _original(record: dict[str, Any], records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The accuracies of the model that a run started from."""
    found = _of(records, record, "original")
    if len(found) != 1:
        raise ValueError(f"{len(found)} original models for {record['run']}: evaluate exactly one")
    accuracies: dict[str, float] = records[found[0]]["accuracy"]
    return accuracies


def _from_its_start(
    way: pd.DataFrame, record: dict[str, Any], records: Sequence[dict[str, Any]]
) -> pd.DataFrame:
    """A trajectory with the test accuracy of the original model at step 0, which no run measures again."""
    start, column = way["step"] == 0, "accuracy_test"
    way.loc[start, column] = way.loc[start, column].fillna(_original(record, records)["test"])
    return way


def _accuracies(record: dict[str, Any], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    accuracy, run = record["accuracy"], record["run"]
    row: dict[str, Any] = dict(record["outcome"])
    row |= {f"accuracy_{name}": accuracy.get(name) for name in SETS}
    original = accuracy if run["method"] == "original" else _original(record, records)
    scored = (original["test"], accuracy["test"], accuracy["forget"], run["scenario_kind"])
    row["uis"] = unlearning_impact_score(*scored)
    row["aus"] = adaptive_unlearning_score(*scored)
    references = [records[place]["accuracy"] for place in _of(records, record, "retrained")]
    # A lone retrained model has no other to be compared with: no noise floor.
    alone = run["method"] == "retrained" and not references
    differences = {} if alone else signed_differences(accuracy, references, COMPARED)
    row |= {f"diff_{name}": differences.get(name) for name in COMPARED}
    row["gap"] = mean_gap(differences) if differences else None
    row["tow"] = tug_of_war(differences) if differences else None
    return row


def _measures(
    record: dict[str, Any],
    own: Scores,
    records: Sequence[dict[str, Any]],
    outputs: Sequence[Scores],
) -> dict[str, float | None]:
    """Closeness and attacks, these with 95% intervals over the samples of this run (`_low` and `_high`).

    All None for a model that diverged, closeness for a lone retrained one, an attack with too few samples for it.
    """
    run = record["run"]
    bounds = (f"{name}_{bound}" for name in MEMBERSHIP for bound in ("low", "high"))
    row: dict[str, float | None] = dict.fromkeys((*CLOSENESS, *MEMBERSHIP, *bounds))
    if not finite(own):
        return row
    references = [outputs[place] for place in _of(records, record, "retrained")]
    if references:
        row |= closeness(own, references)
    for name, found in attacks(own, run["scenario_kind"], run["seed"]).items():
        row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return row


def _average_gap(
    row: dict[str, Any],
    record: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    records: Sequence[dict[str, Any]],
) -> float | None:
    """The average gap of the literature, with the SVC attack's success in it."""
    name = "mia_svc_non_member_share"
    references = [rows[place] for place in _of(records, record, "retrained")]
    if row["gap"] is None or row[name] is None or not references:
        return None
    differences = {key: row[f"diff_{key}"] for key in GAP_SETS}
    return average_gap(differences | {"mia": signed_differences(row, references, [name])[name]})


def _controls(records: Sequence[dict[str, Any]], outputs: Sequence[Scores]) -> pd.DataFrame:
    """One row an attack and split: whether the attack may be believed there, and why."""
    rows = []
    for record, own in zip(records, outputs, strict=True):
        run = record["run"]
        if run["method"] != "original":
            continue
        retrained = {
            str(records[place]["run"]["replicate"]): outputs[place]
            for place in _of(records, record, "retrained")
        }
        rows += [
            {key: run[key] for key in (*SPLIT_KEYS, "scenario_kind")}
            | {"attack": result.attack, "passed": result.passed, "reason": result.reason}
            for result in controls(
                own, retrained, run["scenario_kind"], run["seed"], _alike(records, record) - len(retrained)
            )
        ]
    return pd.DataFrame(rows)


def _alike(records: Sequence[dict[str, Any]], record: dict[str, Any]) -> int:
    """The retrained models of all splits of the run's dataset, model and scenario."""
    return sum(
        other["run"]["method"] == "retrained"
        and all(other["run"][key] == record["run"][key] for key in SPLIT_KEYS if key != "seed")
        for other in records
    )


def _at_target(record: dict[str, Any], way: pd.DataFrame | None) -> float | None:
    if way is None:
        return None
    # All outputs of a model that diverged count as wrong, which is no forgetting.
    way = way.iloc[:-1] if record["outcome"]["diverged"] else way
    return at_forget_accuracy(
        way["accuracy_forget"].tolist(), way["accuracy_test"].tolist(), record["outcome"]["target"]
    )


def _costs(record: dict[str, Any], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    retraining = [
        other["cost"]["seconds"]
        for other in records
        if other["run"]["method"] == "retrained"
        and all(other["run"][key] == record["run"][key] for key in SPLIT_KEYS)
    ]
    seconds = record["cost"]["seconds"]
    # A run that was at its target from the start took no step and no time.
    rte = sum(retraining) / len(retraining) / seconds if seconds > 0 else None
    return {**record["cost"], "rte": rte}
