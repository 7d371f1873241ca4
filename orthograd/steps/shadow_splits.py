"""Divide the forget set of a split into halves for each pair of shadow models: one to unlearn, one never to see."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from orthograd.data.splits import read_split, shadow_splits, trained_split, write_split


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, nargs="+", required=True, help="of the shadow models")
    parser.add_argument("--split", type=Path, required=True, help="scenario's split")
    parser.add_argument("--trained", type=Path, nargs="+", required=True, help="CSV to write: its train set")
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="CSV to write, one a shadow model")


def run(arguments: Namespace) -> None:
    splits = shadow_splits(read_split(arguments.split), arguments.seed)
    for split, trained, out in zip(splits, arguments.trained, arguments.out, strict=True):
        write_split(trained_split(split), trained)
        write_split(split, out)
