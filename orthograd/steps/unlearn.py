"""Run an unlearning method on the original model of each seed."""

from __future__ import annotations

import copy
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import pandas as pd

from orthograd import methods
from orthograd.data.images import load
from orthograd.data.splits import read_split, retain_subset
from orthograd.evaluation import accuracy
from orthograd.methods.base import DataView
from orthograd.provenance import code_version
from orthograd.specs import StoppingRule
from orthograd.steps import inputs
from orthograd.unlearning import unlearn


class Spec(inputs.Spec):
    model: str
    retain_size: int
    method: str
    params: dict[str, Any]
    stopping: StoppingRule
    target: float | None
    evaluation_batch: int


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help="JSON: the settings")
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument("--data", type=Path, required=True, help="prepared dataset")
    parser.add_argument("--split", type=Path, nargs="+", required=True, help="scenario's split, one a seed")
    parser.add_argument("--original", type=Path, nargs="+", required=True, help="trained model, one a seed")
    for name in ("model", "trajectory", "record"):
        parser.add_argument(
            f"--{name}", type=Path, nargs="+", required=True, help="file to write, one a seed"
        )


def run(arguments: Namespace) -> None:
    spec = arguments.spec
    device = inputs.set_up(spec)
    dataset = load(arguments.data)
    method = methods.load(spec.method)
    params = method.params.model_validate(spec.params)
    code = code_version("orthograd.steps.unlearn", f"orthograd.methods.{spec.method}")
    files = (arguments.split, arguments.original, arguments.model, arguments.trajectory, arguments.record)
    for seed, split_file, original, out, trajectory, record in zip(arguments.seed, *files, strict=True):
        split = read_split(split_file)
        sets = inputs.sets(dataset, split, device)
        model = inputs.load_model(spec.model, dataset, original, device)
        data = {
            "forget": sets["forget"],
            "retain": inputs.samples(dataset, retain_subset(split, spec.retain_size), device),
        }
        if seed == arguments.seed[0]:
            # A step on a copy: what the libraries load and keep at their first use is none of the method's cost.
            next(method.run(copy.deepcopy(model), DataView(data, method.reads, seed), params))
        result = unlearn(
            model,
            method,
            params,
            data,
            # The test accuracy is recorded for the figures; neither the method nor the stopping rule sees it.
            watched={name: sets[name] for name in ("forget", "validation", "test")},
            # Random scenario: what the original model scores on images that are distributed like the forget set
            # but were never seen.
            target=accuracy(model, sets["validation"], spec.evaluation_batch)
            if spec.target is None
            else spec.target,
            stopping=spec.stopping,
            batch_size=spec.evaluation_batch,
            seed=seed,
        )
        inputs.save_model(model, out)
        pd.DataFrame(result.trajectory).to_csv(trajectory, index=False, lineterminator="\n")
        inputs.write_record(
            record,
            spec,
            seed,
            code,
            device,
            result.cost,
            target=result.target,
            target_reached=result.reached,
            diverged=result.diverged,
            steps=result.steps,
        )
