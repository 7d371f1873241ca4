"""One unlearning run: the method's updates, the stopping rule, the trajectory and the cost."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import nn
from tqdm import tqdm

from orthograd.cost import Cost, PeakMemory
from orthograd.data.samples import PixelScale, Samples
from orthograd.evaluation import accuracies, logits
from orthograd.methods.base import DataName, DataView, Method, Params, Step, trainable
from orthograd.metrics.geffect import g_effect
from orthograd.precision import all_finite
from orthograd.specs import StoppingRule


@dataclass
class Run:
    """How a run went.

    Attributes:
        target: value of the watch at which the stopping rule ends it.
        reached: whether the unlearned model was there at its last check.
        diverged: whether it ended because a parameter, or an output for the forget set, was not finite any more.
        steps: parameter updates between the original and the unlearned model.
        trained: parameters that were trainable while the method ran.
        trajectory: one row a check: step, seconds, the value that steers the run, what the method reported in this
            step; each `record_every` steps, on both sides of the target and at the end also what else the watch
            measures, effects as the mean over the steps since the last row. The original model, at step 0, is not
            measured again for each method: what else there is to know of it stands with its own results. The trajectory
            goes on behind the target up to `curve_steps`, there without effects.
        cost: of `steps`, see `Cost`.
        accessed: the data that the method asked for, by name.
    """

    target: float
    reached: bool = False
    diverged: bool = False
    steps: int = 0
    trained: int = 0
    trajectory: list[dict[str, float]] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    accessed: Mapping[DataName, Samples] = field(default_factory=dict)


Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class _Point:
    """A model on its way, and what the way to it cost."""

    step: int
    cost: Cost
    values: Mapping[str, float]
    weights: Weights


class Watch(Protocol):
    """What is measured on the way of a model: one value that steers the run, and what is only recorded."""

    @property
    def steered_by(self) -> str:
        """Column of the trajectory that holds the value."""

    @property
    def target(self) -> float:
        """Value that ends the run."""

    def value(self, model: nn.Module) -> tuple[float, bool]:
        """The value for a model, and whether the model's outputs are finite."""

    def reached(self, value: float) -> bool:
        """Whether a value is at the target or behind it."""

    def others(self, model: nn.Module) -> dict[str, float]:
        """What is recorded beside it."""

    def effects(self, before: nn.Module, model: nn.Module) -> dict[str, float]:
        """What is recorded of the way between two models, each value a sum over its steps."""


@dataclass(frozen=True)
class AccuracyWatch:
    """The forget accuracy, which has to fall to the target; beside it the accuracy on other sets and the G-effect.

    Attributes:
        watched: sets whose accuracy goes into the trajectory; has to hold 'forget'. Only that one steers the run.
        risks: sets on whose risk the trajectory tells the G-effect of the steps, see `orthograd.metrics.geffect`.
        target: a fraction.
        batch_size: images in a forward pass.
    """

    watched: Mapping[str, Samples]
    risks: Mapping[str, Samples]
    target: float
    batch_size: int
    steered_by: str = "accuracy_forget"

    def value(self, model: nn.Module) -> tuple[float, bool]:
        forget = self.watched["forget"]
        outputs = logits(model, forget, self.batch_size)
        finite = outputs.isfinite().all(dim=1)
        right = (outputs.argmax(dim=1) == forget.labels.cpu()) & finite
        return float(right.double().mean()), bool(finite.all())

    def reached(self, value: float) -> bool:
        return value <= self.target

    def others(self, model: nn.Module) -> dict[str, float]:
        sets = {name: samples for name, samples in self.watched.items() if name != "forget"}
        return {f"accuracy_{name}": value for name, value in accuracies(model, sets, self.batch_size).items()}

    def effects(self, before: nn.Module, model: nn.Module) -> dict[str, float]:
        found = {}
        for name, samples in self.risks.items():
            try:
                found[f"g_effect_{name}"] = g_effect(before, model, samples, self.batch_size)
            except FloatingPointError:
                # A model on its way to divergence has no first-order effect: the row stays without one.
                break
        return found


def _restore(model: nn.Module, weights: Weights) -> None:
    # In place: the method's optimizer holds the parameters.
    model.load_state_dict(weights)


class _Trajectory:
    """Measures a model along its way."""

    def __init__(self, model: nn.Module, watch: Watch) -> None:
        self.rows: list[dict[str, float]] = []
        self.weights: Weights = {}
        self._before: Weights = {}
        self._model = model
        self._watch = watch
        self._finite = True
        self._recorded: set[int] = set()

    def add(self, point: _Point, value: float, finite: bool) -> None:
        """Add a row for the model as it is now."""
        self._before, self.weights = self.weights, point.weights
        self._finite = finite
        self.rows.append(
            {"step": point.step, "seconds": point.cost.seconds, self._watch.steered_by: value, **point.values}
        )

    def record(self, effects: bool = True) -> None:
        """Add what else the watch measures to the last row, once; with or without the effects of what led there."""
        if len(self.rows) - 1 in self._recorded:
            return
        self._recorded.add(len(self.rows) - 1)
        self.rows[-1] |= self._watch.others(self._model)
        # Where a method put adapters in or took them out, parameters have no counterpart.
        here = self._model.state_dict().keys()
        if effects and self._finite and self._before.keys() == self.weights.keys() == here:
            self._effects(self.rows[-1])

    def record_both_sides(self) -> None:
        """Add them to the last two rows: what lies between can be interpolated."""
        self.record()
        before = len(self.rows) - 2
        if before > 0 and before not in self._recorded and self._before.keys() == self.weights.keys():
            _restore(self._model, self._before)
            self.rows[before] |= self._watch.others(self._model)
            _restore(self._model, self.weights)

    def _effects(self, row: dict[str, float]) -> None:
        before = copy.deepcopy(self._model)
        _restore(before, self._before)
        steps = row["step"] - self.rows[-2]["step"]
        row |= {name: sum_ / steps for name, sum_ in self._watch.effects(before, self._model).items()}


def unlearn(
    model: nn.Module,
    method: Method,
    params: Params,
    data: Mapping[str, Samples],
    watch: Watch,
    pixels: PixelScale | None,
    stopping: StoppingRule,
    own_end: bool,
    seed: int,
) -> Run:
    """Run a method on a model in place until what is watched is at the target, or the steps are spent.

    The steps are spent after `stopping.max_steps`, or when the method ends by itself. A run that ends in the middle of
    a method's round is judged as it is. Where the target is reached before `stopping.curve_steps`, the steps up to
    there are made for the trajectory alone: the model, its steps and its cost are those at the target.

    Args:
        model: the original model, in evaluation mode; becomes the unlearned one.
        method: whose `run` makes the updates.
        params: its parameters.
        data: samples by name; the method gets those that it declares.
        watch: what is measured on the way, and the target.
        pixels: how the images were standardised; None: there are none.
        stopping: how often to check and when to give up. The check that finds the target, or weights that are not
            finite, goes back to the last one and through the steps since, one by one: the first that is there counts.
            A crossing that is undone before the next check is not seen. `every` copies of the model are kept. While
            a method has modules of its own in the model (adapters), which nothing can put back once they are out, every
            step is checked, and the run ends at the target, without a curve.
        own_end: whether the run goes on to the method's own end, past the target and the budget of steps.
        seed: of the order of the samples.
    """
    run = Run(watch.target)
    trajectory = _Trajectory(model, watch)
    steps, cost, finite = 0, Cost(), True
    unlearned: Weights | None = None
    crossed = False
    since: list[_Point] = []  # after the last check
    own = model.state_dict().keys()

    def here(values: Mapping[str, float]) -> _Point:
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        return _Point(steps, replace(cost), values, weights)

    def measure() -> tuple[float, bool]:
        value, outputs = watch.value(model)
        # Finite weights may still give outputs that are not: accuracy 0 is then no forgetting.
        return value, outputs and all_finite(model.parameters())

    def judge(point: _Point, value: float, sound: bool) -> None:
        nonlocal finite, unlearned, crossed
        finite = sound
        trajectory.add(point, value, finite)
        if unlearned is not None:
            return
        run.steps, run.cost, run.diverged = point.step, point.cost, not finite
        run.reached = watch.reached(value) and finite
        if run.reached and not crossed:
            crossed = True
            trajectory.record_both_sides()
            if not own_end:
                unlearned = point.weights

    def check(values: Mapping[str, float]) -> None:
        """Judge the model; where it is over the target, or lost, first what it was since the last check."""
        nonlocal steps
        point = here(values)
        value, sound = measure()
        if not crossed and (watch.reached(value) or not sound):
            # A run that ended here has noted this step as well.
            for earlier in [one for one in since if one.step < steps]:
                _restore(model, earlier.weights)
                judge(earlier, *measure())
                if not finite or (unlearned is not None and earlier.step >= stopping.curve_steps):
                    steps = earlier.step  # nothing behind it is of use
                    since.clear()
                    return
                if crossed:
                    break
            _restore(model, point.weights)
        since.clear()
        judge(point, value, sound)

    def adapted() -> bool:
        return model.state_dict().keys() != own

    def over() -> bool:
        if own_end or not finite:
            return not finite
        if unlearned is not None and adapted():
            return True
        return steps >= (stopping.max_steps if unlearned is None else stopping.curve_steps)

    check({})
    memory = PeakMemory(next(model.parameters()).device)
    step: Step | None = None
    next_check, next_record = stopping.every, stopping.record_every
    view = DataView(data, method.reads, seed, pixels)
    run.accessed = view.accessed
    updates = method.run(model, view, params)
    with (
        closing(updates),
        tqdm(total=stopping.max_steps, desc=method.name, unit="step", mininterval=5) as progress,
    ):
        while not over():
            # The first steps only: an evaluation leaves memory of its own behind in the process.
            measured = memory if steps < stopping.every else nullcontext()
            start = time.perf_counter()
            with measured:
                update = next(updates, None)
            cost.seconds += time.perf_counter() - start
            if update is None:
                break
            step = update
            steps += 1
            if steps == 1:
                run.trained = sum(parameter.numel() for parameter in trainable(model))
            cost.forward += step.forward
            cost.backward += step.backward
            progress.update()
            if step.complete and (steps >= next_check or adapted()):
                next_check = steps + stopping.every - steps % stopping.every
                check(step.values)
                if steps >= next_record:
                    next_record = steps + stopping.record_every - steps % stopping.record_every
                    trajectory.record(effects=unlearned is None)
            elif step.complete and not crossed:
                since.append(here(step.values))
                memory.disregard(sum(value.nbytes for value in since[-1].weights.values()))
        if step is not None and trajectory.rows[-1]["step"] != steps:
            check(step.values)
        trajectory.record(effects=unlearned is None)
        if unlearned is not None:
            _restore(model, unlearned)
    run.trajectory = trajectory.rows
    run.cost.peak_bytes = memory.bytes
    return run
