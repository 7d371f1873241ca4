"""Write the tables and figures of the speech experiments, and copy the sound that the page plays."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from orthograd.reporting.speech.figures import FIGURES
from orthograd.reporting.speech.section import copy_audio
from orthograd.reporting.speech.tables import all_tables
from orthograd.reporting.write import write_figure, write_table
from orthograd.steps import results


def add_arguments(parser: ArgumentParser) -> None:
    results.add_speech_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")


def run(arguments: Namespace) -> None:
    for data, folder in zip(results.read_speech(arguments), arguments.collected, strict=True):
        shown = copy_audio(folder, arguments.out, data.experiment)
        for setting, tables in all_tables(data, shown).items():
            for table in tables.values():
                write_table(table, arguments.out)
            for name in data.experiment.figure_names(setting):
                write_figure(FIGURES[name](data, setting), arguments.out)
