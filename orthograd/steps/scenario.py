"""Divide the train set of each seed into the forget set and the ordered retain pool."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from orthograd.data.scenarios import Scenario
from orthograd.data.splits import read_split, scenario_split, write_split


class Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    scenario: Scenario


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help='JSON: {"scenario": …}')
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument("--split", type=Path, nargs="+", required=True, help="split, one a seed")
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="CSV to write, one a seed")


def run(arguments: Namespace) -> None:
    for seed, split, out in zip(arguments.seed, arguments.split, arguments.out, strict=True):
        write_split(scenario_split(read_split(split), arguments.spec.scenario, seed), out)
