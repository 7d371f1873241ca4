"""Collect the evaluated runs of an experiment into tidy tables: runs, costs, trajectories."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from orthograd.metrics.equal_forgetting import at_forget_accuracy
from orthograd.metrics.retraining import mean_gap, signed_differences
from orthograd.metrics.uis import unlearning_impact_score
from orthograd.records import read_json, write_json

# What identifies a run. The references that it is compared with share the first four.
KEYS = ("dataset", "model", "scenario", "seed", "method", "scenario_kind", "retain_size", "replicate")
SETS = ("forget", "retain", "retain_subset", "validation", "test", "test_forgotten")
COMPARED = ("forget", "retain", "validation", "test")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--metrics", type=Path, nargs="+", required=True, help="metrics.json of every run")
    for name in ("runs", "costs", "trajectories"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="CSV to write")
    parser.add_argument("--conditions", type=Path, required=True, help="JSON to write: commits and machines")


def run(arguments: Namespace) -> None:
    records = [read_json(path) for path in arguments.metrics]
    keys = [{key: record["run"][key] for key in KEYS} for record in records]
    ways = [
        None if key["method"] in ("original", "retrained") else pd.read_csv(path.with_name("trajectory.csv"))
        for path, key in zip(arguments.metrics, keys, strict=True)
    ]
    scores = [
        _scores(record, records) | {"test_at_target": _at_target(record, way)}
        for record, way in zip(records, ways, strict=True)
    ]
    costs = [_costs(record, records) for record in records]
    for rows, out in ((scores, arguments.runs), (costs, arguments.costs)):
        table = pd.DataFrame([key | row for key, row in zip(keys, rows, strict=True)])
        table.to_csv(out, index=False, lineterminator="\n")
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


def _of(records: Sequence[dict[str, Any]], record: dict[str, Any], method: str) -> list[dict[str, Any]]:
    """The reference models of the run's own split: the same dataset, model, scenario and seed."""
    return [
        other
        for other in records
        if other["run"]["method"] == method
        and all(other["run"][key] == record["run"][key] for key in ("dataset", "model", "scenario", "seed"))
    ]


def _scores(record: dict[str, Any], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    accuracy, run = record["accuracy"], record["run"]
    row: dict[str, Any] = dict(record["outcome"])
    row |= {f"accuracy_{name}": accuracy.get(name) for name in SETS}
    originals = _of(records, record, "original")
    if len(originals) != 1:
        raise ValueError(f"{len(originals)} original models for {run}: evaluate exactly one")
    row["uis"] = unlearning_impact_score(
        originals[0]["accuracy"]["test"], accuracy["test"], accuracy["forget"], run["scenario_kind"]
    )
    references = [other["accuracy"] for other in _of(records, record, "retrained") if other is not record]
    # A lone retrained model has no other to be compared with: no noise floor.
    alone = run["method"] == "retrained" and not references
    differences = {} if alone else signed_differences(accuracy, references, COMPARED)
    row |= {f"diff_{name}": differences.get(name) for name in COMPARED}
    row["gap"] = mean_gap(differences) if differences else None
    return row


def _at_target(record: dict[str, Any], way: pd.DataFrame | None) -> float | None:
    if way is None:
        return None
    return at_forget_accuracy(
        way["accuracy_forget"].tolist(), way["accuracy_test"].tolist(), record["outcome"]["target"]
    )


def _costs(record: dict[str, Any], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    retraining = [other["cost"]["seconds"] for other in _of(records, record, "retrained")]
    seconds = record["cost"]["seconds"]
    # A run that was at its target from the start took no step and no time.
    rte = sum(retraining) / len(retraining) / seconds if seconds > 0 else None
    return {**record["cost"], "rte": rte}
