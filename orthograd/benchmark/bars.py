"""The project's bars, held against the measured table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from orthograd.benchmark.contenders import FLOOR, OURS, VMAP_GLOBAL, VMAP_TENSOR

MET = "met"
MISSED = "not met"
NOT_TESTABLE = "not testable here"

MODEL = "resnet18"
FAILED = ("out of memory", "over the time limit")

Row = Mapping[str, Any]


def bars(timings: pd.DataFrame, device: str) -> pd.DataFrame:
    """Each bar with its measured value and 'met', 'not met' or 'not testable here'.

    Args:
        timings: the table of `orthograd.benchmark.run.Outcome.row`.
        device: the type of the device that it was measured on.

    Returns:
        Columns: bar, where, required, measured, state.
    """
    cpu, gpu = "ResNet-18, 64 forget + 64 retain, CPU", "ResNet-18, GPU"
    small, on_cpu, on_gpu = (64, 64), device == "cpu", device == "cuda"

    def cell(contender: str, m: int, k: int) -> Row | None:
        found = timings[
            (timings["model"] == MODEL)
            & (timings["contender"] == contender)
            & (timings["m"] == m)
            & (timings["k"] == k)
        ]
        return None if found.empty else {str(key): value for key, value in found.iloc[0].items()}

    def ratio(column: str, bound: float) -> tuple[str, str]:
        ours = cell(OURS, *small)
        if ours is None or ours["status"] != "done":
            return _without(ours)
        value = float(ours[column])
        return f"{value:.2f}×", MET if value <= bound else MISSED

    def against(other: str, column: str, m: int, k: int, holds: Callable[[float], bool]) -> tuple[str, str]:
        """The other contender's value over ours."""
        ours, theirs = cell(OURS, m, k), cell(other, m, k)
        if ours is None or theirs is None or ours["status"] != "done":
            return _without(ours if ours is None or ours["status"] != "done" else theirs)
        if theirs["status"] in FAILED:
            return f"the other is {theirs['status']} ({theirs['reason']})", MET
        if theirs["status"] != "done":
            return _without(theirs)
        value = float(theirs[column]) / float(ours[column])
        return f"{value:.2f}×", MET if holds(value) else MISSED

    def kept(other: str) -> tuple[str, str]:
        start, end = (against(other, "seconds", 64, k, lambda value: value > 0) for k in (64, 256))
        for text, state in (start, end):
            if state == NOT_TESTABLE or not text.endswith("×"):
                return text, state
        before, after = (float(text.removesuffix("×")) for text, _ in (start, end))
        return f"{before:.2f}× at k = 64, {after:.2f}× at k = 256", MET if after >= before else MISSED

    def only(here: bool, measure: Callable[[], tuple[str, str]]) -> tuple[str, str]:
        return measure() if here else (f"measured on: {device}", NOT_TESTABLE)

    rows = [
        ("Time of a step against NegGrad+", cpu, "≤ 2.5×", only(on_cpu, lambda: ratio("time_ratio", 2.5))),
        (
            "Peak memory of a step against NegGrad+",
            cpu,
            "≤ 1.6×",
            only(on_cpu, lambda: ratio("memory_ratio", 1.6)),
        ),
        (
            "Speed against vmap + QR per tensor",
            cpu,
            "≥ 4×",
            only(on_cpu, lambda: against(VMAP_TENSOR, "seconds", *small, lambda value: value >= 4)),
        ),
        (
            "Peak memory of vmap + QR per tensor against ours",
            cpu,
            "> 2×",
            only(on_cpu, lambda: against(VMAP_TENSOR, "peak_bytes", *small, lambda value: value > 2)),
        ),
        *(
            (
                f"Speed against {name}, kept as k grows",
                "ResNet-18, 64 forget, CPU",
                "at k = 256 ≥ at k = 64",
                only(on_cpu, lambda other=other: kept(other)),  # type: ignore[misc]
            )
            for name, other in (("vmap + QR per tensor", VMAP_TENSOR), ("vmap + QR", VMAP_GLOBAL))
        ),
        ("Time of a step against NegGrad+", gpu, "≤ 2×", only(on_gpu, lambda: ratio("time_ratio", 2.0))),
        (
            "Speed against vmap + QR at k = 512",
            gpu,
            "≥ 10×, or it runs out of memory",
            only(on_gpu, lambda: against(VMAP_GLOBAL, "seconds", 64, 512, lambda value: value >= 10)),
        ),
    ]
    return pd.DataFrame(
        [
            {"bar": bar, "where": where, "required": required, "measured": measured, "state": state}
            for bar, where, required, (measured, state) in rows
        ]
    )


def _without(row: Row | None) -> tuple[str, str]:
    return ("not measured" if row is None else f"{row['contender']}: {row['status']}"), NOT_TESTABLE


__all__ = ["FLOOR", "MET", "MISSED", "NOT_TESTABLE", "bars"]
