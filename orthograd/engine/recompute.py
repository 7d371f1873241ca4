"""`OrthoGrad.backward_from` for the Gramian and the matrix-free solver: passes in micro-batches, and the
choice."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from orthograd.engine.batches import Batch, batch_size, take, tree_map
from orthograd.engine.cg import Rows, cg_solution, saved_bytes
from orthograd.engine.gramian import (
    Gradients,
    MicroBatches,
    MixedSamplesError,
    OneGraph,
    RetainPass,
    RetainSource,
    gradients_of,
    gramian_solution,
    mean_solution,
)
from orthograd.engine.graph import Graph, Tape
from orthograd.engine.layers import blocks
from orthograd.engine.materialize import LossFunction, check_independent, check_losses
from orthograd.engine.solution import Parameters, Settings, Solution

# Iterations that conjugate gradients are taken to need when the automatic choice weighs them.
EXPECTED_ITERATIONS = 20


@dataclass(frozen=True)
class Problem:
    """One step whose losses are computed here.

    Attributes:
        model: The model.
        loss_fn: Per-sample losses of a batch.
        forget_batch: m forget samples.
        retain_batch: k retain samples.
        parameters: Trainable parameters by name.
        settings: Settings of the projection.
        chunk_bytes: Bound on the temporaries of the Gramian of one layer.
    """

    model: nn.Module
    loss_fn: LossFunction
    forget_batch: Batch
    retain_batch: Batch
    parameters: Parameters
    settings: Settings
    chunk_bytes: int

    def losses(self, batch: Batch, name: str) -> tuple[Tensor, int]:
        """Checked losses of a batch, and their number."""
        size = batch_size(batch, name)
        return check_losses(self.loss_fn(self.model, batch), size, name), size

    def mean_gradient(self, batch: Batch, name: str, micro_batch: int) -> Gradients:
        """Gradient of the mean loss of a batch."""
        total: Gradients = {}
        count = batch_size(batch, name)
        for part in blocks(count, micro_batch):
            losses, _ = self.losses(take(batch, part.start, part.stop), name)
            Graph(losses).check_reaches(self.parameters, f"The loss of {name}")
            found = gradients_of(losses.sum() / count, self.parameters, keep=False)
            total = {key: total[key] + new for key, new in found.items()} if total else found
        return total


def solve(problem: Problem, tape: Tape | None, solver: str, micro_batch: int) -> Solution:
    """Direction and figures, with at most `micro_batch` samples in the model at once.

    Args:
        problem: The step.
        tape: Hooks of the model, which ``"gramian"`` needs.
        solver: ``"gramian"`` or ``"cg"``.
        micro_batch: At least 2 for ``"gramian"`` if it is less than k.
    """
    settings = problem.settings
    m = batch_size(problem.forget_batch, "forget_batch")
    k = batch_size(problem.retain_batch, "retain_batch")
    checked = 0
    # The certificates of the Gramian see mixed retain losses; nothing else would.
    if solver == "cg" or settings.retain == "mean" or micro_batch < max(m, k):
        for batch, name in ((problem.forget_batch, "forget_batch"), (problem.retain_batch, "retain_batch")):
            checked += check_independent(problem.model, problem.loss_fn, batch, name)
    forget = problem.mean_gradient(problem.forget_batch, "forget_batch", micro_batch)
    if settings.retain == "mean":
        retain = problem.mean_gradient(problem.retain_batch, "retain_batch", micro_batch)
        solution = mean_solution(forget, retain, settings, (k, k))
    elif solver == "cg":
        rows = Rows(problem.model, problem.loss_fn, problem.retain_batch, k, problem.parameters, micro_batch)
        solution = cg_solution(rows, forget, settings, k)
    else:
        assert tape is not None, "OrthoGrad hooks the model for this solver"
        solution = _gramian(problem, tape, forget, micro_batch)
    return replace(
        solution,
        solver=solver,
        forward_samples=solution.forward_samples + m + checked,
        backward_samples=solution.backward_samples + m,
    )


def _gramian(problem: Problem, tape: Tape, forget: Gradients, micro_batch: int) -> Solution:
    """The Gramian solver, again without the layers whose leading dimension was taken for the samples."""
    samples = batch_size(problem.retain_batch, "retain_batch")
    by_loss: set[str] = set()
    forward = backward = 0
    while True:
        source = _source(problem, tape, samples, micro_batch, by_loss)
        try:
            solution = gramian_solution(
                source, forget, problem.parameters, problem.settings, problem.chunk_bytes
            )
        except MixedSamplesError as error:
            if error.names <= by_loss:
                raise
            forward += check_independent(problem.model, problem.loss_fn, problem.retain_batch, "retain_batch")
            by_loss |= error.names
        else:
            return replace(
                solution,
                forward_samples=solution.forward_samples + forward,
                backward_samples=solution.backward_samples + backward,
            )
        forward += source.forward_samples
        backward += source.backward_samples


def _source(problem: Problem, tape: Tape, samples: int, micro_batch: int, by_loss: set[str]) -> RetainSource:
    def retain_pass(indices: Tensor) -> RetainPass:
        batch = tree_map(lambda leaf: leaf[indices.to(leaf.device)], problem.retain_batch)
        losses, _ = problem.losses(batch, "retain_batch")
        graph = tape.walk(losses)
        graph.check_reaches(problem.parameters, "The loss of retain_batch")
        return RetainPass(tape, losses, problem.parameters, graph, others=0, by_loss=by_loss)

    if micro_batch < samples:
        return MicroBatches(retain_pass, samples, micro_batch)
    source = OneGraph(retain_pass(torch.arange(samples)))
    source.forward_samples = samples
    return source


def choose(problem: Problem, solver: str, memory_budget: int) -> tuple[str, int]:
    """Solver and micro-batch that keep to a memory budget.

    The activations of one sample are measured on the first retain sample; the gradients of a backward pass
    and the noted inputs of the layers are taken to need half of that again.

    Args:
        problem: The step.
        solver: ``"gramian"``, ``"cg"``, or ``"auto"`` for the one that sends fewer samples through the model.
        memory_budget: Bytes beside the model.

    Raises:
        ValueError: If the budget does not do for the smallest micro-batch.
    """
    m = batch_size(problem.forget_batch, "forget_batch")
    k = batch_size(problem.retain_batch, "retain_batch")
    sample = saved_bytes(
        lambda: problem.loss_fn(problem.model, take(problem.retain_batch, 0, 1)), problem.model
    )
    each = 1.5 * sample + 1
    gradient = sum(p.numel() * p.element_size() for p in problem.parameters.values())
    fixed = {"gramian": 3 * gradient + problem.chunk_bytes + 32 * (k + 1) ** 2, "cg": 6 * gradient}
    room = {name: int((memory_budget - taken) / each) for name, taken in fixed.items()}
    if solver == "auto":
        # How often each retain sample goes through the model.
        passes = 1.0 if room["gramian"] >= k else math.inf
        if 2 <= room["gramian"] < k:
            passes = 2 * k / room["gramian"] - 1
        cheaper = passes <= 2 * EXPECTED_ITERATIONS or problem.settings.scope == "tensor"
        solver = "gramian" if cheaper else "cg"
    least = 2 if solver == "gramian" else 1
    if room[solver] < least:
        raise ValueError(
            f"memory_budget of {memory_budget} bytes is too small for solver={solver!r}: give at least "
            f"{math.ceil(fixed[solver] + (least + 1) * each)} bytes, or train fewer parameters (LoRA)."
        )
    return solver, min(room[solver], max(m, k))
