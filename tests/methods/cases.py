"""For every method: parameters at which it ends by itself after a few steps, what it then costs, what changes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """A method on `problem.data()`: 12 images in each set.

    Attributes:
        params: its parameters; the sizes of its batches are such that a pass takes several steps.
        changes: for every parameter another value, which leads to another model or another number of steps.
        given: other parameters that have to have other values for a change to matter, by the changed parameter.
        steps: updates until it ends by itself, counted by hand.
        forward: samples that passed forward in them, counted by hand.
        backward: samples that passed backward in them, counted by hand.
        draws: whether it does anything at random, such as the order of the samples.
    """

    params: Mapping[str, Any]
    changes: Mapping[str, Any]
    steps: int
    forward: int
    backward: int
    draws: bool = True
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


SGD = {"learning_rate": 0.05, "momentum": 0.5, "weight_decay": 0.01}
SGD_CHANGES = {"learning_rate": 0.04, "momentum": 0.0, "weight_decay": 0.0}
ADAM = {"learning_rate": 0.01, "weight_decay": 0.1}
ADAM_CHANGES = {"learning_rate": 0.02, "weight_decay": 0.0}
ONE = {"batch_size": 4, "passes": 2}
ONE_CHANGES = {"batch_size": 3, "passes": 1}
TWO = {"forget_batch": 4, "retain_batch": 3, "passes": 2}
TWO_CHANGES = {"forget_batch": 3, "retain_batch": 4, "passes": 1}

CASES: dict[str, Case] = {
    "ft": Case(SGD | ONE, SGD_CHANGES | ONE_CHANGES, steps=6, forward=24, backward=24),
    "neggrad": Case(SGD | ONE, SGD_CHANGES | ONE_CHANGES, steps=6, forward=24, backward=24),
    "neggrad_plus": Case(
        SGD | TWO | {"alpha": 0.6},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7},
        steps=6,
        forward=42,
        backward=42,
    ),
    # The retain samples pass backward twice: for the Gramian, and with their weights. At this rtol it needs no
    # refinement, whose passes depend on the gradients.
    "orthograd": Case(
        SGD | TWO | {"alpha": 0.6, "rtol": 0.1},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7, "rtol": 0.99},
        steps=6,
        forward=42,
        backward=60,
    ),
    # The retain samples pass backward three times: for the Gramians, with their weights, and for the certificate.
    "orthograd_tensor": Case(
        SGD | TWO | {"alpha": 0.6, "rtol": 1e-3},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7, "rtol": 0.99},
        steps=6,
        forward=42,
        backward=78,
    ),
    "orthograd_mean": Case(
        SGD | TWO | {"alpha": 0.6},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7},
        steps=6,
        forward=42,
        backward=42,
    ),
    "orthograd_ascent": Case(
        SGD | TWO | {"rtol": 1e-3},
        SGD_CHANGES | TWO_CHANGES | {"rtol": 0.99},
        steps=6,
        forward=42,
        backward=60,
    ),
    "orthograd_lora": Case(
        SGD | TWO | {"alpha": 0.6, "rtol": 1e-3, "rank": 2, "lora_alpha": 2},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7, "rtol": 0.99, "rank": 1, "lora_alpha": 3},
        steps=6,
        forward=42,
        backward=60,
    ),
    "orthograd_adam": Case(
        SGD | TWO | {"alpha": 0.6, "rtol": 1e-3},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7, "rtol": 0.99},
        steps=6,
        forward=42,
        backward=42,
    ),
    # The retain samples also pass through the teacher.
    "orthograd_kl": Case(
        SGD | TWO | {"alpha": 0.6, "rtol": 1e-3},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7, "rtol": 0.99},
        steps=6,
        forward=42 + 18,
        backward=60,
    ),
    # The norms of the whole retain set are measured once a pass.
    "orthograd_norm": Case(
        SGD | TWO | {"alpha": 0.6, "rtol": 1e-3},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7, "rtol": 0.99},
        steps=6,
        forward=42 + 24,
        backward=60,
    ),
    "gdr_gma": Case(
        ADAM | TWO | {"gamma": 5.0, "epsilon": 0.3, "project_off_rectified": False},
        ADAM_CHANGES | TWO_CHANGES | {"gamma": 4.0, "epsilon": 0.4, "project_off_rectified": True},
        steps=6,
        forward=42,
        backward=42,
    ),
    "munba": Case(
        SGD | TWO | {"clip": 1.0}, SGD_CHANGES | TWO_CHANGES | {"clip": 0.5}, steps=6, forward=42, backward=42
    ),
    # The retain set passes forward for its input subspaces.
    "pgu": Case(
        {
            "learning_rate": 0.05,
            "final_learning_rate": 0.01,
            "entropy_weight": 0.2,
            "offset": 0.05,
            "energy": 0.9,
            "batch_size": 4,
            "passes": 2,
        },
        {
            "learning_rate": 0.04,
            "final_learning_rate": 0.02,
            "entropy_weight": 0.5,
            "offset": 0.0,
            "energy": 0.5,
            "batch_size": 3,
            "passes": 1,
        },
        steps=6,
        forward=12 + 24,
        backward=24,
    ),
    # Every forget image passes forward twice and backward once for its nearest wrong class.
    "boundary_shrink": Case(
        SGD | ONE | {"epsilon": 0.1},
        SGD_CHANGES | ONE_CHANGES | {"epsilon": 0.9},
        steps=6,
        forward=24 + 24,
        backward=12 + 24,
    ),
    # Each of the 3 classes takes a pass; one sample tells how many classes there are.
    "fisher": Case({"alpha": 1e-6}, {"alpha": 2e-6}, steps=1, forward=37, backward=36),
    # The forget set passes once for the saliency and once for the memory of each of the 2 passes.
    "scissorhands": Case(
        SGD | TWO | {"fraction": 0.1, "forget_weight": 0.05, "margin": 0.5},
        SGD_CHANGES | TWO_CHANGES | {"fraction": 0.2, "forget_weight": 0.1, "margin": 5.0},
        steps=1 + 6,
        forward=36 + 42,
        backward=36 + 42,
        # The margin matters where the step opposes the memory.
        given={"margin": {"forget_weight": 0.0}},
    ),
    "langevin": Case(
        ONE | {"learning_rate": 0.05, "weight_decay": 0.01, "sigma": 0.03, "clip": 1.0},
        ONE_CHANGES | {"learning_rate": 0.04, "weight_decay": 0.0, "sigma": 0.02, "clip": 0.1},
        steps=6,
        forward=24,
        backward=24,
    ),
    # 3 steps on 8 noise images; 16 copies of noise and 12 retain images, then 12 retain images, by 4.
    "unsir": Case(
        {
            "noise_images": 8,
            "noise_steps": 3,
            "noise_learning_rate": 0.1,
            "noise_penalty": 0.1,
            "noise_copies": 2,
            "impair_learning_rate": 0.02,
            "impair_passes": 1,
            "repair_learning_rate": 0.01,
            "repair_passes": 1,
            "retain_batch": 4,
        },
        {
            "noise_images": 6,
            "noise_steps": 2,
            "noise_learning_rate": 0.2,
            "noise_penalty": 0.0,
            "noise_copies": 1,
            "impair_learning_rate": 0.01,
            "impair_passes": 2,
            "repair_learning_rate": 0.02,
            "repair_passes": 2,
            "retain_batch": 3,
        },
        steps=7 + 3,
        forward=24 + 40,
        backward=24 + 40,
    ),
}
