"""The first step with each deviation of the public code copy, on the small study."""

from argparse import Namespace
from typing import Any

import pandas as pd
import pytest
from tiny_pipeline import RETAIN, RUNTIME, SEEDS, Place

from orthograd.steps import deviations


def test_deviations_beside_the_runs_that_lack_them(study: tuple[Place, list[dict[str, Any]]]) -> None:
    place, _ = study
    params = {"learning_rate": 0.01, "momentum": 0.0, "weight_decay": 0.0, "alpha": 0.0, "rtol": 0.003}
    spec = {
        "model": "small-resnet",
        "retain_size": RETAIN,
        "target": 0.0,
        "proxy": None,
        "evaluation_batch": 64,
    }
    spec |= {"params": params | {"forget_batch": 4, "retain_batch": 8, "passes": None}, **RUNTIME}
    out = place.folder / "deviations.csv"
    deviations.run(
        Namespace(
            spec=deviations.Spec.model_validate(spec),
            seed=list(SEEDS),
            data=place.data,
            split=[place.split(seed) for seed in SEEDS],
            original=place.runs("original", "model.safetensors"),
            out=out,
        )
    )
    rows = pd.read_csv(out).set_index(["deviation", "seed"])
    assert len(rows) == 7 * len(SEEDS)
    for seed in SEEDS:
        # The formula written out is the engine.
        assert rows.loc[("none", seed), "update_cosine"] == pytest.approx(1, abs=1e-6)
        assert rows.loc[("none", seed), "update_ratio"] == pytest.approx(1, abs=1e-4)
        assert rows.loc[("none", seed), "max_cosine"] < 1e-10
        # With alpha = 0 the update is what is left of g_u: within tensors no more than in the whole space.
        assert rows.loc[("per_tensor", seed), "update_ratio"] <= 1 + 1e-6
        assert rows.loc[("unit_columns", seed), "beside"] == "per_tensor"
        # All of KL's retain gradients are rounding at the original model; Adam's directions are no gradients.
        assert rows.loc[("adam", seed), "max_cosine"] > 1e-4
        assert rows.loc[("broadcast_mean", seed), "beside"] == "orthograd_mean"
