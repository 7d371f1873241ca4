"""Claims 2 and 5 on speech, each way, and the ledger's word error rates."""

import numpy as np
import pytest
from report_study import make_experiment as image_experiment
from report_study import make_frames as image_frames
from speech_study import SPEAKERS, SUBSTITUTIONS, make_experiment, make_frames

from orthograd.reporting.claims import CLAIMS, Study
from orthograd.reporting.data import ReportData
from orthograd.reporting.ledger import Cell, Ledger, compare
from orthograd.reporting.speech.data import SpeechData

FIVE = [*SPEAKERS, "eva"]


def _frames(speakers=None):
    """OrthoGrad forgets every speaker, 10% to 50%, and keeps the others, 10% to 11%."""
    frames = make_frames(speakers=SPEAKERS if speakers is None else speakers, settings=("pretrained",))
    for method, forget, other in (("original", 1, 1), ("orthograd", 5, 1)):
        for group, errors in (("forget_heldout", forget), ("test", other), ("retain_speakers", other)):
            _plant(frames, method, group, errors)
    return frames


def _plant(frames, method, group, errors, speaker=None):
    utterances = frames[0]
    rows = (utterances["method"] == method) & (utterances["set"] == group)
    if speaker is not None:
        rows &= utterances["speaker"] == speaker
    utterances.loc[rows, ["words", "substitutions", "deletions", "insertions"]] = [10, errors, 0, 0]


def _study(frames, images=False, **changes) -> Study:
    speech = SpeechData.of_frames(make_experiment(**({"settings": ["pretrained"]} | changes)), *frames)
    experiments = [image_experiment()] if images else []
    pools = {("fashion_mnist", "random_10"): 4500}
    return Study(ReportData.of_frames(*image_frames()), experiments, pools, [speech])


def _decide(number, study):
    return CLAIMS[number - 1].decide(study)


def test_claim_5_supported_when_the_voice_is_forgotten_and_others_are_kept():
    finding = _decide(5, _study(_frames()))
    assert finding.outcome == "supported"
    assert "target reached in 4 of 4 runs" in finding.text
    assert "held-out utterances 40.00 ± 0.00 points (above 0 in 4 of 4 speakers)" in finding.text
    assert "rise on test speakers 0.00 ± 0.00 points (below 2 in 4 of 4)" in finding.text
    assert "n = 4 speakers: signs and means only, no significance claim." in finding.text
    for text in SUBSTITUTIONS:
        assert text in finding.text


@pytest.mark.parametrize(
    ("method", "group", "errors", "speaker"),
    [
        ("orthograd", "forget_heldout", 1, None),  # nothing was forgotten
        ("orthograd", "forget_heldout", 0, "anna"),  # one voice is understood better, n = 4
        ("orthograd", "test", 2, None),  # 10 points more
        ("orthograd", "retain_speakers", 2, "bert"),
    ],
)
def test_claim_5_not_supported(method, group, errors, speaker):
    frames = _frames()
    _plant(frames, method, group, errors, speaker)
    assert _decide(5, _study(frames)).outcome == "not supported"


def test_claim_5_not_supported_when_one_run_misses_its_target():
    frames = _frames()
    runs = frames[1]
    runs.loc[(runs["method"] == "orthograd") & (runs["speaker"] == "dan"), "target_reached"] = False
    finding = _decide(5, _study(frames))
    assert finding.outcome == "not supported"
    assert "target reached in 3 of 4 runs" in finding.text


def test_claim_5_not_testable_where_there_was_nothing_to_forget():
    frames = _frames()
    _plant(frames, "orthograd", "forget_heldout", 1, "bert")
    runs = frames[1]
    runs.loc[(runs["method"] == "orthograd") & (runs["speaker"] == "bert"), "steps"] = 0
    finding = _decide(5, _study(frames))
    assert finding.outcome == "not testable here"
    assert "(1 of them before the first step)" in finding.text
    # What the other speakers lose is no less a refutation.
    _plant(frames, "orthograd", "test", 2)
    assert _decide(5, _study(frames)).outcome == "not supported"


def test_claim_5_with_five_speakers_goes_by_the_interval():
    frames = _frames(FIVE)
    _plant(frames, "orthograd", "forget_heldout", 0, "anna")
    # Rises of −10, 40, 40, 40 and 40 points: 30 ± 27.8.
    finding = _decide(5, _study(frames))
    assert finding.outcome == "supported"
    assert "30.00 ± 27.76 points (above 0 in 4 of 5 speakers)" in finding.text


def test_claim_5_is_decided_in_both_settings():
    frames = make_frames()
    for setting in ("pretrained", "fine-tuned"):
        assert f"T-ASR, {setting} (" in _decide(5, _study(frames, settings=["pretrained", "fine-tuned"])).text


def test_claim_5_without_speech():
    study = Study(ReportData.of_frames(*image_frames()), [image_experiment()], {})
    finding = _decide(5, study)
    assert finding.outcome == "not testable here"
    assert "run the speech experiment T-ASR" in finding.text


def _paths(frames, method, ends):
    """Straight ways from 10% to 50% forget word error rate, in each speaker to another test word error rate."""
    paths = frames[2]
    for speaker, end in ends.items():
        rows = (paths["method"] == method) & (paths["speaker"] == speaker)
        paths.loc[rows, "wer_forget_validation"] = np.linspace(0.1, 0.6, int(rows.sum()))
        paths.loc[rows, "wer_test"] = np.linspace(0.1, end, int(rows.sum()))


def _ablation(ours, theirs):
    frames = _frames()
    _paths(frames, "orthograd", dict(zip(SPEAKERS, ours, strict=True)))
    _paths(frames, "orthograd_mean", dict(zip(SPEAKERS, theirs, strict=True)))
    return frames


def test_claim_2_supported_on_speech():
    finding = _decide(2, _study(_ablation([0.1, 0.1, 0.1, 0.1], [0.2, 0.4, 0.6, 0.8])))
    assert finding.outcome == "supported"
    # At the level of 60%, to which both come: 10, 30, 50 and 70 points; 3.182 · 25.82 / 2 = 41.09.
    assert "at a forget one of 60% 40.00 ± 41.09 points (above 0 in 4 of 4 speakers)" in finding.text
    assert "standard deviation over speakers 0.00 against 25.82 points" in finding.text
    assert "synthetic speech in place of LibriSpeech" in finding.text


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([0.3, 0.1, 0.1, 0.1], [0.2, 0.4, 0.6, 0.8]),  # one speaker the other way round
        ([0.1, 0.2, 0.3, 0.4], [0.8, 0.8, 0.8, 0.8]),  # better, and varies more
    ],
)
def test_claim_2_not_supported_on_speech(ours, theirs):
    assert _decide(2, _study(_ablation(ours, theirs))).outcome == "not supported"


def test_claim_2_compares_at_the_highest_level_to_which_both_come():
    frames = _ablation([0.1] * 4, [0.2, 0.4, 0.6, 0.8])
    paths = frames[2]
    rows = (paths["method"] == "orthograd") & (paths["speaker"] == "anna")
    paths.loc[rows, "wer_forget_validation"] = np.linspace(0.1, 0.5, int(rows.sum()))
    assert "at a forget one of 30%" in _decide(2, _study(frames)).text
    paths.loc[rows, "wer_forget_validation"] = np.linspace(0.1, 0.28, int(rows.sum()))
    frames[1]["target"] = 0.25
    assert "per-sample at each run's target" in _decide(2, _study(frames)).text
    paths.loc[rows, "wer_forget_validation"] = 0.1
    finding = _decide(2, _study(frames))
    assert finding.outcome == "not testable here"
    assert "no level of forgetting to which both come" in finding.text


def test_claim_2_on_images_and_speech_fails_where_one_does():
    frames = _ablation([0.3, 0.1, 0.1, 0.1], [0.2, 0.4, 0.6, 0.8])
    assert _decide(2, _study(frames, images=True)).outcome == "not supported"


# The ledger


def _cell(**changes) -> Cell:
    values = {
        "experiment": "T-ASR",
        "quantity": "WER on test",
        "column": "wer_test",
        "model": "Whisper-Tiny",
        "method": "orthograd",
        "condition": "speaker unlearning, LibriSpeech",
        "value": 0.1398,
        "spread": None,
        "unit": "fraction",
        "source": "aggregator page",
        "note": None,
    }
    return Cell(**(values | changes))


def _entry(frames, cell, **changes):
    study = _study(frames, **changes)
    return compare(Ledger((cell,), {}), study.data, study.experiments, study.speech)[0]


def test_the_paper_s_test_rate_stands_beside_ours_and_is_not_comparable():
    entry = _entry(_frames(), _cell())
    assert entry.verdict == "not comparable"
    assert entry.why == "; ".join([*SUBSTITUTIONS, "the paper's number is outside our 95% interval (n = 4)"])
    assert entry.ours.mean == pytest.approx(0.1)
    assert entry.ours.n == 4
    assert entry.model == "whisper-tiny.en"


def test_without_substitutes_it_is_compared():
    frames = _frames()
    for speaker, errors in zip(SPEAKERS, (1, 1, 1, 2), strict=True):
        _plant(frames, "orthograd", "test", errors, speaker)
    changes = {"substitutions": [], "model": "whisper-tiny"}
    # 0.125 ± 3.182 · 0.05 / 2 = 0.0796.
    entry = _entry(frames, _cell(), **changes)
    assert entry.ours.half_width == pytest.approx(0.0796, abs=1e-4)
    assert entry.verdict == "agrees"
    assert _entry(frames, _cell(value=30.0, unit="percent"), **changes).verdict == "differs"


@pytest.mark.parametrize(
    ("cell", "changes", "why"),
    [
        ({"column": None}, {}, "this report measures no such quantity"),
        ({"method": "scrub"}, {}, "scrub is not in T-ASR of this report"),
        ({"model": "Conformer"}, {}, "no model like Conformer"),
        ({}, {"settings": ["fine-tuned"]}, "lacks the setting pretrained"),
    ],
)
def test_what_cannot_be_compared_says_why(cell, changes, why):
    entry = _entry(make_frames(), _cell(**cell), **changes)
    assert entry.verdict == "not comparable"
    assert why in entry.why
    assert entry.ours is None


def test_rates_of_the_ablation_are_taken_from_the_speech_experiment():
    cell = _cell(experiment="T-ABL", quantity="WER on the unlearned speaker", column="wer_forget_heldout")
    assert _entry(_frames(), cell).ours.mean == pytest.approx(0.5)
    none = compare(Ledger((cell,), {}), _study(_frames()).data, [], [])[0]
    assert none.why == "T-ABL on speech is not in this report"
