"""The unlearning loop: stopping rule, trajectory, cost, and the data that a method may see."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import nn

from orthograd.data.samples import PixelScale, Samples
from orthograd.methods.base import DataView, Method, Params, Step, UndeclaredDataError, Updates
from orthograd.specs import StoppingRule
from orthograd.unlearning import AccuracyWatch, unlearn


class Threshold(nn.Module):
    """Says class 1 where the only feature is above a threshold."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.zeros(len(x)), x[:, 0] - self.threshold], dim=1)


def _samples(*values: float) -> Samples:
    return Samples(torch.tensor(values)[:, None], torch.ones(len(values), dtype=torch.int64))


# All of class 1. With the threshold at 0.5 all are right; each step of `_raise` takes the lowest one away.
FORGET = _samples(1, 2, 3, 4)


def _raise(model: nn.Module, data: DataView, params: Params) -> Updates:
    while True:
        with torch.no_grad():
            model.threshold += 1
        yield Step(forward=3, backward=2, values={"threshold": model.threshold.item()})


METHOD = Method("raise", "θ ← θ + 1", "this test", frozenset({"forget"}), Params, None, _raise)


def _run(
    target: float,
    every: int,
    max_steps: int,
    method: Method = METHOD,
    record_every: int = 1,
    own_end: bool = False,
    curve_steps: int = 0,
):
    model = Threshold().eval()
    sets = {"forget": FORGET, "test": _samples(9, 10)}
    run = unlearn(
        model,
        method,
        Params(),
        data={"forget": FORGET, "retain": FORGET},
        watch=AccuracyWatch(sets, sets, target, batch_size=3),
        pixels=PixelScale((0.0,), (1.0,)),
        stopping=StoppingRule(
            every=every, record_every=record_every, max_steps=max_steps, curve_steps=curve_steps
        ),
        own_end=own_end,
        seed=0,
    )
    return run, model


@pytest.mark.parametrize(
    ("target", "every", "steps", "accuracy"),
    [
        (0.75, 1, 1, 0.75),  # at the target is enough
        (0.74, 1, 2, 0.5),
        (0.0, 1, 4, 0.0),
        (0.75, 2, 1, 0.75),  # found by the check after two steps
        (0.5, 3, 2, 0.5),
        (0.5, 2, 2, 0.5),  # the step before is above
        (1.0, 1, 0, 1.0),  # already there: no step
    ],
)
def test_the_first_step_at_or_below_the_target_ends_the_run(
    target: float, every: int, steps: int, accuracy: float
) -> None:
    run, model = _run(target, every, max_steps=10)
    assert run.reached
    assert run.steps == steps
    assert run.trajectory[-1]["accuracy_forget"] == accuracy
    assert model.threshold.item() == 0.5 + steps


@pytest.mark.parametrize("every", [2, 3, 4, 5, 7])
@pytest.mark.parametrize("curve_steps", [0, 3, 8])
@pytest.mark.parametrize("target", [0.75, 0.5, 0.25, 0.0])
def test_how_often_is_checked_does_not_matter_where_the_value_only_falls(
    every: int, curve_steps: int, target: float
) -> None:
    run, model = _run(target, every, 10, record_every=20, curve_steps=curve_steps)
    each, alone = _run(target, 1, 10, record_every=20, curve_steps=curve_steps)
    assert (run.reached, run.steps, run.diverged) == (True, each.steps, False)
    assert (run.cost.forward, run.cost.backward) == (each.cost.forward, each.cost.backward)
    assert model.threshold.item() == alone.threshold.item()
    rows = {row["step"]: row for row in each.trajectory}
    for row in run.trajectory:
        if row["step"] in rows:
            assert row["accuracy_forget"] == rows[row["step"]]["accuracy_forget"]
    # Both sides of the target are there, one step apart.
    measured = [row["step"] for row in run.trajectory if row["step"] <= run.steps and "accuracy_test" in row]
    assert measured[-2:] == [step for step in (run.steps - 1, run.steps) if step > 0]
    assert run.trajectory[-1]["step"] >= curve_steps
    assert "accuracy_test" in run.trajectory[-1]


def test_only_the_check_that_finds_the_target_goes_back() -> None:
    run, _ = _run(target=0.25, every=2, max_steps=10, record_every=10, curve_steps=6)
    assert [row["step"] for row in run.trajectory] == [0, 2, 3, 4, 6]
    assert [row["threshold"] for row in run.trajectory[1:]] == [2.5, 3.5, 4.5, 6.5]
    run, model = _run(target=-1.0, every=3, max_steps=7)
    assert [row["step"] for row in run.trajectory] == [0, 3, 6, 7]
    assert model.threshold.item() == 7.5


@pytest.mark.parametrize("length", [1, 2, 4, 5])
def test_a_run_that_ends_between_two_checks_at_its_target_counts_each_step_once(length: int) -> None:
    def short(model: nn.Module, data: DataView, params: Params) -> Updates:
        yield from islice(_raise(model, data, params), length)

    target = max(1 - 0.25 * length, 0.0)
    own = Method("short", "", "", frozenset(), Params, None, short)
    by_itself, _ = _run(target, 3, max_steps=10, method=own, curve_steps=8)
    by_budget, _ = _run(target, 3, max_steps=length, curve_steps=length)
    for run in (by_itself, by_budget):
        rows = [row["step"] for row in run.trajectory]
        assert rows == sorted(set(rows))
        assert (run.reached, run.steps) == (True, min(length, 4))


def test_a_check_that_finds_the_model_lost_goes_back_to_where_it_was_not() -> None:
    def two_steps(model: nn.Module, data: DataView, params: Params) -> Updates:
        yield from islice(_raise(model, data, params), 2)
        with torch.no_grad():
            model.threshold.fill_(float("nan"))
        while True:
            yield Step(1, 1)

    method = Method("two_steps", "", "", frozenset(), Params, None, two_steps)
    run, model = _run(target=0.5, every=5, max_steps=10, method=method)
    assert (run.reached, run.diverged, run.steps) == (True, False, 2)
    assert model.threshold.item() == 2.5
    run, _ = _run(target=0.25, every=5, max_steps=10, method=method)
    assert (run.reached, run.diverged, run.steps) == (False, True, 3)
    assert [row["step"] for row in run.trajectory] == [0, 1, 2, 3]


@pytest.mark.parametrize("length", [1, 3, 6])
@pytest.mark.parametrize("curve_steps", [0, 8])
def test_while_adapters_are_in_every_step_is_checked_and_the_target_is_the_end(
    length: int, curve_steps: int
) -> None:
    def wrap(model: nn.Module, data: DataView, params: Params) -> Updates:
        model.adapter = nn.Linear(1, 1)
        try:
            yield from islice(_raise(model, data, params), length)
        finally:
            del model.adapter

    method = Method("wrap", "", "", frozenset(), Params, None, wrap)
    run, model = _run(0.75, 5, 10, method=method, record_every=5, curve_steps=curve_steps)
    assert (run.reached, run.steps) == (True, 1)
    assert [row["step"] for row in run.trajectory] == [0, 1]
    assert model.threshold.item() == 1.5
    assert set(model.state_dict()) == {"threshold"}
    # Not reached, and the method comes to its own end: its last model, without adapters, is measured.
    run, model = _run(-1.0, 5, 10, method=method, record_every=5, curve_steps=curve_steps)
    assert (run.reached, run.steps) == (False, length)
    assert [row["step"] for row in run.trajectory] == list(range(length + 1))
    assert "accuracy_test" in run.trajectory[-1]


def test_a_target_out_of_reach_is_a_result() -> None:
    run, _ = _run(target=0.1, every=2, max_steps=3)
    assert not run.reached
    assert run.steps == 3
    assert run.trajectory[-1]["accuracy_forget"] == 0.25


def test_the_last_step_is_checked_though_it_is_no_multiple() -> None:
    run, _ = _run(target=0.25, every=2, max_steps=3)
    assert run.reached


def test_the_other_sets_are_measured_in_their_own_rhythm_and_at_the_end() -> None:
    run, _ = _run(target=0.25, every=1, max_steps=10, record_every=2)
    assert [row["step"] for row in run.trajectory] == [0, 1, 2, 3]
    assert [row["accuracy_forget"] for row in run.trajectory] == [1.0, 0.75, 0.5, 0.25]
    assert ["accuracy_test" in row for row in run.trajectory] == [False, False, True, True]


def test_both_sides_of_the_target_are_measured_whatever_the_rhythm() -> None:
    run, model = _run(target=0.25, every=1, max_steps=10, record_every=10)
    assert ["accuracy_test" in row for row in run.trajectory] == [False, False, True, True]
    assert model.threshold.item() == 3.5


@pytest.mark.parametrize("curve_steps", [2, 9])
def test_the_trajectory_goes_on_behind_the_target_and_the_model_does_not(curve_steps: int) -> None:
    run, model = _run(target=0.5, every=1, max_steps=10, record_every=4, curve_steps=curve_steps)
    alone, _ = _run(target=0.5, every=1, max_steps=10, record_every=4)
    assert (run.reached, run.steps) == (True, 2)
    assert model.threshold.item() == 2.5
    assert (run.cost.forward, run.cost.backward) == (alone.cost.forward, alone.cost.backward) == (6, 4)
    assert [row["step"] for row in run.trajectory] == list(range(curve_steps + 1))
    forget = [1, 0.75, 0.5, 0.25, 0, 0, 0, 0, 0, 0]
    assert [row["accuracy_forget"] for row in run.trajectory] == forget[: curve_steps + 1]
    # The threshold is at 9.5 in the end: of the two test samples one is left.
    assert run.trajectory[-1]["accuracy_test"] == (1.0 if curve_steps == 2 else 0.5)
    measured = [row["step"] for row in run.trajectory if "accuracy_test" in row]
    assert measured == ([1, 2] if curve_steps == 2 else [1, 2, 4, 8, 9])


def test_a_curve_ends_with_the_method_or_with_weights_that_are_not_finite() -> None:
    def three_steps(model: nn.Module, data: DataView, params: Params) -> Updates:
        yield from islice(_raise(model, data, params), 2)
        with torch.no_grad():
            model.threshold.fill_(float("nan"))
        yield Step(1, 1)

    method = Method("three_steps", "", "", frozenset(), Params, None, three_steps)
    run, model = _run(target=0.75, every=1, max_steps=10, method=method, curve_steps=10)
    assert (run.reached, run.diverged, run.steps) == (True, False, 1)
    assert model.threshold.item() == 1.5
    assert run.trajectory[-1]["step"] == 3


def test_the_costs_are_those_of_the_steps() -> None:
    run, _ = _run(target=0.0, every=1, max_steps=10)
    assert (run.cost.forward, run.cost.backward) == (12, 8)
    assert run.cost.seconds > 0
    assert [row["seconds"] for row in run.trajectory] == sorted(row["seconds"] for row in run.trajectory)
    assert run.trajectory[-1]["threshold"] == 4.5


def test_a_method_may_end_by_itself() -> None:
    closed = []

    def two_steps(model: nn.Module, data: DataView, params: Params) -> Updates:
        try:
            yield from islice(_raise(model, data, params), 2)
        finally:
            closed.append(True)

    own = Method("two_steps", "", "", frozenset(), Params, None, two_steps)
    run, _ = _run(target=0.1, every=4, max_steps=10, method=own, record_every=4)
    assert (run.reached, run.steps) == (False, 2)
    assert run.trajectory[-1]["accuracy_forget"] == 0.5
    assert "accuracy_test" in run.trajectory[-1]
    assert closed == [True]
    # The stopping rule closes it before its end.
    assert _run(target=0.75, every=1, max_steps=10, method=own)[0].steps == 1
    assert closed == [True, True]


def test_a_run_to_the_methods_own_end_goes_past_target_and_budget() -> None:
    def three_steps(model: nn.Module, data: DataView, params: Params) -> Updates:
        yield from islice(_raise(model, data, params), 3)

    method = Method("three_steps", "", "", frozenset(), Params, None, three_steps)
    run, _ = _run(target=0.75, every=1, max_steps=2, method=method, own_end=True)
    assert run.steps == 3
    assert run.reached  # at the end it is below
    assert run.trajectory[-1]["accuracy_forget"] == 0.25


def test_the_stopping_rule_does_not_look_inside_a_round() -> None:
    def rounds(model: nn.Module, data: DataView, params: Params) -> Updates:
        for number, step in enumerate(_raise(model, data, params), start=1):
            yield replace(step, complete=number % 3 == 0)

    method = Method("rounds", "", "", frozenset(), Params, None, rounds)
    run, _ = _run(target=0.75, every=1, max_steps=10, method=method)
    assert [row["step"] for row in run.trajectory] == [0, 3]
    assert run.reached
    run, model = _run(target=0.75, every=7, max_steps=10, method=method)
    assert [row["step"] for row in run.trajectory] == [0, 3]
    assert model.threshold.item() == 3.5
    # The budget may end in the middle of a round: that model is judged.
    run, _ = _run(target=0.0, every=1, max_steps=2, method=method)
    assert [row["step"] for row in run.trajectory] == [0, 2]


def test_weights_that_are_not_finite_end_the_run_and_are_no_success() -> None:
    def diverge(model: nn.Module, *_: object) -> Updates:
        with torch.no_grad():
            model.threshold.fill_(float("nan"))
        yield Step(1, 1)

    run, _ = _run(0.9, 1, 5, Method("diverge", "", "", frozenset(), Params, None, diverge))
    assert run.diverged
    assert not run.reached
    assert run.steps == 1
    assert run.trajectory[-1]["accuracy_forget"] == 0  # logits that are not finite are wrong


def test_outputs_that_are_not_finite_are_no_success_though_the_weights_are() -> None:
    def overflow(model: nn.Module, *_: object) -> Updates:
        with torch.no_grad():
            model.threshold.fill_(3e38)
        # 4 − 3e38 is finite, and so is every weight; the next layer of a deeper model would not be.
        model.forward = lambda x: torch.full((len(x), 2), float("inf"))
        yield Step(1, 1)

    run, _ = _run(0.9, 1, 5, Method("overflow", "", "", frozenset(), Params, None, overflow))
    assert run.diverged
    assert not run.reached
    assert run.steps == 1


def test_a_method_gets_the_data_that_it_declares_and_no_other() -> None:
    def greedy(model: nn.Module, data: DataView, *_: object) -> Updates:
        assert len(data["forget"]) == 4
        data["retain"]
        yield Step(1, 1)

    with pytest.raises(UndeclaredDataError, match="'retain'"):
        _run(0.0, 1, 5, Method("greedy", "", "", frozenset({"forget"}), Params, None, greedy))


def test_batches_pass_through_all_samples_and_have_one_size() -> None:
    samples = Samples(torch.arange(10.0)[:, None], torch.arange(10))
    batches = samples.batches(4, torch.Generator().manual_seed(0))
    passes = [[next(batches)[1] for _ in range(2)] for _ in range(3)]
    for batch in passes:
        labels = torch.cat(batch).tolist()
        assert len(labels) == len(set(labels)) == 8
    assert not torch.equal(passes[0][0], passes[1][0])
    with pytest.raises(ValueError, match="a batch of 11 from 10 samples"):
        next(samples.batches(11, torch.Generator()))


def test_the_trajectory_tells_the_g_effect_of_the_steps() -> None:
    run, _ = _run(target=0.0, every=1, max_steps=3, record_every=2)
    assert "g_effect_forget" not in run.trajectory[0]
    for row in (run.trajectory[2], run.trajectory[3]):
        before = row["step"] - 0.5  # the threshold one step ago
        for name, samples in (("forget", FORGET), ("test", _samples(9, 10))):
            # The loss of a sample x is softplus(t − x), of slope sigmoid(t − x); a step raises t by 1.
            expected = torch.sigmoid(before - samples.images).mean().item()
            assert row[f"g_effect_{name}"] == pytest.approx(expected, rel=1e-5, abs=1e-7)  # float32: p − 1
    assert "g_effect_forget" not in run.trajectory[1]


def test_the_g_effect_is_the_mean_over_the_steps_since_the_last_check() -> None:
    run, _ = _run(target=-1.0, every=3, max_steps=6, record_every=6)
    assert [row["step"] for row in run.trajectory] == [0, 3, 6]
    slopes = torch.sigmoid(3.5 - FORGET.images).mean().item()  # at the threshold after three steps
    assert run.trajectory[2]["g_effect_forget"] == pytest.approx(slopes, rel=1e-5)
