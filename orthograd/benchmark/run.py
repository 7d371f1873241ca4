"""Time every contender on every workload, each in a process of its own, in turns with the floor."""

from __future__ import annotations

import logging
import multiprocessing
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from typing import Any

import psutil

from orthograd.benchmark import worker
from orthograd.benchmark.contenders import FLOOR
from orthograd.benchmark.worker import Cell

log = logging.getLogger(__name__)

DONE = "done"
OVER_TIME = "over the time limit"
OUT_OF_MEMORY = "out of memory"
WRONG = "wrong direction"
SKIPPED = "skipped"

AGREEMENT = 1e-7
"""Largest relative error, in float64, at which a contender counts as computing the same direction as the oracle."""

POLL_SECONDS = 0.02

SLACK = 3
"""A first step touches memory that the system, or the host of a virtual machine, must provide: that can be slow."""


@dataclass(frozen=True)
class Limits:
    """Bounds on one cell.

    Attributes:
        seconds: for one step; `SLACK` times as much for loading and for the first step.
        bytes: resident memory of its process.
        repeats: timed steps, at most.
        enough: seconds of timed steps after which none is repeated.
    """

    seconds: float
    bytes: int
    repeats: int
    enough: float


@dataclass
class Outcome:
    """What came of one cell.

    The floor's seconds are of the step right before each of the contender's. The peaks are of the first step, which
    starts from a process with model and data alone: later ones also count what the C library kept of the one before.
    """

    cell: Cell
    status: str = DONE
    reason: str = ""
    seconds: list[float] = field(default_factory=list)
    floor_seconds: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    floor_bytes: int | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    def row(self, agreement: dict[str, Any]) -> dict[str, Any]:
        """A row of timings.csv; empty where there is nothing to tell."""
        done = bool(self.seconds)
        memory_ratio = self.peak_bytes / self.floor_bytes if self.peak_bytes and self.floor_bytes else None
        ratios = [own / floor for own, floor in zip(self.seconds, self.floor_seconds, strict=True)]
        return {
            "model": self.cell.model,
            "contender": self.cell.contender,
            "m": self.cell.m,
            "k": self.cell.k,
            "status": self.status,
            "reason": self.reason,
            "repeats": len(self.seconds),
            "seconds": statistics.median(self.seconds) if done else None,
            "seconds_min": min(self.seconds) if done else None,
            "seconds_max": max(self.seconds) if done else None,
            "time_ratio": statistics.median(ratios) if done else None,
            "time_ratio_min": min(ratios) if done else None,
            "time_ratio_max": max(ratios) if done else None,
            "peak_bytes": self.peak_bytes,
            "memory_ratio": memory_ratio,
            "error_float32": agreement.get("error"),
            "error_float64": agreement.get("error64"),
            "rank": self.figures.get("rank"),
            "condition_number": self.figures.get("condition_number"),
            "refinements": self.figures.get("refinements"),
            "fallbacks": self.figures.get("fallbacks"),
        }


class CellFailed(Exception):
    """A cell ended without its figures: (status, reason)."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(status, reason)
        self.status, self.reason = status, reason


class Process:
    """A process of `target(connection, *arguments)`, watched for time and memory while it is waited for."""

    def __init__(
        self,
        context: ForkServerContext,
        target: Callable[..., None],
        arguments: Sequence[Any],
        limit_bytes: int,
    ) -> None:
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._limit_bytes = limit_bytes
        self._resident = psutil.Process(self._process.pid)

    def send(self, message: str) -> None:
        self._connection.send(message)

    def receive(self, seconds: float) -> Any:
        """The next answer.

        Raises:
            CellFailed: the process takes longer, takes more memory, or ends.
        """
        end = time.monotonic() + seconds
        while not self._connection.poll(POLL_SECONDS):
            if time.monotonic() > end:
                self.close()
                raise CellFailed(OVER_TIME, f"no result within {seconds:.0f} s")
            if self._memory() > self._limit_bytes:
                self.close()
                raise CellFailed(OUT_OF_MEMORY, f"more than {self._limit_bytes / 2**30:.1f} GiB resident")
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            if code == -9:
                raise CellFailed(OUT_OF_MEMORY, "killed by the system") from None
            raise CellFailed("failed", f"the process ended with code {code}: see its output") from None
        if isinstance(answer, dict) and answer.get("status") == OUT_OF_MEMORY:
            raise CellFailed(OUT_OF_MEMORY, answer["reason"])
        return answer

    def _memory(self) -> int:
        try:
            resident: int = self._resident.memory_info().rss
        except psutil.NoSuchProcess:  # the pipe says so next
            return 0
        return resident

    def close(self) -> None:
        """End the process; its memory is free when this returns."""
        self._process.kill()
        self._process.join()
        self._connection.close()


_IMPORTS = ["torch", "torchvision.models", "opacus", "torchjd.autogram", "orthograd.engine"]
# transformers imports its models on first use.
_IMPORTS_WHISPER = ["peft", "transformers.models.whisper.modeling_whisper"]


def context(models: Collection[str]) -> ForkServerContext:
    """Cells are forked from a process that has the imports and nothing else: fresh memory, no wait for imports.

    Args:
        models: the workloads; only Whisper needs transformers. What is not installed is left out by multiprocessing.
    """
    forkserver = multiprocessing.get_context("forkserver")
    whisper = any(model.startswith("whisper") for model in models)
    forkserver.set_forkserver_preload([*_IMPORTS, *(_IMPORTS_WHISPER if whisper else [])])
    return forkserver


def verify(
    forkserver: ForkServerContext,
    model: str,
    contenders: Sequence[str],
    threads: int,
    device: str,
    limits: Limits,
) -> dict[str, dict[str, Any]]:
    """`worker.agreement` of one model, in a process of its own; a contender whose direction is wrong gets a status.

    Raises:
        CellFailed: the process does not get through.
    """
    process = Process(forkserver, worker.verify, (model, list(contenders), threads, device), limits.bytes)
    try:
        results = dict(process.receive(SLACK * limits.seconds) for _ in contenders)
    finally:
        process.close()
    return {name: judged(result) for name, result in results.items()}


def judged(agreement: dict[str, Any]) -> dict[str, Any]:
    """The agreement of one contender, with a status and reason where its direction is not the oracle's."""
    error = agreement.get("error64")
    if error is None or error <= AGREEMENT:
        return agreement
    return {**agreement, "status": WRONG, "reason": f"relative error {error:.1e} in float64"}


def foreseen(smaller: Outcome, m: int, k: int, limits: Limits) -> str | None:
    """Why the cell of m and k samples is not worth a start, from the same contender's cell of fewer; None if it is.

    Every contender's time and memory grow about in proportion to the samples, or faster. What will run out of memory
    is started: it ends soon, and is then known rather than foreseen.
    """
    start = smaller.cell
    if smaller.status != DONE or smaller.peak_bytes is None:
        return f"at k = {start.k}: {smaller.status}"
    growth = (m + k) / (start.m + start.k)
    seconds = statistics.median(smaller.seconds) * growth
    if seconds > limits.seconds and smaller.peak_bytes * growth < limits.bytes:
        return f"about {seconds:.0f} s a step, in proportion to k = {start.k}; the limit is {limits.seconds:.0f} s"
    return None


def measure(
    forkserver: ForkServerContext,
    model: str,
    m: int,
    k: int,
    contenders: Mapping[str, str | None],
    threads: int,
    device: str,
    limits: Limits,
) -> list[Outcome]:
    """Time the contenders on one workload, each in turns with the floor; the floor's own outcome comes first.

    One process of the floor serves all of them, so that every ratio is between two steps that ran one after the other.

    Args:
        forkserver: from `context`.
        model: name of the workload.
        m: forget samples.
        k: retain samples.
        contenders: names, each with the reason to skip it or None.
        threads: of torch.
        device: torch's name of it.
        limits: bounds on each cell.

    Returns:
        One outcome for the floor and for each contender, whatever came of it.
    """

    def cell(name: str) -> Cell:
        return Cell(model, name, m, k, threads, device)

    floor_outcome = Outcome(cell(FLOOR))
    outcomes = [floor_outcome]
    try:
        floor = _started(forkserver, floor_outcome.cell, limits)
        first = _step(floor, SLACK * limits.seconds)
    except CellFailed as failed:
        floor_outcome.status, floor_outcome.reason = failed.status, failed.reason
        return [
            *outcomes,
            *(Outcome(cell(name), SKIPPED, f"the floor: {failed.status}") for name in contenders),
        ]
    floor_outcome.peak_bytes = floor_outcome.floor_bytes = first["bytes"]
    try:
        for name, reason in contenders.items():
            outcome = Outcome(cell(name), floor_bytes=first["bytes"])
            outcomes.append(outcome)
            if reason is not None:
                outcome.status, outcome.reason = SKIPPED, reason
                continue
            try:
                _rounds(forkserver, outcome, floor, floor_outcome, limits)
            except CellFailed as failed:
                outcome.status, outcome.reason = failed.status, failed.reason
            log.info("%s m=%d k=%d %s: %s %s", model, m, k, name, outcome.status, outcome.seconds)
    finally:
        floor.close()
    floor_outcome.floor_seconds = floor_outcome.seconds
    return outcomes


def _started(forkserver: ForkServerContext, cell: Cell, limits: Limits) -> Process:
    process = Process(forkserver, worker.serve, (cell,), limits.bytes)
    process.receive(SLACK * limits.seconds)
    return process


def _step(process: Process, seconds: float) -> dict[str, Any]:
    process.send("step")
    answer: dict[str, Any] = process.receive(seconds)
    return answer


def _rounds(
    forkserver: ForkServerContext, outcome: Outcome, floor: Process, floor_outcome: Outcome, limits: Limits
) -> None:
    """Steps of floor and contender in turns, into the outcomes."""
    process = _started(forkserver, outcome.cell, limits)

    steps = outcome.seconds
    try:
        outcome.peak_bytes = _step(process, SLACK * limits.seconds)["bytes"]
        # By the shortest step: that one was disturbed must not end the repeats which would show it.
        while not steps or (len(steps) < limits.repeats and len(steps) * min(steps) < limits.enough):
            before, own = _step(floor, SLACK * limits.seconds), _step(process, SLACK * limits.seconds)
            floor_outcome.seconds.append(before["seconds"])
            outcome.floor_seconds.append(before["seconds"])
            steps.append(own["seconds"])
            outcome.figures = own
    finally:
        process.close()
