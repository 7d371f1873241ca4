"""What the reporting steps share: the tidy tables that they read."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from orthograd.reporting.data import ReportData
from orthograd.reporting.experiment import Experiment
from orthograd.reporting.speech.data import SpeechData
from orthograd.reporting.speech.experiment import SpeechExperiment


def add_table_arguments(parser: ArgumentParser) -> None:
    """The tidy tables."""
    for name in ("runs", "costs", "trajectories", "controls"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="tidy CSV")


def add_speech_arguments(parser: ArgumentParser) -> None:
    """The speech experiments of the report, if it has any, and where their results are collected."""
    parser.add_argument(
        "--speech", type=SpeechExperiment.model_validate_json, nargs="*", default=[], help="JSON, one each"
    )
    parser.add_argument(
        "--collected", type=Path, nargs="*", default=[], help="folder of each with its collected results"
    )


def read_speech(arguments: Namespace) -> list[SpeechData]:
    """The results of the speech experiments, checked."""
    return [
        SpeechData.read(folder, experiment)
        for experiment, folder in zip(arguments.speech, arguments.collected, strict=True)
    ]


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of a step that renders one experiment."""
    parser.add_argument("--experiment", type=Experiment.model_validate_json, required=True, help="JSON")
    add_table_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")


def read(arguments: Namespace) -> ReportData:
    """The tidy tables that the arguments name, checked."""
    return ReportData.read(arguments.runs, arguments.costs, arguments.trajectories, arguments.controls)
