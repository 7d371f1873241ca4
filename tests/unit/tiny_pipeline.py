"""The computing steps, run for real on a few random images: what they note is what the audit reads."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orthograd import methods
from orthograd.data.images import load, prepare
from orthograd.data.scenarios import RandomScenario, SplitSizes
from orthograd.data.splits import base_split, scenario_split, write_split
from orthograd.records import read_json
from orthograd.steps import collect, evaluate, shadow_scores, shadow_splits, train, unlearn

SEEDS = (0, 1)
# A pair of shadow models, and what is done with them.
SHADOW_SEEDS = (100, 101)
SHADOWED = "ft"
RETAIN = 16
STOPPING = {"every": 1, "record_every": 1, "max_steps": 50, "curve_steps": 0}
RUNTIME = {"device": "cpu", "threads": 1}
PARAMS: dict[str, dict[str, Any]] = {
    "ft": {"learning_rate": 0.01, "momentum": 0.0, "weight_decay": 0.0, "batch_size": 8, "passes": 1},
    "neggrad": {"learning_rate": 0.01, "momentum": 0.0, "weight_decay": 0.0, "batch_size": 8, "passes": 1},
    "scrub_r": {
        "learning_rate": 0.01,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "alpha": 0.1,
        "gamma": 0.99,
        "temperature": 2.0,
        "max_rounds": 1,
        "forget_batch": 8,
        "retain_batch": 8,
        "passes": 2,
    },
}


@dataclass(frozen=True)
class Place:
    """Where the files of the study lie."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data.safetensors"

    def split(self, seed: int) -> Path:
        return self.folder / f"splits/seed{seed}.csv"

    def run(self, method: str, seed: int, file: str) -> Path:
        path = self.folder / method / f"seed{seed}" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def runs(self, method: str, file: str, seeds: Sequence[int] = SEEDS) -> list[Path]:
        return [self.run(method, seed, file) for seed in seeds]


def _idx(path: Path, array: np.ndarray) -> None:
    """The published format: 0, 0, type (8: unsigned byte), rank; shape as big-endian int32; the bytes."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">i4").tobytes()
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def make_dataset(folder: Path) -> Place:
    """Random images in the published form, prepared, and their splits."""
    rng = np.random.default_rng(3)
    raw = folder / "raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 130), ("t10k", 40)):
        _idx(raw / f"{name}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28)))
        _idx(raw / f"{name}-labels-idx1-ubyte", np.arange(count) % 10)
    place = Place(folder)
    prepare(raw, "fashion-mnist", place.data)
    dataset = load(place.data)
    for seed in SEEDS:
        base = base_split(dataset, SplitSizes(train=60, validation=40, test=30), seed)
        write_split(
            scenario_split(base, RandomScenario(kind="random", fraction=0.2), seed), place.split(seed)
        )
        write_split(base, folder / f"splits/base{seed}.csv")
    return place


def run_training(
    place: Place, method: str, train_on: str, splits: list[Path], seeds: Sequence[int] = SEEDS
) -> None:
    """Train the original models (on `train`) or the retrained ones (on `retain`)."""
    training = {"epochs": 2, "batch_size": 16, "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.0}
    spec = train.Spec.model_validate(
        {"model": "small-resnet", "training": training | {"warmup": 0.2}, **RUNTIME}
    )
    train.run(
        Namespace(
            spec=spec,
            train_on=train_on,
            replicates=1,
            seed=list(seeds),
            data=place.data,
            split=splits,
            model=place.runs(method, "model.safetensors", seeds),
            record=place.runs(method, "training.json", seeds),
        )
    )


def run_method(place: Place, method: str, shadows: bool = False) -> None:
    """Unlearn with a method from the original models, or from the shadow models."""
    seeds, folder = (SHADOW_SEEDS, "shadows/") if shadows else (SEEDS, "")
    spec = {
        "model": "small-resnet",
        "retain_size": RETAIN,
        "proxy": None,
        "target": 0.0,
        "evaluation_batch": 64,
        "method": method,
        "params": PARAMS[method],
        "stopping": STOPPING,
        "own_end": False,
    }
    methods.load(method)
    unlearn.run(
        Namespace(
            spec=unlearn.Spec.model_validate(spec | RUNTIME),
            seed=list(seeds),
            data=place.data,
            split=[place.split(seed) for seed in seeds],
            original=place.runs(f"{folder}original", "model.safetensors", seeds),
            proxy_data=None,
            model=place.runs(f"{folder}{method}", "model.safetensors", seeds),
            trajectory=place.runs(f"{folder}{method}", "trajectory.csv", seeds),
            record=place.runs(f"{folder}{method}", "unlearning.json", seeds),
        )
    )


def run_evaluation(place: Place, method: str) -> None:
    """Evaluate the models of a method, or the reference models."""
    reference = method in ("original", "retrained")
    spec = {
        "dataset": "fashion-mnist",
        "model": "small-resnet",
        "scenario": "random",
        "scenario_kind": "random",
        "retain_size": None if reference else RETAIN,
        "proxy": None,
        "relearning": {"learning_rate": 0.01, "batch_size": 4, "max_steps": 3, "level": 1.0},
        "evaluation_batch": 64,
    }
    evaluate.run(
        Namespace(
            spec=evaluate.Spec.model_validate(spec | RUNTIME),
            name=method,
            data=place.data,
            split=[place.split(seed) for seed in SEEDS],
            model=place.runs(method, "model.safetensors"),
            original=place.runs("original", "model.safetensors"),
            retrained=place.runs("retrained", "model.safetensors"),
            record=place.runs(method, "training.json" if reference else "unlearning.json"),
            scores=place.runs(method, "scores.npz"),
            metrics=place.runs(method, "metrics.json"),
        )
    )


def run_shadows(place: Place) -> None:
    """The shadow models of the first seed's split: trained, retrained, unlearned by `SHADOWED`, and scored."""
    splits = [place.split(seed) for seed in SHADOW_SEEDS]
    trained = [place.folder / f"splits/trained{seed}.csv" for seed in SHADOW_SEEDS]
    shadow_splits.run(
        Namespace(seed=list(SHADOW_SEEDS), split=place.split(SEEDS[0]), trained=trained, out=splits)
    )
    run_training(place, "shadows/original", "train", trained, SHADOW_SEEDS)
    run_training(place, "shadows/retrained", "retain", splits, SHADOW_SEEDS)
    run_method(place, SHADOWED, shadows=True)
    spec = shadow_scores.Spec.model_validate({"model": "small-resnet", "evaluation_batch": 64, **RUNTIME})
    for kind in ("original", "retrained", SHADOWED):
        made = "unlearning.json" if kind == SHADOWED else "training.json"
        shadow_scores.run(
            Namespace(
                spec=spec,
                data=place.data,
                split=splits,
                model=place.runs(f"shadows/{kind}", "model.safetensors", SHADOW_SEEDS),
                made=place.runs(f"shadows/{kind}", made, SHADOW_SEEDS),
                out=place.folder / f"shadows/{kind}/scores.npz",
                record=place.folder / f"shadows/{kind}/evidence.json",
            )
        )


def run_study(folder: Path) -> tuple[Place, list[dict[str, Any]]]:
    """All of it; the place, and the evidence that `collect` makes of it."""
    threads = torch.get_num_threads()
    try:
        place = make_dataset(folder)
        run_training(place, "original", "train", [folder / f"splits/base{seed}.csv" for seed in SEEDS])
        run_training(place, "retrained", "retain", [place.split(seed) for seed in SEEDS])
        for method in PARAMS:
            run_method(place, method)
        names = ["original", "retrained", *PARAMS]
        for name in names:
            run_evaluation(place, name)
        run_shadows(place)
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode("default")
    paths = [path for name in names for path in place.runs(name, "metrics.json")]
    return place, collect.evidence(paths, [read_json(path) for path in paths])
