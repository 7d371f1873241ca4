"""Choose the best trial of each method and scenario; write the parameters that the pipeline reads, all trials, and what
the search read."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pandas as pd
import yaml

from orthograd.records import read_json, write_json

HEADER = """\
# Written by `snakemake tune`, read by the profile: for each scenario and method the trial with the best score, a figure
# without test data and without retrained models. All trials stand in the CSV beside this file.
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--trials", type=Path, nargs="+", required=True, help="trials of a method in a scenario"
    )
    parser.add_argument("--scenario", nargs="+", required=True, help="scenario of each of those files")
    parser.add_argument(
        "--record", type=Path, nargs="+", required=True, help="what each of the searches read"
    )
    parser.add_argument("--tuned", type=Path, required=True, help="YAML to write: the best parameters")
    parser.add_argument("--table", type=Path, required=True, help="CSV to write: all trials")
    parser.add_argument("--reads", type=Path, required=True, help="JSON to write: what all searches read")


def run(arguments: Namespace) -> None:
    found = [
        pd.read_csv(path).assign(scenario=scenario)
        for path, scenario in zip(arguments.trials, arguments.scenario, strict=True)
    ]
    table = pd.concat(found, ignore_index=True)
    groups = table.groupby(["scenario", "method"], sort=False)
    # The first of equals: a rule that needs no further choice.
    table["chosen"] = table.index.isin(groups["score"].idxmax())
    table["nearest_to_retrained"] = table.index.isin(groups["gap"].idxmin())
    best: dict[str, dict[str, object]] = {}
    for row in table[table["chosen"]].itertuples():
        best.setdefault(str(row.scenario), {})[str(row.method)] = json.loads(str(row.params))
    arguments.tuned.write_text(
        HEADER + yaml.safe_dump(best, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    first = ["scenario", "method", "trial", "chosen", "nearest_to_retrained"]
    table[[*first, *(name for name in table if name not in first)]].to_csv(
        arguments.table, index=False, lineterminator="\n"
    )
    write_json(
        arguments.reads,
        {
            "searches": [
                {"scenario": scenario, **read_json(path)}
                for scenario, path in zip(arguments.scenario, arguments.record, strict=True)
            ]
        },
    )
