"""Join the tables of all experiments into one of all runs; a run that several experiments show stands in it once."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import pandas as pd

from orthograd.steps.collect import KEYS, SPLIT_KEYS

TABLES = ("runs", "costs", "trajectories", "controls")

# What one row of a table is, where it is not one run.
UNIQUE = {"trajectories": (*KEYS, "step"), "controls": (*SPLIT_KEYS, "attack")}


def add_arguments(parser: ArgumentParser) -> None:
    for name in TABLES:
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True, help="CSV of each experiment")
    parser.add_argument(
        "--out", type=Path, nargs=len(TABLES), required=True, help="CSV to write, in the same order"
    )


def run(arguments: Namespace) -> None:
    for name, out in zip(TABLES, arguments.out, strict=True):
        # An experiment's table is read as text, so that no number is written differently than before.
        parts = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in getattr(arguments, name)]
        joined = pd.concat(parts, ignore_index=True).fillna("")
        joined.drop_duplicates(list(UNIQUE.get(name, KEYS))).to_csv(out, index=False, lineterminator="\n")
