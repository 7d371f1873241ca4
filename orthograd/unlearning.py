"""One unlearning run: the method's updates, the stopping rule, the trajectory and the cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field

from torch import nn
from tqdm import tqdm

from orthograd.cost import Cost, PeakMemory
from orthograd.data.samples import Samples
from orthograd.evaluation import accuracies, accuracy
from orthograd.methods.base import DataView, Method, Params
from orthograd.specs import StoppingRule


@dataclass
class Run:
    """How a run went.

    Attributes:
        target: forget accuracy at which the stopping rule ends it.
        reached: whether it got there within the budget of steps.
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
    target: float,
    stopping: StoppingRule,
    batch_size: int,
    seed: int,
) -> Run:
    """Run a method on a model in place until the forget accuracy is at or below the target, or the steps are spent.

    Args:
        model: the original model, in evaluation mode; becomes the unlearned one.
        method: whose `run` makes the updates.
        params: its parameters.
        data: forget and retain samples; the method gets those that it declares.
        watched: sets whose accuracy goes into the trajectory; has to hold 'forget'. Only that one steers the run.
        target: forget accuracy that ends the run, a fraction.
        stopping: how often to check and when to give up. The first crossing counts.
        batch_size: images in a forward pass of an evaluation.
        seed: of the order of the samples.
    """
    run = Run(target)
    others = {name: samples for name, samples in watched.items() if name != "forget"}

    def check(values: Mapping[str, float]) -> None:
        forget = accuracy(model, watched["forget"], batch_size)
        run.diverged = not all(bool(p.isfinite().all()) for p in model.parameters())
        run.reached = forget <= run.target and not run.diverged
        run.trajectory.append(
            {"step": run.steps, "seconds": run.cost.seconds, "accuracy_forget": forget, **values}
        )

    def ended() -> bool:
        return run.reached or run.diverged or run.steps == stopping.max_steps

    def record() -> None:
        for name, value in accuracies(model, others, batch_size).items():
            run.trajectory[-1][f"accuracy_{name}"] = value

    check({})
    record()
    updates = method.run(model, DataView(data, method.reads, seed), params)
    memory = PeakMemory(next(model.parameters()).device)
    with tqdm(total=stopping.max_steps, desc=method.name, unit="step", mininterval=5) as progress:
        while not ended():
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
            if run.steps % stopping.every == 0 or run.steps == stopping.max_steps:
                check(step.values)
                if run.steps % stopping.record_every == 0 or ended():
                    record()
    run.cost.peak_bytes = memory.bytes
    return run
