"""The project's bars, held against the measured table."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orthograd.benchmark.contenders import OURS, VMAP_GLOBAL, VMAP_TENSOR
from orthograd.benchmark.run import DONE, OUT_OF_MEMORY, OVER_TIME

MET = "met"
MISSED = "not met"
NOT_MEASURED = "not measured"

MODEL = "resnet18"
FORGET = 64

_COMPARE: dict[str, Callable[[float, float], bool]] = {"≤": operator.le, "≥": operator.ge, ">": operator.gt}


class _NoValueError(Exception):
    """There is no number: (what the table says instead, the state of the bar)."""

    def __init__(self, measured: str, state: str) -> None:
        super().__init__(measured, state)
        self.measured, self.state = measured, state


class _Table:
    """Look-ups in timings.csv for ResNet-18 and 64 forget samples."""

    def __init__(self, timings: pd.DataFrame) -> None:
        self._rows = timings[(timings["model"] == MODEL) & (timings["m"] == FORGET)]

    def _cell(self, contender: str, k: int) -> dict[str, Any]:
        found = self._rows[(self._rows["contender"] == contender) & (self._rows["k"] == k)]
        if found.empty:
            raise _NoValueError(f"no row for {contender}, k = {k}", NOT_MEASURED)
        row = {str(column): value for column, value in found.iloc[0].items()}
        if row["status"] != DONE:
            state = NOT_MEASURED
            if row["status"] in (OUT_OF_MEMORY, OVER_TIME):
                # That another contender gets nowhere counts for ours; that ours does not is a miss.
                state = MISSED if contender == OURS else MET
            raise _NoValueError(f"{contender}, k = {k}: {row['status']} ({row['reason']})", state)
        return row

    def ours(self, column: str, k: int = 64) -> float:
        return float(self._cell(OURS, k)[column])

    def against(self, other: str, column: str, k: int = 64) -> float:
        """The other contender's value over ours."""
        ours = self.ours(column, k)
        return float(self._cell(other, k)[column]) / ours


@dataclass(frozen=True)
class _Bar:
    """`text` at m = 64 and `k` retain samples on a device: `value` must be `sign` `bound`."""

    text: str
    device: str
    k: int
    sign: str
    bound: float
    value: Callable[[_Table], float]


def _bars() -> list[_Bar]:
    return [
        _Bar("Time of a step over NegGrad+", "cpu", 64, "≤", 2.5, lambda table: table.ours("time_ratio")),
        _Bar("Peak memory over NegGrad+", "cpu", 64, "≤", 1.6, lambda table: table.ours("memory_ratio")),
        _Bar(
            "Time of vmap + QR per tensor over ours",
            "cpu",
            64,
            "≥",
            4,
            lambda table: table.against(VMAP_TENSOR, "seconds"),
        ),
        _Bar(
            "Peak memory of vmap + QR per tensor over ours",
            "cpu",
            64,
            ">",
            2,
            lambda table: table.against(VMAP_TENSOR, "peak_bytes"),
        ),
        _Bar("Time of a step over NegGrad+", "cuda", 64, "≤", 2, lambda table: table.ours("time_ratio")),
        _Bar(
            "Time of vmap + QR over ours, or it runs out of memory",
            "cuda",
            512,
            "≥",
            10,
            lambda table: table.against(VMAP_GLOBAL, "seconds", 512),
        ),
    ]


_KEPT = {
    "Time of vmap + QR per tensor over ours, as k grows": VMAP_TENSOR,
    "Time of vmap + QR over ours, as k grows": VMAP_GLOBAL,
}


def bars(timings: pd.DataFrame, device: str) -> pd.DataFrame:
    """Each bar with its measured value and 'met', 'not met' or 'not measured'.

    Args:
        timings: the table of `orthograd.benchmark.run.Outcome.row`.
        device: the type of the device that it was measured on, "cpu" or "cuda".

    Returns:
        Columns: bar, where, required, measured, state.
    """
    table = _Table(timings)
    rows = []

    def add(text: str, where: str, k: str, required: str, measure: Callable[[], tuple[str, bool]]) -> None:
        if where != device:
            measured = "not measured: no GPU" if where == "cuda" else "not measured: this run is of a GPU"
            state = NOT_MEASURED
        else:
            try:
                measured, holds = measure()
                state = MET if holds else MISSED
            except _NoValueError as missing:
                measured, state = missing.measured, missing.state
        place = f"ResNet-18, m = {FORGET}, k = {k}, {'GPU' if where == 'cuda' else 'CPU'}"
        rows.append({"bar": text, "where": place, "required": required, "measured": measured, "state": state})

    def one(bar: _Bar) -> Callable[[], tuple[str, bool]]:
        def measure() -> tuple[str, bool]:
            value = bar.value(table)
            return f"{value:.2f}×", _COMPARE[bar.sign](value, bar.bound)

        return measure

    def kept(other: str) -> Callable[[], tuple[str, bool]]:
        def measure() -> tuple[str, bool]:
            before, after = (table.against(other, "seconds", k) for k in (64, 256))
            return f"{before:.2f}× at k = 64, {after:.2f}× at k = 256", after >= before

        return measure

    for bar in _bars():
        add(bar.text, bar.device, str(bar.k), f"{bar.sign} {bar.bound:g}×", one(bar))
    for text, other in _KEPT.items():
        add(text, "cpu", "64 and 256", "at k = 256 ≥ at k = 64", kept(other))
    return pd.DataFrame(rows)
