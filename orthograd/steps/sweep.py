"""Write the table and the figure of an experiment over sizes of the retain subset."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from orthograd.reporting.experiment import Sweep
from orthograd.reporting.sweep import SweepData, figure, table
from orthograd.reporting.write import write_figure, write_table
from orthograd.steps import results


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--sweep", type=Sweep.model_validate_json, required=True, help="JSON")
    results.add_table_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")


def run(arguments: Namespace) -> None:
    data = SweepData.select(results.read(arguments), arguments.sweep)
    write_table(table(data), arguments.out)
    write_figure(figure(data), arguments.out)
