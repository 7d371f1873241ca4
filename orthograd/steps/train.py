"""Train a model from scratch for each seed: the original one, or those that never see the forget set."""

from __future__ import annotations

import copy
import time
from argparse import ArgumentParser, Namespace
from itertools import product
from pathlib import Path

from orthograd.cost import Cost, PeakMemory
from orthograd.data.images import load
from orthograd.data.samples import Samples
from orthograd.data.splits import read_split
from orthograd.provenance import code_version
from orthograd.randomness import generator, stream
from orthograd.specs import Training
from orthograd.steps import inputs
from orthograd.training import train


class Spec(inputs.Spec):
    model: str
    training: Training


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help="JSON: the settings")
    parser.add_argument(
        "--train-on",
        choices=["train", "retain"],
        required=True,
        help="the set to train on: train (original model) or retain (retrained without the forget set)",
    )
    parser.add_argument("--replicates", type=int, default=1, help="models for each seed (default: 1)")
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument("--data", type=Path, required=True, help="prepared dataset")
    parser.add_argument("--split", type=Path, nargs="+", required=True, help="split, one a seed")
    for name in ("model", "record"):
        parser.add_argument(
            f"--{name}", type=Path, nargs="+", required=True, help="file to write, one a seed and replicate"
        )


def run(arguments: Namespace) -> None:
    spec = arguments.spec
    device = inputs.set_up(spec)
    dataset = load(arguments.data)
    code = code_version("orthograd.steps.train")
    seeds = zip(arguments.seed, arguments.split, strict=True)
    runs = product(seeds, range(arguments.replicates))
    for ((seed, path), replicate), out, record in zip(runs, arguments.model, arguments.record, strict=True):
        split = read_split(path)
        reader = inputs.Reader(dataset, device)
        samples = reader.samples(arguments.train_on, split[split["set"] == arguments.train_on])
        purpose = (arguments.train_on, replicate)
        weights_seed = stream(seed, "weights", *purpose)
        is_original = arguments.train_on == "train"
        model = inputs.new_model(spec.model, dataset, weights_seed, device, pretrained=is_original)
        if out == arguments.model[0]:
            # A step on a copy: what the libraries load and keep at their first use is none of the training's cost.
            batch = spec.training.batch_size
            first = Samples(samples.images[:batch], samples.labels[:batch])
            brief = spec.training.model_copy(update={"epochs": 2})
            train(copy.deepcopy(model), first, brief, generator(seed, "warm-up"))
        memory = PeakMemory(device)
        start = time.perf_counter()
        with memory:
            losses = train(model, samples, spec.training, generator(seed, "order", *purpose))
        passed = len(losses) * (len(samples) // spec.training.batch_size) * spec.training.batch_size
        cost = Cost(time.perf_counter() - start, memory.bytes, passed, passed)
        inputs.save_model(model, out)
        inputs.write_record(
            record,
            spec,
            seed,
            code,
            reader,
            cost,
            replicate=replicate,
            trained_on=len(samples),
            losses=losses,
        )
