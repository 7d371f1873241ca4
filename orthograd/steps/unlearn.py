"""Run an unlearning method on the original model of each seed."""

from __future__ import annotations

import copy
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from orthograd import methods
from orthograd.data.images import load
from orthograd.data.splits import read_split, retain_subset
from orthograd.methods.base import DataView
from orthograd.provenance import code_version
from orthograd.specs import StoppingRule
from orthograd.steps import inputs
from orthograd.steps.start import Spec as StartSpec
from orthograd.steps.start import start
from orthograd.unlearning import AccuracyWatch, unlearn

# The validation set gives the random scenario its target. The test accuracy is recorded for the figures; neither the
# method nor the stopping rule sees it.
MEASURED = ("forget", "validation", "test")
RECORDED = ("forget", "test")

# Images of the retain subset on which the G-effect is measured, at most.
RETAINED = 500


class Spec(StartSpec):
    method: str
    params: dict[str, Any]
    stopping: StoppingRule
    own_end: bool


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help="JSON: the settings")
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument("--data", type=Path, required=True, help="prepared dataset")
    parser.add_argument("--split", type=Path, nargs="+", required=True, help="scenario's split, one a seed")
    parser.add_argument("--original", type=Path, nargs="+", required=True, help="trained model, one a seed")
    parser.add_argument(
        "--proxy-data", type=Path, nargs="?", help="prepared dataset of a proxy from another one"
    )
    for name in ("model", "trajectory", "record"):
        parser.add_argument(
            f"--{name}", type=Path, nargs="+", required=True, help="file to write, one a seed"
        )


def run(arguments: Namespace) -> None:
    spec = arguments.spec
    device = inputs.set_up(spec)
    dataset = load(arguments.data)
    other = None if arguments.proxy_data is None else load(arguments.proxy_data)
    method = methods.load(spec.method)
    params = method.params.model_validate(spec.params)
    code = code_version("orthograd.steps.unlearn", methods.module(spec.method))
    files = (arguments.split, arguments.original, arguments.model, arguments.trajectory, arguments.record)
    for seed, split_file, original, out, trajectory, record in zip(arguments.seed, *files, strict=True):
        reader = inputs.Reader(dataset, device)
        begin = start(spec, reader, split_file, original, method.reads, MEASURED, seed, other)
        # Of the training data's retain subset, also where a proxy stands in for it.
        retained = reader.samples(
            "retain_measured", retain_subset(read_split(split_file), min(spec.retain_size, RETAINED))
        )
        risks = {"forget": begin.sets["forget"], "retain": retained}
        if seed == arguments.seed[0]:
            # A step on a copy: what the libraries load and keep at their first use is none of the method's cost.
            view = DataView(begin.data, method.reads, seed, begin.pixels)
            next(method.run(copy.deepcopy(begin.model), view, params))
        result = unlearn(
            begin.model,
            method,
            params,
            begin.data,
            watch=AccuracyWatch(
                {name: begin.sets[name] for name in RECORDED}, risks, begin.target, spec.evaluation_batch
            ),
            pixels=begin.pixels,
            stopping=spec.stopping,
            own_end=spec.own_end,
            seed=seed,
        )
        inputs.save_model(begin.model, out)
        pd.DataFrame(result.trajectory).to_csv(trajectory, index=False, lineterminator="\n")
        inputs.write_record(
            record,
            spec,
            seed,
            code,
            reader,
            result.cost,
            declared=sorted(method.reads),
            method_reads={
                name: None if samples.read is None else asdict(samples.read)
                for name, samples in sorted(result.accessed.items())
            },
            target=result.target,
            target_reached=result.reached,
            diverged=result.diverged,
            steps=result.steps,
        )
