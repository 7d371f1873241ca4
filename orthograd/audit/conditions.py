"""The conditions under which everything was made: machine and versions, commit, code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from orthograd.audit.checks import Check, Record, decide, no_runs


@dataclass(frozen=True)
class Making:
    """That a step ran.

    Attributes:
        file: where it is noted.
        step: what ran.
        record: what it noted: `code`, `commit`, and, where it made a model, `machine`.
    """

    file: str
    step: str
    record: Record


def machines(makings: Sequence[Making]) -> dict[str, list[str]]:
    """Machine and versions, each with every value that occurs."""
    values: dict[str, list[str]] = defaultdict(list)
    for making in makings:
        for key, value in making.record.get("machine", {}).items():
            if str(value) not in values[key]:
                values[key].append(str(value))
    return dict(values)


def commits(makings: Sequence[Making]) -> list[str]:
    """Every commit that occurs."""
    return sorted({making.record["commit"] for making in makings})


def _files(makings: Sequence[Making]) -> list[str]:
    return [making.file for making in makings]


def one_machine(makings: Sequence[Making]) -> Check:
    """One machine and one set of versions."""
    made = [making for making in makings if "machine" in making.record]
    problems = [f"{key}: {', '.join(found)}" for key, found in machines(made).items() if len(found) > 1]
    return decide(
        "machine and versions",
        "All models were made on one machine, with one version of each package.",
        problems,
        f"{len(made)} runs",
        _files(made),
        no_runs(made, "run"),
    )


def one_commit(makings: Sequence[Making]) -> Check:
    """Commits without changes; that what ran is the same at each of them is the check of the steps' code."""
    found = commits(makings)
    problems = []
    if len(found) > 1 and "unknown" in found:
        problems.append(
            f"some runs were made outside of git, others at {', '.join(sorted(set(found) - {'unknown'}))}"
        )
    changed = [commit for commit in found if commit.endswith("+changes")]
    if changed:
        problems.append(f"uncommitted changes at {', '.join(changed)}: nobody else can check out what ran")
    return decide(
        "commit",
        "Everything was made from commits, without uncommitted changes. Runs that a later commit does not concern are "
        "not made again: that no step's code differs is the check below.",
        problems,
        ", ".join(found),
        _files(makings),
        "made outside of git" if found == ["unknown"] else no_runs(found, "run"),
    )


def one_code(makings: Sequence[Making]) -> Check:
    """One version of the code that each step runs."""
    values: dict[str, set[str]] = defaultdict(set)
    for making in makings:
        values[making.step].add(making.record["code"])
    problems = [f"{step}: {len(found)} versions" for step, found in values.items() if len(found) > 1]
    return decide(
        "code of the steps",
        "Each step ran one version of its code (a hash of the modules that it imports), for all runs.",
        problems,
        f"{len(values)} steps",
        _files(makings),
        no_runs(makings, "run"),
    )


CHECKS = (one_machine, one_commit, one_code)
