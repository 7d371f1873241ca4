"""Full diagnostics along OrthoGrad's runs: the runs are the method's own, the fractions those of the oracle."""

import copy
from argparse import Namespace
from contextlib import closing
from itertools import islice
from typing import Any

import pandas as pd
import pytest
import torch
from tiny_pipeline import RETAIN, RUNTIME, SEEDS, Place

from orthograd import objective
from orthograd.data.images import load
from orthograd.engine import OrthoGrad
from orthograd.methods.base import DataView
from orthograd.methods.orthograd import METHOD
from orthograd.records import write_json
from orthograd.steps import inputs, projections
from orthograd.steps.start import Start, start

PARAMS: dict[str, float | None] = {
    "learning_rate": 0.05,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "alpha": 0.2,
    "rtol": 0.003,
    "forget_batch": 4,
    "retain_batch": 8,
    "passes": None,
}
SPEC = projections.Spec.model_validate(
    {
        "model": "small-resnet",
        "retain_size": RETAIN,
        "target": 0.0,
        "proxy": None,
        "evaluation_batch": 64,
        "params": PARAMS,
        **RUNTIME,
    }
)


@pytest.fixture
def begin(study: tuple[Place, list[dict[str, Any]]]) -> Start:
    place, _ = study
    reader = inputs.Reader(load(place.data), inputs.set_up(SPEC))
    original = place.run("original", SEEDS[0], "model.safetensors")
    return start(SPEC, reader, place.split(SEEDS[0]), original, METHOD.reads, ("forget",), SEEDS[0])


def _view(begin: Start) -> DataView:
    return DataView(begin.data, METHOD.reads, SEEDS[0], begin.pixels)


def test_the_updates_are_those_of_the_method(begin: Start) -> None:
    noted, plain = copy.deepcopy(begin.model), copy.deepcopy(begin.model)
    for made in (
        projections.projections(noted, _view(begin), SPEC.params),
        METHOD.run(plain, _view(begin), SPEC.params),
    ):
        with closing(made):
            assert len(list(islice(made, 3))) == 3
    moved = 0.0
    for before, one, other in zip(
        begin.model.parameters(), noted.parameters(), plain.parameters(), strict=True
    ):
        assert torch.equal(one, other)
        moved += float((one - before).detach().norm())
    assert moved > 0


def test_each_layer_loses_what_it_loses_to_the_oracle(begin: Start) -> None:
    view = _view(begin)
    forget, forget_labels = next(view.batches("forget", 4))
    retain, retain_labels = next(view.batches("retain", 8))
    exact = copy.deepcopy(begin.model).double()
    with OrthoGrad(exact, rtol=0.003, solver="materialize", full_diagnostics=True) as oracle:
        expected = oracle.backward_from(
            lambda model, batch: objective.losses(model(batch[0]), batch[1]),
            (forget.double(), forget_labels),
            (retain.double(), retain_labels),
        )
    with closing(projections.projections(begin.model, _view(begin), SPEC.params)) as made:
        found = next(made)
    assert found.removed_per_layer is not None
    assert expected.removed_per_layer is not None
    assert list(found.removed_per_layer) == [name for name, _ in begin.model.named_parameters()]
    assert dict(found.removed_per_layer) == pytest.approx(dict(expected.removed_per_layer), rel=1e-3)
    assert found.rank == expected.rank
    assert found.max_cosine_measured


def test_the_runs_are_made_up_to_their_end_or_the_limit(
    study: tuple[Place, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _ = study
    monkeypatch.setattr(projections, "MAX_STEPS", 3)
    records = place.runs("projected", "unlearning.json")
    for record, steps in zip(records, (2, 5), strict=True):
        write_json(record, {"steps": steps})
    out = place.folder / "projections.csv"
    projections.run(
        Namespace(
            spec=SPEC,
            seed=list(SEEDS),
            data=place.data,
            split=[place.split(seed) for seed in SEEDS],
            original=place.runs("original", "model.safetensors"),
            record=records,
            out=out,
        )
    )
    rows = pd.read_csv(out)
    assert rows.groupby("seed")["step"].max().to_dict() == {SEEDS[0]: 2, SEEDS[1]: 3}
    assert not rows.duplicated(["seed", "step", "layer"]).any()
    assert rows.groupby(["seed", "step"]).size().nunique() == 1
    for _, step in rows.groupby(["seed", "step"]):
        whole = step["removed_fraction"].iloc[0]
        # The square of the whole is a mean of the layers' squares, weighted by those of their gradients.
        assert step["removed"].min() <= whole <= step["removed"].max()
        assert 0 < whole <= 1
    assert rows["rank"].between(1, 8).all()
    # What is left is orthogonal to every retain gradient of the batch, up to the rounding of float32.
    assert rows["max_cosine"].between(0, 1e-4).all()
