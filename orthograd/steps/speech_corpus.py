"""Bring the fetched subsets of a published speech corpus together in one folder, and verify them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from orthograd.speech.obtain import assemble
from orthograd.speech.registry import speech_registry


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--corpus", required=True, choices=speech_registry().corpus_names)
    parser.add_argument("--subset", nargs="+", required=True, help="the corpus's subsets")
    parser.add_argument(
        "--fetched", nargs="+", type=Path, required=True, help="what `speech_fetch` wrote, subset by subset"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must be empty")


def run(arguments: Namespace) -> None:
    fetched = dict(zip(arguments.subset, arguments.fetched, strict=True))
    assemble(speech_registry().corpus(arguments.corpus), fetched, arguments.out)
