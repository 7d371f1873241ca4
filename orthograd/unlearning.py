"""One unlearning run: the method's updates, the stopping rule, the trajectory and the cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Event, Thread

import psutil
import torch
from torch import nn
from tqdm import tqdm

from orthograd.config import Stopping
from orthograd.evaluation import accuracies, accuracy
from orthograd.methods.base import DataView, Method, Params, Samples


@dataclass
class Cost:
    """What a run took, without its evaluations.

    Attributes:
        seconds: wall clock.
        peak_bytes: most memory in use at a time above what was in use before.
        forward: samples that passed forward through the model.
        backward: samples that passed backward.
    """

    seconds: float = 0.0
    peak_bytes: int = 0
    forward: int = 0
    backward: int = 0


@dataclass
class Run:
    """How a run went.

    Attributes:
        target: forget accuracy at which the stopping rule ends it.
        reached: whether it got there within the budget of steps.
        steps: parameter updates that were made.
        trajectory: one row a check: step, seconds, the accuracy on each watched set, and what the method reported.
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

    def check(values: Mapping[str, float]) -> None:
        measured = {f"accuracy_{name}": value for name, value in accuracies(model, watched, batch_size).items()}
        run.trajectory.append({"step": run.steps, "seconds": run.cost.seconds, **measured, **values})
        run.reached = measured["accuracy_forget"] <= run.target

    check({})
    updates = method.run(model, DataView(data, method.reads), params, generator)
    progress = tqdm(total=stopping.max_steps, desc=method.name, unit="step", mininterval=5)
    memory = PeakMemory(next(model.parameters()).device)
    with progress:
        while not run.reached and run.steps < stopping.max_steps:
            start = time.perf_counter()
            with memory:
                step = next(updates)
            run.cost.seconds += time.perf_counter() - start
            run.steps += 1
            run.cost.forward += step.forward
            run.cost.backward += step.backward
            progress.update()
            if run.steps % stopping.every == 0 or run.steps == stopping.max_steps:
                if not all(bool(p.isfinite().all()) for p in model.parameters()):
                    raise FloatingPointError(
                        f"{method.name}: parameters are not finite after {run.steps} steps: lower its learning_rate"
                    )
                check(step.values)
    run.cost.peak_bytes = memory.bytes
    return run


class PeakMemory:
    """The most memory in use inside its `with` blocks, above what was in use when it was made.

    CUDA: the allocator's own peak. Otherwise the resident memory of the process, read every 2 ms: a peak that is
    shorter than that can be missed, and memory that the allocator kept from before does not count.
    """

    def __init__(self, device: torch.device) -> None:
        self.bytes = 0
        self._cuda = device if device.type == "cuda" else None
        self._process = psutil.Process()
        self._before = self._in_use()

    def _in_use(self) -> int:
        if self._cuda is not None:
            return torch.cuda.memory_allocated(self._cuda)
        resident: int = self._process.memory_info().rss
        return resident

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, self._in_use() - self._before)
            if self._ended.wait(0.002):
                return

    def __enter__(self) -> None:
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
            return
        self._ended = Event()
        self._watcher = Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def __exit__(self, *_: object) -> None:
        if self._cuda is not None:
            self.bytes = max(self.bytes, torch.cuda.max_memory_allocated(self._cuda) - self._before)
            return
        self._ended.set()
        self._watcher.join()
