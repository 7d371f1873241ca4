"""Speak a corpus of synthetic speech, in LibriSpeech's layout, with the voices of flite and espeak-ng."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from orthograd.speech.specs import Synthesis
from orthograd.speech.synthesis import find_programs, synthesise


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--spec", type=Synthesis.model_validate_json, required=True, help="sentences and seed, as JSON"
    )
    parser.add_argument(
        "--programs", type=Path, required=True, help="folder to unpack flite and espeak-ng in, if need be"
    )
    parser.add_argument("--threads", type=int, required=True, help="sentences spoken at once")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must be empty")


def run(arguments: Namespace) -> None:
    synthesise(arguments.spec, arguments.out, find_programs(arguments.programs), arguments.threads)
