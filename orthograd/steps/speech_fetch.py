"""Fetch a subset of a published speech corpus: from a mirror, or from its public home."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from orthograd.data.download import resolve_mirror
from orthograd.speech.obtain import fetch
from orthograd.speech.registry import speech_registry


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--corpus", required=True, choices=speech_registry().corpus_names)
    parser.add_argument("--subset", required=True, help="one of the corpus's subsets")
    parser.add_argument("--mirror", help="folder or URL that holds the corpus; default: ORTHOGRAD_MIRROR")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")


def run(arguments: Namespace) -> None:
    corpus = speech_registry().corpus(arguments.corpus)
    fetch(corpus, arguments.subset, arguments.out, resolve_mirror(arguments.mirror))
