"""One unlearning run: the method's updates, the stopping rule, the trajectory and the cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import nn
from tqdm import tqdm

from orthograd.cost import Cost, PeakMemory
from orthograd.data.samples import Samples
from orthograd.evaluation import accuracies, accuracy
from orthograd.methods.base import DataView, Method, Params
from orthograd.specs import Stopping


@dataclass
class Run:
    """How a run went.

    Attributes:
        target: forget accuracy at which the stopping rule ends it.
        reached: whether it got there within the budget of steps.
        steps: parameter updates that were made.
        trajectory: one row every `record_every` steps, and the last: step, seconds, the accuracy on each watched
            set, and what the method reported.
        cost: see `Cost`.
    """

    target: float
    reached: bool = False
    steps: int = 0
    trajectory: list[dict[str, float]] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)


def target_accuracy(
    original: nn.Module, validation: Samples, kind: str, stopping: Stopping, batch_size: int
) -> float:
    """The forget accuracy at which unlearning ends (`Stopping`): known without test data and without retraining.

    Random scenario: what the original model scores on the validation images, which are distributed like the forget
    set but were never seen. Class scenario: `class_target`.
    """
    return accuracy(original, validation, batch_size) if kind == "random" else stopping.class_target


def unlearn(
    model: nn.Module,
    method: Method,
    params: Params,
    data: Mapping[str, Samples],
    watched: Mapping[str, Samples],
    target: float,
    stopping: Stopping,
    batch_size: int,
    generator: torch.Generator,
) -> Run:
    """Run a method on a model in place until the forget accuracy is at or below the target, or the steps are spent.

    Args:
        model: the original model, in evaluation mode; becomes the unlearned one.
        method: whose `run` makes the updates.
        params: its parameters.
        data: forget and retain samples; the method gets those that it declares.
        watched: sets whose accuracy goes into the trajectory; has to hold 'forget'. Only that one steers the run.
        target: see `target_accuracy`.
        stopping: how often to check and when to give up. The first crossing counts.
        batch_size: images in a forward pass of an evaluation.
        generator: the method's randomness.

    Raises:
        FloatingPointError: a parameter is not finite any more.
    """
    run = Run(target)

    def record(values: Mapping[str, float]) -> None:
        measured = {
            f"accuracy_{name}": value for name, value in accuracies(model, watched, batch_size).items()
        }
        run.trajectory.append({"step": run.steps, "seconds": run.cost.seconds, **measured, **values})

    record({})
    run.reached = run.trajectory[0]["accuracy_forget"] <= run.target
    updates = method.run(model, DataView(data, method.reads), params, generator)
    memory = PeakMemory(next(model.parameters()).device)
    with tqdm(total=stopping.max_steps, desc=method.name, unit="step", mininterval=5) as progress:
        while not run.reached and run.steps < stopping.max_steps:
            # The first steps only: an evaluation leaves memory of its own behind in the process.
            measured = memory if run.steps < stopping.every else nullcontext()
            start = time.perf_counter()
            with measured:
                step = next(updates)
            run.cost.seconds += time.perf_counter() - start
            run.steps += 1
            run.cost.forward += step.forward
            run.cost.backward += step.backward
            progress.update()
            last = run.steps == stopping.max_steps
            if run.steps % stopping.every == 0 or last:
                if not all(bool(p.isfinite().all()) for p in model.parameters()):
                    raise FloatingPointError(
                        f"{method.name}: parameters are not finite after {run.steps} steps: "
                        "lower its learning_rate"
                    )
                run.reached = accuracy(model, watched["forget"], batch_size) <= run.target
            if run.reached or last or run.steps % stopping.record_every == 0:
                record(step.values)
    run.cost.peak_bytes = memory.bytes
    return run
