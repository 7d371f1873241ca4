"""Turn a dataset's published files into one file of tensors in which every image occurs once."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from orthograd.data.images import prepare
from orthograd.data.registry import registry
from orthograd.data.scenarios import Subset


class Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    subset: Subset | None


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True, choices=registry().names)
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help='JSON: {"subset": …}')
    parser.add_argument("--raw", type=Path, required=True, help="folder of the verified files")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")


def run(arguments: Namespace) -> None:
    print("dropped:", prepare(arguments.raw, arguments.dataset, arguments.out, arguments.spec.subset))
