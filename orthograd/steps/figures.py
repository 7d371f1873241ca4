"""Draw the figures of an experiment as SVG and PNG."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from orthograd.reporting.figures import FIGURES
from orthograd.reporting.write import write_figure
from orthograd.steps import results


def add_arguments(parser: ArgumentParser) -> None:
    results.add_arguments(parser)


def run(arguments: Namespace) -> None:
    data = results.read(arguments).select(arguments.experiment)
    for make in FIGURES:
        write_figure(make(data), arguments.out)
