"""What each deviation of the public code copy makes of the first step of OrthoGrad; one CSV."""

from __future__ import annotations

import copy
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import torch
from torch import nn

from orthograd import methods
from orthograd.data.images import load
from orthograd.methods.base import DataView, Method
from orthograd.methods.orthograd_copy import Deviation
from orthograd.steps import inputs
from orthograd.steps.start import Spec as StartSpec
from orthograd.steps.start import Start, start

COPY = "orthograd_copy"
# The run beside which the effect of a deviation is to be read, see `orthograd.methods.orthograd_copy.run`.
BESIDE = {"none": "orthograd", "unit_columns": "per_tensor", "broadcast_mean": "orthograd_mean"}


class Spec(StartSpec):
    params: dict[str, Any]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help="JSON: the settings")
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument("--data", type=Path, required=True, help="prepared dataset")
    parser.add_argument("--split", type=Path, nargs="+", required=True, help="scenario's split, one a seed")
    parser.add_argument("--original", type=Path, nargs="+", required=True, help="trained model, one a seed")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write: one row a deviation and seed")


def run(arguments: Namespace) -> None:
    spec = arguments.spec
    device = inputs.set_up(spec)
    dataset = load(arguments.data)
    copied = methods.load(COPY)
    rows = []
    for seed, split, original in zip(arguments.seed, arguments.split, arguments.original, strict=True):
        reader = inputs.Reader(dataset, device)
        begin = start(spec, reader, split, original, copied.reads, ("forget", "validation"), seed)
        found = {
            name: _first_step(begin, methods.load(name), _known(name, spec.params), seed)
            for name in ("orthograd", "orthograd_mean")
        }
        for deviation in _deviations(begin.model):
            update, values = found[deviation] = _first_step(
                begin, copied, spec.params | {"deviation": deviation}, seed
            )
            reference, _ = found[BESIDE.get(deviation, "none")]
            rows.append(
                {"deviation": deviation, "beside": BESIDE.get(deviation, "none"), "seed": seed}
                | {name: values[name] for name in ("rank", "removed_fraction", "max_cosine")}
                | {
                    "update_cosine": float(torch.cosine_similarity(update, reference, dim=0)),
                    "update_ratio": float(update.norm() / reference.norm()),
                }
            )
    pd.DataFrame(rows).to_csv(arguments.out, index=False, lineterminator="\n")


def _known(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The parameters that a method has."""
    return {key: value for key, value in params.items() if key in methods.load(method).params.model_fields}


def _deviations(model: nn.Module) -> list[Deviation]:
    """All that are defined for the model."""
    normalised = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    return [name for name in get_args(Deviation) if normalised or name != "train_batch_norm"]


def _first_step(
    begin: Start, method: Method, params: dict[str, Any], seed: int
) -> tuple[torch.Tensor, dict[str, float]]:
    """The change of all parameters (d,) in float64, and what the method says of the step.

    Every method draws the same batches.
    """
    model = copy.deepcopy(begin.model)
    view = DataView(begin.data, method.reads, seed, begin.pixels)
    step = next(method.run(model, view, method.params.model_validate(params)))
    moved = [
        (after.detach().double() - before.detach().double()).flatten()
        for after, before in zip(model.parameters(), begin.model.parameters(), strict=True)
    ]
    return torch.cat(moved), dict(step.values)
