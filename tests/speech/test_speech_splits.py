"""Who is what: the sets of each forgotten speaker."""

import pandas as pd
import pytest

from orthograd.speech.corpus import CorpusError
from orthograd.speech.specs import Roles, SetSizes
from orthograd.speech.splits import COLUMNS, RETRAINING_SETS, SCORED_SETS, UNLEARNED_SETS, split

ROLES = Roles(forgettable=["a", "b", "c"], retain=["d", "e"], validation=["f"], test=["g", "h"])
SIZES = SetSizes(
    forget=20, forget_validation=4, train=6, retain=2, retain_speakers=3, validation=4, test=5, scored=4
)
UTTERANCES = pd.DataFrame(
    [(f"{speaker}-{number:02d}", speaker) for speaker in "abcdefghi" for number in range(25)],
    columns=["id", "speaker"],
)


@pytest.fixture(scope="module")
def splits() -> pd.DataFrame:
    return split(UTTERANCES, ROLES, SIZES, [0, 1])


def _ids(splits: pd.DataFrame, seed: int, speaker: str, *sets: str) -> set[str]:
    own = splits[(splits["seed"] == seed) & (splits["speaker"] == speaker)]
    return set(own.loc[own["set"].isin(sets), "id"])


def test_sets_are_disjoint_and_of_the_sizes_asked_for(splits: pd.DataFrame) -> None:
    assert list(splits.columns) == COLUMNS
    for _, own in splits.groupby(["seed", "speaker"]):
        assert own["id"].is_unique
        assert own["set"].value_counts().to_dict() == {
            "forget_train": 14,  # with those of forget_validation nine tenths of 20
            "forget_validation": 4,
            "forget_heldout": 2,
            "retain": 4,
            "train": 2 * 4 + 2 * 18,
            "retain_speakers": 6,
            "validation": 4,
            "test": 10,
        }


def test_speakers_are_where_their_role_puts_them(splits: pd.DataFrame) -> None:
    assert (splits["id"].str[0] == splits["utterance_speaker"]).all()
    roles = ROLES.by_speaker
    for name, role in (
        ("retain", "retain"),
        ("retain_speakers", "retain"),
        ("validation", "validation"),
        ("test", "test"),
    ):
        assert set(splits.loc[splits["set"] == name, "utterance_speaker"].map(roles)) == {role}
    forget = splits[splits["set"].str.startswith("forget")]
    assert (forget["utterance_speaker"] == forget["speaker"]).all()
    assert "i" not in set(splits["utterance_speaker"])


def test_the_held_out_tenth_rotates_over_speakers_and_seeds(splits: pd.DataFrame) -> None:
    folds = splits.groupby(["seed", "speaker"])["fold"].unique().map(list).to_dict()
    assert folds == {(s, x): [s + place] for s in (0, 1) for place, x in enumerate("abc")}
    for speaker in "abc":
        assert not _ids(splits, 0, speaker, "forget_heldout") & _ids(splits, 1, speaker, "forget_heldout")
    every = split(UTTERANCES, ROLES, SIZES, range(10))
    held_out = every[(every["set"] == "forget_heldout") & (every["speaker"] == "a")]
    assert held_out["id"].is_unique
    assert len(held_out) == SIZES.forget


def test_retraining_sees_nothing_of_the_speaker_and_the_original_is_one_model(splits: pd.DataFrame) -> None:
    for seed in (0, 1):
        seen = [_ids(splits, seed, x, *RETRAINING_SETS, *UNLEARNED_SETS) for x in "abc"]
        assert seen[0] == seen[1] == seen[2]
        for speaker in "abc":
            retrained = _ids(splits, seed, speaker, *RETRAINING_SETS)
            assert not any(name.startswith(speaker) for name in retrained)
            assert seen[0] - retrained == _ids(splits, seed, speaker, *UNLEARNED_SETS)
            # What is scored beside the training sets was in no model's training.
            unseen = set(SCORED_SETS) - {*UNLEARNED_SETS, "retain"}
            assert not seen[0] & _ids(splits, seed, speaker, *unseen)


def test_a_speaker_with_too_few_utterances_is_named() -> None:
    few = UTTERANCES[~UTTERANCES["id"].isin([f"g-{number:02d}" for number in range(21)])]
    with pytest.raises(CorpusError, match=r"speaker g has 4 utterances, but 5 are asked for"):
        split(few, ROLES, SIZES, [0])


def test_a_speaker_has_one_role() -> None:
    with pytest.raises(ValueError, match=r"\['a'\] have two roles"):
        Roles(forgettable=["a"], retain=["a"], validation=["b"], test=["c"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"retain": 7}, "more than train = 6"),
        ({"forget_validation": 18}, "all 18 utterances that are unlearned"),
    ],
)
def test_sizes_that_do_not_fit(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SetSizes.model_validate(SIZES.model_dump() | changes)
