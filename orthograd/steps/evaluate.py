"""What models say about each sample of their split, and their accuracy; one scores.npz and one metrics.json a model."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import nn

from orthograd.data.images import load
from orthograd.data.samples import Samples
from orthograd.data.splits import read_split
from orthograd.evaluation import logits
from orthograd.metrics.distance import weight_distance
from orthograd.metrics.relearning import relearning_steps
from orthograd.provenance import code_version, commit
from orthograd.records import read_json, write_json
from orthograd.scores import PROBES, Scores, accuracy, finite, write_scores
from orthograd.specs import Relearning
from orthograd.steps import inputs


class Spec(inputs.Spec):
    dataset: str
    model: str
    scenario: str
    scenario_kind: Literal["random", "class"]
    retain_size: int | None
    proxy: str | None
    evaluation_batch: int
    relearning: Relearning


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help="JSON: the settings")
    parser.add_argument("--name", required=True, help="original, retrained, or the method's name")
    parser.add_argument("--data", type=Path, required=True, help="prepared dataset")
    parser.add_argument("--split", type=Path, nargs="+", required=True, help="scenario's split, one a seed")
    parser.add_argument(
        "--model",
        type=Path,
        nargs="+",
        required=True,
        help="models, as many for each split, in the splits' order",
    )
    parser.add_argument("--original", type=Path, nargs="+", required=True, help="trained model, one a split")
    parser.add_argument(
        "--retrained", type=Path, nargs="+", required=True, help="retrained models, as many for each split"
    )
    parser.add_argument("--record", type=Path, nargs="+", required=True, help="how each model was made")
    for name in ("scores", "metrics"):
        parser.add_argument(
            f"--{name}", type=Path, nargs="+", required=True, help="file to write, one a model"
        )


def _probes(
    model: nn.Module, original: Path, retrained: Sequence[Path], sets: Mapping[str, Samples], spec: Spec
) -> dict[str, float | int | None]:
    """What takes the model itself: how far its weights are from others', and how fast it learns the forget set again.

    Distances are relative to the other's norm, that to retrained models the mean over them.
    """
    weights = {name: parameter.detach().cpu().numpy() for name, parameter in model.named_parameters()}

    def distance(other: Path) -> float:
        theirs = load_file(other)
        return weight_distance(weights, {name: theirs[name].numpy() for name in weights}).relative

    # The same order of samples for every model.
    order = torch.Generator().manual_seed(0)
    try:
        steps = relearning_steps(model, sets["forget"], spec.relearning, order)
    except FloatingPointError:
        # A damaged model that the same steps blow up has not learnt the set again.
        steps = None
    return {
        "relearning_steps": steps,
        "weight_distance_original": distance(original),
        "weight_distance_retrained": fmean(map(distance, retrained)) if retrained else None,
    }


def run(arguments: Namespace) -> None:
    spec = arguments.spec
    device = inputs.set_up(spec)
    dataset = load(arguments.data)
    code = code_version("orthograd.steps.evaluate")
    per_split = len(arguments.model) // len(arguments.split)
    splits = [path for path in arguments.split for _ in range(per_split)]
    references = len(arguments.retrained) // len(arguments.split)
    for path, file, record_file, scores_file, out in zip(
        splits, arguments.model, arguments.record, arguments.scores, arguments.metrics, strict=True
    ):
        split = read_split(path)
        reader = inputs.Reader(dataset, device)
        sets = reader.sets(split, sorted(split["set"].unique()))
        model = inputs.load_model(spec.model, dataset, file, device)
        scores: Scores = {
            name: (logits(model, samples, spec.evaluation_batch).numpy(), samples.labels.cpu().numpy())
            for name, samples in sets.items()
        }
        write_scores(scores_file, scores)
        if spec.retain_size is not None and spec.proxy is None:
            order = split.loc[split["set"] == "retain", "retain_order"].to_numpy()
            scores["retain_subset"] = tuple(values[order < spec.retain_size] for values in scores["retain"])
        record = read_json(record_file)
        place = arguments.split.index(path)
        retrained = arguments.retrained[place * references : (place + 1) * references]
        probes = dict.fromkeys(PROBES) | (
            _probes(
                model, arguments.original[place], [other for other in retrained if other != file], sets, spec
            )
            if finite(scores)
            else {}
        )
        write_json(
            out,
            {
                "run": {
                    "dataset": spec.dataset,
                    "model": spec.model,
                    "scenario": spec.scenario,
                    "scenario_kind": spec.scenario_kind,
                    "retain_size": spec.retain_size,
                    "proxy": spec.proxy,
                    "method": arguments.name,
                    "seed": record["seed"],
                    "replicate": record.get("replicate", 0),
                },
                "outcome": {
                    key: record.get(key) for key in ("target", "target_reached", "diverged", "steps")
                },
                "accuracy": {name: accuracy(*values) for name, values in scores.items()},
                "sizes": {name: len(labels) for name, (_, labels) in scores.items()},
                "probes": probes,
                "cost": record["cost"],
                "made_with": {
                    key: record[key]
                    for key in (
                        "spec",
                        "code",
                        "commit",
                        "machine",
                        "reads",
                        *(("declared", "method_reads") if "method_reads" in record else ()),
                    )
                }
                | {"record": str(record_file)},
                "evaluated_with": {
                    "spec": spec.model_dump(mode="json"),
                    "code": code,
                    "commit": commit(),
                    "reads": [asdict(read) for read in reader.reads],
                },
            },
        )
