"""Classifiers that memorise, in closed form: ridge regression in more dimensions than samples, on random labels.

What a model knows of a sample it knows from having been fitted on it: labels carry nothing else. A model fitted without
a sample is at chance on it, so the truth of every attack on these models is known.
"""

import numpy as np

CLASSES = 4
DIMENSIONS = 400
SCALE = 8.0


def problem(n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, dimensions) and random labels (n,), the classes in turn."""
    return generator.normal(size=(n, DIMENSIONS)) / DIMENSIONS**0.5, np.arange(n) % CLASSES


def logits(x: np.ndarray, labels: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Logits of all samples (n, classes) under the model fitted on those that the mask `fitted` names."""
    inside = x[fitted]
    weights = inside.T @ np.linalg.solve(
        inside @ inside.T + 0.5 * np.eye(len(inside)), np.eye(CLASSES)[labels[fitted]]
    )
    return SCALE * (x @ weights)
