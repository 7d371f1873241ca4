"""What runs in the process of one cell: load, then take steps on request, each with its time and peak memory."""

from __future__ import annotations

import copy
import ctypes
import gc
import importlib.util
import resource
import sys
import time
import warnings
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from orthograd.benchmark.contenders import CONTENDERS, Contender
from orthograd.benchmark.models import WORKLOADS, Workload

SMALL = 3
"""Samples in each batch of the verification, and of the step that imports and sets up before anything is measured."""

SEED = 0


@dataclass(frozen=True)
class Cell:
    """One thing to measure."""

    model: str
    contender: str
    m: int
    k: int
    threads: int
    device: str


def serve(connection: Connection, cell: Cell) -> None:
    """Load, say "ready", then answer each "step" with its figures, until the pipe closes.

    An answer is a mapping: ``seconds`` and ``bytes`` (peak above what was in use before the first step, when model and
    data were loaded) and the engine's own figures, or ``status`` and ``reason`` if memory did not suffice.
    """
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(cell.threads)
    device = torch.device(cell.device)
    torch.manual_seed(SEED)
    work = WORKLOADS[cell.model]().to(device)
    forget, retain = work.batch(cell.m), work.batch(cell.k)
    few = work.batch(SMALL), work.batch(SMALL)
    step = CONTENDERS[cell.contender].make(work)
    try:
        step(*few)
        _clean(work)
        before = _reset_peak(device)
        connection.send({"status": "ready"})
        while connection.recv() == "step":
            _synchronize(device)
            start = time.perf_counter()
            figures = step(forget, retain)
            _synchronize(device)
            seconds = time.perf_counter() - start
            answer: dict[str, Any] = {"seconds": seconds, "bytes": _peak(device) - before}
            if figures is not None:
                answer.update(
                    rank=figures.rank,
                    condition_number=figures.condition_number,
                    refinements=figures.refinements,
                    fallbacks=len(figures.fallbacks),
                )
            work.model.zero_grad(set_to_none=True)
            connection.send(answer)
    except EOFError:
        return
    except RuntimeError as error:
        # The CPU allocator of torch has no exception class of its own.
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            connection.send({"status": "out of memory", "reason": _first_line(error)})
            return
        raise


def verify(connection: Connection, model: str, contenders: list[str], threads: int, device: str) -> None:
    """Send, for each contender, its relative error against the float64 oracle, or why it does not take the model."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    work = WORKLOADS[model]().to(torch.device(device))
    batches = work.batch(SMALL), work.batch(SMALL)
    for contender, result in agreement(work, batches, contenders).items():
        connection.send((contender, result))


def agreement(work: Workload, batches: tuple[Any, Any], contenders: list[str]) -> dict[str, dict[str, Any]]:
    """Hold contenders against the float64 oracle of their scope on small batches.

    Returns:
        For each name ``{"error", "error64", "parameters"}``: ‖g − oracle‖ / ‖oracle‖ in float32, as timed, and with
        the whole contender in float64 (None for the floor, which has another direction), and the number of trainable
        parameters; or ``{"status", "reason"}`` where its package is not installed or does not take the model.
    """
    import torch

    from orthograd.engine import OrthoGrad
    from orthograd.engine.batches import tree_map

    def double(leaf: torch.Tensor) -> torch.Tensor:
        return leaf.double() if leaf.is_floating_point() else leaf

    doubled = tree_map(double, batches[0]), tree_map(double, batches[1])
    oracles: dict[str, torch.Tensor] = {}

    def relative_error(contender: Contender, dtype: torch.dtype) -> float | None:
        own = Workload(copy.deepcopy(work.model).to(dtype), work.loss_fn, work.batch)
        contender.make(own)(*(batches if dtype is torch.float32 else doubled))
        if contender.direction == "floor":
            return None
        if contender.direction not in oracles:
            exact = copy.deepcopy(work.model).double()
            with OrthoGrad(exact, scope=contender.direction, solver="materialize") as og:
                og.backward_from(work.loss_fn, *doubled)
            oracles[contender.direction] = _direction(exact)
        oracle = oracles[contender.direction]
        return float((_direction(own.model) - oracle).norm() / oracle.norm())

    parameters = sum(p.numel() for p in work.model.parameters() if p.requires_grad)
    results: dict[str, dict[str, Any]] = {}
    for name in contenders:
        contender = CONTENDERS[name]
        if contender.needs and not importlib.util.find_spec(contender.needs):
            results[name] = {"status": "not installed", "reason": "make bench installs it"}
            continue
        try:
            errors = [relative_error(contender, dtype) for dtype in (torch.float32, torch.float64)]
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            if name.startswith("ours"):
                raise
            # Whatever another package says to a model that it does not take is a result, with its words.
            results[name] = {"status": "not supported", "reason": _first_line(error)}
        else:
            results[name] = {"error": errors[0], "error64": errors[1], "parameters": parameters}
    return results


def _direction(model: Any) -> Any:
    """``p.grad`` of all trainable parameters in one float64 vector."""
    import torch

    return torch.cat([p.grad.double().flatten() for p in model.parameters() if p.requires_grad])


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:200]


def _clean(work: Workload) -> None:
    """Give back what the first small step left, so that it is in use neither before nor after."""
    work.model.zero_grad(set_to_none=True)
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _synchronize(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device: Any) -> int:
    """Bytes in use; the peak starts anew from here."""
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")  # sets VmHWM back to the resident size (man 5 proc)
    return _peak(device)


def _peak(device: Any) -> int:
    """Most bytes in use at a time: of CUDA's allocator, or resident in memory.

    Outside Linux the resident peak cannot be set back: it counts from the start of the process.
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
