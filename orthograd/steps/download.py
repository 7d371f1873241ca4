"""Download a dataset's files from the first source that has them, and verify each."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from orthograd.data.download import download, resolve_mirror
from orthograd.data.registry import registry


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True, choices=registry().names)
    parser.add_argument("--mirror", help="folder or URL that holds the files; default: ORTHOGRAD_MIRROR")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")


def run(arguments: Namespace) -> None:
    download(registry().dataset(arguments.dataset), arguments.out, resolve_mirror(arguments.mirror))
