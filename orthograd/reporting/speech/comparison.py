"""Comparisons that need more than one model: at equal forgetting, with the retrained model, with the original one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jiwer
import numpy as np
import pandas as pd
from scipy import stats

from orthograd.metrics.equal_forgetting import at_forget_accuracy
from orthograd.reporting.data import ReportError
from orthograd.reporting.experiment import ORIGINAL, RETRAINED
from orthograd.reporting.speech.data import RETAIN_SPEAKERS, TEST, SpeechData
from orthograd.reporting.speech.experiment import FINE_TUNED
from orthograd.reporting.text import ABSENT
from orthograd.speech.scores import normalise
from orthograd.speech.specs import Setting

CURVE = ("wer_forget_validation", "wer_test")
"""Columns of the trajectories: forgetting, and what is kept."""


def curves(data: SpeechData, setting: Setting, method: str) -> pd.DataFrame:
    """The checks of a method at which both word error rates were measured."""
    rows = data.trajectories
    chosen = rows[(rows["setting"] == setting) & (rows["method"] == method)]
    return chosen.dropna(subset=list(CURVE)).sort_values(["speaker", "seed", "step"])


@dataclass(frozen=True)
class AtLevel:
    """Test word error rates at one level of that of the forgotten speaker.

    Attributes:
        values: one a speaker (index), the mean over its seeds; NaN where a seed has none.
        reached: runs that came to the level.
        crossed: those of them that did so between two checks of which none is the original model.
        runs: all runs.
        already: runs that start there, since their original model is.
    """

    values: pd.Series
    reached: int
    crossed: int
    runs: int
    already: int

    @property
    def complete(self) -> bool:
        """Whether every run has a value."""
        return self.crossed == self.runs

    @property
    def obstacle(self) -> str:
        """Why the level cannot be compared; empty where it can."""
        if self.complete:
            return ""
        if self.reached < self.runs:
            return f"not reached ({self.reached}/{self.runs})"
        if self.already:
            return f"already ({self.already}/{self.runs})"
        return f"at once ({self.runs - self.crossed}/{self.runs})"


def at_level(data: SpeechData, setting: Setting, method: str, level: float | None) -> AtLevel:
    """Interpolated between the two checks between which the forget word error rate passes the level first.

    Args:
        data: of the experiment.
        setting: of the runs.
        method: that made them.
        level: a fraction; None: each run's own target.
    """
    runs = data.runs_of(setting, method)
    targets = dict(zip(zip(runs["speaker"], runs["seed"], strict=True), runs["target"], strict=True))
    found: dict[str, list[float]] = {speaker: [] for speaker in data.forgotten(setting)}
    reached = already = 0
    for (speaker, seed), rows in curves(data, setting, method).groupby(["speaker", "seed"]):
        forget, test = (rows[column] for column in CURVE)
        to_reach = targets[speaker, seed] if level is None else level
        reached += bool((forget >= to_reach).any())
        already += bool(forget.iloc[0] >= to_reach)
        # Accuracies fall to a target as error rates rise to a level.
        kept = at_forget_accuracy((1 - forget).tolist(), (1 - test).tolist(), 1 - to_reach)
        found[str(speaker)].append(math.nan if kept is None else 1 - kept)
    seeds = len(runs) // max(1, len(found))
    values = pd.Series(
        {
            speaker: float(np.mean(of_seeds)) if len(of_seeds) == seeds else math.nan
            for speaker, of_seeds in found.items()
        }
    )
    crossed = sum(not math.isnan(value) for of_seeds in found.values() for value in of_seeds)
    return AtLevel(values, reached, crossed, len(runs), already)


def distance_to_retrained(data: SpeechData, method: str, group: str) -> pd.Series:
    """|WER − the retrained model's| of each speaker, a fraction."""
    return (data.rate(FINE_TUNED, method, group) - data.rate(FINE_TUNED, RETRAINED, group)).abs()


def disagreement(data: SpeechData, method: str, sets: tuple[str, ...]) -> pd.DataFrame:
    """How far a model's transcripts are from the retrained model's, one row a speaker.

    Returns:
        Columns `errors` and `words`: words of the retrained model's transcripts, and what has to be substituted,
        deleted or inserted to come to this model's.
    """
    rows = {}
    for speaker in data.forgotten(FINE_TUNED):
        ours, theirs = (
            data.transcripts(FINE_TUNED, name, speaker, sets).set_index(["seed", "set", "id"])["hypothesis"]
            for name in (method, RETRAINED)
        )
        errors = words = 0
        for reference, hypothesis in zip(theirs, ours.loc[theirs.index], strict=True):
            counts = _differences(normalise(reference), normalise(hypothesis))
            errors, words = errors + counts[0], words + counts[1]
        rows[speaker] = {"errors": errors, "words": words}
    return pd.DataFrame.from_dict(rows, orient="index")


def _differences(reference: str, hypothesis: str) -> tuple[int, int]:
    """Wrong words, and words of the reference, which may have none."""
    if not reference:
        return len(hypothesis.split()), 0
    found = jiwer.process_words(reference, hypothesis)
    said = found.hits + found.substitutions + found.deletions
    return found.substitutions + found.deletions + found.insertions, said


def damage(data: SpeechData, setting: Setting, method: str) -> pd.DataFrame:
    """What forgetting one speaker does to every other: columns speaker, other, similarity, damage.

    The damage is the other speaker's word error rate (retain and test speakers, fractions) minus the original model's.

    Raises:
        ReportError: it is not known how alike two speakers are.
    """
    rises = []
    for speaker in data.forgotten(setting):
        before, after = (
            _by_utterance_speaker(data.transcripts(setting, name, speaker, (RETAIN_SPEAKERS, TEST)))
            for name in (ORIGINAL, method)
        )
        rises.append(
            (after - before).rename("damage").rename_axis("other").reset_index().assign(speaker=speaker)
        )
    pairs = pd.concat(rises, ignore_index=True)
    found = pairs.merge(data.similarity, on=["speaker", "other"], how="left", validate="one_to_one")
    unknown = found[found["similarity"].isna()]
    if len(unknown):
        raise ReportError(
            f"similarity.csv does not say how alike speakers {unknown['speaker'].iloc[0]} and "
            f"{unknown['other'].iloc[0]} are, nor {len(unknown) - 1} other pairs; collect the results again"
        )
    return found


def _by_utterance_speaker(rows: pd.DataFrame) -> pd.Series:
    counts = rows.groupby("utterance_speaker")[["substitutions", "deletions", "insertions", "words"]].sum()
    rates: pd.Series = counts[["substitutions", "deletions", "insertions"]].sum(axis=1) / counts["words"]
    return rates


def likeness(pairs: pd.DataFrame) -> float:
    """Spearman's rank correlation of damage and similarity over pairs of speakers; NaN where one does not vary."""
    if len(pairs) < 3 or pairs["damage"].nunique() < 2 or pairs["similarity"].nunique() < 2:
        return math.nan
    return float(stats.spearmanr(pairs["similarity"], pairs["damage"]).statistic)


def best_baselines(data: SpeechData, setting: Setting, count: int) -> list[str]:
    """The baselines with most runs at their target, and among those the lowest test word error rate."""

    def place(method: str) -> tuple[int, float]:
        reached = data.reached(setting, method)
        return -(reached[0] if reached else 0), float(data.rate(setting, method, TEST).mean())

    return sorted(data.experiment.baselines(setting), key=place)[:count]


def reached_text(data: SpeechData, setting: Setting, method: str) -> str:
    """'k/n' runs at their target, and how many of the k took no step; '–' for a model that has none."""
    found = data.reached(setting, method)
    if found is None:
        return ABSENT
    return f"{found.reached}/{found.runs}" + (f" ({found.at_start} at start)" if found.at_start else "")
