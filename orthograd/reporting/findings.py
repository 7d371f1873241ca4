"""How a test of a claim comes out, and the differences that it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from orthograd.reporting.statistics import MIN_SEEDS_FOR_CLAIMS, interval
from orthograd.reporting.text import estimate

Outcome = Literal["supported", "not supported", "not testable here"]
Unit = Literal["seed", "speaker"]


@dataclass(frozen=True)
class Finding:
    """How a test came out, with the numbers in prose."""

    outcome: Outcome
    text: str


@dataclass(frozen=True)
class Difference:
    """Differences unit by unit, turned so that the claim wants them above 0; in percentage points."""

    label: str
    values: pd.Series
    unit: Unit = "seed"

    @property
    def holds(self) -> bool:
        """Whether the difference counts as being on the claim's side, see `claims`."""
        if len(self.values) < MIN_SEEDS_FOR_CLAIMS:
            return bool((self.values > 0).all())
        found = interval(self.values)
        return found.mean > 0 and found.excludes_zero

    @property
    def points(self) -> str:
        """The mean with its interval, and in how many units it has the claim's sign."""
        above = int((self.values > 0).sum())
        return (
            f"{estimate(interval(self.values), 1, 2)} points (above 0 in {above} of "
            f"{counted(len(self.values), self.unit)})"
        )

    @property
    def text(self) -> str:
        """The same behind its label."""
        return f"{self.label} {self.points}"


def counted(n: int, unit: Unit) -> str:
    """'1 seed', '3 speakers'."""
    return f"{n} {unit}{'' if n == 1 else 's'}"


def sample_text(n: int, unit: Unit = "seed") -> str:
    """What n allows to be said."""
    if n < MIN_SEEDS_FOR_CLAIMS:
        return f"n = {counted(n, unit)}: signs and means only, no significance claim."
    return f"n = {counted(n, unit)}; 95% t-intervals, not corrected for the number of comparisons."


def joined(outcomes: list[bool | None]) -> Outcome:
    """Of several parts of a test, True where one holds, None where it could not be made: one that fails decides."""
    if False in outcomes:
        return "not supported"
    return "not testable here" if None in outcomes or not outcomes else "supported"
