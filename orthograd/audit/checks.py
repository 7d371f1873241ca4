"""What a check of the audit is, and how it is decided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Status = Literal["passed", "failed", "not checked"]
Record = Mapping[str, Any]

SHOWN = 3
"""Problems that a reason names; the rest is counted."""


@dataclass(frozen=True)
class Check:
    """One check of the audit.

    Attributes:
        id: a short name.
        claim: what holds where it passes.
        status: how it came out.
        reason: why, with counts; for a failed check the first problems.
        files: what it was read from.
    """

    id: str
    claim: str
    status: Status
    reason: str
    files: tuple[str, ...]


def failed(checks: Iterable[Check]) -> list[Check]:
    """Those that failed."""
    return [check for check in checks if check.status == "failed"]


def decide(
    name: str,
    claim: str,
    problems: Sequence[str],
    passed: str,
    files: Iterable[str],
    missing: str | None = None,
) -> Check:
    """Failed with the first problems; else not checked for want of evidence; else passed."""
    unique = tuple(dict.fromkeys(files))
    if problems:
        return Check(name, claim, "failed", _first(problems), unique)
    if missing is not None:
        return Check(name, claim, "not checked", missing, unique)
    return Check(name, claim, "passed", passed, unique)


def _first(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return "; ".join(problems[:SHOWN]) + more


def also(check: Check, problems: Sequence[str]) -> Check:
    """A check that fails for these problems too."""
    if not problems:
        return check
    found = [check.reason] if check.status == "failed" else []
    return replace(check, status="failed", reason=_first([*found, *problems]))


def no_runs(runs: Sequence[object], what: str) -> str | None:
    """What is missing where there are no runs."""
    return None if runs else f"there is no {what} in the results"


def differing(
    runs: Sequence[Record],
    keys: tuple[str, ...],
    value: Callable[[Record], Any],
    what: str,
) -> list[str]:
    """Groups of runs in which a value is not the same for all; None is left out."""
    groups: dict[tuple[Any, ...], dict[str, str]] = defaultdict(dict)
    for run in runs:
        found = value(run)
        if found is not None:
            groups[tuple(run["run"].get(key) for key in keys)].setdefault(str(found), run["run"]["method"])
    return [
        f"{' '.join(str(part) for part in group if part is not None) or 'all runs'}: {len(values)} values of {what}, "
        f"for example of {' and '.join(list(values.values())[:2])}"
        for group, values in groups.items()
        if len(values) > 1
    ]


def stop_rule(run: Record) -> dict[str, Any]:
    """When a run stops: how far a curve is drawn behind the target, and how often its points are, is no part of it."""
    stopping: Mapping[str, Any] = run["made_with"]["spec"]["stopping"]
    return {key: value for key, value in stopping.items() if key not in ("curve_steps", "record_every")}
