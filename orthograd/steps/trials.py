"""Write the tables and the figure of the search for parameters: CSV, Markdown, LaTeX, SVG and PNG."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from orthograd.reporting.search import SearchData, figure, table
from orthograd.reporting.write import write_figure, write_table
from orthograd.search import Tuning


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--tuning", type=Tuning.model_validate_json, required=True, help="JSON: the settings")
    parser.add_argument("--trials", type=Path, required=True, help="CSV: all trials of `snakemake tune`")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")


def run(arguments: Namespace) -> None:
    data = SearchData.read(arguments.trials, arguments.tuning)
    for scenario in data.scenarios:
        write_table(table(data, scenario), arguments.out)
    write_figure(figure(data), arguments.out)
