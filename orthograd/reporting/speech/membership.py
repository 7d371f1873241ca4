"""Speaker-level membership inference by the loss of given transcripts, and whether it may be believed.

What is judged is how far the loss lies below that of the released model, which heard none of the utterances: without it
a voice that is easy to understand would look like a member (calibration by difficulty, arXiv:2111.08440). The direction
is fixed beforehand: a larger fall says "member". Nothing is fitted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orthograd.metrics.attacks import estimates
from orthograd.metrics.attacks.estimates import LEVEL, Estimate
from orthograd.metrics.controls import ControlResult, control
from orthograd.reporting.data import ReportError
from orthograd.reporting.experiment import ORIGINAL, RETRAINED
from orthograd.reporting.speech.data import HELD_OUT, TEST, SpeechData
from orthograd.reporting.speech.experiment import FINE_TUNED, PRETRAINED
from orthograd.reporting.statistics import interval


@dataclass(frozen=True)
class Attack:
    """Falls of the loss on one set against those on another.

    Attributes:
        label: as the table heads it.
        words: what is told apart.
        members: set of the forgotten speaker.
        non_members: set whose utterances no model was trained on.
    """

    label: str
    words: str
    members: str
    non_members: str


_UNKNOWN = Estimate(math.nan, math.nan, math.nan, LEVEL)

# The speaker as such is recognised by utterances that no model was trained on: by those that were learned, a model
# that remembers nothing but these would be found to know the speaker.
ATTACKS = {
    "utterances": Attack(
        "Utterances, AUC",
        "the speaker's unlearned utterances from the same speaker's held-out ones",
        "forget_train",
        HELD_OUT,
    ),
    "speaker": Attack(
        "Speaker, AUC",
        "the speaker's held-out utterances, of which only the voice was learned, from those of the test speakers",
        HELD_OUT,
        TEST,
    ),
}


def of_speakers(data: SpeechData, method: str, attack: str) -> pd.Series:
    """The AUC of an attack on each speaker's models, the mean over the seeds.

    NaN where a loss is not finite, or a set of a seed has fewer than two utterances.
    """
    return pd.Series(
        {
            speaker: float(np.mean([found.value for found in _of_seeds(data, method, attack, speaker)]))
            for speaker in data.forgotten(FINE_TUNED)
        }
    )


def controls(data: SpeechData) -> Mapping[str, ControlResult]:
    """Whether each attack catches the original models and scores chance on the retrained ones."""
    verdicts = {}
    for name in ATTACKS:
        original, retrained = (_control(data, method, name) for method in (ORIGINAL, RETRAINED))
        verdicts[name] = (
            ControlResult(name, ("has too few utterances to be controlled",))
            if math.isnan(original.value) or math.isnan(retrained.value)
            else control(name, original, None, {"of each speaker": retrained}, others=0)
        )
    return verdicts


def _control(data: SpeechData, method: str, attack: str) -> Estimate:
    """The success over speakers with its t-interval; of a single speaker with that over its utterances (DeLong).

    Not the bootstrap of the tables: of three speakers it is the smallest and the largest value, which an attack without
    any power passes once in eight times.
    """
    speakers = data.forgotten(FINE_TUNED)
    if len(speakers) == 1:
        return _of_seeds(data, method, attack, speakers[0])[0]
    found = interval(of_speakers(data, method, attack))
    return Estimate(found.mean, found.mean - found.half_width, found.mean + found.half_width, LEVEL)


def _of_seeds(data: SpeechData, method: str, attack: str, speaker: str) -> list[Estimate]:
    members, non_members = ATTACKS[attack].members, ATTACKS[attack].non_members
    sets = [members, non_members]
    judged, released = (
        data.transcripts(setting, model, speaker, sets)[["seed", "set", "id", "loss"]]
        for setting, model in ((FINE_TUNED, method), (PRETRAINED, ORIGINAL))
    )
    rows = judged.merge(
        released, how="left", on=["seed", "set", "id"], suffixes=("", "_released"), validate="one_to_one"
    )
    if not np.isfinite(rows["loss_released"]).all():
        raise ReportError(
            f"the released model has no finite loss of an utterance of speaker {speaker}; transcribe with it again"
        )
    rows["fall"] = rows["loss_released"] - rows["loss"]
    return [_auc(of_seed, members, method, speaker) for _, of_seed in rows.groupby("seed")]


def _auc(rows: pd.DataFrame, set_of_members: str, method: str, speaker: str) -> Estimate:
    member = rows["set"] == set_of_members
    members, non_members = (rows.loc[side, "fall"].to_numpy() for side in (member, ~member))
    if min(len(members), len(non_members)) < 2:
        return _UNKNOWN
    if not np.isfinite(np.concatenate([members, non_members])).all():
        if method in (ORIGINAL, RETRAINED):
            raise ReportError(
                f"a loss of the {method} model of speaker {speaker} is not finite; train it again"
            )
        # A run that diverged.
        return _UNKNOWN
    return estimates.auc(members, non_members)
