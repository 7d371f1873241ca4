"""Write the tables of an experiment as CSV, Markdown and LaTeX."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from orthograd.reporting.tables import TABLES
from orthograd.reporting.write import write_table
from orthograd.steps import results


def add_arguments(parser: ArgumentParser) -> None:
    results.add_arguments(parser)


def run(arguments: Namespace) -> None:
    data = results.read(arguments).select(arguments.experiment)
    for make in TABLES:
        write_table(make(data), arguments.out)
