"""What the projection of OrthoGrad does along its runs, layer by layer; one CSV.

The engine's full diagnostics are dear, so no timed run has them: the runs are made anew from the original models.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from orthograd.data.images import load
from orthograd.engine import Diagnostics, OrthoGrad
from orthograd.engine.batches import Batch
from orthograd.engine.materialize import LossFunction
from orthograd.methods.base import DataView
from orthograd.methods.orthograd import METHOD, Params, retain_batches, updates
from orthograd.records import read_json
from orthograd.steps import inputs
from orthograd.steps.start import Spec as StartSpec
from orthograd.steps.start import start

# Steps of a run that are made anew, at most; with all diagnostics one takes a fifth of a second in the profile laptop.
MAX_STEPS = 24


class Spec(StartSpec):
    params: Params


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help="JSON: the settings")
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument("--data", type=Path, required=True, help="prepared dataset")
    parser.add_argument("--split", type=Path, nargs="+", required=True, help="scenario's split, one a seed")
    parser.add_argument("--original", type=Path, nargs="+", required=True, help="trained model, one a seed")
    parser.add_argument("--record", type=Path, nargs="+", required=True, help="unlearning.json, one a seed")
    parser.add_argument(
        "--out", type=Path, required=True, help="CSV to write: one row a seed, step and layer"
    )


def run(arguments: Namespace) -> None:
    spec = arguments.spec
    device = inputs.set_up(spec)
    dataset = load(arguments.data)
    rows = []
    files = (arguments.split, arguments.original, arguments.record)
    for seed, split, original, record in zip(arguments.seed, *files, strict=True):
        begin = start(spec, inputs.Reader(dataset, device), split, original, METHOD.reads, ("forget",), seed)
        view = DataView(begin.data, METHOD.reads, seed, begin.pixels)
        made = projections(begin.model, view, spec.params)
        with closing(made):
            steps = islice(made, min(read_json(record)["steps"], MAX_STEPS))
            for step, found in enumerate(steps, start=1):
                rows += [{"seed": seed, "step": step, **row} for row in _rows(found)]
    pd.DataFrame(rows).to_csv(arguments.out, index=False, lineterminator="\n")


class _Noting(OrthoGrad):
    """The engine with full diagnostics; keeps those of its last step."""

    last: Diagnostics

    def backward_from(
        self, loss_fn: LossFunction, forget_batch: Batch, retain_batch: Batch, micro_batch: int | None = None
    ) -> Diagnostics:
        self.last = super().backward_from(loss_fn, forget_batch, retain_batch, micro_batch)
        return self.last


def projections(model: nn.Module, data: DataView, params: Params) -> Generator[Diagnostics]:
    """Full diagnostics of each step of OrthoGrad, which it makes on the model in place."""
    engine = _Noting(model, alpha=params.alpha, rtol=params.rtol, full_diagnostics=True)
    with closing(updates(engine, data, params, retain_batches(data, params))) as made:
        for _ in made:
            yield engine.last


def _rows(found: Diagnostics) -> Iterator[dict[str, Any]]:
    """A row a layer, in the order of the model; what belongs to the whole step stands in each of them."""
    assert found.removed_per_layer is not None, "full diagnostics have it"
    for layer, removed in found.removed_per_layer.items():
        yield {
            "layer": layer,
            "removed": removed,
            "rank": found.rank,
            "removed_fraction": found.removed_fraction,
            "max_cosine": found.max_cosine,
        }
