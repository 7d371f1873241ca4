"""Draw the train, validation and test set of each seed, of all images or of those that other splits left."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from orthograd.data.images import load
from orthograd.data.scenarios import SplitSizes
from orthograd.data.splits import base_split, read_split, write_split


class Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sizes: SplitSizes


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help='JSON: {"sizes": …}')
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument("--data", type=Path, required=True, help="prepared dataset")
    parser.add_argument(
        "--apart-from",
        type=Path,
        nargs="*",
        default=[],
        help="splits whose training and validation images are left out",
    )
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="CSV to write, one a seed")


def run(arguments: Namespace) -> None:
    dataset = load(arguments.data)
    taken: set[str] = set()
    for path in arguments.apart_from:
        split = read_split(path)
        taken.update(split.loc[split["source"] == "train", "sha256"])
    for seed, out in zip(arguments.seed, arguments.out, strict=True):
        write_split(base_split(dataset, arguments.spec.sizes, seed, taken), out)
