"""What a model says about every sample of a split: the file from which metrics are computed without the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Logits float32 (n, classes) and labels int64 (n,) of each set of a split, by its name, in the split's order.
Scores = dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]]

# What is measured beside them on the model itself, into metrics.json.
PROBES = ("relearning_steps", "weight_distance_original", "weight_distance_retrained")


def write_scores(path: Path, scores: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]) -> None:
    """Write logits and labels as a compressed NumPy archive; the same scores give the same bytes."""
    arrays: dict[str, Any] = {}
    for name, (logits, labels) in scores.items():
        arrays[f"{name}.logits"] = logits.astype(np.float32)
        arrays[f"{name}.labels"] = labels.astype(np.int64)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_scores(path: Path) -> Scores:
    """Read what `write_scores` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        names = [key.removesuffix(".logits") for key in arrays if key.endswith(".logits")]
        return {name: (arrays[f"{name}.logits"], arrays[f"{name}.labels"]) for name in names}


@dataclass(frozen=True)
class ShadowScores:
    """What the shadow models of one kind say about the images that some of them unlearned and the others never saw.

    Attributes:
        logits: (models, n, classes), float32.
        labels: (n,), int64.
        unlearned: (models, n), bool: the model was trained on the image and unlearned it; else it never saw it.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    unlearned: NDArray[np.bool_]


def write_shadow_scores(path: Path, scores: ShadowScores) -> None:
    """Write them as a compressed NumPy archive; the same scores give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(file, logits=scores.logits, labels=scores.labels, unlearned=scores.unlearned)


def read_shadow_scores(path: Path) -> ShadowScores:
    """Read what `write_shadow_scores` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return ShadowScores(arrays["logits"], arrays["labels"], arrays["unlearned"])


def finite(scores: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]) -> bool:
    """Whether every logit is a number: a diverged model has no divergence and no attack."""
    return all(bool(np.isfinite(logits).all()) for logits, _ in scores.values())


def accuracy(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """The fraction of samples whose largest logit is the label's; logits that are not finite are wrong.

    Among equal logits the first class is the prediction, as in torch.
    """
    correct = (logits.argmax(axis=1) == labels) & np.isfinite(logits).all(axis=1)
    return float(correct.mean())
