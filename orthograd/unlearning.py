"""One unlearning run: the method's updates, the stopping rule, the trajectory and the cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, field

from torch import nn
from tqdm import tqdm

from orthograd.cost import Cost, PeakMemory
from orthograd.data.samples import PixelScale, Samples
from orthograd.evaluation import accuracies, accuracy
from orthograd.methods.base import DataView, Method, Params, Step
from orthograd.specs import StoppingRule


@dataclass
class Run:
    """How a run went.

    Attributes:
        pixels: how the images were standardised.
        target: forget accuracy at which the stopping rule ends it.
        reached: whether the last check was at or below it.
        diverged: whether it ended because a parameter was not finite any more.
        steps: parameter updates that were made.
        trajectory: one row a check: step, seconds, forget accuracy, what the method reported; each `record_every` steps
            and at the end also the accuracy on the other watched sets.
        cost: see `Cost`.
    """

    target: float
    reached: bool = False
    diverged: bool = False
    steps: int = 0
    trajectory: list[dict[str, float]] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)


def unlearn(
    model: nn.Module,
    method: Method,
    params: Params,
    data: Mapping[str, Samples],
    watched: Mapping[str, Samples],
    pixels: PixelScale,
    target: float,
    stopping: StoppingRule,
    own_end: bool,
    batch_size: int,
    seed: int,
) -> Run:
    """Run a method on a model in place until the forget accuracy is at or below the target, or the steps are spent.

    The steps are spent after `stopping.max_steps`, or when the method ends by itself. A run that ends in the middle of
    a method's round is judged as it is.

    Args:
        model: the original model, in evaluation mode; becomes the unlearned one.
        method: whose `run` makes the updates.
        params: its parameters.
        data: samples by name; the method gets those that it declares.
        watched: sets whose accuracy goes into the trajectory; has to hold 'forget'. Only that one steers the run.
        pixels: how the images were standardised.
        target: forget accuracy that ends the run, a fraction.
        stopping: how often to check and when to give up. The first crossing counts.
        own_end: whether the run goes on to the method's own end, past the target and the budget of steps.
        batch_size: images in a forward pass of an evaluation.
        seed: of the order of the samples.
    """
    run = Run(target)
    others = {name: samples for name, samples in watched.items() if name != "forget"}
    recorded = 0

    def check(values: Mapping[str, float]) -> None:
        forget = accuracy(model, watched["forget"], batch_size)
        run.diverged = not all(bool(p.isfinite().all()) for p in model.parameters())
        run.reached = forget <= run.target and not run.diverged
        run.trajectory.append(
            {"step": run.steps, "seconds": run.cost.seconds, "accuracy_forget": forget, **values}
        )

    def record() -> None:
        nonlocal recorded
        recorded = run.steps
        for name, value in accuracies(model, others, batch_size).items():
            run.trajectory[-1][f"accuracy_{name}"] = value

    check({})
    record()
    memory = PeakMemory(next(model.parameters()).device)
    step: Step | None = None
    next_check, next_record = stopping.every, stopping.record_every
    updates = method.run(model, DataView(data, method.reads, seed, pixels), params)
    with (
        closing(updates),
        tqdm(total=stopping.max_steps, desc=method.name, unit="step", mininterval=5) as progress,
    ):
        while not run.diverged and (own_end or (not run.reached and run.steps < stopping.max_steps)):
            # The first steps only: an evaluation leaves memory of its own behind in the process.
            measured = memory if run.steps < stopping.every else nullcontext()
            start = time.perf_counter()
            with measured:
                update = next(updates, None)
            run.cost.seconds += time.perf_counter() - start
            if update is None:
                break
            step = update
            run.steps += 1
            run.cost.forward += step.forward
            run.cost.backward += step.backward
            progress.update()
            if step.complete and run.steps >= next_check:
                next_check = run.steps + stopping.every - run.steps % stopping.every
                check(step.values)
                if run.steps >= next_record:
                    next_record = run.steps + stopping.record_every - run.steps % stopping.record_every
                    record()
    if step is not None and run.trajectory[-1]["step"] != run.steps:
        check(step.values)
    if recorded != run.steps:
        record()
    run.cost.peak_bytes = memory.bytes
    return run
