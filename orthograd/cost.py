"""What a run costs: time, memory and passes through the model."""

from __future__ import annotations

import ctypes
import gc
import os
from dataclasses import dataclass
from threading import Event, Thread

import psutil
import torch


@dataclass
class Cost:
    """What a run took, without its evaluations.

    Attributes:
        seconds: wall clock.
        peak_bytes: most memory in use at a time above what was in use before (`PeakMemory`).
        forward: samples that passed forward through the model.
        backward: samples that passed backward.
    """

    seconds: float = 0.0
    peak_bytes: int = 0
    forward: int = 0
    backward: int = 0


class PeakMemory:
    """The most memory in use inside its `with` blocks, above what was in use when it was made.

    CUDA: the allocator's own peak. Otherwise the resident memory of the process, read every 2 ms, so that a shorter
    peak can be missed. Freed memory that the C library still holds would hide what a run takes: it is given back
    first, where the C library can (glibc).
    """

    def __init__(self, device: torch.device) -> None:
        self.bytes = 0
        self._cuda = device if device.type == "cuda" else None
        self._process = psutil.Process()
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
        if trim is not None:
            trim(0)
        self._before = self._in_use()

    def disregard(self, taken: int) -> None:
        """Leave out bytes that were taken since for another purpose."""
        self._before += taken

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
