"""Which utterance is what, for each speaker that is forgotten.

Of a forgettable speaker a tenth is held out (`forget_heldout`), another one for each speaker and seed; the rest is
unlearned: `forget_validation`, which says when to stop, and `forget_train`. `retain` are utterances of the retain
speakers, `train` what fine-tuning sees beside: more of theirs, and what is unlearned of the other forgettable
speakers. `retain_speakers` are utterances of the retain speakers that no model was trained on, as are those of
`validation` and `test`, which are other speakers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from orthograd.randomness import stream
from orthograd.speech.corpus import CorpusError
from orthograd.speech.specs import FOLDS, Roles, SetSizes

COLUMNS = ["seed", "fold", "speaker", "id", "utterance_speaker", "set"]
# What is unlearned, and all of the speaker's.
UNLEARNED_SETS = ("forget_train", "forget_validation")
FORGET_SETS = (*UNLEARNED_SETS, "forget_heldout")
# What the transcripts of a model are scored on, in the order of the tables.
SCORED_SETS = (*FORGET_SETS, "retain", "retain_speakers", "validation", "test")
# What fine-tuning sees without a speaker; with the speaker also what is unlearned.
RETRAINING_SETS = ("retain", "train")


def split(utterances: pd.DataFrame, roles: Roles, sizes: SetSizes, seeds: Sequence[int]) -> pd.DataFrame:
    """One row for each utterance that has a set, seed by seed and speaker by speaker, see `COLUMNS`.

    Args:
        utterances: `speaker` and `id`, as `orthograd.speech.corpus.Corpus` has them.
        roles: the speakers.
        sizes: utterances in each set.
        seeds: of the folds.

    Raises:
        CorpusError: a speaker has not enough utterances.
    """
    known = {str(speaker): rows["id"].tolist() for speaker, rows in utterances.groupby("speaker")}

    def take(speaker: str, count: int) -> list[str]:
        found = known.get(speaker, [])
        if len(found) < count:
            raise CorpusError(
                f"speaker {speaker} has {len(found)} utterances, but {count} are asked for: lower speech.sizes, or "
                "choose another speaker"
            )
        return found[:count]

    rows = []
    for seed in seeds:
        folded = {
            speaker: _fold(take(speaker, sizes.forget), speaker, (place + seed) % FOLDS, seed, sizes)
            for place, speaker in enumerate(roles.forgettable)
        }
        others: list[tuple[str, str, str]] = []  # utterance, its speaker, its set
        for speaker in roles.retain:
            found = take(speaker, sizes.train + sizes.retain_speakers)
            names = ["retain"] * sizes.retain + ["train"] * (sizes.train - sizes.retain)
            names += ["retain_speakers"] * sizes.retain_speakers
            others += zip(found, [speaker] * len(found), names, strict=True)
        for name, speakers, count in (
            ("validation", roles.validation, sizes.validation),
            ("test", roles.test, sizes.test),
        ):
            others += [(found, speaker, name) for speaker in speakers for found in take(speaker, count)]
        for place, speaker in enumerate(roles.forgettable):
            own = [(found, speaker, name) for name in FORGET_SETS for found in folded[speaker][name]]
            seen = [
                (found, other, "train")
                for other in roles.forgettable
                if other != speaker
                for name in UNLEARNED_SETS
                for found in folded[other][name]
            ]
            rows += [(seed, (place + seed) % FOLDS, speaker, *row) for row in (*own, *others, *seen)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _fold(found: list[str], speaker: str, fold: int, seed: int, sizes: SetSizes) -> dict[str, list[str]]:
    """The forget sets of a speaker. The folds are the same for every seed, which says which of them is held out."""
    shuffled = np.random.default_rng(stream(0, "folds", speaker)).permutation(sorted(found)).tolist()
    size = sizes.forget // FOLDS
    held_out = shuffled[fold * size : (fold + 1) * size]
    rest = [name for name in shuffled if name not in held_out]
    rest = np.random.default_rng(stream(seed, "forget validation", speaker)).permutation(rest).tolist()
    count = sizes.forget_validation
    sets = (rest[count:], rest[:count], held_out)
    return {name: sorted(names) for name, names in zip(FORGET_SETS, sets, strict=True)}
