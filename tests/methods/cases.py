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
SCRUB = SGD | TWO | {"alpha": 0.5, "gamma": 0.9, "temperature": 2.0, "max_rounds": 1}
SCRUB_CHANGES = SGD_CHANGES | TWO_CHANGES | {"alpha": 0.1, "gamma": 0.5, "temperature": 3.0, "max_rounds": 2}

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
    # Two rounds of 4 retain steps, the first after 3 forget steps; every sample goes through the original too.
    "scrub": Case(SCRUB, SCRUB_CHANGES, steps=11, forward=72, backward=36),
    # Its ascent destroys the net in the second round and the descents repair it until the fourth, so that the rounds
    # have different errors. Each of six ends with the error of 12 forget images, the run with that of the held-out.
    "scrub_r": Case(
        SCRUB
        | {"learning_rate": 0.2, "weight_decay": 0.1, "alpha": 0.0, "gamma": 1.0, "temperature": 1.0}
        | {"max_rounds": 2, "retain_batch": 4, "passes": 6},
        SCRUB_CHANGES | {"max_rounds": 1, "retain_batch": 3},
        steps=25,
        forward=276,
        backward=96,
    ),
    # Every sample goes through a teacher too.
    "bad_teacher": Case(
        ADAM | TWO | {"temperature": 2.0},
        ADAM_CHANGES | TWO_CHANGES | {"temperature": 1.0},
        steps=6,
        forward=84,
        backward=42,
    ),
    # One image tells how many classes there are.
    "random_label": Case(
        SGD | TWO | {"alpha": 1.0},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.5},
        steps=6,
        forward=43,
        backward=42,
    ),
    # The same, after one pass over the 12 forget images for the mask.
    "salun": Case(
        SGD | TWO | {"alpha": 1.0, "fraction": 0.5},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.5, "fraction": 0.6},
        steps=6,
        forward=55,
        backward=54,
    ),
    # One pass over both sets, whatever the number of strengths.
    "ssd": Case(
        {"alpha": 1.2, "dampening": 0.5, "strengths": 3},
        {"alpha": 1.5, "dampening": 0.8, "strengths": 2},
        steps=3,
        forward=24,
        backward=24,
        draws=False,
    ),
    # One pass over both sets for the centroids and the targets.
    "duck": Case(
        ADAM | TWO | {"lambda_forget": 1.0, "lambda_retain": 1.4, "temperature": 2.0},
        ADAM_CHANGES | TWO_CHANGES | {"lambda_forget": 0.5, "lambda_retain": 1.0, "temperature": 1.0},
        steps=6,
        forward=66,
        backward=42,
    ),
    "l1_sparse": Case(
        SGD | ONE | {"alpha": 0.01},
        SGD_CHANGES | ONE_CHANGES | {"alpha": 0.02},
        steps=6,
        forward=24,
        backward=24,
    ),
    # The retain samples pass backward three times: for the Gramians, with their weights, and for the certificate.
    "orthograd_tensor": Case(
        SGD | TWO | {"alpha": 0.6, "rtol": 1e-3},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7, "rtol": 0.99},
        steps=6,
        forward=42,
        backward=78,
    ),
    # No certificate covers it: in each step the first and the last sample of each batch pass forward once more alone
    # and once more together, 6 · 8 samples.
    "orthograd_mean": Case(
        SGD | TWO | {"alpha": 0.6},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7},
        steps=6,
        forward=90,
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
    "orthograd_layers": Case(
        SGD | TWO | {"alpha": 0.6, "rtol": 0.1, "layers": "weight"},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7, "rtol": 0.99, "layers": "bias"},
        steps=6,
        forward=42,
        backward=60,
    ),
    # Checked as orthograd_mean is.
    "orthograd_adam": Case(
        SGD | TWO | {"alpha": 0.6, "rtol": 1e-3},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7, "rtol": 0.99},
        steps=6,
        forward=90,
        backward=42,
    ),
    # The retain samples also pass through the teacher. Without any retain gradient, in the first step, all weights are
    # equal, so that a certificate takes a pass of its own over the 3 retain samples.
    "orthograd_kl": Case(
        SGD | TWO | {"alpha": 0.6, "rtol": 1e-3},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7, "rtol": 0.99},
        steps=6,
        forward=42 + 18,
        backward=63,
    ),
    # Every retain gradient by a backward pass of its own.
    "orthograd_copy": Case(
        SGD | TWO | {"alpha": 0.6, "rtol": 1e-3, "deviation": "none"},
        SGD_CHANGES | TWO_CHANGES | {"alpha": 0.7, "rtol": 0.99, "deviation": "per_tensor"},
        steps=6,
        forward=42,
        backward=42,
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
    "fisher": Case(
        {"alpha": 1e-6, "strengths": 3},
        {"alpha": 2e-6, "strengths": 2},
        steps=3,
        forward=37,
        backward=36,
    ),
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
