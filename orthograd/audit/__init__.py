"""What can be checked of a run from what it wrote: splits, what each step read, budgets, seeds, versions, checksums.

Every check compares files with each other, above all the digests of what was really loaded (`orthograd.reads`) with the
content hashes in the splits. It says what it was read from, and where the files do not hold what it needs, it is "not
checked": a check never passes for want of evidence.
"""

from __future__ import annotations

from orthograd.audit import conditions, images, shadows, speech
from orthograd.audit.checks import Check, Record, Status, failed
from orthograd.audit.conditions import Making, commits, machines
from orthograd.audit.images import Evidence, Raw, Search, SplitFile
from orthograd.audit.shadows import Scored, Shadows, shadow_runs
from orthograd.audit.speech import Speech, read_speech

__all__ = [
    "Check",
    "Evidence",
    "Making",
    "Raw",
    "Record",
    "Scored",
    "Search",
    "Shadows",
    "Speech",
    "SplitFile",
    "Status",
    "audit",
    "commits",
    "failed",
    "machines",
    "makings",
    "read_speech",
    "shadow_runs",
]


def makings(
    evidence: Evidence, shadowed: Shadows | None = None, spoken: Speech | None = None
) -> list[Making]:
    """Every step that ran."""
    return [
        *images.makings(evidence.runs),
        *(images.makings(shadowed.models.runs, "scoring of shadow models") if shadowed else []),
        *(speech.makings(spoken) if spoken else []),
    ]


def audit(evidence: Evidence, shadowed: Shadows | None = None, spoken: Speech | None = None) -> list[Check]:
    """Every check, in the order of the page; of shadow models and of speech where the profile has them."""
    ran = makings(evidence, shadowed, spoken)
    return [
        *(check(evidence) for check in images.CHECKS),
        *(check(shadowed) for check in shadows.CHECKS if shadowed is not None),
        *(check(spoken) for check in speech.CHECKS if spoken is not None),
        *(check(ran) for check in conditions.CHECKS),
    ]
