"""The tests of the claims on speech. A speaker is the unit: differences are taken speaker by speaker."""

from __future__ import annotations

from collections.abc import Sequence

from orthograd.reporting.experiment import ORIGINAL, ORTHOGRAD
from orthograd.reporting.findings import Difference, Finding, joined, sample_text
from orthograd.reporting.speech.comparison import at_level
from orthograd.reporting.speech.data import GROUPS, HELD_OUT, RETAIN_SPEAKERS, TEST, SpeechData
from orthograd.reporting.statistics import interval
from orthograd.reporting.text import estimate, number
from orthograd.speech.specs import Setting

KEPT = 2.0
"""Percentage points: the word error rate of others is kept if it rises by less."""


def place_text(data: SpeechData, setting: Setting) -> str:
    """Where, and on what, a number was found."""
    beside = "; ".join(data.experiment.substitutions)
    return f"{data.experiment.id}, {setting}{f' ({beside})' if beside else ''}"


def unlearns_a_speaker(studies: Sequence[SpeechData]) -> Finding:
    """Whether OrthoGrad reaches its target, forgets the voice, and keeps the others."""
    texts: list[str] = []
    outcomes: list[bool | None] = []
    for data in studies:
        for setting in data.experiment.settings:
            good, text = _unlearns(data, setting)
            outcomes.append(good)
            texts.append(f"{place_text(data, setting)}: {text}")
    if not texts:
        return Finding(
            "not testable here", "This report holds no word error rates; run the speech experiment T-ASR."
        )
    return Finding(joined(outcomes), " ".join(texts))


def _unlearns(data: SpeechData, setting: Setting) -> tuple[bool | None, str]:
    rises = {
        group: 100 * (data.rate(setting, ORTHOGRAD, group) - data.rate(setting, ORIGINAL, group))
        for group in (HELD_OUT, TEST, RETAIN_SPEAKERS)
    }
    forgot = Difference(
        "rise of the word error rate on the speaker's held-out utterances", rises[HELD_OUT], "speaker"
    )
    kept = {group: Difference("", KEPT - rises[group], "speaker") for group in (TEST, RETAIN_SPEAKERS)}
    reached = data.reached(setting, ORTHOGRAD)
    parts = [f"target reached in {reached.sentence if reached else 'no run'}", forgot.text]
    parts += [
        f"rise on {GROUPS[group][0].lower()} {estimate(interval(rises[group]), 1, 2)} points (below "
        f"{number(KEPT, 0)} in {int((difference.values > 0).sum())} of {len(difference.values)})"
        for group, difference in kept.items()
    ]
    arrived = reached is not None and reached.reached == reached.runs
    good: bool | None = arrived and forgot.holds and all(difference.holds for difference in kept.values())
    if reached is not None and arrived and reached.at_start and all(found.holds for found in kept.values()):
        # The speaker's rise is 0 there by construction. That of others speaks against the claim all the same.
        good = None
        parts.append("not testable, as there was nothing to forget in some runs")
    return good, f"{'; '.join(parts)}. {sample_text(data.n(setting), 'speaker')}"


def per_sample_over_mean(data: SpeechData, setting: Setting, mean: str) -> tuple[bool | None, str]:
    """Whether per-sample projection keeps more of the test speakers than that off the mean, and varies less.

    At the highest level of forgetting to which both come in every run, or else at each run's target; None where there
    is none, or one speaker.
    """
    where = place_text(data, setting)
    for level in (*reversed(data.experiment.levels), None):
        ours, theirs = (at_level(data, setting, method, level) for method in (ORTHOGRAD, mean))
        if not (ours.complete and theirs.complete) or data.n(setting) < 2:
            continue
        at = "each run's target" if level is None else f"a forget one of {number(100 * level, 0)}%"
        better = Difference(
            f"test word error rate of the mean minus per-sample at {at}",
            100 * (theirs.values - ours.values),
            "speaker",
        )
        spreads = [100 * float(found.values.std(ddof=1)) for found in (ours, theirs)]
        text = (
            f"{where}: {better.text}; standard deviation over speakers {number(spreads[0], 2)} against "
            f"{number(spreads[1], 2)} points. {sample_text(data.n(setting), 'speaker')}"
        )
        return better.holds and spreads[0] < spreads[1], text
    return None, f"{where}: no level of forgetting to which both come in every run of two speakers or more."
