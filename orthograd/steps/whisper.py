"""Fetch a Whisper model: from a mirror, the public hub, or, where that cannot be reached, the copy of its weights."""

from __future__ import annotations

import logging
from argparse import ArgumentParser, Namespace
from pathlib import Path

from orthograd.data.download import resolve_mirror
from orthograd.speech.registry import speech_registry
from orthograd.speech.whisper import fetch

logger = logging.getLogger(__name__)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--model", required=True, choices=speech_registry().model_names)
    parser.add_argument("--mirror", help="folder or URL that holds the files; default: ORTHOGRAD_MIRROR")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")


def run(arguments: Namespace) -> None:
    origin = fetch(
        speech_registry().model(arguments.model),
        arguments.out,
        resolve_mirror(arguments.mirror),
    )
    logger.info("%(model)s from %(location)s, weights %(weights)s", origin)
