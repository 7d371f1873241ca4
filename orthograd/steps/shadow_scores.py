"""What shadow models of one kind say about the images that half of them unlearned and half never saw."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path

import numpy as np

from orthograd.data.images import load
from orthograd.data.splits import read_split
from orthograd.evaluation import logits
from orthograd.provenance import code_version, commit
from orthograd.records import read_json, write_json
from orthograd.scores import ShadowScores, write_shadow_scores
from orthograd.steps import inputs


class Spec(inputs.Spec):
    model: str
    evaluation_batch: int


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help="JSON: the settings")
    parser.add_argument("--data", type=Path, required=True, help="prepared dataset")
    parser.add_argument("--split", type=Path, nargs="+", required=True, help="split, one a shadow model")
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="models, in the splits' order")
    parser.add_argument("--out", type=Path, required=True, help="NumPy archive to write")
    parser.add_argument(
        "--made", type=Path, nargs="+", required=True, help="how each model was made, in the splits' order"
    )
    parser.add_argument(
        "--record",
        type=Path,
        required=True,
        help="JSON to write: what was read, and how the models were made",
    )


def run(arguments: Namespace) -> None:
    spec = arguments.spec
    device = inputs.set_up(spec)
    dataset = load(arguments.data)
    reader = inputs.Reader(dataset, device)
    outputs, unlearned = [], []
    # The same images in the same order for every model: its split moves them between two sets only.
    for split_file, file in zip(arguments.split, arguments.model, strict=True):
        split = read_split(split_file)
        rows = split[split["set"].isin(["forget", "unseen"])]
        samples = reader.samples("shadowed", rows)
        model = inputs.load_model(spec.model, dataset, file, device)
        outputs.append(logits(model, samples, spec.evaluation_batch).numpy())
        unlearned.append((rows["set"] == "forget").to_numpy())
    if len(reader.reads) > 1:
        raise ValueError(
            "the splits of the shadow models halve different forget sets: make them anew from one split"
        )
    labels = samples.labels.cpu().numpy()
    write_shadow_scores(arguments.out, ShadowScores(np.stack(outputs), labels, np.stack(unlearned)))
    write_json(
        arguments.record,
        {
            "spec": spec.model_dump(mode="json"),
            "code": code_version("orthograd.steps.shadow_scores"),
            "commit": commit(),
            "reads": [asdict(read) for read in reader.reads],
            "models": [{"record": str(path)} | read_json(path) for path in arguments.made],
        },
    )
