"""Draw what the step `projections` found."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pandas as pd

from orthograd.reporting.experiment import Experiment
from orthograd.reporting.projections import ProjectionData, figure
from orthograd.reporting.write import write_figure


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--experiment", type=Experiment.model_validate_json, required=True, help="JSON")
    parser.add_argument("--params", type=json.loads, required=True, help="JSON: those of OrthoGrad there")
    parser.add_argument("--projections", type=Path, required=True, help="CSV: what the step found")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")


def run(arguments: Namespace) -> None:
    rows = pd.read_csv(arguments.projections)
    write_figure(figure(ProjectionData(arguments.experiment, arguments.params, rows)), arguments.out)
