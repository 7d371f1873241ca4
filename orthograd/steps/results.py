"""What the reporting steps share: the tidy tables that they read."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from orthograd.reporting.data import ReportData
from orthograd.reporting.experiment import Experiment


def add_table_arguments(parser: ArgumentParser) -> None:
    """The tidy tables."""
    for name in ("runs", "costs", "trajectories", "controls"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="tidy CSV")


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of a step that renders one experiment."""
    parser.add_argument("--experiment", type=Experiment.model_validate_json, required=True, help="JSON")
    add_table_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")


def read(arguments: Namespace) -> ReportData:
    """The tidy tables that the arguments name, checked."""
    return ReportData.read(arguments.runs, arguments.costs, arguments.trajectories, arguments.controls)
