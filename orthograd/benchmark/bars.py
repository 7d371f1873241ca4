"""The project's bars, held against the measured table."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import pandas as pd

from orthograd.benchmark.contenders import OURS, VMAP_GLOBAL, VMAP_TENSOR
from orthograd.benchmark.run import DONE, OUT_OF_MEMORY, OVER_TIME

MET = "met"
MISSED = "not met"
NOT_TESTABLE = "not testable here"

MODEL = "resnet18"
FORGET = 64


class _NoValueError(Exception):
    """There is no number: (what the table says instead, the state of the bar)."""

    def __init__(self, measured: str, state: str) -> None:
        super().__init__(measured, state)
        self.measured, self.state = measured, state


class _Table:
    """Look-ups in timings.csv for ResNet-18 and 64 forget samples."""

    def __init__(self, timings: pd.DataFrame) -> None:
        self._rows = timings[(timings["model"] == MODEL) & (timings["m"] == FORGET)]

    def _cell(self, contender: str, k: int) -> dict[Hashable, Any]:
        found = self._rows[(self._rows["contender"] == contender) & (self._rows["k"] == k)]
        if found.empty:
            raise _NoValueError(f"no row for {contender}, k = {k}", NOT_TESTABLE)
        row: dict[Hashable, Any] = found.iloc[0].to_dict()
        # That another contender gets nowhere counts for ours; that ours does not is a miss.
        stopped = row["status"] in (OUT_OF_MEMORY, OVER_TIME)
        if row["status"] != DONE:
            state = NOT_TESTABLE if not stopped else MISSED if contender == OURS else MET
            raise _NoValueError(f"{contender}, k = {k}: {row['status']} ({row['reason']})", state)
        return row

    def ours(self, column: str, k: int = 64) -> float:
        return float(self._cell(OURS, k)[column])

    def against(self, other: str, column: str, k: int = 64) -> float:
        """The other contender's value over ours."""
        ours = self.ours(column, k)
        return float(self._cell(other, k)[column]) / ours


def bars(timings: pd.DataFrame, device: str) -> pd.DataFrame:
    """Each bar with its measured value and 'met', 'not met' or 'not testable here'.

    Args:
        timings: the table of `orthograd.benchmark.run.Outcome.row`.
        device: the type of the device that it was measured on.

    Returns:
        Columns: bar, where, required, measured, state.
    """
    table = _Table(timings)

    def at_most(bound: float, column: str) -> Callable[[], tuple[str, bool]]:
        def measure() -> tuple[str, bool]:
            value = table.ours(column)
            return f"{value:.2f}×", value <= bound

        return measure

    def at_least(bound: float, other: str, column: str, k: int = 64) -> Callable[[], tuple[str, bool]]:
        def measure() -> tuple[str, bool]:
            value = table.against(other, column, k)
            return f"{value:.2f}×", value >= bound

        return measure

    def kept(other: str) -> Callable[[], tuple[str, bool]]:
        def measure() -> tuple[str, bool]:
            before, after = (table.against(other, "seconds", k) for k in (64, 256))
            return f"{before:.2f}× at k = 64, {after:.2f}× at k = 256", after >= before

        return measure

    cpu = "ResNet-18, 64 forget + 64 retain, CPU"
    growing = "ResNet-18, 64 forget, CPU"
    gpu = "ResNet-18, 64 forget + 64 retain, GPU"
    large = "ResNet-18, 64 forget + 512 retain, GPU"
    entries = [
        ("Time of a step over NegGrad+", cpu, "≤ 2.5×", at_most(2.5, "time_ratio")),
        ("Peak memory of a step over NegGrad+", cpu, "≤ 1.6×", at_most(1.6, "memory_ratio")),
        ("Time of vmap + QR per tensor over ours", cpu, "≥ 4×", at_least(4, VMAP_TENSOR, "seconds")),
        ("Memory of vmap + QR per tensor over ours", cpu, "≥ 2×", at_least(2, VMAP_TENSOR, "peak_bytes")),
        ("Time of vmap + QR per tensor over ours", growing, "kept as k grows", kept(VMAP_TENSOR)),
        ("Time of vmap + QR over ours", growing, "kept as k grows", kept(VMAP_GLOBAL)),
        ("Time of a step over NegGrad+", gpu, "≤ 2×", at_most(2, "time_ratio")),
        (
            "Time of vmap + QR over ours",
            large,
            "≥ 10×, or it runs out of memory",
            at_least(10, VMAP_GLOBAL, "seconds", 512),
        ),
    ]
    rows = []
    for bar, where, required, measure in entries:
        if not where.endswith(device.replace("cuda", "gpu").upper()):
            measured, state = f"measured on: {device}", NOT_TESTABLE
        else:
            try:
                measured, holds = measure()
                state = MET if holds else MISSED
            except _NoValueError as missing:
                measured, state = missing.measured, missing.state
        rows.append({"bar": bar, "where": where, "required": required, "measured": measured, "state": state})
    return pd.DataFrame(rows)
