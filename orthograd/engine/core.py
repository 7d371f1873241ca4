"""`OrthoGrad`, the drop-in for ``loss.backward()``."""

import math
import time
from dataclasses import replace
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from orthograd.engine.adam import AdamDirections
from orthograd.engine.batches import Batch, batch_size
from orthograd.engine.diagnostics import Diagnostics
from orthograd.engine.gramian import OneGraph, RetainPass, gradients_of, gramian_solution, mean_solution
from orthograd.engine.graph import Graph, Tape
from orthograd.engine.materialize import (
    LossFunction,
    NotFiniteError,
    check_independent,
    check_values,
    flat_gradient,
    rows_from_batch,
    rows_from_losses,
    solve_rows,
)
from orthograd.engine.projection import default_noise_floor, default_rtol
from orthograd.engine.recompute import Problem, choose, solve
from orthograd.engine.solution import Parameters, Settings, Solution
from orthograd.precision import all_finite, joint_norm

Scope = Literal["global", "tensor"]
Retain = Literal["per_sample", "mean"]
Solver = Literal["gramian", "materialize", "cg", "auto"]
Directions = Literal["gradient", "adam"]

# Small enough for the allocator of the C library to reuse it instead of asking the system for fresh pages.
CHUNK_BYTES = 2**25


class OrthoGrad:
    """Fills ``p.grad`` with the OrthoGrad direction of arXiv:2503.02312.

    The direction ``g = α · mean_i(g_r^i) − (1 − α) · g_u⊥`` is to be *descended* by any torch optimizer.
    ``g_u`` is the gradient of the *mean* of the forget losses. Like ``loss.backward()``, a call adds to
    ``p.grad``; parameters with ``requires_grad=False`` are left out. The projection does not depend on the
    scale of the losses, but the two terms do: losses that were divided by their number (``reduction="mean"``
    taken apart) make the direction that much shorter, so pass losses with ``reduction="none"``.

    Args:
        model: The model that made, or will make, the losses.
        alpha: Weight of the retain term, in [0, 1]; 0 is pure projected ascent.
        scope: ``"global"`` projects in the whole parameter space (the paper's formula), ``"tensor"`` within
            each parameter tensor (as the public code copy does).
        retain: ``"per_sample"`` projects off every retain gradient, ``"mean"`` only off their mean.
        solver: ``"gramian"`` solves the k×k system of the Gramian, which it collects layer by layer, and
            never holds a per-sample gradient of the model. ``"materialize"`` builds the k×d matrix of
            gradients in float64: slow, and the oracle of the others. ``"cg"`` solves with products only
            (`backward_from`, global scope): memory does not depend on the number of retain samples, there is
            no rank cut-off, and the rows should have similar lengths. ``"auto"`` chooses between
            ``"gramian"`` and ``"cg"`` under `memory_budget`.
        rtol: Relative cut-off on singular values of the unit-length retain gradients, in [0, 1). None: 8·√eps
            of the parameters' dtype, see `orthograd.engine.projection.default_rtol`. ``"gramian"`` does not
            go below √(min(k, 64)·eps), where the eigenvalues of a Gramian are noise.
        noise_floor: Retain gradients with a norm at or below it are dropped and counted. None: 32·eps of the
            parameters' dtype, see `orthograd.engine.projection.default_noise_floor`.
        full_diagnostics: Also compute the dear figures of `Diagnostics`. On CUDA this resets the peak-memory
            statistics of the allocator.
        memory_budget: Bytes that `backward_from` may take beside the model. It sets the micro-batch, and with
            ``solver="auto"`` it decides between ``"gramian"`` and ``"cg"``. None: everything at once.
        directions: ``"gradient"``, or the ablation ``"adam"`` of the public code copy, whose first-order
            guarantee is gone (see `orthograd.engine.adam`); only with ``solver="materialize"``.
        chunk_bytes: Bound on the temporaries that the Gramian of one layer takes; more is cut into tiles.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        alpha: float = 0.5,
        scope: Scope = "global",
        retain: Retain = "per_sample",
        solver: Solver = "gramian",
        rtol: float | None = None,
        noise_floor: float | None = None,
        full_diagnostics: bool = False,
        memory_budget: int | None = None,
        directions: Directions = "gradient",
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(
                f"alpha is {alpha}, but it weighs the retain term: choose a number between 0 and 1."
            )
        _check_choice("scope", scope, get_args(Scope))
        _check_choice("retain", retain, get_args(Retain))
        _check_choice("solver", solver, get_args(Solver))
        if rtol is not None and not 0 <= rtol < 1:
            raise ValueError(
                f"rtol is {rtol}, but it is a relative cut-off: choose a number in [0, 1), or None."
            )
        if noise_floor is not None and not (noise_floor >= 0 and math.isfinite(noise_floor)):
            raise ValueError(f"noise_floor is {noise_floor}: choose a finite gradient norm ≥ 0, or None.")
        _check_choice("directions", directions, get_args(Directions))
        if directions == "adam" and solver != "materialize":
            raise ValueError("directions='adam' is built on every row: choose solver='materialize' with it.")
        if scope == "tensor" and solver == "cg":
            raise ValueError(
                "solver='cg' projects in the whole space: choose scope='global' or another solver."
            )
        if memory_budget is None and solver == "auto":
            raise ValueError(
                "solver='auto' decides by memory: give memory_budget in bytes, or name a solver."
            )
        if memory_budget is not None and memory_budget < 1:
            raise ValueError(f"memory_budget is {memory_budget}: choose a number of bytes ≥ 1, or None.")
        if chunk_bytes < 1:
            raise ValueError(f"chunk_bytes is {chunk_bytes}: choose a number of bytes ≥ 1.")
        self.model = model
        self.alpha = float(alpha)
        self.scope = scope
        self.retain = retain
        self.solver = solver
        self.rtol = rtol
        self.noise_floor = noise_floor
        self.full_diagnostics = full_diagnostics
        self.chunk_bytes = chunk_bytes
        self.memory_budget = memory_budget
        self._adam = AdamDirections() if directions == "adam" else None
        self._tape = Tape(model) if solver in ("gramian", "auto") else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the hooks from the model; what comes after needs a new `OrthoGrad`."""
        if self._tape is not None:
            self._tape.close()

    def backward(self, forget_losses: Tensor, retain_losses: Tensor) -> Diagnostics:
        """Add the direction to ``p.grad`` from two vectors of per-sample losses, and free their graph.

        With ``solver="materialize"`` the graph of the retain losses is left.

        Args:
            forget_losses: (m,), one loss for each forget sample, attached to the graph of the model.
            retain_losses: (k,), one loss for each retain sample, from the same or from another forward pass.

        Raises:
            ValueError: If a vector is empty, not a vector, in half precision, not finite, or does not depend
                on the trainable parameters of the model; if losses mix samples (not checked with
                ``solver="materialize"`` or ``retain="mean"``); if there is no trainable parameter, a BatchNorm
                layer in training mode or without running statistics, or a sparse embedding; with
                ``solver="cg"``.
            RuntimeError: If a certificate fails, an input was changed in place after a layer read it, or the
                engine was closed.
        """
        if self.solver == "cg":
            raise ValueError(
                "solver='cg' goes forward many times: call backward_from(loss_fn, forget_batch, "
                "retain_batch), or choose solver='gramian'."
            )
        start = self._start()
        parameters = self._parameters()
        for losses, name in ((forget_losses, "forget_losses"), (retain_losses, "retain_losses")):
            _check_vector(losses, name)
            Graph(losses).check_reaches(parameters, name)
        m, k = len(forget_losses), len(retain_losses)
        if self._tape is None:
            rows = rows_from_losses(retain_losses, parameters)
            forget = flat_gradient(forget_losses.mean(), parameters, retain_graph=False)
            solution = replace(self._solve_rows(forget, rows, parameters), backward_samples=m + k)
        else:
            solution = self._gramian(self._tape, forget_losses, retain_losses, parameters)
        return self._finish(solution, parameters, m, k, start)

    def backward_from(
        self, loss_fn: LossFunction, forget_batch: Batch, retain_batch: Batch, micro_batch: int | None = None
    ) -> Diagnostics:
        """Add the direction to ``p.grad``, going forward and backward here.

        Args:
            loss_fn: ``loss_fn(model, batch) -> losses`` of shape (n,), one loss for each sample of the batch,
                each depending on its own sample only.
            forget_batch: A tensor, or a tuple, list or dict of tensors, with leading dimension m.
            retain_batch: The same with leading dimension k.
            micro_batch: At most this many samples go through the model at once; None: all of them. The result
                does not depend on it. The oracle always takes one at a time.

        Raises:
            ValueError: For an empty or ragged batch, losses of the wrong shape, mixed, in half precision or
                not finite, `micro_batch` below 2, a `memory_budget` that is too small, or a model that
                `backward` refuses too.
            TypeError: If a batch holds something else than tensors.
            RuntimeError: As for `backward`; with ``solver="cg"`` also where it does not converge.
        """
        start = self._start()
        parameters = self._parameters()
        m, k = batch_size(forget_batch, "forget_batch"), batch_size(retain_batch, "retain_batch")
        if micro_batch is not None and micro_batch < 2:
            raise ValueError(f"micro_batch is {micro_batch}: two samples must meet, choose ≥ 2, or None.")
        if self.solver == "materialize":
            named = ((forget_batch, "forget_batch"), (retain_batch, "retain_batch"))
            checked = sum(check_independent(self.model, loss_fn, batch, name) for batch, name in named)
            rows = rows_from_batch(self.model, loss_fn, retain_batch, parameters, "retain_batch")
            forget_rows = rows_from_batch(self.model, loss_fn, forget_batch, parameters, "forget_batch")
            solution = self._solve_rows(forget_rows.mean(dim=0), rows, parameters)
            solution = replace(solution, forward_samples=m + k + checked, backward_samples=m + k)
        else:
            settings = self._settings(parameters)
            problem = Problem(
                self.model, loss_fn, forget_batch, retain_batch, parameters, settings, self.chunk_bytes
            )
            solver: str = self.solver
            if self.memory_budget is not None and micro_batch is None:
                solver, micro_batch = choose(problem, solver, self.memory_budget)
            solver = "gramian" if solver == "auto" else solver
            solution = solve(problem, self._tape, solver, micro_batch or max(m, k))
        return self._finish(solution, parameters, m, k, start)

    def _solve_rows(self, forget: Tensor, rows: Tensor, parameters: Parameters) -> Solution:
        """The oracle on rows that are there, or on their Adam directions."""
        if self._adam is not None:
            rows = torch.stack([self._adam(row) for row in rows])
            forget = self._adam(forget)
        return solve_rows(forget, rows, parameters, self._settings(parameters))

    def _gramian(
        self, tape: Tape, forget_losses: Tensor, retain_losses: Tensor, parameters: Parameters
    ) -> Solution:
        """The Gramian solver on losses that are there."""
        m, k = len(forget_losses), len(retain_losses)
        settings = self._settings(parameters)
        graph, forget_graph = tape.walk(retain_losses), tape.walk(forget_losses)
        others = m if graph.overlaps(forget_graph) else 0
        forget = gradients_of(forget_losses.mean(), parameters, keep=others > 0)
        if self.retain == "mean":
            retain = gradients_of(retain_losses.mean(), parameters, keep=False)
            return mean_solution(forget, retain, settings, (0, m + k))
        source = OneGraph(RetainPass(tape, retain_losses, parameters, graph, others, by_loss=set()))
        solution = gramian_solution(source, forget, parameters, settings, self.chunk_bytes)
        return replace(solution, backward_samples=solution.backward_samples + m)

    def _start(self) -> float:
        """Refuse what has no per-sample gradients, start the measurement, and give the time."""
        if self._tape is not None and self._tape.closed:
            raise RuntimeError("The hooks were removed by close(): make a new OrthoGrad for the model.")
        for name, module in self.model.named_modules():
            if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
                raise ValueError(
                    f"BatchNorm layer {name!r} normalises with the statistics of the batch, so that a "
                    "sample has no gradient of its own: call model.eval() before the forward pass (and keep "
                    "running statistics)."
                )
            if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.sparse:
                raise ValueError(
                    f"Embedding layer {name!r} asks for sparse gradients, but the direction is dense: make it "
                    "with sparse=False."
                )
        if self.full_diagnostics and torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        return time.perf_counter()

    def _parameters(self) -> Parameters:
        parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad and p.numel()}
        if not parameters:
            raise ValueError(
                "The model has no trainable parameter: set requires_grad=True on what is to be unlearned."
            )
        return parameters

    def _settings(self, parameters: Parameters) -> Settings:
        # The coarsest dtype decides: its rounding is in the gradients of the others as well.
        dtype = max((p.dtype for p in parameters.values()), key=lambda dtype: torch.finfo(dtype).eps)
        return Settings(
            alpha=self.alpha,
            scope=self.scope,
            retain=self.retain,
            rtol=default_rtol(dtype) if self.rtol is None else self.rtol,
            noise_floor=default_noise_floor(dtype) if self.noise_floor is None else self.noise_floor,
            full_diagnostics=self.full_diagnostics,
        )

    def _finish(
        self,
        solution: Solution,
        parameters: Parameters,
        forget_samples: int,
        retain_samples: int,
        start: float,
    ) -> Diagnostics:
        """Accumulate the direction into ``p.grad`` and write the figures down."""
        if not all_finite(solution.direction):
            raise NotFiniteError("The direction is not finite although the losses are")
        for parameter, part in zip(parameters.values(), solution.direction, strict=True):
            parameter.grad = part if parameter.grad is None else parameter.grad.add_(part)
        spectrum = solution.spectrum
        cuda = self.full_diagnostics and any(part.is_cuda for part in solution.direction)
        return Diagnostics(
            solver=solution.solver,
            scope=self.scope,
            retain=self.retain,
            forget_samples=forget_samples,
            retain_samples=retain_samples,
            rank=spectrum.rank if spectrum else None,
            dropped_rows=spectrum.dropped_rows if spectrum else None,
            dropped_directions=spectrum.dropped_directions if spectrum else None,
            condition_number=spectrum.condition_number if spectrum else None,
            forget_norm=solution.forget_norm,
            projected_norm=solution.projected_norm,
            retain_mean_norm=solution.retain_mean_norm,
            direction_norm=joint_norm(solution.direction),
            removed_fraction=solution.removed_norm / solution.forget_norm
            if solution.forget_norm > 0
            else 0.0,
            removed_per_layer=solution.removed_per_layer,
            max_cosine=solution.max_cosine,
            max_cosine_measured=solution.max_cosine_measured,
            fallbacks=solution.fallbacks,
            refinements=solution.refinements,
            forward_samples=solution.forward_samples,
            backward_samples=solution.backward_samples,
            seconds=time.perf_counter() - start,
            engine_bytes=solution.engine_bytes,
            peak_bytes=torch.cuda.max_memory_allocated() if cuda else None,
        )


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{option} is {value!r}: choose one of {', '.join(map(repr, choices))}.")


def _check_vector(losses: Tensor, name: str) -> None:
    if losses.dim() != 1:
        raise ValueError(
            f"{name} has shape {tuple(losses.shape)}, expected one loss for each sample, (n,): compute the "
            "loss with reduction='none' and take the mean over every dimension but the first."
        )
    if len(losses) == 0:
        raise ValueError(f"{name} is empty: leave the step out when there is nothing to unlearn or to keep.")
    check_values(losses, name)
