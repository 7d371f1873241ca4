"""Search the parameters of a method on tuning splits, which share no seed with the reported ones."""

from __future__ import annotations

import copy
import json
import time
from argparse import ArgumentParser, Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from orthograd import methods
from orthograd.data.images import load
from orthograd.data.splits import read_split
from orthograd.evaluation import accuracies
from orthograd.metrics.retraining import signed_differences
from orthograd.provenance import code_version, commit
from orthograd.records import write_json
from orthograd.search import Space, score, trials
from orthograd.specs import StoppingRule
from orthograd.steps import inputs
from orthograd.steps.start import Spec as StartSpec
from orthograd.steps.start import start
from orthograd.unlearning import AccuracyWatch, unlearn

# Test accuracy has no part in a search: validation stands in its place.
GAP_SETS = ("forget", "retain", "validation")


class Spec(StartSpec):
    method: str
    space: Space
    trials: int
    seconds: float
    stopping: StoppingRule


@dataclass(frozen=True)
class Outcome:
    """How one run of a trial ended; accuracies are fractions."""

    target: float
    reached: bool
    diverged: bool
    steps: int
    seconds: float
    forget: float
    validation: float
    gap: float


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help="JSON: the settings")
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument("--data", type=Path, required=True, help="prepared dataset")
    parser.add_argument("--split", type=Path, nargs="+", required=True, help="scenario's split, one a seed")
    parser.add_argument("--original", type=Path, nargs="+", required=True, help="trained model, one a seed")
    parser.add_argument(
        "--retrained", type=Path, nargs="+", required=True, help="a retrained model, one a seed"
    )
    parser.add_argument("--trials", type=Path, required=True, help="file to write: one row a trial")
    parser.add_argument("--record", type=Path, required=True, help="JSON to write: what the search read")


def run(arguments: Namespace) -> None:
    spec = arguments.spec
    device = inputs.set_up(spec)
    dataset = load(arguments.data)
    method = methods.load(spec.method)
    places = list(zip(arguments.seed, arguments.split, arguments.original, strict=True))
    # A search looks at the unlearned models alone.
    stopping = spec.stopping.model_copy(update={"curve_steps": 0, "record_every": spec.stopping.max_steps})
    references = []
    readers = [inputs.Reader(dataset, device) for _ in places]
    for reader, split_file, path in zip(readers, arguments.split, arguments.retrained, strict=True):
        sets = reader.sets(read_split(split_file), GAP_SETS)
        model = inputs.load_model(spec.model, dataset, path, device)
        references.append(accuracies(model, sets, spec.evaluation_batch))

    starts = [
        start(spec, reader, split_file, original, method.reads, GAP_SETS, seed)
        for reader, (seed, split_file, original) in zip(readers, places, strict=True)
    ]

    def outcome(params: dict[str, Any], place: int) -> Outcome:
        begin, seed = starts[place], places[place][0]
        model = copy.deepcopy(begin.model)
        result = unlearn(
            model,
            method,
            method.params.model_validate(params),
            begin.data,
            # On the way the forget set alone: the others are of use at the end.
            watch=AccuracyWatch({"forget": begin.sets["forget"]}, {}, begin.target, spec.evaluation_batch),
            pixels=begin.pixels,
            stopping=stopping,
            own_end=False,
            seed=seed,
        )
        end = accuracies(model, begin.sets, spec.evaluation_batch)
        differences = signed_differences(end, [references[place]], GAP_SETS)
        return Outcome(
            target=begin.target,
            reached=result.reached,
            diverged=result.diverged,
            steps=result.steps,
            seconds=result.cost.seconds,
            forget=end["forget"],
            validation=end["validation"],
            gap=float(np.mean([abs(difference) for difference in differences.values()])),
        )

    rows = []
    began = time.perf_counter()
    for number, params in enumerate(tqdm(trials(spec.space, spec.trials, arguments.seed[0], spec.method))):
        if time.perf_counter() - began > spec.seconds:
            break
        found = [outcome(params, place) for place in range(len(places))]
        means = pd.DataFrame(found)[["steps", "seconds", "forget", "validation", "gap"]].mean()
        rows.append(
            {
                "method": spec.method,
                "trial": number,
                "params": json.dumps(params),
                "seeds": len(found),
                "reached": sum(end.reached for end in found),
                "diverged": sum(end.diverged for end in found),
                **{str(name): float(value) for name, value in means.items()},
                "score": score(
                    [end.reached for end in found],
                    [end.diverged for end in found],
                    [end.forget for end in found],
                    [end.target for end in found],
                    [end.validation for end in found],
                ),
            }
        )
    pd.DataFrame(rows).to_csv(arguments.trials, index=False, lineterminator="\n")
    write_json(
        arguments.record,
        {
            "method": spec.method,
            "seeds": arguments.seed,
            "reads": {
                str(seed): [asdict(read) for read in reader.reads]
                for seed, reader in zip(arguments.seed, readers, strict=True)
            },
            "code": code_version("orthograd.steps.tune", methods.module(spec.method)),
            "commit": commit(),
        },
    )
