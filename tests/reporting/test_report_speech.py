"""The speech report's numbers against figures worked out by hand or by enumeration."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from speech_study import LEVELS, SPEAKERS, make_data, make_experiment, make_frames, write_frames

from orthograd.reporting.data import ReportError
from orthograd.reporting.speech import comparison, membership
from orthograd.reporting.speech.data import SpeechData
from orthograd.reporting.speech.figures import FIGURES, figure_caption, speaker_styles
from orthograd.reporting.speech.section import verdict
from orthograd.reporting.speech.statistics import (
    Spread,
    over_speakers,
    pooled,
    significance_text,
    spread_text,
)
from orthograd.reporting.speech.tables import TABLES, all_tables, transcribers, transcripts, wer_table

FINE_TUNED = "fine-tuned"
SHOWN = [f"{speaker}-for{place:02d}" for speaker in SPEAKERS for place in range(2)]


@pytest.fixture(scope="module")
def data() -> SpeechData:
    return make_data()


@pytest.fixture(scope="module")
def tables(data):
    return all_tables(data, SHOWN)


def _study(frames, **changes):
    return SpeechData.of_frames(make_experiment(**changes), *frames)


def _row(table, label, place=0):
    found = [row for row in table.rows if row[0].text == label]
    return [cell.text for cell in found[place]]


def _plant(utterances, method, group, errors, speaker=None):
    """Set the errors of a method's transcripts of a set: so many substituted words in each utterance of 10 words."""
    rows = (utterances["method"] == method) & (utterances["set"] == group)
    if speaker is not None:
        rows &= utterances["speaker"] == speaker
    utterances.loc[rows, ["words", "substitutions", "deletions", "insertions"]] = [10, errors, 0, 0]


# Statistics


def _quantiles_of_all_resamples(errors, words):
    """The 2.5% and 97.5% quantiles of the rate over all n ** n resamples of clusters."""
    chosen = [list(draw) for draw in itertools.product(range(len(errors)), repeat=len(errors))]
    rates = sorted(errors[draw].sum() / words[draw].sum() for draw in chosen)
    return np.quantile(rates, [0.025, 0.975], method="inverted_cdf")


def test_bootstrap_of_three_clusters_against_all_27_resamples():
    errors, words = np.array([3.0, 10.0, 40.0]), np.array([30.0, 20.0, 100.0])
    found = pooled(errors, words)
    assert found.value == pytest.approx(53 / 150, rel=1e-12)
    # By hand: of 27 resamples one is all first speakers (0.1) and one all second ones (0.5); each has weight 1/27,
    # which is more than 2.5%, so that the interval ends there.
    assert (found.low, found.high) == pytest.approx((0.1, 0.5), rel=1e-12)
    assert _quantiles_of_all_resamples(errors, words) == pytest.approx([0.1, 0.5], rel=1e-12)
    # A pooled rate is not the mean of the rates, 0.1, 0.5 and 0.4.
    assert over_speakers(errors / words).value == pytest.approx(1 / 3, rel=1e-12)
    assert found.deviation == pytest.approx(np.std([0.1, 0.5, 0.4], ddof=1), rel=1e-12)


def test_bootstrap_of_more_clusters_against_enumeration():
    rng = np.random.default_rng(5)
    errors, words = rng.integers(1, 30, 6).astype(float), rng.integers(40, 90, 6).astype(float)
    low, high = _quantiles_of_all_resamples(errors, words)  # 46,656 resamples
    found = pooled(errors, words)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.006)
    assert pooled(errors, words) == found  # a fixed seed


def test_one_speaker_has_no_spread_and_a_missing_value_is_not_dropped():
    one = over_speakers([0.25])
    assert (one.value, one.n) == (0.25, 1)
    assert math.isnan(one.deviation)
    assert math.isnan(one.low)
    assert spread_text(one, 100, 1) == "25.0"
    assert math.isnan(over_speakers([0.1, math.nan]).value)
    assert spread_text(over_speakers([0.1, math.nan]), 100, 1) == "–"
    with pytest.raises(ReportError, match="at least one speaker"):
        over_speakers([])


def test_spread_as_text():
    assert spread_text(Spread(0.123, 0.05, 0.1, 0.2, 4), 100, 1) == "12.3 ± 5.0 [10.0, 20.0]"


@pytest.mark.parametrize(("n", "claims"), [(1, False), (4, False), (5, True)])
def test_few_speakers_claim_no_significance(n, claims):
    assert ("no significance is claimed" in significance_text(n)) is not claims


# Rates


def test_word_error_rates_by_hand():
    frames = make_frames(speakers=["anna", "bert"], settings=("pretrained",))
    utterances = frames[0]
    for speaker, errors in (("anna", (1, 2, 4)), ("bert", (0, 3, 9))):
        for group, wrong in zip(("forget_train", "forget_validation", "forget_heldout"), errors, strict=True):
            _plant(utterances, "ft", group, wrong, speaker)
    study = _study(frames, settings=["pretrained"])
    # 6, 2 and 3 utterances of 10 words: (6·1 + 2·2 + 3·4) / 110 and (0 + 6 + 27) / 110.
    assert study.rate("pretrained", "ft", "forget").to_dict() == pytest.approx(
        {"anna": 22 / 110, "bert": 33 / 110}
    )
    assert study.rate("pretrained", "ft", "forget_heldout").to_dict() == pytest.approx(
        {"anna": 0.4, "bert": 0.9}
    )
    table = TABLES["wer"](study, "pretrained")
    assert (
        "on average: 60 (forgotten, unlearned), 30 (forgotten, held out), 110 (forgotten, all)"
        in table.caption.notes
    )
    # Mean 25, standard deviation √50 ≈ 7.07; two speakers: a quarter of the resamples is twice the first.
    assert _row(table, "FT")[3] == "25.0 ± 7.1 [20.0, 30.0]"
    assert _row(table, "FT")[-1] == "0/2"
    assert _row(table, "Original")[-1] == "–"
    assert "Retrained" not in [row[0].text for row in table.rows]
    raw = table.frame.set_index("method").loc["ft"]
    assert raw["forget_mean"] == pytest.approx(0.25)
    assert (raw["n"], raw["target_reached"], raw["runs"]) == (2, 0, 2)


def test_seeds_of_a_speaker_are_pooled():
    frames = make_frames(speakers=["anna", "bert"], settings=("pretrained",), seeds=(0, 1))
    utterances = frames[0]
    _plant(utterances, "ft", "test", 2)
    utterances.loc[
        (utterances["method"] == "ft") & (utterances["set"] == "test") & (utterances["seed"] == 1),
        "substitutions",
    ] = 6
    study = _study(frames, settings=["pretrained"])
    assert study.rate("pretrained", "ft", "test").tolist() == pytest.approx([0.4, 0.4])
    assert study.reached("pretrained", "ft") == (0, 4, 0)
    assert over_speakers(study.rate("pretrained", "ft", "test")).n == 2


def test_a_target_that_the_original_model_has_is_told_apart():
    frames = make_frames(speakers=["anna", "bert"], settings=("pretrained",))
    runs = frames[1]
    chosen = (runs["method"] == "orthograd") & (runs["setting"] == "pretrained")
    runs.loc[chosen, "target_reached"] = True
    runs.loc[chosen & (runs["speaker"] == "bert"), "steps"] = 0
    study = _study(frames, settings=["pretrained"])
    assert study.reached("pretrained", "orthograd") == (2, 2, 1)
    assert comparison.reached_text(study, "pretrained", "orthograd") == "2/2 (1 at start)"
    assert "its target in 2 of 2 runs (1 of them before the first step)." in verdict(study, "pretrained")
    table = wer_table(study, "pretrained")
    assert table.frame.set_index("method").at["orthograd", "target_at_start"] == 1


def test_kinds_of_errors_are_of_all_words_together():
    frames = make_frames(speakers=["anna", "bert"], settings=("pretrained",))
    utterances = frames[0]
    rows = (utterances["method"] == "ft") & (utterances["set"] == "forget_heldout")
    utterances.loc[rows, ["substitutions", "deletions", "insertions"]] = [1, 2, 0]
    first = rows & (utterances["speaker"] == "anna") & (utterances["id"] == "anna-for00")
    utterances.loc[first, ["insertions", "hallucinated", "repetitive"]] = [12, True, False]
    table = TABLES["errors"](_study(frames, settings=["pretrained"]), "pretrained")
    # 6 utterances of 10 words: 6 substituted, 12 deleted, 12 inserted of 60; one of 6 hallucinated.
    row = _row(table, "FT")
    assert row[1] == "Forgotten, held out"
    assert row[2].startswith("50.0 [")
    assert row[3:] == ["10.0", "20.0", "20.0", "16.7", "0.0", "60"]


def test_trained_parameters_and_memory_are_shown(tables):
    row = _row(tables["pretrained"]["cost"], "OrthoGrad, LoRA")
    assert row[4] == "600.0"
    assert row[-1] == "300,000"
    assert _row(tables["pretrained"]["cost"], "Original")[1:3] == ["–", "–"]


def test_runs_that_took_no_step_cost_nothing_and_are_left_out():
    frames = make_frames(speakers=["anna", "bert"], settings=("pretrained",))
    runs = frames[1]
    runs.loc[(runs["method"] == "ft") & (runs["speaker"] == "anna"), ["steps", "seconds"]] = 0.0
    runs.loc[(runs["method"] == "ft") & (runs["speaker"] == "bert"), ["steps", "seconds"]] = [6.0, 3.0]
    runs.loc[runs["method"] == "neggrad", "steps"] = 0.0
    table = TABLES["cost"](_study(frames, settings=["pretrained"]), "pretrained")
    assert _row(table, "FT")[1:4] == ["1", "6.0", "3.0"]
    assert _row(table, "NegGrad")[1:4] == ["–", "–", "–"]


def test_what_is_scored_stands_for_its_set(tmp_path):
    frames = make_frames(speakers=["anna"], settings=("pretrained",))
    utterances = frames[0]
    for group, wrong in (("forget_train", 1), ("forget_validation", 2), ("forget_heldout", 4)):
        _plant(utterances, "ft", group, wrong, "anna")
    write_frames(frames, tmp_path)
    # Of 18 utterances of forget_train six are scored.
    splits = pd.read_csv(tmp_path / "splits.csv", dtype=str)
    more = [splits] + [
        splits[splits["set"] == "forget_train"].assign(id=lambda rows, n=n: rows["id"] + f"x{n}")
        for n in (1, 2)
    ]
    pd.concat(more).to_csv(tmp_path / "splits.csv", index=False)
    study = SpeechData.read(tmp_path, make_experiment(settings=["pretrained"]))
    rate = study.rate("pretrained", "ft", "forget")["anna"]
    assert rate == pytest.approx((18 * 1 + 2 * 2 + 3 * 4) / 230)
    assert study.rate("pretrained", "ft", "forget_train")["anna"] == pytest.approx(0.1)


# Equal forgetting


def _path(study_frames, method, forget, test):
    paths = study_frames[2]
    rows = paths["method"] == method
    for column, values in (("wer_forget_validation", forget), ("wer_test", test)):
        paths.loc[rows, column] = np.tile(values, int(rows.sum()) // len(values))


def test_equal_forgetting_by_hand():
    frames = make_frames(speakers=["anna", "bert"], settings=("pretrained",))
    # Past 0.3 between the checks 2 and 3, a quarter of the way: 0.12 + (0.3 − 0.25) / 0.2 · 0.08 = 0.14.
    _path(frames, "ft", [0.1, 0.2, 0.25, 0.45, 0.5, 0.55], [0.1, 0.11, 0.12, 0.2, 0.3, 0.4])
    # At once.
    _path(frames, "neggrad", [0.1, 0.9, 1.5, 2.0, 2.0, 2.0], [0.1, 0.8, 1.2, 1.2, 1.2, 1.2])
    _path(frames, "orthograd_lora", [0.7, 0.9, 1.5, 2.0, 2.0, 2.0], [0.1, 0.8, 1.2, 1.2, 1.2, 1.2])
    study = _study(frames, settings=["pretrained"])
    found = comparison.at_level(study, "pretrained", "ft", 0.3)
    assert found.values.to_dict() == pytest.approx({"anna": 0.14, "bert": 0.14})
    assert found.obstacle == ""
    table = TABLES["equal_forgetting"](study, "pretrained")
    assert table.header == ("Method", "At the target", "Forget WER 30%", "Forget WER 60%")
    # The target, 0.4, is three quarters of the way: 0.12 + 0.75 · 0.08 = 0.18.
    assert _row(table, "FT")[1:] == [
        "18.0 ± 0.0",
        "14.0 ± 0.0",
        "not reached (0/2)",
    ]
    assert _row(table, "NegGrad")[1:] == ["at once (2/2)"] * 3
    assert _row(table, "OrthoGrad, LoRA")[1:] == ["already (2/2)"] * 3


def test_checks_without_a_test_rate_are_passed_over():
    frames = make_frames(speakers=["anna"], settings=("pretrained",))
    _path(frames, "ft", [0.1, 0.2, 0.25, 0.28, 0.45, 0.5], [0.1, 0.11, 0.12, np.nan, 0.2, 0.2])
    found = comparison.at_level(_study(frames, settings=["pretrained"]), "pretrained", "ft", 0.3)
    assert found.values["anna"] == pytest.approx(0.14)


def test_a_run_that_never_gets_there_is_counted():
    frames = make_frames(speakers=["anna", "bert"], settings=("pretrained",))
    paths = frames[2]
    paths.loc[(paths["method"] == "orthograd") & (paths["speaker"] == "bert"), "wer_forget_validation"] = 0.1
    found = comparison.at_level(_study(frames, settings=["pretrained"]), "pretrained", "orthograd", 0.3)
    assert (found.reached, found.crossed, found.runs) == (1, 1, 2)
    assert found.obstacle == "not reached (1/2)"
    assert math.isnan(found.values["bert"])


# The retrained model


def test_distance_to_the_retrained_model_by_hand():
    frames = make_frames(speakers=["anna", "bert"], settings=(FINE_TUNED,))
    utterances = frames[0]
    _plant(utterances, "retrained", "test", 2)
    _plant(utterances, "ft", "test", 5, "anna")
    _plant(utterances, "ft", "test", 1, "bert")
    study = _study(frames, settings=[FINE_TUNED])
    assert comparison.distance_to_retrained(study, "ft", "test").tolist() == pytest.approx([0.3, 0.1])
    assert comparison.distance_to_retrained(study, "retrained", "test").tolist() == [0, 0]


def test_disagreement_counts_words_against_the_retrained_transcript():
    frames = make_frames(speakers=["anna"], settings=(FINE_TUNED,))
    utterances = frames[0]
    rows = utterances["set"] == "forget_heldout"
    of = {name: rows & (utterances["method"] == name) for name in ("retrained", "ft")}
    utterances.loc[of["retrained"], "hypothesis"] = ["a b c d", "a b", ""]
    utterances.loc[of["ft"], "hypothesis"] = ["A x, c", "a b", "p q r"]
    found = comparison.disagreement(_study(frames, settings=[FINE_TUNED]), "ft", ("forget_heldout",))
    # One substituted, one deleted; none; three inserted. Case and punctuation do not count.
    assert found.loc["anna"].to_dict() == {"errors": 5, "words": 6}


def test_the_retrained_model_is_not_compared_with_itself(tables):
    assert [row[0].text for row in tables[FINE_TUNED]["retraining"].rows][:2] == ["Original", "OrthoGrad"]
    assert "retraining" not in tables["pretrained"]
    assert "membership" not in tables["pretrained"]


def test_trajectories_start_with_the_rates_of_the_original_model():
    frames = make_frames(speakers=["anna", "bert"])
    utterances, paths = frames[0], frames[2]
    start = paths["step"] == 0
    paths.loc[start, "wer_test"] = np.nan
    study = _study(frames)
    rows = study.trajectories[study.trajectories["step"] == 0]
    assert len(rows) == int(start.sum()) > 0
    for row in rows.itertuples():
        own = utterances[
            (utterances["setting"] == row.setting) & (utterances["method"] == "original")
            & (utterances["speaker"] == row.speaker) & (utterances["set"] == "test")
        ]  # fmt: skip
        errors = own[["substitutions", "deletions", "insertions"]].to_numpy().sum()
        assert row.wer_test == pytest.approx(errors / own["words"].sum(), rel=1e-12)
    # What was measured stays.
    kept = make_frames(speakers=["anna", "bert"])[2]
    found = _study(make_frames(speakers=["anna", "bert"])).trajectories
    assert found["wer_test"].tolist() == kept["wer_test"].tolist()


# Membership inference


def _losses(utterances, method, members, held_out, test, setting=FINE_TUNED):
    for name, values in (("forget_train", members), ("forget_heldout", held_out), ("test", test)):
        rows = (
            (utterances["setting"] == setting)
            & (utterances["method"] == method)
            & (utterances["set"] == name)
        )
        utterances.loc[rows, "loss"] = np.resize(values, int(rows.sum()))


def _released(utterances, members, held_out, test):
    _losses(utterances, "original", members, held_out, test, setting="pretrained")


def test_membership_by_hand():
    frames = make_frames(speakers=["anna"])
    _released(frames[0], [1.0], [1.0], [1.0])
    # Of 18 pairs the member has the lower loss in 3 · 3 + 3 · 1 of them, and one tie.
    _losses(frames[0], "ft", [0.1, 0.1, 0.1, 0.5, 0.5, 0.6], [0.2, 0.5, 0.9], [0.4])
    study = _study(frames)
    # By hand: 0.1 beats all three (9 of 9); 0.5 against 0.2, 0.5, 0.9: 0 + ½ + 1, twice; 0.6: 0 + 0 + 1. 13 of 18.
    assert membership.of_speakers(study, "ft", "utterances")["anna"] == pytest.approx(13 / 18)
    # Of the held-out ones, which no model was trained on, 0.2 alone is below 0.4.
    assert membership.of_speakers(study, "ft", "speaker")["anna"] == pytest.approx(1 / 3)


def test_how_hard_an_utterance_is_does_not_make_it_a_member():
    frames = make_frames(speakers=["anna"])
    # The test speakers are hard to understand, the more so for a model that has learnt nothing of anybody.
    _losses(frames[0], "ft", [1.0], [1.0], [3.0, 4.0])
    _released(frames[0], [1.5], [1.5], [3.5, 4.5])
    assert membership.of_speakers(_study(frames), "ft", "speaker")["anna"] == 0.5
    # It has learnt the voice a little better than the others.
    _losses(frames[0], "ft", [1.0], [0.9], [3.0, 4.0])
    assert membership.of_speakers(_study(frames), "ft", "speaker")["anna"] == 1.0
    _released(frames[0], [1.5], [1.5], [np.nan])
    with pytest.raises(
        ReportError, match="released model has no finite loss of an utterance of speaker anna"
    ):
        membership.of_speakers(_study(frames), "ft", "speaker")


def test_without_the_released_model_there_is_no_membership():
    assert "membership_fine-tuned" in make_experiment().tables
    assert not any(name.startswith("membership") for name in make_experiment(settings=[FINE_TUNED]).tables)


def _controlled(name, retrained_members):
    frames = make_frames()
    utterances = frames[0]
    _released(utterances, [2.0], [2.0], [2.0])
    rng = np.random.default_rng(2)
    for speaker in SPEAKERS:
        rows = (utterances["method"] == "retrained") & (utterances["speaker"] == speaker)
        utterances.loc[rows, "loss"] = rng.permutation(np.linspace(1, 2, int(rows.sum())))
        members = rows & (utterances["set"] == name)
        utterances.loc[members, "loss"] = np.linspace(*retrained_members, int(members.sum()))
    _losses(utterances, "original", [0.1, 0.2], [0.5, 0.6], [1.0, 0.8])
    return TABLES["membership"](_study(frames), FINE_TUNED)


def test_an_attack_that_passes_its_controls_is_believed():
    table = _controlled("forget_train", (0.5, 2.5))
    assert table.header == ("Method", "Utterances, AUC", "Speaker, AUC")
    assert not any(cell.doubtful for row in table.rows for cell in row)
    assert table.caption.notes.count("passes its controls") == 2


def test_an_attack_off_chance_on_the_retrained_model_is_greyed_with_the_reason():
    table = _controlled("forget_train", (0.1, 0.2))
    assert table.header == ("Method", "Utterances, AUC †", "Speaker, AUC")
    assert all(row[1].doubtful and not row[2].doubtful for row in table.rows)
    table = _controlled("forget_heldout", (0.1, 0.2))
    assert table.header == ("Method", "Utterances, AUC †", "Speaker, AUC †")
    assert all(cell.doubtful for row in table.rows for cell in row[1:])
    assert "is off chance on the retrained model of each speaker: 1.000 [1.000, 1.000]" in table.caption.notes


def test_an_attack_that_catches_some_original_models_alone_misses_them():
    frames = make_frames(speakers=["anna", "bert", "carl"])
    utterances = frames[0]
    _released(utterances, [2.0], [2.0], [2.0])
    # Above chance in all three, but by very different amounts: AUCs of 10/18, 10/18 and 1.
    for speaker, members in (
        ("anna", [0.1] * 3 + [0.9] * 3),
        ("bert", [0.1] * 3 + [0.9] * 3),
        ("carl", [0.1]),
    ):
        own = utterances["speaker"] == speaker
        rows = own & (utterances["method"] == "original") & (utterances["setting"] == FINE_TUNED)
        utterances.loc[rows & (utterances["set"] == "forget_train"), "loss"] = np.resize(members, 6)
        utterances.loc[rows & (utterances["set"] == "forget_heldout"), "loss"] = [0.05, 0.85, 0.95]
    study = _study(frames)
    aucs = membership.of_speakers(study, "original", "utterances")
    assert (aucs > 0.5).all()
    found = membership.controls(study)["utterances"]
    half = 4.302652729911 * aucs.std() / np.sqrt(3)
    assert f"[{aucs.mean() - half:.3f}, {aucs.mean() + half:.3f}] does not exclude chance" in found.reason


def test_a_model_that_diverged_has_no_membership_and_an_original_must():
    frames = make_frames(speakers=["anna"])
    _losses(frames[0], "ft", [1.0], [np.nan], [1.0])
    assert membership.of_speakers(_study(frames), "ft", "speaker").isna().all()
    _losses(frames[0], "original", [1.0], [np.nan], [1.0])
    with pytest.raises(ReportError, match="loss of the original model of speaker anna is not finite"):
        membership.of_speakers(_study(frames), "original", "speaker")


# Likeness of voices


def test_damage_by_hand_and_its_rank_correlation():
    frames = make_frames(speakers=["anna"], settings=("pretrained",))
    utterances, similarity = frames[0], frames[4]
    for place, other in enumerate(("ida", "jon", "lou", "max")):
        rows = utterances["utterance_speaker"] == other
        utterances.loc[rows, ["words", "substitutions", "deletions", "insertions"]] = [10, 1, 0, 0]
        utterances.loc[rows & (utterances["method"] == "ft"), "substitutions"] = 1 + place
        similarity.loc[(similarity["speaker"] == "anna") & (similarity["other"] == other), "similarity"] = (
            0.6 + place / 10
        )
    study = _study(frames, settings=["pretrained"])
    pairs = comparison.damage(study, "pretrained", "ft").set_index("other")
    assert pairs["damage"].to_dict() == pytest.approx({"ida": 0.0, "jon": 0.1, "lou": 0.2, "max": 0.3})
    assert comparison.likeness(pairs) == pytest.approx(1.0)
    row = _row(TABLES["similarity"](study, "pretrained"), "FT")
    assert row == ["FT", "30.0", "10.0", "1.00"]
    flat = pairs.assign(damage=0.0)
    assert math.isnan(comparison.likeness(flat))
    frames = (*frames[:4], similarity[similarity["other"] != "lou"], frames[5])
    with pytest.raises(ReportError, match="how alike speakers anna and lou are"):
        comparison.damage(_study(frames, settings=["pretrained"]), "pretrained", "ft")


# The forms


def test_the_forms_stand_beside_orthograd_speaker_by_speaker():
    frames = make_frames(settings=("pretrained",))
    _plant(frames[0], "orthograd", "test", 1)
    for speaker, errors in zip(SPEAKERS, (0, 2, 6, 8), strict=True):
        _plant(frames[0], "orthograd_mean", "test", errors, speaker)
    table = TABLES["ablation"](_study(frames, settings=["pretrained"]), "pretrained")
    assert [row[0].text for row in table.rows] == ["OrthoGrad", "OrthoGrad, mean", "OrthoGrad, LoRA"]
    assert _row(table, "OrthoGrad")[3:6] == ["10.0 ± 0.0", "–", "–"]
    # −10, 10, 50 and 70 points: mean 30, standard deviation 36.5.
    assert _row(table, "OrthoGrad, mean")[4].startswith("30.0 ± 36.5 [")
    assert _row(table, "OrthoGrad, mean")[5] == "3/4"


def test_an_experiment_of_one_form_has_no_ablation():
    experiment = make_experiment(methods=["orthograd", "ft"])
    assert "ablation" not in experiment.table_names("pretrained")
    assert not any(name.startswith("ablation") for name in experiment.figures)


# Transcripts


def test_transcripts_are_those_of_held_out_utterances(data):
    found = transcripts(data, FINE_TUNED, [*SHOWN, "anna-for05", "nobody-for00"])
    assert [utterance.id for utterance in found] == SHOWN
    assert list(found[0].hypotheses) == transcribers(data, FINE_TUNED)
    assert transcribers(data, FINE_TUNED) == ["original", "retrained", "orthograd", "neggrad", "ft"]
    assert transcribers(data, "pretrained")[0] == "original"
    assert "retrained" not in transcribers(data, "pretrained")


def test_a_transcript_with_line_breaks_is_shown_in_one_line():
    frames = make_frames(settings=("pretrained",))
    utterances = frames[0]
    broken = (utterances["id"] == SHOWN[0]) & (utterances["method"] == "orthograd")
    utterances.loc[broken, "hypothesis"] = "a ship\r\n \nin\rsight "
    table = all_tables(_study(frames, settings=["pretrained"]), SHOWN)["pretrained"]["transcripts"]
    assert table.frame["orthograd"].iloc[0] == "a ship in sight"
    assert "a ship in sight" in table.to_markdown()


def test_the_best_baselines_have_most_runs_at_their_target_and_then_the_lowest_test_rate():
    frames = make_frames(settings=("pretrained",), levels=LEVELS | {"scrub": (0.9, 0.2)})
    study = _study(frames, settings=["pretrained"], methods=["orthograd", "ft", "neggrad", "scrub"])
    assert comparison.best_baselines(study, "pretrained", 2) == ["scrub", "neggrad"]


# Captions and figures


def test_every_table_and_figure_names_what_stands_in_and_how_many_speakers(data, tables):
    captions = [table.caption for of_setting in tables.values() for table in of_setting.values()]
    captions += [
        figure_caption(data, setting, name)
        for setting in data.experiment.settings
        for name in data.experiment.figure_names(setting)
    ]
    for caption in captions:
        assert "synthetic speech in place of LibriSpeech" in caption.text
        assert "Whisper-Tiny.en (English-only) in place of Whisper-Tiny" in caption.text
        assert "n = 4 speakers" in caption.text
    assert "no significance is claimed" in tables["pretrained"]["wer"].caption.notes
    assert (
        "9,999 resamples of whole speakers with their runs, seed 0"
        in tables["pretrained"]["wer"].caption.notes
    )


@pytest.mark.parametrize(
    ("trained", "said"),
    [
        ("decoder", "train the decoder, the encoder is frozen."),
        ("model", "train the whole model, decoder and encoder."),
    ],
)
def test_every_caption_says_what_is_trained(trained, said):
    study = _study(make_frames(), trained=trained)
    captions = [
        table.caption for of_setting in all_tables(study, SHOWN).values() for table in of_setting.values()
    ]
    assert all(said in caption.text for caption in captions)


def test_the_names_of_the_files_are_those_of_the_experiment(data, tables):
    names = [table.name for of_setting in tables.values() for table in of_setting.values()]
    assert names == data.experiment.tables
    assert "wer_pretrained" in names
    assert "transcripts_fine-tuned" in names


@pytest.mark.parametrize("name", list(FIGURES))
def test_figures_are_drawn_twice_with_the_same_bytes(data, name):
    first, again = (FIGURES[name](data, FINE_TUNED) for _ in range(2))
    assert first.svg == again.svg
    assert first.png == again.png
    assert first.name == f"{name}_fine-tuned"


@pytest.mark.parametrize("name", list(FIGURES))
def test_figures_of_one_speaker_and_of_huge_rates(name):
    study = make_data(speakers=["anna"], settings=("pretrained",), levels=LEVELS | {"neggrad": (5.0, 4.0)})
    assert study.rate("pretrained", "neggrad", "forget").iloc[0] > 1.5
    assert FIGURES[name](study, "pretrained").png.startswith(b"\x89PNG")


def test_a_rate_beyond_the_scale_is_drawn_at_its_end_and_the_mean_is_that_of_the_table(monkeypatch):
    from matplotlib.axes import Axes

    frames = make_frames(speakers=["anna", "bert"], settings=("pretrained",))
    for speaker, errors in (("anna", 1), ("bert", 19)):
        _plant(frames[0], "ft", "test", errors, speaker)
    study = _study(frames, settings=["pretrained"], methods=["orthograd", "ft"])
    drawn, plot = [], Axes.plot

    def noted(ax, x, y, **style):
        drawn.append((style.get("marker"), x, y, ax))
        return plot(ax, x, y, **style)

    monkeypatch.setattr(Axes, "plot", noted)
    FIGURES["speakers"](study, "pretrained")
    place = study.experiment.rows("pretrained").index("ft")
    in_row = [(marker, x) for marker, x, y, ax in drawn if ax is drawn[-1][3] and abs(y - place) < 0.5]
    assert [x for marker, x in in_row if marker != "|"] == pytest.approx([10.0, 150.0])
    # (10 + 190) / 2, not (10 + 150) / 2.
    assert [x for marker, x in in_row if marker == "|"] == pytest.approx([100.0])


def test_a_method_without_checks_along_the_way_is_named_with_several_seeds_too():
    frames = make_frames(seeds=(0, 1), settings=("pretrained",))
    paths = frames[2]
    frames = (*frames[:2], paths[(paths["method"] != "ft") | (paths["step"] == 0)], *frames[3:])
    study = _study(frames, settings=["pretrained"])
    assert "Without checks along the way: FT." in figure_caption(study, "pretrained", "curves").notes


def test_no_two_speakers_share_colour_and_marker(data):
    styles = speaker_styles(data)
    assert list(styles) == SPEAKERS
    assert len({(style.colour, str(style.marker)) for style in styles.values()}) == len(SPEAKERS)
    assert len({str(style.marker) for style in styles.values()}) == len(SPEAKERS)


# Reading


def test_read_keeps_texts_as_they_are(tmp_path):
    frames = list(make_frames(speakers=["0012"], settings=("pretrained",)))
    utterances = frames[0]
    utterances["hypothesis"] = utterances["hypothesis"].astype(object)
    utterances.loc[0, "hypothesis"] = ""
    utterances.loc[1, "hypothesis"] = "null"
    utterances.loc[2, "hypothesis"] = "a \r ship"
    write_frames(frames, tmp_path)
    study = SpeechData.read(tmp_path, make_experiment(settings=["pretrained"]))
    assert study.utterances["hypothesis"].iloc[:3].tolist() == ["", "null", "a \r ship"]
    assert study.forgotten("pretrained") == ["0012"]
    assert study.runs["target_reached"].tolist()[0] is pd.NA
    (tmp_path / "similarity.csv").unlink()
    with pytest.raises(ReportError, match=r"similarity\.csv is missing"):
        SpeechData.read(tmp_path, make_experiment(settings=["pretrained"]))


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (0, lambda f: f.drop(columns="loss"), r"utterances: columns \['loss'\] are missing"),
        (0, lambda f: f.replace({"set": {"forget_heldout": "held"}}), r"sets \['held'\]"),
        (0, lambda f: f.assign(words=0), "no words"),
        (0, lambda f: pd.concat([f, f.tail(1)]), "appears twice"),
        (
            0,
            lambda f: f[(f["method"] != "ft") | (f["set"] != "test")],
            r"no transcripts of ft \(pretrained\)",
        ),
        (1, lambda f: f[f["method"] != "ft"], "every run of ft"),
    ],
)
def test_what_does_not_fit_is_refused(place, change, message):
    frames = list(make_frames(speakers=["anna"], settings=("pretrained",)))
    frames[place] = change(frames[place])
    with pytest.raises(ReportError, match=message):
        _study(frames, settings=["pretrained"])


def test_a_setting_without_runs_is_refused():
    with pytest.raises(ReportError, match="no utterance has the setting 'fine-tuned'"):
        _study(make_frames(settings=("pretrained",)), settings=["pretrained", FINE_TUNED])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["ft", "neggrad"]}, "lack 'orthograd'"),
        ({"methods": ["orthograd", "original"]}, "remove it"),
        ({"levels": [0.6, 0.3]}, "ascending"),
        ({"methods": ["orthograd", "ft", "ft"]}, "twice"),
    ],
)
def test_experiments_that_cannot_be_shown(changes, message):
    with pytest.raises(ValueError, match=message):
        make_experiment(**changes)
